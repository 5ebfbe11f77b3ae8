//! Maintained results from scratch: at each epoch, of all that ever came.
//!
//! Nothing is kept from one epoch to the next but the history, what its cut-offs were ([`maintained`](crate::mode::maintained)), and the results at the end of
//! the last epoch, which decide the next cut-offs; and for two epochs the waits that have ended, which a cycle may lead through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::versions::until;
use super::{Act, act, named};
use crate::dependency::{Dependency, Mode, OnExpiry, Rules, SecondExpiry, Updates};
use crate::event::{Dependent, DroppedReason, EntityId, EventId, ExpiredReason, Timestamp, is_tombstone};
use crate::mode::arrival::replaces;
use crate::mode::engine::EPOCHS_LATE;
use crate::mode::maintained::FORGET_GRACE;

/// For each reference of an event the position of what it has found; `None` where it was given up.
pub type FoundPositions = Vec<Option<EventId>>;

/// An event that ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// With a line, and with what it had found.
    Expired(EventId, ExpiredReason, FoundPositions),
    /// Without one.
    Dropped(EventId, DroppedReason),
}

/// Why an event is here no longer, though its key has no other version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Its result stands.
    Standing,
    /// It ended without one.
    Ended,
}

struct Record {
    dependent: Dependent,
    given_up: BTreeSet<usize>,
    left: Option<Left>,
    /// Whether another version has taken its place, or a deletion.
    replaced: bool,
}

/// A key of an entity; the key as JSON writes it.
type Name = (EntityId, String);

/// What an event without a result provides, where it is the version of its key, and the keys that it needs resolved.
#[derive(Clone)]
struct Wait {
    provides: Option<Name>,
    lacks: Vec<Name>,
}

/// What an event has found of each of its references.
type Findings = Vec<Option<usize>>;

/// The resolver. See the module's description.
pub struct FromScratch {
    rules: Arc<Rules>,
    now: Timestamp,
    /// When the epoch before began.
    before: Timestamp,
    history: Vec<Record>,
    /// At the end of the last epoch, by index.
    results: BTreeMap<usize, Findings>,
    partial: BTreeMap<usize, Findings>,
    /// Of events that left.
    standing: Vec<(EventId, FoundPositions)>,
    ended: Vec<Ended>,
    /// Epochs that have begun since the job was started.
    epoch: u64,
    /// The waits at the end of the last epoch, and those that had ended within two epochs before.
    waits: BTreeMap<usize, Wait>,
    /// Waits that have ended, and the epoch in which they did.
    over: BTreeMap<usize, (u64, Wait)>,
}

impl FromScratch {
    /// A resolver that has been told nothing.
    pub fn new(rules: Arc<Rules>) -> Self {
        FromScratch {
            rules,
            now: Timestamp(i64::MIN),
            before: Timestamp(i64::MIN),
            history: Vec::new(),
            results: BTreeMap::new(),
            partial: BTreeMap::new(),
            standing: Vec::new(),
            ended: Vec::new(),
            epoch: 0,
            waits: BTreeMap::new(),
            over: BTreeMap::new(),
        }
    }

    /// An epoch begins: what is over at `now` is cut off. Not before deadlines fire.
    pub fn begin(&mut self, now: Timestamp) {
        self.before = self.now;
        self.now = self.now.max(now);
        self.epoch += 1;
        self.look_who_waits(EPOCHS_LATE);
        for at in 0..self.history.len() {
            if self.is_here(at) {
                self.cut_off(at);
            }
        }
    }

    /// The job has stopped, and starts again: what happened before has been looked at in no epoch of this run.
    pub fn restart(&mut self) {
        self.now = Timestamp(i64::MIN);
        self.over.clear();
    }

    /// The input has ended, and every wait with it.
    pub fn end(&mut self) {
        self.look_who_waits(0);
        for at in 0..self.history.len() {
            if !self.is_here(at) || self.results.contains_key(&at) {
                continue;
            }
            let acts = self.missing(at).into_iter().filter_map(|reference| {
                let rule = self.rule(at, reference)?;
                Some((reference, if rule.wait.is_none() { Act::DeadLetter } else { act(rule, false) }))
            });
            let acts: Vec<(usize, Act)> = acts.collect();
            if acts.iter().any(|(_, act)| matches!(act, Act::DeadLetter | Act::Keep | Act::Defer(_))) {
                self.expire(at, ExpiredReason::EndOfInput);
            } else if acts.iter().any(|(_, act)| *act == Act::Drop) {
                self.drop_event(at);
            } else if let Some(record) = self.history.get_mut(at) {
                record.given_up.extend(acts.iter().map(|(reference, _)| *reference));
            }
        }
    }

    /// An event comes, in the order of arrival.
    pub fn arrive(&mut self, dependent: Dependent) {
        let header = &dependent.event.header.header;
        let name = self.rules.stream(header.stream).provides.zip(header.key.as_ref());
        let name = name.map(|(entity, key)| named(entity, key));
        let before = name.and_then(|name| self.current().get(&name).copied());
        let old = before.and_then(|before| self.history.get(before));
        let wins = old.is_none_or(|old| replaces(header, &old.dependent.event.header.header));
        let deletes = is_tombstone(&dependent.event);
        let (id, is_late) = (header.id, !wins && self.is_replaced(&dependent));
        if deletes {
            self.ended.push(Ended::Dropped(id, DroppedReason::Tombstone));
        } else if is_late {
            self.ended.push(Ended::Dropped(id, DroppedReason::Replaced));
        }
        if let Some(before) = before.filter(|_| wins) {
            self.replace(before);
        }
        self.history.push(Record { dependent, given_up: BTreeSet::new(), left: None, replaced: is_late });
    }

    /// Ends an epoch: every result that stands then, in the order of positions.
    pub fn settle(&mut self) -> Vec<(EventId, FoundPositions)> {
        (self.results, self.partial) = self.resolve();
        let open = self.results.iter().map(|(at, findings)| (self.id(*at), self.positions(findings)));
        let mut all: Vec<_> = open.chain(self.standing.iter().cloned()).collect();
        all.sort();
        all
    }

    /// What has ended without a result since this was last asked.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        let mut ended = std::mem::take(&mut self.ended);
        ended.sort();
        ended
    }

    /// The events without a result, in the order of positions, with what they have found.
    pub fn waiting(&self) -> Vec<(EventId, FoundPositions)> {
        let waiting = (0..self.history.len()).filter(|at| self.is_here(*at) && !self.results.contains_key(at));
        let found = |at: &usize| self.partial.get(at).map(|findings| self.positions(findings)).unwrap_or_default();
        let mut waiting: Vec<_> = waiting.map(|at| (self.id(at), found(&at))).collect();
        waiting.sort();
        waiting
    }

    /// The wait of an event is ended by hand, while the job is stopped.
    pub fn end_by_hand(&mut self, id: EventId) {
        if let Some(at) = (0..self.history.len()).find(|at| self.id(*at) == id) {
            self.leave(at, Left::Ended);
        }
    }

    // --- who is here ---

    fn is_replaced(&self, dependent: &Dependent) -> bool {
        let upkeep = self.rules.stream(dependent.event.header.header.stream).upkeep.as_ref();
        upkeep.is_some_and(|upkeep| upkeep.updates == Updates::Replace)
    }

    /// The current version of each key, as it came about.
    fn current(&self) -> BTreeMap<Name, usize> {
        let mut current: BTreeMap<Name, usize> = BTreeMap::new();
        for (at, record) in self.history.iter().enumerate() {
            let header = &record.dependent.event.header.header;
            let Some((entity, key)) = self.rules.stream(header.stream).provides.zip(header.key.as_ref()) else {
                continue;
            };
            let name = named(entity, key);
            let old = current.get(&name).and_then(|old| self.history.get(*old));
            if old.is_none_or(|old| replaces(header, &old.dependent.event.header.header)) {
                current.insert(name, at);
            }
        }
        current
    }

    fn replace(&mut self, at: usize) {
        let was_here = self.is_here(at);
        let Some(record) = self.history.get(at) else { return };
        if !self.is_replaced(&record.dependent) {
            return;
        }
        if was_here {
            self.ended.push(Ended::Dropped(self.id(at), DroppedReason::Replaced));
        }
        if let Some(record) = self.history.get_mut(at) {
            record.replaced = true;
        }
    }

    fn is_here(&self, at: usize) -> bool {
        let here =
            |record: &Record| record.left.is_none() && !record.replaced && !is_tombstone(&record.dependent.event);
        self.history.get(at).is_some_and(here)
    }

    fn id(&self, at: usize) -> EventId {
        self.history.get(at).map_or_else(
            || EventId { partition: crate::event::PartitionId(u32::MAX), offset: u64::MAX },
            |record| record.dependent.event.header.header.id,
        )
    }

    fn positions(&self, findings: &Findings) -> FoundPositions {
        findings.iter().map(|found| found.map(|at| self.id(at))).collect()
    }

    fn rule(&self, at: usize, reference: usize) -> Option<&Dependency> {
        let dependent = &self.history.get(at)?.dependent;
        let rules = &self.rules.stream(dependent.event.header.header.stream).depends_on;
        rules.get(usize::from(dependent.references.get(reference)?.dependency))
    }

    // --- the least fixed point ---

    /// The results of all that is here, and what those have found that have none.
    fn resolve(&self) -> (BTreeMap<usize, Findings>, BTreeMap<usize, Findings>) {
        let current = self.current();
        let mut results: BTreeMap<usize, Findings> = BTreeMap::new();
        loop {
            let (mut more, mut partial) = (BTreeMap::new(), BTreeMap::new());
            for (at, record) in self.history.iter().enumerate().filter(|(at, _)| self.is_here(*at)) {
                let references = record.dependent.references.iter().enumerate();
                let findings: Findings = references
                    .map(|(index, reference)| {
                        let found = self.find(&current, &results, record, reference.entity, &reference.key.to_string());
                        found.filter(|_| !record.given_up.contains(&index))
                    })
                    .collect();
                let is_complete = findings
                    .iter()
                    .enumerate()
                    .all(|(index, found)| found.is_some() || record.given_up.contains(&index));
                if is_complete {
                    more.insert(at, findings)
                } else {
                    partial.insert(at, findings)
                };
            }
            if more == results {
                return (results, partial);
            }
            results = more;
        }
    }

    fn find(
        &self,
        current: &BTreeMap<Name, usize>,
        results: &BTreeMap<usize, Findings>,
        of: &Record,
        entity: EntityId,
        key: &str,
    ) -> Option<usize> {
        let twin = self.rules.entity(entity).resolved_of;
        let at = *current.get(&(twin.unwrap_or(entity), key.to_owned()))?;
        let referent = self.history.get(at)?;
        let is_there = !is_tombstone(&referent.dependent.event)
            && of.dependent.event.header.header.arrival < until(&self.rules, &referent.dependent.event);
        let is_resolved = referent.left == Some(Left::Standing) || results.contains_key(&at);
        (is_there && (twin.is_none() || (is_resolved && referent.given_up.is_empty()))).then_some(at)
    }

    // --- who waits for whom ---

    /// Looks at all that wait, and at those whose waits ended in the last epochs, so many before this one.
    fn look_who_waits(&mut self, late: u64) {
        self.over.retain(|_, (ended, _)| *ended + late >= self.epoch);
        self.waits = self.over.iter().map(|(at, (_, wait))| (*at, wait.clone())).collect();
        let current = self.current();
        let waiting = (0..self.history.len()).filter(|at| self.is_here(*at) && !self.results.contains_key(at));
        let waits: Vec<(usize, Wait)> = waiting
            .filter_map(|at| {
                let record = self.history.get(at)?;
                let header = &record.dependent.event.header.header;
                let name = self.rules.stream(header.stream).provides.zip(header.key.as_ref());
                let name = name.map(|(entity, key)| named(entity, key));
                let provides = name.filter(|name| current.get(name) == Some(&at));
                Some((at, Wait { provides, lacks: self.needs(at) }))
            })
            .collect();
        self.waits.extend(waits);
    }

    /// The keys that an event lacks, and needs resolved. Not those that it has found: of such a key an earlier version may have ended unresolved not long ago.
    fn needs(&self, at: usize) -> Vec<Name> {
        let references = self.history.get(at).map_or(&[][..], |record| &record.dependent.references);
        let missing = self.missing(at).into_iter().filter_map(|index| references.get(index));
        missing.filter_map(|r| Some(named(self.rules.entity(r.entity).resolved_of?, &r.key))).collect()
    }

    /// Whether what is left of what an event needs leads back to it, through what waited when this epoch began.
    fn leads_back(&self, at: usize) -> bool {
        if !self.waits.contains_key(&at) {
            return false;
        }
        let (mut next, mut seen) = (self.needs(at), BTreeSet::new());
        while let Some(name) = next.pop() {
            for (other, wait) in self.waits.iter().filter(|(_, wait)| wait.provides.as_ref() == Some(&name)) {
                if *other == at {
                    return true;
                }
                if seen.insert(*other) {
                    next.extend(wait.lacks.iter().cloned());
                }
            }
        }
        false
    }

    // --- cut-offs ---

    /// References that have found nothing by the results of the last epoch and are not given up.
    fn missing(&self, at: usize) -> Vec<usize> {
        let Some(record) = self.history.get(at) else { return Vec::new() };
        let found = |index: usize| self.partial.get(&at).and_then(|findings| *findings.get(index)?).is_some();
        (0..record.dependent.references.len()).filter(|i| !record.given_up.contains(i) && !found(*i)).collect()
    }

    fn cut_off(&mut self, at: usize) {
        let Some(record) = self.history.get(at) else { return };
        let references = &record.dependent.references;
        if self.results.contains_key(&at) {
            let ends = |index: usize| self.rule(at, index).is_some_and(|rule| !matches!(end(rule), SecondExpiry::Keep));
            let over = |index: usize| references.get(index).is_some_and(|r| r.deadline <= self.now);
            let is_over = (0..references.len()).all(|i| record.given_up.contains(&i) || (ends(i) && over(i)));
            if (!references.is_empty() && is_over) || (references.is_empty() && self.is_forgotten(at)) {
                self.stand(at);
            }
            return;
        }
        let mut passed: Vec<(Timestamp, usize)> =
            self.missing(at).into_iter().filter_map(|i| Some((references.get(i)?.deadline, i))).collect();
        passed.retain(|(deadline, _)| *deadline <= self.now);
        passed.sort_unstable();
        for together in passed.chunk_by(|one, other| one.0 == other.0) {
            let ends: Vec<SecondExpiry> = together.iter().filter_map(|(_, i)| self.rule(at, *i)).map(end).collect();
            if ends.contains(&SecondExpiry::DeadLetter) {
                return self.expire(at, ExpiredReason::Deadline);
            }
            if ends.contains(&SecondExpiry::Drop) {
                return self.drop_event(at);
            }
            let given_up: Vec<usize> = together
                .iter()
                .zip(&ends)
                .filter(|(_, end)| **end == SecondExpiry::Partial)
                .map(|((_, i), _)| *i)
                .collect();
            if let Some(record) = self.history.get_mut(at) {
                record.given_up.extend(given_up);
            }
        }
    }

    fn stand(&mut self, at: usize) {
        let findings = self.results.get(&at).cloned().unwrap_or_default();
        self.standing.push((self.id(at), self.positions(&findings)));
        self.leave(at, Left::Standing);
    }

    fn expire(&mut self, at: usize, reason: ExpiredReason) {
        let findings = self.partial.get(&at).cloned().unwrap_or_default();
        let reason = if self.leads_back(at) { ExpiredReason::Cycle } else { reason };
        self.ended.push(Ended::Expired(self.id(at), reason, self.positions(&findings)));
        self.end_wait(at);
    }

    fn drop_event(&mut self, at: usize) {
        self.ended.push(Ended::Dropped(self.id(at), DroppedReason::Deadline));
        self.end_wait(at);
    }

    fn end_wait(&mut self, at: usize) {
        self.over.extend(self.waits.get(&at).map(|wait| (at, (self.epoch, wait.clone()))));
        self.leave(at, Left::Ended);
    }

    fn leave(&mut self, at: usize, how: Left) {
        if let Some(record) = self.history.get_mut(at) {
            record.left = Some(how);
        }
    }

    /// Whether an event is forgotten, also by those that came before its `retain` was over and may have waited for it.
    fn is_forgotten(&self, at: usize) -> bool {
        let Some(record) = self.history.get(at) else { return false };
        let header = &record.dependent.event.header.header;
        let stream = self.rules.stream(header.stream);
        let Some((retain, entity)) = stream.retain.zip(stream.provides) else { return false };
        if self.current().get(&named(entity, header.key.as_ref().unwrap_or(&crate::event::Key::Int(0)))) != Some(&at) {
            return false;
        }
        let names = |d: &Dependency| d.entity == entity || self.rules.entity(d.entity).resolved_of == Some(entity);
        let referring = self.rules.streams().iter().filter(|stream| stream.depends_on.iter().any(names));
        let waits = referring.flat_map(|stream| &stream.depends_on).filter(|d| d.mode != Mode::Independent);
        let longest = waits.map(|d| d.wait).max().flatten().unwrap_or(Duration::ZERO);
        header.arrival.after(retain).after(longest).after(FORGET_GRACE) <= self.before
    }
}

/// What the end of a wait does.
fn end(rule: &Dependency) -> SecondExpiry {
    match rule.on_expiry {
        OnExpiry::DeadLetter => SecondExpiry::DeadLetter,
        OnExpiry::Drop => SecondExpiry::Drop,
        OnExpiry::Partial => SecondExpiry::Partial,
        OnExpiry::Keep => SecondExpiry::Keep,
        OnExpiry::Defer { then, .. } => then,
    }
}
