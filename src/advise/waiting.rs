//! What waits at once, as a wait is set.

use std::time::Duration;

use super::build::Subject;
use super::decide::{Settings, micros};
use super::events::ByDependency;
use super::lags::expected_wait;
use crate::dependency::{Mode, OnExpiry};
use crate::mode::DEADLINE_BYTES;

/// Bytes that waiting events of one dependency take on average, once the job has run for as long as they wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    pub(super) memory: u64,
    /// Of the state, before compression.
    pub(super) stored: u64,
}

/// How long things wait a tick, all together: that is how many wait at once (Little 1961).
#[derive(Clone, Copy)]
struct AtOnce {
    events: f64,
    references: f64,
}

impl Waiting {
    /// Those that wait as `settings` say, where the sample goes over `span`. An event that refers by several dependencies counts for each that it lacks something
    /// of. What waits for ever becomes more and more where referents never come: it is taken as the sample has it.
    pub(super) fn of(subject: &Subject<'_>, settings: Settings, has_time: bool, span: u64) -> Waiting {
        let counts = subject.counts;
        let at_once = |wait: Option<Duration>| {
            let until = wait.filter(|_| has_time).map_or(span, micros);
            let references = expected_wait(&counts.lags, &counts.waiting, until) / span as f64;
            let of_events = |of: &ByDependency| expected_wait(&of.own, &of.own_waiting, until) / span as f64;
            AtOnce { events: subject.events.map_or(references, of_events), references }
        };
        let each = |sum: u128| sum as f64 / counts.missed.max(1) as f64;
        let deadline = settings.wait.map_or(0.0, |_| DEADLINE_BYTES as f64);
        let memory = |now: AtOnce| {
            let events = now.events * (each(counts.missed_memory) + deadline);
            (events + now.references * each(counts.missed_keys)) as u64
        };
        let stored = |events: f64| (events * each(counts.missed_stored)) as u64;
        // One that is kept after its wait waits on.
        let first = at_once(settings.wait.filter(|_| settings.on_expiry != OnExpiry::Keep));
        match (settings.mode, settings.on_expiry) {
            (Mode::Independent, _) => Waiting::default(),
            (Mode::Deferred, _) => Waiting { memory: 0, stored: stored(first.events) },
            (Mode::Streaming, OnExpiry::Defer { wait, .. }) if has_time && settings.wait.is_some() => {
                let whole = at_once(settings.wait.zip(wait).map(|(first, second)| first.saturating_add(second)));
                Waiting { memory: memory(first), stored: stored((whole.events - first.events).max(0.0)) }
            }
            (Mode::Streaming, _) => Waiting { memory: memory(first), stored: 0 },
        }
    }
}
