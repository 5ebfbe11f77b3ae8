//! What is counted of brokers: lag, transactions, rebalances, throttling.

use super::shop::{Changes, Shop};
use crate::support::{Kafka, Program, Sent, eventually, get, limit, orders, unique};

/// A quota on what clients of one name read, and on what those of another write, holds requests back: each client is counted by itself.
#[test]
fn throttling_is_counted_by_client() {
    let kafka = Kafka::shared();
    let (reads, writes) = (unique("reads"), unique("writes"));
    // A broker takes back what it has counted of a fetch that it holds back. One of as much as the quota lets through in all ten seconds would be held back again
    // and again, for what little the answers without records count.
    let source = format!("properties = {{ \"client.id\" = \"{reads}\", \"fetch.message.max.bytes\" = \"50000\" }}");
    let sink = format!("compression = \"none\"\nproperties = {{ \"client.id\" = \"{writes}\" }}");
    let shop = Shop::new(kafka, 1, &Changes { source: &source, sink: &sink, ..Changes::default() });
    let mut live = shop.start(Program::Dedd);
    let throttled = |live: &super::shop::Live, client: &str| {
        live.metric("resolvent_kafka_throttled_seconds_total", &format!("client=\"{client}\"")).unwrap_or(0.0)
    };
    kafka.send_lines(&shop.events, &orders(0..10));
    live.await_metric("resolvent_events_total", "outcome=\"resolved\"", 10.0);
    assert_eq!((throttled(&live, "consumer"), throttled(&live, "producer")), (0.0, 0.0));
    // Brokers look at the mean of ten seconds, and hold back until it is kept: for a second or two, by these numbers.
    limit(kafka.address(), &writes, "producer_byte_rate", 50_000.0);
    kafka.send_lines(&shop.events, &orders(10..2000));
    live.await_metric("resolvent_kafka_throttled_seconds_total", "client=\"producer\"", 0.5);
    live.await_metric("resolvent_events_total", "outcome=\"resolved\"", 2000.0);
    assert_eq!(throttled(&live, "consumer"), 0.0);
    limit(kafka.address(), &writes, "producer_byte_rate", 1e9);
    limit(kafka.address(), &reads, "consumer_byte_rate", 25_000.0);
    kafka.send_lines(&shop.events, &orders(2000..8000));
    live.await_metric("resolvent_kafka_throttled_seconds_total", "client=\"consumer\"", 0.5);
    // How long a broker goes on with that depends on how late what it has counted is told.
    limit(kafka.address(), &reads, "consumer_byte_rate", 1e9);
    live.await_metric("resolvent_events_total", "outcome=\"resolved\"", 8000.0);
    live.stop();
}

/// One process has all partitions; a second one comes and takes some, and leaves: three times they are shared out.
#[test]
fn rebalances_are_counted_and_lag_is_that_of_the_partitions_that_a_process_has() {
    let kafka = Kafka::shared();
    let shop = Shop::new(kafka, 2, &Changes::default());
    let mut first = shop.start(Program::Independent);
    let has = |live: &super::shop::Live| {
        let (_, text) = get(live.address(), "/metrics").expect("it answers");
        text.lines().filter(|line| line.starts_with("resolvent_partition_lag_records{")).count()
    };
    eventually("it has both partitions", || (has(&first) == 2).then_some(()));
    let rebalances = first.metric("resolvent_kafka_rebalances_total", "").unwrap_or_default();
    assert!(rebalances >= 1.0);
    let second = shop.start(Program::Independent);
    first.await_metric("resolvent_kafka_rebalances_total", "", rebalances + 1.0);
    eventually("each has one", || (has(&first) == 1 && has(&second) == 1).then_some(()));
    let shared = first.metric("resolvent_kafka_rebalances_total", "").unwrap_or_default();
    second.stop();
    first.await_metric("resolvent_kafka_rebalances_total", "", shared + 1.0);
    eventually("the first has both again", || (has(&first) == 2).then_some(()));
    let lines = orders(0..100);
    kafka.send(&shop.events, lines.lines().enumerate().map(|(at, line)| Sent::value(at as i32 % 2, line)));
    first.await_metric("resolvent_kafka_transactions_total", "end=\"committed\"", 1.0);
    eventually("nothing lags", || (first.metric("resolvent_partition_lag_records", "")? == 0.0).then_some(()));
    first.stop();
}
