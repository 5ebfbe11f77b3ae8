//! Named points of a commit at which a test can end the job. They are there in builds with debug assertions only, as `make test` makes them, and in unit tests:
//! what is shipped has none.

/// Passes a point. `RESOLVENT_FAILPOINT=NAME:N` kills the process with SIGKILL when it passes the point `NAME` for the `N`th time.
#[cfg(all(debug_assertions, not(test)))]
pub(super) fn pass(point: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};

    static PASSED: AtomicU64 = AtomicU64::new(0);

    let Ok(wanted) = std::env::var("RESOLVENT_FAILPOINT") else { return };
    let Some((name, nth)) = wanted.split_once(':') else { return };
    if name == point && nth.parse() == Ok(PASSED.fetch_add(1, Ordering::Relaxed) + 1) {
        // If it fails the process goes on, and with that the test fails.
        let _ = signal_hook::low_level::raise(signal_hook::consts::SIGKILL);
    }
}

/// There is none in this build.
#[cfg(not(any(debug_assertions, test)))]
pub(super) fn pass(_point: &str) {}

/// Passes a point of a simulation, which ends the job there if it is the one that [`simulation::crash_at`] named.
#[cfg(test)]
pub(super) fn pass(point: &'static str) {
    simulation::pass(point);
}

/// Crashes of a job that is simulated on the thread of a test.
#[cfg(test)]
pub(super) mod simulation {
    use std::cell::{Cell, RefCell};
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    thread_local! {
        static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
        static PASSED: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    }

    /// What a job ends with that crashes.
    struct Crash;

    pub(super) fn pass(point: &'static str) {
        PASSED.with_borrow_mut(|passed| passed.push(point));
        let left = LEFT.get().saturating_sub(1);
        LEFT.set(left);
        if left == 0 {
            LEFT.set(u64::MAX);
            resume_unwind(Box::new(Crash));
        }
    }

    /// Runs a job that crashes at the `nth` point that it passes, 1 being the first. `None`: it has crashed.
    pub(in crate::checkpoint) fn crash_at<T>(nth: u64, job: impl FnOnce() -> T) -> Option<T> {
        LEFT.set(nth);
        let ended = catch_unwind(AssertUnwindSafe(job));
        LEFT.set(u64::MAX);
        match ended {
            Ok(done) => Some(done),
            Err(cause) if cause.is::<Crash>() => None,
            Err(cause) => resume_unwind(cause),
        }
    }

    /// The points that were passed on this thread since this was last asked.
    pub(in crate::checkpoint) fn passed() -> Vec<&'static str> {
        PASSED.take()
    }
}
