//! Reads the events again that the last epoch has only listed.

use resolvent_state::State;
use thiserror::Error;
use tracing::info;

use crate::checkpoint::{CheckpointError, Committed};
use crate::config::Job;
use crate::decode::{Decoded, Decoder};
use crate::event::Dependent;
use crate::mode::{self, Position, StoredError};
use crate::source::{self, Records, SourceError};

/// An event that waits cannot be read again. Nothing has changed then.
#[derive(Debug, Error)]
pub enum ListedError {
    /// The lists cannot be read.
    #[error("{0}; restore the state directory from a copy, or start over with --fresh")]
    Stored(#[from] StoredError),
    /// The last commit cannot be read, or what was found cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file cannot be read.
    #[error("an event that waits is to be read again: {0}")]
    Source(#[from] SourceError),
    /// A record is no event any more.
    #[error(
        "the record at {position} waits, and is no event as the configuration is now ({why}): start the job once with the configuration as it was, stop it, then \
         change it"
    )]
    NoEvent {
        /// Where it is.
        position: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Puts the events that the last epoch has only listed into the log of a state.
pub(super) fn settle(
    job: &Job,
    settings: &source::Settings,
    state: &State,
    mut committed: Committed,
) -> Result<Committed, ListedError> {
    if !committed.listed.is_empty() {
        let waiting = read(job, settings, &committed)?;
        info!(events = waiting.len(), "read again what had begun to wait in the last epoch");
        committed.log_listed(state, mode::log_waiting(&job.rules, committed.epoch, &waiting))?;
    }
    Ok(committed)
}

/// The events that the last epoch of a job has only listed: what waits besides what is in its state.
///
/// # Errors
///
/// The state does not answer, or their records cannot be read.
pub fn listed(job: &Job, state: &State) -> Result<Vec<Box<Dependent>>, ListedError> {
    read(job, &job.source, &Committed::read(state)?)
}

fn read(job: &Job, settings: &source::Settings, committed: &Committed) -> Result<Vec<Box<Dependent>>, ListedError> {
    let mut records = Records::new(settings, &committed.partitions);
    let mut decoder = Decoder::new(job.rules.clone(), job.stream_field.as_ref());
    mode::read_listed(&committed.listed, |at: Position| {
        let block = records.read(at.id(), at.arrival())?;
        let mut decoded = None;
        decoder.decode(&block, &mut |record| decoded = Some(record));
        let no_event = |why| ListedError::NoEvent { position: committed.partitions.position(at.id()), why };
        match decoded {
            Some(Decoded::Event(dependent)) => Ok(dependent),
            Some(Decoded::Rejected(rejection)) => Err(no_event(rejection.detail)),
            None => Err(no_event("the file has no record there".to_owned())),
        }
    })
}
