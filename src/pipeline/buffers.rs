//! Buffers that go round between threads: memory that one thread allocates and another frees would be cleared by the system again and again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use resolvent_state::Batch;

/// Buffers that are free, up to a number of them.
#[derive(Debug)]
pub(super) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    max: usize,
}

impl Buffers {
    pub(super) fn new(max: usize) -> Self {
        Buffers { free: Mutex::new(Vec::new()), max }
    }

    /// An empty buffer, with the capacity that it had.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Takes a buffer back.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.capacity() > 0 && free.len() < self.max {
            free.push(buffer);
        }
    }
}

/// Batches of changes that have been committed, up to a number of them: some are handed in without ever having been taken.
#[derive(Debug)]
pub(super) struct Batches {
    /// In the order of their memory.
    free: Mutex<Vec<Batch>>,
    max: usize,
}

impl Batches {
    pub(super) fn new(max: usize) -> Self {
        Batches { free: Mutex::new(Vec::new()), max }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The empty batch that has the most memory.
    pub(super) fn take_large(&self) -> Option<Batch> {
        self.lock().pop()
    }

    /// The empty batch that has the least memory.
    pub(super) fn take_small(&self) -> Option<Batch> {
        let mut free = self.lock();
        (!free.is_empty()).then(|| free.remove(0))
    }

    /// Takes an empty batch back.
    pub(super) fn give(&self, batch: Batch) {
        let mut free = self.lock();
        let at = free.partition_point(|other| other.capacity() < batch.capacity());
        free.insert(at, batch);
        if free.len() > self.max {
            free.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use resolvent_state::Table;

    use super::*;

    #[test]
    fn the_batches_with_most_memory_are_kept() {
        let batches = Batches::new(3);
        for bytes in [0, 300, 0, 100, 0, 200, 0] {
            let mut batch = Batch::default();
            if bytes > 0 {
                batch.put(Table::Meta, b"key", &vec![0; bytes]);
                batch.clear();
            }
            batches.give(batch);
        }
        let larger = |batch: Option<Batch>, bytes| batch.is_some_and(|batch| batch.capacity() >= bytes);
        assert!(larger(batches.take_large(), 300) && !larger(batches.take_small(), 200));
        assert!(larger(batches.take_large(), 200) && batches.take_large().is_none());
    }
}
