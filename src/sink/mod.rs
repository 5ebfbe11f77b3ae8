//! Where outcomes go: files, topics, standard output, nowhere.
//!
//! [`Renderer`] builds lines or records on the workers; a [`Sink`] takes whole lines on the committer's thread, a [`Broker`] records. They know nothing of
//! events.

mod broker;
mod checksum;
mod error;
mod file;
mod include;
mod kafka;
mod record;
mod render;
mod stdout;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

pub use broker::{Broker, LostEpoch, Marker, Place};
pub use checksum::Checksummer;
pub use error::SinkError;
pub use kafka::{Acks, GiveUp, Identity, KafkaSettings, connect};
pub use record::{Record, RecordLimits, records};
pub use render::{Format, Renderer};

use crate::dependency::Pointer;
use crate::event::Outcome;

/// The sinks of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SinkKind {
    /// `resolved` outcomes.
    Resolved,
    /// `expired` and `rejected` outcomes.
    DeadLetter,
    /// `accepted` notices.
    Accepted,
}

impl SinkKind {
    /// Where an outcome goes; `None` for `dropped`, which has no line.
    pub fn of(outcome: &Outcome) -> Option<SinkKind> {
        match outcome {
            Outcome::Resolved(_) => Some(SinkKind::Resolved),
            Outcome::Accepted(_) => Some(SinkKind::Accepted),
            Outcome::Expired(..) | Outcome::Rejected(_) => Some(SinkKind::DeadLetter),
            Outcome::Dropped(..) => None,
        }
    }

    /// All kinds.
    pub const ALL: [SinkKind; 3] = [SinkKind::Resolved, SinkKind::DeadLetter, SinkKind::Accepted];

    /// As it is written in configurations and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SinkKind::Resolved => "resolved",
            SinkKind::DeadLetter => "dead_letter",
            SinkKind::Accepted => "accepted",
        }
    }
}

/// Where one sink writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Appended to a file.
    File(PathBuf),
    /// Records of a topic.
    Topic(TopicSettings),
    /// Standard output: at least once, for it cannot be cut.
    Stdout,
    /// Counted and discarded.
    Null {
        /// Whether a [checksum](Checksummer) is kept of what is discarded.
        checksum: bool,
    },
}

/// A topic, and what its records are keyed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Its name. Several kinds may share a topic: a header says what each record is.
    pub topic: String,
    /// What its records are keyed by.
    pub key: KeyRule,
    /// Bytes of the largest record that the client takes for it: see [`RecordLimits::client`]. An outcome that comes to more, or to more than the topic takes,
    /// is written without its event and what that took, with the size that it would have had.
    pub record_bytes_max: usize,
    /// Whether a record is the present result of its key, or null where there is none (`style = "upsert"`). Otherwise it is an outcome, or a change.
    pub upserts: bool,
}

/// The key of an outcome's record. Where the rule gives none it is the key that the record was read with; without that, the outcome has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeyRule {
    /// The event's own key.
    #[default]
    Event,
    /// A field of the event.
    Field(Pointer),
    /// The key that the first reference of the dependency of this name refers to.
    Dependency(String),
}

/// Where each kind of outcome goes; one that has no target cannot occur, or (`accepted`) is not wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For [`SinkKind::Resolved`].
    pub resolved: Target,
    /// For [`SinkKind::DeadLetter`].
    pub dead_letter: Option<Target>,
    /// For [`SinkKind::Accepted`].
    pub accepted: Option<Target>,
}

impl Settings {
    /// The target of a kind, if it has one.
    pub fn target(&self, kind: SinkKind) -> Option<&Target> {
        match kind {
            SinkKind::Resolved => Some(&self.resolved),
            SinkKind::DeadLetter => self.dead_letter.as_ref(),
            SinkKind::Accepted => self.accepted.as_ref(),
        }
    }

    /// How each kind is to be rendered, for topics of this broker.
    pub fn formats(&self, broker: Option<&dyn Broker>) -> [Format; 3] {
        SinkKind::ALL.map(|kind| match self.target(kind) {
            Some(Target::Topic(topic)) => {
                let batch_bytes_max = broker.and_then(|broker| broker.batch_bytes_max(&topic.topic));
                let limits =
                    RecordLimits { client: topic.record_bytes_max, topic: batch_bytes_max.unwrap_or(usize::MAX) };
                if topic.upserts {
                    Format::Upserts { limits }
                } else {
                    Format::Records { key: topic.key.clone(), limits }
                }
            }
            _ => Format::Lines,
        })
    }

    /// The topics that are written to, in the order of the kinds.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        SinkKind::ALL.into_iter().filter_map(|kind| match self.target(kind) {
            Some(Target::Topic(topic)) => Some(topic.topic.as_str()),
            _ => None,
        })
    }
}

/// What a commit has to remember of a sink: cut back to it, the sink holds what was committed and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Length of the file in bytes; 0 for sinks that are no files.
    pub length: u64,
}

/// A file whose end is not durable yet.
#[derive(Clone, Debug)]
pub struct Unsynced {
    file: Arc<File>,
    path: PathBuf,
}

impl Unsynced {
    /// Waits until all that was flushed is durable; lines that the sink takes meanwhile may be or not. After an error nobody knows what is: nothing that was flushed
    /// since the last success may be relied on.
    pub fn sync(&self) -> Result<(), SinkError> {
        self.file.sync_data().map_err(|error| SinkError::Write { target: self.path.display().to_string(), error })
    }
}

/// A place that takes lines.
pub trait Sink: Send {
    /// Takes whole lines. What was taken may be lost until it was [flushed](Sink::flush) and what that gave was synced.
    fn write(&mut self, lines: &[u8]) -> Result<(), SinkError>;

    /// Hands all that was written to the system. What is not durable then is returned with the mark: to wait for the disk is for others.
    fn flush(&mut self) -> Result<(Mark, Option<Unsynced>), SinkError>;

    /// Bytes written since it was opened.
    fn bytes_written(&self) -> u64;
}

/// Refuses what [`open`] would refuse, and modifies nothing.
pub fn check(target: &Target, mark: Option<Mark>) -> Result<(), SinkError> {
    match target {
        Target::File(path) => file::check(path, mark),
        Target::Topic(_) | Target::Stdout | Target::Null { .. } => Ok(()),
    }
}

/// Opens a sink; `None` for a topic, which a [`Broker`] takes records for. With a mark it is cut back to that; without one a file that holds anything is
/// refused.
pub fn open(target: &Target, mark: Option<Mark>) -> Result<Option<Box<dyn Sink>>, SinkError> {
    Ok(match target {
        Target::File(path) => Some(Box::new(file::FileSink::open(path, mark)?)),
        Target::Stdout => Some(Box::new(stdout::StdoutSink::default())),
        Target::Null { .. } => Some(Box::new(NullSink::default())),
        Target::Topic(_) => None,
    })
}

/// Counts what it takes.
#[derive(Debug, Default)]
struct NullSink {
    bytes_written: u64,
}

impl Sink for NullSink {
    fn write(&mut self, lines: &[u8]) -> Result<(), SinkError> {
        self.bytes_written += lines.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(Mark, Option<Unsynced>), SinkError> {
        Ok((Mark::default(), None))
    }

    fn bytes_written(&self) -> u64 {
        self.bytes_written
    }
}
