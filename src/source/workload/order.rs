//! Which event comes when: what is shuffled, repeated, delayed, or never comes.
//!
//! The sequence is cut into windows, and what comes in one follows from its number alone. So a workload can be taken up
//! anywhere, at the cost of one window's order and no content.

use std::ops::Range;

use super::SyntheticSettings;
use super::random::{Purpose, Random, Share};

/// Events of a window where nothing is shuffled.
const WINDOW_IN_ORDER: u64 = 4096;

/// A repeated record comes at most this many events after the first.
const REPEATED_WITHIN: u64 = 1000;

/// The order of a workload's events.
#[derive(Clone, Debug)]
pub(super) struct Order {
    seed: u64,
    /// Events of the workload; `None` where it is endless.
    events: Option<u64>,
    window: u64,
    shuffled: bool,
    duplicates: Share,
    late: Share,
    late_by: u64,
    never: Share,
}

/// What becomes of one event.
struct Fate {
    never: bool,
    late: bool,
    /// How many events later it comes once more; 0 if it does not.
    repeated_after: u64,
}

impl Order {
    pub(super) fn new(settings: &SyntheticSettings) -> Order {
        let shuffled = settings.disorder > 1;
        Order {
            seed: settings.seed,
            events: Some(settings.events).filter(|events| *events > 0),
            window: if shuffled { settings.disorder } else { WINDOW_IN_ORDER },
            shuffled,
            duplicates: Share::new(settings.duplicates),
            late: Share::new(settings.late),
            late_by: settings.late_by,
            never: Share::new(settings.never),
        }
    }

    /// How many windows there are.
    pub(super) fn windows(&self) -> u64 {
        let delay = self.late_by_at_most() + self.repeated_after_at_most();
        self.events.map_or(u64::MAX, |events| events + delay).div_ceil(self.window)
    }

    /// How many events there are, unless they are endless.
    pub(super) fn events(&self) -> Option<u64> {
        self.events
    }

    /// No window has more records than this.
    pub(super) fn records_max(&self) -> u64 {
        let of_both = |window: u64| if self.late.is_none() { window } else { 2 * window };
        let repeated = if self.duplicates.is_none() { 0 } else { of_both(self.window + REPEATED_WITHIN) };
        of_both(self.window) + repeated
    }

    /// The number of the first event whose turn is in a window.
    pub(super) fn first_of(&self, window: u64) -> u64 {
        window.saturating_mul(self.window)
    }

    /// The numbers of the events that come in a window, in their order.
    pub(super) fn fill(&self, window: u64, is_referent: impl Fn(u64) -> bool, numbers: &mut Vec<u64>) {
        numbers.clear();
        let start = window.saturating_mul(self.window);
        let span = start..start.saturating_add(self.window);
        let mut arrivals = Vec::with_capacity(self.window as usize);
        let lateness = if self.late_by_at_most() == 0 { &[false][..] } else { &[true, false] };
        for late in lateness {
            self.arrivals(&span, *late, &is_referent, &mut arrivals);
        }
        arrivals.sort_unstable();
        numbers.extend(arrivals.into_iter().map(|(_, number)| number));
        if self.shuffled {
            self.shuffle(window, numbers);
        }
    }

    /// Adds what arrives within `span` of the events that are late, or that are not.
    fn arrivals(
        &self,
        span: &Range<u64>,
        late: bool,
        is_referent: impl Fn(u64) -> bool,
        arrivals: &mut Vec<(u64, u64)>,
    ) {
        let delay = if late { self.late_by } else { 0 };
        let first = span.start.saturating_sub(delay + self.repeated_after_at_most());
        let end = span.end.saturating_sub(delay).min(self.events.unwrap_or(u64::MAX));
        for number in first..end {
            let fate = self.fate(number);
            if fate.late != late || (fate.never && is_referent(number)) {
                continue;
            }
            let arrival = number + delay;
            if span.contains(&arrival) {
                arrivals.push((arrival, number));
            }
            if fate.repeated_after > 0 && span.contains(&(arrival + fate.repeated_after)) {
                arrivals.push((arrival + fate.repeated_after, number));
            }
        }
    }

    fn fate(&self, number: u64) -> Fate {
        let mut random = Random::new(self.seed, Purpose::Fate, number);
        let never = random.chance(self.never);
        let late = random.chance(self.late) && self.late_by > 0;
        let repeated = random.chance(self.duplicates);
        let repeated_after = if repeated { 1 + random.below(REPEATED_WITHIN) } else { 0 };
        Fate { never, late, repeated_after }
    }

    /// Fisher and Yates.
    fn shuffle(&self, window: u64, numbers: &mut [u64]) {
        let mut random = Random::new(self.seed, Purpose::Shuffle, window);
        for last in (1..numbers.len()).rev() {
            numbers.swap(last, random.below(last as u64 + 1) as usize);
        }
    }

    fn late_by_at_most(&self) -> u64 {
        if self.late.is_none() { 0 } else { self.late_by }
    }

    fn repeated_after_at_most(&self) -> u64 {
        if self.duplicates.is_none() { 0 } else { REPEATED_WITHIN }
    }
}
