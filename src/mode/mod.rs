//! The modes: what is here, what waits, what is due.
//!
//! [`Engine`] is the pure half: messages in, [`Effects`] out, on a clock that it is told. It holds one worker's shards of every entity, in memory
//! first, and asks for what it put into the state through [`Query`]s that its shell answers. `operator` is the shell that timely drives,
//! `exchange` how messages get to the engine that they are for.
//!
//! * `independent`: events that wait for nothing.
//! * `engine`: a dependent visits (`visit`), waits, is woken when a referent comes (`arrival`) and leaves; with the `table` of what is here, the
//!   `deadline`s of what waits, what it lacks besides the referent that it waits at (`claims`), the queues of `ordered_by` (`order`), and the graph of
//!   events that may wait for each other (`cycle`, which maintained results have too).
//! * `deletion`: tombstones, and what they hide from whom.
//! * `listed`: events that have waited for less than an epoch, written down by their positions alone.
//! * `held`: how memory holds an event that waits, whole or packed; `ages`: since when events wait.
//! * `preload`: looks at memory before it is needed.
//! * `streaming`: what is particular to references that are joined in memory: rebuilding them after a restart.
//! * `deferred`: what is particular to references that are kept in the state: what moves there, and what is fetched back; `answer` looks it up, and
//!   `restore` reads what an earlier run left.
//! * [`maintained`]: results that are revised, by differential dataflow, with a table of its own in place of the engine.
//! * [`mod@reference`]: the slow, obviously right resolver that the others are tested against.

mod ages;
mod answer;
mod arrival;
mod claims;
mod codec;
mod cycle;
mod deadline;
mod deferred;
mod deletion;
mod engine;
mod exchange;
mod held;
mod independent;
mod listed;
pub mod maintained;
mod operator;
mod order;
mod preload;
pub mod reference;
mod restore;
mod streaming;
mod table;
#[cfg(test)]
mod tests;
mod visit;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::event::{Dependent, EntityId, Event, EventId, Key, KeyHash, Outcome, Reference, Timestamp, WorkerIndex};

pub use answer::answer;
pub use codec::{StoredError, stored_referent_bytes, stored_waiting_bytes};
pub use deadline::{DEADLINE_BYTES, lacks_deferred, next as next_deadline};
pub use deferred::{Answer, Changes, Query, log_waiting};
pub use deletion::{Hidden, tombstones_kept};
pub use engine::{Backlog, Engine, Phase, Settings};
pub use exchange::ByWorker;
pub use independent::accept;
pub use listed::{Position, read_listed};
pub use operator::{Lookup, resolve};
pub use restore::{
    Log, LogEpoch, RestoreError, Restored, WaitingRow, discard_log, each_waiting, end_waiting, find_referent,
    find_waiting, forget_overflow, restore,
};
pub use streaming::{replay, wake};
pub use table::{Memory, referent_bytes, waited_key_bytes, waiting_bytes};

/// What one worker sends to the owner of a shard.
#[derive(Debug, Serialize, Deserialize)]
pub struct Message {
    /// The worker that owns the shard.
    pub to: WorkerIndex,
    /// What it is asked.
    pub visit: Visit,
}

const _: () = assert!(size_of::<Message>() <= 40);

/// What a message asks of the shard it reaches. Small, as it is moved several times on its way: what is rare or large is in a box.
#[derive(Debug, Serialize, Deserialize)]
pub enum Visit {
    /// A dependent looks for its referents.
    Dependent(Box<Dependent>),
    /// A referent has come.
    Referent(Referent),
    /// A waiting event claims a referent that it lacks besides the one that it waits at.
    Claim(Box<Claim>),
    /// What an event claimed has come.
    Claimed(Box<Claim>, #[serde(with = "crate::event::shared_event")] Event),
    /// An event no longer claims a referent.
    Withdraw(Box<Withdrawal>),
    /// An event of a stream with `ordered_by` enters the queue of its value.
    Enter(Box<Dependent>),
    /// All references of an ordered event are there: its turn may have come.
    Complete(Box<Dependent>),
    /// An ordered event ended without being resolved: the next may go.
    Leave(Box<Place>),
    /// An ordered event has waited since an earlier run: its place in the queue is kept.
    Reserve(Box<Place>),
    /// A referent that was deleted when an earlier run stopped was still being given to those who had waited for it.
    Hidden(Box<Hidden>),
    /// An event whose stream may wait in cycles has begun to wait.
    Waits(Box<(EventId, Link)>),
    /// That event has ended; whether it was resolved.
    Ended(EventId, bool),
    /// A wait has ended: does what the event lacks lead back to it?
    Judge(Box<Dependent>),
    /// Time passes: deadlines, and the next slice of what is being drained.
    Tick(Timestamp),
}

/// A referent on its way to its shard.
#[derive(Debug, Serialize, Deserialize)]
pub struct Referent {
    /// The entity it is provided as.
    pub entity: EntityId,
    /// The hash of its key there.
    pub hash: KeyHash,
    /// The event; its header has the key.
    #[serde(with = "crate::event::shared_event")]
    pub event: Event,
}

/// What a reference names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The entity.
    pub entity: EntityId,
    /// The key.
    pub key: Key,
    /// Its hash.
    pub hash: KeyHash,
}

/// By the hash first: bytes of keys are only compared where their hashes are equal.
impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.hash, self.entity).cmp(&(other.hash, other.entity)).then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl Name {
    /// The name in a reference.
    pub fn of(reference: &Reference) -> Name {
        Name { entity: reference.entity, key: reference.key.clone(), hash: reference.hash }
    }
}

/// What a waiting event lacks besides the referent that it waits at, and where it is to be found when that comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The event.
    pub id: EventId,
    /// When it arrived: what was forgotten by then is not for it.
    pub arrival: Timestamp,
    /// Which of its references this is.
    pub reference: u32,
    /// What that names.
    pub lacks: Name,
    /// What it waits at.
    pub waits_at: Name,
    /// Its place in the memory of that shard's worker.
    pub slot: u32,
    /// Its ticket there; 0 for an event that is in the state.
    pub ticket: u64,
}

/// A claim that is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// The event.
    pub id: EventId,
    /// Which of its references it was for.
    pub reference: u32,
    /// The entity referred to.
    pub entity: EntityId,
    /// The hash of the key.
    pub hash: KeyHash,
}

/// A place in the queue of an `ordered_by` value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The queue's entity.
    pub entity: EntityId,
    /// The value.
    pub key: Key,
    /// Its hash.
    pub hash: KeyHash,
    /// The number in the queue.
    pub ticket: u64,
}

/// What a waiting event provides once resolved, and the resolved referents it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it provides.
    pub provides: (EntityId, Key),
    /// What it waits for.
    pub lacks: Vec<(EntityId, Key)>,
}

/// What an engine has decided, for its shell to carry out.
#[derive(Debug, Default)]
pub struct Effects {
    /// Messages to other workers.
    pub messages: Vec<Message>,
    /// What became of events.
    pub outcomes: Vec<Outcome>,
    /// What must be looked up in the state.
    pub queries: Vec<Query>,
}
