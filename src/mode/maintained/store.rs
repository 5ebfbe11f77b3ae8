//! How what is here lies in the state: a row for each event, put when it comes, put again when it changes, and deleted when it leaves.
//!
//! Results are not stored: they follow from what is here. So a start reads as much as is here, however long the history of the input was, and needs no input
//! that has been deleted or compacted since.

use std::ops::ControlFlow;
use std::sync::Arc;

use resolvent_state::{Batch, State, Table};

use super::entry::Entry;
use super::home;
use crate::dependency::Rules;
use crate::event::{Dependent, Event, EventId, SHARDS, Stored, WorkerIndex};
use crate::mode::codec::{self, StoredError};
use crate::mode::restore::RestoreError;

/// What stands behind the shard in the keys of these rows: an entity that no rules have, so that they are never taken for a referent.
const ROWS: [u8; 2] = [0xff; 2];

/// The version of the flags.
const VERSION: u8 = 1;

const OPEN: u8 = 1;
const CURRENT: u8 = 2;
const PROVIDED: u8 = 4;
const SETTLED: u8 = 8;

/// An event that was here when an earlier run stopped.
#[derive(Debug)]
pub struct StoredRow {
    dependent: Box<Dependent>,
    flags: u8,
}

impl StoredRow {
    /// The worker that it belongs to.
    pub fn owner(&self, rules: &Rules, workers: usize) -> WorkerIndex {
        home(rules, &self.dependent.event).owner(workers)
    }

    pub(super) fn id(&self) -> EventId {
        self.dependent.event.header.header.id
    }

    /// The shard that its key begins with.
    pub(super) fn shard(&self, rules: &Rules) -> u8 {
        shard(rules, &self.dependent.event)
    }

    pub(super) fn into_dependent(self) -> Box<Dependent> {
        self.dependent
    }

    pub(super) fn into_entry(self) -> Entry {
        let mut entry = Entry::new(Arc::from(self.dependent));
        let is = |flag| self.flags & flag != 0;
        (entry.is_open, entry.is_current) = (is(OPEN), is(CURRENT));
        (entry.is_provided, entry.is_settled) = (is(PROVIDED), is(SETTLED));
        entry
    }
}

/// The shard that an event's row is in.
pub(super) fn shard(rules: &Rules, event: &Event) -> u8 {
    home(rules, event).shard()
}

/// The key of the row of an event that belongs to a shard.
pub(super) fn key_of(shard: u8, id: EventId) -> Vec<u8> {
    let mut of_row = Vec::with_capacity(1 + ROWS.len() + codec::ID_BYTES);
    key(shard, id, &mut of_row);
    of_row
}

/// Makes the key of an event's row: `shard | ff ff | position`.
pub(super) fn key(shard: u8, id: EventId, key: &mut Vec<u8>) {
    key.clear();
    key.push(shard);
    key.extend_from_slice(&ROWS);
    codec::put_id(id, key);
}

/// Puts the row of an event; `value` is room for it.
pub(super) fn put(rules: &Rules, entry: &Entry, key: &[u8], value: &mut Vec<u8>, batch: &mut Batch) {
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let flags = flag(entry.is_open, OPEN)
        | flag(entry.is_current, CURRENT)
        | flag(entry.is_provided, PROVIDED)
        | flag(entry.is_settled, SETTLED);
    value.clear();
    value.extend_from_slice(&[VERSION, flags]);
    codec::put_dependent(rules, &entry.dependent, value);
    batch.put(Table::Referent, key, value);
}

/// Deletes the row of an event.
pub(super) fn delete(key: &[u8], batch: &mut Batch) {
    batch.delete(Table::Referent, key);
}

/// Reads all rows of a state.
///
/// # Errors
///
/// The state does not answer, or holds something else than was written.
pub fn restore(state: &State, rules: &Rules) -> Result<Vec<StoredRow>, RestoreError> {
    let mut rows = Vec::new();
    each(state, rules, |row| rows.push(row))?;
    Ok(rows)
}

/// The row of a key.
pub(super) fn get(state: &State, rules: &Rules, key: &[u8]) -> Result<Option<StoredRow>, RestoreError> {
    let value = state.get(Table::Referent, key)?;
    Ok(value.map(|value| read(rules, &value)).transpose()?)
}

/// Shows all rows of a state, one at a time.
pub(super) fn each(state: &State, rules: &Rules, mut see: impl FnMut(StoredRow)) -> Result<(), RestoreError> {
    for shard in 0..SHARDS {
        let prefix = [u8::try_from(shard).unwrap_or(u8::MAX), 0xff, 0xff];
        let mut failed = None;
        state.scan(Table::Referent, &prefix, &prefix, usize::MAX, |_, value| match read(rules, value) {
            Ok(row) => {
                see(row);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    Ok(())
}

fn read(rules: &Rules, value: &[u8]) -> Result<StoredRow, StoredError> {
    match value {
        [VERSION, flags, dependent @ ..] => {
            Ok(StoredRow { dependent: codec::get_dependent(rules, dependent, Stored::No)?, flags: *flags })
        }
        [version, ..] if *version != VERSION => Err(StoredError::Version(*version)),
        _ => Err(StoredError::Damaged("the row of an event ends early".into())),
    }
}
