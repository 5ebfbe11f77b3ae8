//! Reads the events again that the last epoch has only listed.

use resolvent_state::State;
use thiserror::Error;
use tracing::info;

use crate::checkpoint::{CheckpointError, Committed};
use crate::config::Job;
use crate::decode::{Decoded, Decoder};
use crate::event::Dependent;
use crate::mode::{self, Position, StoredError};
use crate::source::{Records, SourceError};

/// An event that waits cannot be read again.
#[derive(Debug, Error)]
pub enum ListedError {
    /// The lists cannot be read.
    #[error("{0}; restore the state directory from a copy, or start over with --fresh")]
    Stored(#[from] StoredError),
    /// The last commit cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file cannot be read, or is another one.
    #[error("an event that waits is to be read again: {0}")]
    Source(#[from] SourceError),
    /// A record is no event any more.
    #[error(
        "the record at {position} belongs to what waits, and is no event as the configuration is now ({why}): start the job once with the configuration as it was, \
         stop it, then change it"
    )]
    NoEvent {
        /// Where it is.
        position: String,
        /// What is wrong with it.
        why: String,
    },
    /// A record is another one.
    #[error(
        "the record at {0} belongs to what waits, and is not the one that was read: restore its file, or the names of streams and fields in the configuration as they \
         were; or start over with --fresh"
    )]
    Changed(String),
}

/// The events that the last epoch of a job has only listed: what waits besides what is in its state.
///
/// # Errors
///
/// The state does not answer, or their records cannot be read.
pub fn listed(job: &Job, state: &State) -> Result<Vec<Box<Dependent>>, ListedError> {
    read(job, &Committed::read(state)?)
}

/// The events that a commit has only listed. Nothing is modified.
pub(super) fn read(job: &Job, committed: &Committed) -> Result<Vec<Box<Dependent>>, ListedError> {
    if committed.listed.is_empty() {
        return Ok(Vec::new());
    }
    let Committed { partitions, positions, fingerprints, .. } = committed;
    let mut records = Records::open(&job.source, partitions, positions, fingerprints)?;
    let mut decoder = Decoder::new(job.rules.clone(), job.stream_field.as_ref());
    let changed = |at: Position| ListedError::Changed(partitions.position(at.id()));
    let read_one = |at: Position| {
        let block = records.read(at.id(), at.arrival())?;
        let mut decoded = None;
        decoder.decode(&block, &mut |record| decoded = Some(record));
        match decoded {
            Some(Decoded::Event(dependent)) => Ok(dependent),
            Some(Decoded::Rejected(rejection)) => {
                Err(ListedError::NoEvent { position: partitions.position(at.id()), why: rejection.detail })
            }
            None => Err(changed(at)),
        }
    };
    mode::read_listed(&committed.listed, read_one, changed)
}

/// Puts what was [read] into the log of a state.
pub(super) fn log(
    job: &Job,
    state: &State,
    committed: &mut Committed,
    listed: &[Box<Dependent>],
) -> Result<(), CheckpointError> {
    if committed.listed.is_empty() {
        return Ok(());
    }
    info!(events = listed.len(), "read again what had begun to wait in the last epoch");
    committed.log_listed(state, mode::log_waiting(&job.rules, committed.epoch, listed))
}
