//! The end of an epoch: what it has changed becomes one value for the state, and when that is due.

use super::log::{self, LogWriter};
use super::{Changes, evict};
use crate::event::{Epoch, Outcome, Stored};
use crate::mode::Effects;
use crate::mode::engine::{Engine, Phase};
use crate::mode::held::Held;
use crate::mode::listed::{List, Listed};
use crate::mode::table::{Unlogged, WaiterId};

/// Events on the list of those that are to be written before it is looked through for those that have left. Few in tests.
const PARKED_MIN: usize = if cfg!(test) { 4 } else { 4096 };

/// Where an event waits, and its ticket there.
type Place = (WaiterId, u64);

/// Events that are looked at before they are packed or written to the log: few enough to be in the caches still.
pub(super) const LOOKED_AT: usize = 32;

/// Ends an epoch: `accepted` notices, the log, what memory has no room for.
pub(in crate::mode) fn end_epoch(engine: &mut Engine, effects: &mut Effects) -> Changes {
    engine.forget_left();
    let parked = std::mem::take(&mut engine.residency.parked);
    for (waiter, ticket) in &parked {
        give_notice(engine, *waiter, *ticket, effects);
    }
    engine.settle_deletions();
    let to_list = to_list(engine, &parked);
    evict::pack(engine, &parked);
    // At the end of the input everything leaves: what moved behind the cursor that goes through the state would be left.
    if engine.phase != Phase::Ending {
        evict::evict(engine);
    }
    engine.residency.over_at_first = evict::over(engine).bytes();
    let listed_before = engine.table.listed().bytes;
    let parked = list(engine, parked, to_list);
    let mut log = LogWriter::new(engine, engine.table.unlogged().bytes + listed_before);
    for parked in parked.chunks(LOOKED_AT) {
        engine.preload_waiting(parked.iter().map(|(waiter, ..)| *waiter));
        for (waiter, ticket) in parked {
            log::write_to_log(engine, *waiter, Some(*ticket), &mut log);
        }
    }
    debug_assert_eq!(engine.table.unlogged(), Unlogged::default(), "whatever waits in memory is in the log, or listed");
    let before = std::mem::take(&mut engine.residency.rewrite_before);
    if before > Epoch(0) {
        let old = engine.table.waiters().filter(|(_, w)| matches!(w.held.stored(), Stored::Log(e) if e < before));
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
    (changes.log, changes.logged) = log.finish(&removed);
    changes
}

/// For each event that is to be written, what may be listed of it in place.
fn to_list(engine: &Engine, parked: &[Place]) -> Vec<Option<Listed>> {
    if !engine.residency.rereads || !engine.residency.goes_on {
        return Vec::new();
    }
    let mut listed = Vec::with_capacity(parked.len());
    for chunk in parked.chunks(LOOKED_AT) {
        engine.preload_heads(chunk.iter().map(|(waiter, ..)| *waiter));
        listed.extend(chunk.iter().map(|(waiter, _)| engine.table.waiter(*waiter)?.listed(&engine.rules)));
    }
    listed
}

/// Lists events that may be, unless they have left memory: they are written at the end of the next epoch, if they wait still. The others are returned.
fn list(engine: &mut Engine, parked: Vec<Place>, listed: Vec<Option<Listed>>) -> Vec<Place> {
    if listed.is_empty() {
        return parked;
    }
    let (mut list, mut others) = (List::new(&engine.rules), Vec::new());
    for (place, listed) in parked.into_iter().zip(listed) {
        let (waiter, ticket) = place;
        match listed.filter(|_| engine.table.waiter(waiter).is_some_and(|w| w.ticket == ticket)) {
            Some(event) => {
                engine.table.set_listed(waiter);
                engine.residency.parked.push(place);
                list.events.push(event);
            }
            None => others.push(place),
        }
    }
    engine.residency.changes.listed = list.to_value();
    others
}

/// Whether an epoch's changes, and what it has put into memory beyond its bounds, have reached the limit at which it should end. Both begin at nothing with each
/// epoch, so that every epoch gets something done.
pub(in crate::mode) fn is_full(engine: &Engine) -> bool {
    let residency = &engine.residency;
    let over = evict::over(engine).bytes().saturating_sub(residency.over_at_first);
    residency.changes.batch.bytes() + engine.table.unlogged().bytes + over >= engine.settings.changes_bytes
}

impl Engine {
    /// Tells whether more epochs follow: what the last one leaves is to be had without the records.
    pub fn goes_on(&mut self, goes_on: bool) {
        self.residency.goes_on = goes_on;
    }

    /// Notes that an event that waits is to be written to the log at the end of this epoch, unless it has left by then.
    pub(in crate::mode) fn note_unlogged(&mut self, waiter: WaiterId, ticket: u64, stored_bytes: usize) {
        if !self.table.set_unlogged(waiter, stored_bytes) {
            // It is on the list already.
            return;
        }
        self.residency.parked.push((waiter, ticket));
        // At least as many go as stay: however long the epoch is, the list is as long as there are events that wait.
        let wait = self.table.unlogged().events + self.table.listed().events;
        if self.residency.parked.len() > 2 * wait + PARKED_MIN {
            self.forget_left();
        }
    }

    /// Takes events that have left again off the list of those that are still to be written.
    fn forget_left(&mut self) {
        let Engine { residency, table, .. } = self;
        residency.parked.retain(|(waiter, ticket)| table.waiter(*waiter).is_some_and(|w| w.ticket == *ticket));
    }
}

/// Gives the `accepted` notice of an event, if it is due.
fn give_notice(engine: &mut Engine, waiter: WaiterId, ticket: u64, effects: &mut Effects) {
    let Some(w) = engine.table.waiter_mut(waiter).filter(|w| w.ticket == ticket && w.deferred) else { return };
    // What was parked in this epoch is not packed yet, and what was listed before waits for nothing deferred.
    let Held::Whole(dependent) = &mut w.held else { return };
    if !dependent.accepted {
        dependent.accepted = true;
        if engine.settings.accepted {
            effects.outcomes.push(Outcome::Accepted(dependent.clone()));
        }
    }
}
