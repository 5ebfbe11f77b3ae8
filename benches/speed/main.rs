//! The speed of the modes, beside that of hand-written Rust on the same input in the same sitting.
//!
//! `cargo bench --bench speed`, or with `-- --quick` to try it out. Every contestant runs in a process of its own; they
//! take turns, and ratios are of the same round. Every job's answers are compared with the bound's, line by line
//! whatever their order; only a wrong answer makes the benchmark fail, a target that is not met does not.
//!
//! What it does not measure:
//! - Reading from a disk: inputs are in the page cache. Writing results: sinks are null (lines are built and discarded).
//! - A start on existing state, replay, deadlines, Kafka, the metrics being scraped, `accepted` notices.
//! - Other workloads. Nexmark refers mostly to what is recent, so within the disorder of 50,000 events the hot part of
//!   even the large state fits in its cache; references all over the state would cost a read of the disk each.
//! - The bound has no disk, no metrics, no limits, no checks, and writes no lines of people, which our jobs do.
//! - More than two workers. Times hold the opening of an empty state and the last commit, some ten milliseconds.
//!
//! CPU seconds are those of all threads of a process, to a hundredth of a second, a second opinion where the machine is
//! shared. Peak memory is VmHWM. To compare the bound with that of `shared/bounds`, run that on the input in
//! `tmp/speed` of the target directory: it is built with link-time optimisation, this one as the jobs are.

mod bound;
#[path = "../common/mod.rs"]
mod common;
mod contestant;
mod hot;
mod input;
mod job;
mod machine;
mod report;
mod tally;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use mimalloc::MiMalloc;

use common::Result;
use contestant::{Answers, Contestant, On, What};
use hot::Hot;
use input::Input;
use machine::Machine;
use report::{LARGE, PLAIN, Run, Sitting};
use tally::Tally;

/// As in the launchers.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const DECODE: Contestant = Contestant::new(What::Decode, 1, On::Plain);
const BOUND_1: Contestant = Contestant::new(What::Bound, 1, On::Plain);
const BOUND_2: Contestant = Contestant::new(What::Bound, 2, On::Plain);
const INDEPENDENT: Contestant = Contestant::new(What::Independent, 1, On::Plain);
const STREAMING_1: Contestant = Contestant::new(What::Streaming, 1, On::Plain);
const STREAMING_2: Contestant = Contestant::new(What::Streaming, 2, On::Plain);
const DEFERRED_1: Contestant = Contestant::new(What::Deferred, 1, On::Plain);
const DEFERRED_2: Contestant = Contestant::new(What::Deferred, 2, On::Plain);

/// Load of a machine that does something else already.
const LOAD_HIGH: f64 = 0.5;

/// The speed of the modes, beside that of hand-written Rust
#[derive(Debug, Parser)]
#[command(name = "speed")]
struct Arguments {
    /// Events of the inputs. The state that outgrows its memory is eleven times as large as that: with up to four
    /// million events 16 MiB, the least that a job accepts, and people and auctions are padded; else as much as it takes
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(50_000..))]
    events: u64,

    /// Dependents on the hot referent
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    dependents: u64,

    /// How often each contestant runs; those on the large input every other time
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,

    /// Nothing but this: `plain`, `large` (the state outgrows its memory) or `hot` (many wait for one referent)
    #[arg(long, value_name = "PART", value_delimiter = ',', value_enum)]
    only: Vec<Part>,

    /// To try it out: 200,000 events, 100,000 dependents, one round
    #[arg(long, conflicts_with_all = ["events", "dependents", "rounds"])]
    quick: bool,

    /// What a child process is to do
    #[arg(long, hide = true)]
    contestant: Option<String>,

    /// Cargo adds this
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Plain,
    Large,
    Hot,
}

impl Arguments {
    fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    common::run(arguments.contestant.as_deref(), contestant::work, || compare(&arguments))
}

fn compare(arguments: &Arguments) -> Result<()> {
    let (events, dependents, rounds) = match arguments.quick {
        true => (200_000, 100_000, 1),
        false => (arguments.events, arguments.dependents, arguments.rounds),
    };
    let load_before = machine::load();
    if load_before > LOAD_HIGH {
        eprintln!("warning: the load is {load_before:.2} before anything has run: these numbers are of a busy machine");
    }
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let scratch = temporary.join("speed");
    std::fs::create_dir_all(&scratch)?;
    let (plain, large) = (input::plain(&scratch, events)?, input::large(&scratch, events)?);
    let inputs = [(&plain, &PLAIN[..], Part::Plain), (&large, &LARGE[..], Part::Large)];
    let inputs: Vec<_> = inputs.into_iter().filter(|(.., part)| arguments.has(*part)).collect();
    let rights = inputs.iter().map(|(input, contestants, _)| verify(input, contestants, &scratch));
    let rights = rights.collect::<Result<Vec<Right>>>()?;
    let mut runs = Vec::new();
    for round in 1..=rounds {
        for ((input, contestants, part), right) in inputs.iter().zip(&rights) {
            // Where both have turns the large input takes most of the time, and only every other round.
            if *part == Part::Large && inputs.len() > 1 && round % 2 == 0 {
                continue;
            }
            for contestant in *contestants {
                let measured = contestant::timed(*contestant, input, &scratch)?;
                let run = Run { round, contestant: *contestant, events: input.events, measured };
                right.check(&run)?;
                eprintln!("round {round} of {rounds}: {run}");
                runs.push(run);
            }
        }
    }
    let hot = [What::Streaming, What::Deferred].map(|what| Contestant::new(what, 2, On::Hot));
    let hot = hot
        .into_iter()
        .filter(|_| arguments.has(Part::Hot))
        .map(|contestant| measure_hot(contestant, dependents, &scratch));
    let hot = hot.collect::<Result<Vec<Hot>>>()?;
    let sitting = Sitting { machine: Machine::here(), load_before, plain, large, runs, hot };
    sitting.print();
    println!("\nwritten to {}", sitting.write(temporary.parent().unwrap_or(temporary))?.display());
    Ok(())
}

fn measure_hot(contestant: Contestant, dependents: u64, scratch: &Path) -> Result<Hot> {
    eprintln!("{contestant}: {dependents} dependents on one referent");
    hot::measure(contestant, dependents, scratch)
}

/// The right answers for an input.
struct Right {
    /// Every event, with nothing joined.
    independent: Tally,
    /// The bound's: auctions and bids with what they refer to.
    bound: Tally,
    /// Those, and people, who depend on nothing: the bound writes no lines of them.
    joined: Tally,
}

impl Right {
    /// Of our jobs.
    fn of(&self, what: What) -> &Tally {
        if what == What::Independent { &self.independent } else { &self.joined }
    }

    /// Whether a timed run gave as many answers as it ought to, and the bound the same ones.
    fn check(&self, run: &Run) -> Result<()> {
        let found = &run.measured;
        let right = match (run.contestant.what, found.answers, found.tally) {
            (What::Decode, Some(Answers { read, .. }), _) => read == run.events,
            (what, Some(Answers { read, resolved, waiting }), _) => {
                read == run.events && resolved == self.of(what).lines() && resolved + waiting == read
            }
            (_, None, tally) => tally == Some(self.bound),
        };
        if right {
            return Ok(());
        }
        Err(format!("{} gave wrong answers in round {}: {found:?}", run.contestant, run.round).into())
    }
}

/// Compares the lines of every job with the bound's, in runs of their own. That also brings the input into the page
/// cache.
fn verify(input: &Input, contestants: &[Contestant], scratch: &Path) -> Result<Right> {
    let independent = tally::of_input(&input.path)?;
    let bound = contestant::timed(BOUND_1, input, scratch)?.tally.ok_or("the bound gave no tally")?;
    let right = Right { independent, bound, joined: Tally { person: independent.person, ..bound } };
    if bound.lines() == 0 || independent.lines() != input.events {
        return Err("the input is not as it was made: delete it".into());
    }
    for contestant in contestants.iter().filter(|contestant| contestant.is_job()) {
        eprintln!("verifying {contestant}");
        let (found, right) = (contestant::tallied(*contestant, input, scratch)?, right.of(contestant.what));
        if found != *right {
            return Err(format!("{contestant} gave wrong answers: {found:?} instead of {right:?}").into());
        }
    }
    Ok(right)
}
