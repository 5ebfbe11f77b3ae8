//! How lags are spread: in histograms, weighted where keys are sampled.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Significant decimal digits of a lag: values are told apart to one in a hundred.
const DIGITS: u8 = 2;

const SECOND: u64 = 1_000_000;

/// The bars of a histogram over time, in microseconds.
const TIME_BOUNDS: [u64; 14] = [
    0,
    SECOND / 1000,
    SECOND / 100,
    SECOND / 10,
    SECOND,
    10 * SECOND,
    60 * SECOND,
    600 * SECOND,
    3_600 * SECOND,
    6 * 3_600 * SECOND,
    86_400 * SECOND,
    7 * 86_400 * SECOND,
    30 * 86_400 * SECOND,
    365 * 86_400 * SECOND,
];

/// The bars of a histogram over records.
const RECORD_BOUNDS: [u64; 10] = [0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The bars of a histogram over time, or over records.
pub(super) fn bounds(has_time: bool) -> &'static [u64] {
    if has_time { &TIME_BOUNDS } else { &RECORD_BOUNDS }
}

/// Lags in ticks, with how many each stands for.
#[derive(Clone, Debug, Default)]
pub(super) struct Lags {
    /// Bounds, in order, and how many are within each and not within the one before: counted by themselves, for to the histogram a lag just above a bound may
    /// be within it.
    exact: Vec<(u64, u64)>,
    /// Made with the first lag: most pairs of stream and dependency have few, and one takes up to 50 KB.
    histogram: Option<Histogram<u64>>,
    /// The longest, which the histogram has only to its digits.
    max: u64,
}

/// Where lags lie; each is exact to one in a hundred, the longest is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// Half are no longer.
    pub p50: u64,
    /// 9 of 10 are no longer.
    pub p90: u64,
    /// 99 of 100 are no longer.
    pub p99: u64,
    /// 999 of 1,000 are no longer.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

/// A bar of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bar {
    /// Lags up to this, and longer than the bar before; `None` is whatever is longer.
    pub up_to: Option<u64>,
    /// How many.
    pub count: u64,
}

impl Lags {
    /// None yet. How many are within these bounds is counted exactly.
    pub(super) fn new(bounds: &[u64]) -> Lags {
        let mut exact: Vec<(u64, u64)> = bounds.iter().map(|bound| (*bound, 0)).collect();
        exact.sort_unstable();
        exact.dedup();
        Lags { exact, ..Lags::default() }
    }

    /// Adds a lag that stands for `weight` of them.
    pub(super) fn add(&mut self, lag: u64, weight: u64) {
        self.max = self.max.max(lag);
        let first = self.exact.partition_point(|(bound, _)| *bound < lag);
        self.exact.iter_mut().skip(first).take(1).for_each(|(_, count)| *count += weight);
        if self.histogram.is_none() {
            self.histogram = Histogram::new(DIGITS).ok();
        }
        if let Some(histogram) = &mut self.histogram {
            // It grows as far as it has to: any lag finds its place.
            let recorded = histogram.record_n(lag, weight);
            debug_assert!(recorded.is_ok(), "{recorded:?}");
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// How many are no longer than `bound`: of one of the bounds that are counted exactly, and otherwise to the histogram's digits.
    pub(super) fn within(&self, bound: u64) -> u64 {
        if let Ok(at) = self.exact.binary_search_by_key(&bound, |(bound, _)| *bound) {
            return self.exact.iter().take(at + 1).map(|(_, count)| count).sum();
        }
        self.histogram.as_ref().map_or(0, |histogram| histogram.count_between(0, bound))
    }

    /// The lags that there are, in order, each with how many.
    fn values(&self) -> impl Iterator<Item = (u64, u64)> {
        let recorded = self.histogram.iter().flat_map(Histogram::iter_recorded);
        recorded.map(|value| (value.value_iterated_to().min(self.max), value.count_since_last_iteration()))
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        let Some(histogram) = &self.histogram else { return Quantiles::default() };
        let at = |quantile| histogram.value_at_quantile(quantile).min(self.max);
        Quantiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: self.max }
    }

    /// How many lie between bounds, which increase: from the first to the last bar that has some.
    pub(super) fn bars(&self, bounds: &[u64]) -> Vec<Bar> {
        let Some(histogram) = &self.histogram else { return Vec::new() };
        let mut bars = Vec::with_capacity(bounds.len() + 1);
        let mut before = 0;
        for bound in bounds {
            // Cumulated, so that no lag is in two bars whatever the width of the histogram's own.
            let within = self.within(*bound);
            bars.push(Bar { up_to: Some(*bound), count: within - before });
            before = within;
        }
        bars.push(Bar { up_to: None, count: histogram.len() - before });
        let first = bars.iter().position(|bar| bar.count > 0).unwrap_or(bars.len());
        let end = bars.iter().rposition(|bar| bar.count > 0).map_or(0, |last| last + 1);
        bars.get(first..end).unwrap_or_default().to_vec()
    }
}

/// How long things wait all together, each for no longer than `until`: those whose wait `ended`, and those that had waited for so long, and did so `still`, when the
/// sample ended. Of the latter as many are expected to end after that as ended of those that were seen to wait as long (Kaplan and Meier 1958): the end of the
/// sample makes nothing shorter, and what is longer than anything that was seen goes on.
pub(super) fn expected_wait(ended: &Lags, still: &Lags, until: u64) -> f64 {
    let mut changes: BTreeMap<u64, [u64; 2]> = BTreeMap::new();
    for (kind, lags) in [ended, still].into_iter().enumerate() {
        for (at, count) in lags.values() {
            let counts = changes.entry(at).or_default();
            counts.iter_mut().skip(kind).take(1).for_each(|of_kind| *of_kind += count);
        }
    }
    let all = ended.count() + still.count();
    let (mut seen, mut share, mut from, mut wait) = (all, 1.0, 0, 0.0);
    for (at, [ended, still]) in changes.into_iter().take_while(|(at, _)| *at < until) {
        wait += share * (at - from) as f64;
        from = at;
        share *= 1.0 - ended as f64 / seen.max(1) as f64;
        seen -= ended + still;
    }
    all as f64 * (wait + share * (until - from) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lags(of: &[(u64, u64)]) -> Lags {
        let mut lags = Lags::default();
        of.iter().for_each(|(lag, weight)| lags.add(*lag, *weight));
        lags
    }

    #[test]
    fn quantiles_count_weights_and_the_longest_is_exact() {
        let lags = lags(&[(0, 900), (10, 90), (1_234_567, 10)]);
        let quantiles = lags.quantiles();
        assert_eq!((quantiles.p50, quantiles.p90, quantiles.p99), (0, 0, 10));
        assert_eq!((quantiles.p999, quantiles.max), (1_234_567, 1_234_567));
        assert_eq!((lags.count(), lags.within(9), lags.within(10)), (1000, 900, 990));
    }

    #[test]
    fn what_waits_is_expected_from_what_was_seen_to_end() {
        let (none, all) = (lags(&[]), lags(&[(0, 900), (10, 80), (30, 20)]));
        for (until, expected) in [(1000, 80.0 * 10.0 + 20.0 * 30.0), (5, 100.0 * 5.0)] {
            let found = expected_wait(&all, &none, until);
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} instead of {expected}");
        }
        assert_eq!(expected_wait(&none, &none, 5), 0.0);
        // A tenth never ends, however long ago it began: it waits until it may not any more.
        let (ended, still) = (lags(&[(0, 900)]), lags(&[(1, 20), (5, 30), (90, 50)]));
        for until in [1, 50, 100, 100_000] {
            let (found, expected) = (expected_wait(&ended, &still, until), 100.0 * until as f64);
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} instead of {expected}");
        }
        // Half of those that were seen to wait longer than 4 ended at 8; so half of those that were not seen to, will.
        let (ended, still) = (lags(&[(8, 10)]), lags(&[(4, 20), (9, 10)]));
        assert!((expected_wait(&ended, &still, 100) / (40.0 * (8.0 + 0.5 * 92.0)) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_in_an_empty_one() {
        let lags = Lags::default();
        assert_eq!((lags.count(), lags.within(5), lags.quantiles()), (0, 0, Quantiles::default()));
        assert!(lags.bars(&[1, 2]).is_empty());
    }

    /// Lags are often just above a round number: those of a batch that comes every second, say.
    #[test]
    fn what_is_just_above_a_bound_is_not_within_it() {
        let of = [(999_999, 1), (1_000_000, 2), (1_000_001, 4), (1_003_000, 8)];
        let mut lags = Lags::new(&[1_000_000, 10_000_000, 1_000_000, 0]);
        of.iter().for_each(|(lag, weight)| lags.add(*lag, *weight));
        assert_eq!((lags.within(0), lags.within(1_000_000), lags.within(10_000_000)), (0, 3, 15));
        let bars: Vec<_> = lags.bars(&[0, 1_000_000, 10_000_000]).iter().map(|bar| (bar.up_to, bar.count)).collect();
        assert_eq!(bars, [(Some(1_000_000), 3), (Some(10_000_000), 12)]);
    }

    #[test]
    fn every_lag_is_in_one_bar() {
        let lags = lags(&[(3, 1), (10, 2), (11, 4), (500, 8), (100_000, 16)]);
        let bars = |bounds: &[u64]| lags.bars(bounds).iter().map(|bar| (bar.up_to, bar.count)).collect::<Vec<_>>();
        assert_eq!(
            bars(&[1, 10, 100, 1000, 10_000]),
            [(Some(10), 3), (Some(100), 4), (Some(1000), 8), (Some(10_000), 0), (None, 16)]
        );
    }
}
