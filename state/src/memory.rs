//! The tables in memory: the same semantics, for tests and simulations.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::batch::{Batch, Op};
use crate::error::StateError;
use crate::state::Durability;
use crate::table::Table;

type Tables = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// Entries that a scan copies at a time: its visitor runs without the lock.
const PAGE: usize = 64;

/// All tables in one ordered map.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tables: Tables,
    /// What a power loss would leave: `tables` without `unsynced`.
    durable: Tables,
    unsynced: Batch,
    writes: u64,
    fault: Option<u64>,
}

impl Memory {
    /// What a restart finds after a power loss at this moment.
    pub(crate) fn after_power_loss(&self) -> Memory {
        let durable = self.lock().durable.clone();
        Memory { inner: Mutex::new(Inner { tables: durable.clone(), durable, ..Inner::default() }) }
    }

    /// Lets a write fail: 1 is the next one.
    pub(crate) fn fail_write(&self, nth: u64) {
        let mut inner = self.lock();
        inner.fault = Some(inner.writes + nth);
    }

    pub(crate) fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StateError> {
        let mut inner = self.lock();
        inner.writes += 1;
        if inner.fault == Some(inner.writes) {
            return Err(StateError::Io("a fault of the simulation".into()));
        }
        let inner = &mut *inner;
        check_put_once(&inner.tables, batch)?;
        apply(&mut inner.tables, batch);
        inner.unsynced.append(batch);
        if durability == Durability::Synced {
            apply(&mut inner.durable, &inner.unsynced);
            inner.unsynced.clear();
        }
        Ok(())
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.lock().tables.get(&(table, key.to_vec())).cloned()
    }

    /// Hands over the entries from `from` on that begin with `prefix`. The visitor may read and write this state.
    pub(crate) fn scan(
        &self,
        table: Table,
        from: &[u8],
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) {
        let mut start = Bound::Included((table, from.max(prefix).to_vec()));
        loop {
            let page = self.page(&start, prefix);
            for (key, value) in &page {
                if visit(key, value).is_break() {
                    return;
                }
            }
            match page.into_iter().next_back() {
                Some((key, _)) => start = Bound::Excluded((table, key)),
                None => return,
            }
        }
    }

    fn page(&self, start: &Bound<(Table, Vec<u8>)>, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (Bound::Included((table, _)) | Bound::Excluded((table, _))) = start else { return Vec::new() };
        let inner = self.lock();
        let after = inner.tables.range((start.clone(), Bound::Unbounded));
        let within = after.take_while(|((at, key), _)| at == table && key.starts_with(prefix));
        within.take(PAGE).map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().tables.iter().map(|((_, key), value)| (key.len() + value.len()) as u64).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock; a poisoned one could only be a fault of the allocator.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(tables: &mut Tables, batch: &Batch) {
    for Op { table, key, value } in batch.ops() {
        match value {
            Some(value) => tables.insert((table, key.to_vec()), value.to_vec()),
            None => tables.remove(&(table, key.to_vec())),
        };
    }
}

/// Holds a batch against the rule of [`Table::put_once`], before any of it is applied.
fn check_put_once(tables: &Tables, batch: &Batch) -> Result<(), StateError> {
    let mut there: BTreeMap<(Table, &[u8]), bool> = BTreeMap::new();
    for Op { table, key, value } in batch.ops().filter(|op| op.table.put_once()) {
        let present = there.entry((table, key)).or_insert_with(|| tables.contains_key(&(table, key.to_vec())));
        if *present && value.is_some() {
            let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(StateError::PutTwice { table: table.name(), key });
        }
        *present = value.is_some();
    }
    Ok(())
}
