//! Ends one wait by hand, in the state of a job that does not run: as the job itself would, and through the same commit protocol.

use std::sync::Arc;

use resolvent_state::{OpenError, State, StateError};
use thiserror::Error;

use crate::checkpoint::{Checkpoint, CheckpointError, EpochEnd, Recovery, Topics};
use crate::clock::Clock;
use crate::config::Job;
use crate::dependency::Rules;
use crate::event::{Dependent, Epoch, EventId, ExpiredReason, Found, Outcome, Timestamp, WorkerIndex};
use crate::metrics::{ConservationError, Metrics, Totals};
use crate::mode::maintained::Snapshot;
use crate::mode::{self, Changes, Log, RestoreError};
use crate::sink::{self, Renderer, SinkError, SinkKind};

use super::listed::{self, ListedError};
use super::open::{connect, new_instance, open_state};

/// Why a wait was not ended. Nothing has changed then, but where [`ExpireError::Commit`] leaves that unknown until the job starts.
#[derive(Debug, Error)]
pub enum ExpireError {
    /// The state cannot be opened to write.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The state cannot be read.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// What waits cannot be read again.
    #[error(transparent)]
    Listed(#[from] ListedError),
    /// The outcome cannot be committed.
    #[error(transparent)]
    Commit(#[from] CheckpointError),
    /// The broker of the output topics cannot be used.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The outcome is committed, and the state could not be closed in order.
    #[error(transparent)]
    State(#[from] StateError),
    /// The state was not whole before.
    #[error("{0}: a defect of Resolvent; nothing was changed")]
    Conservation(#[from] ConservationError),
    /// The event does not wait.
    #[error("the event at {0} does not wait, so there is nothing to end")]
    NotWaiting(String),
    /// It waits only for the events before it.
    #[error(
        "the event at {0} lacks nothing, it waits for its turn (`ordered_by`): expire the events before it instead"
    )]
    LacksNothing(String),
    /// All that it lacked has come.
    #[error("all that the event at {0} lacked has come: it is resolved when its job is started, so it is not expired")]
    HasCome(String),
}

/// A wait that was ended by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The epoch that its outcome was committed as.
    pub epoch: Epoch,
    /// How long the event had waited, in microseconds.
    pub waited_us: u64,
    /// What had become of all records after that.
    pub totals: Totals,
}

/// Ends the wait of an event as `expired`, reason `operator`: the outcome goes to the dead-letter sink. The job must not run.
///
/// # Errors
///
/// The state is in use, the event does not wait or needs no end, or the outcome cannot be written.
pub fn expire(job: &Job, id: EventId) -> Result<Ended, ExpireError> {
    let (state, (recovery, topics, listed)) = open_state(job, |state| look(job, state))?;
    let mut committed = recovery.settle(&state)?;
    listed::log(job, &state, &mut committed, &listed)?;
    let log = Log::read(&state, committed.epoch)?;
    let position = committed.partitions.position(id);
    let now = Clock::start().now();
    let epoch = committed.epoch.next();
    let (dependent, changes) = if job.rules.is_maintained() {
        end_maintained(&state, &job.rules, id, position, now)?
    } else {
        end(&state, &job.rules, &log, id, position, now, epoch)?
    };
    committed.totals.conserves(log.waiting() + committed.waiting_in_state)?;

    let (positions, partitions) = (committed.positions.clone(), committed.partitions.clone());
    let waited_us = now.micros_since(dependent.event.header.header.arrival);
    let mut line = Vec::new();
    let outcome = Outcome::Expired(dependent, ExpiredReason::Operator);
    let formats = job.sinks.formats(topics.as_ref().map(|topics| &*topics.broker));
    Renderer::new(job.rules.clone(), &partitions, formats).render(&outcome, now, &mut line);

    let mut checkpoint = Checkpoint::open(state.clone(), committed, log.epochs, &job.sinks, topics)?;
    checkpoint.write(SinkKind::DeadLetter, &line)?;
    let totals = Totals { expired: 1, ..Totals::default() };
    let changes = vec![(WorkerIndex(0), changes)];
    checkpoint.commit(epoch, EpochEnd { positions, partitions, totals, now, changes, ..EpochEnd::default() })?;
    state.flush()?;
    Ok(Ended { epoch, waited_us, totals: checkpoint.committed().totals })
}

/// What ends the wait of an event in an epoch, and the event with what it has found.
fn end(
    state: &State,
    rules: &Rules,
    log: &Log,
    id: EventId,
    position: String,
    now: Timestamp,
    epoch: Epoch,
) -> Result<(Box<Dependent>, Changes), ExpireError> {
    let Some((mut dependent, row)) = mode::find_waiting(state, rules, log, id)? else {
        return Err(ExpireError::NotWaiting(position));
    };
    if dependent.missing().next().is_none() {
        return Err(ExpireError::LacksNothing(position));
    }
    // Of the event as the state has it, and so before it is told what has come.
    let changes = mode::end_waiting(rules, &dependent, row.as_deref(), epoch);
    take_what_has_come(state, rules, &mut dependent, now)?;
    if dependent.missing().next().is_none() {
        return Err(ExpireError::HasCome(position));
    }
    Ok((dependent, changes))
}

/// The same where results are maintained: an event without a result lacks something, for the state has all that there is.
fn end_maintained(
    state: &State,
    rules: &Rules,
    id: EventId,
    position: String,
    now: Timestamp,
) -> Result<(Box<Dependent>, Changes), ExpireError> {
    let snapshot = Snapshot::read(state, rules)?;
    let Some((dependent, row)) = snapshot.find_waiting(state, rules, id, now)? else {
        return Err(ExpireError::NotWaiting(position));
    };
    let batch = Snapshot::end_waiting(state, rules, &row)?;
    Ok((dependent, Changes { batch, waiting_in_state: -1, ..Changes::default() }))
}

/// What is found before anything is touched: the last commit, the topics that outcomes go to, and what waits besides what is in the state.
type Looked = (Recovery, Option<Topics>, Vec<Box<Dependent>>);

/// Refuses input and output that do not go with the last commit.
fn look(job: &Job, state: Option<&State>) -> Result<Looked, ExpireError> {
    let never: sink::GiveUp = Arc::new(|| false);
    let mut topics = connect(job, new_instance(), None, false, &Metrics::new(&job.name), never)?;
    let recovery = Recovery::find(state, topics.as_mut())?;
    recovery.committed().check_sinks(&job.sinks)?;
    let listed = listed::read(job, recovery.committed())?;
    Ok((recovery, topics, listed))
}

/// Visits what the event lacks once more, as the job does before it ends a wait: referents that the state has, it takes. So it does with those that it
/// had taken before, which the state has once for all.
fn take_what_has_come(
    state: &State,
    rules: &Rules,
    dependent: &mut Dependent,
    now: Timestamp,
) -> Result<(), RestoreError> {
    for reference in &mut dependent.references {
        let is_kept = rules.entity(reference.entity).deferred;
        if !is_kept || !matches!(reference.found, Found::Missing | Found::Unknown | Found::Kept) {
            continue;
        }
        if let Some(event) = mode::find_referent(state, rules, reference.entity, &reference.key, now)? {
            dependent.completed_at = dependent.completed_at.max(event.header.header.arrival);
            reference.found = Found::Present(event);
        }
    }
    Ok(())
}
