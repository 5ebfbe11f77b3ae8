//! The protocol, run against a broker in memory and crashed at every point of it.

mod files;
mod model;

use proptest::prelude::*;
use resolvent_state::State;

use super::failpoint::simulation::{crash_at, passed};
use super::{CheckpointError, Committed, Instance};
use crate::event::Epoch;
use crate::sink::{LostEpoch, SinkError};
use model::{Fault, Job};

/// What a crash leaves of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    /// The process is killed: all that was written is there.
    Kill,
    /// Power is lost: only what was synced is.
    PowerLoss,
}

impl Crash {
    fn state(self, state: &State) -> State {
        match self {
            Crash::Kill => state.clone(),
            Crash::PowerLoss => state.after_power_loss().expect("a state in memory"),
        }
    }
}

/// Runs a job that crashes at these points, counted in each of its runs, and then to its end. Returns how many of the crashes there were.
fn run_with_crashes(job: &Job, crashes: &[(u64, Crash)]) -> usize {
    let mut state = State::in_memory();
    for (at, (nth, crash)) in crashes.iter().enumerate() {
        let instance = Instance::new(&format!("run{at}"));
        if crash_at(*nth, || job.run_through(&state, &instance)).is_some() {
            job.check(&state);
            return at;
        }
        state = crash.state(&state);
    }
    job.run_through(&state, &Instance::new("last"));
    job.check(&state);
    crashes.len()
}

const CRASHES: [Crash; 2] = [Crash::Kill, Crash::PowerLoss];

#[test]
fn a_crash_at_any_point_loses_and_repeats_nothing() {
    for reads_topics in [false, true] {
        for crash in CRASHES {
            let mut points = 0;
            for nth in 1.. {
                let directory = tempfile::tempdir().expect("a directory");
                let job = Job { reads_topics, ..Job::new(directory.path(), 11) };
                if run_with_crashes(&job, &[(nth, crash)]) == 0 {
                    break;
                }
                points = nth;
            }
            assert!(points > 30, "only {points} points were passed");
        }
    }
}

#[test]
fn two_crashes_at_any_points_lose_and_repeat_nothing() {
    for (first, second) in [(Crash::Kill, Crash::PowerLoss), (Crash::PowerLoss, Crash::Kill)] {
        for nth in 1.. {
            let mut crashed = 0;
            for then in 1.. {
                let directory = tempfile::tempdir().expect("a directory");
                let job = Job::new(directory.path(), 7);
                crashed = run_with_crashes(&job, &[(nth, first), (then, second)]);
                if crashed < 2 {
                    break;
                }
            }
            if crashed == 0 {
                break;
            }
        }
    }
}

#[test]
fn every_named_point_is_passed() {
    let directory = tempfile::tempdir().expect("a directory");
    let job = Job::new(directory.path(), 7);
    passed();
    job.run(&State::in_memory(), &Instance::new("a")).expect("runs");
    let passed = passed();
    for point in [
        "sinks_opened",
        "before_sinks",
        "between_sinks",
        "inside_transaction",
        "before_state",
        "after_state",
        "before_commit",
        "after_commit",
        "after_apply",
    ] {
        assert!(passed.contains(&point), "{point} was not passed: {passed:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn crashes_and_answers_that_do_not_come_lose_and_repeat_nothing(
        crashes in proptest::collection::vec((1..60u64, prop_oneof![Just(Crash::Kill), Just(Crash::PowerLoss)]), 0..8),
        faults in proptest::collection::vec(
            prop_oneof![4 => Just(None), 1 => Just(Some(Fault::Lost)), 1 => Just(Some(Fault::Unanswered))], 0..8),
        reads_topics: bool,
        records in 0..30u64,
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let job = Job { reads_topics, ..Job::new(directory.path(), records.max(1)) };
        job.model.world().faults.extend(faults);
        run_with_crashes(&job, &crashes);
    }

    #[test]
    fn at_least_once_loses_nothing(crashes in proptest::collection::vec(1..40u64, 0..6)) {
        let directory = tempfile::tempdir().expect("a directory");
        let job = Job { exactly_once: false, ..Job::new(directory.path(), 13) };
        let state = State::in_memory();
        for nth in crashes {
            crash_at(nth, || job.run_through(&state, &Instance::new("a")));
        }
        job.run_through(&state, &Instance::new("a"));
        // What was seen twice does not count.
        let mut world = job.model.world();
        world.visible.sort();
        world.visible.dedup();
        drop(world);
        job.check(&state);
    }
}

/// Runs a job up to a commit whose answer does not come: its epoch is pending in the state that is returned.
fn undecided(job: &Job, fault: Fault) -> State {
    let state = State::in_memory();
    let mut checkpoint = job.open(&state, &Instance::new("first")).expect("opens");
    job.epoch(&mut checkpoint).expect("commits");
    job.model.world().faults.push_back(Some(fault));
    assert!(job.epoch(&mut checkpoint).expect_err("no answer").is_undecided());
    state
}

#[test]
fn an_instance_that_was_taken_over_ends_and_the_other_goes_on() {
    // With topics that are read, the marker of the first run must not move to another place in the second.
    for reads_topics in [false, true] {
        let directory = tempfile::tempdir().expect("a directory");
        let job = Job { reads_topics, ..Job::new(directory.path(), 40) };
        let state = State::in_memory();
        let (zombie, second) = (Instance::new("zombie"), Instance::new("second"));
        let mut sleeping = job.open(&state, &zombie).expect("opens");
        job.epoch(&mut sleeping).expect("commits");
        sleeping.write(crate::sink::SinkKind::Resolved, b"asleep").expect("writes");

        // On a copy of the state and of the file.
        let old = directory.path().join("old.jsonl");
        std::fs::rename(&job.file, &old).expect("renames");
        std::fs::copy(&old, &job.file).expect("copies");
        let copy = state.after_power_loss().expect("a copy");
        let other = Job { model: job.model.clone(), reads_topics, ..Job::new(directory.path(), 40) };
        let mut running = other.open(&copy, &second).expect("opens");
        other.epoch(&mut running).expect("commits");

        let fenced = job.epoch(&mut sleeping).expect_err("fenced");
        assert!(fenced.is_undecided());
        drop(sleeping);
        let ended = job.run(&state, &zombie).expect_err("taken over");
        assert!(matches!(&ended, CheckpointError::Sink(SinkError::TakenOver { .. })), "{ended}");
        assert!(!ended.is_undecided());
        assert!(ended.to_string().contains("another instance of job model has taken over"));
        while other.epoch(&mut running).expect("goes on") {}
        drop(running);
        other.check(&copy);
    }
}

#[test]
fn a_marker_that_is_gone_is_refused_unless_told_what_is_true() {
    for (fault, truth) in [(Fault::Lost, LostEpoch::Aborted), (Fault::Unanswered, LostEpoch::Committed)] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut job = Job::new(directory.path(), 20);
        let state = undecided(&job, fault);
        job.model.world().markers.clear();
        let refused = job.run(&state, &Instance::new("second")).expect_err("refused");
        assert!(matches!(refused, CheckpointError::Lost { epoch: Epoch(2), .. }), "{refused}");
        assert!(refused.to_string().contains("lost_epoch"));
        job.lost_epoch = Some(truth);
        job.run(&state, &Instance::new("third")).expect("runs");
        job.check(&state);
    }
}

#[test]
fn a_state_that_is_not_the_last_one_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let job = Job::new(directory.path(), 20);
    let state = State::in_memory();
    let mut checkpoint = job.open(&state, &Instance::new("a")).expect("opens");
    job.epoch(&mut checkpoint).expect("commits");
    job.epoch(&mut checkpoint).expect("commits");
    let old = state.after_power_loss().expect("a copy");
    job.epoch(&mut checkpoint).expect("commits");
    job.epoch(&mut checkpoint).expect("commits");
    drop(checkpoint);
    let refused = job.run(&old, &Instance::new("b")).expect_err("refused");
    assert!(matches!(refused, CheckpointError::Differs { broker: Epoch(4), .. }), "{refused}");
    let refused = job.run(&State::in_memory(), &Instance::new("b")).expect_err("refused");
    assert!(matches!(refused, CheckpointError::Used { .. }), "{refused}");
    job.run(&state, &Instance::new("c")).expect("goes on");
    job.check(&state);
}

#[test]
fn a_new_start_goes_on_behind_what_the_topics_hold() {
    let directory = tempfile::tempdir().expect("a directory");
    let job = Job::new(directory.path(), 20);
    job.run(&State::in_memory(), &Instance::new("a")).expect("runs");
    job.model.world().visible.clear();
    std::fs::remove_file(directory.path().join("dead.jsonl")).expect("deletes");
    let again = Job { fresh: true, model: job.model.clone(), ..Job::new(directory.path(), 20) };
    let state = State::in_memory();
    again.run(&state, &Instance::new("b")).expect("runs");
    again.check(&state);
}

#[test]
fn an_epoch_that_is_not_decided_is_not_part_of_the_state_and_not_forgotten() {
    let directory = tempfile::tempdir().expect("a directory");
    let job = Job::new(directory.path(), 20);
    let state = undecided(&job, Fault::Unanswered);
    assert_eq!(Committed::read(&state).expect("reads").epoch, Epoch(1));
    let at_least_once = Job { exactly_once: false, model: job.model.clone(), ..Job::new(directory.path(), 20) };
    let refused = at_least_once.run(&state, &Instance::new("b")).expect_err("refused");
    assert!(matches!(refused, CheckpointError::Undecided(Epoch(2))), "{refused}");
    assert!(super::Recovery::find(Some(&state), None).is_err());
    job.run(&state, &Instance::new("c")).expect("runs");
    job.check(&state);
    at_least_once.run(&state, &Instance::new("d")).expect("changes");
}
