//! One worker's share of what is here: which events want a result, which version of a key is current, and what of the results is told.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use resolvent_state::Batch;
use rustc_hash::{FxHashMap, FxHashSet};

use super::entry::{Entry, Sums};
use super::judge::{self, PLACE_KEPT};
use super::oldest::Oldest;
use super::store;
use super::waits::{Note, Told};
use super::{Limits, Room, Row, Version, is_replaced, may_be_referred_to, name, twin};
use crate::dependency::Rules;
use crate::event::{
    Change, Dependent, DroppedReason, Epoch, Event, EventId, Found, Outcome, Reference, StreamId, Timestamp,
    is_tombstone,
};
use crate::mode::arrival::replaces;
use crate::mode::cycle::WaitGraph;
use crate::mode::{Message, Name, Phase, Visit};

/// So many rows are written between looks at what is needed next.
const AT_A_TIME: usize = 256;

/// What a table adds to the collections, or (-1) takes out of them.
#[derive(Debug, Default)]
pub(super) struct Updates {
    pub(super) rows: Vec<(Row, isize)>,
    pub(super) versions: Vec<((Name, Version), isize)>,
    pub(super) settled: Vec<((Name, Version), isize)>,
    /// Which of its events wait, and which of those waits have ended, for the worker that keeps the graph of waits.
    pub(super) notes: Vec<(Note, isize)>,
}

/// What a table tells.
#[derive(Debug, Default)]
pub struct Effects {
    /// Results that are added or taken away.
    pub changes: Vec<Change>,
    /// Events that ended without a result, and have a line.
    pub expired: Vec<Outcome>,
    /// Events that ended, and have none.
    pub dropped: Vec<(StreamId, DroppedReason)>,
}

/// See the module's description.
#[derive(Debug)]
pub struct Table {
    pub(super) rules: Arc<Rules>,
    pub(super) limits: Limits,
    /// By entity: how long it is looked for at most by those that may still have it; `None` is for ever.
    pub(super) longest_waits: Vec<Option<Duration>>,
    pub(super) epoch: Epoch,
    pub(super) phase: Phase,
    pub(super) now: Timestamp,
    pub(super) entries: FxHashMap<EventId, Entry>,
    current: FxHashMap<Name, EventId>,
    /// Deadlines, and the times at which versions are forgotten.
    pub(super) due: BTreeSet<(Timestamp, EventId)>,
    /// Versions whose time has come.
    pub(super) to_forget: Vec<EventId>,
    /// When all that was due was last looked at.
    pub(super) passed: Timestamp,
    /// Whose result stands since this epoch: it leaves the collections and is not taken away.
    pub(super) standing: FxHashSet<EventId>,
    /// Keys of which a place is kept since this epoch.
    places: Vec<Name>,
    /// Changed in this epoch: whether the state has it, and in which shard.
    changed: FxHashMap<EventId, (bool, u8)>,
    changed_bytes: usize,
    pub(super) updates: Updates,
    pub(super) effects: Effects,
    pub(super) sums: Sums,
    pub(super) oldest: Oldest,
    /// Those that came, lost something that they had found, or gave something up in this epoch.
    pub(super) touched: Vec<EventId>,
    pub(super) told: Told,
    /// Of the events of all workers, where this is the one that keeps it.
    pub(super) graph: WaitGraph,
    /// Waiting events that the state was told of.
    told_waiting: i64,
    batch: Batch,
    /// At the end of the last epoch.
    pub(super) room: Room,
    is_loaded: bool,
}

impl Table {
    /// A table with what an earlier run left of this worker's share.
    pub fn new(rules: Arc<Rules>, limits: Limits, rows: Vec<super::StoredRow>) -> Table {
        let (longest_waits, told) = (judge::longest_waits(&rules), Told::new(&rules));
        let mut table = Table {
            rules,
            limits,
            longest_waits,
            epoch: Epoch(0),
            phase: Phase::Replay,
            now: Timestamp::default(),
            entries: FxHashMap::default(),
            current: FxHashMap::default(),
            due: BTreeSet::new(),
            to_forget: Vec::new(),
            passed: Timestamp(i64::MIN),
            standing: FxHashSet::default(),
            places: Vec::new(),
            changed: FxHashMap::default(),
            changed_bytes: 0,
            updates: Updates::default(),
            effects: Effects::default(),
            sums: Sums::default(),
            oldest: Oldest::default(),
            touched: Vec::new(),
            told,
            graph: WaitGraph::default(),
            told_waiting: 0,
            batch: Batch::default(),
            room: Room::Free,
            is_loaded: false,
        };
        for row in rows {
            let mut entry = row.into_entry();
            entry.is_stored = true;
            table.add(entry);
        }
        table
    }

    /// Begins an epoch, unless it has begun.
    pub fn begin(&mut self, epoch: Epoch, phase: Phase) {
        (self.epoch, self.phase) = (epoch, phase);
    }

    /// Whether so much has changed, or come, that the epoch should end. In an epoch that began without room nothing more comes.
    pub fn is_full(&self) -> bool {
        let is_over = self.room == Room::Free && self.memory().streaming() > self.limits.memory_bytes;
        self.changed_bytes >= self.limits.changes_bytes || is_over
    }

    /// Time passes, before anything else in an epoch.
    pub fn tick(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        if !std::mem::replace(&mut self.is_loaded, true) {
            self.bring_back();
        }
        self.tell_waits();
        match self.phase {
            Phase::Replay | Phase::CatchUp => {}
            Phase::Live => self.pass(),
            Phase::Ending => self.end_waits(),
            Phase::Closing => self.tell_standing(),
        }
    }

    /// Puts what an earlier run left into the collections.
    fn bring_back(&mut self) {
        let ids: Vec<EventId> = self.entries.keys().copied().collect();
        for id in ids {
            let Some(entry) = self.entries.get(&id) else { continue };
            let (is_open, is_provided, is_settled) = (entry.is_open, entry.is_provided, entry.is_settled);
            let row = Row::new(&self.rules, &entry.dependent, entry.is_current);
            let event = entry.event().clone();
            self.updates.rows.extend(is_open.then_some((row, 1)));
            if is_provided {
                self.put_version(&event, 1);
            }
            if is_settled {
                self.put_settled(&event, 1);
            }
            self.touched.push(id);
            self.schedule(id, Timestamp(i64::MIN));
        }
    }

    // --- events come ---

    /// Looks at what the arrival of these events is about to need: the versions that they replace. In loops that do nothing else the loads do not wait for each
    /// other.
    pub(super) fn preload(&self, messages: &[Message]) {
        let replaced = messages.iter().filter_map(|message| match &message.visit {
            Visit::Dependent(dependent) => {
                let header = &dependent.event.header.header;
                let name = name(&self.rules, &dependent.event)?;
                self.current.get(&name).copied().or_else(|| self.entries.contains_key(&header.id).then_some(header.id))
            }
            _ => None,
        });
        let ids: Vec<EventId> = replaced.collect();
        self.preload_events(ids.into_iter());
    }

    /// Looks at these events, in loops of which each needs what the one before has seen.
    fn preload_events(&self, ids: impl Iterator<Item = EventId>) {
        let entries: Vec<&Entry> = ids.filter_map(|id| self.entries.get(&id)).collect();
        let held = entries.iter().fold(0, |seen, entry| seen ^ entry.dependent.references.len());
        let seen = entries.iter().fold(0, |seen, entry| seen ^ entry.event().header.header.arrival.0);
        black_box((held, seen));
    }

    /// An event comes.
    pub fn arrive(&mut self, dependent: Box<Dependent>) {
        let header = &dependent.event.header.header;
        let stream = header.stream;
        let deletes = is_tombstone(&dependent.event);
        let name = name(&self.rules, &dependent.event);
        let before = name.as_ref().and_then(|name| self.entries.get(self.current.get(name)?));
        let wins = before.is_none_or(|before| replaces(header, &before.event().header.header));
        if deletes {
            self.effects.dropped.push((stream, DroppedReason::Tombstone));
        }
        let Some(name) = name else {
            // A deletion without a key deletes nothing.
            if !deletes {
                self.open(dependent, false);
            }
            return;
        };
        if !wins {
            // An earlier version that came late.
            if !deletes && is_replaced(&self.rules, &dependent.event) {
                self.effects.dropped.push((stream, DroppedReason::Replaced));
            } else if !deletes {
                self.open(dependent, false);
            }
            return;
        }
        self.replace(&name);
        if deletes {
            self.keep_place(Arc::from(dependent), name);
        } else {
            self.open(dependent, true);
        }
    }

    /// The current version of a key, if there is one, is that no longer.
    fn replace(&mut self, name: &Name) {
        let Some(id) = self.current.remove(name) else { return };
        let Some(entry) = self.entries.get(&id) else { return };
        let (is_open, event) = (entry.is_open, entry.event().clone());
        self.forget(id);
        if is_open && is_replaced(&self.rules, &event) {
            self.effects.dropped.push((event.header.header.stream, DroppedReason::Replaced));
            self.close(id);
        } else if is_open {
            // It stays, and its result: only for those that need it resolved it is gone.
            self.change_row(id, |entry| entry.is_current = false);
            self.stand_if_final(id);
        } else {
            self.remove(id);
        }
    }

    /// An event is here from now on.
    fn open(&mut self, dependent: Box<Dependent>, is_current: bool) {
        let event = dependent.event.clone();
        let is_referred_to = is_current && may_be_referred_to(&self.rules, &event);
        if dependent.references.is_empty() && !is_referred_to && !is_replaced(&self.rules, &event) {
            // Nothing can ever revise it, and nobody needs it.
            let dependent: Arc<Dependent> = Arc::from(dependent);
            self.tell_at_once(&dependent);
            if let Some(name) = name(&self.rules, &event).filter(|_| is_current) {
                self.keep_place(dependent, name);
            }
            return;
        }
        let dependent: Arc<Dependent> = Arc::from(dependent);
        let id = event.header.header.id;
        let mut entry = Entry::new(dependent);
        (entry.is_open, entry.is_current, entry.is_provided) = (true, is_current, is_current);
        // Without references it is resolved at once, whatever comes.
        let is_resolved = entry.dependent.references.is_empty() && twin(&self.rules, &event).is_some();
        entry.is_settled = is_current && is_resolved;
        let (is_settled, row) = (entry.is_settled, Row::new(&self.rules, &entry.dependent, is_current));
        self.add(entry);
        self.updates.rows.push((row, 1));
        if is_current {
            self.put_version(&event, 1);
        }
        if is_settled {
            self.put_settled(&event, 1);
        }
        self.touched.push(id);
        self.schedule(id, Timestamp(i64::MIN));
    }

    /// Remembers of what is not here itself that it is the latest version of its key, for what may still come that is earlier.
    fn keep_place(&mut self, dependent: Arc<Dependent>, name: Name) {
        let mut entry = Entry::new(dependent);
        entry.is_current = true;
        self.add(entry);
        self.places.push(name);
    }

    // --- entries ---

    pub(super) fn get(&self, id: EventId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = EventId> {
        self.entries.keys().copied()
    }

    fn add(&mut self, entry: Entry) {
        let id = entry.event().header.header.id;
        let name = if entry.is_current { name(&self.rules, entry.event()) } else { None };
        self.current.extend(name.map(|name| (name, id)));
        self.sums.add(&entry);
        let (is_stored, stream) = (entry.is_stored, entry.event().header.header.stream);
        self.note_wait(id, stream);
        self.entries.insert(id, entry);
        if !is_stored {
            self.mark(id);
        }
    }

    pub(super) fn remove(&mut self, id: EventId) {
        self.mark(id);
        let Some(entry) = self.entries.remove(&id) else { return };
        self.note_wait(id, entry.event().header.header.stream);
        self.sums.take(&entry);
        if let Some(name) = name(&self.rules, entry.event()).filter(|name| self.current.get(name) == Some(&id)) {
            self.current.remove(&name);
        }
    }

    /// Changes an entry, and with it the sums.
    pub(super) fn change(&mut self, id: EventId, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let waited = entry.waits();
        self.sums.take(entry);
        change(entry);
        self.sums.add(entry);
        let (waits, stream) = (entry.waits(), entry.event().header.header.stream);
        if waited != waits {
            self.note_wait(id, stream);
        }
    }

    /// Changes what the row of an event says.
    pub(super) fn change_row(&mut self, id: EventId, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get(&id) else { return };
        let before = Row::new(&self.rules, &entry.dependent, entry.is_current);
        self.mark(id);
        self.change(id, change);
        let Some(entry) = self.entries.get(&id) else { return };
        let stream = entry.event().header.header.stream;
        let after = Row::new(&self.rules, &entry.dependent, entry.is_current);
        if before != after && entry.is_open {
            self.updates.rows.extend([(before, -1), (after, 1)]);
        }
        self.note_wait(id, stream);
    }

    /// Notes that the state's row of an event has to be written.
    pub(super) fn mark(&mut self, id: EventId) {
        if let Some(entry) = self.entries.get(&id)
            && !self.changed.contains_key(&id)
        {
            self.changed_bytes += entry.event().slice.len() + 64;
            self.changed.insert(id, (entry.is_stored, store::shard(&self.rules, entry.event())));
        }
    }

    // --- the collections ---

    fn put_version(&mut self, event: &Event, diff: isize) {
        let named = name(&self.rules, event).filter(|name| self.rules.entity(name.entity).streaming);
        self.updates.versions.extend(named.map(|name| ((name, Version::of(&self.rules, event)), diff)));
    }

    pub(super) fn put_settled(&mut self, event: &Event, diff: isize) {
        self.updates.settled.extend(twin(&self.rules, event).map(|twin| (twin, diff)));
    }

    /// Those who refer to an event find it no longer.
    pub(super) fn forget(&mut self, id: EventId) {
        let Some(entry) = self.entries.get(&id) else { return };
        let (event, is_provided, is_settled) = (entry.event().clone(), entry.is_provided, entry.is_settled);
        if is_provided {
            self.put_version(&event, -1);
        }
        if is_settled {
            self.put_settled(&event, -1);
        }
        self.mark(id);
        self.change(id, |entry| (entry.is_provided, entry.is_settled) = (false, false));
    }

    /// An event wants no result any more. Unless others may refer to it, that is all of it.
    pub(super) fn close(&mut self, id: EventId) {
        let Some(entry) = self.entries.get(&id).filter(|entry| entry.is_open) else { return };
        let row = Row::new(&self.rules, &entry.dependent, entry.is_current);
        let event = entry.event().clone();
        self.updates.rows.push((row, -1));
        self.mark(id);
        self.change(id, |entry| (entry.is_open, entry.has_result, entry.found) = (false, false, None));
        if !may_be_referred_to(&self.rules, &event) {
            self.forget(id);
        }
        if self.entries.get(&id).is_some_and(|entry| !entry.is_provided) {
            self.remove(id);
        }
    }

    /// What the table has added and taken away since it was last asked.
    pub(super) fn take_updates(&mut self) -> Updates {
        self.updates.notes.extend(self.told.take_notes().into_iter().map(|note| (note, 1)));
        std::mem::take(&mut self.updates)
    }

    /// Whether only what stands in the end is told.
    pub(super) fn is_compact(&self) -> bool {
        self.limits.compact
    }

    /// What has to be told since this was last asked.
    pub fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    // --- an epoch ends ---

    /// Ends an epoch whose results have all come back: the changes of the state, and by how many more events wait.
    pub fn end_epoch(&mut self) -> (Batch, i64) {
        self.standing.clear();
        self.give_up_places();
        self.recheck();
        self.write_changed();
        self.changed_bytes = 0;
        let waiting = i64::try_from(self.sums.waiting).unwrap_or(i64::MAX);
        // What an earlier run left is known to wait once it is all back.
        let more = if self.phase == Phase::Replay { 0 } else { waiting - self.told_waiting };
        self.told_waiting = waiting;
        (std::mem::take(&mut self.batch), more)
    }

    /// Writes what has changed, in the order of its keys, which costs the state less.
    fn write_changed(&mut self) {
        let mut changed: Vec<(u8, EventId, bool)> =
            self.changed.drain().map(|(id, (was_stored, shard))| (shard, id, was_stored)).collect();
        changed.sort_unstable();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for some in changed.chunks(AT_A_TIME) {
            self.preload_events(some.iter().map(|(_, id, _)| *id));
            for (shard, id, was_stored) in some {
                store::key(*shard, *id, &mut key);
                match self.entries.get_mut(id) {
                    Some(entry) => {
                        store::put(&self.rules, entry, &key, &mut value, &mut self.batch);
                        entry.is_stored = true;
                    }
                    None if *was_stored => store::delete(&key, &mut self.batch),
                    None => {}
                }
            }
        }
    }

    /// A place is kept where something may still come that is earlier: to the end of the epoch, whose blocks are read side by side, and where times decide, for
    /// a day.
    fn give_up_places(&mut self) {
        for name in std::mem::take(&mut self.places) {
            let Some(id) = self.current.get(&name).copied() else { continue };
            let Some(entry) = self.entries.get(&id).filter(|entry| entry.is_place()) else { continue };
            match entry.event().header.header.time {
                Some(_) => _ = self.due.insert((self.now.after(PLACE_KEPT), id)),
                None => self.remove(id),
            }
        }
    }

    /// Remembers those without a result, and has those looked at whose waits were over before this epoch made something of them.
    fn recheck(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            let Some(entry) = self.entries.get(&id).filter(|entry| entry.is_open) else { continue };
            if entry.waits() {
                self.oldest.add(entry.event().header.header.arrival, id);
            }
            let is_over = |r: &Reference| r.deadline <= self.now || matches!(r.found, Found::GivenUp);
            if entry.dependent.references.iter().any(is_over) {
                self.due.insert((self.now, id));
            }
        }
    }

    /// Takes a batch that has been committed back, to fill it again.
    pub fn recycle(&mut self, batch: Batch) {
        if self.batch.is_empty() {
            self.batch = batch;
        }
    }
}
