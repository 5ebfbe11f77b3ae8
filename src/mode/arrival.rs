//! A referent comes: it takes its place among the versions of its key, and who waits for it goes on.

use crate::dependency::Rules;
use crate::event::{Dependent, EntityId, Event, EventHeader, EventId, Key, KeyHash, Timestamp};

use super::engine::{Engine, Phase, SLICE};
use super::table::Chain;
use super::{Effects, Referent, Visit, deletion};

/// Dependents that are being woken a slice at a time.
#[derive(Debug)]
pub(super) struct Drain {
    entity: EntityId,
    hash: KeyHash,
    key: Key,
    pub(super) chain: Chain,
    referent: Event,
}

impl Drain {
    /// What they are given.
    pub(super) fn given(&self) -> (EntityId, KeyHash, &Event) {
        (self.entity, self.hash, &self.referent)
    }

    /// The version that they are given.
    pub(super) fn version(&self) -> EventId {
        self.referent.header.header.id
    }
}

impl Engine {
    pub(super) fn arrive(&mut self, referent: Referent, effects: &mut Effects) {
        let Referent { entity, hash, event } = &referent;
        let Some(key) = event.header.header.key.clone() else { return };
        match self.table.entry(*entity, *hash, &key) {
            Some(entry) => {
                let old = entry.referent.as_ref().filter(|old| stays(&self.rules, old, event, self.now)).cloned();
                if let Some(old) = old {
                    if deletion::deletes(&old) {
                        self.arrive_hidden(&referent, &key, &old, effects);
                    }
                    return;
                }
            }
            None => {
                // Events are resolved in any order of their positions, and a lower one never replaces a higher one. What a tombstone deletes is still there
                // for those who arrived before it.
                let of = self.rules.entity(*entity);
                let compares = of.timed || of.resolved_of.is_some() || deletion::deletes(event);
                if compares && self.residency.may_hold_referent(&self.rules, *entity, *hash) {
                    self.residency.fetch(*entity, *hash, &key);
                    return self.residency.suspend(Visit::Referent(referent), effects);
                }
            }
        }
        if deletion::deletes(event) {
            return self.delete(referent, &key);
        }
        let kept = self.rules.entity(*entity).deferred;
        if kept {
            self.residency.keep(until(&self.rules, event), *entity, *hash, &key, event);
        }
        self.table.put(*entity, *hash, &key, event.clone(), kept);
        if self.phase != Phase::Replay {
            self.give_to_claims(*entity, *hash, event, effects);
            self.wake(*entity, *hash, &key, event);
        }
    }

    /// Wakes everybody who waits for a key: a few at once, more of them in slices, those in the state as they are fetched.
    pub(super) fn wake(&mut self, entity: EntityId, hash: KeyHash, key: &Key, referent: &Event) {
        if self.residency.may_hold_waiters(hash) {
            self.residency.wake(entity, hash, key, referent);
        }
        let mut chain = self.table.detach(entity, hash, key);
        if chain.len() > SLICE {
            self.drains.push_back(Drain { entity, hash, key: key.clone(), chain, referent: referent.clone() });
            return;
        }
        let first = self.work.len();
        self.preload_chain(&chain, SLICE);
        while let Some(dependent) = self.table.next_of(&mut chain) {
            self.wake_one(dependent, entity, hash, key, referent);
        }
        self.preload_work(first);
    }

    /// Gives an event the referent that it waited for, unless that was forgotten or deleted before the event came, and lets it go on: it takes what else is here,
    /// and parks at the first that is still missing.
    pub(super) fn wake_one(
        &mut self,
        mut dependent: Box<Dependent>,
        entity: EntityId,
        hash: KeyHash,
        key: &Key,
        referent: &Event,
    ) {
        if self.is_for(entity, hash, referent, dependent.event.header.header.arrival) {
            dependent.take(entity, hash, key, referent);
        }
        self.work.push_back(Visit::Dependent(dependent));
    }

    /// Goes on with what is done in slices: up to `budget` of the events whose wait has ended, and of the dependents of referents that many wait for,
    /// a slice of each referent in turn.
    pub fn drain(&mut self, mut budget: usize, effects: &mut Effects) {
        if self.phase != Phase::Replay {
            self.residency.fetch_pages(effects);
        }
        self.due_left = true;
        while budget > 0 {
            let Some(waiter) = self.next_due() else {
                self.due_left = false;
                break;
            };
            self.ask_again(waiter);
            self.run(effects);
            budget -= 1;
        }
        if self.phase != Phase::Replay {
            budget = self.drain_claims(budget, effects);
        }
        while budget > 0 {
            let Some(mut drain) = self.drains.pop_front() else { return };
            self.preload_chain(&drain.chain, SLICE.min(budget));
            for _ in 0..SLICE.min(budget) {
                let Some(dependent) = self.table.next_of(&mut drain.chain) else { break };
                self.wake_one(dependent, drain.entity, drain.hash, &drain.key, &drain.referent);
                budget -= 1;
            }
            self.preload_work(0);
            if !drain.chain.is_empty() {
                self.drains.push_back(drain);
            }
            self.run(effects);
        }
    }
}

/// When a referent is forgotten; [`Timestamp::MAX`] for never.
pub(super) fn until(rules: &Rules, event: &Event) -> Timestamp {
    let header = &event.header.header;
    rules.stream(header.stream).retain.map_or(Timestamp::MAX, |retain| header.arrival.after(retain))
}

/// Whether a referent is forgotten for those who arrive at `arrival`. Whoever arrived before may still take it, however late it comes to be resolved.
pub(super) fn is_forgotten(rules: &Rules, event: &Event, arrival: Timestamp) -> bool {
    until(rules, event) <= arrival
}

/// Whether the version of a referent that is there stays, now that another has come.
fn stays(rules: &Rules, old: &Event, new: &Event, now: Timestamp) -> bool {
    if deletion::deletes(old) {
        return !replaces(&new.header.header, &old.header.header);
    }
    if deletion::deletes(new) {
        return until(rules, old) > now && !replaces(&new.header.header, &old.header.header);
    }
    let (old_until, new_until) = (until(rules, old), until(rules, new));
    if new_until <= now {
        // It is resolved when it is forgotten already: only for those who arrived before that.
        return old_until >= new_until;
    }
    old_until > now && !replaces(&new.header.header, &old.header.header)
}

/// Whether a version that comes takes the place of another: within a partition the higher position does, across partitions the greater event time where
/// both have one, and otherwise the later arrival.
pub(super) fn replaces(new: &EventHeader, old: &EventHeader) -> bool {
    if new.id.partition == old.id.partition {
        return new.id.offset > old.id.offset;
    }
    match (new.time, old.time) {
        (Some(new_time), Some(old_time)) if new_time != old_time => new_time > old_time,
        _ => new.arrival >= old.arrival,
    }
}
