//! How long what a broker is asked for is waited for.

use std::time::{Duration, Instant};

use super::GiveUp;

/// How much longer than a transaction may be open a call that ends one is waited for.
const GRACE: Duration = Duration::from_secs(10);

/// How long a job that is to stop waits for its broker, all in all. What is not decided then the next start decides; and who stops it kills it sooner or later:
/// Kubernetes after 30 s.
const STOPPING: Duration = Duration::from_secs(10);

/// Long as a rule, and short from when the job is to stop.
pub(super) struct Patience {
    limit: Duration,
    give_up: GiveUp,
    /// Since when it is known that the job is to stop.
    stopping_since: Option<Instant>,
}

impl Patience {
    /// With transactions that may be open for so long.
    pub(super) fn new(transaction_timeout: Duration, give_up: GiveUp) -> Patience {
        Patience { limit: transaction_timeout + GRACE, give_up, stopping_since: None }
    }

    /// Whether the job is to stop.
    pub(super) fn gives_up(&self) -> bool {
        (self.give_up)()
    }

    /// What is left, `now`, of a wait that began at some time.
    pub(super) fn left(&mut self, began: Instant, now: Instant) -> Duration {
        if self.gives_up() {
            self.stopping_since.get_or_insert(now);
        }
        let whole = began + self.limit;
        let until = self.stopping_since.map_or(whole, |since| whole.min(since + STOPPING));
        until.saturating_duration_since(now)
    }

    /// What a wait that came to its end was.
    pub(super) fn in_words(&self) -> String {
        match self.stopping_since {
            Some(_) => format!("within {} s of being asked to stop", STOPPING.as_secs()),
            None => format!("within {} s", self.limit.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn all_waits_of_a_job_that_is_to_stop_share_ten_seconds() {
        let stop = Arc::new(AtomicBool::new(false));
        let raised = Arc::clone(&stop);
        let mut patience = Patience::new(Duration::from_secs(60), Arc::new(move || raised.load(Ordering::SeqCst)));
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut left = |began, now| patience.left(began, now).as_secs();
        assert_eq!([left(began, began), left(began, after(69)), left(began, after(71))], [70, 1, 0]);
        assert_eq!(left(after(20), after(30)), 60);
        stop.store(true, Ordering::SeqCst);
        // A wait that is under way, the next one, and one that would have been over before.
        assert_eq!([left(after(20), after(30)), left(after(20), after(34)), left(after(35), after(38))], [10, 6, 2]);
        assert_eq!([left(after(35), after(41)), left(after(41), after(41))], [0, 0]);
        assert_eq!(patience.in_words(), "within 10 s of being asked to stop");
    }

    #[test]
    fn a_stop_makes_no_wait_longer() {
        let mut patience = Patience::new(Duration::from_secs(60), Arc::new(|| true));
        let began = Instant::now();
        assert_eq!(patience.left(began, began + Duration::from_secs(68)), Duration::from_secs(2));
    }
}
