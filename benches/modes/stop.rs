//! Signals that ask the comparison to stop: whoever waits for a child looks here, and gives up, which ends the child and removes its directory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::Result;

static ASKED_FOR: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Takes SIGINT and SIGTERM; a second one ends this process at once, as both would without.
pub(crate) fn listen() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&ASKED_FOR))?;
        flag::register(signal, Arc::clone(&ASKED_FOR))?;
    }
    Ok(())
}

pub(crate) fn is_asked_for() -> bool {
    ASKED_FOR.load(Ordering::Relaxed)
}

/// Fails where a signal came.
pub(crate) fn check() -> Result<()> {
    if is_asked_for() { Err("stopped by a signal".into()) } else { Ok(()) }
}
