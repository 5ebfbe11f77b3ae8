//! What a job that is started again knows, counts and reads.

use std::ops::Range;
use std::time::Duration;

use crate::support::{Program, SHOP, Summary, Workspace, assert_unique_positions, gzip, orders, payments};

#[test]
fn totals_go_on_over_restarts() {
    for program in Program::ALL {
        let workspace = Workspace::with(SHOP, "");
        let waits = program != Program::Independent;
        for run in 0..4_u64 {
            // Of each run's payments the second half waits for the orders of the next.
            workspace.append(
                "events.jsonl",
                orders(run * 100..run * 100 + 100) + &payments(run * 100 + 50..run * 100 + 150) + "no JSON\n",
            );
            let ended = workspace.run(program, &["--workers", ["1", "3", "2", "4"][run as usize]]).succeeded();
            let summary = Summary::parse(&ended.stderr);
            assert_eq!((summary.read, summary.rejected), ((run + 1) * 201, run + 1));
            assert_eq!(summary.waiting, if waits { 50 } else { 0 });
            let outcomes = workspace.outcomes();
            assert_unique_positions(&outcomes);
            assert_eq!(outcomes.len() as u64, summary.rejected + summary.resolved + summary.expired);
        }
        let ended = workspace.run(program, &["--until-end=expire"]).succeeded();
        let summary = Summary::parse(&ended.stderr);
        assert_eq!((summary.expired, summary.waiting), (if waits { 50 } else { 0 }, 0));
    }
}

/// A stop may come while a job still reads its input again: what waits then is not where it was, but nothing is lost.
#[test]
fn a_stop_before_a_job_is_ready_counts_what_waits() {
    for program in [Program::Sedd, Program::Dedd] {
        let workspace = Workspace::with(SHOP, &(orders(0..100_000) + &payments(200_000..200_100)));
        workspace.run(program, &["--quiet"]).succeeded();
        let stopped = (1..=10).filter(|tenths| {
            let running = workspace.start(program, &["--workers", "2"]);
            std::thread::sleep(Duration::from_millis(20 * tenths));
            running.terminate();
            let ended = running.wait();
            // It may not have begun to listen to signals.
            assert!(ended.status.code() == Some(0) || ended.status.code().is_none(), "{program:?}: {}", ended.stderr);
            ended.status.success() && Summary::parse(&ended.stderr).waiting == 100
        });
        assert!(stopped.count() > 0, "{program:?}");
        workspace.append("events.jsonl", orders(200_000..200_100));
        let summary = Summary::parse(&workspace.run(program, &[]).succeeded().stderr);
        assert_eq!((summary.read, summary.resolved, summary.waiting), (100_200, 100_200, 0), "{program:?}");
    }
}

/// The committed part of the input is made blank, all but what tells a rewritten file: who does not read it again does not see that.
#[test]
fn deferred_goes_on_without_reading_committed_input_again() {
    let blank = |length: usize| [&vec![b' '; length - 1][..], b"\n"].concat();
    for (program, resolved) in [(Program::Dedd, 300), (Program::Sedd, 200)] {
        let events = orders(0..100) + &payments(100..200);
        let workspace = Workspace::with(SHOP, "");
        workspace.write("events.jsonl", [blank(4096), events.clone().into_bytes(), blank(4096)].concat());
        let ended = workspace.run(program, &[]).succeeded();
        assert_eq!(Summary::parse(&ended.stderr).waiting, 100);
        workspace.write("events.jsonl", [blank(4096), blank(events.len()), blank(4096)].concat());
        // These need referents of before; those that waited are woken by what comes now.
        workspace.append("events.jsonl", payments(0..100) + &orders(100..200));
        let ended = workspace.run(program, &[]).succeeded();
        let summary = Summary::parse(&ended.stderr);
        assert_eq!((summary.read, summary.resolved), (400, resolved + 100), "{program:?}");
        assert_eq!(summary.waiting, 300 - resolved, "{program:?}");
    }
}

/// Of the files that hold no referent nothing is read again, and of one whose referents are forgotten only what may hold one that is not.
#[test]
fn what_cannot_hold_a_referent_is_not_read_again() {
    let job = r#"
[job]
name = "shop"

[[stream]]
name = "order"
key = "/id"
retain = "5s"

[[stream]]
name = "payment"
depends_on = [{ entity = "order", by = "/order" }]

[source.file]
streams = { order = "orders.jsonl", payment = "payments.jsonl" }

[sink.resolved]
file = "resolved.jsonl"
[sink.dead_letter]
file = "dead.jsonl"
"#;
    let order = |ids: Range<u64>| ids.map(|id| format!("{{\"id\":{id}}}\n")).collect::<String>();
    let payment = |ids: Range<u64>| ids.map(|id| format!("{{\"order\":{id}}}\n")).collect::<String>();
    // A compressed file cannot be read from somewhere in the middle: what is before that is passed over.
    let jobs = ["orders.jsonl", "orders.jsonl.gz"].map(|name| {
        let workspace = Workspace::with(&job.replace("orders.jsonl", name), "");
        let bytes = |ids| {
            let orders = order(ids).into_bytes();
            if name.ends_with("gz") { gzip(&orders) } else { orders }
        };
        let files = [bytes(0..100), [bytes(0..100), bytes(100..150)].concat()];
        workspace.write(name, &files[0]);
        workspace.write("payments.jsonl", payment(50..150));
        let ended = workspace.run(Program::Sedd, &[]).succeeded();
        assert_eq!(Summary::parse(&ended.stderr).waiting, 50);
        (name, workspace, files)
    });
    // Until these orders are forgotten.
    std::thread::sleep(Duration::from_secs(6));
    for (name, workspace, files) in jobs {
        workspace.write(name, &files[1]);
        let ended = workspace.run(Program::Sedd, &[]).succeeded();
        assert_eq!(Summary::parse(&ended.stderr).waiting, 0);
        assert!(!ended.stderr.contains("reading again"), "{}", ended.stderr);
        workspace.append("payments.jsonl", payment(140..150) + &payment(0..10));
        let ended = workspace.run(Program::Sedd, &[]).succeeded();
        let summary = Summary::parse(&ended.stderr);
        assert_eq!((summary.read, summary.waiting), (270, 10), "{name}: only the old orders are forgotten");
        let range = format!("begin={} end={}", order(0..100).len(), order(0..150).len());
        let again: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("reading again")).collect();
        assert!(matches!(again[..], [line] if line.contains(name) && line.contains(&range)), "{}", ended.stderr);
    }
}
