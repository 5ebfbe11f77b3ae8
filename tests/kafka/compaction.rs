//! Compacted topics as tables of referents: what is left of each key is its last record, whatever the job has read before.

use serde_json::{Value, json};

use super::shop::{Changes, Shop};
use crate::support::{Kafka, Program, Sent, Summary, eventually};

const UNTIL_END: [&str; 1] = ["--until-end"];

/// Settings of a topic that is compacted within seconds, but for its newest records.
const COMPACTED: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0.001")];

const STREAMS: &str = r#"
[[stream]]
name = "order"
key = "@key"

[[stream]]
name = "payment"
depends_on = [ { entity = "order", by = "/order" } ]
"#;

fn order<'a>(key: &'a str, value: Option<&'a str>) -> Sent<'a> {
    Sent {
        key: Some(key.as_bytes()),
        value: value.map(str::as_bytes),
        headers: &[("type", b"order")],
        ..Sent::default()
    }
}

/// Sends records that end the segment before them, until the broker has compacted all older ones: each key below `keys` then has one record at most.
fn compact(kafka: &Kafka, topic: &str, keys: usize) {
    let mut filler = 0;
    eventually("the topic is compacted", || {
        filler += 1;
        std::thread::sleep(std::time::Duration::from_millis(200));
        kafka.send(topic, [order(&format!("filler {filler}"), Some("{}"))]);
        let left = kafka.read(topic);
        let of_keys = left.iter().filter(|record| !record.key.as_ref().unwrap().starts_with("filler")).count();
        (of_keys <= keys).then_some(())
    });
}

#[test]
fn a_compacted_topic_is_a_table_of_referents() {
    let kafka = Kafka::shared();
    for program in Program::JOINING {
        let changes =
            Changes { streams: Some(STREAMS), stream: Some("stream = \"@header:type\""), ..Changes::default() };
        let shop = Shop::without_topics(kafka, &changes);
        let payments = format!("{}-payments", shop.name);
        shop.replace("topics = [", &format!("topics = [\"{payments}\", "));
        kafka.create(&shop.events, 1, &COMPACTED);
        kafka.create(&payments, 1, &[]);
        kafka.create(&shop.resolved, 1, &[]);
        kafka.create(&shop.dead, 1, &[]);
        let keys: Vec<String> = (0..50).map(|key| key.to_string()).collect();
        let send = |version: u64, keys: &[String]| {
            let value = json!({ "version": version }).to_string();
            kafka.send(&shop.events, keys.iter().map(|key| order(key, Some(&value))));
        };
        let pay = |key: u64| {
            let value = json!({ "order": key }).to_string();
            kafka.send(&payments, [Sent { headers: &[("type", b"payment")], ..Sent::value(0, &value) }]);
        };
        send(1, &keys);
        send(2, &keys);
        shop.workspace.run(program, &UNTIL_END).succeeded();
        pay(1);
        shop.workspace.run(program, &UNTIL_END).succeeded();
        // The last record that was committed, too, makes way for a later one.
        send(3, &keys);
        kafka.send(&shop.events, [order("7", None)]);
        compact(kafka, &shop.events, 50);
        // What is read together is in no order: the table first, then those who look into it.
        shop.workspace.run(program, &UNTIL_END).succeeded();
        pay(1);
        pay(7);
        let ended = shop.workspace.run(program, &UNTIL_END).succeeded();
        let summary = Summary::parse(&ended.stderr);
        assert_eq!((summary.waiting, summary.rejected), (1, 0), "{program:?}: {}", ended.stderr);
        let paid = |outcomes: &[crate::support::Outcome]| -> Vec<Value> {
            let payments = outcomes.iter().filter(|outcome| outcome.stream == "payment");
            payments.map(|outcome| outcome.dependencies["order"]["version"].clone()).collect()
        };
        assert_eq!(paid(&kafka.outcomes(&shop.resolved)), [json!(2), json!(3)], "{program:?}");
        // All was read of a topic with holes; what was compacted since stays true in the next run, too.
        compact(kafka, &shop.events, 50);
        pay(2);
        send(4, &["7".to_owned()]);
        shop.workspace.run(program, &UNTIL_END).succeeded();
        let mut versions = paid(&kafka.outcomes(&shop.resolved));
        versions.sort_by_key(Value::as_u64);
        assert_eq!(versions, [json!(2), json!(3), json!(3), json!(4)], "{program:?}");
    }
}
