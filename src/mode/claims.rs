//! What an event lacks besides the referent that it waits at.
//!
//! A waiting event is in one place, so the shards of the other referents that it lacks do not know of it. That costs nothing where a referent that came
//! is still there when the event asks again. Where `retain` may have forgotten it by then, a tombstone may have deleted it, or where the graph of waiting events must hear that it came,
//! the event leaves a claim at its shard, and is given the referent when it comes.

use std::collections::btree_map::IntoValues;
use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;

use crate::dependency::Rules;
use crate::event::{Dependent, EntityId, Event, EventId, Found, KeyHash, Reference};

use super::deferred::Kept;
use super::engine::{Engine, SLICE};
use super::table::WaiterId;
use super::{Claim, Effects, Name, Visit, Withdrawal, codec};

/// The claims on what a worker's shards lack.
#[derive(Debug)]
pub(super) struct Claims {
    /// By entity: whether its referents are claimed.
    claimed: Vec<bool>,
    waiting: FxHashMap<(EntityId, KeyHash), BTreeMap<(EventId, u32), Claim>>,
    bytes: usize,
    /// Referents that came, and the claims to which they are still to be given.
    coming: VecDeque<Coming>,
    /// Claims of events that waited in the state when an earlier run stopped. What they claim may have come since.
    restored: Vec<Claim>,
}

#[derive(Debug)]
struct Coming {
    entity: EntityId,
    hash: KeyHash,
    referent: Event,
    claims: IntoValues<(EventId, u32), Claim>,
}

impl Claims {
    pub(super) fn new(rules: &Rules) -> Self {
        Claims {
            claimed: claimed(rules),
            waiting: FxHashMap::default(),
            bytes: 0,
            coming: VecDeque::new(),
            restored: Vec::new(),
        }
    }

    /// Memory that the claims hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether some are to be dealt with in slices.
    pub(super) fn has_slices(&self) -> bool {
        !self.coming.is_empty() || !self.restored.is_empty()
    }

    /// Whether a version is still to be given to some, or may be found to be claimed.
    pub(super) fn is_giving(&self, version: EventId) -> bool {
        !self.restored.is_empty() || self.coming.iter().any(|coming| coming.referent.header.header.id == version)
    }

    /// Referents that are still to be given to some.
    pub(super) fn given(&self) -> impl Iterator<Item = (EntityId, KeyHash, &Event)> {
        self.coming.iter().map(|coming| (coming.entity, coming.hash, &coming.referent))
    }

    /// Takes back a claim of an event that waited in the state when an earlier run stopped.
    pub(super) fn restore(&mut self, claim: Claim) {
        self.restored.push(claim);
    }

    fn add(&mut self, claim: Claim) {
        let of_name = self.waiting.entry((claim.lacks.entity, claim.lacks.hash)).or_default();
        self.bytes += bytes(&claim);
        if let Some(old) = of_name.insert((claim.id, claim.reference), claim) {
            self.bytes -= bytes(&old);
        }
    }

    /// Takes back what an event claimed for one of its references, if it did.
    pub(super) fn withdraw(&mut self, id: EventId, reference: u32, entity: EntityId, hash: KeyHash) {
        let Some(of_name) = self.waiting.get_mut(&(entity, hash)) else { return };
        if let Some(claim) = of_name.remove(&(id, reference)) {
            self.bytes -= bytes(&claim);
        }
        if of_name.is_empty() {
            self.waiting.remove(&(entity, hash));
        }
    }

    /// [`Claims::withdraw`], for a reference whose shard is here.
    pub(super) fn withdraw_here(&mut self, id: EventId, at: usize, reference: &Reference) {
        if !self.waiting.is_empty() {
            self.withdraw(id, number(at), reference.entity, reference.hash);
        }
    }
}

/// By entity: whether what provides it may be forgotten or deleted, or may wait for those who wait for it.
pub(super) fn claimed(rules: &Rules) -> Vec<bool> {
    let mut claimed: Vec<bool> = rules.entities().iter().map(|entity| entity.deletable).collect();
    for stream in rules.streams() {
        let retained = stream.retain.is_some();
        for (entity, is) in [(stream.provides, retained), (stream.provides_resolved, retained || stream.cyclic)] {
            let slot = entity.filter(|_| is).and_then(|entity| claimed.get_mut(usize::from(entity.0)));
            slot.into_iter().for_each(|slot| *slot = true);
        }
    }
    claimed
}

/// What an event that waits at one of its references has to claim of the others. Its place in memory is not known yet.
pub(super) fn rest(claimed: &[bool], dependent: &Dependent, at: usize) -> Vec<Claim> {
    let Some(waits_at) = dependent.references.get(at).filter(|_| dependent.references.len() > 1) else {
        return Vec::new();
    };
    let header = &dependent.event.header.header;
    let same = |r: &Reference| r.hash == waits_at.hash && r.entity == waits_at.entity && r.key == waits_at.key;
    let lacks = dependent.references.iter().enumerate().filter(|(_, r)| is_missing(r) && is_claimed(claimed, r));
    let claims = lacks.filter(|(_, r)| !same(r)).map(|(at, r)| Claim {
        id: header.id,
        arrival: header.arrival,
        reference: number(at),
        lacks: Name::of(r),
        waits_at: Name::of(waits_at),
        slot: 0,
        ticket: 0,
    });
    claims.collect()
}

fn is_missing(reference: &Reference) -> bool {
    matches!(reference.found, Found::Missing | Found::Unknown)
}

fn is_claimed(claimed: &[bool], reference: &Reference) -> bool {
    claimed.get(usize::from(reference.entity.0)) == Some(&true)
}

fn bytes(claim: &Claim) -> usize {
    size_of::<((EventId, u32), Claim)>() + claim.lacks.key.heap_bytes() + claim.waits_at.key.heap_bytes()
}

/// An event has as many references as fit its record, which is far below 2³² bytes.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Engine {
    /// What is to be claimed for an event that is about to wait at one of its references.
    pub(super) fn claims_of(&self, dependent: &Dependent, at: usize) -> Vec<Claim> {
        rest(&self.claims.claimed, dependent, at)
    }

    /// Sends the claims of an event that has been parked.
    pub(super) fn send_claims(&mut self, claims: Vec<Claim>, waiter: WaiterId, ticket: u64, effects: &mut Effects) {
        for claim in claims {
            let to = claim.lacks.hash.owner(self.workers);
            self.send(to, Visit::Claim(Box::new(Claim { slot: waiter.slot(), ticket, ..claim })), effects);
        }
    }

    /// Takes back what an event that ends has claimed.
    pub(super) fn withdraw_claims(&mut self, dependent: &Dependent, effects: &mut Effects) {
        if dependent.references.len() < 2 {
            return;
        }
        let id = dependent.event.header.header.id;
        for (at, reference) in dependent.references.iter().enumerate() {
            if !matches!(reference.found, Found::Present(_)) && is_claimed(&self.claims.claimed, reference) {
                let (entity, hash) = (reference.entity, reference.hash);
                let visit = Visit::Withdraw(Box::new(Withdrawal { id, reference: number(at), entity, hash }));
                self.send(hash.owner(self.workers), visit, effects);
            }
        }
    }

    /// An event claims a referent, which may have come since the event asked.
    pub(super) fn claim(&mut self, claim: Box<Claim>, effects: &mut Effects) {
        let Name { entity, hash, key } = &claim.lacks;
        match self.look_up(claim.arrival, *entity, *hash, key) {
            Some(Some(referent)) => self.give(claim, referent, effects),
            None if claim.ticket == 0 && self.residency.may_hold_referent(&self.rules, *entity, *hash) => {
                self.residency.fetch(*entity, *hash, key);
                self.residency.suspend(Visit::Claim(claim), effects);
            }
            Some(None) | None => self.claims.add(*claim),
        }
    }

    fn give(&mut self, claim: Box<Claim>, referent: Event, effects: &mut Effects) {
        let to = claim.waits_at.hash.owner(self.workers);
        self.send(to, Visit::Claimed(claim, referent), effects);
    }

    /// A referent has come: those who claim it are given it, many of them in slices.
    pub(super) fn give_to_claims(&mut self, entity: EntityId, hash: KeyHash, referent: &Event, effects: &mut Effects) {
        if let Some(claims) = self.claims.waiting.remove(&(entity, hash)) {
            let (referent, claims) = (referent.clone(), claims.into_values());
            self.give_slice(Coming { entity, hash, referent, claims }, effects);
        }
    }

    fn give_slice(&mut self, mut coming: Coming, effects: &mut Effects) {
        for claim in coming.claims.by_ref().take(SLICE) {
            self.claims.bytes -= bytes(&claim);
            let is_it = coming.referent.header.header.key.as_ref() == Some(&claim.lacks.key);
            if is_it && self.is_for(claim.lacks.entity, claim.lacks.hash, &coming.referent, claim.arrival) {
                self.give(Box::new(claim), coming.referent.clone(), effects);
            } else {
                self.claims.add(claim);
            }
        }
        if coming.claims.len() > 0 {
            self.claims.coming.push_back(coming);
        }
    }

    /// Goes on with claims, up to `budget` of them. Returns what is left of it.
    pub(super) fn drain_claims(&mut self, mut budget: usize, effects: &mut Effects) -> usize {
        while budget > 0 {
            if let Some(claim) = self.claims.restored.pop() {
                self.claim(Box::new(claim), effects);
                budget -= 1;
            } else if let Some(coming) = self.claims.coming.pop_front() {
                self.give_slice(coming, effects);
                budget = budget.saturating_sub(SLICE);
            } else {
                break;
            }
            self.run(effects);
        }
        budget
    }

    /// What an event claimed has come: it takes it where it waits. One that has gone on from there asks, or claims, on its way.
    pub(super) fn take_claimed(&mut self, claim: Box<Claim>, referent: Event, effects: &mut Effects) {
        let waiter = WaiterId::at(claim.slot);
        let is_here = self.table.waiter(waiter).is_some_and(|w| w.ticket == claim.ticket);
        if !is_here {
            if self.residency.may_hold_waiters(claim.waits_at.hash) {
                self.residency.fetch_waiter(claim, referent, effects);
            }
        } else if self.table.lacks_referent(waiter) {
            if let Some(dependent) = self.table.take(waiter) {
                self.take_and_go_on(dependent, &claim.lacks, &referent);
            }
        } else if let Some(dependent) = self.table.whole_mut(waiter) {
            // It is being woken already, in slices.
            dependent.take(claim.lacks.entity, claim.lacks.hash, &claim.lacks.key, &referent);
            let stored_bytes = codec::dependent_bytes(&self.rules, dependent);
            self.note_unlogged(waiter, claim.ticket, stored_bytes);
        }
    }

    /// The same, for an event that has been fetched from the state.
    pub(super) fn take_fetched(&mut self, claim: &Claim, referent: &Event, kept: Kept) {
        if let Some(dependent) = self.residency.move_in(kept) {
            self.take_and_go_on(dependent, &claim.lacks, referent);
        }
    }

    fn take_and_go_on(&mut self, mut dependent: Box<Dependent>, name: &Name, referent: &Event) {
        dependent.take(name.entity, name.hash, &name.key, referent);
        self.work.push_back(Visit::Dependent(dependent));
    }
}
