//! The test data of LDBC's Social Network Benchmark: a closed world, so whatever the order of arrival every event ends resolved.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::{
    Dependencies, Program, Random, Summary, Workspace, assert_unique_positions, is_soak, judge, result_set, skip,
};

/// In the checkout that is tested.
const DATA: &str = "../shared/data/ldbc-snb";
pub(crate) const JOB: &str = include_str!("../jobs/examples/social.toml");
pub(crate) const EVENTS: u64 = 21_881;
const REFERENCES: usize = 42_302;
const PERMUTATIONS: u64 = 20;
const WORKERS: [&str; 3] = ["1", "2", "4"];

/// The same as `JOB`, said a second time.
pub(crate) const STREAMS: &Dependencies = &[
    ("person", Some("person"), &[]),
    ("forum", Some("forum"), &[("person", "person", "moderator")]),
    ("post", Some("message"), &[("person", "person", "author"), ("forum", "forum", "forum")]),
    ("comment", Some("message"), &[("person", "person", "author"), ("message", "message", "reply_to")]),
    ("like", None, &[("person", "person", "person"), ("message", "message", "message")]),
    ("membership", None, &[("forum", "forum", "forum"), ("person", "person", "person")]),
    ("friendship", None, &[("friends", "person", "persons")]),
];

#[derive(Clone, Copy, Debug)]
enum Mode {
    Streaming,
    Deferred,
    Mixed,
}

const MODES: [Mode; 3] = [Mode::Streaming, Mode::Deferred, Mode::Mixed];

impl Mode {
    fn program(self) -> Program {
        match self {
            Mode::Streaming | Mode::Mixed => Program::Sedd,
            Mode::Deferred => Program::Dedd,
        }
    }

    fn job(self) -> String {
        let mixed = |text: &str| text.replace("by = \"/message\"", "by = \"/message\", mode = \"deferred\"");
        match self {
            Mode::Streaming | Mode::Deferred => JOB.to_owned(),
            Mode::Mixed => mixed(JOB).replace("by = \"/author\"", "by = \"/author\", mode = \"deferred\""),
        }
    }
}

/// Both files, and what must come out.
pub(crate) struct World {
    pub(crate) snapshot: String,
    pub(crate) updates: String,
    pub(crate) expected: BTreeMap<String, u64>,
}

impl World {
    pub(crate) fn read() -> Option<World> {
        // As cargo says when it runs the tests: `env!` would be the checkout that they were built in.
        let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
        let data = Path::new(&package).join(DATA);
        let read = |name| fs::read_to_string(data.join(name)).ok();
        let (Some(snapshot), Some(updates)) = (read("snapshot.jsonl"), read("updates.jsonl")) else {
            skip("real data", &format!("{} is not there", data.display()));
            return None;
        };
        let lines: Vec<&str> = snapshot.lines().chain(updates.lines()).collect();
        let (expected, references) = judge(STREAMS, &lines);
        assert_eq!(references, REFERENCES);
        assert_eq!(expected.values().sum::<u64>(), EVENTS);
        Some(World { snapshot, updates, expected })
    }

    fn check(&self, order: &str, first: &str, second: &str, mode: Mode, workers: &str) {
        let workspace = Workspace::with(&mode.job(), "");
        workspace.write("snapshot.jsonl", first);
        workspace.write("updates.jsonl", second);
        let ended = workspace.run(mode.program(), &["--workers", workers]).succeeded();
        let outcomes = workspace.outcomes();
        let what = format!("{order}, {mode:?}, {workers} workers");
        let wrong = outcomes.iter().find(|outcome| outcome.outcome != "resolved");
        assert!(wrong.is_none(), "{what}: {wrong:?}");
        assert!(result_set(&outcomes) == self.expected, "{what}: other outcomes than those of a plain resolve");
        assert_unique_positions(&outcomes);
        let Summary { read, resolved, waiting, .. } = Summary::parse(&ended.stderr);
        assert_eq!((read, resolved, waiting), (EVENTS, EVENTS, 0), "{what}");
    }
}

#[test]
fn in_the_order_of_time_and_against_it() {
    let Some(world) = World::read() else { return };
    for mode in MODES {
        for workers in WORKERS {
            world.check("snapshot first", &world.snapshot, &world.updates, mode, workers);
            world.check("updates first", &world.updates, &world.snapshot, mode, workers);
        }
    }
}

/// Every permutation meets one pair of mode and workers, each pair two permutations or more; in a soak every permutation meets every pair.
#[test]
fn in_twenty_random_orders() {
    let Some(world) = World::read() else { return };
    let lines: Vec<&str> = world.snapshot.lines().chain(world.updates.lines()).collect();
    let pairs: Vec<(Mode, &str)> = MODES.into_iter().flat_map(|mode| WORKERS.map(|workers| (mode, workers))).collect();
    for seed in 0..PERMUTATIONS {
        let (mut random, mut lines) = (Random::new(seed), lines.clone());
        random.shuffle(&mut lines);
        let (first, second) = lines.split_at(random.below(lines.len()));
        let (first, second) = (first.join("\n") + "\n", second.join("\n") + "\n");
        let own = seed as usize % pairs.len();
        let met = if is_soak() { &pairs[..] } else { &pairs[own..=own] };
        for (mode, workers) in met {
            world.check(&format!("order {seed}"), &first, &second, *mode, workers);
        }
    }
}

/// Nothing is corrected here, so a result that was told stands; and they are told in any order.
#[test]
fn maintained_results_add_up_to_the_same() {
    let Some(world) = World::read() else { return };
    let job = JOB.replacen("[job]", "[job]\nemit = \"changes\"", 1);
    let mut lines: Vec<&str> = world.snapshot.lines().chain(world.updates.lines()).collect();
    Random::new(PERMUTATIONS).shuffle(&mut lines);
    let (first, second) = lines.split_at(lines.len() / 2);
    let (first, second) = (first.join("\n") + "\n", second.join("\n") + "\n");
    let orders = [(&world.snapshot, &world.updates), (&world.updates, &world.snapshot), (&first, &second)];
    for ((first, second), workers) in orders.into_iter().zip(WORKERS) {
        let workspace = Workspace::with(&job, "");
        workspace.write("snapshot.jsonl", first);
        workspace.write("updates.jsonl", second);
        workspace.run(Program::Sedd, &["--workers", workers]).succeeded();
        let (added, taken): (Vec<_>, Vec<_>) =
            workspace.outcomes().into_iter().partition(|outcome| outcome.line["change"] == 1);
        let mut standing = result_set(&added);
        for (result, count) in result_set(&taken) {
            *standing.get_mut(&result).expect("it was told before") -= count;
        }
        standing.retain(|_, count| *count > 0);
        assert!(standing == world.expected, "{workers} workers: other results than those of a plain resolve");
    }
}
