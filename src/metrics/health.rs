//! Whether the job is ready to answer, and whether it is still alive: what `/readyz` and `/healthz` say.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

/// Where a job is in its life. Copies share one phase.
#[derive(Clone, Debug)]
pub struct Health {
    phase: Arc<Mutex<Phase>>,
}

/// The phases of a job: `NotReady` and `Ready` may alternate, `Failed` is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Starting, replaying, catching up or stopping: why it does not answer at stream time yet.
    NotReady(Cow<'static, str>),
    /// Every source has been read to the end that it had at the start.
    Ready,
    /// Ended by an error: its text.
    Failed(String),
}

impl Default for Health {
    fn default() -> Self {
        Health { phase: Arc::new(Mutex::new(Phase::NotReady("starting".into()))) }
    }
}

impl Health {
    /// Not ready, and why: `replaying 3 of 12 GB`.
    pub fn not_ready(&self, reason: impl Into<Cow<'static, str>>) {
        self.enter(Phase::NotReady(reason.into()));
    }

    /// Caught up.
    pub fn ready(&self) {
        self.enter(Phase::Ready);
    }

    /// Failed for good: no later phase replaces it, so that the first error is the one that is seen.
    pub fn failed(&self, error: impl Into<String>) {
        self.enter(Phase::Failed(error.into()));
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn enter(&self, next: Phase) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*phase, Phase::Failed(_)) {
            *phase = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_stays() {
        let health = Health::default();
        assert_eq!(health.phase(), Phase::NotReady("starting".into()));
        health.ready();
        health.not_ready("catching up");
        assert_eq!(health.phase(), Phase::NotReady("catching up".into()));
        health.clone().failed("disk full");
        health.ready();
        health.failed("a consequence");
        assert_eq!(health.phase(), Phase::Failed("disk full".to_owned()));
    }
}
