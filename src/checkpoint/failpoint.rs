//! Named points of a commit at which a test can kill the process. They are there in builds with debug assertions only, as `make test` makes them: what is
//! shipped has none.

/// Passes a point. `RESOLVENT_FAILPOINT=NAME:N` kills the process with SIGKILL when it passes the point `NAME` for the `N`th time.
#[cfg(debug_assertions)]
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
#[cfg(not(debug_assertions))]
pub(super) fn pass(_point: &str) {}
