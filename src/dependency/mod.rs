//! The rules of a job: which streams there are, what each depends on, and how each dependency waits.
//!
//! Pure and checked: a [`Rules`] value cannot name a stream or an entity that does not exist. It does no I/O and keeps no state.

mod build;
mod graph;
mod place;
mod pointer;
mod rules;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use build::{DependencyDraft, RuleError, RuleProblem, StreamDraft};
pub use place::Place;
pub use pointer::{Pointer, PointerError};

use crate::event::{EntityId, StreamId};

/// The dependencies that one stream may declare: a set of them fits a word.
pub const DEPENDENCIES_MAX: usize = 64;

/// The streams that one job may declare: far more than any job has, and few enough to check how each waits for each.
pub const STREAMS_MAX: usize = 1024;

/// How a dependency is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Validated, not looked up.
    Independent,
    /// Resolved in memory at stream time (SEDD).
    Streaming,
    /// Accepted at once, kept in the state, resolved on later arrival (DEDD).
    Deferred,
}

impl Mode {
    /// As it is written in configurations and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Independent => "independent",
            Mode::Streaming => "streaming",
            Mode::Deferred => "deferred",
        }
    }
}

/// What must have become of a referent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// It has been read.
    Arrived,
    /// It is itself resolved.
    Resolved,
}

impl Need {
    /// As it is written in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Need::Arrived => "arrived",
            Need::Resolved => "resolved",
        }
    }
}

/// What a passed deadline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnExpiry {
    /// Ends the event as `expired`.
    DeadLetter,
    /// Ends the event as `dropped`.
    Drop,
    /// Gives up the reference; the event goes on without it.
    Partial,
    /// Marks the event overdue; it waits on.
    Keep,
    /// Moves the wait into the state, for a second wait.
    Defer {
        /// How long the second wait is; `None` is for ever.
        wait: Option<Duration>,
        /// What its deadline does: never `Defer`.
        then: SecondExpiry,
    },
}

impl OnExpiry {
    /// As it is written in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            OnExpiry::DeadLetter => SecondExpiry::DeadLetter.as_str(),
            OnExpiry::Drop => SecondExpiry::Drop.as_str(),
            OnExpiry::Partial => SecondExpiry::Partial.as_str(),
            OnExpiry::Keep => SecondExpiry::Keep.as_str(),
            OnExpiry::Defer { .. } => "defer",
        }
    }
}

/// What the deadline of a deferred second wait does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecondExpiry {
    /// As [`OnExpiry::DeadLetter`].
    DeadLetter,
    /// As [`OnExpiry::Drop`].
    Drop,
    /// As [`OnExpiry::Partial`].
    Partial,
    /// As [`OnExpiry::Keep`].
    Keep,
}

impl SecondExpiry {
    /// As it is written in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            SecondExpiry::DeadLetter => "dead_letter",
            SecondExpiry::Drop => "drop",
            SecondExpiry::Partial => "partial",
            SecondExpiry::Keep => "keep",
        }
    }
}

/// One declared dependency of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Unique in its stream.
    pub name: String,
    /// The entity referred to: for `need = "resolved"` its resolved twin (see [`Entity::resolved_of`]).
    pub entity: EntityId,
    /// The field that carries the key, or an array of keys.
    pub by: Pointer,
    /// How it waits.
    pub mode: Mode,
    /// Whether a missing or null field is rejected.
    pub required: bool,
    /// What must have become of the referent.
    pub need: Need,
    /// How long after the event's arrival its deadline is; `None` is for ever.
    pub wait: Option<Duration>,
    /// What the deadline does. Of no effect without `wait`.
    pub on_expiry: OnExpiry,
    /// The fields of the referent that an outcome carries; `None` is all.
    pub include: Option<Vec<Pointer>>,
}

/// A namespace of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// As users name it.
    pub name: String,
    /// For the resolved twin of an entity, that entity. A stream provides the twin of its entity when its event is resolved, which is what
    /// makes `need = "resolved"` an ordinary reference. For others `None`.
    pub resolved_of: Option<EntityId>,
    /// For the queue of a stream, that stream: nobody provides it, and with `ordered_by` events of the stream pass through it in order.
    /// Every stream has one, so that a stream that is ordered later does not renumber the others' in the state.
    pub order_of: Option<StreamId>,
    /// Whether a streaming dependency names it: its referents are rebuilt by replay unless `deferred` keeps them.
    pub streaming: bool,
    /// Whether a deferred dependency names it: its referents are kept in the state.
    pub deferred: bool,
    /// Whether some stream that provides it declares a `time`, so that a stored version must be read before it is replaced.
    pub timed: bool,
    /// Whether some stream that provides it declares a `retain`.
    pub retained: bool,
    /// Whether a tombstone may delete its referents.
    pub deletable: bool,
}

impl Entity {
    /// Whether a referent that has come is in the state from then on, in this or a later version.
    pub fn is_lasting(&self) -> bool {
        self.deferred && !self.retained && !self.deletable
    }
}

/// A kind of event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Unique in the job.
    pub name: String,
    /// Where its key is; without one nothing can refer to it.
    pub key: Option<Place>,
    /// The entity it provides as soon as it has arrived: present with `key`.
    pub provides: Option<EntityId>,
    /// The resolved twin of that entity, where some dependency needs it.
    pub provides_resolved: Option<EntityId>,
    /// Where its event time is.
    pub time: Option<Place>,
    /// How long after its arrival a referent is forgotten; `None` is never.
    pub retain: Option<Duration>,
    /// The field whose equal values keep their order, and the entity that is its queue.
    pub ordered_by: Option<(Pointer, EntityId)>,
    /// What its events depend on, sorted by what the state depends on and not as written: the state refers to them by index.
    pub depends_on: Vec<Dependency>,
    /// Whether its events may wait for each other in a cycle: it is on a cycle of `need = "resolved"` between streams.
    pub cyclic: bool,
}

/// What depends on what in a job. Ids are indexes into its tables, which are sorted by name: reordering a configuration changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    streams: Vec<Stream>,
    entities: Vec<Entity>,
}
