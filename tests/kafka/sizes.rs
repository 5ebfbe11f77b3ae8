//! Records and outcomes at the limits of what topics take, and a byte beyond.

use super::shop::{Changes, Shop};
use crate::support::{Kafka, Program, Received, Sent, eventually, orders, payments};

const UNTIL_END: [&str; 1] = ["--until-end"];

/// What topics take in these tests: lengths within it are written in up to three bytes.
const LIMIT: usize = 20_000;

/// An order whose record has this many bytes.
fn order_of(id: u64, bytes: usize) -> String {
    let empty = format!(r#"{{"type":"order","id":{id},"item":""}}"#);
    empty.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - empty.len())))
}

/// A shop whose outcomes go to a topic that takes this many bytes.
fn shop_with_limit(kafka: &Kafka, limit: usize, changes: &Changes<'_>) -> Shop {
    let shop = Shop::without_topics(kafka, changes);
    kafka.create(&shop.events, 1, &[]);
    kafka.create(&shop.resolved, 1, &[("max.message.bytes", &limit.to_string())]);
    kafka.create(&shop.dead, 1, &[]);
    shop
}

/// What an outcome that was cut would have had as the length of its value.
fn size_before(record: &Received) -> Option<usize> {
    record.header("resolvent-size").map(|size| size.parse().unwrap())
}

/// An outcome holds its event and more, so that it may be larger than a topic takes though the event was not. The broker itself says what it takes: all that came
/// whole, and nothing of what was cut.
#[test]
fn an_outcome_is_cut_where_its_topic_does_not_take_it_and_not_a_byte_sooner() {
    let kafka = Kafka::shared();
    let trial = kafka.topic_with("trial", 1, &[("max.message.bytes", &LIMIT.to_string())]);
    for (program, compression) in [(Program::Sedd, "none"), (Program::Dedd, "lz4"), (Program::Independent, "zstd")] {
        let sink = format!("compression = \"{compression}\"");
        let shop = shop_with_limit(kafka, LIMIT, &Changes { sink: &sink, ..Changes::default() });
        // A byte apart, on both sides of the limit.
        let sizes = LIMIT - 500..LIMIT - 200;
        let lines: Vec<String> = (0..).zip(sizes).map(|(id, bytes)| order_of(id, bytes)).collect();
        kafka.send(&shop.events, lines.iter().map(|line| Sent::value(0, line)));
        // In all far more than fits into a batch.
        kafka.send_lines(&shop.events, &orders(2_000_000..2_001_000));
        shop.workspace.run(program, &UNTIL_END).succeeded();
        let outcomes = kafka.read(&shop.resolved);
        assert_eq!(outcomes.len(), lines.len() + 1000, "{program:?}");
        let mut cut: Vec<&Received> = outcomes.iter().filter(|record| size_before(record).is_some()).collect();
        assert!((50..250).contains(&cut.len()), "{} of {} were cut", cut.len(), lines.len());
        cut.sort_by_key(|record| size_before(record));
        for record in &cut[..5] {
            let value = "x".repeat(size_before(record).unwrap());
            let headers: Vec<(&str, &[u8])> =
                record.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            let (last, headers) = headers.split_last().unwrap();
            assert_eq!(last.0, "resolvent-size");
            let key = record.key.as_ref().map(String::as_bytes);
            let whole = Sent { key, headers, ..Sent::value(0, &value) };
            assert!(!kafka.try_send(&trial, whole), "{program:?}: the topic takes {record:?} with its event");
            assert_eq!(record.outcome().line.get("event"), None);
        }
    }
}

#[test]
fn a_limit_that_is_lowered_while_the_job_runs_is_learned() {
    let kafka = Kafka::shared();
    for program in Program::ALL {
        let changes = Changes { sink: "compression = \"none\"", ..Changes::default() };
        let shop = shop_with_limit(kafka, 1_000_000, &changes);
        let mut live = shop.start(program);
        kafka.send_lines(&shop.events, &order_of(1, 2 * LIMIT));
        live.await_metric("resolvent_events_total", "outcome=\"resolved\"", 1.0);
        kafka.configure(&shop.resolved, &[("max.message.bytes", &LIMIT.to_string())]);
        let too_large = order_of(0, 2 * LIMIT);
        eventually("the limit holds", || (!kafka.try_send(&shop.resolved, Sent::value(0, &too_large))).then_some(()));
        kafka.send_lines(&shop.events, &(order_of(2, 2 * LIMIT) + "\n" + &orders(10..20)));
        live.await_metric("resolvent_began_again_total", "", 1.0);
        let outcomes = eventually("all is written", || {
            let mut outcomes = kafka.read(&shop.resolved);
            outcomes.retain(|record| record.header("resolvent-outcome").is_some());
            (outcomes.len() >= 12).then_some(outcomes)
        });
        assert_eq!(live.metric("resolvent_began_again_total", ""), Some(1.0), "{program:?}");
        let said = live.stop();
        assert!(said.contains("takes 20000 bytes at most now"), "{said}");
        assert_eq!(outcomes.len(), 12, "{program:?}");
        assert_eq!(outcomes.iter().filter(|record| size_before(record).is_some()).count(), 1, "{program:?}");
    }
}

#[test]
fn a_topic_that_takes_nearly_nothing_is_named() {
    let kafka = Kafka::shared();
    for program in Program::ALL {
        let shop = shop_with_limit(kafka, 120, &Changes::default());
        kafka.send_lines(&shop.events, &orders(0..3));
        let advice = ["takes 120 bytes at most", &shop.resolved, "raise its max.message.bytes"];
        shop.workspace.run(program, &UNTIL_END).failed(1, &advice);
    }
}

/// The largest record that the broker takes by default, one byte less, and both with their outcomes in a topic that takes more.
#[test]
fn records_of_the_largest_size_are_read() {
    let kafka = Kafka::shared();
    // Without that, outcomes beyond a megabyte are written without their event.
    let sink = "properties = { \"message.max.bytes\" = \"8388608\" }";
    let shop = Shop::without_topics(kafka, &Changes { job: "max_record = \"2MiB\"", sink, ..Changes::default() });
    // A batch with one record has 68 to 80 bytes around the value, by its length.
    kafka.create(&shop.events, 1, &[("max.message.bytes", "1048588")]);
    kafka.create(&shop.resolved, 1, &[("max.message.bytes", "8388608")]);
    kafka.create(&shop.dead, 1, &[]);
    let mut bytes = 1_048_588;
    let largest = loop {
        let line = order_of(1, bytes);
        if kafka.try_send(&shop.events, Sent::value(0, &line)) {
            break bytes;
        }
        bytes -= 1;
    };
    assert!(largest > 1_048_400, "{largest} is the largest");
    assert!(!kafka.try_send(&shop.events, Sent::value(0, &order_of(2, largest + 1))));
    kafka.send(&shop.events, [Sent::value(0, &order_of(3, largest - 1))]);
    kafka.send_lines(&shop.events, &(payments(1..2) + &payments(3..4)));
    shop.workspace.run(Program::Dedd, &UNTIL_END).succeeded();
    let outcomes = kafka.outcomes(&shop.resolved);
    assert_eq!(outcomes.len(), 4);
    assert!(
        outcomes.iter().all(|outcome| outcome.stream == "order" || outcome.dependencies["order"]["item"].is_string())
    );
}
