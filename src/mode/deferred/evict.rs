//! What leaves memory: referents that are no longer retained, and what is cold where memory is over its bounds.

use std::sync::Arc;

use crate::event::{EntityId, Key, KeyHash};

use super::epoch::LOOKED_AT;
use crate::mode::deletion;
use crate::mode::engine::{Engine, Phase};
use crate::mode::table::{Cold, Entry, Parked, WaiterId};

/// Forgets some of the referents that are no longer retained, and of the tombstones that hide nothing any more: all of them in a minute, whatever the
/// table's size.
pub(super) fn forget_old(engine: &mut Engine) {
    const ROUNDS: usize = 600;
    if engine.rules.entities().iter().all(|entity| !entity.retained && !entity.deletable) {
        return;
    }
    let steps = engine.table.buckets() / ROUNDS + 64;
    // Before deadlines fire, an event may be resolved late that waits no longer than its `wait`.
    let live = engine.phase == Phase::Live;
    let Engine { table, rules, deletions, now, .. } = engine;
    table.forget_old(steps, |entity, event| {
        (live || !deletion::deletes(event)) && deletions.kept_until(rules, entity, event) <= *now
    });
}

/// Packs events that were parked in this epoch or listed by the one before and wait still, where those that wait fill a quarter of their memory: what waits for longer than an epoch need not
/// be at hand. Referents do not count: in time they fill any memory, and the cold ones of them go first.
pub(super) fn pack(engine: &mut Engine, parked: &[(WaiterId, u64)]) {
    let mut value = std::mem::take(&mut engine.residency.packing);
    let (streaming, deferred) = (engine.settings.streaming_bytes / 4, engine.settings.deferred_bytes / 4);
    for parked in parked.chunks(LOOKED_AT) {
        let memory = engine.table.memory();
        let is_full =
            |of_deferred| if of_deferred { memory.cached_waiting > deferred } else { memory.waiting > streaming };
        if !is_full(true) && !is_full(false) {
            break;
        }
        engine.preload_waiting(parked.iter().map(|(waiter, _)| *waiter));
        for (waiter, ticket) in parked {
            if engine.table.waiter(*waiter).is_some_and(|w| w.ticket == *ticket && is_full(w.deferred)) {
                engine.table.pack(*waiter, &mut value);
            }
        }
    }
    value.clear();
    engine.residency.packing = value;
}

/// What leaves memory in a round over all buckets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Referents that were not looked at since the hand last passed.
    Cold,
    /// Events that wait for a key for which [`MANY`] do.
    Crowds,
    /// Whatever was not looked at since the hand last passed.
    Rest,
}

/// So many events that wait for one key are worth being written and fetched again: what it costs to fetch them, which happens at once, is shared by all of them.
/// Few in tests, so that small cases have them.
const MANY: usize = if cfg!(test) { 4 } else { 64 };

/// Moves what is needed least to the state until memory is within its bounds, or nothing of that kind is left.
///
/// The first round finds the referents that were not looked at since the last, which mostly are never needed again, and takes the look off the rest. If that is not
/// enough, all that is left is in use. To fetch a referent takes as long as to fetch all who wait for a key, of whom many fill more memory: these go next, and then
/// any referent. Events that wait with few others have to be written, and are each fetched on their own: they go last.
pub(super) fn evict(engine: &mut Engine) {
    for round in [Round::Cold, Round::Crowds, Round::Cold, Round::Rest] {
        go_round(engine, round);
    }
}

fn go_round(engine: &mut Engine, round: Round) {
    const STEPS: usize = 512;
    let mut steps_left = engine.table.buckets();
    // A sweep goes round once at most.
    let steps = STEPS.min(steps_left).max(1);
    let rules = Arc::clone(&engine.rules);
    while steps_left > 0 && goes_on(engine) {
        let over = over(engine);
        let leaves = |entry: &Entry, touched: bool| match (entry.waiters(), round) {
            (0, Round::Cold | Round::Rest) => !touched && over.takes(rules.entity(entry.entity).deferred),
            (0, Round::Crowds) | (_, Round::Cold) => false,
            (waiters, Round::Crowds) => waiters >= MANY,
            (_, Round::Rest) => !touched,
        };
        for cold in engine.table.sweep(steps, leaves) {
            if round != Round::Cold {
                move_out_waiters(engine, &cold);
            }
            if goes_on(engine) && over.takes(rules.entity(cold.entity).deferred) {
                move_out_referent(engine, cold.entity, cold.hash, &cold.key);
            }
        }
        steps_left = steps_left.saturating_sub(steps);
    }
}

/// Whether more is to leave: what is moved out is written with this epoch, so that where it is very much the rest waits for the next ones.
fn goes_on(engine: &Engine) -> bool {
    let bytes_max = engine.settings.changes_bytes.saturating_mul(2);
    over(engine).bytes() > 0 && engine.residency.changes.batch.bytes() <= bytes_max
}

/// By how many bytes each memory is over its bound.
#[derive(Clone, Copy)]
pub(super) struct Over {
    streaming: usize,
    deferred: usize,
}

impl Over {
    fn takes(self, deferred: bool) -> bool {
        if deferred { self.deferred > 0 } else { self.streaming > 0 }
    }

    pub(super) fn bytes(self) -> usize {
        self.streaming + self.deferred
    }
}

pub(super) fn over(engine: &Engine) -> Over {
    let memory = engine.memory();
    Over {
        streaming: memory.streaming().saturating_sub(engine.settings.streaming_bytes),
        deferred: memory.deferred().saturating_sub(engine.settings.deferred_bytes),
    }
}

fn move_out_waiters(engine: &mut Engine, cold: &Cold) {
    for waiter in engine.table.waiters_of(cold) {
        if !goes_on(engine) {
            return;
        }
        let over = over(engine);
        let Some(w) = engine.table.waiter(waiter).filter(|w| over.takes(w.deferred)) else { continue };
        let Parked::At(at) = w.parked else { continue };
        if let Some(dependent) = engine.table.take(waiter) {
            engine.residency.move_out(&engine.rules, &dependent, at as usize);
        }
    }
}

fn move_out_referent(engine: &mut Engine, entity: EntityId, hash: KeyHash, key: &Key) {
    let Some(entry) = engine.table.entry(entity, hash, key) else { return };
    let Some(event) = &entry.referent else { return engine.table.forget(entity, hash, key) };
    if entry.waiters() > 0 {
        // Who still waits here keeps the entry, which must not say then that there is nothing. They wait beside a tombstone, or what was forgotten.
        return;
    }
    if !entry.stored {
        let event = event.clone();
        let until = engine.deletions.kept_until(&engine.rules, entity, &event);
        engine.residency.keep(until, entity, hash, key, &event);
    }
    engine.residency.referents.add(hash);
    engine.residency.changes.referents_moved += 1;
    engine.table.forget(entity, hash, key);
}
