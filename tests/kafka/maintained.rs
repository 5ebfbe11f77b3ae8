//! Maintained results from topic to topic: as the present results that a compacted topic keeps by key.

use std::collections::BTreeMap;

use serde_json::Value;

use super::shop::{Changes, Shop};
use crate::support::{Kafka, Program, Sent, Summary};

const STREAMS: &str = r#"
[[stream]]
name = "order"
key = "@key"

[[stream]]
name = "payment"
key = "@key"
depends_on = [ { entity = "order", by = "/order" } ]
"#;

const ORDER: &[(&str, &[u8])] = &[("type", b"order")];
const PAYMENT: &[(&str, &[u8])] = &[("type", b"payment")];

fn sent<'a>(headers: &'a [(&'a str, &'a [u8])], key: &'a str, value: Option<&'a str>) -> Sent<'a> {
    let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
    Sent { partition: 0, key, value, headers, timestamp: None }
}

/// The last record of each key, and how many records there are.
fn present(kafka: &Kafka, topic: &str) -> (BTreeMap<String, Option<Value>>, usize) {
    let records = kafka.read(topic);
    let count = records.len();
    let value = |text: String| serde_json::from_str(&text).expect("JSON");
    let last = records.into_iter().map(|record| (record.key.expect("an identity"), record.value.map(value)));
    (last.collect(), count)
}

#[test]
fn a_topic_has_the_present_result_of_each_key_and_null_where_it_is_gone() {
    let kafka = Kafka::shared();
    let changes = Changes {
        job: "emit = \"changes\"",
        streams: Some(STREAMS),
        stream: Some("stream = \"@header:type\""),
        resolved: "style = \"upsert\"",
        ..Changes::default()
    };
    let shop = Shop::new(kafka, 1, &changes);
    kafka.send(
        &shop.events,
        [
            sent(PAYMENT, "7", Some(r#"{"order":1}"#)),
            sent(ORDER, "1", Some(r#"{"item":"kettle"}"#)),
            sent(ORDER, "2", Some(r#"{"item":"lamp"}"#)),
            sent(PAYMENT, "8", Some(r#"{"order":2}"#)),
            sent(PAYMENT, "9", Some(r#"{"order":3}"#)),
        ],
    );
    let summary = Summary::parse(&shop.workspace.run(Program::Sedd, &["--until-end"]).succeeded().stderr);
    assert_eq!((summary.read, summary.resolved, summary.waiting), (5, 4, 1));
    let (first, count) = present(kafka, &shop.resolved);
    assert_eq!(
        (first.keys().map(String::as_str).collect::<Vec<_>>(), count),
        (vec!["order/1", "order/2", "payment/7", "payment/8"], 4)
    );
    assert_eq!(first["payment/7"].as_ref().unwrap()["dependencies"]["order"]["item"], "kettle");

    // A correction while it runs, and a kill right after; then a deletion.
    let live = shop.start(Program::Sedd);
    kafka.send(&shop.events, [sent(ORDER, "1", Some(r#"{"item":"red kettle"}"#))]);
    live.running.kill();
    kafka.send(&shop.events, [sent(ORDER, "2", None), sent(PAYMENT, "9", Some(r#"{"order":1}"#))]);
    let ended = shop.workspace.run(Program::Sedd, &["--until-end"]).succeeded();
    let summary = Summary::parse(&ended.stderr);
    assert_eq!((summary.read, summary.waiting), (8, 1), "{}", ended.stderr);
    let (last, count) = present(kafka, &shop.resolved);
    // Each once: two corrected, two gone, one new.
    assert_eq!((last.len(), count), (5, 4 + 5));
    assert_eq!((&last["order/2"], &last["payment/8"]), (&None, &None));
    for payment in ["payment/7", "payment/9"] {
        let result = last[payment].as_ref().unwrap();
        assert_eq!((&result["dependencies"]["order"]["item"], &result["change"]), (&"red kettle".into(), &1.into()));
    }
}
