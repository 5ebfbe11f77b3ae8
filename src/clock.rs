//! The time of a process: one reading of the wall clock, monotonic from there on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::event::Timestamp;

/// Tells the time. Cheap to copy; all copies tell the same.
#[derive(Clone, Debug)]
pub struct Clock {
    source: TimeSource,
}

#[derive(Clone, Debug)]
enum TimeSource {
    Monotonic { wall: Timestamp, since: Instant },
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The wall clock as it stands now, and monotonic time after: setting the system's clock later neither fires nor delays a deadline.
    pub fn start() -> Self {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp::default().after(since),
            Err(_) => Timestamp::default(),
        };
        Clock { source: TimeSource::Monotonic { wall, since: Instant::now() } }
    }

    /// A clock that stands still until it is set: for simulations.
    pub fn manual(at: Timestamp) -> Self {
        Clock { source: TimeSource::Manual(Arc::new(AtomicI64::new(at.0))) }
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        match &self.source {
            TimeSource::Monotonic { wall, since } => wall.after(since.elapsed()),
            TimeSource::Manual(at) => Timestamp(at.load(Ordering::SeqCst)),
        }
    }

    /// Sets a manual clock. A clock of the process is not moved.
    pub fn set(&self, to: Timestamp) {
        if let TimeSource::Manual(at) = &self.source {
            at.store(to.0, Ordering::SeqCst);
        }
    }
}
