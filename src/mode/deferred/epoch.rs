//! The end of an epoch: what it has changed becomes one value for the state, and when that is due.

use super::log::{self, LogWriter};
use super::{Changes, evict};
use crate::event::{Epoch, Outcome, Stored as Place};
use crate::mode::Effects;
use crate::mode::engine::{Engine, Phase};
use crate::mode::held::Held;
use crate::mode::table::WaiterId;

/// Events that are looked at before they are written to the log: few enough to be in the caches still.
const LOGGED_TOGETHER: usize = 32;

/// Ends an epoch: `accepted` notices, the log, what memory has no room for.
pub(in crate::mode) fn end_epoch(engine: &mut Engine, effects: &mut Effects) -> Changes {
    let parked = std::mem::take(&mut engine.residency.parked);
    engine.residency.parked_bytes = 0;
    engine.residency.looked_at_bytes = 0;
    for (waiter, ticket, _) in &parked {
        give_notice(engine, *waiter, *ticket, effects);
    }
    engine.settle_deletions();
    evict::pack(engine, parked.iter().map(|(waiter, ticket, _)| (*waiter, *ticket)));
    // At the end of the input everything leaves: what moved behind the cursor that goes through the state would be left.
    if engine.phase != Phase::Ending {
        evict::evict(engine);
    }
    engine.residency.over_at_first = evict::over(engine, 1).bytes();
    let mut log = LogWriter::new(engine);
    for parked in parked.chunks(LOGGED_TOGETHER) {
        engine.preload_waiting(parked.iter().map(|(waiter, ..)| *waiter));
        for (waiter, ticket, _) in parked {
            log::write_to_log(engine, *waiter, Some(*ticket), &mut log);
        }
    }
    let before = std::mem::take(&mut engine.residency.rewrite_before);
    if before > Epoch(0) {
        let old = engine.table.waiters().filter(|(_, w)| matches!(w.held.stored(), Place::Log(e) if e < before));
        let old: Vec<WaiterId> = old.map(|(waiter, _)| waiter).collect();
        for waiter in old {
            log::write_to_log(engine, waiter, None, &mut log);
        }
    }
    evict::forget_old(engine);
    engine.residency.note_drains();
    engine.residency.taken.clear();
    let removed = std::mem::take(&mut engine.residency.removed);
    let mut changes = std::mem::take(&mut engine.residency.changes);
    (changes.log, engine.residency.log_value) = log.finish(&removed, &mut changes.logged);
    changes
}

/// Whether an epoch's changes, and what it has put into memory beyond its bounds, have reached the limit at which it should end. Both begin at nothing with each
/// epoch, so that every epoch gets something done.
pub(in crate::mode) fn is_full(engine: &mut Engine) -> bool {
    let limit = engine.settings.changes_bytes;
    let bytes = |engine: &Engine| {
        let residency = &engine.residency;
        let over = evict::over(engine, 1).bytes().saturating_sub(residency.over_at_first);
        residency.changes.batch.bytes() + residency.parked_bytes + over
    };
    // To look for those that have left takes as long as there are events: not again before an eighth more has come.
    if bytes(engine) < limit.max(engine.residency.looked_at_bytes) {
        return false;
    }
    forget_left(engine);
    let left = bytes(engine);
    // Whoever asks again once it is full is told so again.
    engine.residency.looked_at_bytes = if left < limit { left + limit / 8 } else { 0 };
    left >= limit
}

/// Takes events that were parked in this epoch, and have left again, off the list of those.
fn forget_left(engine: &mut Engine) {
    let Engine { residency, table, .. } = engine;
    residency.parked_bytes = 0;
    residency.parked.retain(|(waiter, ticket, bytes)| {
        let waits = table.waiter(*waiter).is_some_and(|w| w.ticket == *ticket);
        residency.parked_bytes += if waits { *bytes as usize } else { 0 };
        waits
    });
}

/// Gives the `accepted` notice of an event, if it is due.
fn give_notice(engine: &mut Engine, waiter: WaiterId, ticket: u64, effects: &mut Effects) {
    let Some(w) = engine.table.waiter_mut(waiter).filter(|w| w.ticket == ticket && w.deferred) else { return };
    // What was parked in this epoch is not packed yet.
    let Held::Whole(dependent) = &mut w.held else { return };
    if !dependent.accepted {
        dependent.accepted = true;
        if engine.settings.accepted {
            effects.outcomes.push(Outcome::Accepted(dependent.clone()));
        }
    }
}
