//! Which of the events that wait came first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::event::{EventId, Timestamp};

/// So many that no longer wait are kept beside as many as wait, before they are looked for.
const KEPT: usize = 1024;

/// First arrivals of events that waited at the end of an epoch. Those that no longer wait are passed over when they come first, and taken out when they are
/// many: one event that waits for ever would keep all others.
#[derive(Debug, Default)]
pub(super) struct Oldest {
    heap: BinaryHeap<Reverse<(Timestamp, EventId)>>,
}

impl Oldest {
    pub(super) fn add(&mut self, arrival: Timestamp, id: EventId) {
        self.heap.push(Reverse((arrival, id)));
    }

    /// The first arrival, where `waiting` events are waiting: those of which `waits` says so.
    pub(super) fn first(&mut self, waiting: usize, waits: impl Fn(EventId) -> bool) -> Option<Timestamp> {
        if self.heap.len() > 2 * waiting + KEPT {
            let mut all = std::mem::take(&mut self.heap).into_vec();
            all.retain(|Reverse((_, id))| waits(*id));
            all.sort_unstable();
            all.dedup();
            self.heap = all.into();
        }
        while let Some(Reverse((arrival, id))) = self.heap.peek() {
            if waits(*id) {
                return Some(*arrival);
            }
            self.heap.pop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PartitionId;

    fn id(offset: u64) -> EventId {
        EventId { partition: PartitionId(0), offset }
    }

    #[test]
    fn one_that_waits_for_ever_keeps_no_others() {
        let mut oldest = Oldest::default();
        oldest.add(Timestamp(1), id(1));
        for at in 2..100_000 {
            oldest.add(Timestamp(at), id(at as u64));
            // This one waits again and again.
            oldest.add(Timestamp(2), id(2));
            assert_eq!(oldest.first(2, |other| other == id(1) || other == id(2)), Some(Timestamp(1)));
            assert!(oldest.heap.len() <= KEPT + 4);
        }
        assert_eq!(oldest.first(1, |other| other == id(2)), Some(Timestamp(2)));
        assert_eq!(oldest.first(0, |_| false), None);
    }
}
