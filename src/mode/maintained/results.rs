//! Results come back: who has one now, and what is told of it.

use std::hint::black_box;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::entry::with_found;
use super::table::Table;
use super::{Resolution, identity, is_replaced, name};
use crate::event::{Change, Dependent, Epoch, Event, EventId, ResultIdentity};
use crate::mode::{Name, Phase};

/// So many results are told between looks at what is needed next.
const AT_A_TIME: usize = 256;

/// Looks at what telling these results is about to need: in a loop that does nothing else the loads do not wait for each other.
fn preload(results: &[(&Resolution, bool)]) {
    let of = |event: &Event| event.header.header.arrival.0;
    let seen = results.iter().map(|(resolution, _)| {
        let found = resolution.found.iter().flatten().fold(0, |seen, version| seen ^ of(&version.event));
        found ^ of(&resolution.row.dependent.event)
    });
    black_box(seen.fold(0, |all, seen| all ^ seen));
}

impl Table {
    /// The results of an epoch, all of them at once: consolidated, and so in the order of the events' positions.
    pub(super) fn follow(&mut self, epoch: Epoch, results: Vec<(Resolution, isize)>) {
        let mut changes = Vec::new();
        // What is taken away comes before what is added in its place.
        for sign in [-1, 1] {
            for (resolution, _) in results.iter().filter(|(_, diff)| diff.signum() == sign) {
                let id = resolution.row.id;
                let added = sign > 0;
                if let Some(entry) = self.entries.get(&id).filter(|entry| entry.is_open) {
                    let found = added.then(|| Arc::clone(&resolution.found));
                    let has_result = if resolution.is_complete { added } else { entry.has_result };
                    self.change(id, |entry| (entry.found, entry.has_result) = (found, has_result));
                    self.note_wait(id, resolution.row.dependent.event.header.header.stream);
                    // It may have lost what it had when its wait was over.
                    self.touched.extend((!added).then_some(id));
                }
                if resolution.is_complete && (added || !self.standing.contains(&id)) {
                    changes.push((resolution, added));
                }
            }
        }
        if self.phase != Phase::Replay && !self.limits.compact {
            self.tell(epoch, &changes);
        }
    }

    fn tell(&mut self, epoch: Epoch, changes: &[(&Resolution, bool)]) {
        // Which identities are taken away and added again matters to nobody else.
        let added = changes.iter().filter(|(_, added)| *added && self.limits.upserts);
        let added = added.map(|(resolution, _)| &resolution.row.dependent.event);
        let of_key = |event: &Event| name(&self.rules, event).filter(|_| is_replaced(&self.rules, event));
        let keys: FxHashSet<Name> = added.clone().filter_map(of_key).collect();
        let ids: FxHashSet<EventId> = added.map(|event| event.header.header.id).collect();
        let again = |event: &Event| match of_key(event) {
            Some(name) => keys.contains(&name),
            None => ids.contains(&event.header.header.id),
        };
        for some in changes.chunks(AT_A_TIME) {
            preload(some);
            for (resolution, added) in some {
                let event = &resolution.row.dependent.event;
                let dependent = with_found(&resolution.row.dependent, &resolution.found);
                let identity = identity(&self.rules, event);
                let revised = self.limits.upserts && !added && again(event);
                self.effects.changes.push(Change { dependent, added: *added, epoch, identity, revised });
            }
        }
    }

    /// Tells the result of an event that refers to nothing, and that stands.
    pub(super) fn tell_at_once(&mut self, dependent: &Dependent) {
        let identity = identity(&self.rules, &dependent.event);
        let dependent = Box::new(dependent.clone());
        self.effects.changes.push(Change { dependent, added: true, epoch: self.epoch, identity, revised: false });
    }

    /// Tells the result of one event as one that is added.
    pub(super) fn tell_result(&mut self, id: EventId) {
        let Some(entry) = self.entries.get(&id) else { return };
        let found = entry.found.clone().unwrap_or_else(|| [].into());
        let identity: ResultIdentity = identity(&self.rules, entry.event());
        let dependent = with_found(&entry.dependent, &found);
        let change = Change { dependent, added: true, epoch: self.epoch, identity, revised: false };
        self.effects.changes.push(change);
    }

    /// Tells every result that there is.
    pub(super) fn tell_standing(&mut self) {
        let mut ids: Vec<EventId> =
            self.entries.iter().filter(|(_, e)| e.is_open && e.has_result).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.into_iter().for_each(|id| self.tell_result(id));
    }
}
