//! The reference resolver: slow, obviously right, and told the same as the engines.
//!
//! It has one worker, no shards, no state and no laziness. What arrives is looked at at once, and whoever lacked it is looked at again, until nothing
//! more follows. Tests of the engines and the comparison of the modes hold their outcomes against what it says.
//!
//! Where the contract allows several answers, it says which ones. Everything that it is told between two calls of [`Reference::settle`] may have
//! happened in any order: so each referent that an event took is given as the set of versions that were current at some moment between its arrival and
//! its outcome.

pub mod maintained;
mod versions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::dependency::{Dependency, Mode, OnExpiry, Rules, SecondExpiry};
use crate::event::{
    Dependent, DroppedReason, EntityId, Event, EventId, ExpiredReason, Found, Key, Reference as Referring, Timestamp,
    is_tombstone,
};

use versions::{Era, Versions, include, moments, until};

/// A key of an entity; the key as JSON writes it, so that there is an order.
type Name = (EntityId, String);

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// Every reference was there, or was given up.
    Resolved,
    /// A wait ended.
    Expired(ExpiredReason),
    /// Counted, and no line written.
    Dropped(DroppedReason),
}

/// What an event may have for one of its references.
#[derive(Clone, Debug)]
pub enum Took {
    /// One of these versions.
    OneOf(Vec<Event>),
    /// It was not there when the event ended.
    Missing,
    /// It was given up (`partial`).
    GivenUp,
}

/// An event that has ended.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The event.
    pub event: Event,
    /// What became of it.
    pub fate: Fate,
    /// One for each of its references, in their order.
    pub took: Vec<Took>,
    /// Where its wait has ended: whether what it lacks leads back to it only over events that found or gave up something in this step, so that the reason
    /// is `cycle` or not, as that happened later or before.
    pub cycle_or_not: bool,
}

/// An event that has not ended, or has ended in this step.
struct Waiting {
    dependent: Dependent,
    since: u64,
    /// Its number among all arrivals: its place in its queue.
    number: u64,
    noticed: bool,
}

/// The resolver. See the module's description.
pub struct Reference {
    rules: Arc<Rules>,
    now: Timestamp,
    step: u64,
    arrivals: u64,
    versions: BTreeMap<Name, Versions>,
    /// Keys to which something came in this step.
    touched: BTreeSet<Name>,
    waiting: BTreeMap<EventId, Waiting>,
    lacking: BTreeMap<Name, BTreeSet<EventId>>,
    deadlines: BTreeSet<(Timestamp, EventId)>,
    queues: BTreeMap<Name, BTreeMap<u64, EventId>>,
    todo: VecDeque<EventId>,
    /// Ended in this step.
    ended: BTreeMap<EventId, (Waiting, Fate)>,
    /// Events and references of theirs that were found or given up in this step.
    closed: BTreeSet<(EventId, usize)>,
}

impl Reference {
    /// A resolver that has been told nothing.
    pub fn new(rules: Arc<Rules>) -> Self {
        Reference {
            rules,
            now: Timestamp(i64::MIN),
            step: 0,
            arrivals: 0,
            versions: BTreeMap::new(),
            touched: BTreeSet::new(),
            waiting: BTreeMap::new(),
            lacking: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            queues: BTreeMap::new(),
            todo: VecDeque::new(),
            ended: BTreeMap::new(),
            closed: BTreeSet::new(),
        }
    }

    /// Tells it a decoded event, which arrives at the time in its header.
    pub fn arrive(&mut self, dependent: Dependent) {
        let event = dependent.event.clone();
        let header = &event.header.header;
        self.now = self.now.max(header.arrival);
        self.arrivals += 1;
        let number = self.arrivals;
        if is_tombstone(&event) {
            let stream = self.rules.stream(header.stream);
            let deletes = [stream.provides, stream.provides_resolved];
            deletes.into_iter().for_each(|entity| self.provide(entity, &event));
            let waiting = Waiting { dependent, since: self.step, number, noticed: false };
            self.ended.insert(header.id, (waiting, Fate::Dropped(DroppedReason::Tombstone)));
            return self.run();
        }
        if let Some(queue) = self.queue(&dependent) {
            self.queues.entry(queue).or_default().insert(number, header.id);
        }
        for reference in &dependent.references {
            self.lacking.entry(name(reference)).or_default().insert(header.id);
            self.deadlines.insert((reference.deadline, header.id));
        }
        self.waiting.insert(header.id, Waiting { dependent, since: self.step, number, noticed: false });
        self.provide(self.rules.stream(header.stream).provides, &event);
        self.todo.push_back(header.id);
        self.run();
    }

    /// Tells it the time: every wait that ends until then ends, in the order of their deadlines.
    pub fn pass(&mut self, now: Timestamp) {
        while let Some((due, id)) = self.deadlines.first().copied().filter(|(due, _)| *due <= now) {
            self.deadlines.pop_first();
            self.now = self.now.max(due);
            self.judge(id, due);
            self.run();
        }
        self.now = self.now.max(now);
    }

    /// Tells it that the input has ended and every wait with it (`--until-end=expire`).
    pub fn end(&mut self) {
        let waits: Vec<EventId> =
            self.waiting.values().filter(|w| w.lacks().next().is_some()).map(Waiting::id).collect();
        for id in waits {
            let Some(waiting) = self.waiting.get(&id) else { continue };
            let acts = waiting.lacks().map(|at| match self.rule(waiting, at) {
                Some(rule) if rule.wait.is_some() => act(rule, waiting.is_overdue(at)),
                _ => Act::DeadLetter,
            });
            let acts: Vec<Act> = acts.collect();
            if acts.iter().any(|act| matches!(act, Act::DeadLetter | Act::Keep | Act::Defer(_))) {
                self.expire(id, ExpiredReason::EndOfInput);
            } else if acts.contains(&Act::Drop) {
                self.finish(id, Fate::Dropped(DroppedReason::Deadline));
            } else {
                self.give_up(id, |_| true);
            }
            self.run();
        }
    }

    /// Tells it that the job has stopped and started again: what was only in memory is read once more, in any order of the partitions.
    pub fn restart(&mut self) {
        for ((entity, _), versions) in &mut self.versions {
            if self.rules.entity(*entity).deferred {
                continue;
            }
            versions.arrived.clear();
            let all = versions.all.clone();
            let (_, after) = moments(&[], &all);
            versions.eras.push(Era { step: self.step, during: all, after });
        }
    }

    /// The events for which an `accepted` notice is due at the end of an epoch, if it ends now: they lack a deferred reference, and had no notice.
    pub fn notices(&mut self) -> Vec<EventId> {
        let rules = Arc::clone(&self.rules);
        let due = self.waiting.values_mut().filter(|w| {
            let stream = rules.stream(w.dependent.event.header.header.stream);
            let is_deferred = |at: usize| {
                let reference = w.dependent.references.get(at)?;
                let rule = stream.depends_on.get(usize::from(reference.dependency))?;
                let moved = reference.overdue && matches!(rule.on_expiry, OnExpiry::Defer { .. });
                Some(rule.mode == Mode::Deferred || moved)
            };
            !w.noticed && w.lacks().any(|at| is_deferred(at) == Some(true))
        });
        due.map(|w| {
            w.noticed = true;
            w.id()
        })
        .collect()
    }

    /// The events for which a notice may be given besides: a deferred reference of theirs may have been found missing before it came, and they still wait.
    pub fn notices_allowed(&self) -> impl Iterator<Item = EventId> {
        let waiting = self.waiting.values().filter(|w| {
            let stream = self.rules.stream(w.dependent.event.header.header.stream);
            stream
                .depends_on
                .iter()
                .any(|rule| rule.mode == Mode::Deferred || matches!(rule.on_expiry, OnExpiry::Defer { .. }))
        });
        waiting.map(Waiting::id)
    }

    /// Ends a step: what has ended in it, in the order of positions.
    pub fn settle(&mut self) -> Vec<Answered> {
        for name in std::mem::take(&mut self.touched) {
            let Some(versions) = self.versions.get_mut(&name) else { continue };
            let last = versions.eras.last().into_iter().flat_map(|era| &era.after);
            let before = last.filter(|event| is_tombstone(event) || self.now < until(&self.rules, event));
            let before: Vec<Event> = before.cloned().collect();
            let (during, after) = moments(&before, &std::mem::take(&mut versions.arrived));
            versions.eras.push(Era { step: self.step, during, after });
        }
        let expired = self.ended.iter().filter(|(_, (_, fate))| matches!(fate, Fate::Expired(_))).map(|(id, _)| *id);
        let either: BTreeSet<EventId> =
            expired.filter(|id| self.leads_back(*id, true) && !self.leads_back(*id, false)).collect();
        self.closed.clear();
        let answered = std::mem::take(&mut self.ended).into_values().map(|(waiting, fate)| {
            let cycle_or_not = either.contains(&waiting.id());
            let took = waiting.dependent.references.iter().map(|reference| match reference.found {
                Found::Present(_) => Took::OneOf(self.current_between(&name(reference), waiting.since)),
                Found::GivenUp => Took::GivenUp,
                Found::Missing | Found::Unknown | Found::Kept => Took::Missing,
            });
            Answered { took: took.collect(), event: waiting.dependent.event, fate, cycle_or_not }
        });
        let answered = answered.collect();
        self.step += 1;
        answered
    }

    /// The events that wait, in the order of their positions.
    pub fn waiting(&self) -> impl Iterator<Item = &Event> {
        self.waiting.values().map(|waiting| &waiting.dependent.event)
    }

    /// The last deadline that is still ahead.
    pub fn last_deadline(&self) -> Option<Timestamp> {
        let ahead =
            self.deadlines.iter().rev().filter(|(due, id)| *due < Timestamp::MAX && self.waiting.contains_key(id));
        ahead.map(|(due, _)| *due).next()
    }

    /// Every version that was current at some moment from the step `since` until now.
    fn current_between(&self, name: &Name, since: u64) -> Vec<Event> {
        let eras = self.versions.get(name).map_or(&[][..], |versions| &versions.eras);
        let mut all = Vec::new();
        if let Some(before) = eras.iter().rev().find(|era| era.step < since) {
            before.after.iter().for_each(|event| include(&mut all, event));
        }
        for era in eras.iter().filter(|era| era.step >= since) {
            era.during.iter().for_each(|event| include(&mut all, event));
        }
        all.retain(|event| !is_tombstone(event));
        all
    }

    // --- what follows ---

    fn run(&mut self) {
        while let Some(id) = self.todo.pop_front() {
            self.look_up(id);
            let Some(waiting) = self.waiting.get(&id) else { continue };
            if waiting.lacks().next().is_none() && self.is_first(waiting) {
                self.finish(id, Fate::Resolved);
            }
        }
    }

    /// Lets an event take what is there.
    fn look_up(&mut self, id: EventId) {
        let Some(mut waiting) = self.waiting.remove(&id) else { return };
        let arrival = waiting.dependent.event.header.header.arrival;
        for (at, reference) in waiting.dependent.references.iter_mut().enumerate().filter(|(_, r)| is_missing(r)) {
            let name = name(reference);
            match self.versions.get(&name).and_then(|versions| versions.find(&self.rules, arrival)) {
                Some(event) => {
                    reference.found = Found::Present(event);
                    self.closed.insert((id, at));
                    if let Some(ids) = self.lacking.get_mut(&name) {
                        ids.remove(&id);
                    }
                }
                None => reference.found = Found::Missing,
            }
        }
        self.waiting.insert(id, waiting);
    }

    fn provide(&mut self, entity: Option<EntityId>, event: &Event) {
        let header = &event.header.header;
        let (Some(entity), Some(key)) = (entity, &header.key) else { return };
        let name = named(entity, key);
        let versions = self.versions.entry(name.clone()).or_default();
        include(&mut versions.all, event);
        versions.arrived.push(event.clone());
        versions.take_in(&self.rules, event, self.now);
        // Whoever waits looks at once.
        self.todo.extend(self.lacking.get(&name).into_iter().flatten());
        self.touched.insert(name);
    }

    fn queue(&self, dependent: &Dependent) -> Option<Name> {
        let entity = self.rules.stream(dependent.event.header.header.stream).queue()?;
        dependent.order.as_ref().map(|order| named(entity, &order.key))
    }

    fn is_first(&self, waiting: &Waiting) -> bool {
        let Some(queue) = self.queue(&waiting.dependent).and_then(|queue| self.queues.get(&queue)) else { return true };
        queue.first_key_value().is_none_or(|(number, _)| *number == waiting.number)
    }

    fn finish(&mut self, id: EventId, fate: Fate) {
        let Some(waiting) = self.waiting.remove(&id) else { return };
        for reference in &waiting.dependent.references {
            if let Some(ids) = self.lacking.get_mut(&name(reference)) {
                ids.remove(&id);
            }
        }
        if let Some(places) = self.queue(&waiting.dependent).and_then(|queue| self.queues.get_mut(&queue)) {
            places.remove(&waiting.number);
            self.todo.extend(places.values().next());
        }
        let whole = waiting.dependent.references.iter().all(|r| matches!(r.found, Found::Present(_)));
        if fate == Fate::Resolved && whole {
            let event = waiting.dependent.event.clone();
            self.provide(self.rules.stream(event.header.header.stream).provides_resolved, &event);
        }
        self.ended.insert(id, (waiting, fate));
    }

    // --- waits end ---

    fn rule(&self, waiting: &Waiting, at: usize) -> Option<&Dependency> {
        let stream = self.rules.stream(waiting.dependent.event.header.header.stream);
        stream.depends_on.get(usize::from(waiting.dependent.references.get(at)?.dependency))
    }

    /// One deadline of an event has passed.
    fn judge(&mut self, id: EventId, due: Timestamp) {
        let Some(waiting) = self.waiting.get(&id) else { return };
        let passed: Vec<usize> = waiting
            .lacks()
            .filter(|at| waiting.dependent.references.get(*at).is_some_and(|r| r.deadline == due))
            .collect();
        let acts: Vec<(usize, Act)> = passed
            .into_iter()
            .filter_map(|at| Some((at, act(self.rule(waiting, at)?, waiting.is_overdue(at)))))
            .collect();
        if acts.iter().any(|(_, act)| *act == Act::DeadLetter) {
            return self.expire(id, ExpiredReason::Deadline);
        }
        if acts.iter().any(|(_, act)| *act == Act::Drop) {
            return self.finish(id, Fate::Dropped(DroppedReason::Deadline));
        }
        for (at, act) in acts {
            match act {
                Act::Partial => self.give_up(id, |reference| reference == at),
                Act::Keep => self.wait_on(id, at, Timestamp::MAX),
                Act::Defer(deadline) => self.wait_on(id, at, deadline.map_or(Timestamp::MAX, |wait| due.after(wait))),
                Act::DeadLetter | Act::Drop => {}
            }
        }
    }

    fn wait_on(&mut self, id: EventId, at: usize, until: Timestamp) {
        let reference = self.waiting.get_mut(&id).and_then(|w| w.dependent.references.get_mut(at));
        if let Some(reference) = reference {
            reference.overdue = true;
            reference.deadline = until;
            self.deadlines.insert((until, id));
        }
    }

    fn give_up(&mut self, id: EventId, which: impl Fn(usize) -> bool) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            let references = waiting.dependent.references.iter_mut().enumerate();
            for (at, reference) in references.filter(|(at, r)| is_missing(r) && which(*at)) {
                reference.found = Found::GivenUp;
                self.closed.insert((id, at));
            }
            self.todo.push_back(id);
        }
    }

    fn expire(&mut self, id: EventId, reason: ExpiredReason) {
        let reason = if self.leads_back(id, false) { ExpiredReason::Cycle } else { reason };
        self.finish(id, Fate::Expired(reason));
    }

    /// Whether what an event lacks leads back to it through events that wait, or have ceased to wait in this step. If `before`, what the others
    /// found or gave up in this step counts as missing.
    fn leads_back(&self, id: EventId, before: bool) -> bool {
        let ended =
            self.ended.values().filter(|(_, fate)| before || *fate != Fate::Resolved).map(|(waiting, _)| waiting);
        let mut providers: BTreeMap<Name, Vec<&Waiting>> = BTreeMap::new();
        for waiting in self.waiting.values().chain(ended) {
            let header = &waiting.dependent.event.header.header;
            let twin = self.rules.stream(header.stream).provides_resolved;
            if let (Some(twin), Some(key)) = (twin, &header.key) {
                providers.entry(named(twin, key)).or_default().push(waiting);
            }
        }
        let mut seen = BTreeSet::new();
        let start = self.waiting.get(&id).or_else(|| self.ended.get(&id).map(|(waiting, _)| waiting));
        let mut next: Vec<&Waiting> = start.into_iter().collect();
        while let Some(waiting) = next.pop() {
            let closed_now = |at| before && waiting.id() != id && self.closed.contains(&(waiting.id(), at));
            let references = waiting.dependent.references.iter().enumerate();
            let lacked = references.filter(|(at, r)| is_missing(r) || closed_now(*at)).map(|(_, r)| r);
            for provider in lacked.filter_map(|r| providers.get(&name(r))).flatten() {
                if provider.id() == id {
                    return true;
                }
                if seen.insert(provider.id()) {
                    next.push(provider);
                }
            }
        }
        false
    }
}

impl Waiting {
    fn id(&self) -> EventId {
        self.dependent.event.header.header.id
    }

    fn lacks(&self) -> impl Iterator<Item = usize> {
        self.dependent.references.iter().enumerate().filter(|(_, r)| is_missing(r)).map(|(at, _)| at)
    }

    fn is_overdue(&self, at: usize) -> bool {
        self.dependent.references.get(at).is_some_and(|r| r.overdue)
    }
}

/// What a passed deadline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    DeadLetter,
    Drop,
    Partial,
    Keep,
    Defer(Option<std::time::Duration>),
}

fn act(rule: &Dependency, overdue: bool) -> Act {
    match (rule.on_expiry, overdue) {
        (OnExpiry::DeadLetter, _) => Act::DeadLetter,
        (OnExpiry::Drop, _) => Act::Drop,
        (OnExpiry::Partial, _) => Act::Partial,
        (OnExpiry::Keep, _) => Act::Keep,
        (OnExpiry::Defer { then: SecondExpiry::Keep, .. }, false) => Act::Defer(None),
        (OnExpiry::Defer { wait, .. }, false) => Act::Defer(wait),
        (OnExpiry::Defer { then, .. }, true) => match then {
            SecondExpiry::DeadLetter => Act::DeadLetter,
            SecondExpiry::Drop => Act::Drop,
            SecondExpiry::Partial => Act::Partial,
            SecondExpiry::Keep => Act::Keep,
        },
    }
}

fn is_missing(reference: &Referring) -> bool {
    matches!(reference.found, Found::Missing | Found::Unknown)
}

fn name(reference: &Referring) -> Name {
    named(reference.entity, &reference.key)
}

fn named(entity: EntityId, key: &Key) -> Name {
    (entity, key.to_string())
}
