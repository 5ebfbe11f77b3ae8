//! What of a record counts, and what of an outcome: keys, headers, timestamps, values that are none.

use std::collections::BTreeSet;

use serde_json::json;

use super::shop::{Changes, Shop};
use crate::support::{
    Kafka, Outcome, Program, Received, Sent, Summary, Workspace, assert_unique_positions, orders, payments, unique,
};

const UNTIL_END: [&str; 1] = ["--until-end"];

/// Order 7 and its payment, with headers of their own.
fn send_order_and_payment(kafka: &Kafka, topic: &str) {
    let record = |key, value: &'static str, headers| Sent {
        key,
        value: Some(value.as_bytes()),
        headers,
        timestamp: Some(1_700_000_000_000),
        partition: 0,
    };
    kafka.send(
        topic,
        [
            record(
                Some(&b"p-1"[..]),
                r#"{"type":"payment","order":7,"paid":25.00}"#,
                &[("trace", b"abc"), ("type", b"payment")],
            ),
            record(Some(&b"7"[..]), r#"{"type":"order","id":7,"item":"kettle"}"#, &[("type", b"order")]),
        ],
    );
}

fn run_shop(kafka: &Kafka, program: Program, changes: &Changes<'_>) -> (Shop, Vec<Received>) {
    let shop = Shop::new(kafka, 1, changes);
    send_order_and_payment(kafka, &shop.events);
    shop.workspace.run(program, &UNTIL_END).succeeded();
    let received = kafka.read(&shop.resolved);
    (shop, received)
}

fn of_stream<'a>(received: &'a [Received], stream: &str) -> &'a Received {
    let mut found = received.iter().filter(|record| record.outcome().stream == stream);
    let first = found.next().unwrap_or_else(|| panic!("no {stream} in {received:?}"));
    assert!(found.next().is_none(), "more than one {stream}");
    first
}

#[test]
fn outcomes_have_the_headers_of_their_record_and_their_own() {
    let kafka = Kafka::shared();
    for program in Program::ALL {
        let (shop, received) = run_shop(kafka, program, &Changes::default());
        let payment = of_stream(&received, "payment");
        let position = format!("{}:0:0", shop.events);
        let expected = [
            ("trace", "abc"),
            ("type", "payment"),
            ("resolvent-outcome", "resolved"),
            ("resolvent-position", position.as_str()),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(payment.headers, expected, "{program:?}");
        assert_eq!(payment.outcome().position, position);
        assert_eq!(payment.key.as_deref(), Some("p-1"));
        let resolves = if program == Program::Independent {
            json!({})
        } else {
            json!({"order": {"type": "order", "id": 7, "item": "kettle"}})
        };
        assert_eq!(payment.outcome().dependencies, resolves);
        assert!(payment.value.as_ref().unwrap().contains(r#""paid":25.00"#), "numbers are passed on as they came");
        assert_eq!(of_stream(&received, "order").key.as_deref(), Some("7"));
    }
}

#[test]
fn the_key_of_an_outcome_is_what_the_sink_says() {
    let kafka = Kafka::shared();
    for (key, of_payment, of_order) in [
        ("event", Some("p-1"), Some("7")),
        ("/order", Some("7"), Some("7")),
        ("dependency:order", Some("7"), Some("7")),
        ("/item", Some("p-1"), Some("kettle")),
    ] {
        let resolved = format!("key = \"{key}\"");
        let (_, received) = run_shop(kafka, Program::Sedd, &Changes { resolved: &resolved, ..Changes::default() });
        assert_eq!(of_stream(&received, "payment").key.as_deref(), of_payment, "key = {key}");
        assert_eq!(of_stream(&received, "order").key.as_deref(), of_order, "key = {key}");
    }
}

/// Neither values nor streams name what they are: keys, headers and timestamps do.
#[test]
fn keys_headers_and_timestamps_can_be_configured() {
    let kafka = Kafka::shared();
    let streams = r#"
[[stream]]
name = "order"
key = "@key"
time = "@timestamp"

[[stream]]
name = "payment"
depends_on = [ { entity = "order", by = "/order" } ]
"#;
    let changes = Changes { streams: Some(streams), stream: Some("stream = \"@header:type\""), ..Changes::default() };
    for program in Program::JOINING {
        let shop = Shop::new(kafka, 2, &changes);
        let order = |timestamp, value: &'static str| Sent {
            key: Some(b"7"),
            value: Some(value.as_bytes()),
            headers: &[("type", b"order")],
            timestamp: Some(timestamp),
            partition: 0,
        };
        let payment = Sent { value: Some(br#"{"order":7}"#), headers: &[("type", b"payment")], ..Sent::default() };
        // The one with the greater time counts, whichever partition is read first; within a partition position would decide.
        let older = Sent { partition: 1, ..order(1_600_000_000_000, r#"{"v":1}"#) };
        kafka.send(&shop.events, [order(1_700_000_000_000, r#"{"v":2}"#), older]);
        shop.workspace.run(program, &UNTIL_END).succeeded();
        kafka.send(&shop.events, [payment]);
        shop.workspace.run(program, &UNTIL_END).succeeded();
        let received = kafka.read(&shop.resolved);
        assert_eq!(received.len(), 3);
        assert_eq!(of_stream(&received, "payment").outcome().dependencies, json!({"order": {"v": 2}}), "{program:?}");
    }
}

#[test]
fn a_tombstone_deletes_its_referent() {
    let kafka = Kafka::shared();
    for program in Program::JOINING {
        let shop = Shop::new(kafka, 1, &Changes::default());
        let tombstone = Sent { key: Some(b"7"), headers: &[("type", b"order")], ..Sent::default() };
        shop.replace("stream = \"/type\"", "stream = \"@header:type\"");
        send_order_and_payment(kafka, &shop.events);
        kafka.send(&shop.events, [tombstone]);
        // What is read together may still take it.
        shop.workspace.run(program, &UNTIL_END).succeeded();
        let late =
            Sent { headers: &[("type", b"payment")], ..Sent::value(0, r#"{"type":"payment","order":7,"late":true}"#) };
        kafka.send(&shop.events, [late]);
        let ended = shop.workspace.run(program, &UNTIL_END).succeeded();
        let summary = Summary::parse(&ended.stderr);
        assert_eq!((summary.read, summary.dropped, summary.resolved, summary.waiting), (4, 1, 2, 1), "{program:?}");
        // It waits as if the order had never come: until it comes.
        let again =
            Sent { headers: &[("type", b"order")], ..Sent::value(0, r#"{"type":"order","id":7,"item":"pot"}"#) };
        kafka.send(&shop.events, [again]);
        shop.workspace.run(program, &UNTIL_END).succeeded();
        let outcomes = kafka.outcomes(&shop.resolved);
        let late = outcomes.iter().find(|outcome| outcome.event["late"] == true).expect("it is resolved");
        assert_eq!(late.dependencies["order"]["item"], "pot");
        assert!(kafka.outcomes(&shop.dead).is_empty());
    }
}

#[test]
fn records_that_are_no_events_are_rejected_with_their_key_and_headers() {
    let kafka = Kafka::shared();
    let streams = "[[stream]]\nname = \"order\"\nkey = \"@key\"\n[[stream]]\nname = \"payment\"\n\
                   depends_on = [ { entity = \"order\", by = \"/order\" } ]\n";
    let changes = Changes { streams: Some(streams), stream: Some("stream = \"@header:type\""), ..Changes::default() };
    let order: &[(&str, &[u8])] = &[("type", b"order")];
    for program in Program::ALL {
        let shop = Shop::new(kafka, 1, &changes);
        let sent = |key: Option<&'static [u8]>, value: &'static [u8], headers| Sent {
            key,
            value: Some(value),
            headers,
            ..Sent::default()
        };
        let records = [
            sent(Some(b""), br#"{"v":"empty key"}"#, order),
            sent(None, br#"{"v":"no key"}"#, order),
            sent(Some(b"\xff\xfe"), br#"{"v":"no text as key"}"#, order),
            sent(Some(b"3"), b"{\"v\":\"\xff\"}", order),
            sent(Some(b"4"), b"", order),
            sent(Some(b"5"), b"{\"v\":1", order),
            sent(Some(b"6"), b"{}", &[("type", b"unheard of")]),
            sent(Some(b"7"), b"{}", &[]),
            Sent { key: Some(b"8"), headers: &[("type", b"payment")], ..Sent::default() },
            sent(Some(b"last"), br#"{"v":"good"}"#, order),
        ];
        kafka.send(&shop.events, records);
        let ended = shop.workspace.run(program, &UNTIL_END).succeeded();
        let summary = Summary::parse(&ended.stderr);
        assert_eq!((summary.read, summary.rejected, summary.resolved), (10, 8, 2), "{program:?}");
        let resolved: Vec<String> =
            kafka.outcomes(&shop.resolved).iter().map(|outcome| outcome.event["v"].to_string()).collect();
        assert_eq!(resolved, ["\"empty key\"", "\"good\""]);
        let dead = kafka.read(&shop.dead);
        let reasons: Vec<(i64, String)> = dead
            .iter()
            .map(|record| {
                let outcome = record.outcome();
                assert_eq!(record.header("resolvent-reason"), Some(outcome.reason.as_str()));
                let (_, offset) = outcome.position.rsplit_once(':').unwrap();
                (offset.parse().unwrap(), outcome.reason)
            })
            .collect();
        let offsets: BTreeSet<i64> = reasons.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, (1..=8).collect());
        for (offset, reason) in &reasons {
            match offset {
                1 | 2 | 8 => assert_eq!(reason, "invalid_key", "offset {offset}"),
                3 => assert_eq!(reason, "invalid_utf8"),
                4 | 5 => assert_eq!(reason, "invalid_json", "offset {offset}"),
                _ => assert_eq!(reason, "unknown_stream", "offset {offset}"),
            }
        }
        let of_five = dead.iter().find(|record| record.key.as_deref() == Some("5")).expect("it has its key");
        assert_eq!(of_five.header("type"), Some("order"));
    }
}

/// Where the key is not what an event is known by, it need not be a text: it is carried on to the outcome as it is.
#[test]
fn keys_and_headers_of_any_bytes_are_passed_on() {
    let kafka = Kafka::shared();
    for program in Program::ALL {
        let shop = Shop::new(kafka, 1, &Changes { resolved: "key = \"/none\"", ..Changes::default() });
        let keys: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"\xff\x00\xfe"), Some(b"text")];
        let value = br#"{"type":"order","id":1}"#;
        let headers: &[(&str, &[u8])] = &[("bytes", b"\xff\x00"), ("empty", b"")];
        kafka.send(&shop.events, keys.map(|key| Sent { key, value: Some(value), headers, ..Sent::default() }));
        shop.workspace.run(program, &UNTIL_END).succeeded();
        let found = kafka.read_bytes(&shop.resolved);
        let read: Vec<Option<&[u8]>> = found.iter().map(|(key, _)| key.as_deref()).collect();
        assert_eq!(read, keys, "{program:?}");
        for (_, headers) in &found {
            assert_eq!(headers[..2], [("bytes".to_owned(), b"\xff\x00".to_vec()), ("empty".to_owned(), Vec::new())]);
        }
    }
}

#[test]
fn a_header_whose_name_is_no_text_is_left_out_and_said_to_be() {
    let kafka = Kafka::shared();
    let shop = Shop::new(kafka, 1, &Changes::default());
    kafka.send_with_odd_header(&shop.events, r#"{"type":"order","id":1}"#);
    kafka.send_lines(&shop.events, &orders(2..4));
    let ended = shop.workspace.run(Program::Sedd, &UNTIL_END).succeeded();
    assert!(ended.stderr.contains("a header whose name is not UTF-8 is left out"), "{}", ended.stderr);
    let received = kafka.read(&shop.resolved);
    assert_eq!(received.len(), 3);
    let first = received.iter().find(|record| record.outcome().event["id"] == 1).expect("it is resolved");
    let own: Vec<(&str, &str)> =
        first.headers.iter().take(2).map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(own, [("first", "1"), ("last", "2")]);
}

#[test]
fn repeated_records_are_events_of_their_own() {
    let kafka = Kafka::shared();
    for program in Program::JOINING {
        let shop = Shop::new(kafka, 2, &Changes::default());
        let lines = orders(0..100) + &payments(0..100);
        for partition in 0..2 {
            for _ in 0..2 {
                kafka.send(&shop.events, lines.lines().map(|line| Sent::value(partition, line)));
            }
        }
        let ended = shop.workspace.run(program, &UNTIL_END).succeeded();
        let summary = Summary::parse(&ended.stderr);
        assert_eq!((summary.read, summary.resolved, summary.waiting), (800, 800, 0));
        let outcomes = kafka.outcomes(&shop.resolved);
        assert_eq!(outcomes.len(), 800);
        assert_unique_positions(&outcomes);
    }
}

#[test]
fn files_can_be_resolved_into_topics_and_topics_into_files() {
    let kafka = Kafka::shared();
    for program in Program::ALL {
        let (resolved, dead) = (kafka.topic("resolved", 1), kafka.topic("dead", 1));
        let lines = orders(0..3000) + &payments(0..3000) + "no event\n";
        let sections = format!(
            "[sink.kafka]\nbrokers = {:?}\n[sink.resolved]\ntopic = {resolved:?}\n[sink.dead_letter]\ntopic = {dead:?}\n",
            kafka.address()
        );
        let (streams, _) = crate::support::SHOP.split_once("[source.file]").unwrap();
        let streams = streams.replace("\"shop\"", &format!("{:?}", unique("shop")));
        let source = "[source.file]\npath = \"events.jsonl\"\nstream = \"/type\"\n";
        let to_topics = Workspace::with(&format!("{streams}{source}{sections}"), &lines);
        to_topics.run(program, &[]).succeeded();
        let outcomes = kafka.outcomes(&resolved);
        assert_eq!((outcomes.len(), kafka.read(&dead).len()), (6000, 1));
        assert_unique_positions(&outcomes);
        // A second run has nothing to add.
        to_topics.run(program, &[]).succeeded();
        assert_eq!(kafka.read(&resolved).len(), 6000);

        let shop = Shop::new(kafka, 3, &Changes::default());
        kafka.send(&shop.events, lines.lines().enumerate().map(|(at, line)| Sent::value(at as i32 % 3, line)));
        shop.replace(&format!("topic = \"{}\"", shop.resolved), "file = \"resolved.jsonl\"");
        shop.replace(&format!("topic = \"{}\"", shop.dead), "file = \"dead.jsonl\"");
        shop.replace("[sink.kafka]\n", "");
        shop.workspace.run(program, &UNTIL_END).succeeded();
        let from_topics: Vec<Outcome> = shop.workspace.outcomes();
        assert_eq!(from_topics.len(), 6001);
        assert_unique_positions(&from_topics);
    }
}
