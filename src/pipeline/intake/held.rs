//! How long a full queue waits for something else than the workers.

use std::time::{Duration, Instant};

use super::{Inner, Limits};
use crate::metrics::Backpressure;

/// How long workers could take no block though the queue was full, by what kept them from it.
#[derive(Clone, Copy, Default)]
pub(super) struct Held {
    pub(super) commit: Duration,
    pub(super) memory: Duration,
}

impl Held {
    fn add(&mut self, cause: Backpressure, held: Duration) {
        match cause {
            Backpressure::Commit => self.commit += held,
            Backpressure::Memory => self.memory += held,
            // These are what takes blocks.
            Backpressure::Workers => {}
        }
    }
}

impl Inner {
    /// Counts the time for which workers may take no block though the queue is full: then the reading thread waits for what keeps them from it, and not for
    /// them. To be called after every change of what this hangs on: where the committer hangs nobody else comes by.
    pub(super) fn hold(&mut self, limits: &Limits) {
        let cause = match (self.may_take_nothing(limits), self.has_no_room()) {
            (true, _) => Some(Backpressure::Commit),
            (false, true) => Some(Backpressure::Memory),
            (false, false) => None,
        };
        if let Some((was, since)) = self.held_since.filter(|(was, _)| Some(*was) != cause) {
            self.held.add(was, since.elapsed());
            self.held_since = cause.map(|cause| (cause, Instant::now()));
        } else if self.held_since.is_none() && (self.reader_waits || self.queue.len() >= limits.blocks) {
            self.held_since = cause.map(|cause| (cause, Instant::now()));
        }
    }

    pub(super) fn held_so_far(&self) -> Held {
        let mut held = self.held;
        if let Some((cause, since)) = self.held_since {
            held.add(cause, since.elapsed());
        }
        held
    }
}
