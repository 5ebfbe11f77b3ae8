//! Jobs that are killed while they work, again and again: in the end every record has had one answer, the right one.

mod workload;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Outcome, Program, Random, Running, Scrape, Summary, Workspace, assert_unique_positions, each_outcome, eventually,
    followed_shop, is_longer_than, is_soak, orders, payments, skip,
};
use workload::{EPOCH_BYTES, QUOTES, SHORT_WAIT, VOTES, Workload, job, offset};

const SEED: u64 = 20_261_123;
const WORKERS: [&str; 4] = ["2", "1", "4", "3"];

fn rounds() -> usize {
    if is_soak() { 100 } else { 10 }
}

#[test]
fn streaming_survives_kills() {
    survives_kills(Program::Sedd);
}

#[test]
fn deferred_survives_kills() {
    survives_kills(Program::Dedd);
}

#[test]
fn independent_survives_kills() {
    survives_kills(Program::Independent);
}

fn survives_kills(program: Program) {
    let mut crash = Crash::new(program);
    let mut landed = 0;
    for attempt in 0.. {
        assert!(attempt < 3 * rounds(), "only {landed} of {attempt} kills landed while all cases were in flight");
        if landed == rounds() {
            break;
        }
        landed += usize::from(crash.round(attempt));
    }
    println!("{program:?}: {landed} rounds landed, seed {SEED}");
    crash.finish();
}

#[test]
fn sigterm_commits_and_stops_and_the_next_start_goes_on() {
    for program in Program::ALL {
        let mut crash = Crash::new(program);
        for attempt in 0..3 {
            let (running, length) = crash.feed(attempt);
            eventually("output grows", || {
                is_longer_than(&crash.workspace.path("resolved.jsonl"), length).then_some(())
            });
            running.terminate();
            let stderr = running.wait().succeeded().stderr;
            let summary = Summary::parse(&stderr);
            assert!(stderr.contains("stopping"), "{stderr}");
            assert!(summary.read <= crash.workload.records());
            let late = crash.workload.late_referents();
            crash.workspace.append("events.jsonl", late);
            crash.workload.came_too_late();
        }
        crash.finish();
    }
}

#[test]
fn streaming_survives_kills_at_each_point_of_a_commit() {
    survives_kills_at_each_point(Program::Sedd);
}

#[test]
fn deferred_survives_kills_at_each_point_of_a_commit() {
    survives_kills_at_each_point(Program::Dedd);
}

#[test]
fn independent_survives_kills_at_each_point_of_a_commit() {
    survives_kills_at_each_point(Program::Independent);
}

/// The named points of `checkpoint`, in their order: before anything of an epoch is durable, after the first output file, after all of them, after the
/// state; and at a start, when the output has been cut and nothing is written yet.
const POINTS: [&str; 5] = ["before_sinks", "between_sinks", "before_state", "after_state", "sinks_opened"];

/// Kills at each point, in an epoch that takes dependents, one in which they are woken, and one that brings the rest.
fn survives_kills_at_each_point(program: Program) {
    if !cfg!(debug_assertions) {
        return skip(
            "kills at named points of a commit",
            "only builds with debug assertions, as of make test, have them",
        );
    }
    let mut crash = Crash::new(program);
    for (turn, point) in POINTS.into_iter().enumerate() {
        for feed in [Workload::dependents, Workload::hot_referent, Workload::late_referents] {
            let records = feed(&mut crash.workload);
            crash.workspace.append("events.jsonl", records);
            crash.kill_at(turn, point);
        }
        // How long a round takes is not known.
        crash.workload.came_too_late();
    }
    crash.finish();
}

/// Output of an epoch that was never committed, by a job that never committed any.
#[test]
fn a_kill_before_the_first_commit_leaves_nothing_in_the_way() {
    let job = followed_shop().replace("name = \"shop\"", "name = \"shop\"\nepoch = \"10m\"");
    for program in Program::ALL {
        let workspace = Workspace::with(&job, &(orders(0..20_000) + &payments(0..20_000)));
        let running = workspace.start(program, &[]);
        let resolved = workspace.path("resolved.jsonl");
        eventually("output that is not committed", || is_longer_than(&resolved, 0).then_some(()));
        running.kill();
        let ended = workspace.run(program, &["--until-end"]).succeeded();
        assert_eq!(Summary::parse(&ended.stderr).resolved, 40_000);
        let outcomes = workspace.outcomes();
        assert_unique_positions(&outcomes);
        assert_eq!(outcomes.len(), 40_000);
    }
}

/// A job, and all that it was fed.
struct Crash {
    program: Program,
    workspace: Workspace,
    workload: Workload,
    random: Random,
}

impl Crash {
    fn new(program: Program) -> Crash {
        let workspace = Workspace::with(&job(program), "");
        Crash { program, workspace, workload: Workload::new(SEED), random: Random::new(SEED) }
    }

    fn start(&self, attempt: usize) -> Running {
        let workers = WORKERS[attempt % WORKERS.len()];
        self.workspace.start(self.program, &["--workers", workers, "--metrics", "127.0.0.1:0"])
    }

    /// Starts the job, has it commit a round's dependents, and gives it the hot referent. Returns how long the output was before that.
    fn feed(&mut self, attempt: usize) -> (Running, u64) {
        let mut running = self.start(attempt);
        let address = running.metrics_address();
        let dependents = self.workload.dependents();
        self.workspace.append("events.jsonl", dependents);
        let records = self.workload.records() as f64;
        eventually("all dependents are committed", || {
            let read = Scrape::of(&address)?.value("resolvent_records_read_total", "")?;
            (read >= records).then_some(())
        });
        let length = self.workspace.length("resolved.jsonl");
        let hot_referent = self.workload.hot_referent();
        self.workspace.append("events.jsonl", hot_referent);
        (running, length)
    }

    /// One kill. Returns whether it landed while everything of the round was in flight.
    fn round(&mut self, attempt: usize) -> bool {
        self.kill_while_starting(attempt);
        let (first, began) = (self.workload.bytes(), Instant::now());
        let (running, length) = self.feed(attempt);
        eventually("the hot referent wakes those behind it", || self.wakes(length).then_some(()));
        thread::sleep(Duration::from_micros(self.random.below(2000) as u64));
        running.kill();
        // On a busy machine deadlines may have passed before the kill: such a round does not count.
        let in_time = began.elapsed() < SHORT_WAIT;
        if !in_time {
            self.workload.came_too_late();
        }
        let in_flight = in_time && self.is_in_flight(first);

        let late = self.workload.late_referents();
        self.workspace.append("events.jsonl", late);
        if self.program != Program::Independent {
            thread::sleep(SHORT_WAIT.saturating_sub(began.elapsed()));
        }
        in_flight
    }

    /// Runs the job until it kills itself at a named point of its first commit, or of its second where there is enough to do.
    fn kill_at(&self, turn: usize, point: &str) {
        let has_more = self.workload.last_fed() > 2 * EPOCH_BYTES;
        let nth = if has_more && point != "sinks_opened" { 1 + turn % 2 } else { 1 };
        let mut command = self.workspace.command(self.program, &["--workers", WORKERS[turn % WORKERS.len()]]);
        let ended = Running::start(command.env("RESOLVENT_FAILPOINT", format!("{point}:{nth}"))).wait();
        assert_eq!(ended.status.signal(), Some(9), "at {point}:{nth}: {}\n{}", ended.status, ended.stderr);
    }

    /// A kill at some moment between the start of the process and its being ready.
    fn kill_while_starting(&mut self, attempt: usize) {
        let running = self.start(attempt + 1);
        thread::sleep(Duration::from_millis(self.random.below(200) as u64));
        running.kill();
    }

    /// Whether there are outcomes of the round's hot part behind the first `length` bytes of the output. The former rounds may add to it, too.
    fn wakes(&self, length: u64) -> bool {
        let mut output = File::open(self.workspace.path("resolved.jsonl")).unwrap();
        let mut new = String::new();
        output.seek(SeekFrom::Start(length)).and_then(|_| output.read_to_string(&mut new)).unwrap();
        new.contains(&self.workload.hot_sign(self.program))
    }

    /// Whether every case of the round that began at `first` was under way when the job was killed, as the output shows that it left.
    ///
    /// All the round's dependents were committed before; of what came then, something must have come out and something not.
    fn is_in_flight(&self, first: u64) -> bool {
        let mut answered: BTreeMap<String, usize> = BTreeMap::new();
        self.each_outcome(|outcome| {
            if offset(&outcome) >= first {
                *answered.entry(outcome.stream).or_default() += 1;
            }
        });
        let answered = |stream: &str| answered.get(stream).copied().unwrap_or_default();
        // Behind each of these many quotes comes another version of what they refer to.
        let replaced = answered("quote") < QUOTES;
        if self.program == Program::Independent {
            return replaced;
        }
        // Deadlines that pass while the job is down, one of them in a chain (`step`); `defer` (`claim`); mixed modes; a chain.
        for waiting in ["step", "link", "claim", "mixed", "hurry", "optional"] {
            assert_eq!(answered(waiting), 0, "a {waiting} was answered before its referent came or its wait ended");
        }
        let drained = answered("vote");
        // Shown where too few land.
        println!("{} of {QUOTES} quotes and {drained} of {VOTES} votes were answered", answered("quote"));
        replaced && 0 < drained && drained < VOTES
    }

    fn each_outcome(&self, mut each: impl FnMut(Outcome)) {
        for name in ["resolved.jsonl", "dead.jsonl"] {
            each_outcome(&self.workspace.path(name), &mut each);
        }
    }

    /// Runs the job to its end, and compares with what has to come out and with a run that nothing interrupted.
    fn finish(self) {
        let ended = self.workspace.run(self.program, &["--until-end=deadlines"]).succeeded();
        let summary = Summary::parse(&ended.stderr);
        let (records, lines) = (self.workload.records(), self.workload.lines(self.program));
        assert_eq!((summary.read, summary.rejected, summary.waiting), (records, 0, 0));
        assert_eq!(summary.dropped, records - lines);
        let outcomes = self.checked_outcomes();
        assert_eq!(outcomes.len() as u64, lines, "outcomes are missing");
        self.check_notices();

        let uninterrupted = Workspace::with(&job(self.program), "");
        uninterrupted.copy_from(&self.workspace, "events.jsonl");
        let arguments = ["--until-end=deadlines", "--workers", "2"];
        uninterrupted.run(self.program, &arguments).succeeded();
        let other = Crash { workspace: uninterrupted, ..self };
        assert!(other.checked_outcomes() == outcomes, "other outcomes than those of a run that nothing interrupted");
    }

    /// By offset, what of each outcome does not depend on time.
    fn checked_outcomes(&self) -> BTreeMap<u64, String> {
        let mut outcomes = BTreeMap::new();
        self.each_outcome(|outcome| {
            self.workload.check(self.program, &outcome);
            let twice = outcomes.insert(offset(&outcome), self.workload.timeless(&outcome));
            assert!(twice.is_none(), "{} has more than one outcome", outcome.position);
        });
        outcomes
    }

    /// No event has had two notices.
    fn check_notices(&self) {
        let mut noticed = std::collections::BTreeSet::new();
        each_outcome(&self.workspace.path("accepted.jsonl"), |notice| {
            assert_eq!(notice.outcome, "accepted");
            assert!(noticed.insert(offset(&notice)), "{} was accepted twice", notice.position);
        });
        assert_eq!(noticed.is_empty(), self.program == Program::Independent);
    }
}
