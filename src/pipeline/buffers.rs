//! Buffers that go round between threads: memory that one thread allocates and another frees would be cleared by the system again and again.

use std::sync::{Mutex, PoisonError};

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
