//! What repeated measurements say.

/// The middle of some numbers, the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` of no numbers.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        let upper = *sorted.get(half)?;
        let lower = if sorted.len().is_multiple_of(2) { *sorted.get(half.checked_sub(1)?)? } else { upper };
        Some(Spread { median: (lower + upper) / 2.0, least: *sorted.first()?, most: *sorted.last()? })
    }

    /// How many times the least the most is.
    pub(crate) fn factor(&self) -> f64 {
        if self.least > 0.0 { self.most / self.least } else { 1.0 }
    }
}

/// The mean of some numbers, and the sum of their squared distances from it; `None` of no numbers.
fn mean_and_squares(numbers: &[f64]) -> Option<(f64, f64)> {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    (count > 0.0).then(|| (mean, numbers.iter().map(|number| (number - mean).powi(2)).sum()))
}

/// Two groups of measurements of one thing, earlier and later, as logarithms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pair {
    pub(crate) old: Vec<f64>,
    pub(crate) new: Vec<f64>,
}

impl Pair {
    /// Of measurements, which are positive.
    pub(crate) fn of_logs(old: &[f64], new: &[f64]) -> Pair {
        let logs = |numbers: &[f64]| numbers.iter().map(|number| number.max(f64::MIN_POSITIVE).ln()).collect();
        Pair { old: logs(old), new: logs(new) }
    }

    /// The logarithm of the ratio, new to old.
    pub(crate) fn difference(&self) -> Option<f64> {
        Some(mean_and_squares(&self.new)?.0 - mean_and_squares(&self.old)?.0)
    }

    /// Squared distances from the means, and how many of these are free.
    fn squares(&self) -> (f64, usize) {
        let groups = [&self.old, &self.new];
        let squares = groups.iter().filter_map(|group| mean_and_squares(group)).map(|(_, squares)| squares).sum();
        (squares, groups.iter().map(|group| group.len().saturating_sub(1)).sum())
    }

    /// The standard error of the difference, where one measurement has the deviation `pooled` or that of these, the greater.
    pub(crate) fn error(&self, pooled: f64) -> f64 {
        let (squares, free) = self.squares();
        let own = if free > 0 { (squares / free as f64).sqrt() } else { 0.0 };
        own.max(pooled) * (1.0 / self.old.len() as f64 + 1.0 / self.new.len() as f64).sqrt()
    }
}

/// The deviation of one measurement, from all pairs together; `None` where nothing was measured twice.
pub(crate) fn pooled_deviation<'p>(pairs: impl IntoIterator<Item = &'p Pair>) -> Option<f64> {
    let mut all = (0.0, 0);
    for (squares, free) in pairs.into_iter().map(Pair::squares) {
        all = (all.0 + squares, all.1 + free);
    }
    (all.1 > 0).then(|| (all.0 / all.1 as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_a_median() {
        assert_eq!(Spread::of([]), None);
        let spread = Spread::of([3.0, 1.0, 8.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.5, least: 1.0, most: 8.0 });
        assert_eq!(spread.factor(), 8.0);
        assert_eq!(Spread::of([4.0]).unwrap().factor(), 1.0);
    }

    #[test]
    fn the_error_is_that_of_textbooks() {
        // Deviations of 1 in both groups of three: the error of the difference is sqrt(2/3).
        let pair = Pair { old: vec![1.0, 2.0, 3.0], new: vec![5.0, 6.0, 7.0] };
        assert_eq!(pair.difference(), Some(4.0));
        assert!((pair.error(0.0) - (2.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((pair.error(2.0) - 2.0 * (2.0_f64 / 3.0).sqrt()).abs() < 1e-12, "the pooled deviation is greater");
        let single = Pair { old: vec![1.0], new: vec![2.0] };
        assert_eq!(single.error(0.5), 0.5 * 2.0_f64.sqrt());
        assert_eq!(pooled_deviation([&pair, &single]), Some(1.0));
        assert_eq!(pooled_deviation([&single]), None);
    }
}
