//! What topics do: they have many partitions, get more, are deleted and made anew, and refuse what is too large.

use crate::support::{Kafka, Program, Sent, Summary, assert_unique_positions, eventually, orders, payments};

use super::shop::{Changes, Shop};

const UNTIL_END: [&str; 1] = ["--until-end"];

/// An order whose record has this many bytes.
fn order_of(id: u64, bytes: usize) -> String {
    let empty = format!(r#"{{"type":"order","id":{id},"item":""}}"#);
    empty.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - empty.len())))
}

/// An outcome holds its event and more, so that it may be larger than a topic takes though the event was not. Nothing is compressed here, so that sizes are what
/// they seem.
#[test]
fn outcomes_that_their_topic_does_not_take_are_refused_until_the_job_knows_its_limit() {
    let kafka = Kafka::shared();
    for program in Program::JOINING {
        let (job, sink) = ("max_record = \"4MiB\"", "compression = \"none\"");
        let shop = Shop::without_topics(kafka, &Changes { job, sink, ..Changes::default() });
        kafka.create(&shop.events, 1, &[("max.message.bytes", "8388608")]);
        kafka.create(&shop.resolved, 1, &[("max.message.bytes", "100000")]);
        kafka.create(&shop.dead, 1, &[]);
        let sizes: Vec<usize> = (98_500..100_500).step_by(50).collect();
        let lines: Vec<String> = (0..).zip(&sizes).map(|(id, bytes)| order_of(id, *bytes)).collect();
        kafka.send(&shop.events, lines.iter().map(|line| Sent::value(0, line)));
        kafka.send_lines(&shop.events, &orders(2_000_000..2_000_010));
        // The same epoch would be refused at each start: nothing of it is seen, and what to do is said.
        shop.workspace.run(program, &UNTIL_END).failed(1, &[&shop.resolved, "max.message.bytes"]);
        shop.replace("compression", "properties = { \"message.max.bytes\" = \"100000\" }\ncompression");
        shop.workspace.run(program, &UNTIL_END).succeeded();
        let outcomes = kafka.read(&shop.resolved);
        assert_eq!(outcomes.len(), lines.len() + 10, "{program:?}");
        let cut = outcomes.iter().filter(|record| record.header("resolvent-size").is_some()).count();
        assert!((10..30).contains(&cut), "{cut} of {} were cut", lines.len());
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
