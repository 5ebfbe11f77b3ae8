use std::collections::BTreeMap;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaRespErr;

use super::*;
use crate::metrics::Metrics;

fn settings(brokers: &str, properties: &[(&str, &str)]) -> ClientSettings {
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ClientSettings { brokers: brokers.to_owned(), properties }
}

fn cluster(brokers: &str) -> Cluster {
    Cluster::new(&settings(brokers, &[]), "test", &Observer::new("consumer", Metrics::new("test"))).unwrap()
}

#[test]
fn no_secret_is_in_a_text() {
    let secret = settings("localhost:1", &[("sasl.password", "hunter2"), ("security.protocol", "hunter2")]);
    assert_eq!(
        format!("{secret:?}"),
        r#"ClientSettings { brokers: "localhost:1", properties: ["sasl.password", "security.protocol"] }"#
    );
    let observer = Observer::new("consumer", Metrics::new("test"));
    let error = Cluster::new(&secret, "test", &observer).err().unwrap();
    assert!(matches!(&error, ClientError::Property { name, .. } if name == "security.protocol"), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
}

#[test]
fn promises_hang_on_properties_that_are_refused() {
    let refused_by = |role, names: &[&str]| names.iter().all(|name| refused(role, name).is_some());
    let both = ["bootstrap.servers", "metadata.broker.list", "statistics.interval.ms"];
    assert!(refused_by(Role::Consumer, &both) && refused_by(Role::Producer, &both));
    let reading = ["group.id", "auto.offset.reset", "isolation.level", "enable.auto.commit", "group.protocol"];
    assert!(refused_by(Role::Consumer, &reading) && !refused_by(Role::Producer, &reading));
    let writing = ["transactional.id", "acks", "linger.ms", "compression.type", "enable.idempotence"];
    assert!(refused_by(Role::Producer, &writing) && !refused_by(Role::Consumer, &writing));
    for name in ["sasl.password", "fetch.message.max.bytes", "security.protocol", "client.id"] {
        assert!(refused(Role::Consumer, name).is_none() && refused(Role::Producer, name).is_none(), "{name}");
    }
}

#[test]
fn topics_are_found_with_their_partitions() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("posts", 3, 1).unwrap();
    mock.create_topic("likes", 1, 1).unwrap();
    let cluster = cluster(&mock.bootstrap_servers());
    let waiting = Waiting { give_up: &|| false, say: &|_| {} };
    let found = cluster.topics(["posts", "likes"], false, waiting).unwrap();
    let expected = BTreeMap::from([("likes".to_owned(), vec![0]), ("posts".to_owned(), vec![0, 1, 2])]);
    assert_eq!(found, expected);
    assert_eq!(cluster.partitions("posts"), Some(vec![0, 1, 2]));
}

#[test]
fn a_topic_that_may_not_be_read_is_an_error_at_once() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("posts", 1, 1).unwrap();
    mock.topic_error("posts", RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let waiting = Waiting { give_up: &|| panic!("nothing to wait for"), say: &|_| {} };
    let error = cluster(&mock.bootstrap_servers()).topics(["posts"], false, waiting).unwrap_err();
    assert_eq!(error, ClientError::TopicDenied { topic: "posts".to_owned(), operations: "Read and Describe" });
}

#[test]
fn a_topic_that_is_not_there_is_an_error_that_names_it() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("posts", 1, 1).unwrap();
    mock.topic_error("posts", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let waiting = Waiting { give_up: &|| false, say: &|_| {} };
    let error = cluster(&mock.bootstrap_servers()).topics(["posts"], false, waiting).unwrap_err();
    assert!(matches!(&error, ClientError::TopicMissing { topic, .. } if topic == "posts"), "{error}");
}

#[test]
fn brokers_that_are_not_there_are_waited_for_until_it_is_given_up() {
    let (asked, said) = (std::cell::Cell::new(0), std::cell::RefCell::new(Vec::new()));
    let give_up = || {
        asked.set(asked.get() + 1);
        asked.get() == 2
    };
    let say = |text: &str| said.borrow_mut().push(text.to_owned());
    // The discard port: nobody listens there.
    let error = cluster("127.0.0.1:9").topics(["posts"], false, Waiting { give_up: &give_up, say: &say }).unwrap_err();
    assert_eq!(error, ClientError::Stopped { brokers: "127.0.0.1:9".to_owned() });
    assert_eq!(said.borrow().first().map(String::as_str), Some("waiting for the brokers at 127.0.0.1:9"));
}

#[test]
fn the_worst_trouble_is_told_until_something_works() {
    let metrics = Metrics::new("test");
    let observer = Observer::new("producer", metrics.clone());
    assert!(observer.trouble().is_none());
    for (code, text) in [
        (RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down"),
        (RDKafkaErrorCode::Authentication, "SASL authentication error: wrong"),
        (RDKafkaErrorCode::BrokerTransportFailure, "connection refused"),
    ] {
        observer.error(&KafkaError::Global(code), text);
    }
    assert_eq!(observer.trouble().unwrap().1.text, "SASL authentication error: wrong");
    let counted = r#"resolvent_kafka_errors_total{client="producer",kind="authentication",job="test"} 1"#;
    assert!(metrics.gather().contains(counted), "{}", metrics.gather());
    observer.worked();
    assert!(observer.trouble().is_none());
}

#[test]
fn statistics_tell_of_partitions_throttling_and_rebalances() {
    let metrics = Metrics::new("test");
    let observer = Observer::new("consumer", metrics.clone());
    let json = br#"{"name":"x","brokers":{"b":{"throttle":{"sum":1500,"cnt":3}},"c":{}},"cgrp":{"rebalance_cnt":2},
        "topics":{"posts":{"topic":"posts","partitions":{"1":{"next_offset":7,"ls_offset":8,"hi_offset":9,"fetchq_cnt":0},
        "-1":{"next_offset":0,"ls_offset":-1,"hi_offset":-1,"fetchq_cnt":0}}}}}"#;
    observer.statistics(json);
    observer.statistics(b"not JSON");
    assert_eq!(observer.counted(), 1);
    let partition = observer.partition("posts", 1).unwrap();
    assert_eq!((partition.next_offset, partition.ls_offset, partition.hi_offset), (7, 8, 9));
    assert!(observer.partition("posts", 2).is_none());
    let text = metrics.gather();
    assert!(text.contains(r#"resolvent_kafka_throttled_seconds_total{client="consumer",job="test"} 1.5"#), "{text}");
    assert!(text.contains(r#"resolvent_kafka_rebalances_total{job="test"} 2"#), "{text}");
}

#[test]
fn properties_are_checked_and_their_values_not_shown() {
    assert_eq!(check("session.timeout.ms", "6000"), Ok(()));
    for name in ["sasl.pasword", "security.protocol", "session.timeout.ms"] {
        let detail = check(name, "hunter2").unwrap_err();
        assert!(detail.contains(name) && !detail.contains("hunter2"), "{detail}");
    }
}

/// It is polled now and then only, and what is not taken would pile up.
#[test]
fn a_client_that_only_asks_gathers_no_statistics() {
    let mock = MockCluster::new(1).unwrap();
    let observer = Observer::new("consumer", Metrics::new("test"));
    let cluster = Cluster::new(&settings(&mock.bootstrap_servers(), &[]), "test", &observer).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(3 * u64::from(STATISTICS_MS)));
    for _ in 0..10 {
        assert!(cluster.client().poll(std::time::Duration::from_millis(1)).is_none());
    }
    assert_eq!(observer.counted(), 0);
}

#[test]
fn all_topics_that_are_missing_are_told_at_once() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("posts", 1, 1).unwrap();
    // The mock makes topics that are asked for, unless it is told that they are unknown.
    for topic in ["likes", "people"] {
        mock.topic_error(topic, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    }
    let waiting = Waiting { give_up: &|| false, say: &|_| () };
    let error = cluster(&mock.bootstrap_servers()).topics(["likes", "posts", "people"], false, waiting).unwrap_err();
    assert!(matches!(&error, ClientError::TopicsMissing { topics, .. } if topics == &["likes", "people"]), "{error}");
}
