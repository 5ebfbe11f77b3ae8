//! How each dependency of a job should wait, from a sample of its own stream.
//!
//! The sample is read by the job's source, decoded by its decoder, and what is a reference is decided by its rules: `advise` has no parser of its own. Nothing
//! is written, no state is opened, no consumer group is joined.
//!
//! * `arrival`: when a record arrived, as far as a sample that lies still can tell.
//! * `references`: what is here and what waits while it is read: every reference finds its referent, or notes when it comes.
//! * `counts`: what became of the references of a dependency.
//! * `events`: when whole events are complete.
//! * `lags`: how that is spread.
//! * [`mod@decide`]: from what was measured to advice; pure.
//! * [`report`]: the evidence, the advice, and the TOML to paste; `build` makes it of a sample, with `notes` on what limits it and `waiting`, what waits at once.

mod arrival;
mod build;
mod counts;
pub mod decide;
mod events;
mod lags;
mod notes;
mod references;
pub mod report;
#[cfg(test)]
mod tests;
mod toml;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::clock::Clock;
use crate::config::Job;
use crate::decode::{Decoded, Decoder};
use crate::event::{Block, Content, PartitionId, Partitions, Positions};
use crate::metrics::Metrics;
use crate::source::{self, Host, Limits, Next, Settings, Source, SourceError, Start};

pub use arrival::ArrivalClock;
pub use lags::{Bar, Quantiles};
pub use report::Report;

use arrival::Arrivals;
use references::{Found, References};

/// Bytes that a block of records aims at.
const BLOCK_BYTES: usize = 256 << 10;

/// How long a source is waited for before it is asked again.
const READ_WAIT: Duration = Duration::from_millis(100);

/// What to look at, and what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Within this time of its arrival an event is to be complete.
    pub latency: Duration,
    /// How long a restart may take to read input again.
    pub restart: Duration,
    /// Records a second, where the order of reading is to be the clock.
    pub rate: Option<u64>,
    /// How many records are read at most; `None` is all, to the present end.
    pub sample: Option<u64>,
    /// Bytes that the tables of `advise` itself may take.
    pub memory: usize,
}

/// Why there is no advice.
#[derive(Debug, Error)]
pub enum AdviseError {
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source has no end.
    #[error(
        "the synthetic workload is endless; say how many records to read with --sample N, or set `events` under [source.synthetic]"
    )]
    Endless,
    /// There is nothing to go by.
    #[error("nothing was read, so there is nothing to advise: the files or topics of the job hold no record")]
    Empty,
}

/// Why the sample ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// There was no more at that time.
    Present,
    /// As many records as were asked for have been read.
    Sample,
    /// More references wait for single keys than there is memory for.
    Memory,
}

/// What was read.
struct Sample {
    arrivals: Arrivals,
    found: Found,
    partitions: Partitions,
    events: u64,
    rejected: u64,
    end: End,
    elapsed: Duration,
}

/// Reads a sample of the job's stream and says how its dependencies should wait. `job` is loaded for the streaming launcher; `deferred` is the same file,
/// loaded for the deferred one: that shows which dependencies name a mode; it is `None` for a job that maintains its results, which only the former runs. `say` is told what a source waits for.
///
/// # Errors
/// The source cannot be read, has no end, or holds no record.
pub fn advise(
    job: &Job,
    deferred: Option<&Job>,
    options: &Options,
    say: Arc<dyn Fn(&str) + Send + Sync>,
) -> Result<Report, AdviseError> {
    let clock = clock_of(job, options);
    let sample = read(job, options, clock, say)?;
    if sample.arrivals.records() == 0 {
        return Err(AdviseError::Empty);
    }
    Ok(build::build(job, deferred, options, &sample))
}

/// What arrivals are read off: what there is of time, unless a rate is given.
fn clock_of(job: &Job, options: &Options) -> ArrivalClock {
    let is_timed = || job.rules.streams().iter().any(|stream| stream.time.is_some());
    match (&job.source, options.rate) {
        (_, Some(rate)) => ArrivalClock::Rate(rate),
        (Settings::Kafka(_), None) => ArrivalClock::RecordTime,
        (Settings::Synthetic(synthetic), None) if synthetic.rate > 0 => ArrivalClock::Rate(synthetic.rate),
        (_, None) if is_timed() => ArrivalClock::EventTime,
        (_, None) => ArrivalClock::Records,
    }
}

/// The source as it is read here: from its beginning to its present end, as fast as possible, and without a trace.
fn to_present_end(job: &Job, options: &Options) -> Result<Settings, AdviseError> {
    let mut settings = job.source.clone();
    match &mut settings {
        Settings::File(files) => files.follow = files.follow.until_end(),
        Settings::Kafka(kafka) => {
            kafka.until_end = true;
            kafka.start = Start::Earliest;
            kafka.create_topics = false;
            kafka.joins_group = false;
        }
        Settings::Synthetic(synthetic) => {
            synthetic.rate = 0;
            if synthetic.events == 0 && options.sample.is_none() {
                return Err(AdviseError::Endless);
            }
        }
    }
    Ok(settings)
}

fn read(
    job: &Job,
    options: &Options,
    clock: ArrivalClock,
    say: Arc<dyn Fn(&str) + Send + Sync>,
) -> Result<Sample, AdviseError> {
    let settings = to_present_end(job, options)?;
    let limits = Limits { block_bytes: BLOCK_BYTES, record_bytes_max: job.max_record };
    let (partitions, from) = (Partitions::default(), Positions::default());
    let host = Host { metrics: Metrics::new(&job.name), give_up: Arc::new(|| false), say };
    let began = Instant::now();
    let mut source = source::open(&settings, limits, &partitions, &from, None, &Clock::start(), &host)?;
    let rules = Arc::new((*job.rules).clone().all_streaming());
    // Those of the histograms, and the target.
    let bounds = [lags::bounds(clock.has_time()), &[decide::micros(options.latency)]].concat();
    let mut reader = Reader {
        decoder: Decoder::new(Arc::clone(&rules), job.stream_field.as_ref()),
        references: References::new(rules, options.memory, clock.has_time(), &bounds),
        arrivals: Arrivals::new(clock),
        events: 0,
        rejected: 0,
        sample: options.sample.unwrap_or(u64::MAX),
        is_of_topics: matches!(settings, Settings::Kafka(_)),
    };
    let end = reader.read_to_end(source.as_mut())?;
    let Reader { references, arrivals, events, rejected, .. } = reader;
    let found = references.finish(&arrivals, options.latency);
    Ok(Sample { arrivals, found, partitions, events, rejected, end, elapsed: began.elapsed() })
}

/// Takes blocks apart.
struct Reader {
    decoder: Decoder,
    references: References,
    arrivals: Arrivals,
    events: u64,
    rejected: u64,
    sample: u64,
    is_of_topics: bool,
}

impl Reader {
    fn read_to_end(&mut self, source: &mut dyn Source) -> Result<End, SourceError> {
        let mut fingerprints = self.is_of_topics.then(|| source.fingerprints(&BTreeMap::new())).transpose()?;
        loop {
            match source.next(READ_WAIT)? {
                Next::Block(block) => {
                    if let Some(fingerprints) = &mut fingerprints {
                        // As a job's commits do: they are gathered until then.
                        fingerprints.take(&Positions([(block.partition, block.next_offset)].into()))?;
                    }
                    self.take(&block);
                    if let Content::Lines { mut bytes, .. } | Content::Records { mut bytes, .. } = block.content {
                        bytes.clear();
                        source.recycle(bytes);
                    }
                }
                Next::Partition(..) | Next::CaughtUp | Next::Revoked | Next::Idle => {}
                Next::End => return Ok(End::Present),
            }
            if self.arrivals.records() >= self.sample {
                return Ok(End::Sample);
            }
            if self.references.is_full() {
                return Ok(End::Memory);
            }
        }
    }

    fn take(&mut self, block: &Block) {
        let Reader { decoder, references, arrivals, events, rejected, sample, .. } = self;
        let spare = decoder.spare();
        let mut timestamps = timestamps(block);
        decoder.decode(block, &mut |decoded| {
            let timestamp = timestamps.next().flatten();
            if arrivals.records() >= *sample {
                return;
            }
            match decoded {
                Decoded::Event(dependent) => {
                    let header = &dependent.event.header.header;
                    let at = moment(arrivals, block.partition, dependent.event.slice.len(), header.time, timestamp);
                    references.take(&dependent, at, arrivals);
                    *events += 1;
                    spare.give(dependent);
                }
                Decoded::Rejected(rejection) => {
                    let bytes = rejection.size.and_then(|size| usize::try_from(size).ok());
                    moment(arrivals, block.partition, bytes.unwrap_or(rejection.record.len()), None, timestamp);
                    *rejected += 1;
                }
            }
        });
    }
}

/// The arrival of the next record, whose event has a time and whose record a timestamp, if they do.
fn moment(
    arrivals: &mut Arrivals,
    partition: PartitionId,
    bytes: usize,
    time: Option<i64>,
    timestamp: Option<i64>,
) -> arrival::Moment {
    let time = if arrivals.clock() == ArrivalClock::RecordTime { timestamp } else { time };
    arrivals.next(partition, bytes, time)
}

/// The timestamps of a block's records, in order; of a file's there are none.
fn timestamps(block: &Block) -> impl Iterator<Item = Option<i64>> {
    let records = match &block.content {
        Content::Records { records, .. } => records.as_slice(),
        Content::Lines { .. } | Content::Oversized { .. } => &[],
    };
    records.iter().map(|record| record.timestamp)
}
