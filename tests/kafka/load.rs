//! `generate` puts into topics what it puts into files.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::{BrokerSettings, Ended, Kafka, Running, Workspace, binary, eventually, unique};

fn generate(arguments: &[&str]) -> Running {
    Running::start(Command::new(binary("generate")).args(arguments))
}

fn generated(arguments: &[&str]) -> Ended {
    generate(arguments).wait()
}

#[test]
fn generate_loads_the_records_of_a_file() {
    let (kafka, workspace) = (Kafka::shared(), Workspace::new());
    let topic = unique("generated");
    let workload = ["social", "--events", "5000", "--disorder", "500"];
    let file = workspace.path("events.jsonl");
    generated(&[&workload[..], &["--output", file.to_str().unwrap()]].concat()).succeeded();
    let arguments = ["--kafka", kafka.address(), "--topic", &topic, "--partitions", "4", "--header"];
    let ended = generated(&[&workload[..], &arguments[..]].concat()).succeeded();
    assert!(ended.stderr.starts_with("5000 records, "), "{}", ended.stderr);

    let received = kafka.read(&topic);
    let partitions: BTreeSet<i32> = received.iter().map(|record| record.partition).collect();
    assert_eq!(partitions, (0..4).collect());
    let mut expected: Vec<String> =
        String::from_utf8(workspace.read("events.jsonl")).unwrap().lines().map(str::to_owned).collect();
    let mut values: Vec<String> = received.iter().map(|record| record.value.clone().unwrap()).collect();
    expected.sort_unstable();
    values.sort_unstable();
    assert!(values == expected, "other records than those of the file");
    let mut of_keys = std::collections::BTreeMap::new();
    for record in &received {
        let event: serde_json::Value = serde_json::from_str(record.value.as_ref().unwrap()).unwrap();
        assert_eq!(record.header("type"), event["type"].as_str());
        // A person and a message may have the same id, and thus the same key and partition.
        assert_eq!(record.key, event.get("id").map(ToString::to_string));
        if let Some(key) = &record.key {
            assert_eq!(*of_keys.entry(key.clone()).or_insert(record.partition), record.partition, "key {key}");
        }
    }
}

#[test]
fn generate_gives_each_stream_a_topic_where_it_is_told_to() {
    let kafka = Kafka::shared();
    let topic = unique("nexmark");
    let each = format!("{topic}-{{stream}}");
    let arguments = ["nexmark", "--events", "1000", "--rate", "2000", "--kafka", kafka.address(), "--topic", &each];
    generated(&[&arguments[..], &["--partitions", "2"]].concat()).succeeded();
    for (stream, records) in [("person", 20), ("auction", 60), ("bid", 920)] {
        let received = kafka.read(&format!("{topic}-{stream}"));
        assert_eq!(received.len(), records, "{stream}");
        for record in received {
            assert!(record.value.unwrap().starts_with(&format!("{{\"type\":\"{stream}\"")));
            assert!(record.headers.is_empty());
        }
    }
}

#[test]
fn generate_says_what_it_cannot_do() {
    let kafka = Kafka::shared();
    let topic = unique("missing");
    let target = ["nexmark", "--events", "10", "--kafka", kafka.address(), "--topic", &topic];
    let missing = format!("topic `{topic}` does not exist");
    generated(&target).failed(1, &[&missing, "--partitions"]);
    let with = |more: &[&str]| generated(&[&target[..], &["--partitions", "1"], more].concat());
    with(&["--property", "no.such=thing"]).failed(1, &["`no.such`"]);
    with(&["--property", "nothing"]).failed(2, &["NAME=VALUE"]);
    with(&["--property", "bootstrap.servers=there"]).failed(2, &["--kafka"]);
    with(&["--output", "here"]).failed(2, &["cannot be used with"]);
    generated(&["nexmark", "--topic", &topic]).failed(2, &["--kafka"]);
}

#[test]
fn generate_waits_for_a_broker_and_fails_where_one_goes() {
    let Some(mut kafka) = Kafka::own("generate without a broker", BrokerSettings::brief()) else { return };
    let address = kafka.address().to_owned();
    let target = ["nexmark", "--kafka", &address, "--topic", "nexmark", "--partitions", "1"];
    let with = |more: &[&str]| generate(&[&target[..], more].concat());
    kafka.broker().kill();
    let waiting = with(&["--events", "100"]);
    eventually("it says that it waits", || waiting.stderr().contains("waiting for the brokers at").then_some(()));
    kafka.broker().launch().unwrap();
    waiting.wait().succeeded();
    assert_eq!(kafka.read("nexmark").len(), 100);

    let loading = with(&["--events", "0", "--rate", "1000", "--property", "message.timeout.ms=1000"]);
    eventually("it loads", || (kafka.ends("nexmark")[0] > 100).then_some(()));
    kafka.broker().kill();
    loading.wait().failed(1, &["sending a record to topic `nexmark` failed", "timed out"]);
}
