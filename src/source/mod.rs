//! Where records come from: files, standard input, seeded workloads.
//!
//! A source reads on one thread of its own and hands out [`Block`]s of consecutive records; it decodes nothing and never skips a byte in silence.

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Clock;
use crate::event::{Block, PartitionId, Partitions, Positions, StreamId};

/// Where to read, and how.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// Files, or standard input.
    File(FileSettings),
    /// A seeded workload made up on the way.
    Synthetic(SyntheticSettings),
}

/// Files to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The files. Without `interleave` they are read in this order.
    pub inputs: Vec<FileInput>,
    /// Read a block of each in turn (a file for each stream) instead of one after the other.
    pub interleave: bool,
    /// Keep reading what is appended.
    pub follow: bool,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInput {
    /// As configured: the name of the partition. `-` is standard input; `.gz` and `.zst` are decompressed, and offsets count decompressed bytes.
    pub path: String,
    /// The stream of all its records, where no field of the record says it.
    pub stream: Option<StreamId>,
}

/// What bounds the blocks of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that a block aims at.
    pub block_bytes: usize,
    /// Bytes of the longest record that is passed on whole.
    pub record_bytes_max: usize,
}

/// What a source has next.
#[derive(Debug)]
pub enum Next {
    /// Records.
    Block(Block),
    /// Given once: every partition has been read to the end that it had when the source was opened.
    CaughtUp,
    /// Nothing new within the time given.
    Idle,
    /// There will never be more.
    End,
}

/// What was not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Bytes of files between what was handed out and the present end, where that is known.
    pub bytes: Option<u64>,
    /// Records, where the source counts them.
    pub records: Option<u64>,
}

/// One place to read from. Reading is repeatable (standard input excepted): the same range gives the same records, byte for byte.
pub trait Source: Send {
    /// The next records, waiting at most `wait` for them.
    fn next(&mut self, wait: Duration) -> Result<Next, SourceError>;

    /// What lies between what was handed out and the present end.
    fn lag(&self) -> Lag;
}

/// Opens a source at `from` (a partition that is not in it: at its start). With `to` it ends exactly there, and partitions that are not in `to` are not read:
/// that is how committed input is replayed.
pub fn open(
    settings: &Settings,
    limits: Limits,
    partitions: &mut Partitions,
    from: &Positions,
    to: Option<&Positions>,
    clock: &Clock,
) -> Result<Box<dyn Source>, SourceError>;
