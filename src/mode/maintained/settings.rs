//! What bounds a table, and what it says of itself.

use crate::event::Timestamp;
use crate::mode::Memory;

/// What bounds a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of changes of the state after which an epoch should end (this worker's share).
    pub changes_bytes: usize,
    /// Bytes that what is here may take in memory (this worker's share of `[streaming] memory`).
    pub memory_bytes: usize,
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
    /// Whether that is more than it may.
    pub is_over: bool,
}
