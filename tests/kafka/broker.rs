//! What the other tests stand on: a broker that keeps what it has taken, and a reader that sees only what is committed.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::{BrokerSettings, Kafka, PATIENCE, Received, Sent, unique};

#[test]
fn a_killed_broker_comes_back_with_what_it_had_taken() {
    let Some(mut kafka) = Kafka::own("a broker that is killed", BrokerSettings::brief()) else { return };
    let topic = kafka.topic("kept", 3);
    let values: Vec<String> = (0..3000).map(|n| format!("{{\"n\":{n}}}")).collect();
    let sent = |n: usize| Sent {
        partition: (n % 3) as i32,
        key: Some(b"key"),
        value: Some(values[n].as_bytes()),
        headers: &[("type", b"number"), ("of", b"test")],
        timestamp: None,
    };
    kafka.send(&topic, (0..3000).map(sent));
    let process = kafka.broker().process_id();
    kafka.restart();
    assert_ne!(kafka.broker().process_id(), process);
    let received = kafka.read(&topic);
    assert_eq!(received.len(), 3000);
    for Received { partition, offset, key, value, headers, .. } in &received {
        let n = offset * 3 + i64::from(*partition);
        assert_eq!((key.as_deref(), value.as_deref()), (Some("key"), Some(values[n as usize].as_str())));
        assert_eq!(*headers, [("type".to_owned(), "number".to_owned()), ("of".to_owned(), "test".to_owned())]);
    }
    assert_eq!(kafka.ends(&topic), [1000; 3]);
}

#[test]
fn readers_see_committed_transactions_only() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("transactions", 1);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.address()).set("transactional.id", unique("writer"));
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    for (value, commit) in [("aborted", false), ("committed", true), ("aborted again", false)] {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), str>::to(&topic).payload(value)).unwrap();
        producer.flush(PATIENCE).unwrap();
        if commit { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) }.unwrap();
    }
    let values: Vec<_> = kafka.read(&topic).into_iter().map(|received| received.value).collect();
    assert_eq!(values, [Some("committed".to_owned())]);
    // Three values, three marks of what became of their transactions.
    assert_eq!(kafka.ends(&topic), [6]);

    // The first is fenced by the second, and what it had begun is aborted.
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<(), str>::to(&topic).payload("of a zombie")).unwrap();
    producer.flush(PATIENCE).unwrap();
    let second: BaseProducer = config.create().unwrap();
    second.init_transactions(PATIENCE).unwrap();
    assert!(producer.commit_transaction(Duration::from_secs(20)).is_err());
    assert_eq!(kafka.read(&topic).len(), 1);
}
