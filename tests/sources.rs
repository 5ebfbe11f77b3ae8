//! Where records come from and where outcomes go: every kind of input and output of the jobs.

use std::io::Write;
use std::process::Stdio;

use crate::support::{
    Outcome, Program, Running, SHOP, Workspace, assert_unique_positions, eventually, followed_shop, gzip, orders,
    payments, read_outcomes,
};

const INPUT: &str = "path = \"events.jsonl\"";

fn events() -> String {
    payments(0..500) + &orders(0..1000) + &payments(500..1000)
}

#[track_caller]
fn all_resolved(outcomes: &[Outcome], position_prefix: &str) {
    assert_eq!(outcomes.len(), 2000);
    assert_unique_positions(outcomes);
    for outcome in outcomes {
        assert_eq!(outcome.outcome, "resolved", "{outcome:?}");
        assert!(outcome.position.starts_with(position_prefix), "{outcome:?}");
    }
}

#[test]
fn standard_input() {
    for program in Program::ALL {
        let workspace = Workspace::with(&SHOP.replace("events.jsonl", "-"), "");
        let mut command = workspace.command(program, &[]);
        let mut running = Running::start(command.stdin(Stdio::piped()));
        running.stdin().write_all(events().as_bytes()).unwrap();
        running.wait().succeeded();
        all_resolved(&workspace.outcomes(), "-:");
    }
}

#[test]
fn compressed_files() {
    let zstd = || zstd::encode_all(events().as_bytes(), 3).unwrap();
    for program in Program::ALL {
        for (name, bytes) in [("events.jsonl.gz", gzip(events().as_bytes())), ("events.jsonl.zst", zstd())] {
            let workspace = Workspace::with(&SHOP.replace("events.jsonl", name), "");
            workspace.write(name, &bytes);
            workspace.run(program, &[]).succeeded();
            all_resolved(&workspace.outcomes(), &format!("{name}:"));

            let damaged = Workspace::with(&SHOP.replace("events.jsonl", name), "");
            damaged.write(name, &bytes[..bytes.len() / 2]);
            damaged.run(program, &[]).failed(1, &[name, "damaged or cut off"]);
            damaged.write(name, &bytes);
            damaged.run(program, &[]).succeeded();
            all_resolved(&damaged.outcomes(), &format!("{name}:"));
        }
    }
}

#[test]
fn a_file_for_each_stream() {
    let input = "streams = { order = \"orders.jsonl\", payment = \"payments.jsonl\" }";
    let job = SHOP.replace(INPUT, input).replace("stream = \"/type\"", "");
    for program in Program::ALL {
        let workspace = Workspace::with(&job, "");
        // Nothing in the records says what they are.
        workspace.write("orders.jsonl", orders(0..1000).replace(r#""type":"order","#, ""));
        workspace.write("payments.jsonl", payments(0..1000).replace(r#""type":"payment","#, ""));
        workspace.run(program, &[]).succeeded();
        let outcomes = workspace.outcomes();
        all_resolved(&outcomes, "");
        for outcome in outcomes {
            assert!(outcome.position.starts_with(&format!("{}s.jsonl:", outcome.stream)), "{outcome:?}");
        }
    }
}

#[test]
fn a_file_that_is_appended_to() {
    for program in Program::ALL {
        let workspace = Workspace::with(&followed_shop(), "");
        let running = workspace.start(program, &[]);
        let wanted = |count| {
            let resolved = workspace.path("resolved.jsonl");
            eventually("what was appended is resolved", || (read_outcomes(&resolved).len() == count).then_some(()));
        };
        workspace.append("events.jsonl", orders(0..1000));
        wanted(1000);
        for (half, id) in (0..1000).enumerate().step_by(500) {
            let lines = payments(id..id + 500);
            // A line that comes in two parts is one record.
            let (first, second) = lines.split_at(lines.len() - 10);
            workspace.append("events.jsonl", first);
            wanted(1000 + half + 499);
            workspace.append("events.jsonl", second);
            wanted(1000 + half + 500);
        }
        running.terminate();
        running.wait().succeeded();
        all_resolved(&workspace.outcomes(), "events.jsonl:");
    }
}

#[test]
fn standard_output() {
    for program in Program::ALL {
        let job =
            SHOP.replace("file = \"resolved.jsonl\"", "stdout = true").replace("file = \"dead.jsonl\"", "null = true");
        let workspace = Workspace::with(&job, &(events() + "no JSON\n"));
        let ended = workspace.run(program, &["--quiet"]).succeeded();
        assert_eq!(ended.stderr, "");
        workspace.write("stdout", ended.stdout);
        all_resolved(&read_outcomes(&workspace.path("stdout")), "events.jsonl:");
    }
}
