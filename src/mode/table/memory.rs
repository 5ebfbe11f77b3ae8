//! Memory that the tables hold, by what it is for.

use super::{Entry, Waiter};
use crate::dependency::Rules;
use crate::event::{Dependent, EntityId, Event, Key, Order, Reference, event_bytes};

/// Bytes of memory by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Referents of entities that only streaming dependencies name.
    pub referents: usize,
    /// Events that wait for streaming references only.
    pub waiting: usize,
    /// Cached referents that the state also has, or will have with the next commit.
    pub cached_referents: usize,
    /// Events that wait for a deferred reference.
    pub cached_waiting: usize,
    /// What waiting events lack besides the referent that they wait at, where they must be told of it.
    pub claims: usize,
    /// The queues of `ordered_by`.
    pub queues: usize,
    /// The graph of events that may wait for each other.
    pub graph: usize,
}

impl Memory {
    /// What counts against `[streaming] memory`.
    pub fn streaming(&self) -> usize {
        self.referents + self.waiting + self.claims + self.queues + self.graph
    }

    /// What counts against `[state] memory`.
    pub fn deferred(&self) -> usize {
        self.cached_referents + self.cached_waiting
    }
}

pub(super) fn part<'a>(memory: &'a mut Memory, rules: &Rules, entity: EntityId) -> &'a mut usize {
    if rules.entity(entity).deferred { &mut memory.cached_referents } else { &mut memory.referents }
}

pub(super) fn waiting_part(memory: &mut Memory, deferred: bool) -> &mut usize {
    if deferred { &mut memory.cached_waiting } else { &mut memory.waiting }
}

/// Memory that a referent takes in the tables: its entry, its key, and the event.
pub fn referent_bytes(event: &Event) -> usize {
    let key = event.header.header.key.as_ref().map_or(0, Key::heap_bytes);
    size_of::<Entry>() + key + event_bytes(event)
}

/// Memory that a key takes in the tables whose referent has not come, and is waited for.
pub fn waited_key_bytes(key: &Key) -> usize {
    size_of::<Entry>() + key.heap_bytes()
}

/// Memory that the place of a waiting event takes in its chain, which grows by doubling.
pub(super) const PLACE_BYTES: usize = 2 * size_of::<u32>();

/// Memory that a waiting event takes in the tables, without the referents that it carries: they are shared.
pub fn waiting_bytes(dependent: &Dependent) -> usize {
    let spilled = if dependent.references.spilled() { dependent.references.len() } else { 0 };
    let keys: usize = dependent.references.iter().map(|r| r.key.heap_bytes()).sum();
    size_of::<Option<Waiter>>()
        + PLACE_BYTES
        + size_of::<Dependent>()
        + spilled * size_of::<Reference>()
        + keys
        + dependent.order.as_ref().map_or(0, |_| size_of::<Order>())
        + event_bytes(&dependent.event)
}
