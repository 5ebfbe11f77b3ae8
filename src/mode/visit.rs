//! A dependent looks for its referents: it asks the shards of this worker, goes on to another's, waits at one that it lacks, or is judged.

use crate::event::{Dependent, EntityId, Event, EventHeader, Found, Key, KeyHash, Timestamp, WorkerIndex};

use super::arrival::is_forgotten;
use super::deadline::{self, Verdict};
use super::engine::{Engine, GRAPH, Phase};
use super::table::{Parked, WaiterId};
use super::{Effects, Message, Visit, codec, cycle, deletion};

impl Engine {
    /// Visits the shards here that the event has not asked, goes on to another worker's, or is judged once all have been asked.
    pub(super) fn advance(&mut self, mut dependent: Box<Dependent>, effects: &mut Effects) {
        loop {
            let Some(asked) = self.ask_here(&mut dependent) else {
                return self.residency.suspend(Visit::Dependent(dependent), effects);
            };
            if let Some(to) = asked.elsewhere {
                return effects.messages.push(Message { to, visit: Visit::Dependent(dependent) });
            }
            if dependent.missing().next().is_none() {
                return self.complete(dependent, effects);
            }
            match self.judge(&mut dependent) {
                Judged::Waits => return self.settle(dependent, asked.missing, effects),
                Judged::AskAgain => continue,
                Judged::Ends(Verdict::Drops(reason)) => return self.end_dropped(dependent, reason, effects),
                Judged::Ends(_) => return self.end_expired(dependent, effects),
            }
        }
    }

    /// Asks the shards of this worker for everything not asked yet. `None` where some answer has to be fetched from the state first.
    fn ask_here(&mut self, dependent: &mut Dependent) -> Option<Asked> {
        let mut asked = Asked { elsewhere: None, missing: None };
        let mut fetching = false;
        let EventHeader { id, arrival, .. } = dependent.event.header.header;
        for (at, reference) in dependent.references.iter_mut().enumerate() {
            if !matches!(reference.found, Found::Unknown | Found::Kept) {
                continue;
            }
            let owner = reference.hash.owner(self.workers);
            if owner != self.me {
                asked.elsewhere = Some(owner);
                continue;
            }
            match self.look_up(arrival, reference.entity, reference.hash, &reference.key) {
                Some(Some(event)) => {
                    dependent.completed_at = dependent.completed_at.max(event.header.header.arrival);
                    reference.found = Found::Present(event);
                    self.claims.withdraw_here(id, at, reference);
                }
                Some(None) => {
                    reference.found = Found::Missing;
                    asked.missing = Some(at);
                }
                None if self.residency.may_hold_referent(&self.rules, reference.entity, reference.hash) => {
                    self.residency.fetch(reference.entity, reference.hash, &reference.key);
                    fetching = true;
                }
                None => {
                    reference.found = Found::Missing;
                    asked.missing = Some(at);
                }
            }
        }
        if fetching { None } else { Some(asked) }
    }

    fn judge(&self, dependent: &mut Dependent) -> Judged {
        if !matches!(self.phase, Phase::Live | Phase::Ending) {
            return Judged::Waits;
        }
        let ending = self.phase == Phase::Ending;
        if !ending && deadline::next(dependent).is_none_or(|due| due > self.now) {
            return Judged::Waits;
        }
        if !dependent.judging {
            // What it lacked when it was parked may have come since: the rest is visited before it is judged.
            dependent.judging = true;
            ask_missing_again(dependent);
            return Judged::AskAgain;
        }
        dependent.judging = false;
        let verdict = match ending {
            true => deadline::judge_at_end(&self.rules, dependent),
            false => deadline::judge(&self.rules, dependent, self.now),
        };
        match verdict {
            Verdict::Waits => Judged::AskAgain,
            verdict => Judged::Ends(verdict),
        }
    }

    /// Parks an event that lacks something: at a reference that this worker was just asked for, or else at another, which is asked once more.
    fn settle(&mut self, mut dependent: Box<Dependent>, here: Option<usize>, effects: &mut Effects) {
        dependent.judging = false;
        let Some(at) = here.or_else(|| self.lacking_here(&mut dependent)) else {
            let again = dependent.references.iter_mut().find(|r| matches!(r.found, Found::Missing));
            match again {
                Some(reference) => {
                    reference.found = Found::Unknown;
                    let to = reference.hash.owner(self.workers);
                    self.send(to, Visit::Dependent(dependent), effects);
                }
                None => self.complete(dependent, effects),
            }
            return;
        };
        self.tell_graph(&dependent, effects);
        if let Some(reference) = dependent.references.get(at) {
            self.claims.withdraw_here(dependent.event.header.header.id, at, reference);
        }
        let claims = self.claims_of(&dependent, at);
        let (waiter, ticket) = self.park(dependent, Parked::At(u32::try_from(at).unwrap_or(u32::MAX)));
        self.send_claims(claims, waiter, ticket, effects);
    }

    /// A reference that this worker owns and lacks. What has come since the event last asked is taken on the way.
    fn lacking_here(&mut self, dependent: &mut Dependent) -> Option<usize> {
        let EventHeader { id, arrival, .. } = dependent.event.header.header;
        for (at, reference) in dependent.references.iter_mut().enumerate() {
            if !matches!(reference.found, Found::Missing) || reference.hash.owner(self.workers) != self.me {
                continue;
            }
            let (entity, hash, key) = (reference.entity, reference.hash, &reference.key);
            match self.look_up(arrival, entity, hash, key) {
                Some(Some(event)) => {
                    dependent.completed_at = dependent.completed_at.max(event.header.header.arrival);
                    reference.found = Found::Present(event);
                    self.claims.withdraw_here(id, at, reference);
                }
                Some(None) => return Some(at),
                None if self.residency.may_hold_referent(&self.rules, entity, hash) => {
                    // Known again once it is visited: leave it to a visit.
                    continue;
                }
                None => return Some(at),
            }
        }
        None
    }

    /// What memory knows of a referent, for a dependent that arrived at `arrival`: `Some(None)` where there is none, `None` where memory does not know.
    pub(super) fn look_up(
        &mut self,
        arrival: Timestamp,
        entity: EntityId,
        hash: KeyHash,
        key: &Key,
    ) -> Option<Option<Event>> {
        let entry = self.table.entry(entity, hash, key);
        let known = entry.map(|entry| entry.referent.clone());
        let is_there = |event: &Event| !deletion::deletes(event) && !is_forgotten(&self.rules, event, arrival);
        match known.map(|referent| referent.filter(is_there)) {
            Some(Some(event)) => Some(Some(event)),
            none => self.deletions.find(&self.rules, arrival, (entity, hash), key).map(Some).or(none),
        }
    }

    pub(super) fn park(&mut self, dependent: Box<Dependent>, parked: Parked) -> (WaiterId, u64) {
        let deferred = deadline::lacks_deferred(&self.rules, &dependent);
        let due = deadline::next(&dependent);
        let stored_bytes = codec::dependent_bytes(&self.rules, &dependent);
        let (waiter, ticket) = self.table.park(dependent, parked, deferred);
        if let Some(due) = due {
            self.deadlines.add(due, waiter, ticket);
        }
        self.note_unlogged(waiter, ticket, stored_bytes);
        (waiter, ticket)
    }

    pub(super) fn tell_graph(&mut self, dependent: &Dependent, effects: &mut Effects) {
        if let Some(link) = cycle::link(&self.rules, dependent) {
            self.send(GRAPH, Visit::Waits(Box::new((dependent.event.header.header.id, link))), effects);
        }
    }
}

/// What the shards of this worker answered.
struct Asked {
    /// A worker that has not been asked yet.
    elsewhere: Option<WorkerIndex>,
    /// A reference that was found missing here and now.
    missing: Option<usize>,
}

enum Judged {
    Waits,
    AskAgain,
    Ends(Verdict),
}

pub(super) fn ask_missing_again(dependent: &mut Dependent) {
    for reference in &mut dependent.references {
        if matches!(reference.found, Found::Missing) {
            reference.found = Found::Unknown;
        }
    }
}
