//! What waits, and for what: questions to the state of a running or a stopped job, with typed answers.
//!
//! It only reads, and shows the job as of the last epoch committed. A state has a waiting event as it was when it began to wait: what of it came later is
//! known where its entity is kept in the state (some dependency on it is deferred), and otherwise only once the event asks again, which it does when the
//! referent that it waits at comes and when a deadline passes. Where results are maintained the state has all that they follow from, and what an event lacks
//! is what it lacked at the end of that epoch. Of events that began to wait in that epoch a state may have no more than where their records are: who asks reads
//! these again ([`Inspector::with_listed`]).
//!
//! * [`Inspector::overview`]: positions, totals, and what waits in all.
//! * [`Inspector::event`]: one event: what it lacks, since when, until when.
//! * [`Inspector::key`]: one key: whether its referent is there, and who waits for it.

mod event;
mod key;
mod overview;
mod report;
mod select;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use resolvent_state::State;
use thiserror::Error;

use crate::checkpoint::{CheckpointError, Committed};
use crate::dependency::Rules;
use crate::event::{Dependent, EntityId, EventId, Key, Stored, StreamId, Timestamp};
use crate::mode::maintained::Snapshot;
use crate::mode::{self, Log, RestoreError};

pub use event::{EventReport, EventStatus, PositionError, ReferenceReport, ReferenceStatus, Turn, WaitingEvent};
pub use key::{KeyError, KeyReport, KeyRequest, ReferentStatus};
pub use overview::{Count, KeyCount, Overview, ReadTo};
pub use report::{JsonKey, Residence, Time, Waiter};

/// A question cannot be answered.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The state cannot be read.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Its last commit cannot be read.
    #[error(transparent)]
    Commit(#[from] CheckpointError),
}

/// Answers questions about the waiting events of one state. Holds some 50 bytes for each event that the job has in memory, and those that were [only listed](Inspector::with_listed); where its results are maintained
/// several times as much, for each event that is here: see [`Snapshot`].
#[derive(Debug)]
pub struct Inspector {
    state: State,
    rules: Arc<Rules>,
    committed: Committed,
    waits: Waits,
    now: Timestamp,
}

/// Where the state has what waits.
#[derive(Debug)]
enum Waits {
    /// In a log, and in rows of their own.
    Logged(Log),
    /// Among all that results follow from, which are maintained.
    Maintained(Snapshot),
}

/// All that is needed to show a waiting event. The one that has waited longest is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Short {
    since: Timestamp,
    id: EventId,
    /// Its next deadline; [`Timestamp::MAX`] is none.
    until: Timestamp,
    stream: StreamId,
}

impl Short {
    fn of(dependent: &Dependent) -> Short {
        let header = &dependent.event.header.header;
        let until = mode::next_deadline(dependent).unwrap_or(Timestamp::MAX);
        Short { since: header.arrival, id: header.id, until, stream: header.stream }
    }
}

impl Inspector {
    /// Reads what the questions need. `rules` are those that the state was made under; `now` is what times are compared with.
    ///
    /// # Errors
    ///
    /// The state does not answer, or holds something else than was written.
    pub fn new(state: State, rules: Arc<Rules>, now: Timestamp) -> Result<Inspector, InspectError> {
        let committed = Committed::read(&state)?;
        let waits = if rules.is_maintained() {
            Waits::Maintained(Snapshot::read(&state, &rules)?)
        } else {
            Waits::Logged(Log::read(&state, committed.epoch)?)
        };
        Ok(Inspector { state, rules, committed, waits, now })
    }

    /// Adds the events that the last epoch has only listed, as they were [read again](mode::read_listed).
    pub fn with_listed(mut self, listed: Vec<Box<Dependent>>) -> Inspector {
        if let Waits::Logged(log) = &mut self.waits {
            log.add(self.committed.epoch, listed);
        }
        self
    }

    fn each_waiting(&self, mut see: impl FnMut(&Dependent)) -> Result<(), InspectError> {
        match &self.waits {
            Waits::Logged(log) => mode::each_waiting(&self.state, &self.rules, log, |dependent| see(&dependent))?,
            Waits::Maintained(snapshot) => snapshot.each_waiting(&self.state, &self.rules, self.now, see)?,
        }
        Ok(())
    }

    fn find_waiting(&self, id: EventId) -> Result<Option<Box<Dependent>>, InspectError> {
        let found = match &self.waits {
            Waits::Logged(log) => mode::find_waiting(&self.state, &self.rules, log, id)?.map(|(found, _)| found),
            Waits::Maintained(snapshot) => {
                snapshot.find_waiting(&self.state, &self.rules, id, self.now)?.map(|(found, _)| found)
            }
        };
        Ok(found)
    }

    /// The referent of a key as events find it now: its position, and when it arrived.
    fn find_referent(&self, entity: EntityId, key: &Key) -> Result<Option<(EventId, Timestamp)>, InspectError> {
        if let Waits::Maintained(snapshot) = &self.waits {
            return Ok(snapshot.find_referent(&self.rules, entity, key, self.now));
        }
        let found = mode::find_referent(&self.state, &self.rules, entity, key, self.now)?;
        Ok(found.map(|event| (event.header.header.id, event.header.header.arrival)))
    }

    /// Where a waiting event is.
    fn residence(&self, dependent: &Dependent) -> Residence {
        match (&self.waits, dependent.stored) {
            (Waits::Logged(_), Stored::No) => Residence::State,
            (Waits::Logged(_), Stored::Log(_)) | (Waits::Maintained(_), _) => Residence::Memory,
        }
    }

    fn position(&self, id: EventId) -> String {
        self.committed.partitions.position(id)
    }

    fn waiter(&self, short: Short) -> Waiter {
        Waiter {
            position: self.position(short.id),
            stream: self.rules.stream(short.stream).name.clone(),
            since: Time(short.since),
            until: (short.until < Timestamp::MAX).then_some(Time(short.until)),
        }
    }

    /// The entity as users name it: that of a resolved twin for the twin.
    fn named(&self, entity: EntityId) -> EntityId {
        self.rules.entity(entity).resolved_of.unwrap_or(entity)
    }
}
