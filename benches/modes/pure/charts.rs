//! The pictures of a sitting.

use super::results::{Point, Results, Run};
use super::series::Series;
use super::setting::{Axis as Varied, Mode, Setting};
use super::statistics::Spread;
use super::svg::{Axis, Chart, Line, Scale};
use super::text;

/// Behind by so little a job counts as caught up again: two epochs.
pub(crate) const CLOSE_SECONDS: f64 = 0.2;

/// Over so much time the throughput of a series is taken, in seconds.
const RATE_WINDOW: f64 = 0.25;

const MIB: f64 = 1_048_576.0;

fn style(mode: Mode) -> usize {
    Mode::ALL.into_iter().position(|other| other == mode).unwrap_or(0)
}

fn line(mode: Mode, points: Vec<(f64, f64)>) -> Line {
    Line { name: mode.to_string(), style: style(mode), points, shapes: true, ..Line::default() }
}

fn axis(label: impl Into<String>, scale: Scale, show: fn(f64) -> String) -> Axis {
    Axis { label: label.into(), scale, show }
}

fn a_rate(rate: f64) -> String {
    text::short(rate)
}

fn seconds(seconds: f64) -> String {
    format!("{} s", text::short(seconds))
}

/// Latency against throughput in the base setting: each mode with the highest rate that it sustains ringed, where a search found it. The last rate that was
/// offered, or that the generator brought, is no knee.
pub(crate) fn latency(results: &Results) -> Chart {
    let base = &results.about.base;
    let points = results.points(true);
    let lines = results.modes().into_iter().map(|mode| {
        let mut own: Vec<&(Point, Vec<&Run>)> =
            points.iter().filter(|(point, _)| point.mode == mode && point.setting == *base).collect();
        own.sort_by_key(|(point, _)| point.rate);
        let place = |runs: &[&Run], ours: bool| {
            let runs = || runs.iter().filter(|run| run.is_generator_bound() != ours);
            let achieved = Spread::of(runs().map(|run| run.achieved()))?.median;
            Some((achieved, Spread::of(runs().map(|run| run.completion_p99_us().max(1.0)))?.median))
        };
        let knee = results.sustained(mode, base).filter(|(_, at_least)| !at_least).map(|(rate, _)| rate);
        let at_knee = own.iter().filter(|(point, _)| Some(point.rate) == knee);
        Line {
            ringed: at_knee.filter_map(|(_, runs)| place(runs, true)).collect(),
            crossed: own.iter().filter_map(|(_, runs)| place(runs, false)).collect(),
            ..line(mode, own.iter().filter_map(|(_, runs)| place(runs, true)).collect())
        }
    });
    Chart {
        description: "p99 of completion latency against throughput, for each mode".to_owned(),
        x: axis("records a second, achieved", Scale::Log, a_rate),
        y: axis("completion latency, p99", Scale::Log, text::micros),
        lines: lines.collect(),
        level: Some((
            results.about.bound_seconds * 1e6,
            format!("bound, {}", text::micros(results.about.bound_seconds * 1e6)),
        )),
        band: None,
    }
}

/// The settings that differ from the base on one axis alone, the base among them, in the order of their values.
fn along(results: &Results, varied: Varied) -> Vec<Setting> {
    let base = &results.about.base;
    let mut settings: Vec<Setting> = Vec::new();
    for (point, _) in results.points(true) {
        if point.setting.is_but_for(varied, base) && !settings.contains(&point.setting) {
            settings.push(point.setting);
        }
    }
    let number = |setting: &Setting| match varied {
        Varied::Dependents => setting.dependents,
        Varied::Disorder => setting.disorder as f64,
        Varied::Late => setting.late,
        Varied::LateBy => setting.late_by as f64,
        Varied::References => setting.references as f64,
        Varied::Skew => setting.skew,
        Varied::Payload => setting.payload as f64,
        Varied::Workers => setting.workers as f64,
        Varied::Arrivals => 0.0,
    };
    settings.sort_by(|a, b| f64::total_cmp(&number(a), &number(b)));
    settings
}

/// A figure of each mode along an axis, and whether it may be more; `None` where that was not varied.
fn by(
    results: &Results,
    varied: Varied,
    y: Axis,
    figure: impl Fn(Mode, &Setting) -> Option<(f64, bool)>,
) -> Option<Chart> {
    let settings = along(results, varied);
    if settings.len() < 2 {
        return None;
    }
    let of_mode = |mode| {
        let places = settings.iter().enumerate();
        let found = places.filter_map(|(at, setting)| figure(mode, setting).map(|(y, more)| ((at as f64, y), more)));
        let found: Vec<((f64, f64), bool)> = found.collect();
        let at_least = found.iter().filter(|(_, more)| *more).map(|(point, _)| *point).collect();
        Line { at_least, ..line(mode, found.into_iter().map(|(point, _)| point).collect()) }
    };
    let lines = results.modes().into_iter().map(of_mode);
    let names = settings.iter().map(|setting| setting.value(varied)).collect();
    let label = match varied {
        Varied::Dependents => "events that refer to others",
        Varied::Disorder => "shuffled within so many events",
        other => other.as_str(),
    };
    Some(Chart {
        description: format!("{} against {}, for each mode", y.label, label),
        x: axis(label, Scale::Names(names), text::short),
        y,
        lines: lines.collect(),
        level: None,
        band: None,
    })
}

/// The highest sustained rate along an axis.
pub(crate) fn throughput(results: &Results, varied: Varied) -> Option<Chart> {
    let searched = results.found.iter().any(|found| found.setting != results.about.base);
    let y = axis("records a second, sustained", Scale::Linear, a_rate);
    by(results, varied, y, |mode, setting| {
        results.sustained(mode, setting).map(|(rate, at_least)| (rate as f64, at_least))
    })
    .filter(|_| searched)
}

/// The most memory that was resident, at the rate at which settings are compared, along an axis.
pub(crate) fn memory(results: &Results, varied: Varied) -> Option<Chart> {
    let rate = results.about.at;
    let y = axis(format!("MiB of memory at {}/s, peak", text::short(rate as f64)), Scale::Linear, text::short);
    let peak = |run: &Run| run.memory_peak().map(|bytes| bytes / MIB);
    by(results, varied, y, |mode, setting| {
        Some((results.median(&Point { mode, setting: *setting, rate }, peak)?, false))
    })
}

/// A run with a crash in it: what it gets done, and how far behind it is.
pub(crate) fn crash(series: &Series) -> [Chart; 2] {
    let band = (series.killed_seconds, series.started_again_seconds, "killed".to_owned());
    let chart = |y: Axis, mut line: Line| {
        line.shapes = false;
        Chart {
            description: format!("{} of {} over time, with a crash", y.label, series.mode),
            x: axis("seconds since the first record was due", Scale::Linear, text::short),
            y,
            lines: vec![line],
            level: None,
            band: Some(band.clone()),
        }
    };
    let behind = line(series.mode, series.behind());
    let resolved = with_gap(line(series.mode, rates(series)), series);
    [
        chart(axis("resolved a second", Scale::Linear, a_rate), resolved),
        chart(axis("behind the schedule", Scale::Linear, seconds), behind),
    ]
}

/// Breaks a line where the job was down.
fn with_gap(mut line: Line, series: &Series) -> Line {
    let last = line.points.iter().rposition(|(at, _)| *at < series.killed_seconds);
    line.gaps.extend(last);
    line
}

/// Outcomes a second, at the middle of each window. A start begins with the committed total, so that none spans the crash.
fn rates(series: &Series) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let mut since: Option<(f64, u64)> = None;
    for sample in &series.samples {
        let Some(resolved) = sample.resolved else {
            since = None;
            continue;
        };
        match since {
            Some((began, before)) if sample.seconds - began >= RATE_WINDOW => {
                let spans_crash = began < series.killed_seconds && sample.seconds > series.killed_seconds;
                if !spans_crash {
                    let rate = resolved.saturating_sub(before) as f64 / (sample.seconds - began);
                    points.push(((sample.seconds + began) / 2.0, rate));
                }
                since = Some((sample.seconds, resolved));
            }
            Some(_) => {}
            None => since = Some((sample.seconds, resolved)),
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::super::results::samples::{found, results, run};
    use super::super::series::Sample;
    use super::super::setting::BASE;
    use super::*;

    #[test]
    fn the_knee_is_ringed_and_the_generators_points_are_not_the_modes() {
        let mut runs: Vec<Run> = [(10_000, 2), (20_000, 3), (40_000, 900)]
            .map(|(rate, p99)| run(Mode::Streaming, BASE, rate, p99, 50))
            .into();
        runs[2].summary.source_behind_seconds = 1.0;
        let chart = latency(&results(runs.clone(), vec![found(Mode::Streaming, BASE, 20_000)]));
        let line = &chart.lines[0];
        assert_eq!(line.points.len(), 2);
        assert_eq!(line.ringed, [line.points[1]]);
        assert_eq!(line.crossed.len(), 1);
        assert!(chart.render().contains("bound, 200 ms"));
        let not_searched = latency(&results(runs.clone(), Vec::new()));
        assert!(not_searched.lines[0].ringed.is_empty(), "the last rate that was tried is no knee");
        let mut by_generator = found(Mode::Streaming, BASE, 20_000);
        by_generator.search.generator_bound = true;
        assert!(latency(&results(runs, vec![by_generator])).lines[0].ringed.is_empty());
    }

    #[test]
    fn what_was_not_varied_has_no_picture() {
        let more = Setting { dependents: 1.0, ..BASE };
        let runs = vec![run(Mode::Streaming, BASE, 40_000, 2, 50), run(Mode::Streaming, more, 40_000, 2, 80)];
        let mut found = vec![found(Mode::Streaming, BASE, 90_000), found(Mode::Streaming, more, 70_000)];
        found[1].search.generator_bound = true;
        let results = results(runs, found);
        let chart = throughput(&results, Varied::Dependents).unwrap();
        assert_eq!(chart.lines[0].points, [(0.0, 90_000.0), (1.0, 70_000.0)]);
        assert_eq!(chart.lines[0].at_least, [(1.0, 70_000.0)], "the generator was the limit there");
        assert_eq!(chart.x.scale, Scale::Names(vec!["50 %".to_owned(), "100 %".to_owned()]));
        let chart = memory(&results, Varied::Dependents).unwrap();
        assert_eq!(chart.lines[0].points, [(0.0, 50.0), (1.0, 80.0)]);
        assert!(throughput(&results, Varied::Disorder).is_none());
    }

    #[test]
    fn no_rate_spans_the_crash() {
        let sample = |at: u64, resolved| Sample { seconds: at as f64 / 10.0, read: resolved, resolved, waiting: None };
        let mut samples: Vec<Sample> = (0..20).map(|at| sample(at, Some(at * 100))).collect();
        samples.extend((20..25).map(|at| sample(at, None)));
        samples.extend((25..45).map(|at| sample(at, Some(1_900 + (at - 25) * 200))));
        let series = Series {
            mode: Mode::Streaming,
            setting: BASE,
            rate: 1_000,
            records: 10_000,
            killed_seconds: 1.95,
            started_again_seconds: 2.4,
            ready_seconds: 2.5,
            samples,
        };
        let rates: Vec<u64> = rates(&series).into_iter().map(|(_, rate)| rate.round() as u64).collect();
        assert!(rates.iter().all(|rate| [1_000, 2_000].contains(rate)), "{rates:?}");
        assert!(rates.contains(&1_000) && rates.contains(&2_000));
        assert_eq!(crash(&series)[0].lines[0].gaps.len(), 1);
    }
}
