//! A state whose bytes are not those that were written: the job says so and stops, or comes to the same end as without. Never another one.

use std::fs;

use crate::support::{
    Ended, Program, Scrape, Workspace, assert_unique_positions, eventually, followed_shop, orders, payments, result_set,
};

/// Payments that are waiting when the job is killed.
const WAITING: u64 = 3000;

/// A job that has stopped well once, gone on, and been killed: some of its state is in tables, some in the log only.
fn killed() -> Workspace {
    let workspace = Workspace::with(&followed_shop(), &(orders(0..500) + &payments(0..WAITING / 2)));
    workspace.run(Program::Dedd, &["--until-end"]).succeeded();
    workspace.append("events.jsonl", payments(WAITING / 2..WAITING) + &orders(500..600));
    let mut running = workspace.start(Program::Dedd, &["--metrics", "127.0.0.1:0"]);
    let address = running.metrics_address();
    let records = (WAITING + 600) as f64;
    eventually("everything is committed", || {
        let read = Scrape::of(&address)?.value("resolvent_records_read_total", "")?;
        (read >= records).then_some(())
    });
    running.kill();
    // What is still to come, and wakes everything that waits.
    workspace.append("events.jsonl", orders(600..WAITING));
    workspace
}

/// A change of a file's bytes.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Of one bit, at this part of its length.
    Flip(f64),
    /// Everything from this part of its length on.
    Cut(f64),
}

impl Change {
    fn apply(self, bytes: &[u8]) -> Vec<u8> {
        let at = |part: f64| ((bytes.len() - 1) as f64 * part) as usize;
        let mut changed = bytes.to_vec();
        match self {
            Change::Flip(part) => changed[at(part)] ^= 0x10,
            Change::Cut(part) => changed.truncate(at(part)),
        }
        changed
    }
}

const CHANGES: [Change; 8] = [
    Change::Flip(0.0),
    Change::Flip(0.1),
    Change::Flip(0.5),
    Change::Flip(0.9),
    Change::Flip(1.0),
    Change::Cut(0.0),
    Change::Cut(0.5),
    Change::Cut(1.0),
];

fn copy(original: &Workspace) -> Workspace {
    let copy = Workspace::new();
    for name in ["job.toml", "events.jsonl", "resolved.jsonl", "dead.jsonl", "state"] {
        copy.copy_from(original, name);
    }
    copy
}

fn finish(workspace: &Workspace) -> Ended {
    workspace.run(Program::Dedd, &["--until-end"])
}

#[test]
fn a_damaged_state_is_refused_or_recovered_exactly() {
    let original = killed();
    let undamaged = copy(&original);
    finish(&undamaged).succeeded();
    let expected = result_set(&undamaged.outcomes());
    assert_eq!(expected.values().sum::<u64>(), 2 * WAITING);
    let (mut refused, mut recovered) = (0, 0);
    for (path, bytes) in original.snapshot("state") {
        let name = path.strip_prefix(original.root()).unwrap().to_str().unwrap().to_owned();
        let matters = [".sst", ".log", "MANIFEST", "CURRENT", "FORMAT"].iter().any(|part| name.contains(part));
        if !matters || bytes.is_empty() {
            continue;
        }
        for change in CHANGES {
            let damaged = copy(&original);
            damaged.write(&name, change.apply(&bytes));
            let what = format!("{change:?} of {name}");
            let ended = finish(&damaged);
            match ended.code() {
                0 => recovered += 1,
                1 => {
                    assert!(ended.stderr.contains("state"), "{what}: {}", ended.stderr);
                    refused += 1;
                    // Nothing was made worse: with the right bytes back, the job goes on.
                    damaged.write(&name, &bytes);
                    finish(&damaged).succeeded();
                }
                code => panic!("{what}: exit status {code}: {}", ended.stderr),
            }
            let outcomes = damaged.outcomes();
            assert_unique_positions(&outcomes);
            assert!(result_set(&outcomes) == expected, "{what}: other outcomes than without");
        }
    }
    println!("{refused} refused, {recovered} recovered");
    assert!(refused > 0 && recovered > 0);
}

/// The tail of the log may be missing after a power failure: the job falls back to the commit before, with its output.
#[test]
fn a_log_without_its_end_is_an_earlier_commit() {
    let original = killed();
    let (log, bytes) = original
        .snapshot("state")
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "log"))
        .max_by_key(|(_, bytes)| bytes.len())
        .unwrap();
    let name = log.strip_prefix(original.root()).unwrap().to_str().unwrap();
    for missing in [1, 7, 100, bytes.len() / 2] {
        let torn = copy(&original);
        fs::write(torn.path(name), &bytes[..bytes.len() - missing]).unwrap();
        finish(&torn).succeeded();
        let outcomes = torn.outcomes();
        assert_unique_positions(&outcomes);
        assert_eq!(outcomes.len() as u64, 2 * WAITING, "{missing} bytes missing");
    }
}
