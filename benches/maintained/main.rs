//! What maintained results cost (`emit = "changes"`), beside the same job with `emit = "once"`.
//!
//! `cargo bench --bench maintained`, or with `-- --quick` to try it out; `-- --memory` adds ten million updates of a hundred thousand keys.
//!
//! * **updates**: orders that refer to products, both updated at random, through the job `sedd` with one worker and with two. Sinks are null: lines are built,
//!   counted and discarded. The two ways of telling do not tell the same: once each, or once more with each revision.
//! * **shares**: where the CPU time of such a job goes, by samples of its call stacks (`perf`).
//! * **chain**: events that need each other resolved, a thousand deep: what each level costs when the first comes last, when it is corrected, and when it goes.
//! * **memory**: what is resident as the updates go on, and what the arrangements hold.
//!
//! Results are compared with those computed from scratch, by count and checksum or one by one. A wrong one ends the benchmark with status 1.

mod chain;
mod dataflow;
mod input;
mod job;
mod memory;
mod shares;
mod updates;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// As in the launchers.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What maintained results cost
#[derive(Parser)]
struct Options {
    /// A tenth of everything, once
    #[arg(long)]
    quick: bool,

    /// Nothing but ten million updates of a hundred thousand keys, and the memory that they take
    #[arg(long)]
    memory: bool,

    /// How often each job is run [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let scale = if options.quick { 10 } else { 1 };
    if options.memory {
        return memory::memory(10_000_000 / scale, 100_000 / scale);
    }
    updates::updates(2_000_000 / scale, 100_000 / scale, options.rounds.unwrap_or(if options.quick { 1 } else { 3 }))?;
    shares::shares(2_000_000 / scale, 100_000 / scale)?;
    chain::chain(&[100, 1_000, 4_000])
}
