//! A run with a crash in it, as it was watched.

use serde::{Deserialize, Serialize};

use super::setting::{Mode, Setting};

/// A job at one moment, as its metrics have it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Since the first record was due.
    pub(crate) seconds: f64,
    /// Committed; none while nobody answers.
    pub(crate) read: Option<u64>,
    pub(crate) resolved: Option<u64>,
    pub(crate) waiting: Option<u64>,
}

/// A run with a crash in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) mode: Mode,
    pub(crate) setting: Setting,
    pub(crate) rate: u64,
    pub(crate) records: u64,
    pub(crate) killed_seconds: f64,
    pub(crate) started_again_seconds: f64,
    /// When `/readyz` said so.
    pub(crate) ready_seconds: f64,
    pub(crate) samples: Vec<Sample>,
}

impl Series {
    /// At each sample, for how long the record that is the next to be read has been due. While nobody answers nothing is read.
    pub(crate) fn behind(&self) -> Vec<(f64, f64)> {
        let mut read = 0;
        let behind = |sample: &Sample| {
            read = sample.read.unwrap_or(read).min(self.records);
            let due = read as f64 / self.rate as f64;
            let now = sample.seconds.min(self.records as f64 / self.rate as f64);
            (sample.seconds, (now - due).max(0.0))
        };
        self.samples.iter().map(behind).collect()
    }

    /// When what had piled up was worked off: behind by no more than `close` again, and from there to the end.
    pub(crate) fn caught_up_seconds(&self, close: f64) -> Option<f64> {
        let behind = self.behind();
        let last_late = behind.iter().rposition(|(_, behind)| *behind > close)?;
        behind.get(last_late + 1).map(|(seconds, _)| *seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::setting::BASE;
    use super::*;

    #[test]
    fn a_series_tells_how_far_behind_it_is() {
        let sample = |seconds, read| Sample { seconds, read, resolved: read, waiting: Some(0) };
        let samples = vec![
            sample(1.0, Some(990)),
            sample(2.0, None),
            sample(3.0, Some(1_500)),
            sample(4.0, Some(3_980)),
            sample(5.0, Some(4_000)),
        ];
        let series = Series {
            mode: Mode::Deferred,
            setting: BASE,
            rate: 1_000,
            records: 4_000,
            killed_seconds: 1.5,
            started_again_seconds: 2.0,
            ready_seconds: 2.5,
            samples,
        };
        let behind: Vec<f64> =
            series.behind().into_iter().map(|(_, behind)| (behind * 100.0).round() / 100.0).collect();
        assert_eq!(behind, [0.01, 1.01, 1.5, 0.02, 0.0]);
        assert_eq!(series.caught_up_seconds(0.1), Some(4.0));
    }
}
