//! `independent` as a member of its consumer group.

use super::shop::{Changes, Shop};
use crate::support::{Kafka, Program, Sent, eventually, orders};

/// How long the group waits for a member that does not answer: the least that brokers allow.
const SESSION: &str = "properties = { \"session.timeout.ms\" = \"6000\", \"heartbeat.interval.ms\" = \"1000\" }";

/// Orders spread over partitions.
fn send(kafka: &Kafka, shop: &Shop, ids: std::ops::Range<u64>, partitions: i32) {
    let lines = orders(ids);
    kafka.send(&shop.events, lines.lines().enumerate().map(|(at, line)| Sent::value(at as i32 % partitions, line)));
}

#[test]
fn a_process_that_stands_still_loses_its_partitions_and_comes_back_for_a_share() {
    let kafka = Kafka::shared();
    let shop =
        Shop::new(kafka, 4, &Changes { source: SESSION, sink: "transaction_timeout = \"3s\"", ..Changes::default() });
    let first = shop.start(Program::Independent);
    let mut second = shop.start(Program::Independent);
    send(kafka, &shop, 0..400, 4);
    shop.assert_each_once(kafka, 400);
    send(kafka, &shop, 400..800, 4);
    first.running.suspend();
    // The group puts it out after six seconds, and what it had in hand is read by the other.
    shop.assert_each_once(kafka, 800);
    send(kafka, &shop, 800..1200, 4);
    shop.assert_each_once(kafka, 1200);
    let rebalances = second.metric("resolvent_kafka_rebalances_total", "").unwrap_or_default();
    first.running.proceed();
    second.await_metric("resolvent_kafka_rebalances_total", "", rebalances + 1.0);
    send(kafka, &shop, 1200..1600, 4);
    shop.assert_each_once(kafka, 1600);
    first.stop();
    second.stop();
    shop.assert_each_once(kafka, 1600);
}

#[test]
fn a_process_without_partitions_is_ready_and_takes_over_when_another_leaves() {
    let kafka = Kafka::shared();
    for delivery in ["exactly_once", "at_least_once"] {
        let job = format!("delivery = \"{delivery}\"");
        let shop = Shop::new(kafka, 1, &Changes { job: &job, ..Changes::default() });
        let first = shop.start(Program::Independent);
        let second = shop.start(Program::Independent);
        send(kafka, &shop, 0..100, 1);
        shop.assert_each_once(kafka, 100);
        let lags = |live: &super::shop::Live| live.metric("resolvent_partition_lag_records", "").is_some();
        eventually("one of them has the partition", || (lags(&first) != lags(&second)).then_some(()));
        first.stop();
        send(kafka, &shop, 100..200, 1);
        shop.assert_each_once(kafka, 200);
        second.stop();
        // A later process goes on where they were.
        shop.workspace.run(Program::Independent, &["--until-end"]).succeeded();
        shop.assert_each_once(kafka, 200);
    }
}

#[test]
fn nothing_is_kept_beside_the_group() {
    let kafka = Kafka::shared();
    let shop = Shop::new(kafka, 2, &Changes::default());
    shop.workspace.run(Program::Independent, &["--check"]).succeeded();
    shop.workspace.run(Program::Independent, &["--fresh"]).failed(1, &["--fresh", "group", "--reset-offsets"]);
    send(kafka, &shop, 0..10, 2);
    shop.workspace.run(Program::Independent, &["--until-end"]).succeeded();
    assert!(!shop.workspace.path("state").exists());
    assert_eq!(kafka.committed(&format!("resolvent-{}", shop.name), &shop.events), [Some(5), Some(5)]);
}

#[test]
fn a_job_with_null_sinks_commits_to_its_group() {
    let kafka = Kafka::shared();
    let shop = Shop::new(kafka, 2, &Changes::default());
    shop.replace(&format!("topic = \"{}\"", shop.resolved), "null = true");
    shop.replace(&format!("topic = \"{}\"", shop.dead), "null = true");
    send(kafka, &shop, 0..10, 2);
    shop.workspace.run(Program::Independent, &["--until-end"]).succeeded();
    assert_eq!(kafka.committed(&format!("resolvent-{}", shop.name), &shop.events), [Some(5), Some(5)]);
}

#[test]
fn a_group_that_stands_nowhere_is_refused_where_it_is_to_say_where_to_begin() {
    let kafka = Kafka::shared();
    for program in Program::ALL {
        let shop = Shop::new(kafka, 1, &Changes { source: "start = \"committed\"", ..Changes::default() });
        let partition = format!("{}:0", shop.events);
        let ended = shop.workspace.run(program, &["--until-end"]);
        ended.failed(1, &[&partition, "start = \"committed\"", "--reset-offsets"]);
    }
}
