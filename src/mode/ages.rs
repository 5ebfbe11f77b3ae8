//! Since when events wait.

use std::collections::btree_map::{self, BTreeMap};

use crate::event::Timestamp;

/// How many events wait, by the second in which they arrived. A queue of arrivals would keep those that have left until their turn to be the first comes: to
/// clear up after a million of them that leave at once takes longer than an event should wait.
#[derive(Debug, Default)]
pub(super) struct Ages {
    waiting: BTreeMap<i64, u32>,
}

impl Ages {
    const SECOND: i64 = 1_000_000;

    pub(super) fn add(&mut self, arrival: Timestamp) {
        *self.waiting.entry(Ages::of(arrival)).or_default() += 1;
    }

    pub(super) fn remove(&mut self, arrival: Timestamp) {
        if let btree_map::Entry::Occupied(mut waiting) = self.waiting.entry(Ages::of(arrival)) {
            *waiting.get_mut() -= 1;
            if *waiting.get() == 0 {
                waiting.remove();
            }
        }
    }

    fn of(arrival: Timestamp) -> i64 {
        arrival.0.div_euclid(Ages::SECOND)
    }

    pub(super) fn first(&self) -> Option<Timestamp> {
        self.waiting.first_key_value().map(|(second, _)| Timestamp(second.saturating_mul(Ages::SECOND)))
    }
}
