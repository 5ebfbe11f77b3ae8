//! One worker's keys in memory: the referent of each, and the events that wait for it.
//!
//! An entry that is in the table knows its key's referent: there is none in the state that it does not know of. Events that wait are kept in a
//! slab, and their entry has a list of them, first come first, so that waking is in order and leaving from the middle costs nothing.

mod chain;
mod entries;
mod memory;
mod waiters;

use std::sync::Arc;

use crate::dependency::Rules;
use crate::event::{self, Dependent, EntityId, Event, Key, KeyHash, Reference, Timestamp, event_bytes};

use super::ages::Ages;
use super::held::{Held, Packed};
use super::listed::Listed;

pub(super) use chain::Chain;
use chain::narrow;
use entries::{Entries, Hand};
pub use memory::{Memory, referent_bytes, waited_key_bytes, waiting_bytes};
use memory::{PLACE_BYTES, part, waiting_part};
use waiters::Waiters;

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

/// What is known of one key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) hash: KeyHash,
    pub(super) key: Key,
    pub(super) referent: Option<Event>,
    /// Who waits for it: `None` for nobody.
    chain: Option<Box<Chain>>,
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
    bytes: u32,
    arrival: Timestamp,
    /// Its number in its chain.
    number: u32,
    /// About how many bytes the log will have of it; 0 once it is written there as it is.
    unlogged: u32,
    /// Whether the epoch before has listed it.
    listed: bool,
}

const _: () = assert!(size_of::<Option<Waiter>>() == 64, "a cache line");

/// Waiting events that the log does not have, or not as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unlogged {
    pub(super) events: usize,
    /// About how many bytes the log will have of them.
    pub(super) bytes: usize,
}

impl Unlogged {
    fn add(&mut self, bytes: u32) {
        self.events += usize::from(bytes > 0);
        self.bytes += bytes as usize;
    }

    fn remove(&mut self, bytes: u32) {
        self.events -= usize::from(bytes > 0);
        self.bytes -= bytes as usize;
    }
}

/// An entry that the clock hand found, and that is to leave.
pub(super) struct Cold {
    pub(super) hash: KeyHash,
    pub(super) entity: EntityId,
    pub(super) key: Key,
}

#[derive(Debug)]
pub(super) struct Table {
    entries: Entries,
    waiters: Waiters,
    ages: Ages,
    rules: Arc<Rules>,
    memory: Memory,
    unlogged: Unlogged,
    /// Those of them that the epoch before has listed are counted here instead.
    listed: Unlogged,
    tickets: u64,
    hand: Hand,
    old_hand: Hand,
}

impl Table {
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        Table {
            entries: Entries::new(),
            waiters: Waiters::default(),
            ages: Ages::default(),
            rules,
            memory: Memory::default(),
            unlogged: Unlogged::default(),
            listed: Unlogged::default(),
            tickets: 0,
            hand: Hand::default(),
            old_hand: Hand::default(),
        }
    }

    pub(super) fn memory(&self) -> Memory {
        self.memory
    }

    pub(super) fn waiters(&self) -> impl Iterator<Item = (WaiterId, &Waiter)> {
        self.waiters.iter()
    }

    /// The events that are still to be written to the log or listed.
    pub(super) fn unlogged(&self) -> Unlogged {
        self.unlogged
    }

    /// The events that the epoch before has listed, and that are still to be written to the log.
    pub(super) fn listed(&self) -> Unlogged {
        self.listed
    }

    /// Notes that an event that waits is to be written to the log as it is now. Returns whether that is new.
    pub(super) fn set_unlogged(&mut self, id: WaiterId, bytes: usize) -> bool {
        self.count_unlogged(id, narrow(bytes).max(1)) == Some(0)
    }

    /// Notes that an event that waits has been written to the log.
    pub(super) fn logged(&mut self, id: WaiterId) {
        self.count_unlogged(id, 0);
        if let Some(waiter) = self.waiters.get_mut(id.0) {
            waiter.listed = false;
        }
    }

    /// Notes that an event that is to be written to the log has been listed: the next epoch writes it.
    pub(super) fn set_listed(&mut self, id: WaiterId) {
        if let Some(waiter) = self.waiters.get_mut(id.0).filter(|waiter| !waiter.listed) {
            waiter.listed = true;
            self.unlogged.remove(waiter.unlogged);
            self.listed.add(waiter.unlogged);
        }
    }

    fn count_unlogged(&mut self, id: WaiterId, bytes: u32) -> Option<u32> {
        let waiter = self.waiters.get_mut(id.0)?;
        let before = std::mem::replace(&mut waiter.unlogged, bytes);
        let counted = if waiter.listed { &mut self.listed } else { &mut self.unlogged };
        counted.remove(before);
        counted.add(bytes);
        Some(before)
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
        let entry = self.entries.find_mut(entity, hash, key)?;
        entry.touched = true;
        Some(entry)
    }

    /// Looks at what will be needed of a key: something that depends on its entry and its referent, and means nothing.
    pub(super) fn preload(&self, entity: EntityId, hash: KeyHash, key: &Key) -> usize {
        let entry = self.entries.find(entity, hash, key);
        entry.map_or(0, |entry| match &entry.referent {
            Some(referent) => event::look_at(referent),
            // Who comes to wait too is put behind the last who does.
            None => entry.chain.as_ref().map_or(0, |chain| chain.last()),
        })
    }

    /// Looks at the places that the next `count` events that come to wait will have.
    pub(super) fn preload_places(&self, count: usize) -> usize {
        self.waiters.look_at_free(count)
    }

    /// Looks at the first event that waits for a key, which its referent is about to wake.
    pub(super) fn preload_waiting(&self, entity: EntityId, hash: KeyHash, key: &Key) -> usize {
        let entry = self.entries.find(entity, hash, key);
        let chain = entry.and_then(|entry| entry.chain.as_ref());
        chain.map_or(0, |chain| self.preload_chain(chain, 1))
    }

    /// Looks at the first `count` events of a chain.
    pub(super) fn preload_chain(&self, chain: &Chain, count: usize) -> usize {
        let waiters = chain.places().take(count).filter_map(|place| self.waiters.get(place));
        waiters.fold(0, |seen, waiter| seen ^ waiter.held.look_at())
    }

    /// Makes the key known, with no referent, if it was not.
    pub(super) fn know(&mut self, entity: EntityId, hash: KeyHash, key: &Key) {
        self.slot(entity, hash, key);
    }

    fn slot(&mut self, entity: EntityId, hash: KeyHash, key: &Key) -> &mut Entry {
        let (entry, is_new) = self.entries.find_or_insert(entity, hash, key, || Entry {
            hash,
            key: key.clone(),
            referent: None,
            chain: None,
            stored: false,
            entity,
            touched: true,
        });
        if is_new {
            *part(&mut self.memory, &self.rules, entity) += size_of::<Entry>() + key.heap_bytes();
        }
        entry
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
        let (bytes, arrival) = (narrow(waiting_bytes(&dependent)), dependent.event.header.header.arrival);
        *waiting_part(&mut self.memory, deferred) += bytes as usize;
        self.ages.add(arrival);
        let ticket = self.tickets;
        let held = Held::Whole(dependent);
        let waiter = Waiter { held, parked, ticket, deferred, bytes, arrival, number: 0, unlogged: 0, listed: false };
        let id = self.waiters.insert(waiter);
        if let Parked::At(reference) = parked {
            self.chain(id, reference);
        }
        (id, ticket)
    }

    fn chain(&mut self, id: WaiterId, reference: u32) {
        let waiter = self.waiters.get(id.0);
        let Some((entity, hash, key)) = waiter.and_then(|w| w.held.name(&self.rules, reference)) else { return };
        let entry = self.slot(entity, hash, &key);
        let is_first = entry.chain.is_none();
        let number = entry.chain.get_or_insert_default().push(id.0);
        if is_first {
            *part(&mut self.memory, &self.rules, entity) += size_of::<Chain>();
        }
        if let Some(waiter) = self.waiters.get_mut(id.0) {
            waiter.number = number;
        }
    }

    /// Whether an event waits for a referent that has not come: not one whose chain was detached to be woken, nor one that waits for its turn.
    pub(super) fn lacks_referent(&self, id: WaiterId) -> bool {
        let Some(waiter) = self.waiter(id) else { return false };
        let Parked::At(reference) = waiter.parked else { return false };
        let Some((entity, hash, key)) = waiter.held.name(&self.rules, reference) else { return false };
        let entry = self.entries.find(entity, hash, &key);
        let chain = entry.and_then(|entry| entry.chain.as_ref());
        chain.is_some_and(|chain| chain.place(waiter.number) == Some(id.0))
    }

    pub(super) fn waiter(&self, id: WaiterId) -> Option<&Waiter> {
        self.waiters.get(id.0)
    }

    pub(super) fn waiter_mut(&mut self, id: WaiterId) -> Option<&mut Waiter> {
        self.waiters.get_mut(id.0)
    }

    /// A waiting event as it works, to be changed where it is.
    pub(super) fn whole_mut(&mut self, id: WaiterId) -> Option<&mut Dependent> {
        let waiter = self.waiters.get_mut(id.0)?;
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
        let Some(waiter) = self.waiters.get_mut(id.0) else { return };
        let (Held::Whole(dependent), Parked::At(_)) = (&waiter.held, waiter.parked) else { return };
        if let Some(packed) = Packed::new(&self.rules, dependent, value) {
            let bytes = size_of::<Option<Waiter>>() + PLACE_BYTES + packed.heap_bytes();
            waiter.hold(bytes, Held::Packed(packed), &mut self.memory);
        }
    }

    /// Takes an event out of the slab, and out of its entry's chain if it is in one.
    pub(super) fn take(&mut self, id: WaiterId) -> Option<Box<Dependent>> {
        let waiter = self.remove(id.0)?;
        let Waiter { held, parked, number, .. } = waiter;
        let dependent = held.whole(&self.rules);
        if let Parked::At(reference) = parked
            && let Some(reference) = dependent.references.get(reference as usize)
        {
            self.unchain(id, number, reference);
        }
        Some(dependent)
    }

    /// Takes an event out of the slab, and out of what is counted.
    fn remove(&mut self, place: u32) -> Option<Waiter> {
        let waiter = self.waiters.remove(place)?;
        *waiting_part(&mut self.memory, waiter.deferred) -= waiter.bytes as usize;
        let counted = if waiter.listed { &mut self.listed } else { &mut self.unlogged };
        counted.remove(waiter.unlogged);
        self.ages.remove(waiter.arrival);
        Some(waiter)
    }

    fn unchain(&mut self, id: WaiterId, number: u32, r: &Reference) {
        let Some(entry) = self.entries.find_mut(r.entity, r.hash, &r.key) else { return };
        let Some(chain) = entry.chain.as_mut().filter(|chain| chain.place(number) == Some(id.0)) else { return };
        chain.remove(number);
        if chain.is_empty() {
            entry.chain = None;
            *part(&mut self.memory, &self.rules, r.entity) -= size_of::<Chain>();
            self.remove_if_empty(r.entity, r.hash, &r.key);
        } else if chain.is_sparse() {
            chain.close_gaps();
            for (number, place) in (0u32..).zip(chain.places()) {
                if let Some(waiter) = self.waiters.get_mut(place) {
                    waiter.number = number;
                }
            }
        }
    }

    fn remove_if_empty(&mut self, entity: EntityId, hash: KeyHash, key: &Key) {
        let is_empty = |entry: &Entry| entry.referent.is_none() && entry.chain.is_none();
        if self.entries.remove_if(entity, hash, key, is_empty) {
            *part(&mut self.memory, &self.rules, entity) -= size_of::<Entry>() + key.heap_bytes();
        }
    }

    /// Takes the chain of all events that wait for a key out of its entry.
    pub(super) fn detach(&mut self, entity: EntityId, hash: KeyHash, key: &Key) -> Chain {
        let Some(chain) = self.entry(entity, hash, key).and_then(|entry| entry.chain.take()) else {
            return Chain::default();
        };
        *part(&mut self.memory, &self.rules, entity) -= size_of::<Chain>();
        *chain
    }

    /// Takes the first event out of a detached chain.
    pub(super) fn next_of(&mut self, chain: &mut Chain) -> Option<Box<Dependent>> {
        let waiter = self.remove(chain.pop()?)?;
        Some(waiter.held.whole(&self.rules))
    }

    /// Moves the clock hand on over `steps` buckets (Corbató 1968: what was not touched since it last passed is cold) and collects the entries that are to leave,
    /// which is said of each with whether it was touched.
    pub(super) fn sweep(&mut self, steps: usize, mut leaves: impl FnMut(&Entry, bool) -> bool) -> Vec<Cold> {
        let mut found = Vec::new();
        for _ in 0..steps.min(self.entries.buckets()) {
            let Some(entry) = self.entries.next(&mut self.hand) else { continue };
            let touched = std::mem::take(&mut entry.touched);
            if leaves(entry, touched) {
                found.push(Cold { hash: entry.hash, entity: entry.entity, key: entry.key.clone() });
            }
        }
        found
    }

    /// Forgets referents that are no longer kept, in the next `steps` buckets.
    pub(super) fn forget_old(&mut self, steps: usize, is_old: impl Fn(EntityId, &Event) -> bool) {
        let mut old = Vec::new();
        for _ in 0..steps.min(self.entries.buckets()) {
            let Some(entry) = self.entries.next(&mut self.old_hand) else { continue };
            if entry.referent.as_ref().is_some_and(|event| is_old(entry.entity, event)) {
                old.push((entry.entity, entry.hash, entry.key.clone()));
            }
        }
        for (entity, hash, key) in old {
            self.forget(entity, hash, &key);
        }
    }

    pub(super) fn buckets(&self) -> usize {
        self.entries.buckets()
    }

    /// The events that wait for a key, in the order in which they came.
    pub(super) fn waiters_of(&self, cold: &Cold) -> Vec<WaiterId> {
        let entry = self.entries.find(cold.entity, cold.hash, &cold.key);
        let chain = entry.and_then(|entry| entry.chain.as_ref());
        chain.map_or_else(Vec::new, |chain| chain.places().map(WaiterId).collect())
    }
}

impl Waiter {
    /// Orders those of one worker by when they came.
    pub(super) fn came(&self) -> (Timestamp, u64) {
        (self.arrival, self.ticket)
    }

    /// What is to be listed of it, unless it has to be written to the log: the epoch before has listed it, its wait is deferred, or it has more than its record
    /// tells.
    pub(super) fn listed(&self, rules: &Rules) -> Option<Listed> {
        match &self.held {
            Held::Whole(dependent) if !self.listed && !self.deferred => Listed::of(rules, dependent),
            Held::Whole(_) | Held::Packed(_) => None,
        }
    }

    /// Whether the log does not have it, or not as it is.
    pub(super) fn is_unlogged(&self) -> bool {
        self.unlogged > 0
    }

    fn hold(&mut self, bytes: usize, held: Held, memory: &mut Memory) {
        let (part, bytes) = (waiting_part(memory, self.deferred), narrow(bytes));
        *part = *part + bytes as usize - self.bytes as usize;
        (self.bytes, self.held) = (bytes, held);
    }
}

impl Entry {
    fn is(&self, entity: EntityId, key: &Key) -> bool {
        self.entity == entity && self.key == *key
    }

    pub(super) fn waiters(&self) -> usize {
        self.chain.as_ref().map_or(0, |chain| chain.len())
    }
}
