//! Starts and stops: brokers that are not there yet, topics that are missing, signals at any time.

use std::time::{Duration, Instant};

use super::shop::{Changes, Shop};
use crate::support::{
    Broker, BrokerSettings, Kafka, Program, Random, Running, Summary, assert_unique_positions, eventually, orders,
    payments,
};

/// How long a stop may take: far less than the timeout of a transaction, or than librdkafka's for a message.
const BOUNDED: Duration = Duration::from_secs(20);

#[test]
fn a_job_waits_for_a_broker_that_is_not_there_yet() {
    let Some(mut kafka) = Kafka::own("a job before its broker", BrokerSettings::brief()) else { return };
    for program in Program::ALL {
        let shop = Shop::new(&kafka, 1, &Changes::default());
        kafka.send_lines(&shop.events, &(payments(0..10) + &orders(0..10)));
        kafka.broker().kill();
        let mut live = shop.launch(program);
        eventually("it says that it waits", || live.running.stderr().contains("waiting for").then_some(()));
        assert!(!live.is_ready());
        kafka.broker().launch().unwrap();
        live.await_ready();
        live.await_metric("resolvent_events_total", "outcome=\"resolved\"", 20.0);
        live.stop();
        assert_eq!(kafka.outcomes(&shop.resolved).len(), 20);
    }
}

#[test]
fn a_job_that_waits_for_its_broker_can_be_stopped() {
    let kafka = Kafka::shared();
    // Nobody listens here.
    let nobody = Broker::prepare(BrokerSettings::brief()).unwrap_or_else(|error| panic!("{error}")).address();
    for program in Program::ALL {
        let shop = Shop::without_topics(kafka, &Changes { brokers: Some(&nobody), ..Changes::default() });
        let live = shop.launch(program);
        eventually("it says that it waits", || live.running.stderr().contains("waiting for").then_some(()));
        let asked = Instant::now();
        live.running.terminate();
        let ended = live.running.wait();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        assert!(asked.elapsed() < BOUNDED, "it took {:?}", asked.elapsed());
    }
}

#[test]
fn a_missing_topic_is_named_or_made() {
    let kafka = Kafka::shared();
    for program in Program::ALL {
        let shop = Shop::without_topics(kafka, &Changes::default());
        let run = || shop.workspace.run(program, &["--until-end"]);
        // All that is missing is named at once.
        let missing =
            if program == Program::Independent { vec![&*shop.events] } else { vec![&*shop.resolved, &shop.dead] };
        run().failed(1, &[&missing[..], &["not exist", "create_topics"]].concat());
        kafka.create(&shop.events, 2, &[]);
        kafka.send_lines(&shop.events, &orders(0..10));
        run().failed(1, &[&*shop.resolved, &shop.dead, "not exist", "create_topics"]);
        shop.replace("[sink.kafka]\n", "[sink.kafka]\ncreate_topics = true\n");
        run().succeeded();
        assert_eq!(kafka.outcomes(&shop.resolved).len(), 10);

        let shop = Shop::without_topics(
            kafka,
            &Changes { source: "create_topics = true", sink: "create_topics = true", ..Changes::default() },
        );
        let mut live = shop.start(program);
        kafka.send_lines(&shop.events, &orders(0..10));
        live.await_metric("resolvent_events_total", "outcome=\"resolved\"", 10.0);
        live.stop();
    }
}

#[test]
fn sigterm_at_any_time_commits_or_aborts_and_the_next_start_goes_on() {
    let (kafka, mut random) = (Kafka::shared(), Random::new(7));
    for program in Program::ALL {
        let shop = Shop::new(kafka, 3, &Changes::default());
        let mut fed = 0;
        for _ in 0..5 {
            let mut live = shop.launch(program);
            if random.below(2) == 0 {
                live.await_ready();
            }
            for _ in 0..random.below(10) {
                kafka.send_lines(&shop.events, &(payments(fed..fed + 50) + &orders(fed..fed + 50)));
                fed += 50;
            }
            let asked = Instant::now();
            live.stop();
            assert!(asked.elapsed() < BOUNDED, "it took {:?}", asked.elapsed());
        }
        let ended = shop.workspace.run(program, &["--until-end"]).succeeded();
        if program != Program::Independent {
            assert_eq!(Summary::parse(&ended.stderr).resolved, 2 * fed);
        }
        let outcomes = kafka.outcomes(&shop.resolved);
        assert_unique_positions(&outcomes);
        assert_eq!(outcomes.len() as u64, 2 * fed, "{program:?}");
    }
}

#[test]
fn sigterm_ends_a_job_whose_broker_has_gone() {
    let Some(mut kafka) = Kafka::own("SIGTERM without a broker", BrokerSettings::brief()) else { return };
    for program in Program::ALL {
        let shop = Shop::new(&kafka, 1, &Changes { sink: "transaction_timeout = \"10s\"", ..Changes::default() });
        let mut live = shop.start(program);
        kafka.send_lines(&shop.events, &orders(0..1000));
        live.await_metric("resolvent_records_read_total", "", 1.0);
        kafka.broker().kill();
        let asked = Instant::now();
        live.running.terminate();
        let ended = live.running.wait();
        assert!(matches!(ended.code(), 0 | 1), "{}", ended.stderr);
        assert!(asked.elapsed() < BOUNDED, "it took {:?}", asked.elapsed());
        kafka.broker().launch().unwrap();
        shop.workspace.run(program, &["--until-end"]).succeeded();
        if program == Program::Independent {
            // What it could not end nobody else ends before its time is over.
            eventually("all is seen", || (kafka.outcomes(&shop.resolved).len() >= 1000).then_some(()));
        }
        let outcomes = kafka.outcomes(&shop.resolved);
        assert_unique_positions(&outcomes);
        assert_eq!(outcomes.len(), 1000);
    }
}

#[test]
fn start_says_where_partitions_are_read_from() {
    let kafka = Kafka::shared();
    let timed = |timestamp, value: &'static str| crate::support::Sent {
        timestamp: Some(timestamp),
        ..crate::support::Sent::value(0, value)
    };
    for (start, read) in [("\"earliest\"", 3), ("\"latest\"", 0), ("1700000000000", 2), ("\"2023-11-14T22:13:21Z\"", 1)]
    {
        for program in Program::ALL {
            let source = format!("start = {start}");
            let shop = Shop::new(kafka, 1, &Changes { source: &source, ..Changes::default() });
            kafka.send(
                &shop.events,
                [
                    timed(1_600_000_000_000, r#"{"type":"order","id":1}"#),
                    timed(1_700_000_000_000, r#"{"type":"order","id":2}"#),
                    timed(1_700_000_001_000, r#"{"type":"order","id":3}"#),
                ],
            );
            shop.workspace.run(program, &["--until-end"]).succeeded();
            assert_eq!(kafka.outcomes(&shop.resolved).len(), read, "start = {start}, {program:?}");
            // It is for topics that are not known yet.
            shop.replace(&source, "start = \"earliest\"");
            kafka.send_lines(&shop.events, &orders(4..5));
            shop.workspace.run(program, &["--until-end"]).succeeded();
            assert_eq!(kafka.outcomes(&shop.resolved).len(), read + 1, "start = {start}, then earliest, {program:?}");
        }
    }
}

#[test]
fn start_committed_begins_where_the_group_stands() {
    let kafka = Kafka::shared();
    for program in Program::ALL {
        let shop =
            Shop::new(kafka, 2, &Changes { source: "start = \"committed\"\ngroup = \"GROUP\"", ..Changes::default() });
        let group = format!("{}-group", shop.name);
        shop.replace("GROUP", &group);
        kafka.send_lines(&shop.events, &orders(0..5));
        let of_another = orders(5..7);
        kafka.send(&shop.events, of_another.lines().map(|line| crate::support::Sent::value(1, line)));
        kafka.commit(&group, &shop.events, 3);
        shop.workspace.run(program, &["--until-end"]).succeeded();
        let ids = || {
            let outcomes = kafka.outcomes(&shop.resolved);
            let mut ids: Vec<u64> = outcomes.iter().map(|outcome| outcome.event["id"].as_u64().unwrap()).collect();
            ids.sort_unstable();
            ids
        };
        // Of a partition that the group does not know it is taken that it was added.
        assert_eq!(ids(), [3, 4, 5, 6], "{program:?}");
        assert_eq!(kafka.committed(&group, &shop.events), [Some(5), Some(2)], "{program:?}");
        if program == Program::Independent {
            continue;
        }
        // From then on the state knows, whatever becomes of the group.
        kafka.commit(&group, &shop.events, 0);
        kafka.send_lines(&shop.events, &orders(7..8));
        shop.workspace.run(program, &["--until-end"]).succeeded();
        assert_eq!(ids(), [3, 4, 5, 6, 7], "{program:?}");
    }
}

/// Any number of processes share the partitions, and each record has one outcome, whoever comes and goes.
#[test]
fn independent_processes_come_and_go() {
    let kafka = Kafka::shared();
    let shop = Shop::new(kafka, 8, &Changes { sink: "transaction_timeout = \"10s\"", ..Changes::default() });
    let follower = kafka.follow(&shop.resolved);
    let mut fed = 0;
    let mut feed = |slices: usize| {
        for _ in 0..slices {
            let lines = orders(fed..fed + 80);
            kafka.send(
                &shop.events,
                lines.lines().enumerate().map(|(at, line)| crate::support::Sent::value(at as i32 % 8, line)),
            );
            fed += 80;
            std::thread::sleep(Duration::from_millis(20));
        }
        fed as usize
    };
    let all_seen = |awaited: usize| eventually("all is seen", || (follower.stdout_lines() >= awaited).then_some(()));
    let start = || -> Running { shop.start(Program::Independent).running };
    let first = start();
    all_seen(feed(10));
    let second = start();
    all_seen(feed(10));
    let third = start();
    feed(5);
    first.kill();
    all_seen(feed(10));
    second.terminate();
    feed(5);
    second.wait().succeeded();
    let fourth = start();
    all_seen(feed(10));
    for last in [third, fourth] {
        last.terminate();
        last.wait().succeeded();
    }
    let outcomes = kafka.outcomes(&shop.resolved);
    assert_unique_positions(&outcomes);
    assert_eq!(outcomes.len() as u64, fed);
}

/// The cheaper choice: nothing is lost.
#[test]
fn at_least_once_loses_nothing() {
    let (kafka, mut random) = (Kafka::shared(), Random::new(8));
    for program in Program::ALL {
        // How long the group waits for a process that was killed: the least that brokers allow.
        let source = "properties = { \"session.timeout.ms\" = \"6000\", \"heartbeat.interval.ms\" = \"1000\" }";
        let shop = Shop::new(kafka, 2, &Changes { job: "delivery = \"at_least_once\"", source, ..Changes::default() });
        let mut fed = 0;
        for _ in 0..5 {
            let live = shop.start(program);
            for _ in 0..5 {
                kafka.send_lines(&shop.events, &(payments(fed..fed + 50) + &orders(fed..fed + 50)));
                fed += 50;
            }
            std::thread::sleep(Duration::from_millis(random.below(120) as u64));
            live.running.kill();
        }
        shop.workspace.run(program, &["--until-end"]).succeeded();
        let outcomes = kafka.outcomes(&shop.resolved);
        let positions: std::collections::BTreeSet<&str> =
            outcomes.iter().map(|outcome| outcome.position.as_str()).collect();
        assert_eq!(positions.len() as u64, 2 * fed, "{program:?}");
    }
}
