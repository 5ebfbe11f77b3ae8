//! How lags are spread: in histograms, weighted where keys are sampled.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Significant decimal digits of a lag: values are told apart to one in a hundred.
const DIGITS: u8 = 2;

/// Lags in ticks, with how many each stands for.
#[derive(Clone, Debug, Default)]
pub(super) struct Lags {
    /// Made with the first lag: most pairs of stream and dependency have few, and one takes up to 50 KB.
    histogram: Option<Histogram<u64>>,
    /// The longest, which the histogram has only to its digits.
    max: u64,
    sum: u128,
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
    /// Adds a lag that stands for `weight` of them.
    pub(super) fn add(&mut self, lag: u64, weight: u64) {
        self.max = self.max.max(lag);
        self.sum += u128::from(lag) * u128::from(weight);
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

    /// How many are no longer than `bound`.
    pub(super) fn within(&self, bound: u64) -> u64 {
        self.histogram.as_ref().map_or(0, |histogram| histogram.count_between(0, bound))
    }

    /// The sum of all, each counted up to `bound` only.
    pub(super) fn sum_up_to(&self, bound: u64) -> u128 {
        if bound >= self.max {
            return self.sum;
        }
        let Some(histogram) = &self.histogram else { return 0 };
        histogram
            .iter_recorded()
            .map(|value| {
                u128::from(value.value_iterated_to().min(bound)) * u128::from(value.count_since_last_iteration())
            })
            .sum()
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
            let within = histogram.count_between(0, *bound);
            bars.push(Bar { up_to: Some(*bound), count: within - before });
            before = within;
        }
        bars.push(Bar { up_to: None, count: histogram.len() - before });
        let first = bars.iter().position(|bar| bar.count > 0).unwrap_or(bars.len());
        let end = bars.iter().rposition(|bar| bar.count > 0).map_or(0, |last| last + 1);
        bars.get(first..end).unwrap_or_default().to_vec()
    }
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
        assert_eq!(lags.sum_up_to(u64::MAX), 90 * 10 + 10 * 1_234_567);
        assert_eq!(lags.sum_up_to(5), 90 * 5 + 10 * 5);
    }

    #[test]
    fn nothing_is_in_an_empty_one() {
        let lags = Lags::default();
        assert_eq!((lags.count(), lags.within(5), lags.quantiles()), (0, 0, Quantiles::default()));
        assert!(lags.bars(&[1, 2]).is_empty());
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
