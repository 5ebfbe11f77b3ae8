//! Where outcomes go: files, standard output, nowhere.
//!
//! [`Renderer`] builds lines on the workers; a [`Sink`] takes whole lines on the committer's thread. A sink knows nothing of events.

mod error;
mod file;
mod include;
mod render;
mod stdout;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use error::SinkError;
pub use render::Renderer;

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
    /// Standard output: at least once, for it cannot be cut.
    Stdout,
    /// Counted and discarded.
    Null,
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
}

/// What a commit has to remember of a sink: cut back to it, the sink holds what was committed and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Length of the file in bytes; 0 for sinks that are no files.
    pub length: u64,
}

/// A place that takes lines.
pub trait Sink: Send {
    /// Takes whole lines. What was taken may be lost until [`Sink::sync`] has returned.
    fn write(&mut self, lines: &[u8]) -> Result<(), SinkError>;

    /// Makes all that was written durable.
    fn sync(&mut self) -> Result<Mark, SinkError>;

    /// Bytes written since it was opened.
    fn bytes_written(&self) -> u64;
}

/// Refuses what [`open`] would refuse, and modifies nothing.
pub fn check(target: &Target, mark: Option<Mark>) -> Result<(), SinkError> {
    match target {
        Target::File(path) => file::check(path, mark),
        Target::Stdout | Target::Null => Ok(()),
    }
}

/// Opens a sink. With a mark it is cut back to that; without one a file that holds anything is refused.
pub fn open(target: &Target, mark: Option<Mark>) -> Result<Box<dyn Sink>, SinkError> {
    Ok(match target {
        Target::File(path) => Box::new(file::FileSink::open(path, mark)?),
        Target::Stdout => Box::new(stdout::StdoutSink::default()),
        Target::Null => Box::new(NullSink::default()),
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

    fn sync(&mut self) -> Result<Mark, SinkError> {
        Ok(Mark::default())
    }

    fn bytes_written(&self) -> u64 {
        self.bytes_written
    }
}
