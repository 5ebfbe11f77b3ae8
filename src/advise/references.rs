//! What is here and what waits while a sample is read: every reference finds its referent, or notes when it comes.
//!
//! Keys are known by their hashes of 64 bits: that two of 10 million keys share one has a chance of 3 in a million, and would count a reference wrongly.
//! Where all keys do not fit in the memory given, half of them are let go, again and again: those that are left stand for twice as many each time.
//!
//! A reference is answered once, by the earliest of the copies of its referent that were read before it, or by the first that is read after it. One in another
//! partition may be read later still and have arrived earlier: who waited is not kept for it, for that would be every late reference until the end.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use slab::Slab;

use super::arrival::{Arrivals, Moment, is_unknown, ticks_of};
use super::counts::{Counts, late};
use super::decide::micros;
use super::events::{Events, NONE, OfStream};
use crate::dependency::{Rules, Stream};
use crate::event::{Dependent, EntityId, KeyHash, Reference, is_tombstone};
use crate::mode;

/// No more than one of so many keys is looked at.
const ONE_IN_MAX: u64 = 1 << 16;

/// The bits of a hash that decide whether its key is looked at: those below find its place in the table.
const SAMPLED_BY: u32 = 24;

/// A key.
#[derive(Debug)]
struct Entry {
    hash: KeyHash,
    /// When its referent arrived first, and last; `None` where none has come.
    here: Option<Here>,
    /// References to it so far.
    references: u64,
    /// The first of those that wait for it.
    waits: u32,
    entity: EntityId,
}

#[derive(Clone, Copy, Debug)]
struct Here {
    first: i64,
    last: i64,
    /// Until when it is there: then `retain` forgets it, or a tombstone has deleted it.
    until: i64,
    size: Size,
}

/// What a referent takes.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Bytes in the tables of streaming dependencies.
    memory: u32,
    /// Bytes in the state, before compression.
    stored: u32,
}

/// A reference whose referent has not come.
#[derive(Debug)]
struct Wait {
    tick: i64,
    record: u64,
    /// Its event in `unresolved`, and in `events`.
    event: u32,
    held: u32,
    stream: u16,
    dependency: u16,
    next: u32,
}

/// An event that others need resolved, and that lacks something.
#[derive(Debug)]
struct Unresolved {
    twin: EntityId,
    hash: KeyHash,
    missing: u32,
    /// The latest arrival of what it had to wait for.
    tick: i64,
    until: i64,
    size: Size,
}

/// A referent on its way into the table.
struct Arrived {
    entity: EntityId,
    hash: KeyHash,
    here: Here,
    record: u64,
}

/// What the keys of one entity take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Referents {
    /// Keys whose referent is there at the end of the sample.
    pub(super) keys: u64,
    /// Bytes in the tables of streaming dependencies.
    pub(super) memory: u64,
    /// Bytes in the state, before compression.
    pub(super) stored: u64,
    /// The sum of the references of the sampled keys, and of their squares.
    references: f64,
    squares: f64,
}

impl Referents {
    /// How many keys that are referred to equally often tell as much as these do (Kish 1965).
    pub(super) fn effective_keys(&self) -> f64 {
        if self.squares > 0.0 { self.references * self.references / self.squares } else { 0.0 }
    }
}

/// All that a sample says.
#[derive(Debug)]
pub(super) struct Found {
    /// By stream and dependency.
    pub(super) counts: Vec<Vec<Counts>>,
    /// By stream, its events; `None` where not all keys were looked at, or there is no time.
    pub(super) events: Option<Vec<OfStream>>,
    /// By entity.
    pub(super) referents: Vec<Referents>,
    /// One key of so many was looked at.
    pub(super) one_in: u64,
    /// How many keys those were at the end.
    pub(super) keys: u64,
    /// How many references waited at once, at most.
    pub(super) waiting_peak: u64,
}

/// Follows the references of a sample.
#[derive(Debug)]
pub(super) struct References {
    rules: Arc<Rules>,
    /// By entity: whether some dependency refers to it.
    named: Vec<bool>,
    entries: HashTable<Entry>,
    waits: Slab<Wait>,
    unresolved: Slab<Unresolved>,
    events: Events,
    counts: Vec<Vec<Counts>>,
    one_in: u64,
    memory_max: usize,
    waiting_peak: u64,
    has_time: bool,
}

impl References {
    /// Looks at as many keys as fit in `memory_max` bytes. Every dependency of `rules` is looked up.
    /// How many lags are within `bounds` is counted exactly.
    pub(super) fn new(rules: Arc<Rules>, memory_max: usize, has_time: bool, bounds: &[u64]) -> References {
        let mut named = vec![false; rules.entities().len()];
        for dependency in rules.streams().iter().flat_map(|stream| &stream.depends_on) {
            if let Some(named) = named.get_mut(usize::from(dependency.entity.0)) {
                *named = true;
            }
        }
        let counts = rules.streams().iter().map(|stream| vec![Counts::new(bounds); stream.depends_on.len()]).collect();
        References {
            events: Events::new(&rules, has_time, bounds),
            rules,
            named,
            entries: HashTable::new(),
            waits: Slab::new(),
            unresolved: Slab::new(),
            counts,
            one_in: 1,
            memory_max,
            waiting_peak: 0,
            has_time,
        }
    }

    /// Whether what waits for single keys alone takes more than the memory given: then nothing more can be looked at.
    pub(super) fn is_full(&self) -> bool {
        self.one_in >= ONE_IN_MAX && self.memory() > self.memory_max
    }

    /// Takes an event that arrived at a moment.
    pub(super) fn take(&mut self, dependent: &Dependent, at: Moment, arrivals: &Arrivals) {
        let rules = Arc::clone(&self.rules);
        let stream = rules.stream(dependent.event.header.header.stream);
        if is_tombstone(&dependent.event) {
            self.delete(dependent, stream, at);
            return;
        }
        // Its own referent first: a self-reference is satisfied.
        if let Some(entity) = stream.provides {
            self.provide(dependent, stream, entity, at, arrivals);
        }
        let event = self.unresolved(dependent, stream, at, arrivals);
        let held = self.events.begin(dependent.event.header.header.stream.0, at.tick);
        for reference in &dependent.references {
            if self.is_sampled(reference.hash) {
                let lag = self.look_up(dependent, reference, at, (event, held), arrivals);
                self.events.add(held, reference.dependency, lag);
            }
        }
        self.events.settle(held);
        if let Some(resolved) = self.complete(event, at.record) {
            self.arrive(resolved, arrivals);
        }
        self.waiting_peak = self.waiting_peak.max(self.waits.len() as u64 * self.one_in);
        while self.memory() > self.memory_max && self.one_in < ONE_IN_MAX {
            self.let_half_go(at.record, arrivals);
        }
    }

    /// Bytes of the tables, which double as they grow.
    fn memory(&self) -> usize {
        2 * (self.entries.len() * (size_of::<Entry>() + 1)
            + self.waits.len() * size_of::<Wait>()
            + self.unresolved.len() * size_of::<Unresolved>()
            + self.events.memory())
    }

    fn is_sampled(&self, hash: KeyHash) -> bool {
        (hash.0 >> SAMPLED_BY) & (self.one_in - 1) == 0
    }

    /// The event's own key as one of an entity that somebody refers to.
    fn own_key(&self, dependent: &Dependent, entity: EntityId) -> Option<(EntityId, KeyHash)> {
        let key = dependent.event.header.header.key.as_ref()?;
        let is_named = self.named.get(usize::from(entity.0)).copied().unwrap_or(false);
        is_named.then(|| (entity, key.hash(entity)))
    }

    /// Makes an event that others need resolved, and that refers to others itself, one of the unresolved. One that refers to none is resolved.
    fn unresolved(&mut self, dependent: &Dependent, stream: &Stream, at: Moment, arrivals: &Arrivals) -> u32 {
        let Some(twin) = stream.provides_resolved else { return NONE };
        if dependent.references.is_empty() {
            self.provide(dependent, stream, twin, at, arrivals);
            return NONE;
        }
        match self.own_key(dependent, twin).filter(|(_, hash)| self.is_sampled(*hash)) {
            None => NONE,
            Some((twin, hash)) => {
                let (until, size) = (self.until(stream, at.tick), Size::of(dependent, twin));
                self.unresolved.insert(Unresolved { twin, hash, missing: 0, tick: at.tick, until, size }) as u32
            }
        }
    }

    /// When a referent of a stream is forgotten.
    fn until(&self, stream: &Stream, tick: i64) -> i64 {
        let retain = stream.retain.filter(|_| self.has_time && !is_unknown(tick));
        retain.map_or(i64::MAX, |retain| tick.saturating_add(ticks_of(retain)))
    }

    fn provide(&mut self, dependent: &Dependent, stream: &Stream, entity: EntityId, at: Moment, arrivals: &Arrivals) {
        let Some((entity, hash)) = self.own_key(dependent, entity).filter(|(_, hash)| self.is_sampled(*hash)) else {
            return;
        };
        let (until, size) = (self.until(stream, at.tick), Size::of(dependent, entity));
        let here = Here { first: at.tick, last: at.tick, until, size };
        self.arrive(Arrived { entity, hash, here, record: at.record }, arrivals);
    }

    /// A referent comes: who waits for it has it, and may be resolved by it.
    fn arrive(&mut self, arrived: Arrived, arrivals: &Arrivals) {
        let mut all = vec![arrived];
        while let Some(Arrived { entity, hash, here, record }) = all.pop() {
            let entry = self.entry(entity, hash);
            let known = entry.here.filter(|known| known.until >= here.last);
            entry.here = Some(match known {
                None => here,
                Some(known) => Here { first: known.first.min(here.first), last: known.last.max(here.last), ..here },
            });
            let mut next = mem::replace(&mut entry.waits, NONE);
            while let Some(wait) = self.waits.try_remove(next as usize) {
                next = wait.next;
                let (since, tick) = (arrivals.known(wait.tick), arrivals.known(here.last));
                if let Some(counts) = counts_of(&mut self.counts, wait.stream, wait.dependency) {
                    counts.note(tick.saturating_sub(since), record.saturating_sub(wait.record), self.one_in);
                }
                self.events.found(wait.held, wait.dependency, late(tick.saturating_sub(since)));
                all.extend(self.found(wait.event, here.last, record));
            }
        }
    }

    /// An event in `unresolved` has found one of its references; if it was the last, it is itself a referent.
    fn found(&mut self, event: u32, tick: i64, record: u64) -> Option<Arrived> {
        let unresolved = self.unresolved.get_mut(event as usize)?;
        unresolved.missing = unresolved.missing.saturating_sub(1);
        unresolved.tick = unresolved.tick.max(tick);
        self.complete(event, record)
    }

    /// An event in `unresolved` that lacks nothing is a referent.
    fn complete(&mut self, event: u32, record: u64) -> Option<Arrived> {
        self.unresolved.get(event as usize).filter(|unresolved| unresolved.missing == 0)?;
        let Unresolved { twin, hash, tick, until, size, .. } = self.unresolved.try_remove(event as usize)?;
        Some(Arrived { entity: twin, hash, here: Here { first: tick, last: tick, until, size }, record })
    }

    /// Looks for a referent of an event, which has a place in `unresolved` and one in `events`: how long after the event it came, if it has.
    fn look_up(
        &mut self,
        dependent: &Dependent,
        reference: &Reference,
        at: Moment,
        event: (u32, u32),
        arrivals: &Arrivals,
    ) -> Option<u64> {
        let (stream, weight) = (dependent.event.header.header.stream.0, self.one_in);
        let entry = self.entry(reference.entity, reference.hash);
        entry.references += 1;
        let (here, waits) = (entry.here.filter(|here| here.until >= at.tick), entry.waits);
        let since = arrivals.known(at.tick);
        let counts = counts_of(&mut self.counts, stream, reference.dependency)?;
        let Some(Here { first, last, .. }) = here else {
            let key = if waits == NONE { mode::waited_key_bytes(&reference.key) } else { 0 };
            counts.miss(&self.rules, dependent, key, weight);
            self.wait(reference, at, stream, event, waits);
            return None;
        };
        let lag = arrivals.known(first).saturating_sub(since);
        if lag > 0 {
            // It was read before, from another partition, and arrived after.
            counts.miss(&self.rules, dependent, mode::waited_key_bytes(&reference.key), weight);
            if let Some(unresolved) = self.unresolved.get_mut(event.0 as usize) {
                unresolved.tick = unresolved.tick.max(first);
            }
        }
        let newest = arrivals.known(last).saturating_sub(since);
        let lag = if newest <= 0 { newest } else { lag };
        counts.note(lag, 0, weight);
        Some(late(lag))
    }

    /// Notes that a reference waits. `first` is the one that came before it for the same key.
    fn wait(&mut self, reference: &Reference, at: Moment, stream: u16, (event, held): (u32, u32), first: u32) {
        if let Some(unresolved) = self.unresolved.get_mut(event as usize) {
            unresolved.missing += 1;
        }
        let (tick, record, dependency) = (at.tick, at.record, reference.dependency);
        let wait = self.waits.insert(Wait { tick, record, event, held, stream, dependency, next: first });
        self.entry(reference.entity, reference.hash).waits = wait as u32;
    }

    /// A tombstone: the referent of its key is gone for who arrives from then on.
    fn delete(&mut self, dependent: &Dependent, stream: &Stream, at: Moment) {
        for entity in stream.provides.into_iter().chain(stream.provides_resolved) {
            let Some((entity, hash)) = self.own_key(dependent, entity) else { continue };
            let entry = self.entries.find_mut(hash.0, |e| e.hash == hash && e.entity == entity);
            if let Some(here) = entry.and_then(|entry| entry.here.as_mut()) {
                here.until = here.until.min(at.tick.saturating_sub(1));
            }
        }
    }

    fn entry(&mut self, entity: EntityId, hash: KeyHash) -> &mut Entry {
        match self.entries.entry(hash.0, |e| e.hash == hash && e.entity == entity, |e| e.hash.0) {
            Slot::Occupied(entry) => entry.into_mut(),
            Slot::Vacant(vacant) => {
                vacant.insert(Entry { hash, here: None, references: 0, waits: NONE, entity }).into_mut()
            }
        }
    }

    /// Looks at half as many keys from here on.
    fn let_half_go(&mut self, record: u64, arrivals: &Arrivals) {
        self.one_in *= 2;
        self.events.give_up();
        let one_in = self.one_in;
        let is_sampled = |hash: KeyHash| (hash.0 >> SAMPLED_BY) & (one_in - 1) == 0;
        self.unresolved.retain(|_, unresolved| is_sampled(unresolved.hash));
        let mut chains = Vec::new();
        self.entries.retain(|entry| {
            let stays = is_sampled(entry.hash);
            chains.extend((!stays).then_some(entry.waits));
            stays
        });
        for (_, wait) in &mut self.waits {
            if !self.unresolved.contains(wait.event as usize) {
                wait.event = NONE;
            }
        }
        for mut next in chains {
            while let Some(wait) = self.waits.try_remove(next as usize) {
                next = wait.next;
                // What else its event lacks decides when it is resolved: no later than it really is.
                if let Some(arrived) = self.found(wait.event, i64::MIN, record) {
                    self.arrive(arrived, arrivals);
                }
            }
        }
    }

    /// What the sample says, which ends at a moment; `latency` is the target of events.
    pub(super) fn finish(mut self, arrivals: &Arrivals, latency: Duration) -> Found {
        let end = arrivals.end().tick;
        let age = |tick: i64| late(end.saturating_sub(arrivals.known(tick)));
        for (_, wait) in &self.waits {
            if let Some(counts) = counts_of(&mut self.counts, wait.stream, wait.dependency) {
                counts.waiting.add(age(wait.tick), self.one_in);
            }
        }
        let target = Some(latency).filter(|_| self.has_time && arrivals.is_known());
        let horizons: Vec<Vec<u64>> =
            self.counts.iter().map(|counts| counts.iter().map(|counts| counts.horizon(target)).collect()).collect();
        let horizon = |stream: u16, dependency: u16| {
            let of_stream = horizons.get(usize::from(stream));
            of_stream.and_then(|all| all.get(usize::from(dependency))).copied().unwrap_or(u64::MAX)
        };
        let events = self.events.finish(age, horizon, micros(latency)).filter(|_| target.is_some());
        let mut referents = vec![Referents::default(); self.rules.entities().len()];
        for entry in &self.entries {
            let Some(of) = referents.get_mut(usize::from(entry.entity.0)) else { continue };
            of.references += entry.references as f64;
            of.squares += (entry.references as f64) * (entry.references as f64);
            if let Some(here) = entry.here.filter(|here| here.until >= end) {
                of.keys += self.one_in;
                of.memory += u64::from(here.size.memory) * self.one_in;
                of.stored += u64::from(here.size.stored) * self.one_in;
            }
        }
        Found {
            events,
            counts: self.counts,
            referents,
            one_in: self.one_in,
            keys: self.entries.len() as u64,
            waiting_peak: self.waiting_peak,
        }
    }
}

impl Size {
    fn of(dependent: &Dependent, entity: EntityId) -> Size {
        let narrow = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Size {
            memory: narrow(mode::referent_bytes(&dependent.event)),
            stored: narrow(mode::stored_referent_bytes(entity, &dependent.event)),
        }
    }
}

/// The counts of a dependency of a stream.
fn counts_of(counts: &mut [Vec<Counts>], stream: u16, dependency: u16) -> Option<&mut Counts> {
    counts.get_mut(usize::from(stream))?.get_mut(usize::from(dependency))
}
