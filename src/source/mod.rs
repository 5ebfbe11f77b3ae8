//! Where records come from: files, standard input, seeded workloads.
//!
//! A source reads on one thread of its own and hands out [`Block`]s of consecutive records; it decodes nothing and
//! never skips a byte in silence.

mod error;
mod file;
mod fingerprint;
mod kafka;
mod synthetic;
pub mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use error::{SettingsError, SourceError};
pub use file::{FileFingerprint, is_pipe};
pub use fingerprint::{Fingerprint, Fingerprints};
pub use kafka::{GroupOffsets, KafkaSettings, KafkaTopic, RecordFingerprint, Start};
pub use workload::{Arrivals, ItemSettings, SyntheticSettings, Workload};

use crate::clock::Clock;
use file::FileRecords;

use crate::event::{Block, EventId, PartitionId, Partitions, Positions, StreamId, Timestamp};
use crate::kafka::{Membership, Waiting};
use crate::metrics::Metrics;

/// Where to read, and how.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// Files, or standard input.
    File(FileSettings),
    /// Topics of Kafka.
    Kafka(KafkaSettings),
    /// A seeded workload made up on the way.
    Synthetic(SyntheticSettings),
}

impl Settings {
    /// Whether positions are kept by a consumer group, whose members share what there is to read.
    pub fn joins_group(&self) -> bool {
        matches!(self, Settings::Kafka(settings) if settings.joins_group)
    }

    /// The topics that are read.
    pub fn topics(&self) -> Vec<String> {
        match self {
            Settings::Kafka(settings) => settings.topics.iter().map(|topic| topic.name.clone()).collect(),
            Settings::File(_) | Settings::Synthetic(_) => Vec::new(),
        }
    }

    /// The consumer group that offsets are committed to.
    pub fn group(&self) -> Option<&str> {
        match self {
            Settings::Kafka(settings) => Some(&settings.group),
            Settings::File(_) | Settings::Synthetic(_) => None,
        }
    }

    /// Whether these settings can be meant; [`open`] refuses those that cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        match self {
            Settings::File(settings) => settings.check(),
            Settings::Kafka(settings) => settings.check(),
            Settings::Synthetic(settings) => settings.check(),
        }
    }

    /// Whether any record of these partitions can be read again [by its position](Records).
    pub fn rereads(&self, partitions: &Partitions) -> bool {
        match self {
            Settings::File(settings) => settings.rereads(partitions),
            Settings::Kafka(_) | Settings::Synthetic(_) => false,
        }
    }

    /// The stream of every record of a partition, where the partition decides that.
    pub fn stream_of(&self, partition: &str) -> Option<StreamId> {
        match self {
            Settings::File(settings) => settings.inputs.iter().find(|input| input.path == partition)?.stream,
            Settings::Kafka(settings) => settings.stream_of(kafka::split_name(partition)?.0),
            Settings::Synthetic(_) => None,
        }
    }
}

/// Files to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The files. Without `interleave` they are read in this order.
    pub inputs: Vec<FileInput>,
    /// Read a block of each in turn (a file for each stream) instead of one after the other.
    pub interleave: bool,
    /// Whether they are appended to, and that is read.
    pub follow: Follow,
}

/// Whether files are appended to, and what is read of them then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// They are as they are: reading stops at the end that a file had when it was opened, and a last line without a line break is a record.
    No,
    /// What is appended is read. A last line waits for its line break.
    Yes,
    /// What is appended after a file was opened is left for the next run, and so is a last line without a line break: who writes it has not come to its end.
    UntilEnd,
}

impl Follow {
    /// The same, but for what is appended from now on.
    pub fn until_end(self) -> Follow {
        match self {
            Follow::No => Follow::No,
            Follow::Yes | Follow::UntilEnd => Follow::UntilEnd,
        }
    }

    /// Whether reading comes to an end.
    pub fn ends(self) -> bool {
        self != Follow::Yes
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInput {
    /// As configured: the name of the partition. `-` is standard input; `.gz` and `.zst` are decompressed, and offsets
    /// count decompressed bytes.
    ///
    /// Standard input and named pipes cannot be read again: after a restart their offsets count on from the committed
    /// one, so that no two records share a position, and they are left out when committed input is replayed.
    pub path: String,
    /// The stream of all its records, where no field of the record says it.
    pub stream: Option<StreamId>,
}

/// What bounds the blocks of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that a block aims at.
    pub block_bytes: usize,
    /// Bytes of the longest record that is passed on whole.
    pub record_bytes_max: usize,
}

/// What a source has next.
#[derive(Debug)]
pub enum Next {
    /// Records.
    Block(Block),
    /// A partition is read from here on, before its first block: where that is the first time ever, this is its origin, and nothing before it belongs to
    /// the job. Sources whose partitions begin at 0 do not say it.
    Partition(PartitionId, u64),
    /// Given once, before [`Next::End`]: every partition has been read to the end that it had when the source was
    /// opened (with `to`: to its bound).
    CaughtUp,
    /// Nothing new within the time given.
    Idle,
    /// What is read by this process is taken from it: nothing of it follows. What was handed out is to be committed now, and then [given up](Source::give_up);
    /// until that nothing else is read.
    Revoked,
    /// There will never be more.
    End,
}

/// What was not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Bytes of files between what was handed out and the present end, where that is known.
    pub bytes: Option<u64>,
    /// Records, where the source counts them.
    pub records: Option<u64>,
    /// How far records have come after they were due at most, because the source took so long to make them and not because it was held back. Of a
    /// synthetic source with a rate.
    pub behind: Duration,
}

/// One place to read from. Reading is repeatable (standard input excepted): the same range gives the same records, byte
/// for byte.
pub trait Source: Send {
    /// The next records, waiting at most `wait` for them. Blocks until then: it wants a thread of its own.
    fn next(&mut self, wait: Duration) -> Result<Next, SourceError>;

    /// What lies between what was handed out and the present end.
    fn lag(&self) -> Lag;

    /// What takes the fingerprints of what is read, so that a later start knows it again. Refuses files and topics that
    /// are not those that were `known` at the last commit. Called before the first [`Source::next`].
    fn fingerprints(&mut self, _known: &BTreeMap<PartitionId, Fingerprint>) -> Result<Fingerprints, SourceError> {
        Ok(Fingerprints::default())
    }

    /// Where offsets are committed for others to see, as far as the source has such a place.
    fn group_offsets(&self) -> Option<GroupOffsets> {
        None
    }

    /// Called now and then while nothing is taken of what was handed out, so that connections stay alive.
    fn held(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    /// Gives up what was [revoked](Next::Revoked).
    fn give_up(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    /// What commits its positions, where they are kept by a group that this process is a member of.
    fn membership(&self) -> Option<Membership> {
        None
    }

    /// Takes back the empty buffer of a block that has been decoded, to fill it again.
    fn recycle(&mut self, _buffer: Vec<u8>) {}
}

/// What a source needs of the job around it.
#[derive(Clone)]
pub struct Host {
    /// Where it says how its connections do.
    pub metrics: Metrics,
    /// Whether to stop waiting for somebody else.
    pub give_up: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Is told what it waits for.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Host {
    /// One that never gives up.
    #[cfg(test)]
    fn patient() -> Host {
        Host { metrics: Metrics::new("test"), give_up: Arc::new(|| false), say: Arc::new(|_| {}) }
    }

    /// How it waits for brokers.
    fn waiting(&self) -> Waiting<'_> {
        Waiting { give_up: &*self.give_up, say: &*self.say }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("give_up", &(self.give_up)()).finish_non_exhaustive()
    }
}

/// Opens a source at `from` (a partition that is not in it: at its start). With `to` it ends exactly there, and
/// partitions that are not in `to` are not read: that is how committed input is replayed.
///
/// # Errors
/// If the settings cannot be meant, if something cannot be opened, or if it no longer holds the range from `from` to
/// `to`. (Of compressed files and pipes the latter shows only when they are read.)
///
/// A source that joins a consumer group reads from where the group stands: `from` and `to` say nothing to it.
pub fn open(
    settings: &Settings,
    limits: Limits,
    partitions: &Partitions,
    from: &Positions,
    to: Option<&Positions>,
    clock: &Clock,
    host: &Host,
) -> Result<Box<dyn Source>, SourceError> {
    settings.check()?;
    Ok(match settings {
        Settings::File(settings) => {
            Box::new(file::FileSource::open(settings, limits, partitions, from, to, clock.clone())?)
        }
        Settings::Kafka(settings) if settings.joins_group => {
            Box::new(kafka::GroupSource::open(settings, limits, partitions, clock.clone(), host)?)
        }
        Settings::Kafka(settings) => {
            Box::new(kafka::KafkaSource::open(settings, limits, partitions, from, to, clock.clone(), host)?)
        }
        Settings::Synthetic(settings) => {
            Box::new(synthetic::SyntheticSource::open(settings, limits, partitions, from, to, clock.clone())?)
        }
    })
}

/// Of files that are only looked at.
const LOOKED_AT: Limits = Limits { block_bytes: 1, record_bytes_max: 1 };

/// Reads single records of a source again, where it [can](Settings::rereads).
#[derive(Debug)]
pub struct Records {
    files: FileRecords,
    partitions: Partitions,
}

impl Records {
    /// Opens what was read up to `positions`; files that are not those that were `known` then are refused. `partitions` has their names.
    ///
    /// # Errors
    /// If a file cannot be opened, or is another one.
    pub fn open(
        settings: &Settings,
        partitions: &Partitions,
        positions: &Positions,
        known: &BTreeMap<PartitionId, Fingerprint>,
    ) -> Result<Records, SourceError> {
        let mut files = match settings {
            Settings::File(settings) => settings.clone(),
            Settings::Kafka(_) | Settings::Synthetic(_) => {
                FileSettings { inputs: Vec::new(), interleave: false, follow: Follow::No }
            }
        };
        files.only_plain(|path| positions.0.contains_key(&partitions.id(path)));
        file::FileSource::open(&files, LOOKED_AT, partitions, positions, None, Clock::start())?.fingerprints(known)?;
        Ok(Records { files: FileRecords::new(&files, partitions), partitions: partitions.clone() })
    }

    /// The record at a position, in a block of its own. Where none begins there, it is part of one, or there is none in it.
    ///
    /// # Errors
    /// If the file cannot be read, or is not configured any more.
    pub fn read(&mut self, id: EventId, arrival: Timestamp) -> Result<Block, SourceError> {
        let read = self.files.read(id, arrival)?;
        read.ok_or_else(|| SourceError::NotConfigured { partition: self.partitions.name(id.partition).to_string() })
    }
}

/// Refuses sources that cannot be opened from their start; reads nothing of them.
///
/// # Errors
/// If the settings cannot be meant, or a file cannot be opened.
pub fn check_readable(settings: &Settings) -> Result<(), SourceError> {
    settings.check()?;
    match settings {
        Settings::File(settings) => settings.check_readable(),
        // What the brokers say shows when it is opened, and `--fresh` deletes nothing of theirs.
        Settings::Kafka(_) | Settings::Synthetic(_) => Ok(()),
    }
}

/// Refuses a replay of partitions that are not among the `configured` ones.
fn check_configured(to: &Positions, configured: &[PartitionId], partitions: &Partitions) -> Result<(), SourceError> {
    match to.0.keys().find(|id| !configured.contains(id)) {
        Some(id) => Err(SourceError::NotConfigured { partition: partitions.name(*id).to_string() }),
        None => Ok(()),
    }
}
