//! Typed tables over RocksDB, and over memory for tests. Knows nothing of events: keys and values are byte strings.
//!
//! | to | see |
//! | --- | --- |
//! | learn what is kept, and each table's rule | [`Table`] |
//! | collect changes | [`Batch`] |
//! | open, read, write | [`State`] |
//! | tell one job's state from another's | [`Identity`] |
//! | know what can go wrong | [`OpenError`], [`StateError`] |
//!
//! # Crash promises
//!
//! - A [`Batch`] is atomic over all tables, whatever is killed and whenever.
//! - What was written [`Durability::Synced`] outlives a power loss, [`Durability::Buffered`] the end of the process. A
//!   write makes every write before it durable, and so does [`State::sync`].
//! - After a crash the state holds an exact prefix of the batches, never a later one without an earlier one.
//! - After a write that failed, this process reads and writes the state no more: what is on disk is then unknown until the
//!   next [`State::open`], and the first error is repeated to all who ask.
//!
//! # Damage
//!
//! | what happened to the directory | what follows |
//! | --- | --- |
//! | the last write is torn: cut off, or with holes, as a power loss leaves it | it is discarded, the state opens without it |
//! | a byte of an earlier write in the write-ahead log differs, or a log is missing | [`OpenError::Damaged`], nothing is modified |
//! | `CURRENT` or the manifest is missing or differs | [`OpenError::Damaged`] |
//! | a table file is missing or has another length | [`OpenError::Damaged`] |
//! | a byte of a table file differs | [`OpenError::Damaged`], or [`StateError::Damaged`] from the first read that touches it |
//! | `FORMAT` differs | a refusal: foreign, newer, of another job, or damaged |
//!
//! Damage to the last write cannot be told from a torn write, so it counts as one. No case ends in a panic or in data that
//! was never written.
//!
//! One case is not noticed: a manifest that ends right behind the record of a log's deletion, or within the record that follows it. RocksDB then takes
//! the table files and the log that later records name for leftovers, and what was flushed with them and not written again is missing. No crash
//! leads to this: a log is deleted only after all of these records are durable, so that with such a manifest it is still there.
//!
//! # Limits
//!
//! - [`Options::memory`] holds the block cache with index and filter blocks, and the memtables; at least [`MEMORY_MIN`].
//!   Three quarters are handed out, [`Options::memtables`] of them to memtables, the rest is headroom for compactions, iterators and the allocator. These need
//!   some 50 MB, so a budget below 256 MiB is overdrawn by that. The state itself may be larger by far.
//! - [`OPEN_FILES_MAX`] files are open at once.
//! - A key is below 8 MiB and a value below 4 GiB (limits of RocksDB); a batch fits in memory three times while it is written.
//! - One process at a time opens a state to write; any number may read it beside that ([`State::open_read_only`]).

/// Cargo compiles the crate again when this changes: see `.ci/optimize`.
const _: Option<&str> = option_env!("RESOLVENT_PROFILE");

mod batch;
mod directory;
mod error;
mod identity;
mod memory;
mod rocks;
mod state;
mod table;
mod wal;

pub use batch::{Batch, OpenValue};
pub use directory::Destroyed;
pub use error::{OpenError, StateError};
pub use identity::{FORMAT_VERSION, Identity};
pub use rocks::{MEMORY_MIN, MEMTABLES_MIN, OPEN_FILES_MAX};
pub use state::{Durability, Io, MemoryUse, Options, State};
pub use table::Table;
