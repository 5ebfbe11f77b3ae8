//! What the passing of time does to what is here: waits end, results come to stand, versions are forgotten.

use std::sync::Arc;
use std::time::Duration;

use super::entry::{Entry, with_found};
use super::table::Table;
use crate::dependency::{Dependency, Mode, OnExpiry, Rules, SecondExpiry};
use crate::event::{DroppedReason, EntityId, Event, EventId, ExpiredReason, Found, Reference, Timestamp};

/// How long the place of a version is kept that is not here itself, such as a deletion, where event times decide which version is the later one.
pub(super) const PLACE_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// An event may come this much later to its worker than it was read, and still find what was there when it was read.
pub const FORGET_GRACE: Duration = Duration::from_secs(60);

/// What a wait that is over does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    /// It ends the event, with a line.
    Expire,
    /// It ends the event without one.
    Drop,
    /// The reference is given up.
    GiveUp,
    /// Nothing: the event waits on.
    WaitOn,
}

fn act(rule: &Dependency, is_ending: bool) -> Act {
    let waits_on = if is_ending { Act::Expire } else { Act::WaitOn };
    match rule.on_expiry {
        // At the end of the input what waits for ever ends, too.
        _ if rule.wait.is_none() => waits_on,
        OnExpiry::DeadLetter => Act::Expire,
        OnExpiry::Drop => Act::Drop,
        OnExpiry::Partial => Act::GiveUp,
        OnExpiry::Keep => waits_on,
        // A configuration has no second wait in the state here.
        OnExpiry::Defer { then, .. } => match then {
            SecondExpiry::DeadLetter => Act::Expire,
            SecondExpiry::Drop => Act::Drop,
            SecondExpiry::Partial => Act::GiveUp,
            SecondExpiry::Keep => waits_on,
        },
    }
}

/// Whether an event waits on for what it lacks of a dependency when a deadline has passed.
pub(super) fn waits_on(rule: &Dependency) -> bool {
    act(rule, false) == Act::WaitOn
}

fn rule<'r>(rules: &'r Rules, event: &Event, reference: &Reference) -> Option<&'r Dependency> {
    rules.stream(event.header.header.stream).depends_on.get(usize::from(reference.dependency))
}

/// By entity: how long after its arrival an event is here at most that refers to it, as the longest wait of its stream; `None` is for ever.
pub(super) fn longest_waits(rules: &Rules) -> Vec<Option<Duration>> {
    let looked_up = |dependency: &&Dependency| dependency.mode != Mode::Independent;
    let of_entity = |entity: EntityId| {
        let names = |dependency: &Dependency| {
            dependency.entity == entity || rules.entity(dependency.entity).resolved_of == Some(entity)
        };
        let referring = rules.streams().iter().filter(|s| s.depends_on.iter().filter(looked_up).any(names));
        let waits = referring.flat_map(|stream| stream.depends_on.iter().filter(looked_up)).map(|d| d.wait);
        waits.collect::<Option<Vec<Duration>>>().map(|waits| waits.into_iter().max().unwrap_or_default())
    };
    (0..rules.entities().len()).map(|at| of_entity(EntityId(u16::try_from(at).unwrap_or(u16::MAX)))).collect()
}

impl Table {
    /// When a version is forgotten, by those too that arrived before its `retain` was over.
    fn forgotten_at(&self, event: &Event) -> Option<Timestamp> {
        let stream = self.rules.stream(event.header.header.stream);
        let longest = self.longest_waits.get(usize::from(stream.provides?.0)).copied()??;
        stream.retain.map(|retain| event.header.header.arrival.after(retain).after(longest).after(FORGET_GRACE))
    }

    /// Sets the next times, after `after`, at which something may happen to an event.
    pub(super) fn schedule(&mut self, id: EventId, after: Timestamp) {
        let Some(entry) = self.get(id) else { return };
        if entry.is_place() {
            self.due.insert((entry.event().header.header.arrival.after(PLACE_KEPT), id));
            return;
        }
        let sought = entry.dependent.references.iter().filter(|reference| !matches!(reference.found, Found::GivenUp));
        let ahead = sought.map(|reference| reference.deadline).filter(|at| entry.is_open && *at > after);
        let deadline = ahead.min().unwrap_or(Timestamp::MAX);
        let forgotten = entry.is_provided.then(|| self.forgotten_at(entry.event())).flatten();
        let next = [deadline, forgotten.unwrap_or(Timestamp::MAX)];
        self.due.extend(next.into_iter().filter(|at| *at > after && *at < Timestamp::MAX).map(|at| (at, id)));
        self.change(id, |entry| entry.deadline = deadline);
    }

    /// Everything that is due happens. A version is forgotten no earlier than in the epoch after that in which the waits ended of those that have it: one
    /// that gave something up has its result only then, and time may have leapt.
    pub(super) fn pass(&mut self) {
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= self.now) {
            self.due.remove(&(at, id));
            self.look_at(id);
        }
        for id in std::mem::take(&mut self.to_forget) {
            let forgotten = self.get(id).filter(|entry| entry.is_provided).and_then(|e| self.forgotten_at(e.event()));
            match forgotten {
                Some(at) if at <= self.passed => {
                    self.forget(id);
                    self.leave_if_final(id);
                }
                Some(_) => _ = self.due.insert((self.now, id)),
                None => {}
            }
        }
        self.passed = self.now;
    }

    fn look_at(&mut self, id: EventId) {
        let Some(entry) = self.get(id) else { return };
        if entry.is_place() {
            return self.remove(id);
        }
        if entry.is_open {
            self.judge(id, self.now);
        }
        let forgotten = self.get(id).filter(|entry| entry.is_provided).and_then(|e| self.forgotten_at(e.event()));
        if forgotten.is_some_and(|at| at <= self.now) {
            self.to_forget.push(id);
        }
        self.schedule(id, self.now);
    }

    /// What nobody finds any more has no reason to be here unless it wants a result, or has one that can be revised.
    fn leave_if_final(&mut self, id: EventId) {
        if self.get(id).is_some_and(|entry| !entry.is_open) {
            self.remove(id);
        }
        self.stand_if_final(id);
    }

    /// The result of an event that nobody finds any more stands if it refers to nothing.
    pub(super) fn stand_if_final(&mut self, id: EventId) {
        let refers_to_nothing = |entry: &&Entry| entry.is_open && entry.dependent.references.is_empty();
        let Some(entry) = self.get(id).filter(refers_to_nothing) else { return };
        if !entry.has_result && !self.is_compact() {
            // It came in this epoch, and leaves before its result has come back.
            self.tell_result(id);
        }
        self.stand(id);
    }

    /// Ends the waits of an event that are over by `now`, in the order of their deadlines.
    fn judge(&mut self, id: EventId, now: Timestamp) {
        let Some(entry) = self.get(id) else { return };
        if entry.has_result {
            if self.is_over(entry, now) {
                self.stand(id);
            }
            return;
        }
        let mut passed: Vec<(Timestamp, usize, Act)> = missing(entry)
            .filter(|(_, reference)| reference.deadline <= now)
            .filter_map(|(at, r)| Some((r.deadline, at, act(rule(&self.rules, entry.event(), r)?, false))))
            .collect();
        passed.sort_unstable_by_key(|(deadline, ..)| *deadline);
        for together in passed.chunk_by(|one, other| one.0 == other.0) {
            let acts: Vec<(usize, Act)> = together.iter().map(|(_, at, act)| (*at, *act)).collect();
            self.carry_out(id, &acts, ExpiredReason::Deadline);
        }
    }

    fn carry_out(&mut self, id: EventId, acts: &[(usize, Act)], reason: ExpiredReason) {
        match acts.iter().map(|(_, act)| *act).min() {
            Some(Act::Expire) => self.expire(id, reason),
            Some(Act::Drop) => self.drop_event(id),
            Some(Act::GiveUp) => {
                let given_up = acts.iter().filter(|(_, act)| *act == Act::GiveUp).map(|(at, _)| *at);
                self.give_up(id, given_up);
            }
            Some(Act::WaitOn) | None => {}
        }
    }

    /// Whether an event waits for nothing any more, and its result is what it is.
    fn is_over(&self, entry: &Entry, now: Timestamp) -> bool {
        let references = &entry.dependent.references;
        let is_over = |reference: &Reference| {
            let ends = rule(&self.rules, entry.event(), reference).is_some_and(|rule| !waits_on(rule));
            matches!(reference.found, Found::GivenUp) || (ends && reference.deadline <= now)
        };
        !references.is_empty() && references.iter().all(is_over)
    }

    /// The result of an event stands from now on: the event leaves the collections, and nothing is taken away.
    fn stand(&mut self, id: EventId) {
        if self.is_compact() {
            self.tell_result(id);
        }
        let Some(entry) = self.get(id) else { return };
        let is_whole = entry.dependent.references.iter().all(|reference| !matches!(reference.found, Found::GivenUp));
        let event = entry.event().clone();
        // Who needs it resolved goes on to have it.
        if is_whole && entry.is_provided && !entry.is_settled && super::twin(&self.rules, &event).is_some() {
            self.put_settled(&event, 1);
            self.change(id, |entry| entry.is_settled = true);
        }
        self.standing.insert(id);
        self.close(id);
    }

    fn expire(&mut self, id: EventId, reason: ExpiredReason) {
        let Some(entry) = self.get(id).filter(|entry| entry.is_open) else { return };
        let found = entry.found.clone().unwrap_or_else(|| [].into());
        let dependent = with_found(&entry.dependent, &found);
        self.end_expired(dependent, reason);
        self.close(id);
    }

    fn drop_event(&mut self, id: EventId) {
        let Some(entry) = self.get(id).filter(|entry| entry.is_open) else { return };
        let stream = entry.event().header.header.stream;
        self.effects.dropped.push((stream, DroppedReason::Deadline));
        self.end_dropped(id);
        self.close(id);
    }

    fn give_up(&mut self, id: EventId, which: impl Iterator<Item = usize>) {
        let which: Vec<usize> = which.collect();
        self.touched.push(id);
        self.change_row(id, |entry| {
            let dependent = Arc::make_mut(&mut entry.dependent);
            for at in which {
                if let Some(reference) = dependent.references.get_mut(at) {
                    reference.found = Found::GivenUp;
                }
            }
        });
    }

    /// The input has ended, and every wait with it.
    pub(super) fn end_waits(&mut self) {
        let mut waiting: Vec<EventId> =
            self.ids().filter(|id| self.get(*id).is_some_and(|e| e.is_open && !e.has_result)).collect();
        waiting.sort_unstable();
        for id in waiting {
            let Some(entry) = self.get(id) else { continue };
            let acts: Vec<(usize, Act)> = missing(entry)
                .filter_map(|(at, reference)| Some((at, act(rule(&self.rules, entry.event(), reference)?, true))))
                .collect();
            self.carry_out(id, &acts, ExpiredReason::EndOfInput);
        }
    }
}

/// The references of an event that have found nothing and are not given up.
pub(super) fn missing(entry: &Entry) -> impl Iterator<Item = (usize, &Reference)> {
    let is_missing = |at: usize| entry.found.as_ref().is_none_or(|found| found.get(at).is_none_or(Option::is_none));
    let references = entry.dependent.references.iter().enumerate();
    references.filter(move |(at, reference)| !matches!(reference.found, Found::GivenUp) && is_missing(*at))
}
