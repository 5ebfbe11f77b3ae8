//! A job with files alone, whose sinks take lines of the next epoch while the disk is waited for, crashed at every point.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use resolvent_state::State;

use super::CRASHES;
use crate::checkpoint::failpoint::simulation::{crash_at, passed};
use crate::checkpoint::{Begun, Checkpoint, EpochEnd, Recovery};
use crate::event::{PartitionId, Positions};
use crate::metrics::Totals;
use crate::sink::{self, SinkKind, Target};

const RECORDS: u64 = 11;
/// Records of an epoch.
const STEP: u64 = 4;

fn files(directory: &Path) -> [PathBuf; 2] {
    ["resolved.jsonl", "dead.jsonl"].map(|name| directory.join(name))
}

fn give(checkpoint: &mut Checkpoint, records: std::ops::Range<u64>) {
    for record in records {
        let kind = if record % 3 == 0 { SinkKind::DeadLetter } else { SinkKind::Resolved };
        checkpoint.write(kind, format!("{record}\n").as_bytes()).expect("takes it");
    }
}

/// Runs to the end of the input.
fn run(state: &State, directory: &Path) {
    let committed = Recovery::find(Some(state), None).expect("finds").settle(state).expect("settles");
    let [resolved, dead] = files(directory).map(Target::File);
    let sinks = sink::Settings { resolved, dead_letter: Some(dead), accepted: None };
    let mut checkpoint = Checkpoint::open(state.clone(), committed, BTreeMap::new(), &sinks, None).expect("opens");
    let mut from = checkpoint.committed().positions.0.get(&PartitionId(0)).copied().unwrap_or(0);
    let end_of = |from: u64| (from + STEP).min(RECORDS);
    give(&mut checkpoint, from..end_of(from));
    while from < RECORDS {
        let to = end_of(from);
        let end = EpochEnd {
            positions: Positions([(PartitionId(0), to)].into()),
            totals: Totals { read: to - from, accepted: to - from, resolved: to - from, ..Totals::default() },
            ..EpochEnd::default()
        };
        let epoch = checkpoint.committed().epoch.next();
        let Begun::Write(write) = checkpoint.begin(epoch, end).expect("begins") else { panic!("files alone") };
        give(&mut checkpoint, to..end_of(to));
        let written = write.run(|| ()).expect("writes");
        checkpoint.finish(written);
        from = to;
    }
}

/// Also where power is lost after the state shows an epoch and before that is durable.
#[test]
fn lines_that_are_taken_while_the_disk_is_waited_for_are_there_once() {
    for crash in CRASHES {
        let mut crashed = 0;
        for nth in 1.. {
            let directory = tempfile::tempdir().expect("a directory");
            let state = State::in_memory();
            let ran = crash_at(nth, || run(&state, directory.path())).is_some();
            run(&crash.state(&state), directory.path());
            let texts = files(directory.path()).map(|path| std::fs::read_to_string(path).expect("a file"));
            let lines = texts.iter().flat_map(|text| text.lines());
            let mut seen: Vec<u64> = lines.map(|line| line.parse().unwrap()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..RECORDS).collect::<Vec<_>>(), "{crash:?} at point {nth}");
            if ran {
                break;
            }
            crashed = nth;
        }
        assert!(crashed > 10, "only {crashed} points were passed");
    }
    assert!(passed().contains(&"before_sync"));
}
