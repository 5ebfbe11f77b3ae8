//! The demo: one disordered Nexmark stream, resolved by each of the three modes, and the modes side by side. `make demo` builds and runs it with files,
//! `make demo-kafka` with topics of a broker that it starts.
//!
//! Every figure is the job's own, out of its `--summary-json`. Only the checksum is worked out here, from the lines or records that the job wrote.

#[path = "../tests/support/broker.rs"]
#[expect(dead_code, reason = "the tests do more with a broker than to start it")]
mod broker;
#[path = "demo/topics.rs"]
mod topics;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use miette::{Context, IntoDiagnostic, Result, ensure, miette};
use serde::Deserialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use sonic_rs::LazyValue;
use tempfile::TempDir;
use xxhash_rust::xxh3::Xxh3;

use topics::{PARTITIONS, Topics, each_line};

/// The jobs to compare, each with its mode of resolving dependencies. The last two must agree on every outcome.
const JOBS: [(&str, &str); 3] = [("independent", "not looked up"), ("sedd", "streaming"), ("dedd", "deferred")];

/// Disk that an event takes at most: its record (280 bytes), its outcome with both referents (1,330), its share of the state, and some room.
const DISK_BYTES_PER_EVENT: u64 = 2_000;

/// Of Nexmark's events a bid waits for its auction and its bidder, an auction for its seller.
const CONFIG: &str = include_str!("examples/nexmark.toml");

/// The same with topics. Brokers know a job by its name, so each job has its own instead of [`KAFKA_NAME`], and its own topics to write.
const KAFKA_CONFIG: &str = include_str!("examples/nexmark-kafka.toml");
const KAFKA_NAME: &str = "nexmark-kafka";
const KAFKA_ADDRESS: &str = "localhost:9092";

/// Resolves one disordered stream in each of the three modes, and compares them.
#[derive(Parser)]
struct Arguments {
    /// Events of the stream.
    #[arg(long, default_value_t = 2_000_000)]
    events: u64,
    /// Events are shuffled within windows of this many.
    #[arg(long, default_value_t = 20_000)]
    disorder: u64,
    /// Seed of the stream: the same one gives the same stream.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// From topic to topic, on an Apache Kafka that is started for it and thrown away.
    #[arg(long)]
    kafka: bool,
}

/// What a job says of its run.
#[derive(Deserialize)]
struct Summary {
    elapsed_seconds: f64,
    totals: Totals,
    waiting_peak: u64,
    latency: Latencies,
    memory_peak_bytes: Option<u64>,
    cpu_seconds: Option<f64>,
    state_bytes: u64,
    bytes_written: u64,
}

#[derive(Deserialize)]
struct Totals {
    read: u64,
    rejected: u64,
    resolved: u64,
    expired: u64,
}

#[derive(Deserialize)]
struct Latencies {
    accept: Quantiles,
    resolve: Quantiles,
    completion: Quantiles,
}

#[derive(Deserialize)]
struct Quantiles {
    count: u64,
    p50_us: u64,
    p99_us: u64,
}

/// One job's run: what it says, and what it wrote.
struct Run {
    summary: Summary,
    outcomes: Outcomes,
}

/// The outcomes of a job as a set: how many, and the sum of their hashes, which no order changes.
#[derive(Default, PartialEq, Eq)]
struct Outcomes {
    count: u64,
    checksum: u64,
}

/// What two jobs must agree on of an outcome: all but when it came, which differs, and the position, which follows from the event.
#[derive(Deserialize)]
struct OutcomeLine<'a> {
    #[serde(borrow)]
    outcome: LazyValue<'a>,
    #[serde(borrow)]
    stream: Option<LazyValue<'a>>,
    #[serde(borrow)]
    event: Option<LazyValue<'a>>,
    #[serde(borrow)]
    dependencies: Option<LazyValue<'a>>,
    #[serde(borrow)]
    missing: Option<LazyValue<'a>>,
}

/// Where the jobs are, and where they work.
struct Demo {
    binaries: PathBuf,
    work: TempDir,
    interrupted: Arc<AtomicBool>,
    /// Where the records are; `None`: in files.
    topics: Option<Topics>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut demo = Demo::prepare()?;
    demo.check_disk(&arguments)?;
    if arguments.kafka {
        demo.topics = Some(step("starting Apache Kafka", || Topics::start(demo.work.path()))?);
    }
    let (events, window) = (grouped(arguments.events), grouped(arguments.disorder));
    eprintln!("generating {events} events, shuffled within windows of {window}:");
    demo.generate(&arguments)?;
    let mut runs = Vec::with_capacity(JOBS.len());
    for (job, _) in JOBS {
        let run = step(&format!("running {job}"), || demo.run(job))?;
        runs.push(step(&demo.checking(), || demo.check(job, run))?);
    }
    print_table(&runs);
    if let [_, sedd, dedd] = runs.as_slice() {
        ensure!(sedd.outcomes == dedd.outcomes, "sedd and dedd must agree on every outcome, and do not");
        println!("\nsedd and dedd agree on all {} outcomes; independent joins nothing.", grouped(sedd.outcomes.count));
    }
    println!("{NOTES}");
    Ok(())
}

/// Does something and says what, and how long it took.
fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprint!("{name} … ");
    let began = Instant::now();
    let done = work().inspect_err(|_| eprintln!())?;
    eprintln!("{:.1?}", began.elapsed());
    Ok(done)
}

impl Demo {
    fn prepare() -> Result<Self> {
        // An interrupt stops the job that is running; this program then ends by itself, and removes what was written.
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).into_diagnostic()?;
        }
        // Cargo puts an example one directory below the jobs.
        let this = std::env::current_exe().into_diagnostic()?;
        let binaries = this.ancestors().nth(2).ok_or_else(|| miette!("{} is in no build directory", this.display()))?;
        // Not in the system's temporary directory, which may be memory: state and outcomes take gigabytes.
        let work = tempfile::Builder::new()
            .prefix("demo-")
            .tempdir_in(binaries)
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot make a directory in {}", binaries.display()))?;
        Ok(Demo { binaries: binaries.to_path_buf(), work, interrupted, topics: None })
    }

    /// Says what the demo takes of the disk, and refuses where there is less.
    fn check_disk(&self, arguments: &Arguments) -> Result<()> {
        let needed = arguments.events.saturating_mul(DISK_BYTES_PER_EVENT);
        let disk = rustix::fs::statvfs(self.work.path()).into_diagnostic()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let (place, needed_text, free_text) = (self.binaries.display(), mebibytes(needed), mebibytes(free));
        ensure!(
            free >= needed,
            "{place} has {free_text} free, and this takes up to {needed_text}: try fewer events (EVENTS=200000)"
        );
        eprintln!("this takes up to {needed_text} of disk below {place} and gives all of it back");
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn generate(&self, arguments: &Arguments) -> Result<()> {
        let mut command = self.command("generate");
        command.arg("nexmark");
        match &self.topics {
            Some(topics) => {
                command.args(["--kafka", &topics.address(), "--topic", "nexmark-events"]);
                command.args(["--partitions", &PARTITIONS.to_string()]);
            }
            None => _ = command.args(["--output", "events.jsonl"]),
        }
        command.args(["--events", &arguments.events.to_string()]);
        command.args(["--disorder", &arguments.disorder.to_string()]);
        command.args(["--seed", &arguments.seed.to_string()]);
        self.succeed(command)
    }

    /// Runs one job over the stream.
    fn run(&self, job: &str) -> Result<Summary> {
        let config = self
            .topics
            .as_ref()
            .map(|topics| KAFKA_CONFIG.replace(KAFKA_NAME, &name_of(job)).replace(KAFKA_ADDRESS, &topics.address()));
        fs::write(self.path("job.toml"), config.as_deref().unwrap_or(CONFIG)).into_diagnostic()?;
        let mut command = self.command(job);
        command.args(["--config", "job.toml", "--state", "state", "--until-end=expire"]);
        command.args(["--quiet", "--metrics", "off", "--summary-json", "summary.json"]);
        self.succeed(command)?;
        let summary = fs::read(self.path("summary.json")).into_diagnostic()?;
        serde_json::from_slice(&summary).into_diagnostic().wrap_err("summary.json")
    }

    /// What the next step is.
    fn checking(&self) -> String {
        match &self.topics {
            Some(topics) => format!("checking what it wrote, as {} reads it, read_committed", topics.reader()),
            None => "checking what it wrote".to_owned(),
        }
    }

    /// Counts what a job has written. Files are removed then, for what three leave may not fit on the disk.
    fn check(&self, job: &str, summary: Summary) -> Result<Run> {
        let mut outcomes = Outcomes::default();
        for (topic, file) in [("resolved", "resolved.jsonl"), ("dead", "dead.jsonl")] {
            let mut add = |line: &[u8]| {
                outcomes.add(sonic_rs::from_slice(line).into_diagnostic().wrap_err(file)?);
                Ok(())
            };
            if let Some(topics) = &self.topics {
                topics.read(&format!("{}-{topic}", name_of(job)), &mut add)?;
                continue;
            }
            let path = self.path(file);
            each_line(File::open(&path).into_diagnostic().wrap_err(file)?, &mut add)?;
            fs::remove_file(path).into_diagnostic()?;
        }
        let Totals { rejected, resolved, expired, .. } = summary.totals;
        let (told, found) = (rejected + resolved + expired, outcomes.count);
        ensure!(told == found, "{job} tells of {} outcomes, and has written {}", grouped(told), grouped(found));
        let state = self.path("state");
        if state.exists() {
            fs::remove_dir_all(state).into_diagnostic()?;
        }
        Ok(Run { summary, outcomes })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.current_dir(self.work.path());
        command
    }

    fn succeed(&self, mut command: Command) -> Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        let status = command.status().into_diagnostic().wrap_err_with(|| format!("cannot run {program}"))?;
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        ensure!(status.success(), "{program} failed: {status}");
        Ok(())
    }
}

impl Outcomes {
    fn add(&mut self, line: OutcomeLine<'_>) {
        let OutcomeLine { outcome, stream, event, dependencies, missing } = line;
        let mut hasher = Xxh3::new();
        for part in [Some(outcome), stream, event, dependencies, missing] {
            hasher.update(part.as_ref().map_or("", LazyValue::as_raw_str).as_bytes());
            hasher.update(b"\n");
        }
        self.count += 1;
        self.checksum = self.checksum.wrapping_add(hasher.digest());
    }
}

/// What a job is named in the brokers.
fn name_of(job: &str) -> String {
    format!("nexmark-{job}")
}

/// One row of the table: what it says of a run.
type Row = (&'static str, fn(&Run) -> String);

const ROWS: [Row; 16] = [
    ("events a second", |run| rate(&run.summary)),
    ("accept latency, p50", |run| latency(&run.summary.latency.accept, |latency| latency.p50_us)),
    ("accept latency, p99", |run| latency(&run.summary.latency.accept, |latency| latency.p99_us)),
    ("resolve latency, p50", |run| latency(&run.summary.latency.resolve, |latency| latency.p50_us)),
    ("resolve latency, p99", |run| latency(&run.summary.latency.resolve, |latency| latency.p99_us)),
    ("completion latency, p50", |run| latency(&run.summary.latency.completion, |latency| latency.p50_us)),
    ("completion latency, p99", |run| latency(&run.summary.latency.completion, |latency| latency.p99_us)),
    ("waiting, peak", |run| grouped(run.summary.waiting_peak)),
    ("CPU time", |run| run.summary.cpu_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"))),
    ("memory, peak", |run| run.summary.memory_peak_bytes.map_or_else(|| "-".to_owned(), mebibytes)),
    ("bytes of outcomes", |run| mebibytes(run.summary.bytes_written)),
    ("state on disk", |run| mebibytes(run.summary.state_bytes)),
    ("resolved", |run| grouped(run.summary.totals.resolved)),
    ("expired", |run| grouped(run.summary.totals.expired)),
    ("rejected", |run| grouped(run.summary.totals.rejected)),
    ("checksum of outcomes", |run| format!("{:016x}", run.outcomes.checksum)),
];

const NOTES: &str = "
The stream is read as fast as it goes, so latencies include the time in full queues. An event with a reference that never
comes has expired at the end of the input. accept: until the commit of what was accepted (deferred only). resolve: from an
event's arrival to its outcome. completion: the same from the arrival of the last referent it lacked.";

fn print_table(runs: &[Run]) {
    println!();
    print_row("", JOBS.iter().map(|(job, _)| (*job).to_owned()));
    print_row("dependencies", JOBS.iter().map(|(_, mode)| (*mode).to_owned()));
    for (name, cell) in ROWS {
        print_row(name, runs.iter().map(cell));
    }
}

fn print_row(name: &str, cells: impl Iterator<Item = String>) {
    let cells: String = cells.map(|cell| format!("{cell:>18}")).collect();
    println!("{name:<24}{cells}");
}

fn rate(summary: &Summary) -> String {
    // Both far below 2^53, and a rate is no exact number.
    grouped((summary.totals.read as f64 / summary.elapsed_seconds) as u64)
}

fn latency(quantiles: &Quantiles, micros: fn(&Quantiles) -> u64) -> String {
    if quantiles.count == 0 { "-".to_owned() } else { format!("{:.1?}", Duration::from_micros(micros(quantiles))) }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", grouped(bytes.div_ceil(1 << 20)))
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
