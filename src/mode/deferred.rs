//! What an engine keeps in the state: which referents and waiting events move there, and what is fetched back.
//!
//! Memory is a write-back cache over the state, one epoch at a time. Within an epoch memory alone is changed; at its end the net changes become one
//! [`Changes`] value. Queries are answered from a state that has every earlier epoch, so that what moved out at the end of one epoch is found in the next.
//!
//! Waiting events are written to a log, an epoch's new ones in one value, since most of them leave within a few epochs: a key of its own is only given
//! to an event that leaves memory. What may be [listed](super::listed) comes into the log with the end of the next epoch. Where those that wait fill a quarter of
//! their memory, events are packed before that, into the bytes that the log has of them. Referents of deferred dependencies are written in the epoch in which they
//! come.

mod changes;
mod epoch;
mod evict;
mod log;
mod query;

pub use changes::Changes;
pub(super) use epoch::{end_epoch, is_full};
pub use log::log_waiting;
pub use query::{Answer, Query};
pub(super) use query::{Drain, DuePass, Kept};

use fastbloom::BloomFilter;
use resolvent_state::{Batch, Table as Stored};
use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use crate::dependency::Rules;
use crate::event::{Dependent, EntityId, Epoch, Event, EventId, Key, KeyHash, Stored as Place, Timestamp};

use super::engine::{Engine, Settings};
use super::table::WaiterId;
use super::{Claim, Effects, Hidden, Referent, Visit, codec, deadline};

/// Keys of which the state may have something that memory has not. It may say yes in error; then the state is asked in vain.
#[derive(Debug)]
struct Filter {
    bits: usize,
    bloom: Option<BloomFilter>,
}

impl Filter {
    fn new(bytes: usize) -> Self {
        Filter { bits: bytes.max(1 << 10) * 8, bloom: None }
    }

    fn add(&mut self, hash: KeyHash) {
        let bits = self.bits;
        self.bloom.get_or_insert_with(|| BloomFilter::with_num_bits(bits).hashes(4)).insert(&hash.0);
    }

    fn may_hold(&self, hash: KeyHash) -> bool {
        self.bloom.as_ref().is_some_and(|bloom| bloom.contains(&hash.0))
    }
}

/// Who waits for an answer of the state.
#[derive(Debug)]
struct Suspended {
    what: Visit,
    answers_left: usize,
}

/// A key that the state has been asked for.
#[derive(Debug)]
struct Fetch {
    key: Key,
    /// Who waits for the answer.
    suspended: Vec<usize>,
}

/// What an engine knows of the state's part of its shards.
#[derive(Debug)]
pub(super) struct Residency {
    referents: Filter,
    waiters: Filter,
    /// The state has deferred referents of an earlier run: any key may be among them.
    kept_before: bool,
    /// What the event that asks right now needs.
    wanted: Vec<(EntityId, KeyHash, Key)>,
    /// By entity and hash: the keys that the state has been asked for.
    fetching: FxHashMap<(EntityId, KeyHash), Vec<Fetch>>,
    suspended: Slab<Suspended>,
    /// Events taken out of the state in this epoch, which the state still shows.
    taken: FxHashSet<EventId>,
    drains: Vec<Drain>,
    next_due: Option<Timestamp>,
    /// No deadline in the state is earlier.
    due_from: Timestamp,
    /// A pass over the deadlines that have passed goes on; and its next page, once that is to be asked for.
    due_passes: bool,
    due_pass: Option<DuePass>,
    all_from: Option<Vec<u8>>,
    asked: usize,
    /// Whether events may be listed, and whether an epoch follows that writes of them what waits still.
    rereads: bool,
    goes_on: bool,
    /// Events that were parked in this epoch or listed by the one before, some of which have left again: their places and tickets.
    parked: Vec<(WaiterId, u64)>,
    /// By how much memory was over its bounds when the epoch began.
    over_at_first: usize,
    changes: Changes,
    /// Events that left the log in this epoch.
    removed: Vec<EventId>,
    /// Events logged before this epoch are to be written anew, so that the log's old values can go; and the last such epoch that was heeded.
    rewrite_before: Epoch,
    rewritten_before: Epoch,
    /// The buffer in which events are packed.
    packing: Vec<u8>,
}

impl Residency {
    pub(super) fn new(settings: &Settings) -> Self {
        let share = (settings.streaming_bytes.min(settings.deferred_bytes)) / 16;
        Residency {
            referents: Filter::new(share),
            waiters: Filter::new(share),
            kept_before: settings.state_has_referents,
            wanted: Vec::new(),
            fetching: FxHashMap::default(),
            suspended: Slab::new(),
            taken: FxHashSet::default(),
            drains: Vec::new(),
            next_due: None,
            due_from: Timestamp(0),
            due_passes: false,
            due_pass: None,
            all_from: None,
            asked: 0,
            rereads: settings.rereads,
            goes_on: true,
            parked: Vec::new(),
            over_at_first: 0,
            changes: Changes::default(),
            removed: Vec::new(),
            rewrite_before: Epoch(0),
            rewritten_before: Epoch(0),
            packing: Vec::new(),
        }
    }

    /// Whether the state may have a referent that memory does not know.
    pub(super) fn may_hold_referent(&self, rules: &Rules, entity: EntityId, hash: KeyHash) -> bool {
        (self.kept_before && rules.entity(entity).deferred) || self.referents.may_hold(hash)
    }

    pub(super) fn may_hold_waiters(&self, hash: KeyHash) -> bool {
        self.waiters.may_hold(hash)
    }

    /// Notes that the event that asks right now needs this key from the state.
    pub(super) fn fetch(&mut self, entity: EntityId, hash: KeyHash, key: &Key) {
        self.wanted.push((entity, hash, key.clone()));
    }

    /// Sets an event aside until all that it needs has been fetched.
    pub(super) fn suspend(&mut self, what: Visit, effects: &mut Effects) {
        let wanted = std::mem::take(&mut self.wanted);
        let id = self.suspended.insert(Suspended { what, answers_left: wanted.len() });
        for (entity, hash, key) in wanted {
            let same_hash = self.fetching.entry((entity, hash)).or_default();
            match same_hash.iter_mut().find(|fetch| fetch.key == key) {
                Some(fetch) => fetch.suspended.push(id),
                None => {
                    same_hash.push(Fetch { key: key.clone(), suspended: vec![id] });
                    self.asked += 1;
                    effects.queries.push(Query::Referent { entity, hash, key });
                }
            }
        }
    }

    /// Who goes on now that a key has been fetched.
    fn resume(&mut self, entity: EntityId, hash: KeyHash, key: &Key) -> Vec<Visit> {
        let Some(same_hash) = self.fetching.get_mut(&(entity, hash)) else { return Vec::new() };
        let Some(at) = same_hash.iter().position(|fetch| fetch.key == *key) else { return Vec::new() };
        let fetch = same_hash.swap_remove(at);
        if same_hash.is_empty() {
            self.fetching.remove(&(entity, hash));
        }
        let mut ready = Vec::new();
        for id in fetch.suspended {
            let Some(suspended) = self.suspended.get_mut(id) else { continue };
            suspended.answers_left -= 1;
            if suspended.answers_left == 0 {
                ready.push(self.suspended.remove(id).what);
            }
        }
        ready
    }

    /// Begins to wake events in the state.
    pub(super) fn wake(&mut self, entity: EntityId, hash: KeyHash, key: &Key, referent: &Event) {
        let drain = Drain { entity, hash, key: key.clone(), referent: referent.clone(), after: None, noted: false };
        self.drains.push(drain);
    }

    /// Remembers in the state that events there are still being woken: nobody else would wake them after a crash.
    fn note_drains(&mut self) {
        for drain in self.drains.iter_mut().filter(|drain| !drain.noted) {
            let mut value = Vec::new();
            codec::put_event(&drain.referent, &mut value);
            self.changes.batch.put(Stored::Meta, &drain_row(drain), &value);
            drain.noted = true;
        }
    }

    /// Asks for a waiting event that is to be given what it claimed.
    pub(super) fn fetch_waiter(&mut self, claim: Box<Claim>, referent: Event, effects: &mut Effects) {
        self.asked += 1;
        effects.queries.push(Query::Waiter { claim, referent });
    }

    /// Asks for the next page of all that is being fetched in pages.
    pub(super) fn fetch_pages(&mut self, effects: &mut Effects) {
        for drain in std::mem::take(&mut self.drains) {
            self.asked += 1;
            effects.queries.push(Query::Waiters(drain));
        }
        if let Some(pass) = self.due_pass.take() {
            self.asked += 1;
            effects.queries.push(Query::Due(pass));
        }
        if let Some(from) = self.all_from.take() {
            self.asked += 1;
            effects.queries.push(Query::All { from });
        }
    }

    /// Begins to fetch the events whose deadline has passed, if there are any.
    pub(super) fn fetch_due(&mut self, until: Timestamp) {
        if !self.due_passes && self.next_due.is_some_and(|due| due <= until) {
            self.due_passes = true;
            // From now on it is the earliest of what is moved out behind the pass.
            self.next_due = None;
            self.due_pass = Some(DuePass { since: self.due_from, until, from: Vec::new(), next: None });
        }
    }

    /// Goes on with a pass over the deadlines, or ends it.
    fn passed(&mut self, pass: DuePass) {
        if !pass.from.is_empty() {
            self.due_pass = Some(pass);
            return;
        }
        self.due_passes = false;
        self.next_due = self.next_due.into_iter().chain(pass.next).min();
        self.due_from = self.next_due.unwrap_or(pass.until);
    }

    /// Asks for every event, from the first on.
    pub(super) fn fetch_all(&mut self) {
        self.all_from = Some(Vec::new());
    }

    /// Whether there are pages to ask for, at this time.
    pub(super) fn has_pages(&self, now: Timestamp, deadlines_fire: bool) -> bool {
        let due = deadlines_fire && !self.due_passes && self.next_due.is_some_and(|due| due <= now);
        due || self.due_pass.is_some() || !self.drains.is_empty() || self.all_from.is_some()
    }

    /// Whether an answer is outstanding.
    pub(super) fn is_fetching(&self) -> bool {
        self.asked > 0
    }

    pub(super) fn has_deadline(&self) -> bool {
        self.due_passes || self.next_due.is_some()
    }

    /// Notes that an event has ended: the log no longer holds it.
    pub(super) fn ended(&mut self, dependent: &Dependent) {
        if let Place::Log(epoch) = dependent.stored {
            self.removed.push(dependent.event.header.header.id);
            self.changes.obsolete.push(epoch);
        }
    }

    /// Notes that an event ended unresolved.
    pub(super) fn ended_unresolved(&mut self, rules: &Rules, dependent: &Dependent) {
        self.changes.note_unresolved(rules, dependent);
    }

    /// Writes a referent, or the tombstone of one, to the state with this epoch; it leaves that again after `until`.
    pub(super) fn keep(&mut self, until: Timestamp, entity: EntityId, hash: KeyHash, key: &Key, event: &Event) {
        let (mut row, mut value) = (Vec::new(), Vec::new());
        codec::put_key(entity, hash, key, &mut row);
        codec::put_event(event, &mut value);
        self.changes.batch.put_until(&row, &value, until.0);
    }

    /// Deletes a referent in the state with this epoch.
    pub(super) fn erase(&mut self, entity: EntityId, hash: KeyHash, key: &Key) {
        let mut row = Vec::new();
        codec::put_key(entity, hash, key, &mut row);
        self.changes.batch.delete(Stored::Referent, &row);
    }

    /// Whether events in the state are still being woken by a version.
    pub(super) fn is_draining(&self, version: EventId) -> bool {
        self.drains.iter().any(|drain| drain.referent.header.header.id == version)
    }

    /// Remembers in the state that a deleted referent is still being given to some.
    pub(super) fn note_hidden(&mut self, hidden: &mut Hidden) {
        let mut value = hidden.until.0.to_be_bytes().to_vec();
        codec::put_event(&hidden.event, &mut value);
        self.changes.batch.put(Stored::Meta, &hidden_row(hidden), &value);
        hidden.noted = true;
    }

    /// It has been given to all.
    pub(super) fn forget_hidden(&mut self, hidden: &Hidden) {
        self.changes.batch.delete(Stored::Meta, &hidden_row(hidden));
    }

    /// Moves a waiting event to a row of its own.
    fn move_out(&mut self, rules: &Rules, dependent: &Dependent, at: usize) {
        let Some(reference) = dependent.references.get(at) else { return };
        let (mut row, mut value) = (Vec::new(), Vec::new());
        codec::put_key(reference.entity, reference.hash, &reference.key, &mut row);
        codec::put_id(dependent.event.header.header.id, &mut row);
        codec::put_dependent(rules, dependent, &mut value);
        self.changes.batch.put(Stored::Waiting, &row, &value);
        if let Some(due) = deadline::next(dependent) {
            let mut deadline = Vec::new();
            codec::put_deadline_key(due, &row, &mut deadline);
            self.changes.batch.put(Stored::Deadline, &deadline, &[]);
            self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
            self.due_from = self.due_from.min(due);
        }
        self.waiters.add(reference.hash);
        self.ended(dependent);
        self.changes.waiting_in_state += 1;
        self.changes.waiting_moved += 1;
    }

    /// Takes an event out of the state, unless that was done in this epoch already.
    pub(super) fn move_in(&mut self, kept: Kept) -> Option<Box<Dependent>> {
        if !self.taken.insert(kept.dependent.event.header.header.id) {
            return None;
        }
        self.changes.delete_waiting(&kept.key, &kept.dependent);
        Some(kept.dependent)
    }
}

impl Engine {
    /// Goes on with what waited for an answer of the state.
    pub fn answer(&mut self, answer: Answer, effects: &mut Effects) {
        self.residency.asked -= 1;
        match answer {
            Answer::Referent { entity, hash, key, found } => {
                if self.table.entry(entity, hash, &key).is_none() {
                    match found {
                        Some(event) => self.table.put(entity, hash, &key, event, true),
                        None => self.table.know(entity, hash, &key),
                    }
                }
                self.work.extend(self.residency.resume(entity, hash, &key));
            }
            Answer::Waiters { mut drain, page, more } => {
                drain.after = page.last().map(|kept| kept.dependent.event.header.header.id);
                for kept in page {
                    let Some(dependent) = self.residency.move_in(kept) else { continue };
                    self.wake_one(dependent, drain.entity, drain.hash, &drain.key, &drain.referent);
                }
                if more {
                    self.residency.drains.push(drain);
                } else if drain.noted {
                    self.residency.changes.batch.delete(Stored::Meta, &drain_row(&drain));
                }
            }
            Answer::Waiter { claim, referent, kept } => {
                if let Some(kept) = kept {
                    self.take_fetched(&claim, &referent, kept);
                }
            }
            Answer::Due { pass, page, stale } => {
                for row in stale {
                    self.residency.changes.batch.delete(Stored::Deadline, &row);
                }
                self.residency.passed(pass);
                self.ask_kept_again(page);
            }
            Answer::All { page, next } => {
                self.residency.all_from = next;
                self.ask_kept_again(page);
            }
        }
        self.run(effects);
    }

    fn ask_kept_again(&mut self, page: Vec<Kept>) {
        for kept in page {
            let Some(mut dependent) = self.residency.move_in(kept) else { continue };
            dependent.judging = true;
            self.work.push_back(Visit::Dependent(dependent));
        }
    }

    /// Tells what waits in the state: the keys of this worker that are waited for, and the earliest deadline.
    pub fn restore_waiting(&mut self, waited_for: &[KeyHash], next_due: Option<Timestamp>) {
        let mine = waited_for.iter().filter(|hash| hash.owner(self.workers) == self.me);
        mine.for_each(|hash| self.residency.waiters.add(*hash));
        self.residency.next_due = next_due;
    }

    /// Goes on waking events in the state where an earlier run left off.
    pub fn restore_drain(&mut self, referent: Referent) {
        if let Some(key) = referent.event.header.header.key.clone() {
            self.residency.wake(referent.entity, referent.hash, &key, &referent.event);
            self.residency.drains.iter_mut().for_each(|drain| drain.noted = true);
        }
    }

    /// Events logged before `epoch` are written anew at the end of this one.
    pub fn rewrite_log_before(&mut self, epoch: Epoch) {
        if epoch > self.residency.rewritten_before {
            self.residency.rewritten_before = epoch;
            self.residency.rewrite_before = epoch;
        }
    }

    /// Takes back the empty batches of an epoch that has been committed, to fill them again: for changes, and for the log.
    pub fn recycle(&mut self, batch: Option<Batch>, logged: Option<Batch>) {
        let changes = &mut self.residency.changes;
        if let Some(batch) = batch.filter(|_| changes.batch.is_empty()) {
            changes.batch = batch;
        }
        if let Some(logged) = logged.filter(|_| changes.logged.is_empty()) {
            changes.logged = logged;
        }
    }
}

/// The row that says that a drain goes on. Where another version of its referent comes meanwhile, the two drains share it: each passes over all who wait
/// there, and whom its own version is not for asks for the other.
fn drain_row(drain: &Drain) -> Vec<u8> {
    let mut row = super::restore::DRAIN_PREFIX.to_vec();
    codec::put_key(drain.entity, drain.hash, &drain.key, &mut row);
    row
}

/// The row that says that a deleted referent is still being given to some: one for each version.
fn hidden_row(hidden: &Hidden) -> Vec<u8> {
    let header = &hidden.event.header.header;
    let mut row = super::restore::HIDDEN_PREFIX.to_vec();
    if let Some(key) = &header.key {
        codec::put_key(hidden.entity, hidden.hash, key, &mut row);
    }
    codec::put_id(header.id, &mut row);
    row
}
