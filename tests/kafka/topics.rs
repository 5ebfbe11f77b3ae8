//! What topics do: they have many partitions, get more, are compacted, deleted, and made anew.

use crate::support::{Kafka, Program, Sent, Summary, assert_unique_positions, eventually, orders, payments};

use super::shop::{Changes, Shop};

const UNTIL_END: [&str; 1] = ["--until-end"];

#[test]
fn a_thousand_partitions_are_read() {
    let kafka = Kafka::shared();
    for program in Program::JOINING {
        let shop = Shop::new(kafka, 1000, &Changes::default());
        let (orders, payments) = (orders(0..3000), payments(0..3000));
        let spread = |lines: &'static str, by: usize| {
            lines.lines().enumerate().map(move |(at, line)| Sent::value(((at * by) % 1000) as i32, line))
        };
        let (orders, payments): (&'static str, &'static str) = (orders.leak(), payments.leak());
        kafka.send(&shop.events, spread(payments, 7));
        kafka.send(&shop.events, spread(orders, 1));
        let ended = shop.workspace.run(program, &UNTIL_END).succeeded();
        let summary = Summary::parse(&ended.stderr);
        assert_eq!((summary.read, summary.resolved, summary.waiting), (6000, 6000, 0), "{program:?}");
        let again = shop.workspace.run(program, &UNTIL_END).succeeded();
        assert_eq!(Summary::parse(&again.stderr), summary);
        let outcomes = kafka.outcomes(&shop.resolved);
        assert_eq!(outcomes.len(), 6000);
        assert_unique_positions(&outcomes);
    }
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let kafka = Kafka::shared();
    for program in Program::ALL {
        // The start of the job's choice is not theirs: they came after it.
        let source = "start = \"latest\"\nproperties = { \"metadata.max.age.ms\" = \"1000\", \"topic.metadata.refresh.interval.ms\" = \"1000\" }";
        let shop = Shop::new(kafka, 1, &Changes { source, ..Changes::default() });
        kafka.send_lines(&shop.events, &orders(0..5));
        let mut live = shop.start(program);
        kafka.send_lines(&shop.events, &payments(10..20));
        kafka.grow(&shop.events, 3);
        let added = orders(10..20);
        kafka.send(&shop.events, added.lines().enumerate().map(|(at, line)| Sent::value(1 + at as i32 % 2, line)));
        live.await_metric("resolvent_events_total", "outcome=\"resolved\"", 20.0);
        live.stop();
        assert_eq!(kafka.outcomes(&shop.resolved).len(), 20, "{program:?}");
        // A restart goes on where it was, on all partitions.
        kafka.send(&shop.events, [Sent::value(2, r#"{"type":"payment","order":10}"#)]);
        shop.workspace.run(program, &UNTIL_END).succeeded();
        assert_eq!(kafka.outcomes(&shop.resolved).len(), 21, "{program:?}");
    }
}

#[test]
fn a_topic_that_was_deleted_and_made_anew_is_refused() {
    let kafka = Kafka::shared();
    for program in Program::JOINING {
        for again in [3, 8, 20] {
            let shop = Shop::new(kafka, 1, &Changes::default());
            kafka.send_lines(&shop.events, &orders(0..8));
            shop.workspace.run(program, &UNTIL_END).succeeded();
            kafka.delete(&shop.events);
            kafka.create(&shop.events, 1, &[]);
            kafka.send_lines(&shop.events, &orders(100..100 + again));
            let state = shop.workspace.snapshot("state");
            shop.workspace.run(program, &UNTIL_END).failed(1, &[&format!("{}:0", shop.events)]);
            assert_eq!(kafka.outcomes(&shop.resolved).len(), 8);
            drop(state);
            // Who means it starts over.
            shop.workspace.run(program, &["--until-end", "--fresh"]);
        }
    }
}

/// Waits until the outcomes of ten orders are seen: they are counted before they are committed.
fn await_outcomes(kafka: &Kafka, shop: &Shop) {
    eventually("the outcomes are seen", || (kafka.outcomes(&shop.resolved).len() == 10).then_some(()));
}

/// The watch looks every few seconds; where the client has noticed before, that is as well.
#[test]
fn a_source_topic_that_is_deleted_while_the_job_runs_ends_it() {
    let kafka = Kafka::shared();
    for program in Program::ALL {
        let shop = Shop::new(kafka, 2, &Changes::default());
        let live = shop.start(program);
        kafka.send_lines(&shop.events, &orders(0..10));
        await_outcomes(kafka, &shop);
        kafka.delete(&shop.events);
        live.running.wait().failed(1, &[&shop.events]);
        assert_eq!(kafka.outcomes(&shop.resolved).len(), 10, "{program:?}");
    }
}

/// A job goes on with what it had in hand once the topic is there again. As its marker may have been at a partition of it, that may have to be said.
#[test]
fn a_sink_topic_that_is_deleted_while_the_job_runs_ends_it() {
    let kafka = Kafka::shared();
    for program in Program::ALL {
        let shop = Shop::new(kafka, 1, &Changes { sink: "transaction_timeout = \"2s\"", ..Changes::default() });
        let live = shop.start(program);
        kafka.send_lines(&shop.events, &orders(0..10));
        await_outcomes(kafka, &shop);
        kafka.delete(&shop.resolved);
        kafka.send_lines(&shop.events, &orders(10..20));
        live.running.wait().failed(1, &[&format!("topic `{}` does not exist", shop.resolved), "create_topics"]);
        kafka.create(&shop.resolved, 1, &[]);
        if program != Program::Independent {
            shop.workspace.run(program, &UNTIL_END).failed(1, &["the topic at whose partition it was", "lost_epoch"]);
            shop.replace("[sink.kafka]\n", "[sink.kafka]\nlost_epoch = \"aborted\"\n");
        }
        shop.workspace.run(program, &UNTIL_END).succeeded();
        let outcomes = kafka.outcomes(&shop.resolved);
        assert_eq!(outcomes.len(), 10, "{program:?}");
        assert!(outcomes.iter().all(|outcome| outcome.event["id"].as_u64() >= Some(10)), "{program:?}");
    }
}

/// Brokers forget a group's offsets with their topic: to the processes of a group a topic that was made anew is a new one.
#[test]
fn a_topic_that_was_made_anew_is_new_to_a_group() {
    let kafka = Kafka::shared();
    let shop = Shop::new(kafka, 1, &Changes::default());
    kafka.send_lines(&shop.events, &orders(0..8));
    shop.workspace.run(Program::Independent, &UNTIL_END).succeeded();
    kafka.delete(&shop.events);
    kafka.create(&shop.events, 1, &[]);
    kafka.send_lines(&shop.events, &orders(100..120));
    shop.workspace.run(Program::Independent, &UNTIL_END).succeeded();
    assert_eq!(kafka.outcomes(&shop.resolved).len(), 28);
}

#[test]
fn a_job_whose_group_was_forgotten_is_refused_with_advice() {
    let kafka = Kafka::shared();
    for program in Program::JOINING {
        let shop = Shop::new(kafka, 1, &Changes::default());
        kafka.send_lines(&shop.events, &orders(0..8));
        shop.workspace.run(program, &UNTIL_END).succeeded();
        kafka.forget_group(&format!("resolvent-{}", shop.name));
        kafka.send_lines(&shop.events, &payments(0..8));
        shop.workspace.run(program, &UNTIL_END).failed(1, &["lost_epoch"]);
        assert_eq!(kafka.outcomes(&shop.resolved).len(), 8);
        shop.replace("[sink.kafka]\n", "[sink.kafka]\nlost_epoch = \"committed\"\n");
        shop.workspace.run(program, &UNTIL_END).succeeded();
        let outcomes = kafka.outcomes(&shop.resolved);
        assert_eq!(outcomes.len(), 16);
        assert_unique_positions(&outcomes);
    }
}

#[test]
fn offsets_are_committed_to_the_group_for_tools_that_show_lag() {
    let kafka = Kafka::shared();
    for program in Program::ALL {
        let shop = Shop::new(kafka, 2, &Changes { source: "group = \"GROUP\"", ..Changes::default() });
        let group = format!("{}-group", shop.name);
        shop.replace("GROUP", &group);
        let mut live = shop.start(program);
        let lines = orders(0..50);
        kafka.send(&shop.events, lines.lines().enumerate().map(|(at, line)| Sent::value(at as i32 % 2, line)));
        live.await_metric("resolvent_events_total", "outcome=\"resolved\"", 50.0);
        eventually("the group has the offsets", || {
            (kafka.committed(&group, &shop.events) == [Some(25), Some(25)]).then_some(())
        });
        eventually("nothing lags", || (live.metric("resolvent_source_lag_records", "")? == 0.0).then_some(()));
        live.stop();
    }
}

#[test]
fn missing_topics_are_created_where_the_job_says_so() {
    let kafka = Kafka::shared();
    let create = "create_topics = true";
    let shop = Shop::without_topics(kafka, &Changes { source: create, sink: create, ..Changes::default() });
    shop.workspace.run(Program::Sedd, &UNTIL_END).succeeded();
    kafka.send_lines(&shop.events, &(orders(0..5) + &payments(0..5) + "no event\n"));
    shop.workspace.run(Program::Sedd, &UNTIL_END).succeeded();
    assert_eq!((kafka.outcomes(&shop.resolved).len(), kafka.outcomes(&shop.dead).len()), (10, 1));
}

/// What is still to be read, or to be read again, must be there; what was read for good may go.
#[test]
fn records_that_retention_has_removed_are_missed_only_where_they_are_needed() {
    let kafka = Kafka::shared();
    for (program, needs_what_it_has_read) in [(Program::Sedd, true), (Program::Dedd, false)] {
        let shop = Shop::new(kafka, 1, &Changes::default());
        kafka.send_lines(&shop.events, &orders(0..8));
        shop.workspace.run(program, &UNTIL_END).succeeded();
        kafka.send_lines(&shop.events, &payments(0..8));
        let position = format!("{}:0", shop.events);
        kafka.remove_before(&shop.events, 5);
        let ended = shop.workspace.run(program, &UNTIL_END);
        if needs_what_it_has_read {
            ended.failed(1, &[&position, "begins at 5", "--fresh"]);
            assert_eq!(kafka.outcomes(&shop.resolved).len(), 8);
            continue;
        }
        ended.succeeded();
        assert_eq!(kafka.outcomes(&shop.resolved).len(), 16);
        kafka.send_lines(&shop.events, &payments(0..3));
        kafka.remove_before(&shop.events, 18);
        shop.workspace.run(program, &UNTIL_END).failed(1, &[&position, "from offset 16", "begins at 18", "--fresh"]);
    }
}
