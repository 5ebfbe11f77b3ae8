//! The command line: every axis is a list, and the first of each is the base.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use resolvent::config::parse_duration;
use resolvent::event::SHARDS;
use resolvent::source::workload::{DISORDER_MAX, EVENTS_MAX, PAYLOAD_MAX, REACH_MAX, REFERENCES_MAX};

use super::pure::job::{Common, workload};
use super::pure::plan::Axes;
use super::pure::setting::{Arrivals, Mode};

/// What the configuration of a job takes for a `wait`.
const WAITS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(36_500 * 86_400);

/// What says what to measure.
const MEASURING: [&str; 22] = [
    "modes",
    "rates",
    "dependents",
    "disorder",
    "late",
    "late_by",
    "references",
    "skew",
    "payload",
    "workers",
    "arrivals",
    "cross",
    "at",
    "bound",
    "seconds",
    "records_max",
    "repetitions",
    "reach",
    "wait",
    "seed",
    "quick",
    "no_crash",
];

/// The modes compared: what a dependency costs, and what each way of waiting buys
///
/// Each axis takes a list, separated by commas; the first value is the base. The base is measured at every rate, and its highest sustained rate is searched;
/// then one axis at a time is varied, at the rate `--at`.
#[derive(Debug, Parser)]
#[command(name = "modes", max_term_width = 120)]
pub(crate) struct Arguments {
    /// independent, streaming, streaming+defer, streaming+changes, deferred
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = Mode::ALL)]
    pub(crate) modes: Vec<Mode>,

    /// Records a second, offered whatever becomes of them; of each mode up to the first that it does not keep up with [default: 10000,40000,160000,320000,640000,1280000]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    pub(crate) rates: Option<Vec<u64>>,

    /// Share of records that refer to others, 0 to 1 [default: 0.5,0,1]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = share)]
    dependents: Option<Vec<f64>>,

    /// How far records are out of order: shuffled within so many, at most 16777216 [default: 1000,0,10000,50000]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(..=DISORDER_MAX))]
    disorder: Option<Vec<u64>>,

    /// How many are late: share of records, 0 to 1 [default: 0.01]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = share)]
    late: Option<Vec<f64>>,

    /// By how many records those are late, at least 1 where any are [default: 20000]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(..=EVENTS_MAX))]
    late_by: Option<Vec<u64>>,

    /// To how many others a record refers, 1 to 8 [default: 1,4]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=REFERENCES_MAX as u64))]
    references: Option<Vec<u64>>,

    /// Share of the references by Zipf's law, 0 to 1 [default: 0,1]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = share)]
    skew: Option<Vec<f64>>,

    /// Bytes of text in a record, at most 3500 [default: 100,1000]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(..=PAYLOAD_MAX))]
    payload: Option<Vec<u64>>,

    /// Worker threads, 1 to 256 [default: the number of cores, and 1]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = RangedU64ValueParser::<usize>::new().range(1..=SHARDS as u64))]
    workers: Option<Vec<usize>>,

    /// How records come: constant, poisson, bursts (those of a second in its first tenth); to the runs with a crash always constant [default: constant]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    arrivals: Option<Vec<Arrivals>>,

    /// Every combination of the lists instead of one axis at a time, and a search in each
    #[arg(long)]
    pub(crate) cross: bool,

    /// The rate at which settings are compared
    #[arg(long, value_name = "RATE", default_value_t = 40_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    pub(crate) at: u64,

    /// A rate is sustained where p99 of completion latency is within this many milliseconds, and no backlog is left in the end
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) bound: u64,

    /// For how long records are offered at each point [default: 2]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,

    /// But no more than so many at one point: the reference resolver takes some microseconds for each
    #[arg(long, value_name = "N", default_value_t = 1_500_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(crate) records_max: u64,

    /// How often the base is measured at each rate [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    repetitions: Option<u64>,

    /// Records refer to one of so many latest, 1 to 1073741824
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=REACH_MAX))]
    reach: u64,

    /// After which streaming+defer moves a wait into the state, such as 250ms or 10s, 1ms to 36500d
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = wait)]
    wait: String,

    /// Another seed makes other records
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// About a minute: the base alone, at three rates, once, and no search; axes are varied only where a list says so
    #[arg(long)]
    pub(crate) quick: bool,

    /// Leave out the runs with a crash
    #[arg(long)]
    pub(crate) no_crash: bool,

    /// Compare with the numbers of an earlier sitting: status 1 where something is worse, or nothing could be compared
    ///
    /// Achieved rate, p99 of accept, resolve, completion and visible latency, CPU time and peak memory of a point are worse by more than 10 % and 4 standard
    /// errors; without repetitions by more than a factor of 2, latencies never. A highest sustained rate that comes out lower is searched again, up to three
    /// times, and the best counts; with --from, where nothing can be searched, it is worse below 0.6 of what it was.
    #[arg(long, value_name = "OLD.jsonl")]
    pub(crate) compare: Option<PathBuf>,

    /// Take the numbers from a file instead of measuring: nothing that says what to measure goes with it
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = MEASURING)]
    pub(crate) from: Option<PathBuf>,

    /// Where numbers and page are written [default: the target directory; with --from, beside the file]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,

    /// What a child process is to do
    #[arg(long, hide = true)]
    pub(crate) reference: Option<String>,

    /// Cargo adds this
    #[arg(long, hide = true)]
    bench: bool,
}

/// A share.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "no share: write 0 to 1".to_owned())
}

/// A duration as the configuration of a job takes it, which it is written to.
fn wait(text: &str) -> Result<String, String> {
    let wait = parse_duration(text).filter(|wait| WAITS.contains(wait));
    wait.map(|_| text.to_owned()).ok_or_else(|| "no duration: write 100ms, 10s or 5m, from 1ms to 36500d".to_owned())
}

/// What differs with `--quick`.
fn list<T: Clone>(given: &Option<Vec<T>>, quick: bool, default: &[T]) -> Vec<T> {
    let length = if quick { 1 } else { default.len() };
    given.clone().unwrap_or_else(|| default.iter().take(length).cloned().collect())
}

impl Arguments {
    /// What of it cannot be meant though each value can.
    ///
    /// # Errors
    ///
    /// What a job would refuse, before anything is computed.
    pub(crate) fn check(&self) -> Result<(), String> {
        for setting in self.axes().settings(self.cross) {
            let checked = workload(&setting, &self.common(), 1).check();
            checked.map_err(|error| format!("{}: {error}", setting.describe()))?;
        }
        Ok(())
    }

    /// The values of every axis.
    pub(crate) fn axes(&self) -> Axes {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let workers = if cores == 1 { vec![1] } else { vec![cores, 1] };
        let quick = self.quick;
        Axes {
            dependents: list(&self.dependents, quick, &[0.5, 0.0, 1.0]),
            disorder: list(&self.disorder, quick, &[1_000, 0, 10_000, 50_000]),
            late: list(&self.late, quick, &[0.01]),
            late_by: list(&self.late_by, quick, &[20_000]),
            references: list(&self.references, quick, &[1, 4]),
            skew: list(&self.skew, quick, &[0.0, 1.0]),
            payload: list(&self.payload, quick, &[100, 1_000]),
            workers: list(&self.workers, quick, &workers),
            arrivals: list(&self.arrivals, quick, &[Arrivals::Constant]),
        }
    }

    /// In ascending order.
    pub(crate) fn rates(&self) -> Vec<u64> {
        let default: &[u64] = if self.quick {
            &[10_000, 40_000, 160_000]
        } else {
            &[10_000, 40_000, 160_000, 320_000, 640_000, 1_280_000]
        };
        let mut rates = self.rates.clone().unwrap_or_else(|| default.to_vec());
        rates.sort_unstable();
        rates.dedup();
        rates
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 3 } else { 2 }) as f64
    }

    pub(crate) fn repetitions(&self) -> u64 {
        self.repetitions.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// How long the runs with a crash are.
    pub(crate) fn crash_seconds(&self) -> u64 {
        if self.quick { 5 } else { 12 }
    }

    pub(crate) fn common(&self) -> Common {
        Common { seed: self.seed, reach: self.reach, wait: self.wait.clone() }
    }
}
