//! The figures of points beside each other.

use super::super::results::{Point, Quantiles, Results, Run};
use super::super::setting::{Mode, Setting};
use super::super::statistics::{Pair, pooled_deviation};
use super::super::text;
use super::{Left, Row, Verdict, WORSE_BY};

/// How many standard errors a figure must be worse by.
pub(super) const ERRORS: f64 = 4.0;

/// By this factor a figure must be worse where nothing tells how it scatters.
pub(super) const BEYOND_DOUBT: f64 = 2.0;

/// A figure of a run.
struct Figure {
    name: &'static str,
    of: fn(&Run) -> Option<f64>,
    show: fn(f64) -> String,
    more_is_better: bool,
    /// Whether on the same code one run may have a multiple of what another has: then nothing is beyond doubt.
    is_volatile: bool,
}

const fn latency(name: &'static str, of: fn(&Run) -> Option<f64>) -> Figure {
    Figure { name, of, show: text::micros, more_is_better: false, is_volatile: true }
}

const fn resource(name: &'static str, of: fn(&Run) -> Option<f64>, show: fn(f64) -> String) -> Figure {
    Figure { name, of, show, more_is_better: false, is_volatile: false }
}

const FIGURES: [Figure; 7] = [
    Figure {
        name: "achieved/s",
        of: |run| Some(run.achieved()),
        show: text::short,
        more_is_better: true,
        is_volatile: false,
    },
    latency("accept p99", |run| p99(run.summary.latency.accept)),
    latency("resolve p99", |run| p99(run.summary.latency.resolve)),
    latency("completion p99", |run| p99(run.summary.latency.completion)),
    latency("visible p99", |run| p99(run.summary.latency.visible)),
    resource("CPU s per million", Run::cpu_seconds_per_million, text::short),
    resource("peak memory", Run::memory_peak, text::bytes),
];

/// `None` where a mode has no such latency.
fn p99(latency: Quantiles) -> Option<f64> {
    (latency.count > 0).then(|| (latency.p99_us as f64).max(1.0))
}

/// Every figure of the points that both have, and what cannot be compared.
pub(super) fn points(old: &Results, new: &Results) -> (Vec<Row>, Vec<Left>) {
    let (points, mut left) = in_both(old, new);
    let mut rows = Vec::new();
    for figure in FIGURES {
        let mut pairs = Vec::new();
        for point in &points {
            let pair = Pair::of_logs(&measured(old, point, figure.of), &measured(new, point, figure.of));
            let why = match (pair.old.is_empty(), pair.new.is_empty()) {
                (false, false) => {
                    pairs.push((point, pair));
                    continue;
                }
                (true, true) => continue,
                (false, true) => "not told now",
                (true, false) => "not told before",
            };
            left.push(Left { what: format!("{}, {}", name(old, point), figure.name), why: why.to_owned() });
        }
        let pooled = pooled_deviation(pairs.iter().map(|(_, pair)| pair));
        rows.extend(pairs.iter().filter_map(|(point, pair)| row(name(old, point), pair, &figure, pooled)));
    }
    (rows, left)
}

fn name(old: &Results, point: &Point) -> String {
    format!("{}, {}, {}/s", point.mode, point.setting.name(&old.about.base), text::short(point.rate as f64))
}

/// What of a point says something about the mode.
fn measured(results: &Results, point: &Point, figure: fn(&Run) -> Option<f64>) -> Vec<f64> {
    let runs = results.runs.iter().filter(|run| run.point == *point && !run.probe && !run.is_generator_bound());
    runs.filter_map(figure).collect()
}

/// The points that both measured, and the others by their reason.
fn in_both(old: &Results, new: &Results) -> (Vec<Point>, Vec<Left>) {
    let of = |results: &Results| results.points(false).into_iter().map(|(point, _)| point).collect::<Vec<Point>>();
    let (before, now) = (of(old), of(new));
    let says = |results: &Results, point: &Point| !measured(results, point, |run| Some(run.achieved())).is_empty();
    let only_now = now.iter().filter(|point| !before.contains(point));
    let (mut both, mut others, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for mode in Mode::ALL {
        match (old.modes().contains(&mode), new.modes().contains(&mode)) {
            (true, false) => {
                left.push(Left { what: mode.to_string(), why: "the mode was not measured now".to_owned() })
            }
            (false, true) => {
                left.push(Left { what: mode.to_string(), why: "the mode was not measured before".to_owned() })
            }
            (true, true) | (false, false) => {}
        }
    }
    for point in before.iter().chain(only_now) {
        let why = match (before.contains(point), now.contains(point)) {
            (true, true) if !says(old, point) => "the generator was the limit before",
            (true, true) if !says(new, point) => "the generator was the limit now",
            (true, true) => {
                both.push(*point);
                continue;
            }
            (true, false) if new.modes().contains(&point.mode) => "not measured now",
            (false, true) if old.modes().contains(&point.mode) => "not measured before",
            _ => continue,
        };
        others.push((*point, why));
    }
    left.extend(grouped(old, others));
    (both, left)
}

/// One for all rates of a mode in a setting that have the same reason.
fn grouped(old: &Results, others: Vec<(Point, &'static str)>) -> Vec<Left> {
    let mut groups: Vec<(Mode, Setting, &str, Vec<String>)> = Vec::new();
    for (Point { mode, setting, rate }, why) in others {
        let rate = format!("{}/s", text::short(rate as f64));
        match groups.iter_mut().find(|group| (group.0, group.1, group.2) == (mode, setting, why)) {
            Some((.., rates)) => rates.push(rate),
            None => groups.push((mode, setting, why, vec![rate])),
        }
    }
    let left = groups.into_iter().map(|(mode, setting, why, rates)| Left {
        what: format!("{mode}, {}, {}", setting.name(&old.about.base), rates.join(", ")),
        why: why.to_owned(),
    });
    left.collect()
}

fn row(what: String, pair: &Pair, figure: &Figure, pooled: Option<f64>) -> Option<Row> {
    let difference = pair.difference()?;
    let loss = if figure.more_is_better { -difference } else { difference };
    let mean = |logs: &[f64]| (figure.show)((logs.iter().sum::<f64>() / logs.len() as f64).exp());
    let verdict = match pooled {
        None if loss.abs() <= BEYOND_DOUBT.ln() || figure.is_volatile => Verdict::NotJudged,
        Some(_) if loss.abs() <= (1.0 + WORSE_BY).ln() => Verdict::Same,
        Some(pooled) if loss.abs() <= ERRORS * pair.error(pooled) => Verdict::Same,
        _ if loss > 0.0 => Verdict::Worse,
        _ => Verdict::Better,
    };
    let (old, new) = (mean(&pair.old), mean(&pair.new));
    Some(Row { what, figure: figure.name, old, new, ratio: Some(difference.exp()), verdict, searches: None })
}

#[cfg(test)]
mod tests {
    use super::super::super::results::samples::{results, run};
    use super::super::super::setting::BASE;
    use super::*;

    /// Three repetitions, changed by what a test is about.
    fn sitting(change: impl Fn(&mut Run)) -> Results {
        let repetition = |part: f64| {
            let mut run = run(Mode::Streaming, BASE, 40_000, 3, 50);
            run.summary.cpu_seconds = Some(part);
            change(&mut run);
            run
        };
        results([0.98, 1.0, 1.02].map(repetition).to_vec(), Vec::new())
    }

    fn cpu(factor: f64) -> Results {
        sitting(|run| run.summary.cpu_seconds = run.summary.cpu_seconds.map(|seconds| seconds * factor))
    }

    fn verdict(old: &Results, new: &Results, figure: &str) -> Verdict {
        points(old, new).0.iter().find(|row| row.figure == figure).unwrap().verdict
    }

    #[test]
    fn what_is_clearly_worse_is_told() {
        let cases = [(1.0, Verdict::Same), (1.05, Verdict::Same), (1.3, Verdict::Worse), (0.7, Verdict::Better)];
        for (factor, expected) in cases {
            assert_eq!(verdict(&cpu(1.0), &cpu(factor), "CPU s per million"), expected, "{factor}");
            assert_eq!(verdict(&cpu(1.0), &cpu(factor), "peak memory"), Verdict::Same);
        }
    }

    #[test]
    fn every_latency_and_the_achieved_rate_are_compared() {
        type Change = fn(&mut Run);
        let slow: [(&str, Change); 5] = [
            ("accept p99", |run| run.summary.latency.accept.p99_us *= 2),
            ("resolve p99", |run| run.summary.latency.resolve.p99_us *= 2),
            ("completion p99", |run| run.summary.latency.completion.p99_us *= 2),
            ("visible p99", |run| run.summary.latency.visible.p99_us *= 2),
            ("achieved/s", |run| run.summary.busy_seconds *= 2.0),
        ];
        let accepts = |run: &mut Run| run.summary.latency.accept = run.summary.latency.visible;
        for (figure, slower) in slow {
            let now = sitting(|run| {
                accepts(run);
                slower(run);
            });
            let before = sitting(accepts);
            assert_eq!(verdict(&before, &now, figure), Verdict::Worse, "{figure}");
            assert_eq!(verdict(&now, &before, figure), Verdict::Better, "{figure}");
        }
        let rows = points(&cpu(1.0), &cpu(1.0)).0;
        assert!(!rows.iter().any(|row| row.figure == "accept p99"), "the mode has none");
    }

    #[test]
    fn what_scatters_is_not_told_from_chance() {
        let noisy = |factor: f64| {
            let mut sitting = cpu(factor);
            sitting.runs[0].summary.cpu_seconds = Some(factor * 0.5);
            sitting.runs[2].summary.cpu_seconds = Some(factor * 2.0);
            sitting
        };
        assert_eq!(verdict(&noisy(1.0), &noisy(1.5), "CPU s per million"), Verdict::Same);
    }

    #[test]
    fn without_repetitions_only_what_is_beyond_doubt_is_judged() {
        let single = |factor, p99_us| {
            let mut sitting = cpu(factor);
            sitting.runs.truncate(1);
            sitting.runs[0].summary.latency.completion.p99_us = p99_us;
            sitting
        };
        let cases = [(1.9, Verdict::NotJudged), (2.1, Verdict::Worse), (0.4, Verdict::Better)];
        for (factor, expected) in cases {
            assert_eq!(verdict(&single(1.0, 900), &single(factor, 900), "CPU s per million"), expected, "{factor}");
        }
        assert_eq!(verdict(&single(1.0, 900), &single(1.0, 9_000), "completion p99"), Verdict::NotJudged);
    }

    #[test]
    fn a_point_measured_once_is_judged_by_the_scatter_of_others() {
        let with_other = |seconds: f64| {
            let mut sitting = cpu(1.0);
            let mut other = run(Mode::Deferred, BASE, 40_000, 3, 50);
            other.summary.cpu_seconds = Some(seconds);
            sitting.runs.push(other);
            sitting
        };
        let rows = points(&with_other(1.0), &with_other(1.5)).0;
        let deferred =
            rows.iter().find(|row| row.what.starts_with("deferred") && row.figure.starts_with("CPU")).unwrap();
        assert_eq!(deferred.verdict, Verdict::Worse);
    }

    #[test]
    fn points_that_cannot_be_compared_are_told_with_their_reason() {
        let left = |old: &Results, new: &Results| {
            let (_, left) = points(old, new);
            left.into_iter().map(|left| format!("{}: {}", left.what, left.why)).collect::<Vec<String>>()
        };
        let mut more = cpu(1.0);
        more.runs.extend([10_000, 20_000].map(|rate| run(Mode::Streaming, BASE, rate, 3, 50)));
        assert_eq!(left(&more, &cpu(1.0)), ["streaming, base, 10k/s, 20k/s: not measured now"]);
        assert_eq!(left(&cpu(1.0), &more), ["streaming, base, 10k/s, 20k/s: not measured before"]);
        let other = results(vec![run(Mode::Deferred, BASE, 40_000, 3, 50)], Vec::new());
        let expected = ["streaming: the mode was not measured now", "deferred: the mode was not measured before"];
        assert_eq!(left(&cpu(1.0), &other), expected);
        let bound = sitting(|run| run.summary.source_behind_seconds = 1.0);
        assert_eq!(left(&cpu(1.0), &bound), ["streaming, base, 40k/s: the generator was the limit now"]);
        assert_eq!(left(&bound, &cpu(1.0)), ["streaming, base, 40k/s: the generator was the limit before"]);
        assert!(points(&cpu(1.0), &bound).0.is_empty());
        let unmeasured = sitting(|run| run.summary.memory_peak_bytes = None);
        assert_eq!(left(&cpu(1.0), &unmeasured), ["streaming, base, 40k/s, peak memory: not told now"]);
    }
}
