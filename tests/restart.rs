//! What a job that is started again knows, counts and reads.

use crate::support::{Program, SHOP, Summary, Workspace, assert_unique_positions, orders, payments};

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
