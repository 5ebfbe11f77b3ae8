//! What to take, in words, from the numbers alone.
//!
//! Of the modes that join and keep up with a rate, those count whose answers are complete about as soon as the soonest (p99 within a factor of
//! [`ABOUT_AS_SOON`] and some milliseconds). Of these the one with the least memory is taken; where that is about the same, the one with the least CPU time;
//! and where that is about the same, too, the simplest. streaming+changes is no choice among these: who needs results that follow corrections has no other.
//! What they cost is said by itself.

use super::results::{Point, Results, Run};
use super::setting::{Axis, Mode, Setting};
use super::text;

/// By this factor a p99 may be longer than the shortest one.
const ABOUT_AS_SOON: f64 = 2.0;

/// And by so much more, in microseconds: nobody decides by less.
const UNNOTICED_US: f64 = 5_000.0;

/// Memory, and CPU time, is about the same within this factor.
const ABOUT_AS_MUCH: f64 = 1.1;

/// What one mode does at a point.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    mode: Mode,
    p99_us: f64,
    memory: f64,
    cpu: f64,
}

/// Sentences: what joining costs, what maintained results do, and what to take at the rates of the base and at each disorder.
pub(crate) fn advice(results: &Results) -> Vec<String> {
    let mut sentences = cost_of_joining(results);
    sentences.extend(cost_of_changes(results));
    let mut seen: Vec<(Setting, u64)> = Vec::new();
    for (point, _) in results.points(false) {
        let is_about = point.setting.is_but_for(Axis::Disorder, &results.about.base);
        if is_about && !seen.contains(&(point.setting, point.rate)) {
            seen.push((point.setting, point.rate));
            sentences.extend(what_to_take(results, point.setting, point.rate));
        }
    }
    sentences
}

fn cost_of_joining(results: &Results) -> Vec<String> {
    let base = &results.about.base;
    let Some((alone, at_least)) = results.sustained(Mode::Independent, base) else { return Vec::new() };
    let parts: Vec<String> = Mode::ALL
        .into_iter()
        .filter(|mode| mode.joins())
        .filter_map(|mode| {
            let (rate, more) = results.sustained(mode, base)?;
            let part = (100.0 * rate as f64 / alone as f64).round();
            Some(format!("{mode} {}{}/s ({part} %)", if more { "at least " } else { "" }, text::short(rate as f64)))
        })
        .collect();
    if parts.is_empty() {
        return Vec::new();
    }
    let at_least = if at_least { "at least " } else { "" };
    vec![format!(
        "Where nothing is joined, independent sustains {at_least}{}/s; with {} of the events referring to others, {}.",
        text::short(alone as f64),
        base.value(Axis::Dependents),
        parts.join(", ")
    )]
}

/// `None` where one of both was not measured, or does not keep up, at the rate at which settings are compared.
fn cost_of_changes(results: &Results) -> Option<String> {
    let of = |mode| candidate(results, mode, results.about.base, results.about.at);
    let (once, changes) = (of(Mode::Streaming)?, of(Mode::StreamingChanges)?);
    Some(format!(
        "Results that follow later corrections (streaming+changes) take {} times the CPU time and {} times the memory of streaming at {} records/s; 99 of 100 \
         are complete within {} of their last referent, those of streaming within {}.",
        text::short(changes.cpu / once.cpu),
        text::short(changes.memory / once.memory),
        text::short(results.about.at as f64),
        text::micros(changes.p99_us),
        text::micros(once.p99_us),
    ))
}

/// `None` where there is nothing to choose from.
fn what_to_take(results: &Results, setting: Setting, rate: u64) -> Option<String> {
    let modes = results.modes().into_iter().filter(|mode| mode.joins() && mode.answers_once());
    let measured: Vec<Mode> = modes.filter(|mode| is_measured(results, *mode, setting, rate)).collect();
    let candidates: Vec<Candidate> =
        measured.iter().filter_map(|mode| candidate(results, *mode, setting, rate)).collect();
    let place = format!("At disorder {} and {} records/s", setting.value(Axis::Disorder), text::short(rate as f64));
    match candidates.as_slice() {
        [] if measured.is_empty() => None,
        [] => {
            let most = measured.iter().filter_map(|mode| Some((results.sustained(*mode, &setting)?.0, *mode))).max();
            let most = most.map_or(String::new(), |(rate, mode)| {
                format!("; {mode} sustains most, {}/s", text::short(rate as f64))
            });
            Some(format!("{place} none of the modes keeps up{most}."))
        }
        [only] if measured.len() > 1 => {
            Some(format!("{place} take {}, because none of the others keeps up.", only.mode))
        }
        [_] => None,
        candidates => {
            let taken = choose(candidates)?;
            Some(format!("{place} take {}, because {}.", taken.mode, because(taken, candidates)))
        }
    }
}

fn is_measured(results: &Results, mode: Mode, setting: Setting, rate: u64) -> bool {
    results.runs.iter().any(|run| run.point == Point { mode, setting, rate } && !run.probe && !run.is_generator_bound())
}

/// A mode that keeps up there.
fn candidate(results: &Results, mode: Mode, setting: Setting, rate: u64) -> Option<Candidate> {
    let point = Point { mode, setting, rate };
    let keeps_up = |run: &Run| Some(f64::from(u8::from(run.keeps_up(results.about.bound_seconds))));
    let kept_up = results.median(&point, keeps_up)? > 0.5;
    Some(Candidate {
        mode,
        p99_us: results.median(&point, |run| Some(run.completion_p99_us()))?,
        memory: results.median(&point, Run::memory_peak)?,
        cpu: results.median(&point, Run::cpu_seconds_per_million)?,
    })
    .filter(|_| kept_up)
}

fn choose(candidates: &[Candidate]) -> Option<&Candidate> {
    let soonest = candidates.iter().map(|c| c.p99_us).fold(f64::INFINITY, f64::min);
    let soon: Vec<&Candidate> =
        candidates.iter().filter(|c| c.p99_us <= soonest * ABOUT_AS_SOON + UNNOTICED_US).collect();
    let leanest = soon.iter().map(|c| c.memory).fold(f64::INFINITY, f64::min);
    let lean: Vec<&Candidate> = soon.into_iter().filter(|c| c.memory <= leanest * ABOUT_AS_MUCH).collect();
    let cheapest = lean.iter().map(|c| c.cpu).fold(f64::INFINITY, f64::min);
    // Candidates come in the order of the modes: the simplest first.
    lean.into_iter().find(|c| c.cpu <= cheapest * ABOUT_AS_MUCH)
}

/// What speaks for it and what against it, beside each of the others.
fn because(taken: &Candidate, candidates: &[Candidate]) -> String {
    let others: Vec<String> = candidates
        .iter()
        .filter(|other| other.mode != taken.mode)
        .map(|other| {
            let (p99, memory) = (text::micros(other.p99_us), text::bytes(other.memory));
            format!("{} {p99}, {memory} and {}", other.mode, text::short(other.cpu))
        })
        .collect();
    format!(
        "99 of 100 answers are complete within {} of their last referent, with {} of memory and {} CPU seconds for a million ({})",
        text::micros(taken.p99_us),
        text::bytes(taken.memory),
        text::short(taken.cpu),
        others.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::results::samples::{found, results, run};
    use super::super::setting::BASE;
    use super::*;

    fn take(runs: Vec<Run>) -> Option<String> {
        what_to_take(&results(runs, Vec::new()), BASE, 40_000)
    }

    fn at(mode: Mode, p99_ms: u64, memory_mib: u64) -> Run {
        run(mode, BASE, 40_000, p99_ms, memory_mib)
    }

    #[test]
    fn the_soonest_is_taken_unless_another_is_as_soon_and_leaner() {
        let soon = take(vec![at(Mode::Streaming, 2, 300), at(Mode::Deferred, 110, 50)]).unwrap();
        assert!(soon.starts_with("At disorder 1,000 and 40k records/s take streaming, because 99 of 100"), "{soon}");
        assert!(soon.contains("within 2 ms") && soon.contains("(deferred 110 ms, 50 MiB and"), "{soon}");
        let lean = take(vec![at(Mode::Streaming, 90, 300), at(Mode::Deferred, 110, 50)]).unwrap();
        assert!(lean.contains("take deferred"), "{lean}");
    }

    #[test]
    fn with_equal_memory_cpu_time_decides() {
        let mut costly = at(Mode::Streaming, 2, 100);
        costly.summary.cpu_seconds = Some(9.0);
        let taken = take(vec![costly, at(Mode::StreamingDefer, 3, 105)]).unwrap();
        assert!(taken.contains("take streaming+defer"), "{taken}");
        let taken = take(vec![at(Mode::Streaming, 3, 105), at(Mode::StreamingDefer, 2, 100)]).unwrap();
        assert!(taken.contains("take streaming,"), "the simplest: {taken}");
    }

    #[test]
    fn who_does_not_keep_up_is_not_taken() {
        let only = take(vec![at(Mode::Streaming, 2, 300), at(Mode::Deferred, 500, 50)]).unwrap();
        assert!(only.contains("take streaming, because none of the others keeps up"), "{only}");
        let mut all = results(vec![at(Mode::Streaming, 900, 300), at(Mode::Deferred, 500, 50)], Vec::new());
        all.found = vec![found(Mode::Streaming, BASE, 30_000), found(Mode::Deferred, BASE, 20_000)];
        let none = what_to_take(&all, BASE, 40_000).unwrap();
        assert!(none.ends_with("none of the modes keeps up; streaming sustains most, 30k/s."), "{none}");
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        assert_eq!(take(Vec::new()), None);
        assert_eq!(take(vec![at(Mode::Streaming, 2, 300)]), None, "there is no choice");
        let mut generators = vec![at(Mode::Streaming, 2, 300), at(Mode::Deferred, 110, 50)];
        generators.iter_mut().for_each(|run| run.summary.source_behind_seconds = 1.0);
        assert_eq!(take(generators), None, "the generator was the bottleneck");
    }

    #[test]
    fn maintained_results_are_no_choice_but_have_a_cost() {
        let mut changes = at(Mode::StreamingChanges, 110, 200);
        changes.summary.cpu_seconds = changes.summary.cpu_seconds.map(|seconds| 3.0 * seconds);
        let all = results(vec![at(Mode::Streaming, 2, 100), changes, at(Mode::Deferred, 110, 50)], Vec::new());
        let sentences = advice(&all);
        assert_eq!(
            sentences[0],
            "Results that follow later corrections (streaming+changes) take 3 times the CPU time and 2 times the memory of streaming at 40k records/s; \
             99 of 100 are complete within 110 ms of their last referent, those of streaming within 2 ms."
        );
        assert!(sentences[1].contains("take streaming,") && !sentences[1].contains("changes"), "{}", sentences[1]);
        assert_eq!(cost_of_changes(&results(vec![at(Mode::Streaming, 2, 100)], Vec::new())), None);
    }

    #[test]
    fn what_joining_costs_is_a_part_of_what_is_sustained_without() {
        let runs = vec![at(Mode::Independent, 1, 40), at(Mode::Streaming, 2, 300)];
        let found = vec![found(Mode::Independent, BASE, 200_000), found(Mode::Streaming, BASE, 150_000)];
        let sentences = advice(&results(runs, found));
        assert_eq!(
            sentences[0],
            "Where nothing is joined, independent sustains 200k/s; with 50 % of the events referring to others, streaming 150k/s (75 %)."
        );
    }
}
