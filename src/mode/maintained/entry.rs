//! An event that is here, with what is known of it, and sums over all of them.

use std::sync::Arc;

use super::{FoundVersions, Version};
use crate::event::{Dependent, Event, Found, Timestamp, event_bytes};

/// Memory of what is here, beside the bytes of its events: entries of the tables, and rows of the collections and their arrangements.
///
/// Reckoned from the peaks of resident memory of jobs with one worker, each event being updated once on average (27 November 2026):
///
/// | what is here | 0.1 M | 0.3 M | 1 M events | bytes an event, from 0.3 M on | counted with this |
/// | --- | --- | --- | --- | --- | --- |
/// | no references | 209 MiB | 385 MiB | 913 MiB | 790 | 790 |
/// | 10 of 11 have one | 289 MiB | 529 MiB | 1253 MiB | 990 | 1010 |
/// | 10 of 11 have three | | 1242 MiB, 849 MiB in the end | | 3200 at most, 2000 in the end | 2470 |
///
/// What is not counted is in any such job: 150 to 220 MiB for the process, an epoch on its way, and RocksDB.
const ROW_BYTES: usize = 640;

/// The same for the reference of an event with one.
const REFERENCE_BYTES: usize = 220;

/// The same for each of several, whose findings are arranged once more: between what they take at rest and what they take while that is merged.
const SEVERAL_BYTES: usize = 600;

/// An event that is here.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) dependent: Arc<Dependent>,
    /// Whether it wants a result, or has one that may be revised.
    pub(super) is_open: bool,
    /// Whether it is the version of its key: what comes next replaces it.
    pub(super) is_current: bool,
    /// Whether others that refer to it find it.
    pub(super) is_provided: bool,
    /// Whether it is resolved once and for all, for those that need it resolved.
    pub(super) is_settled: bool,
    /// Whether it has a result.
    pub(super) has_result: bool,
    /// What it has found, as far as that is known.
    pub(super) found: Option<FoundVersions>,
    /// The next of its deadlines; [`Timestamp::MAX`] is none.
    pub(super) deadline: Timestamp,
    /// Whether the state has it.
    pub(super) is_stored: bool,
    /// About what it takes in memory, reckoned once: its event has mostly left the caches.
    bytes: usize,
}

impl Entry {
    pub(super) fn new(dependent: Arc<Dependent>) -> Entry {
        let references = match dependent.references.len() {
            several @ 2.. => several * SEVERAL_BYTES,
            one => one * REFERENCE_BYTES,
        };
        let bytes = event_bytes(&dependent.event) + ROW_BYTES + references;
        Entry {
            dependent,
            is_open: false,
            is_current: false,
            is_provided: false,
            is_settled: false,
            has_result: false,
            found: None,
            deadline: Timestamp::MAX,
            is_stored: false,
            bytes,
        }
    }

    pub(super) fn event(&self) -> &Event {
        &self.dependent.event
    }

    /// Whether it is nothing but the place of a version among others of its key.
    pub(super) fn is_place(&self) -> bool {
        !self.is_open && !self.is_provided
    }

    pub(super) fn waits(&self) -> bool {
        self.is_open && !self.has_result
    }

    fn is_timed(&self) -> bool {
        self.waits() && self.deadline < Timestamp::MAX
    }
}

/// Sums over all that is here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) waiting: usize,
    /// Of those, the ones with a deadline ahead.
    pub(super) timed: usize,
    pub(super) bytes: usize,
}

impl Sums {
    pub(super) fn add(&mut self, entry: &Entry) {
        self.waiting += usize::from(entry.waits());
        self.timed += usize::from(entry.is_timed());
        self.bytes += entry.bytes;
    }

    /// Takes away what was added of an entry that has not changed since.
    pub(super) fn take(&mut self, entry: &Entry) {
        self.waiting -= usize::from(entry.waits());
        self.timed -= usize::from(entry.is_timed());
        self.bytes -= entry.bytes;
    }
}

/// An event with the referents that it has found.
pub(super) fn with_found(dependent: &Dependent, found: &[Option<Version>]) -> Box<Dependent> {
    let mut dependent = Box::new(dependent.clone());
    for (at, reference) in dependent.references.iter_mut().enumerate() {
        match (found.get(at), &reference.found) {
            (_, Found::GivenUp) => {}
            (Some(Some(version)), _) => {
                dependent.completed_at = dependent.completed_at.max(version.event.header.header.arrival);
                reference.found = Found::Present(version.event.clone());
            }
            _ => reference.found = Found::Missing,
        }
    }
    dependent
}
