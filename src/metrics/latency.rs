//! Latencies in HDR histograms: the live line, the summary and `/metrics` read the same counts, so they cannot disagree.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use prometheus::core::{Collector, Desc};
use prometheus::proto;

/// Significant decimal digits of a recorded latency: values are told apart to one in a thousand.
const DIGITS: u8 = 3;

/// The longest latency told apart, a year; longer ones count as this. It bounds a histogram to about 300 KB.
const LONGEST_MICROS: u64 = 366 * 24 * 3600 * 1_000_000;

/// Upper bounds of the exported buckets: from what a resolved reference takes in memory to what a deferred one waits.
const BOUNDS_MICROS: [u64; 22] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
    86_400_000_000,
    604_800_000_000,
];

/// One kind of latency. Copies share what was recorded.
#[derive(Clone)]
pub(super) struct LatencyHistogram {
    desc: Desc,
    recorded: Arc<Mutex<Recorded>>,
}

struct Recorded {
    histogram: Histogram<u64>,
    // Kept apart from the histogram, whose mean is only as exact as its digits.
    sum_micros: u128,
}

/// How latencies are spread. Each figure is exact to one in a thousand, and zero where nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// How many there were.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: Duration,
    /// 90 of 100 took no longer.
    pub p90: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// 999 of 1000 took no longer.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

impl LatencyHistogram {
    pub(super) fn new(name: &str, help: &str) -> prometheus::Result<Self> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS)
            .map_err(|e| prometheus::Error::Msg(format!("{name}: {e}")))?;
        Ok(LatencyHistogram {
            desc: Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new())?,
            recorded: Arc::new(Mutex::new(Recorded { histogram, sum_micros: 0 })),
        })
    }

    /// Records pairs of a latency in microseconds and how many events had it, under one lock.
    pub(super) fn record(&self, latencies: impl IntoIterator<Item = (u64, u64)>) {
        let mut recorded = self.lock();
        for (micros, count) in latencies {
            recorded.histogram.saturating_record_n(micros, count);
            recorded.sum_micros += u128::from(micros) * u128::from(count);
        }
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        let recorded = self.lock();
        let histogram = &recorded.histogram;
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        Quantiles {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_micros(histogram.max()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        // Counts are whole after every statement, so what a panicking thread left behind can be read.
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for LatencyHistogram {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut exported = proto::Histogram::default();
        {
            let recorded = self.lock();
            exported.set_sample_count(recorded.histogram.len());
            exported.set_sample_sum(recorded.sum_micros as f64 / 1e6);
            exported.set_bucket(buckets(&recorded.histogram));
        }
        let mut metric = proto::Metric::default();
        metric.set_histogram(exported);
        let mut family = proto::MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(proto::MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

/// Counts up to each bound. A run of values that the histogram does not tell apart belongs to the bucket in which it begins.
fn buckets(histogram: &Histogram<u64>) -> Vec<proto::Bucket> {
    let mut runs = histogram.iter_recorded().peekable();
    let mut cumulative = 0;
    BOUNDS_MICROS
        .iter()
        .map(|&bound| {
            while let Some(run) = runs.next_if(|run| histogram.lowest_equivalent(run.value_iterated_to()) <= bound) {
                cumulative += run.count_since_last_iteration();
            }
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound as f64 / 1e6);
            bucket.set_cumulative_count(cumulative);
            bucket
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(latencies: &[(u64, u64)]) -> LatencyHistogram {
        let histogram = LatencyHistogram::new("test_seconds", "Test.").unwrap();
        histogram.record(latencies.iter().copied());
        histogram
    }

    fn exported(histogram: &LatencyHistogram) -> proto::Histogram {
        histogram.collect()[0].get_metric()[0].get_histogram().clone()
    }

    fn cumulative_at(histogram: &proto::Histogram, seconds: f64) -> u64 {
        histogram.get_bucket().iter().find(|b| b.upper_bound() == seconds).unwrap().cumulative_count()
    }

    #[test]
    fn buckets_hold_what_is_no_longer_than_their_bound() {
        let histogram = exported(&recorded(&[(0, 3), (100, 1), (101, 2), (1_000, 4), (1_001, 5), (7_000_000, 6)]));
        let expected = [(0.0001, 4), (0.00025, 6), (0.001, 10), (0.0025, 15), (5.0, 15), (10.0, 21), (604_800.0, 21)];
        for (seconds, count) in expected {
            assert_eq!(cumulative_at(&histogram, seconds), count, "le {seconds}");
        }
        assert_eq!(histogram.get_sample_count(), 21);
    }

    #[test]
    fn the_sum_is_exact_where_the_histogram_is_not() {
        let micros = 123_456_789_012;
        let histogram = exported(&recorded(&[(micros, 2), (1, 1)]));
        assert_eq!(histogram.get_sample_sum(), (2 * micros + 1) as f64 / 1e6);
    }

    #[test]
    fn a_latency_beyond_the_longest_is_counted_as_the_longest() {
        let histogram = recorded(&[(u64::MAX, 1), (10, 1)]);
        let exported = exported(&histogram);
        assert_eq!(exported.get_sample_count(), 2);
        assert_eq!(exported.get_bucket().last().unwrap().cumulative_count(), 1);
        assert!(histogram.quantiles().max >= Duration::from_micros(LONGEST_MICROS));
    }

    #[test]
    fn quantiles_are_exact_to_one_in_a_thousand() {
        let found = recorded(&(1..=10_000).map(|n| (n * 100, 1)).collect::<Vec<_>>()).quantiles();
        let expected = [
            (found.p50, 500_000),
            (found.p90, 900_000),
            (found.p99, 990_000),
            (found.p999, 999_000),
            (found.max, 1_000_000),
        ];
        for (quantile, micros) in expected {
            let error = quantile.as_micros().abs_diff(micros);
            assert!(error <= micros / 1000, "{quantile:?} for {micros} us");
        }
        assert_eq!(recorded(&[]).quantiles(), Quantiles::default());
    }

    proptest::proptest! {
        #[test]
        fn buckets_equal_a_count_by_hand(latencies in proptest::collection::vec((0u64..2_000_000_000_000, 1u64..5), 0..200)) {
            let histogram = recorded(&latencies);
            let exported = exported(&histogram);
            for bucket in exported.get_bucket() {
                let bound = (bucket.upper_bound() * 1e6).round() as u64;
                // The histogram tells values apart to one in a thousand, so a bound is sharp to that.
                let count = |limit: u64| latencies.iter().filter(|(us, _)| *us <= limit).map(|(_, n)| n).sum::<u64>();
                let found = bucket.cumulative_count();
                proptest::prop_assert!(count(bound) <= found && found <= count(bound + bound / 1000), "le {bound} us: {found}");
            }
            proptest::prop_assert_eq!(exported.get_sample_count(), latencies.iter().map(|(_, n)| n).sum::<u64>());
        }
    }
}
