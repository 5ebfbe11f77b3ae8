//! What leaves memory: referents that are no longer retained, and what is cold where memory is over its bounds.

use std::sync::Arc;

use crate::event::{EntityId, Key, KeyHash};

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

/// Packs events that were parked in this epoch and wait still, where memory is half full: what waits for longer than an epoch need not be at hand.
pub(super) fn pack(engine: &mut Engine, parked: impl Iterator<Item = (WaiterId, u64)>) {
    let mut value = std::mem::take(&mut engine.residency.log_value);
    for (waiter, ticket) in parked {
        let full = over(engine, 2);
        if full.bytes() == 0 {
            break;
        }
        if engine.table.waiter(waiter).is_some_and(|w| w.ticket == ticket && full.takes(w.deferred)) {
            engine.table.pack(waiter, &mut value);
        }
    }
    value.clear();
    engine.residency.log_value = value;
}

/// Moves what is cold to the state until memory is within its bounds, or nothing cold is left.
pub(super) fn evict(engine: &mut Engine) {
    // The first round over all buckets finds what was not touched since the last; it takes the touch off the rest, which the second round then finds. An event
    // that waits has to be written and fetched again, and will be needed; a cold referent mostly never: events have their turn in the second round.
    for waiters_too in [false, true] {
        go_round(engine, waiters_too);
    }
}

fn go_round(engine: &mut Engine, waiters_too: bool) {
    const STEPS: usize = 512;
    let mut steps_left = engine.table.buckets();
    // A sweep goes round once at most.
    let steps = STEPS.min(steps_left).max(1);
    let rules = Arc::clone(&engine.rules);
    while steps_left > 0 && goes_on(engine) {
        let over = over(engine, 1);
        let is_cold = |entry: &Entry| match entry.waiters() {
            0 => over.takes(rules.entity(entry.entity).deferred),
            _ => waiters_too,
        };
        for cold in engine.table.sweep(steps, is_cold) {
            if waiters_too {
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
    over(engine, 1).bytes() > 0 && engine.residency.changes.batch.bytes() <= bytes_max
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

/// By how many bytes each memory is over its bound, or, with another `part` than 1, over that fraction of it.
pub(super) fn over(engine: &Engine, part: usize) -> Over {
    let memory = engine.memory();
    Over {
        streaming: memory.streaming().saturating_sub(engine.settings.streaming_bytes / part),
        deferred: memory.deferred().saturating_sub(engine.settings.deferred_bytes / part),
    }
}

fn move_out_waiters(engine: &mut Engine, cold: &Cold) {
    for waiter in engine.table.waiters_of(cold) {
        if !goes_on(engine) {
            return;
        }
        let over = over(engine, 1);
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
