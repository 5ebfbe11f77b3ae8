//! What bounds a table, and what it says of itself.

use std::time::Duration;

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
