//! The search for the highest rate that is sustained.

use serde::{Deserialize, Serialize};

/// What became of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    Sustained,
    NotSustained,
    /// The generator did not keep up with it: it says nothing about the mode.
    GeneratorBound,
}

/// Rates between which the highest sustained one is. Halves the distance, as a ratio, until it is small.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Search {
    /// The highest rate that was sustained.
    pub(crate) sustained: Option<u64>,
    /// The lowest that was not.
    pub(crate) not_sustained: Option<u64>,
    /// Whether that is because the generator did not keep up: the mode may sustain more.
    pub(crate) generator_bound: bool,
}

/// By this factor rates go up or down until there is one on either side.
const STRIDE: f64 = 1.5;

/// Below this rate a search gives up, in records a second.
const LEAST: u64 = 500;

impl Search {
    /// One that knows nothing.
    pub(crate) fn new() -> Search {
        Search { sustained: None, not_sustained: None, generator_bound: false }
    }

    /// Takes in what became of a rate.
    pub(crate) fn take_in(&mut self, rate: u64, tried: Tried) {
        match tried {
            Tried::Sustained => {
                self.sustained = Some(self.sustained.map_or(rate, |known| known.max(rate)));
                // It was tried again, or by chance: what is sustained now overrules a failure at less.
                if self.not_sustained.is_some_and(|failed| failed <= rate) {
                    self.not_sustained = None;
                    self.generator_bound = false;
                }
            }
            Tried::NotSustained | Tried::GeneratorBound => {
                if self.sustained.is_some_and(|known| known >= rate) {
                    return;
                }
                if self.not_sustained.is_none_or(|known| rate < known) {
                    self.not_sustained = Some(rate);
                    self.generator_bound = tried == Tried::GeneratorBound;
                }
            }
        }
    }

    /// The rate to try next; `None` once the two are within the factor `close`. Begins at `guess` where nothing is known.
    pub(crate) fn next(&self, guess: u64, close: f64) -> Option<u64> {
        let rate = match (self.sustained, self.not_sustained) {
            (None, None) => guess as f64,
            (Some(sustained), None) => sustained as f64 * STRIDE,
            (None, Some(failed)) => failed as f64 / STRIDE,
            (Some(sustained), Some(failed)) if failed as f64 <= sustained as f64 * close => return None,
            (Some(sustained), Some(failed)) => (sustained as f64 * failed as f64).sqrt(),
        };
        let rate = rounded(rate);
        let is_new = self.sustained != Some(rate) && self.not_sustained != Some(rate);
        (rate >= LEAST && is_new).then_some(rate)
    }
}

/// To two digits, so that what is found can be said.
fn rounded(rate: f64) -> u64 {
    let unit = 10_f64.powf((rate.max(1.0).log10().floor() - 1.0).max(0.0));
    ((rate / unit).round() * unit) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(guess: u64, close: f64, tried: impl Fn(u64) -> Tried) -> (Search, usize) {
        let (mut search, mut probes) = (Search::new(), 0);
        while let Some(rate) = search.next(guess, close) {
            search.take_in(rate, tried(rate));
            probes += 1;
            assert!(probes < 50, "{search:?}");
        }
        (search, probes)
    }

    #[test]
    fn it_finds_what_is_sustained_from_any_guess() {
        for limit in [700_u64, 12_345, 80_000, 333_333, 2_000_000] {
            for guess in [1_000, 40_000, 900_000] {
                let sustains = |rate: u64| if rate <= limit { Tried::Sustained } else { Tried::NotSustained };
                let (search, _) = run(guess, 1.1, sustains);
                let (sustained, failed) = (search.sustained.unwrap(), search.not_sustained.unwrap());
                assert!(sustained <= limit && limit < failed, "{search:?} for {limit}");
                assert!(failed as f64 <= sustained as f64 * 1.15, "{search:?} for {limit}");
            }
        }
    }

    #[test]
    fn it_needs_few_probes_from_a_good_guess() {
        let (_, probes) =
            run(100_000, 1.2, |rate| if rate <= 110_000 { Tried::Sustained } else { Tried::NotSustained });
        assert!(probes <= 5, "{probes}");
    }

    #[test]
    fn the_generator_is_named_where_it_was_the_limit() {
        let bound = |rate: u64| if rate <= 50_000 { Tried::Sustained } else { Tried::GeneratorBound };
        assert!(run(10_000, 1.1, bound).0.generator_bound);
        let both = |rate: u64| match rate {
            ..=50_000 => Tried::Sustained,
            50_001..=100_000 => Tried::NotSustained,
            _ => Tried::GeneratorBound,
        };
        assert!(!run(200_000, 1.1, both).0.generator_bound);
    }

    #[test]
    fn it_gives_up_where_nothing_is_sustained() {
        let (search, probes) = run(10_000, 1.1, |_| Tried::NotSustained);
        assert_eq!(search.sustained, None);
        assert!(probes < 12);
    }

    #[test]
    fn a_second_try_overrules_the_first() {
        let mut search = Search::new();
        search.take_in(100, Tried::NotSustained);
        search.take_in(100, Tried::Sustained);
        assert_eq!(search, Search { sustained: Some(100), not_sustained: None, generator_bound: false });
        search.take_in(90, Tried::NotSustained);
        assert_eq!(search.not_sustained, None, "more was sustained");
    }
}
