//! Memory is looked at before it is needed, for many messages at once.
//!
//! The tables are far larger than the caches, so that a message is handled mostly by waiting for memory: for its event, for the entry of the key, for
//! the referent, one after the other. The same loads in a loop that does nothing else do not wait for those of another message.

use std::hint::black_box;

use crate::event::{Dependent, Found};

use super::engine::Engine;
use super::held::look_at;
use super::table::{Chain, Waiter, WaiterId};
use super::{Message, Visit};

impl Engine {
    /// Looks at what handling these messages is about to need.
    pub fn preload(&self, messages: &[Message]) {
        let events = messages.iter().map(|message| match &message.visit {
            Visit::Dependent(dependent) => look_at(dependent),
            _ => 0,
        });
        let places = self.table.preload_places(messages.len());
        black_box(events.fold(places, |seen, event| seen ^ event));
        self.preload_all(messages.iter().map(|message| &message.visit));
    }

    /// Looks at what handling what was put to work from a place in the queue on is about to need.
    pub(super) fn preload_work(&self, first: usize) {
        if self.work.len() > first + 1 {
            self.preload_all(self.work.range(first..));
        }
    }

    fn preload_all<'a>(&self, visits: impl Iterator<Item = &'a Visit>) {
        let found = visits.map(|visit| match visit {
            Visit::Dependent(dependent) => self.preload_referents(dependent),
            Visit::Referent(referent) => {
                let key = referent.event.header.header.key.as_ref();
                key.map_or(0, |key| self.table.preload_waiting(referent.entity, referent.hash, key))
            }
            _ => 0,
        });
        black_box(found.fold(0, usize::wrapping_add));
    }

    /// Looks at events that wait and are about to be written down.
    pub(super) fn preload_waiting(&self, waiters: impl Iterator<Item = WaiterId>) {
        const CACHE_LINE: usize = 64;
        let look = |waiter: &Waiter| {
            let bytes = waiter.held.bytes().iter().step_by(CACHE_LINE);
            bytes.fold(waiter.held.look_at(), |seen, byte| seen ^ usize::from(*byte))
        };
        let seen = waiters.filter_map(|waiter| self.table.waiter(waiter)).map(look);
        black_box(seen.fold(0, |all, seen| all ^ seen));
    }

    /// Looks at events that wait and may be listed.
    pub(super) fn preload_heads(&self, waiters: impl Iterator<Item = WaiterId>) {
        let waiters = waiters.filter_map(|waiter| self.table.waiter(waiter)).filter(|waiter| !waiter.deferred);
        let seen = waiters.map(|waiter| waiter.held.look_at());
        black_box(seen.fold(0, |all, seen| all ^ seen));
    }

    /// Looks at events that are about to be woken.
    pub(super) fn preload_chain(&self, chain: &Chain, count: usize) {
        black_box(self.table.preload_chain(chain, count));
    }

    fn preload_referents(&self, dependent: &Dependent) -> usize {
        let asked = dependent.references.iter().filter(|r| matches!(r.found, Found::Unknown | Found::Missing));
        let asked = asked.filter(|r| r.hash.owner(self.workers) == self.me);
        asked.map(|r| self.table.preload(r.entity, r.hash, &r.key)).fold(0, usize::wrapping_add)
    }
}
