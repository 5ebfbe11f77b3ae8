//! When the records of a workload are due: an open loop, which does not wait for whoever is slow.

use crate::event::Timestamp;
use crate::source::workload::{Arrivals, Purpose, Random};

const SECOND_MICROS: u64 = 1_000_000;

/// All the records of a second come in its first part, a tenth.
const BURST_PART: u64 = 10;

/// When records are due: the first at the first call, the others at their distance from it.
pub(super) struct Schedule {
    rate: u64,
    arrivals: Arrivals,
    start: Option<Timestamp>,
    taken: u64,
    /// Microseconds from the start at which the next record is due.
    next: f64,
    random: Random,
}

impl Schedule {
    /// Of `rate` records a second, which is not 0. What is random follows from `seed`.
    pub(super) fn new(rate: u64, arrivals: Arrivals, seed: u64) -> Schedule {
        Schedule { rate, arrivals, start: None, taken: 0, next: 0.0, random: Random::new(seed, Purpose::Arrivals, 0) }
    }

    /// When the next record is due, where the first is due `now` at the latest.
    pub(super) fn due(&mut self, now: Timestamp) -> Timestamp {
        let start = *self.start.get_or_insert(now);
        Timestamp(start.0.saturating_add(self.next as i64))
    }

    /// Goes on to the record after the next.
    pub(super) fn advance(&mut self) {
        self.taken += 1;
        match self.arrivals {
            Arrivals::Constant => self.next = self.at_even_pace(),
            Arrivals::Bursts => {
                let even = self.at_even_pace();
                let second = SECOND_MICROS as f64;
                let begun = (even / second).floor() * second;
                self.next = begun + (even - begun) / BURST_PART as f64;
            }
            Arrivals::Poisson => {
                // From 0 (excluded) to 1: gaps of a Poisson process are distributed exponentially.
                let uniform = ((self.random.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
                self.next -= uniform.ln() * SECOND_MICROS as f64 / self.rate as f64;
            }
        }
    }

    fn at_even_pace(&self) -> f64 {
        self.taken as f64 / self.rate as f64 * SECOND_MICROS as f64
    }

    /// How many records are due by `now` and were not taken; of Poisson arrivals, about.
    pub(super) fn lag(&self, now: Timestamp) -> Option<u64> {
        let mut micros = now.micros_since(self.start?);
        if self.arrivals == Arrivals::Bursts {
            let in_second = (micros % SECOND_MICROS * BURST_PART).min(SECOND_MICROS - 1);
            micros = micros / SECOND_MICROS * SECOND_MICROS + in_second;
        }
        let due = u128::from(micros) * u128::from(self.rate) / u128::from(SECOND_MICROS);
        Some(u64::try_from(due).unwrap_or(u64::MAX).saturating_add(1).saturating_sub(self.taken))
    }

    /// About how many records are due within a thousandth of a second: to reserve for.
    pub(super) fn in_a_millisecond(&self) -> u64 {
        let peak = if self.arrivals == Arrivals::Bursts { self.rate.saturating_mul(BURST_PART) } else { self.rate };
        peak / 1000 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dues(rate: u64, arrivals: Arrivals, count: usize) -> Vec<i64> {
        let mut schedule = Schedule::new(rate, arrivals, 7);
        let next = |_| {
            let due = schedule.due(Timestamp(0)).0;
            schedule.advance();
            due
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn each_kind_of_arrivals_has_its_times() {
        assert_eq!(dues(4, Arrivals::Constant, 6), [0, 250_000, 500_000, 750_000, 1_000_000, 1_250_000]);
        assert_eq!(dues(4, Arrivals::Bursts, 6), [0, 25_000, 50_000, 75_000, 1_000_000, 1_025_000]);
        let poisson = dues(1_000, Arrivals::Poisson, 100_001);
        assert!(poisson.is_sorted());
        let gaps: Vec<f64> = poisson.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1_000.0).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // An exponential distribution has the deviation of its mean.
        assert!((0.98..1.02).contains(&mean) && (0.95..1.05).contains(&variance), "{mean} {variance}");
    }

    #[test]
    fn what_is_due_and_was_not_taken_is_the_lag() {
        // arrivals, taken, microseconds, lag
        let cases = [
            (Arrivals::Constant, 0, 0, 1),
            (Arrivals::Constant, 1, 0, 0),
            (Arrivals::Constant, 1, 500_000, 50),
            (Arrivals::Bursts, 1, 50_000, 50),
            (Arrivals::Bursts, 1, 500_000, 99),
            (Arrivals::Bursts, 1, 1_010_000, 110),
            (Arrivals::Poisson, 0, 1_000_000, 101),
        ];
        for (arrivals, taken, now, expected) in cases {
            let mut schedule = Schedule::new(100, arrivals, 1);
            assert_eq!(schedule.lag(Timestamp(now)), None, "nothing has begun");
            schedule.due(Timestamp(0));
            (0..taken).for_each(|_| schedule.advance());
            assert_eq!(schedule.lag(Timestamp(now)), Some(expected), "{arrivals:?} {taken} {now}");
        }
    }
}
