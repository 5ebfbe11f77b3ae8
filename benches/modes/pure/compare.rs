//! Two sittings beside each other: `--compare`.
//!
//! **What counts as a regression.** A figure of a point is worse where the ratio of its geometric means is worse by more than [`WORSE_BY`], and their
//! distance is more than [`ERRORS`] standard errors. A measurement's deviation is that of the point's own repetitions or that of all points together for
//! this figure, the greater; where nothing was measured twice, nothing is judged. By chance alone that is rarer than one point in a thousand. Of a
//! search, whose result has no repetitions, the lowest rate that was not sustained must lie [`WORSE_BY`] below what was sustained before.

use std::fmt::Write;

use super::results::{About, Point, Results, Run};
use super::statistics::{Pair, pooled_deviation};
use super::text;

/// The part by which a figure must be worse.
const WORSE_BY: f64 = 0.1;

/// And how many standard errors.
const ERRORS: f64 = 4.0;

/// A figure of a run, of which less is better.
struct Figure {
    name: &'static str,
    of: fn(&Run) -> Option<f64>,
    show: fn(f64) -> String,
}

const FIGURES: [Figure; 3] = [
    Figure { name: "completion p99", of: |run| Some(run.completion_p99_us().max(1.0)), show: text::micros },
    Figure { name: "CPU s per million", of: Run::cpu_seconds_per_million, show: text::short },
    Figure { name: "peak memory", of: Run::memory_peak, show: text::bytes },
];

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    Better,
    Worse,
    /// There are no repetitions to tell from.
    NotJudged,
}

/// A figure of one point in both sittings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) figure: &'static str,
    pub(crate) old: String,
    pub(crate) new: String,
    /// New to old.
    pub(crate) ratio: f64,
    pub(crate) verdict: Verdict,
}

/// Both sittings' figures, point by point, where both have the point.
pub(crate) fn compare(old: &Results, new: &Results) -> Vec<Row> {
    let mut rows = searches(old, new);
    for figure in FIGURES {
        let pairs = pairs(old, new, &figure);
        let pooled = pooled_deviation(pairs.iter().map(|(_, pair)| pair));
        rows.extend(pairs.iter().filter_map(|(point, pair)| row(old, point, pair, &figure, pooled)));
    }
    rows
}

/// What else than the program differs between two sittings, so that their numbers may differ for that reason.
pub(crate) fn differences(old: &Results, new: &Results) -> Vec<String> {
    let facts = |about: &About| {
        let machine = |key: &str| about.machine.get(key).map_or("unknown".to_owned(), ToString::to_string);
        [
            ("the processor", machine("cpu")),
            ("the number of cores", machine("cores")),
            ("the kernel", machine("kernel")),
            ("the compiler", machine("rustc")),
            ("the build", about.build.clone()),
            ("the length of a point in seconds", about.seconds.to_string()),
            ("the bound in seconds", about.bound_seconds.to_string()),
            ("the reach of references", about.reach.to_string()),
            ("the seed", about.seed.to_string()),
            ("the wait before defer", about.wait.clone()),
        ]
    };
    let pairs = facts(&old.about).into_iter().zip(facts(&new.about));
    let differ = pairs.filter(|((_, old), (_, new))| old != new);
    differ.map(|((name, old), (_, new))| format!("{name} differs: {old} before, {new} now")).collect()
}

fn pairs(old: &Results, new: &Results, figure: &Figure) -> Vec<(Point, Pair)> {
    let of = |results: &Results, point: &Point| -> Vec<f64> {
        let runs = results.runs.iter().filter(|run| run.point == *point && !run.probe && !run.is_generator_bound());
        runs.filter_map(figure.of).collect()
    };
    let points = old.points(false).into_iter().map(|(point, _)| point);
    let pairs = points.map(|point| (point, Pair::of_logs(&of(old, &point), &of(new, &point))));
    pairs.filter(|(_, pair)| pair.difference().is_some()).collect()
}

fn row(old: &Results, point: &Point, pair: &Pair, figure: &Figure, pooled: Option<f64>) -> Option<Row> {
    let difference = pair.difference()?;
    let mean = |logs: &[f64]| (figure.show)((logs.iter().sum::<f64>() / logs.len() as f64).exp());
    let verdict = match pooled {
        None => Verdict::NotJudged,
        Some(_) if difference.abs() <= (1.0 + WORSE_BY).ln() => Verdict::Same,
        Some(pooled) if difference.abs() <= ERRORS * pair.error(pooled) => Verdict::Same,
        Some(_) if difference > 0.0 => Verdict::Worse,
        Some(_) => Verdict::Better,
    };
    let what = format!("{}, {}, {}/s", point.mode, point.setting.name(&old.about.base), text::short(point.rate as f64));
    let (old, new) = (mean(&pair.old), mean(&pair.new));
    Some(Row { what, figure: figure.name, old, new, ratio: difference.exp(), verdict })
}

fn searches(old: &Results, new: &Results) -> Vec<Row> {
    let mut rows = Vec::new();
    for before in &old.found {
        let is_same = |found: &&super::results::Found| found.mode == before.mode && found.setting == before.setting;
        let Some(after) = new.found.iter().find(is_same) else { continue };
        let (Some(low), Some(now)) = (before.search.sustained, after.search.sustained) else { continue };
        let below = |failed: Option<u64>, sustained: u64| {
            failed.is_some_and(|failed| (failed as f64) < sustained as f64 * (1.0 - WORSE_BY))
        };
        let verdict = match (after.search.generator_bound, before.search.generator_bound) {
            (false, _) if below(after.search.not_sustained, low) => Verdict::Worse,
            (_, false) if below(before.search.not_sustained, now) => Verdict::Better,
            _ => Verdict::Same,
        };
        rows.push(Row {
            what: format!("{}, {}", before.mode, before.setting.name(&old.about.base)),
            figure: "highest sustained",
            old: text::short(low as f64),
            new: text::short(now as f64),
            ratio: now as f64 / low as f64,
            verdict,
        });
    }
    rows
}

/// The table for people, and whether anything is worse.
pub(crate) fn report(rows: &[Row]) -> (String, bool) {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{:<58} {:<18} {:>9} {:>9} {:>7}", "point", "figure", "old", "new", "ratio");
    for row in rows {
        let verdict = match row.verdict {
            Verdict::Same => "",
            Verdict::Better => "  better",
            Verdict::Worse => "  WORSE",
            Verdict::NotJudged => "  not judged: no repetitions",
        };
        let Row { what, figure, old, new, ratio, .. } = row;
        let _ = writeln!(out, "{what:<58} {figure:<18} {old:>9} {new:>9} {ratio:>7.2}{verdict}");
    }
    let worse = rows.iter().filter(|row| row.verdict == Verdict::Worse).count();
    let _ = match (rows.is_empty(), worse) {
        (true, _) => writeln!(out, "no point is in both"),
        (false, 0) => writeln!(out, "nothing is significantly worse"),
        (false, worse) => writeln!(
            out,
            "{worse} of {} are significantly worse: by more than {:.0} %, and more than {ERRORS} standard errors",
            rows.len(),
            WORSE_BY * 100.0
        ),
    };
    (out, worse > 0)
}

#[cfg(test)]
mod tests {
    use super::super::results::samples::{found, results, run};
    use super::super::setting::{BASE, Mode};
    use super::*;

    /// Three repetitions with CPU seconds that scatter by 2 %.
    fn sitting(cpu: f64) -> Results {
        let repetition = |part: f64| {
            let mut run = run(Mode::Streaming, BASE, 40_000, 3, 50);
            run.summary.cpu_seconds = Some(cpu * part);
            run
        };
        results([0.98, 1.0, 1.02].map(repetition).to_vec(), Vec::new())
    }

    fn verdict(rows: &[Row], figure: &str) -> Verdict {
        rows.iter().find(|row| row.figure == figure).unwrap().verdict
    }

    #[test]
    fn what_is_clearly_worse_is_told() {
        let cases = [(1.0, Verdict::Same), (1.05, Verdict::Same), (1.3, Verdict::Worse), (0.7, Verdict::Better)];
        for (factor, expected) in cases {
            let rows = compare(&sitting(1.0), &sitting(factor));
            assert_eq!(verdict(&rows, "CPU s per million"), expected, "{factor}");
            assert_eq!(verdict(&rows, "peak memory"), Verdict::Same);
            assert_eq!(report(&rows).1, expected == Verdict::Worse);
        }
    }

    #[test]
    fn what_scatters_is_not_told_from_chance() {
        let noisy = |factor: f64| {
            let mut sitting = sitting(factor);
            sitting.runs[0].summary.cpu_seconds = Some(factor * 0.5);
            sitting.runs[2].summary.cpu_seconds = Some(factor * 2.0);
            sitting
        };
        assert_eq!(verdict(&compare(&noisy(1.0), &noisy(1.5)), "CPU s per million"), Verdict::Same);
    }

    #[test]
    fn without_repetitions_there_is_no_verdict_but_a_ratio() {
        let single = |cpu| {
            let mut sitting = sitting(cpu);
            sitting.runs.truncate(1);
            sitting
        };
        let rows = compare(&single(1.0), &single(2.0));
        assert_eq!(verdict(&rows, "CPU s per million"), Verdict::NotJudged);
        assert!((rows[1].ratio - 2.0).abs() < 1e-9);
        assert!(!report(&rows).1);
    }

    #[test]
    fn a_point_measured_once_is_judged_by_the_scatter_of_others() {
        let with_other = |cpu: f64| {
            let mut sitting = sitting(1.0);
            let mut other = run(Mode::Deferred, BASE, 40_000, 3, 50);
            other.summary.cpu_seconds = Some(cpu);
            sitting.runs.push(other);
            sitting
        };
        let rows = compare(&with_other(1.0), &with_other(1.5));
        let deferred =
            rows.iter().find(|row| row.what.starts_with("deferred") && row.figure.starts_with("CPU")).unwrap();
        assert_eq!(deferred.verdict, Verdict::Worse);
    }

    #[test]
    fn searches_are_compared_by_their_bounds() {
        let searched =
            |rate| results(vec![run(Mode::Streaming, BASE, 40_000, 3, 50)], vec![found(Mode::Streaming, BASE, rate)]);
        for (now, expected) in
            [(100_000, Verdict::Same), (90_000, Verdict::Same), (70_000, Verdict::Worse), (140_000, Verdict::Better)]
        {
            let rows = compare(&searched(100_000), &searched(now));
            assert_eq!(verdict(&rows, "highest sustained"), expected, "{now}");
        }
        let mut by_generator = searched(70_000);
        by_generator.found[0].search.generator_bound = true;
        assert_eq!(verdict(&compare(&searched(100_000), &by_generator), "highest sustained"), Verdict::Same);
    }

    #[test]
    fn what_else_differs_is_told() {
        assert_eq!(differences(&sitting(1.0), &sitting(2.0)), [""; 0]);
        let mut other = sitting(1.0);
        other.about.machine["kernel"] = "7.0".into();
        other.about.seconds = 5.0;
        let found = differences(&sitting(1.0), &other);
        assert_eq!(
            found,
            [
                "the kernel differs: \"6.1\" before, \"7.0\" now",
                "the length of a point in seconds differs: 2 before, 5 now"
            ]
        );
    }

    #[test]
    fn points_of_one_sitting_only_are_left_out() {
        let other = results(vec![run(Mode::Deferred, BASE, 40_000, 3, 50)], Vec::new());
        let rows = compare(&sitting(1.0), &other);
        assert!(rows.is_empty());
        assert!(report(&rows).0.contains("no point is in both"));
    }
}
