//! What was measured, as it is kept: JSON lines, each an object with one member.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::search::{Search, Tried};
use super::series::Series;
use super::setting::{Mode, Setting};
use super::statistics::Spread;

/// Of how latencies are spread, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) accept: Quantiles,
    pub(crate) resolve: Quantiles,
    pub(crate) completion: Quantiles,
    pub(crate) visible: Quantiles,
    pub(crate) epoch_commit: Quantiles,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) read: u64,
    pub(crate) rejected: u64,
    pub(crate) resolved: u64,
    pub(crate) expired: u64,
    pub(crate) dropped: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateIo {
    pub(crate) bytes_given: u64,
    pub(crate) bytes_written: u64,
    pub(crate) bytes_read: u64,
}

/// How many outcomes there were, and the sum of their hashes in hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lines {
    pub(crate) lines: u64,
    pub(crate) sum: String,
}

/// What a job says of its run: the members of its `--summary-json` that matter here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) busy_seconds: f64,
    pub(crate) source_behind_seconds: f64,
    pub(crate) totals: Totals,
    pub(crate) waiting: u64,
    pub(crate) waiting_peak: u64,
    pub(crate) latency: Latencies,
    pub(crate) memory_peak_bytes: Option<u64>,
    pub(crate) memory_parts_peak_bytes: BTreeMap<String, u64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) state_bytes: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
    pub(crate) state_io: StateIo,
    pub(crate) disk_bytes_read: Option<u64>,
    pub(crate) disk_bytes_written: Option<u64>,
    pub(crate) backpressure_seconds: f64,
    pub(crate) checksums: BTreeMap<String, Lines>,
}

/// What is measured: a mode in a setting at a rate. `--compare` matches these.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) mode: Mode,
    pub(crate) setting: Setting,
    /// Records a second, offered whatever becomes of them.
    pub(crate) rate: u64,
}

/// One measurement of a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) point: Point,
    pub(crate) round: u64,
    /// Whether the search asked for it: its rate is then by chance, and it is not compared.
    pub(crate) probe: bool,
    pub(crate) records: u64,
    /// Cores that other processes were using meanwhile, on average.
    pub(crate) cores_of_others: f64,
    pub(crate) summary: Summary,
}

/// Of the time that its records are offered for a generator may fall behind by this part, before a point says nothing about the mode.
const GENERATOR_PART: f64 = 0.05;

/// And this part of it may be left to do when the last record was due: what is offered faster than it is done leaves more, however long that goes on.
const BACKLOG_PART: f64 = 0.05;

impl Run {
    /// For how long records were offered.
    pub(crate) fn scheduled_seconds(&self) -> f64 {
        self.records as f64 / self.point.rate.max(1) as f64
    }

    /// Records a second, until the last had its outcome.
    pub(crate) fn achieved(&self) -> f64 {
        self.records as f64 / self.summary.busy_seconds.max(self.scheduled_seconds())
    }

    /// How long after the last record was due the last outcome came.
    pub(crate) fn overrun_seconds(&self) -> f64 {
        (self.summary.busy_seconds - self.scheduled_seconds()).max(0.0)
    }

    /// Whether the generator was the bottleneck: what it fell behind by itself is much, and most of all that there was to catch up with.
    pub(crate) fn is_generator_bound(&self) -> bool {
        let behind = self.summary.source_behind_seconds;
        behind > GENERATOR_PART * self.scheduled_seconds() && behind > self.overrun_seconds() / 2.0
    }

    /// Whether the mode keeps up: p99 of completion latency is within the bound, and no backlog was left.
    pub(crate) fn keeps_up(&self, bound_seconds: f64) -> bool {
        let has_backlog = self.overrun_seconds() > BACKLOG_PART * self.scheduled_seconds();
        self.completion_p99_us() <= bound_seconds * 1e6 && !has_backlog
    }

    /// What that says of its rate.
    pub(crate) fn tried(&self, bound_seconds: f64) -> Tried {
        match (self.is_generator_bound(), self.keeps_up(bound_seconds)) {
            (true, _) => Tried::GeneratorBound,
            (false, true) => Tried::Sustained,
            (false, false) => Tried::NotSustained,
        }
    }

    pub(crate) fn completion_p99_us(&self) -> f64 {
        self.summary.latency.completion.p99_us as f64
    }

    /// Of all threads, those that make the records too, for a million records.
    pub(crate) fn cpu_seconds_per_million(&self) -> Option<f64> {
        self.summary.cpu_seconds.map(|seconds| seconds * 1e6 / self.records as f64)
    }

    pub(crate) fn memory_peak(&self) -> Option<f64> {
        self.summary.memory_peak_bytes.map(|bytes| bytes as f64)
    }

    /// Bytes that the state's files were written for each that was given to it.
    pub(crate) fn write_amplification(&self) -> Option<f64> {
        let StateIo { bytes_given, bytes_written, .. } = self.summary.state_io;
        (bytes_given > 0).then(|| bytes_written as f64 / bytes_given as f64)
    }
}

/// The highest sustained rate of a mode in a setting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) mode: Mode,
    pub(crate) setting: Setting,
    #[serde(flatten)]
    pub(crate) search: Search,
}

/// What the numbers are of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    /// UTC, RFC 3339.
    pub(crate) began: String,
    pub(crate) quick: bool,
    /// Machine, kernel, rustc and commit.
    pub(crate) machine: Value,
    /// How the jobs were compiled.
    pub(crate) build: String,
    pub(crate) load_before: f64,
    pub(crate) base: Setting,
    /// The rate at which settings are compared.
    pub(crate) at: u64,
    pub(crate) bound_seconds: f64,
    pub(crate) seconds: f64,
    pub(crate) reach: u64,
    pub(crate) seed: u64,
    /// After which streaming+defer moves a wait into the state.
    pub(crate) wait: String,
    /// What making the base's records alone takes of the CPU seconds, for a million of them.
    pub(crate) making_seconds_per_million: f64,
}

/// Everything that one sitting measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Results {
    pub(crate) about: About,
    pub(crate) runs: Vec<Run>,
    pub(crate) found: Vec<Found>,
    pub(crate) series: Vec<Series>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Line {
    About(Box<About>),
    Run(Box<Run>),
    Found(Found),
    Series(Series),
}

impl Results {
    /// Reads the lines of a sitting. A last line that is cut off, as an interrupted sitting leaves it, is passed over.
    pub(crate) fn parse(text: &str) -> Result<Results, String> {
        let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).enumerate();
        let parse = |(at, line): (usize, &str)| {
            serde_json::from_str::<Line>(line).map_err(|error| format!("line {}: {error}", at + 1))
        };
        let Some(Line::About(about)) = lines.next().map(parse).transpose()? else {
            return Err("line 1 does not say what was measured (\"about\")".to_owned());
        };
        let mut results = Results { about: *about, runs: Vec::new(), found: Vec::new(), series: Vec::new() };
        for line in lines {
            match parse(line)? {
                Line::About(_) => return Err(format!("line {}: a second sitting", line.0 + 1)),
                Line::Run(run) => results.runs.push(*run),
                Line::Found(found) => results.found.push(found),
                Line::Series(series) => results.series.push(series),
            }
        }
        Ok(results)
    }

    /// The points in the order of their first measurement, each with all its measurements. Probes are points, too, where `probes` says so.
    pub(crate) fn points(&self, probes: bool) -> Vec<(Point, Vec<&Run>)> {
        let mut points: Vec<(Point, Vec<&Run>)> = Vec::new();
        for run in self.runs.iter().filter(|run| probes || !run.probe) {
            match points.iter_mut().find(|(point, _)| *point == run.point) {
                Some((_, runs)) => runs.push(run),
                None => points.push((run.point, vec![run])),
            }
        }
        points
    }

    /// The modes in their order.
    pub(crate) fn modes(&self) -> Vec<Mode> {
        let is_there = |mode: &Mode| self.runs.iter().any(|run| run.point.mode == *mode);
        Mode::ALL.into_iter().filter(is_there).collect()
    }

    /// What was searched, in the order of the first searches.
    pub(crate) fn searched(&self) -> Vec<(Mode, Setting)> {
        let mut places = Vec::new();
        for place in self.found.iter().map(|found| (found.mode, found.setting)) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// The best of the searches of a mode in a setting, and how many there were: by chance a rate is not sustained that could be, and hardly ever the other
    /// way round.
    pub(crate) fn best_search(&self, mode: Mode, setting: &Setting) -> Option<(Search, usize)> {
        let searches = || self.found.iter().filter(|found| found.mode == mode && found.setting == *setting);
        let height = |search: &Search| (search.sustained, search.not_sustained.unwrap_or(u64::MAX));
        let best = searches().max_by_key(|found| height(&found.search))?;
        Some((best.search, searches().count()))
    }

    /// The highest rate that a mode sustains in a setting, and whether it may be more: it was not searched, or the generator was the limit.
    pub(crate) fn sustained(&self, mode: Mode, setting: &Setting) -> Option<(u64, bool)> {
        if let Some((search, _)) = self.best_search(mode, setting) {
            let at_least = search.generator_bound || search.not_sustained.is_none();
            return search.sustained.map(|rate| (rate, at_least));
        }
        let kept_up = |(point, runs): &(Point, Vec<&Run>)| {
            let sustained = runs.iter().any(|run| run.tried(self.about.bound_seconds) == Tried::Sustained);
            (point.mode == mode && point.setting == *setting && sustained).then_some(point.rate)
        };
        self.points(true).iter().filter_map(kept_up).max().map(|rate| (rate, true))
    }

    /// The median of something over the measurements of a point that say something about the mode.
    pub(crate) fn median(&self, point: &Point, figure: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        let runs = self.runs.iter().filter(|run| run.point == *point && !run.is_generator_bound());
        Spread::of(runs.filter_map(figure)).map(|spread| spread.median)
    }

    /// What makes these numbers less certain, for people.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let (mut warnings, all) = (Vec::new(), self.runs.len());
        if self.about.load_before > LOAD_HIGH {
            let load = self.about.load_before;
            warnings.push(format!("the load was {load:.2} before anything ran: this is a busy machine"));
        }
        let disturbed: Vec<&Run> = self.runs.iter().filter(|run| run.cores_of_others > OTHERS_HIGH).collect();
        if !disturbed.is_empty() {
            let worst = disturbed.iter().map(|run| run.cores_of_others).fold(0.0, f64::max);
            let count = disturbed.len();
            warnings.push(format!(
                "other processes used more than {OTHERS_HIGH} cores during {count} of {all} measurements, {worst:.1} at worst"
            ));
        }
        let scattered = self.points(false).into_iter().filter(|(_, runs)| {
            let cpu = Spread::of(runs.iter().filter_map(|run| run.cpu_seconds_per_million()));
            cpu.is_some_and(|cpu| cpu.factor() > SCATTER_HIGH)
        });
        let scattered = scattered.count();
        if scattered > 0 {
            warnings.push(format!("CPU time scatters by more than a factor of {SCATTER_HIGH} in {scattered} points"));
        }
        let bound = self.runs.iter().filter(|run| run.is_generator_bound()).count();
        if bound > 0 {
            warnings.push(format!(
                "in {bound} of {all} measurements the generator was the bottleneck: they are marked, and say nothing about a mode"
            ));
        }
        warnings
    }
}

/// Load of a machine that does something else already.
const LOAD_HIGH: f64 = 0.5;

/// Cores of other processes that disturb.
const OTHERS_HIGH: f64 = 0.25;

/// How many times the least the most CPU time of a point may be.
const SCATTER_HIGH: f64 = 1.25;

#[cfg(test)]
pub(crate) mod samples {
    //! Made-up results for the tests of what is done with them.

    use super::super::setting::BASE;
    use super::*;

    pub(crate) fn about() -> About {
        About {
            began: "2026-11-27T12:00:00Z".to_owned(),
            quick: false,
            machine: serde_json::json!({ "cpu": "A <CPU>", "cores": 2, "memory_bytes": 1u64 << 34, "kernel": "6.1", "rustc": "rustc 1.91", "commit": "abc" }),
            build: "release".to_owned(),
            load_before: 0.0,
            base: BASE,
            at: 40_000,
            bound_seconds: 0.2,
            seconds: 2.0,
            reach: 10_000,
            seed: 1,
            wait: "100ms".to_owned(),
            making_seconds_per_million: 0.4,
        }
    }

    /// A run with this p99 of completion latency, and as much memory.
    pub(crate) fn run(mode: Mode, setting: Setting, rate: u64, p99_ms: u64, memory_mib: u64) -> Run {
        let quantiles = Quantiles {
            count: 1,
            p50_us: p99_ms * 300,
            p90_us: p99_ms * 800,
            p99_us: p99_ms * 1000,
            p999_us: p99_ms * 1500,
            max_us: p99_ms * 2000,
        };
        let latency =
            Latencies { resolve: quantiles, completion: quantiles, visible: quantiles, ..Latencies::default() };
        let summary = Summary {
            busy_seconds: 2.001,
            latency,
            memory_peak_bytes: Some(memory_mib << 20),
            cpu_seconds: Some(0.3),
            state_io: StateIo { bytes_given: 100, bytes_written: 350, bytes_read: 0 },
            ..Summary::default()
        };
        let point = Point { mode, setting, rate };
        Run { point, round: 1, probe: false, records: 2 * rate, cores_of_others: 0.0, summary }
    }

    pub(crate) fn found(mode: Mode, setting: Setting, sustained: u64) -> Found {
        let search =
            Search { sustained: Some(sustained), not_sustained: Some(sustained * 11 / 10), generator_bound: false };
        Found { mode, setting, search }
    }

    pub(crate) fn results(runs: Vec<Run>, found: Vec<Found>) -> Results {
        Results { about: about(), runs, found, series: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::setting::BASE;
    use super::samples::{found, results, run};
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let results =
            results(vec![run(Mode::StreamingDefer, BASE, 10_000, 3, 50)], vec![found(Mode::Deferred, BASE, 90_000)]);
        let mut text = serde_json::to_string(&Line::About(Box::new(results.about.clone()))).unwrap() + "\n";
        text += &(serde_json::to_string(&Line::Run(Box::new(results.runs[0].clone()))).unwrap() + "\n");
        text += &(serde_json::to_string(&Line::Found(results.found[0])).unwrap() + "\n");
        assert_eq!(Results::parse(&text), Ok(results.clone()));
        assert_eq!(Results::parse(&(text.clone() + "{\"run\":{\"po")), Ok(results), "an interrupted sitting");
        assert!(Results::parse("{\"run\":{}}\n").unwrap_err().starts_with("line 1"));
        assert!(Results::parse(&text.repeat(2)).unwrap_err().starts_with("line 4"));
    }

    #[test]
    fn a_point_is_the_modes_or_the_generators() {
        let mut run = run(Mode::Streaming, BASE, 10_000, 3, 50);
        assert_eq!(run.tried(0.2), Tried::Sustained);
        assert_eq!(run.achieved().round(), 9_995.0);
        run.summary.busy_seconds = 2.5;
        assert_eq!(run.tried(0.2), Tried::NotSustained, "a backlog was left");
        assert_eq!(run.achieved(), 8_000.0);
        run.summary.source_behind_seconds = 0.2;
        assert_eq!(run.tried(0.2), Tried::NotSustained, "for the most part it was held back");
        run.summary.source_behind_seconds = 0.4;
        assert_eq!(run.tried(0.2), Tried::GeneratorBound);
        run.summary.busy_seconds = 2.001;
        assert_eq!(run.tried(0.2), Tried::GeneratorBound, "it caught up, but latencies were its own");
        let slow = super::samples::run(Mode::Streaming, BASE, 10_000, 201, 50);
        assert_eq!(slow.tried(0.2), Tried::NotSustained);
        assert_eq!(slow.write_amplification(), Some(3.5));
    }

    #[test]
    fn what_is_sustained_is_at_least_what_was_seen() {
        let runs = vec![run(Mode::Streaming, BASE, 10_000, 3, 50), run(Mode::Streaming, BASE, 20_000, 500, 50)];
        let seen = results(runs.clone(), Vec::new());
        assert_eq!(seen.sustained(Mode::Streaming, &BASE), Some((10_000, true)));
        assert_eq!(seen.sustained(Mode::Deferred, &BASE), None);
        let searched = results(runs, vec![found(Mode::Streaming, BASE, 15_000)]);
        assert_eq!(searched.sustained(Mode::Streaming, &BASE), Some((15_000, false)));
        let mut again = searched;
        again.found.push(found(Mode::Streaming, BASE, 12_000));
        assert_eq!(again.sustained(Mode::Streaming, &BASE), Some((15_000, false)), "the best of them counts");
        assert_eq!(again.best_search(Mode::Streaming, &BASE).map(|(_, searches)| searches), Some(2));
        assert_eq!(again.searched(), [(Mode::Streaming, BASE)]);
    }

    #[test]
    fn noise_is_told() {
        let mut noisy = results(
            vec![run(Mode::Streaming, BASE, 10_000, 3, 50), run(Mode::Streaming, BASE, 10_000, 3, 50)],
            Vec::new(),
        );
        assert_eq!(noisy.warnings(), [""; 0]);
        noisy.about.load_before = 1.5;
        noisy.runs[0].cores_of_others = 0.7;
        noisy.runs[0].summary.cpu_seconds = Some(0.6);
        noisy.runs[1].summary.source_behind_seconds = 0.3;
        let warnings = noisy.warnings();
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        assert!(warnings[1].contains("1 of 2 measurements, 0.7 at worst"), "{warnings:?}");
    }
}
