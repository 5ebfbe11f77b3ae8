//! One worker's keys in memory: the referent of each, and the events that wait for it.
//!
//! An entry that is in the table knows its key's referent: there is none in the state that it does not know of. Events that wait are kept in a
//! slab and chained from their entry, first come first, so that waking is in order and leaving from the middle costs nothing.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use slab::Slab;

use crate::dependency::Rules;
use crate::event::{self, Dependent, EntityId, Event, Key, KeyHash, Order, Reference, Timestamp, event_bytes};

use super::ages::Ages;
use super::held::{Held, Packed};

/// The end of a chain.
const NONE: u32 = u32::MAX;

/// A waiting event's place in the slab. Good until the event leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaiterId(u32);

impl WaiterId {
    /// The event in a slot.
    pub(super) fn at(slot: u32) -> WaiterId {
        WaiterId(slot)
    }

    /// Its slot.
    pub(super) fn slot(self) -> u32 {
        self.0
    }
}

/// A chain of waiting events, in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    head: u32,
    tail: u32,
    len: u32,
    /// Tells it from chains that the same entry had before and that were detached.
    number: u32,
}

impl Chain {
    const EMPTY: Chain = Chain { head: NONE, tail: NONE, len: 0, number: 0 };

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What is known of one key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) hash: KeyHash,
    pub(super) key: Key,
    pub(super) referent: Option<Event>,
    chain: Chain,
    /// Whether the state has the referent too, or will with the commit of this epoch.
    pub(super) stored: bool,
    pub(super) entity: EntityId,
    /// Looked at since the clock hand last passed.
    touched: bool,
}

/// Why an event is in the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parked {
    /// In a chain of the entry that this reference of it names.
    At(u32),
    /// Complete, and behind others in the queue of its `ordered_by` value.
    Behind,
}

/// A waiting event.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) held: Held,
    pub(super) parked: Parked,
    /// Unlike its place in the slab, never used again for another wait.
    pub(super) ticket: u64,
    /// Whether it waits for a deferred reference.
    pub(super) deferred: bool,
    /// What is counted of it, kept here so that the event itself is not touched before its turn comes: it waited, and is in no cache.
    bytes: usize,
    arrival: Timestamp,
    prev: u32,
    next: u32,
    /// The number of its chain.
    chain: u32,
}

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

/// An entry that the clock hand found cold.
pub(super) struct Cold {
    pub(super) hash: KeyHash,
    pub(super) entity: EntityId,
    pub(super) key: Key,
}

#[derive(Debug)]
pub(super) struct Table {
    entries: HashTable<Entry>,
    waiters: Slab<Waiter>,
    ages: Ages,
    rules: Arc<Rules>,
    memory: Memory,
    tickets: u64,
    chains: u32,
    hand: usize,
    old_hand: usize,
}

impl Table {
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        Table {
            entries: HashTable::new(),
            waiters: Slab::new(),
            ages: Ages::default(),
            rules,
            memory: Memory::default(),
            tickets: 0,
            chains: 0,
            hand: 0,
            old_hand: 0,
        }
    }

    pub(super) fn memory(&self) -> Memory {
        self.memory
    }

    pub(super) fn waiters(&self) -> impl Iterator<Item = (WaiterId, &Waiter)> {
        self.waiters.iter().map(|(at, waiter)| (WaiterId(narrow(at)), waiter))
    }

    /// The second in which the event arrived that has waited longest.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.ages.first()
    }

    pub(super) fn waiters_len(&self) -> usize {
        self.waiters.len()
    }

    /// What is known of a key; `None` where memory knows nothing.
    pub(super) fn entry(&mut self, entity: EntityId, hash: KeyHash, key: &Key) -> Option<&mut Entry> {
        let entry = self.entries.find_mut(hash.0, |e| e.entity == entity && e.key == *key)?;
        entry.touched = true;
        Some(entry)
    }

    /// Looks at what will be needed of a key: something that depends on its entry and its referent, and means nothing.
    pub(super) fn preload(&self, entity: EntityId, hash: KeyHash, key: &Key) -> usize {
        let entry = self.entries.find(hash.0, |e| e.entity == entity && e.key == *key);
        entry.map_or(0, |entry| match &entry.referent {
            Some(referent) => event::look_at(referent),
            // Who comes to wait too is put behind the last who does.
            None => self.waiters.get(entry.chain.tail as usize).map_or(0, |last| last.next as usize),
        })
    }

    /// Looks at the first event that waits for a key, which its referent is about to wake.
    pub(super) fn preload_waiting(&self, entity: EntityId, hash: KeyHash, key: &Key) -> usize {
        let entry = self.entries.find(hash.0, |e| e.entity == entity && e.key == *key);
        entry.and_then(|entry| self.waiters.get(entry.chain.head as usize)).map_or(0, |waiter| waiter.held.look_at())
    }

    /// Looks at the first `count` events of a chain.
    pub(super) fn preload_chain(&self, chain: &Chain, count: usize) -> usize {
        let first = self.waiters.get(chain.head as usize);
        let waiters = std::iter::successors(first, |waiter| self.waiters.get(waiter.next as usize));
        waiters.take(count).fold(0, |seen, waiter| seen ^ waiter.held.look_at())
    }

    /// Makes the key known, with no referent, if it was not.
    pub(super) fn know(&mut self, entity: EntityId, hash: KeyHash, key: &Key) {
        self.slot(entity, hash, key);
    }

    fn slot(&mut self, entity: EntityId, hash: KeyHash, key: &Key) -> &mut Entry {
        let same = |e: &Entry| e.entity == entity && e.key == *key;
        match self.entries.entry(hash.0, same, |e| e.hash.0) {
            Slot::Occupied(entry) => entry.into_mut(),
            Slot::Vacant(vacant) => {
                *part(&mut self.memory, &self.rules, entity) += size_of::<Entry>() + key.heap_bytes();
                let entry = Entry {
                    hash,
                    key: key.clone(),
                    referent: None,
                    chain: Chain::EMPTY,
                    stored: false,
                    entity,
                    touched: true,
                };
                vacant.insert(entry).into_mut()
            }
        }
    }

    /// Puts a referent in place of what was there.
    pub(super) fn put(&mut self, entity: EntityId, hash: KeyHash, key: &Key, referent: Event, stored: bool) {
        let bytes = event_bytes(&referent);
        let entry = self.slot(entity, hash, key);
        entry.touched = true;
        entry.stored = stored;
        let before = entry.referent.replace(referent).map_or(0, |old| event_bytes(&old));
        let part = part(&mut self.memory, &self.rules, entity);
        *part = *part + bytes - before;
    }

    /// Forgets a key's referent, and the key if nobody waits for it.
    pub(super) fn forget(&mut self, entity: EntityId, hash: KeyHash, key: &Key) {
        if let Some(entry) = self.entry(entity, hash, key) {
            let bytes = entry.referent.take().map_or(0, |old| event_bytes(&old));
            *part(&mut self.memory, &self.rules, entity) -= bytes;
            self.remove_if_empty(entity, hash, key);
        }
    }

    /// Parks an event at one of its references, whose key it makes known. Returns its place and its ticket.
    pub(super) fn park(&mut self, dependent: Box<Dependent>, parked: Parked, deferred: bool) -> (WaiterId, u64) {
        self.tickets += 1;
        let (bytes, arrival) = (waiting_bytes(&dependent), dependent.event.header.header.arrival);
        *waiting_part(&mut self.memory, deferred) += bytes;
        self.ages.add(arrival);
        let ticket = self.tickets;
        let held = Held::Whole(dependent);
        let waiter = Waiter { held, parked, ticket, deferred, bytes, arrival, prev: NONE, next: NONE, chain: 0 };
        let id = narrow(self.waiters.insert(waiter));
        if let Parked::At(reference) = parked {
            self.chain(id, reference);
        }
        (WaiterId(id), self.tickets)
    }

    fn chain(&mut self, id: u32, reference: u32) {
        let waiter = self.waiters.get(id as usize);
        let Some((entity, hash, key)) = waiter.and_then(|w| w.held.name(&self.rules, reference)) else { return };
        let fresh = self.chains.wrapping_add(1);
        let chain = &mut self.slot(entity, hash, &key).chain;
        let tail = std::mem::replace(&mut chain.tail, id);
        chain.len += 1;
        if tail == NONE {
            chain.head = id;
            chain.number = fresh;
        }
        let number = chain.number;
        self.chains = fresh;
        if let Some(waiter) = self.waiters.get_mut(tail as usize) {
            waiter.next = id;
        }
        if let Some(waiter) = self.waiters.get_mut(id as usize) {
            waiter.prev = tail;
            waiter.chain = number;
        }
    }

    /// Whether an event waits for a referent that has not come: not one whose chain was detached to be woken, nor one that waits for its turn.
    pub(super) fn lacks_referent(&self, id: WaiterId) -> bool {
        let Some(waiter) = self.waiter(id) else { return false };
        let Parked::At(reference) = waiter.parked else { return false };
        let Some((entity, hash, key)) = waiter.held.name(&self.rules, reference) else { return false };
        let entry = self.entries.find(hash.0, |e| e.entity == entity && e.key == key);
        entry.is_some_and(|entry| !entry.chain.is_empty() && entry.chain.number == waiter.chain)
    }

    pub(super) fn waiter(&self, id: WaiterId) -> Option<&Waiter> {
        self.waiters.get(id.0 as usize)
    }

    pub(super) fn waiter_mut(&mut self, id: WaiterId) -> Option<&mut Waiter> {
        self.waiters.get_mut(id.0 as usize)
    }

    /// A waiting event as it works, to be changed where it is.
    pub(super) fn whole_mut(&mut self, id: WaiterId) -> Option<&mut Dependent> {
        let waiter = self.waiters.get_mut(id.0 as usize)?;
        if let Held::Packed(packed) = &waiter.held {
            let dependent = packed.unpack(&self.rules);
            waiter.hold(waiting_bytes(&dependent), Held::Whole(dependent), &mut self.memory);
        }
        match &mut waiter.held {
            Held::Whole(dependent) => Some(dependent),
            Held::Packed(_) => None,
        }
    }

    /// Packs an event that waits for a referent, where that saves memory. `value` is a buffer.
    pub(super) fn pack(&mut self, id: WaiterId, value: &mut Vec<u8>) {
        let Some(waiter) = self.waiters.get_mut(id.0 as usize) else { return };
        let (Held::Whole(dependent), Parked::At(_)) = (&waiter.held, waiter.parked) else { return };
        if let Some(packed) = Packed::new(&self.rules, dependent, value) {
            let bytes = size_of::<Waiter>() + packed.heap_bytes();
            waiter.hold(bytes, Held::Packed(packed), &mut self.memory);
        }
    }

    /// Takes an event out of the slab, and out of its entry's chain if it is in one.
    pub(super) fn take(&mut self, id: WaiterId) -> Option<Box<Dependent>> {
        let waiter = self.waiters.try_remove(id.0 as usize)?;
        *waiting_part(&mut self.memory, waiter.deferred) -= waiter.bytes;
        self.ages.remove(waiter.arrival);
        let Waiter { held, parked, prev, next, .. } = waiter;
        let dependent = held.whole(&self.rules);
        if let Parked::At(reference) = parked
            && let Some(reference) = dependent.references.get(reference as usize)
        {
            self.unchain(prev, next, reference);
        }
        Some(dependent)
    }

    fn unchain(&mut self, before: u32, after: u32, r: &Reference) {
        if let Some(prev) = self.waiters.get_mut(before as usize) {
            prev.next = after;
        }
        if let Some(next) = self.waiters.get_mut(after as usize) {
            next.prev = before;
        }
        let Some(entry) = self.entries.find_mut(r.hash.0, |e| e.entity == r.entity && e.key == r.key) else { return };
        entry.chain.len -= 1;
        if before == NONE {
            entry.chain.head = after;
        }
        if after == NONE {
            entry.chain.tail = before;
        }
        self.remove_if_empty(r.entity, r.hash, &r.key);
    }

    fn remove_if_empty(&mut self, entity: EntityId, hash: KeyHash, key: &Key) {
        let same = |e: &Entry| e.entity == entity && e.key == *key;
        let Ok(found) = self.entries.find_entry(hash.0, same) else { return };
        if found.get().referent.is_none() && found.get().chain.is_empty() {
            found.remove();
            *part(&mut self.memory, &self.rules, entity) -= size_of::<Entry>() + key.heap_bytes();
        }
    }

    /// Takes the chain of all events that wait for a key out of its entry.
    pub(super) fn detach(&mut self, entity: EntityId, hash: KeyHash, key: &Key) -> Chain {
        match self.entry(entity, hash, key) {
            Some(entry) => std::mem::replace(&mut entry.chain, Chain::EMPTY),
            None => Chain::EMPTY,
        }
    }

    /// Takes the first event out of a detached chain.
    pub(super) fn next_of(&mut self, chain: &mut Chain) -> Option<Box<Dependent>> {
        let waiter = self.waiters.try_remove(chain.head as usize)?;
        *waiting_part(&mut self.memory, waiter.deferred) -= waiter.bytes;
        self.ages.remove(waiter.arrival);
        chain.head = waiter.next;
        chain.len -= 1;
        Some(waiter.held.whole(&self.rules))
    }

    /// Moves the clock hand on over `steps` buckets (Corbató 1968: what was not touched since it last passed is cold) and collects cold entries.
    pub(super) fn sweep(&mut self, steps: usize, mut cold: impl FnMut(&Entry) -> bool) -> Vec<Cold> {
        let mut found = Vec::new();
        let buckets = self.entries.num_buckets();
        for _ in 0..steps.min(buckets) {
            self.hand = if self.hand + 1 >= buckets { 0 } else { self.hand + 1 };
            let Some(entry) = self.entries.get_bucket_mut(self.hand) else { continue };
            if std::mem::take(&mut entry.touched) || !cold(entry) {
                continue;
            }
            found.push(Cold { hash: entry.hash, entity: entry.entity, key: entry.key.clone() });
        }
        found
    }

    /// Forgets referents that are no longer kept, in the next `steps` buckets.
    pub(super) fn forget_old(&mut self, steps: usize, is_old: impl Fn(EntityId, &Event) -> bool) {
        let buckets = self.entries.num_buckets();
        let mut old = Vec::new();
        for _ in 0..steps.min(buckets) {
            self.old_hand = if self.old_hand + 1 >= buckets { 0 } else { self.old_hand + 1 };
            let Some(entry) = self.entries.get_bucket(self.old_hand) else { continue };
            if entry.referent.as_ref().is_some_and(|event| is_old(entry.entity, event)) {
                old.push((entry.entity, entry.hash, entry.key.clone()));
            }
        }
        for (entity, hash, key) in old {
            self.forget(entity, hash, &key);
        }
    }

    pub(super) fn buckets(&self) -> usize {
        self.entries.num_buckets()
    }

    /// The first of the events that wait for a key.
    pub(super) fn first_waiter(&self, cold: &Cold) -> Option<WaiterId> {
        let entry = self.entries.find(cold.hash.0, |e| e.entity == cold.entity && e.key == cold.key)?;
        Some(WaiterId(entry.chain.head)).filter(|_| !entry.chain.is_empty())
    }

    /// The event that came after this one to wait for the same key.
    pub(super) fn waiter_after(&self, waiter: WaiterId) -> Option<WaiterId> {
        self.waiter(waiter).map(|w| WaiterId(w.next)).filter(|next| next.0 != NONE)
    }
}

impl Waiter {
    fn hold(&mut self, bytes: usize, held: Held, memory: &mut Memory) {
        let part = waiting_part(memory, self.deferred);
        *part = *part + bytes - self.bytes;
        (self.bytes, self.held) = (bytes, held);
    }
}

impl Entry {
    pub(super) fn waiters(&self) -> usize {
        self.chain.len()
    }
}

fn part<'a>(memory: &'a mut Memory, rules: &Rules, entity: EntityId) -> &'a mut usize {
    if rules.entity(entity).deferred { &mut memory.cached_referents } else { &mut memory.referents }
}

fn waiting_part(memory: &mut Memory, deferred: bool) -> &mut usize {
    if deferred { &mut memory.cached_waiting } else { &mut memory.waiting }
}

/// Memory that a referent takes in the tables: its entry, its key, and the event.
pub fn referent_bytes(event: &Event) -> usize {
    let key = event.header.header.key.as_ref().map_or(0, Key::heap_bytes);
    size_of::<Entry>() + key + event_bytes(event)
}

/// Memory that a waiting event takes in the tables, without the referents that it carries: they are shared.
pub fn waiting_bytes(dependent: &Dependent) -> usize {
    let spilled = if dependent.references.spilled() { dependent.references.len() } else { 0 };
    let keys: usize = dependent.references.iter().map(|r| r.key.heap_bytes()).sum();
    size_of::<Waiter>()
        + size_of::<Dependent>()
        + spilled * size_of::<Reference>()
        + keys
        + dependent.order.as_ref().map_or(0, |_| size_of::<Order>())
        + event_bytes(&dependent.event)
}

/// A slab holds fewer than 2³² events: at 200 bytes each that is 800 GB of memory.
fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE)
}
