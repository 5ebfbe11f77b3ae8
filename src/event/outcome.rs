//! What became of a record, and why.

use serde::{Deserialize, Serialize};

use super::{Carried, Dependent, EntityId, Epoch, EventId, Key, Timestamp};

/// Why an event ended without its references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ExpiredReason {
    /// A wait ended.
    Deadline,
    /// A wait ended, and what was missing led back to the event itself.
    Cycle,
    /// `--until-end=expire`.
    EndOfInput,
    /// Ended by hand.
    Operator,
}

impl ExpiredReason {
    /// As it is written in outcomes and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            ExpiredReason::Deadline => "deadline",
            ExpiredReason::Cycle => "cycle",
            ExpiredReason::EndOfInput => "end_of_input",
            ExpiredReason::Operator => "operator",
        }
    }
}

/// Why an event ended `dropped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DroppedReason {
    /// `on_expiry = "drop"`.
    Deadline,
    /// It deleted its referent.
    Tombstone,
    /// Another version of its key took its place, or deleted it (`emit = "changes"`).
    Replaced,
}

impl DroppedReason {
    /// As it is written in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            DroppedReason::Deadline => "deadline",
            DroppedReason::Tombstone => "tombstone",
            DroppedReason::Replaced => "replaced",
        }
    }
}

/// Why a record is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RejectedReason {
    /// Not JSON.
    InvalidJson,
    /// Not UTF-8.
    InvalidUtf8,
    /// JSON, but not an object.
    NotAnObject,
    /// The stream field is missing or names no stream of the job.
    UnknownStream,
    /// The key is missing, null, or neither an integer nor a string.
    InvalidKey,
    /// A required reference is missing or null, or a reference is neither an integer, nor a string, nor an array of them.
    InvalidReference,
    /// The event time is missing or no time.
    InvalidTime,
    /// The value of `ordered_by` is missing or neither an integer nor a string.
    InvalidOrder,
    /// Longer than `max_record`.
    TooLarge,
    /// The event refers to itself where the referent must be resolved first.
    SelfReference,
    /// The record does not say what it changes: no Debezium `op` with its row, or a deletion mark that is neither `true` nor `false`.
    InvalidChange,
}

impl RejectedReason {
    /// As it is written in outcomes and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectedReason::InvalidJson => "invalid_json",
            RejectedReason::InvalidUtf8 => "invalid_utf8",
            RejectedReason::NotAnObject => "not_an_object",
            RejectedReason::UnknownStream => "unknown_stream",
            RejectedReason::InvalidKey => "invalid_key",
            RejectedReason::InvalidReference => "invalid_reference",
            RejectedReason::InvalidTime => "invalid_time",
            RejectedReason::InvalidOrder => "invalid_order",
            RejectedReason::TooLarge => "too_large",
            RejectedReason::SelfReference => "self_reference",
            RejectedReason::InvalidChange => "invalid_change",
        }
    }
}

/// A record that is no event, with all that its outcome says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Its position.
    pub id: EventId,
    /// When it was read.
    pub arrival: Timestamp,
    /// Why.
    pub reason: RejectedReason,
    /// What was found and where, for a person.
    pub detail: String,
    /// Its bytes; its head where it was too large.
    pub record: Vec<u8>,
    /// Its length in bytes where `record` is only its head.
    pub size: Option<u64>,
    /// What its record carried besides its value.
    pub carried: Option<Box<Carried>>,
}

/// What became of a record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// Every reference is there, or was given up.
    Resolved(Box<Dependent>),
    /// A notice: some deferred reference is missing, the event waits in the state.
    Accepted(Box<Dependent>),
    /// A wait ended.
    Expired(Box<Dependent>, ExpiredReason),
    /// Counted, and no line written.
    Dropped(Box<Dependent>, DroppedReason),
    /// Not an event.
    Rejected(Box<Rejection>),
}

/// How a result is known across its revisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResultIdentity {
    /// By the key of its event, of which there is one at a time.
    Key(EntityId, Key),
    /// By the position of its event.
    Position,
}

/// A result that was added to the maintained results, or taken away.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    /// The event, with the referents of this result.
    pub dependent: Box<Dependent>,
    /// Whether the result is added; otherwise it is taken away.
    pub added: bool,
    /// The epoch as of which that is so.
    pub epoch: Epoch,
    /// How the result is known.
    pub identity: ResultIdentity,
    /// Whether it is taken away and another of the same identity is added in the same epoch.
    pub revised: bool,
}
