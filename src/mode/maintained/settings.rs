//! What bounds a table, and what it says of itself.

use std::time::Duration;

use super::Table;
use super::entry::Entry;
use crate::event::Timestamp;
use crate::mode::Memory;

/// What bounds a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of changes of the state after which an epoch should end (this worker's share).
    pub changes_bytes: usize,
    /// Bytes that what is here may take in memory (this worker's share of `[streaming] memory`).
    pub memory_bytes: usize,
    /// Whether the waits of events without a deadline may end, too, and so what they have found of what they look for has to be known (`--until-end=expire`).
    pub tells_partial: bool,
    /// Whether nothing but the results that stand in the end is told (`--compact`).
    pub compact: bool,
    /// Whether somebody asks which results are taken away only to be revised: a topic with the present results.
    pub upserts: bool,
}

/// What a worker has at the end of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Events without a result.
    pub waiting: u64,
    /// The arrival of the one that came first.
    pub oldest: Option<Timestamp>,
    /// Whether a deadline of one of them is ahead.
    pub has_deadline: bool,
    /// What is here takes about so much memory.
    pub memory: Memory,
    /// Whether more may come.
    pub room: Room,
}

/// Whether a table has room for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// It has.
    #[default]
    Free,
    /// What is here takes more memory than it may, and some of it is about to leave: within [`PATIENCE`] a wait ends, or a version is forgotten.
    Soon,
    /// It takes more than it may, and stays.
    Never,
}

/// For so long a source is held back at most until something leaves.
pub const PATIENCE: Duration = Duration::from_secs(10 * 60);

impl Table {
    /// How the table stands at the end of an epoch.
    pub fn facts(&mut self) -> Facts {
        let entries = &self.entries;
        let oldest = self.oldest.first(self.sums.waiting, |id| entries.get(&id).is_some_and(Entry::waits));
        self.room = self.room();
        Facts {
            waiting: self.sums.waiting as u64,
            oldest,
            has_deadline: self.sums.timed > 0,
            memory: self.memory(),
            room: self.room,
        }
    }

    /// Bytes that what is here may take.
    pub fn limit(&self) -> usize {
        self.limits.memory_bytes
    }

    /// About how much memory what is here takes.
    pub fn memory(&self) -> Memory {
        let graph = self.told.bytes() + self.graph.bytes();
        Memory { referents: self.sums.bytes, graph, ..Memory::default() }
    }

    fn room(&self) -> Room {
        if self.memory().streaming() <= self.limits.memory_bytes {
            return Room::Free;
        }
        let soon = self.now.after(PATIENCE);
        // Some that are due have left before.
        let mut due = self.due.iter().take_while(|(at, _)| *at <= soon);
        if due.any(|(_, id)| self.entries.contains_key(id)) { Room::Soon } else { Room::Never }
    }
}
