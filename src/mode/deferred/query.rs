//! What is asked of the state, and what it answers.

use crate::event::{Dependent, EntityId, Event, EventId, Key, KeyHash, Timestamp};
use crate::mode::Claim;

/// What must be looked up in the state.
#[derive(Clone, Debug)]
pub enum Query {
    /// The referent of a key.
    Referent {
        /// The entity.
        entity: EntityId,
        /// The hash of the key.
        hash: KeyHash,
        /// The key.
        key: Key,
    },
    /// Events that wait for a key.
    Waiters(Drain),
    /// An event that is given what it claimed.
    Waiter {
        /// The event, and what it claimed.
        claim: Box<Claim>,
        /// The referent that came.
        referent: Event,
    },
    /// Events whose deadline has passed, of the shards of one worker.
    Due(DuePass),
    /// Every waiting event of the shards of one worker, from a key on.
    All {
        /// The key after the last one that was fetched; empty at first.
        from: Vec<u8>,
    },
}

/// Events in the state that a referent wakes, a page at a time.
#[derive(Clone, Debug)]
pub struct Drain {
    /// The entity.
    pub entity: EntityId,
    /// The hash of the key.
    pub hash: KeyHash,
    /// The key.
    pub key: Key,
    /// The referent that came.
    pub referent: Event,
    /// The last event that was fetched.
    pub after: Option<EventId>,
    /// Whether the state says that it goes on.
    pub noted: bool,
}

/// A pass over the deadlines of one worker's shards, shard by shard, a page at a time.
#[derive(Clone, Debug)]
pub struct DuePass {
    /// No earlier deadline is left: scanning from there passes over nothing that was deleted.
    pub since: Timestamp,
    /// The latest deadline that has passed.
    pub until: Timestamp,
    /// The row to go on from; empty at first, and after the last.
    pub from: Vec<u8>,
    /// The earliest later deadline that was seen so far.
    pub next: Option<Timestamp>,
}

/// What the state has.
#[derive(Debug)]
pub enum Answer {
    /// To [`Query::Referent`].
    Referent {
        /// The entity.
        entity: EntityId,
        /// The hash of the key.
        hash: KeyHash,
        /// The key.
        key: Key,
        /// The referent, if there is one.
        found: Option<Event>,
    },
    /// To [`Query::Waiters`].
    Waiters {
        /// What was asked.
        drain: Drain,
        /// The next events.
        page: Vec<Kept>,
        /// Whether there may be more.
        more: bool,
    },
    /// To [`Query::Waiter`].
    Waiter {
        /// What was asked.
        claim: Box<Claim>,
        /// The referent that came.
        referent: Event,
        /// The event, if it still waits there.
        kept: Option<Kept>,
    },
    /// To [`Query::Due`].
    Due {
        /// What was asked, and where to go on.
        pass: DuePass,
        /// Events whose deadline has passed.
        page: Vec<Kept>,
        /// Rows of deadlines whose event is gone.
        stale: Vec<Vec<u8>>,
    },
    /// To [`Query::All`].
    All {
        /// The next events.
        page: Vec<Kept>,
        /// Where to go on; `None` after the last.
        next: Option<Vec<u8>>,
    },
}

/// A waiting event out of the state, with the key under which it is there.
#[derive(Debug)]
pub struct Kept {
    /// Its key in the table of waiting events.
    pub key: Vec<u8>,
    /// The event.
    pub dependent: Box<Dependent>,
}
