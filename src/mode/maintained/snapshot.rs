//! Which events wait, and for what, out of a state alone: what follows from its rows, from scratch and without a dataflow. For those who look at a job from
//! outside.

use resolvent_state::{Batch, State};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::judge::waits_on;
use super::store::{self, StoredRow};
use super::{name, named};
use crate::dependency::Rules;
use crate::event::{Dependent, EntityId, EventId, Found, Key, Timestamp};
use crate::mode::restore::RestoreError;
use crate::mode::{Name, arrival};

/// The events of a state, and which of them have a result. Holds their positions, times and keys, and none of their own bytes.
#[derive(Debug, Default)]
pub struct Snapshot {
    here: Vec<Here>,
    by_id: FxHashMap<EventId, usize>,
    /// The version of each key, by the name that events refer to as it arrives.
    current: FxHashMap<Name, usize>,
}

/// An event that is here.
#[derive(Debug)]
struct Here {
    id: EventId,
    shard: u8,
    arrival: Timestamp,
    /// It is not there for events that arrive then or later.
    until: Timestamp,
    name: Option<Name>,
    is_open: bool,
    is_current: bool,
    is_provided: bool,
    is_settled: bool,
    has_result: bool,
    references: SmallVec<[Sought; 2]>,
}

/// A reference of an event that is here.
#[derive(Debug)]
struct Sought {
    name: Name,
    needs_resolved: bool,
    given_up: bool,
    found: Option<usize>,
}

impl Sought {
    fn is_missing(&self) -> bool {
        !self.given_up && self.found.is_none()
    }
}

impl Here {
    fn of(rules: &Rules, row: StoredRow) -> Here {
        let shard = row.shard(rules);
        let entry = row.into_entry();
        let event = entry.event();
        let references = entry.dependent.references.iter().map(|reference| {
            let resolved_of = rules.entity(reference.entity).resolved_of;
            Sought {
                name: named(resolved_of.unwrap_or(reference.entity), &reference.key),
                needs_resolved: resolved_of.is_some(),
                given_up: matches!(reference.found, Found::GivenUp),
                found: None,
            }
        });
        Here {
            id: event.header.header.id,
            shard,
            arrival: event.header.header.arrival,
            until: arrival::until(rules, event),
            name: name(rules, event),
            is_open: entry.is_open,
            is_current: entry.is_current,
            is_provided: entry.is_provided,
            is_settled: entry.is_settled,
            has_result: false,
            references: references.collect(),
        }
    }

    /// Whether those that need it resolved find it, if they arrived before it was forgotten.
    fn is_resolved(&self) -> bool {
        let is_whole = || self.references.iter().all(|sought| !sought.given_up);
        self.is_settled || (self.is_current && self.has_result && is_whole())
    }

    fn waits(&self) -> bool {
        self.is_open && !self.has_result
    }
}

impl Snapshot {
    /// Reads all rows of a state.
    ///
    /// # Errors
    ///
    /// The state does not answer, or holds something else than was written.
    pub fn read(state: &State, rules: &Rules) -> Result<Snapshot, RestoreError> {
        let mut snapshot = Snapshot::default();
        store::each(state, rules, |row| {
            let (at, here) = (snapshot.here.len(), Here::of(rules, row));
            snapshot.by_id.insert(here.id, at);
            let name = here.name.clone().filter(|_| here.is_current);
            snapshot.current.extend(name.map(|name| (name, at)));
            snapshot.here.push(here);
        })?;
        snapshot.resolve();
        Ok(snapshot)
    }

    /// The least fixed point: each event that gets its result has those looked at that need it resolved.
    fn resolve(&mut self) {
        let mut needing: FxHashMap<Name, Vec<usize>> = FxHashMap::default();
        for (at, here) in self.here.iter().enumerate().filter(|(_, here)| here.is_open) {
            for sought in here.references.iter().filter(|sought| sought.needs_resolved) {
                needing.entry(sought.name.clone()).or_default().push(at);
            }
        }
        let mut to_look_at: Vec<usize> = (0..self.here.len()).collect();
        while let Some(at) = to_look_at.pop() {
            if self.look(at) {
                let name = self.here.get(at).and_then(|here| here.name.as_ref());
                to_look_at.extend(name.and_then(|name| needing.get(name)).into_iter().flatten());
            }
        }
    }

    /// Lets an event take what is there. Returns whether that gives it a result that it did not have.
    fn look(&mut self, at: usize) -> bool {
        let Some(here) = self.here.get(at).filter(|here| here.waits()) else { return false };
        let found = here.references.iter().map(|sought| {
            let (at, referent) = self.version(&sought.name)?;
            let is_there = if sought.needs_resolved { referent.is_resolved() } else { referent.is_provided };
            (!sought.given_up && is_there && here.arrival < referent.until).then_some(at)
        });
        let found: SmallVec<[Option<usize>; 2]> = found.collect();
        let Some(here) = self.here.get_mut(at) else { return false };
        here.references.iter_mut().zip(found).for_each(|(sought, found)| sought.found = found);
        here.has_result = !here.references.iter().any(Sought::is_missing);
        here.has_result
    }

    fn version(&self, name: &Name) -> Option<(usize, &Here)> {
        let at = *self.current.get(name)?;
        Some((at, self.here.get(at)?))
    }

    /// Shows every event without a result. What it has found is [`Found::Kept`], what it lacks [`Found::Missing`]; what it waits on for after its deadline
    /// is overdue at `now`.
    ///
    /// # Errors
    ///
    /// The state does not answer, or holds something else than was written.
    pub fn each_waiting(
        &self,
        state: &State,
        rules: &Rules,
        now: Timestamp,
        mut see: impl FnMut(&Dependent),
    ) -> Result<(), RestoreError> {
        store::each(state, rules, |row| {
            let here = self.by_id.get(&row.id()).and_then(|at| self.here.get(*at)).filter(|here| here.waits());
            if let Some(here) = here {
                see(&shown(rules, here, row, now));
            }
        })
    }

    /// The event of a position if it waits, with the referents that it has found, and the key of its row.
    ///
    /// # Errors
    ///
    /// The state does not answer, or holds something else than was written.
    pub fn find_waiting(
        &self,
        state: &State,
        rules: &Rules,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<(Box<Dependent>, Vec<u8>)>, RestoreError> {
        let here = self.by_id.get(&id).and_then(|at| self.here.get(*at)).filter(|here| here.waits());
        let Some(here) = here else { return Ok(None) };
        let key = store::key_of(here.shard, id);
        let Some(row) = store::get(state, rules, &key)? else { return Ok(None) };
        let mut dependent = shown(rules, here, row, now);
        for (reference, sought) in dependent.references.iter_mut().zip(&here.references) {
            let Some(referent) = sought.found.and_then(|at| self.here.get(at)) else { continue };
            if let Some(row) = store::get(state, rules, &store::key_of(referent.shard, referent.id))? {
                let event = row.into_entry().event().clone();
                dependent.completed_at = dependent.completed_at.max(event.header.header.arrival);
                reference.found = Found::Present(event);
            }
        }
        Ok(Some((dependent, key)))
    }

    /// The version that an event finds which refers to a key now: its position and arrival. `entity` may be that of resolved events.
    pub fn find_referent(
        &self,
        rules: &Rules,
        entity: EntityId,
        key: &Key,
        now: Timestamp,
    ) -> Option<(EventId, Timestamp)> {
        let resolved_of = rules.entity(entity).resolved_of;
        let (_, here) = self.version(&named(resolved_of.unwrap_or(entity), key))?;
        let is_there = if resolved_of.is_some() { here.is_resolved() } else { here.is_provided };
        (is_there && now < here.until).then_some((here.id, here.arrival))
    }

    /// Changes the state as if the wait of an event had ended, which [`Snapshot::find_waiting`] found at `key`: where others may refer to it, it is still its
    /// key's version, and wants no result.
    ///
    /// # Errors
    ///
    /// The state does not answer, or holds something else than was written.
    pub fn end_waiting(state: &State, rules: &Rules, key: &[u8]) -> Result<Batch, RestoreError> {
        let mut batch = Batch::default();
        if let Some(row) = store::get(state, rules, key)? {
            let mut entry = row.into_entry();
            entry.is_open = false;
            if entry.is_provided && super::may_be_referred_to(rules, entry.event()) {
                store::put(rules, &entry, key, &mut Vec::new(), &mut batch);
            } else {
                store::delete(key, &mut batch);
            }
        }
        Ok(batch)
    }
}

/// A waiting event as it is shown.
fn shown(rules: &Rules, here: &Here, row: StoredRow, now: Timestamp) -> Box<Dependent> {
    let mut dependent = row.into_dependent();
    let stream = rules.stream(dependent.event.header.header.stream);
    for (reference, sought) in dependent.references.iter_mut().zip(&here.references) {
        if sought.found.is_some() {
            reference.found = Found::Kept;
        } else if sought.is_missing() {
            reference.found = Found::Missing;
            let rule = stream.depends_on.get(usize::from(reference.dependency));
            if reference.deadline <= now && rule.is_some_and(waits_on) {
                (reference.overdue, reference.deadline) = (true, Timestamp::MAX);
            }
        }
    }
    dependent
}
