//! What does not answer: a broker, a process that sleeps, a transaction that never ends.

use std::thread;
use std::time::{Duration, Instant};

use super::shop::{Changes, Live, Shop};
use crate::support::{BrokerSettings, Kafka, Network, Program, Proxy, Sent, Workspace, orders, payments};

/// How long a stop may take: Kubernetes kills after 30 s.
const BOUNDED: Duration = Duration::from_secs(20);

/// Bytes of a large record, and how many of them come.
const LARGE: usize = 20_000;
const MANY: u64 = 8_000;

/// A broker that is written to through a proxy, and read from without one.
fn proxied() -> Option<(Kafka, Proxy)> {
    let proxy = Proxy::start();
    let settings = BrokerSettings { proxy: Some(proxy.port()), ..BrokerSettings::brief() };
    let mut kafka = Kafka::own("a connection that hangs", settings)?;
    proxy.lead_to(kafka.broker().proxied_address());
    Some((kafka, proxy))
}

#[test]
fn sigterm_does_not_wait_for_a_commit_that_hangs() {
    let Some((kafka, proxy)) = proxied() else { return };
    for program in Program::ALL {
        let sink = format!("brokers = \"{}\"\ntransaction_timeout = \"20s\"", proxy.address());
        let shop = Shop::new(&kafka, 1, &Changes { sink: &sink, ..Changes::default() });
        let mut live = shop.start(program);
        kafka.send_lines(&shop.events, &(orders(0..100) + &payments(0..100)));
        live.await_metric("resolvent_events_total", "outcome=\"resolved\"", 200.0);
        proxy.set(Network::Hangs);
        kafka.send_lines(&shop.events, &(orders(100..200) + &payments(100..200)));
        thread::sleep(Duration::from_millis(500));
        let asked = Instant::now();
        live.running.terminate();
        let ended = live.running.wait();
        assert!(asked.elapsed() < BOUNDED, "it took {:?}", asked.elapsed());
        ended.failed(1, &["of being asked to stop", "a restart goes on from there"]);
        proxy.set(Network::Works);
        shop.workspace.run(program, &["--until-end"]).succeeded();
        shop.assert_each_once(&kafka, 400);
    }
}

/// The source serves all the while: what it has would fill any memory.
#[test]
fn a_sink_that_hangs_holds_the_source_back() {
    let Some((kafka, proxy)) = proxied() else { return };
    let text = "x".repeat(LARGE);
    let large = |ids: std::ops::Range<u64>| {
        let lines = ids.map(|id| format!(r#"{{"type":"order","id":{id},"item":"{text}"}}"#));
        lines.collect::<Vec<_>>()
    };
    for program in Program::ALL {
        let sink = format!("brokers = \"{}\"", proxy.address());
        // A member of the group that does not ask for records for so long, or does not say that it lives, is put out.
        let source = "properties = { \"session.timeout.ms\" = \"6000\", \"max.poll.interval.ms\" = \"6000\" }";
        let changes = Changes { job: "epoch_size = \"4MiB\"", source, sink: &sink, ..Changes::default() };
        let shop = Shop::new(&kafka, 4, &changes);
        let send = |lines: &[String]| {
            let records = lines.iter().enumerate().map(|(at, line)| Sent::value(at as i32 % 4, line));
            kafka.send(&shop.events, records);
        };
        let mut live = shop.start(program);
        send(&large(0..500));
        live.await_metric("resolvent_events_total", "outcome=\"resolved\"", 500.0);
        if program == Program::Independent {
            // Counted once it is noticed that it was given its partitions.
            live.await_metric("resolvent_kafka_rebalances_total", "", 1.0);
        }
        let (memory, rebalances) =
            (of(&live, "process_resident_memory_bytes"), of(&live, "resolvent_kafka_rebalances_total"));
        proxy.set(Network::Hangs);
        send(&large(500..MANY));
        live.await_metric("resolvent_backpressure_seconds_total", "cause=\"commit\"", 8.0);
        let grown = of(&live, "process_resident_memory_bytes") - memory;
        let fed = (MANY as usize * LARGE) as f64;
        println!("{program:?}: {grown} bytes more in memory, of {fed} fed");
        assert!(grown < fed * 0.8, "{program:?} holds {grown} bytes more of {fed}");
        proxy.set(Network::Works);
        live.await_metric("resolvent_events_total", "outcome=\"resolved\"", MANY as f64);
        assert_eq!(of(&live, "resolvent_kafka_rebalances_total"), rebalances, "it was put out of its group");
        assert_eq!(of(&live, "resolvent_began_again_total"), 0.0);
        live.stop();
        shop.assert_each_once(&kafka, MANY as usize);
    }
}

fn of(live: &Live, metric: &str) -> f64 {
    live.metric(metric, "").unwrap_or_default()
}

#[test]
fn a_process_that_was_taken_over_while_it_slept_ends_though_it_has_nothing_to_do() {
    let kafka = Kafka::shared();
    let mut shop = Shop::new(kafka, 1, &Changes::default());
    let first = shop.start(Program::Sedd);
    first.running.suspend();
    let workspace = Workspace::new();
    workspace.write("job.toml", shop.workspace.read("job.toml"));
    workspace.copy_from(&shop.workspace, "state");
    let asleep = std::mem::replace(&mut shop.workspace, workspace);
    let mut second = shop.start(Program::Sedd);
    first.running.proceed();
    first.running.wait().failed(1, &["another instance"]);
    drop(asleep);
    kafka.send_lines(&shop.events, &orders(0..10));
    second.await_metric("resolvent_events_total", "outcome=\"resolved\"", 10.0);
    second.stop();
    shop.assert_each_once(kafka, 10);
}

#[test]
fn offsets_in_a_transaction_that_nobody_ends_are_not_waited_for_for_ever() {
    let kafka = Kafka::shared();
    let shop = Shop::new(kafka, 1, &Changes::default());
    let group = format!("resolvent-{}", shop.name);
    // Of another transactional id, so that the start does not end it, as after the broker has lost the end of the job's own.
    let open = kafka.hold_offset(&group, &shop.resolved);
    shop.workspace.run(Program::Sedd, &["--until-end"]).failed(1, &[&group, "kafka-transactions.sh abort"]);
    drop(open);
}
