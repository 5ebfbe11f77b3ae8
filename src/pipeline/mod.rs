//! The only place where stages meet: opens what a job needs, runs the dataflow, and brings it to rest.
//!
//! Five kinds of threads: one reads the source, the timely workers decode and resolve, those of `lookup` ask the state for them, one takes outcomes and
//! commits, and one waits for the disk meanwhile. What they share is the `intake` (blocks and epochs towards the workers) and a channel (lines and changes
//! towards the committer).

mod buffers;
mod committer;
mod durable;
mod expire;
mod intake;
mod listed;
mod lookup;
mod open;
mod reading;
mod replay;
mod worker;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use resolvent_state::{OpenError, StateError};
use thiserror::Error;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::clock::Clock;
use crate::config::Job;
use crate::dependency::Rules;
use crate::event::{Partitions, WorkerIndex};
use crate::kafka::ClientError;
use crate::metrics::{ConservationError, Metrics, Totals};
use crate::mode::maintained::StoredRow;
use crate::mode::{self, RestoreError};
use crate::sink::{self, SinkError, SinkKind, Target};
use crate::source::SourceError;

pub use expire::{Ended, ExpireError, expire};
pub use listed::{ListedError, listed};
pub use open::identity;

use committer::{Committer, Told};
use durable::Durable;
use intake::Intake;
use lookup::{AppliedEpoch, Reader};
use open::{Opened, Start};
use reading::Replay;

/// How long the reading thread waits for records before it looks whether the job is to stop.
const READ_WAIT: Duration = Duration::from_millis(50);

/// Bytes of lines that may wait for the committer before sources are held back.
const SINK_BYTES_MAX: u64 = 64 << 20;

/// How long a job waits before it begins again: what made it do so may take its time to pass.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What happens to what still waits at the end of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UntilEnd {
    /// It goes on waiting in the next run.
    Keep,
    /// It ends at once, as its `on_expiry` says.
    Expire,
    /// The job stays until the last deadline; what has none goes on waiting.
    Deadlines,
}

/// Bytes of lines that may wait for the committer before what is done in slices is held back: some milliseconds of writing, which other events' lines wait
/// behind them.
const SLICES_BYTES_MAX: u64 = 2 << 20;

/// An epoch ends early when its changes of the state come to this part of the state's memory, within [`CHANGES_BYTES`]: until they are durable they are held
/// three or four times over, as batches of the workers, as one write, and in memtables. Beside them are, for each, where it is in
/// its batch (24 bytes), and while they are written a list to sort them (32, and as much as half of that to sort it). Waiting events that an epoch only lists count
/// as if it wrote them; the next one writes those of them that wait still, besides its own.
const CHANGES_SHARE: u64 = 16;

/// The least and the most such bytes: fewer would not be worth a commit, and more would be worth no memory.
const CHANGES_BYTES: RangeInclusive<u64> = 4 << 20..=16 << 20;

/// How a job is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Start over: the state and the output files are deleted.
    pub fresh: bool,
    /// Stop at the end of the input; the default for sources that end.
    pub until_end: Option<UntilEnd>,
    /// Tell the results that stand at the end of the input, on standard output, and nothing else; neither the state nor an output file is touched. For
    /// jobs that maintain their results.
    pub compact: bool,
}

/// Asks a job to commit and stop. All copies are the same flag.
#[derive(Clone, Default)]
pub struct StopFlag {
    inner: Arc<StopInner>,
}

#[derive(Default)]
struct StopInner {
    asked: AtomicBool,
    intake: Mutex<Option<Arc<Intake>>>,
}

impl StopFlag {
    /// A flag that nobody has raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the job to stop, before it runs or while it does.
    pub fn stop(&self) {
        self.inner.asked.store(true, Ordering::SeqCst);
        if let Some(intake) = &*self.inner.intake.lock().unwrap_or_else(PoisonError::into_inner) {
            intake.stop();
        }
    }

    /// Whether the job is to stop.
    fn is_raised(&self) -> bool {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// Waits so long, or until the job is to stop.
    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_raised() && Instant::now() < until {
            thread::sleep(READ_WAIT.min(time));
        }
    }

    fn watch(&self, intake: &Arc<Intake>) {
        *self.inner.intake.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(intake));
        if self.is_raised() {
            intake.stop();
        }
    }
}

impl fmt::Debug for StopFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StopFlag").field(&self.inner.asked).finish()
    }
}

/// What a job has done when it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What became of all records, in this run and the runs before it.
    pub totals: Totals,
    /// The totals when this run began.
    pub before: Totals,
    /// Events that wait, counted one by one.
    pub waiting: u64,
    /// How long this run took.
    pub elapsed: Duration,
    /// Bytes written to output files in this run.
    pub bytes_written: u64,
    /// Bytes of the state on disk.
    pub state_bytes: u64,
    /// What was given to the state, and what that made it write and read, since it was opened last.
    pub state_io: resolvent_state::Io,
}

/// A job could not start, or could not go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// The state cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The state does not answer.
    #[error(transparent)]
    State(#[from] StateError),
    /// The state cannot be read.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// What waits cannot be read again.
    #[error(transparent)]
    Listed(#[from] ListedError),
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A sink does not take what it is given.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// An epoch cannot be committed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is nothing to delete to start over.
    #[error(
        "--fresh has nothing to delete: group {group} has the job's positions, for all its processes. Stop them and set its offsets \
         (kafka-consumer-groups.sh --reset-offsets), or name another group under [source.kafka]"
    )]
    FreshGroup {
        /// The group.
        group: String,
    },
    /// Output files cannot be deleted.
    #[error("cannot delete {path} to start over: {error}")]
    Fresh {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}; raise the limit on processes (ulimit -u)")]
    Thread(#[from] std::io::Error),
    /// A thread of the job ended before its time.
    #[error(
        "a thread of the job failed ({0}): nothing after the last commit counts; start the job again, and report this"
    )]
    Worker(String),
    /// What maintained results follow from does not fit in memory, and none of it is about to leave.
    #[error(
        "what a worker keeps for maintained results takes some {} MiB, its share of `[streaming] memory` is {} MiB, and nothing of it is about to leave: raise it, or \
         have less kept, by a `wait` on dependencies and a `retain` on what they refer to; what was committed is whole, and a start goes on from there",
        bytes >> 20,
        limit >> 20
    )]
    CollectionsFull {
        /// About how many bytes it takes.
        bytes: u64,
        /// How many it may.
        limit: u64,
    },
    /// Events were lost or answered twice: a defect.
    #[error("{broken}: a defect of Resolvent; what was committed before this run is whole")]
    Conservation {
        /// Which part of the law is broken.
        broken: ConservationError,
        /// What was counted all the same.
        summary: Box<Summary>,
    },
}

impl RunError {
    /// Whether nothing is wrong but that the job was asked to stop while it waited for brokers, before it had begun.
    pub fn is_stopped(&self) -> bool {
        let error = match self {
            RunError::Source(SourceError::Kafka(error)) => error,
            RunError::Sink(SinkError::Client(error)) => error,
            RunError::Checkpoint(CheckpointError::Sink(SinkError::Client(error))) => error,
            _ => return false,
        };
        matches!(error, ClientError::Stopped { .. })
    }

    /// Whether all that is not known is what became of the last epoch, so that the job can begin again from the one before in this process.
    fn is_undecided(&self) -> bool {
        match self {
            RunError::Sink(error) => error.is_undecided(),
            RunError::Checkpoint(error) => error.is_undecided(),
            RunError::Source(error) => error.is_passing(),
            _ => false,
        }
    }
}

/// Runs a job until its input ends or it is asked to stop. One job a process: the memory of its tables is left to the system when the process ends.
///
/// Where it is not known whether a broker has committed an epoch, the job begins again from what is known, in this process.
///
/// # Errors
///
/// What it needs cannot be opened, or something failed on the way; nothing after the last commit counts then.
pub fn run(job: Job, options: RunOptions, metrics: Metrics, stop: StopFlag) -> Result<Summary, RunError> {
    let began = Instant::now();
    let job = if options.compact { only_shown(job) } else { job };
    let health = metrics.health().clone();
    health.not_ready("reading the state");
    let clock = Clock::start();
    let mut start = Start::new(options, metrics.clone(), stop);
    let finished = loop {
        match open_and_run(&job, &mut start, &clock) {
            Ok(finished) => break finished,
            Err(error) if error.is_undecided() && !start.stop.is_raised() => {
                tracing::warn!("beginning again from the last commit: {error}");
                metrics.began_again();
                health.not_ready("beginning again from the last commit");
                start.stop.wait(AGAIN_AFTER);
            }
            Err(error) => {
                health.failed(error.to_string());
                return Err(error);
            }
        }
    };
    let before = start.before.unwrap_or_default();
    let committed = finished.checkpoint.committed();
    let waiting = finished.waiting_in_memory + committed.waiting_in_state;
    finished.state.flush()?;
    let summary = Summary {
        totals: committed.totals,
        before,
        waiting,
        elapsed: began.elapsed(),
        bytes_written: finished.checkpoint.bytes_written(),
        state_bytes: finished.state.disk_bytes(),
        state_io: finished.state.io(),
    };
    match committed.totals.conserves(waiting) {
        Ok(()) => Ok(summary),
        Err(broken) => Err(RunError::Conservation { broken, summary: Box::new(summary) }),
    }
}

/// A job that writes what stands in the end to standard output, and nothing elsewhere.
fn only_shown(mut job: Job) -> Job {
    job.sinks = sink::Settings {
        resolved: Target::Stdout,
        dead_letter: Some(Target::Null { checksum: false }),
        accepted: None,
    };
    job.producer = None;
    job
}

struct Finished {
    waiting_in_memory: u64,
    checkpoint: Checkpoint,
    state: resolvent_state::State,
}

fn open_and_run(job: &Job, start: &mut Start, clock: &Clock) -> Result<Finished, RunError> {
    let opened = open::open(job, start, clock)?;
    start.state = Some(opened.state.clone());
    let totals = opened.checkpoint.committed().totals;
    start.before.get_or_insert(totals);
    start.metrics.restore_totals(&totals);
    run_opened(job, opened, start, clock.clone())
}

fn run_opened(job: &Job, opened: Opened, start: &Start, clock: Clock) -> Result<Finished, RunError> {
    let Start { metrics, stop, .. } = start;
    let (workers, compact) = (job.workers, start.options.compact);
    let (tell, told) = mpsc::channel();
    let limits = intake::Limits {
        epoch: job.epoch,
        epoch_bytes: job.epoch_size,
        blocks: 2 * workers + 2,
        one_reader: is_ordered(&job.rules),
        sink_bytes: SINK_BYTES_MAX,
        slices_bytes: SLICES_BYTES_MAX,
    };
    let positions = opened.checkpoint.committed().positions.clone();
    let intake = Arc::new(Intake::new(limits, workers, positions, metrics.clone()));
    stop.watch(&intake);
    let brings_back = !opened.rows.is_empty();
    let replays = opened.replay.is_some() || brings_back;
    metrics.health().not_ready(if replays { "replaying" } else { "catching up" });

    let applied = Arc::new(AppliedEpoch::new(opened.checkpoint.committed().epoch));
    let rewrite = Arc::new(AtomicU64::new(0));
    let reader = Reader {
        state: opened.state.clone(),
        rules: Arc::clone(&job.rules),
        worker: WorkerIndex(0),
        workers,
        applied: Arc::clone(&applied),
        metrics: metrics.clone(),
        tell: tell.clone(),
    };
    let setup = worker::Setup {
        rules: Arc::clone(&job.rules),
        stream_field: job.stream_field.clone(),
        carries: job.sinks.topics().next().is_some(),
        settings: opened.engine,
        discards: discards(&job.sinks),
        checksums: checksums(&job.sinks),
        formats: opened.formats,
        partitions: opened.partitions.clone(),
        intake: Arc::clone(&intake),
        reader,
        clock: clock.clone(),
        rewrite: Arc::clone(&rewrite),
        waiting: share_out(opened.waiting, if limits.one_reader { 1 } else { workers }),
        drains: opened.drains,
        reminders: opened.reminders,
        waited_for: opened.waited_for,
        next_due: opened.next_due,
        unresolved: Arc::new(opened.unresolved),
        rows: by_owner(opened.rows, &job.rules, workers),
        ends_waits: opened.until_end == Some(UntilEnd::Expire),
        compact,
    };
    let committer = Committer {
        checkpoint: opened.checkpoint,
        durable: Durable::start(tell.clone(), Arc::clone(&applied))?,
        intake: Arc::clone(&intake),
        told,
        workers,
        partitions: opened.partitions,
        fingerprints: opened.fingerprints,
        group_offsets: opened.group_offsets,
        until_end: opened.until_end,
        compact,
        replay: replays,
        metrics: metrics.clone(),
        clock,
        state: opened.state.clone(),
        streams: job.rules.streams().iter().map(|stream| stream.name.clone()).collect(),
        applied: Arc::clone(&applied),
        rewrite,
    };
    let replay = match opened.replay {
        Some(source) => Replay::Source(source, opened.timeline),
        None if brings_back => Replay::Rows,
        None => Replay::None,
    };
    let reading = reading::start(replay, opened.source, Arc::clone(&intake), metrics.clone(), tell.clone())?;
    let working = start_workers(workers, setup, tell)?;
    let outcome = committer.run();
    intake.finish(matches!(&outcome, Err(error) if error.is_undecided()));
    applied.set(None);
    // What a thread had to say it has told the committer; it only remains to wait for it.
    let _ = reading.join();
    let _ = working.join();
    let (waiting_in_memory, checkpoint) = outcome?;
    Ok(Finished { waiting_in_memory, checkpoint, state: opened.state })
}

/// Whether lines of a kind are only counted.
fn discards(sinks: &sink::Settings) -> [bool; 3] {
    SinkKind::ALL.map(|kind| matches!(sinks.target(kind), None | Some(Target::Null { .. })))
}

/// Whether a checksum is kept of the lines of a kind.
fn checksums(sinks: &sink::Settings) -> [bool; 3] {
    SinkKind::ALL.map(|kind| matches!(sinks.target(kind), Some(Target::Null { checksum: true })))
}

fn is_ordered(rules: &Rules) -> bool {
    rules.streams().iter().any(|stream| stream.queue().is_some())
}

/// What an earlier run left of maintained results, for the workers that it belongs to.
fn by_owner(rows: Vec<StoredRow>, rules: &Rules, workers: usize) -> Vec<Mutex<Vec<StoredRow>>> {
    let mut shares: Vec<Vec<StoredRow>> = (0..workers).map(|_| Vec::new()).collect();
    for row in rows {
        if let Some(share) = shares.get_mut(row.owner(rules, workers).0) {
            share.push(row);
        }
    }
    shares.into_iter().map(Mutex::new).collect()
}

fn share_out<T>(all: Vec<T>, shares: usize) -> Vec<Mutex<Vec<T>>> {
    let mut out: Vec<Vec<T>> = (0..shares).map(|_| Vec::new()).collect();
    for (at, one) in all.into_iter().enumerate() {
        if let Some(share) = out.get_mut(at % shares) {
            share.push(one);
        }
    }
    out.into_iter().map(Mutex::new).collect()
}

/// A thread with a name, as profilers and `top -H` show it.
fn named(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}

fn start_workers(workers: usize, setup: worker::Setup, tell: Sender<Told>) -> std::io::Result<JoinHandle<()>> {
    named("workers", move || {
        let setup = Arc::new(setup);
        let mut config = timely::Config::process(workers);
        if setup.rules.is_maintained() {
            mode::maintained::configure(&mut config.worker);
        }
        let outcome = timely::execute(config, move |worker| worker::run(worker, &setup));
        let failed = match outcome {
            Ok(guards) => guards.join().into_iter().find_map(Result::err),
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            let _ = tell.send(Told::Failed(RunError::Worker(error)));
        }
    })
}

/// The engine's share of a job's memory, for each of its workers.
fn engine_settings(job: &Job, partitions: &Partitions, state_has_referents: bool) -> mode::Settings {
    let share = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX) / job.workers.max(1);
    let changes_bytes = (job.state.memory / CHANGES_SHARE).clamp(*CHANGES_BYTES.start(), *CHANGES_BYTES.end());
    mode::Settings {
        streaming_bytes: share(job.streaming_memory),
        // Three quarters of the state's budget are the cache of its hot entries, the rest is RocksDB's.
        deferred_bytes: share(job.state.memory / 4 * 3),
        changes_bytes: share(changes_bytes.min(job.epoch_size)),
        accepted: job.sinks.accepted.is_some(),
        state_has_referents,
        rereads: job.source.rereads(partitions),
    }
}
