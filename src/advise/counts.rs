//! What became of the references of one dependency.

use std::time::Duration;

use super::decide;
use super::lags::Lags;
use crate::dependency::Rules;
use crate::event::Dependent;
use crate::mode;

/// What became of the references of one dependency.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// From the arrival of the dependent to that of its referent, of all references whose referent came; 0 where it was there.
    pub(super) lags: Lags,
    /// The same in records, of those that came later.
    pub(super) records: Lags,
    /// How long before the dependent its referent had arrived, where it was there.
    pub(super) ages: Lags,
    /// References whose referent was there.
    pub(super) before: u64,
    /// Ages at the end of the sample of those that still wait.
    pub(super) waiting: Lags,
    /// References whose referent was not there.
    pub(super) missed: u64,
    /// Bytes of memory that their events take while they wait, summed up, and of the state, before compression.
    pub(super) missed_memory: u128,
    pub(super) missed_stored: u128,
    /// Bytes of memory that keys take which are only waited for: each counts for the first reference that waits for it.
    pub(super) missed_keys: u128,
}

impl Counts {
    /// None yet. How many lags are within these bounds is counted exactly.
    pub(super) fn new(bounds: &[u64]) -> Counts {
        Counts { lags: Lags::new(bounds), ..Counts::default() }
    }

    /// Those whose referent came later.
    pub(super) fn later(&self) -> u64 {
        self.lags.count() - self.before
    }

    /// How long a reference must have waited to be one whose referent never comes, in ticks.
    pub(super) fn horizon(&self, target: Option<Duration>) -> u64 {
        decide::horizon(self.later(), self.lags.quantiles(), target)
    }

    /// A reference whose referent was not there when it was looked for.
    /// `key` is what its key takes in memory, where no other waits for it.
    pub(super) fn miss(&mut self, rules: &Rules, dependent: &Dependent, key: usize, weight: u64) {
        self.missed += weight;
        self.missed_keys += key as u128 * u128::from(weight);
        self.missed_memory += mode::waiting_bytes(dependent) as u128 * u128::from(weight);
        self.missed_stored += mode::stored_waiting_bytes(rules, dependent) as u128 * u128::from(weight);
    }

    /// A reference whose referent arrived so many ticks after its dependent: before it, where that is negative.
    pub(super) fn note(&mut self, lag: i64, records: u64, weight: u64) {
        if lag < 0 || records == 0 && lag == 0 {
            self.before += weight;
            self.lags.add(0, weight);
            self.ages.add(lag.unsigned_abs(), weight);
        } else {
            self.lags.add(lag.unsigned_abs(), weight);
            self.records.add(records, weight);
        }
    }
}

/// A lag, as none where the referent came first.
pub(super) fn late(lag: i64) -> u64 {
    lag.max(0).unsigned_abs()
}
