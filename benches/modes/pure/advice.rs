//! What to take, in words, from the numbers alone: [`rule`] says how. streaming+changes is no choice: who needs results that follow corrections has no other.
//! What these cost is said by itself.

use super::results::{Point, Results, Run};
use super::search::Tried;
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
    if sentences.is_empty() {
        sentences
            .push("There is nothing to choose from: no two modes can be told apart by what was measured.".to_owned());
    }
    sentences
}

/// How [`advice`] decides, for people.
pub(crate) fn rule(results: &Results) -> String {
    let percent = ((ABOUT_AS_MUCH - 1.0) * 100.0).round();
    format!(
        "How it is chosen: of the modes that keep up (p99 of completion latency within {}, no backlog) those count whose p99 is at most {ABOUT_AS_SOON} times the shortest \
         and {} more. Of these the one with the least memory is taken; of those within {percent} % of it the one with the least CPU time; of those within {percent} % of that the \
         simplest, in the order streaming, streaming+defer, deferred. independent joins nothing, and streaming+changes does what the others do not: they are no choice.",
        text::micros(results.about.bound_seconds * 1e6),
        text::micros(UNNOTICED_US),
    )
}

fn cost_of_joining(results: &Results) -> Vec<String> {
    let base = &results.about.base;
    let Some(alone) = results.sustained(Mode::Independent, base) else { return Vec::new() };
    let in_base = |mode: &Mode| results.runs.iter().any(|run| run.point.mode == *mode && run.point.setting == *base);
    let parts: Vec<String> = Mode::ALL
        .into_iter()
        .filter(|mode| mode.joins() && in_base(mode))
        .map(|mode| match results.sustained(mode, base) {
            Some(rate) => format!("{mode} {}{}", sustained(rate), part(rate, alone)),
            None => format!("{mode} none of the rates that were tried"),
        })
        .collect();
    if parts.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "Where nothing is joined, independent sustains {}; with {} of the events referring to others, {}.",
        sustained(alone),
        base.value(Axis::Dependents),
        parts.join(", ")
    )]
}

/// A rate, which may be the least that it is.
fn sustained((rate, at_least): (u64, bool)) -> String {
    format!("{}{}/s", if at_least { "at least " } else { "" }, text::short(rate as f64))
}

/// What part of another a rate is, as far as that is known: of two that are only known to be at least so high, it is not.
fn part((rate, at_least): (u64, bool), (whole, whole_at_least): (u64, bool)) -> String {
    let percent = (100.0 * rate as f64 / whole.max(1) as f64).round();
    match (at_least, whole_at_least) {
        (false, false) => format!(" ({percent} %)"),
        (true, false) => format!(" (at least {percent} %)"),
        (false, true) => format!(" (at most {percent} %)"),
        (true, true) => String::new(),
    }
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

/// What became of a mode at a point.
enum Fate {
    KeepsUp(Candidate),
    /// With its p99 or what it achieved, for people.
    TooSlow(String),
    /// It did not keep up with this lower rate, and was not asked for more.
    GaveUp(u64),
    GeneratorBound,
    NotMeasured,
}

/// `None` where there is nothing to choose from.
fn what_to_take(results: &Results, setting: Setting, rate: u64) -> Option<String> {
    let modes = results.modes().into_iter().filter(|mode| mode.joins() && mode.answers_once());
    let (mut candidates, mut left_out, mut too_slow) = (Vec::new(), Vec::new(), 0);
    for mode in modes {
        let why = match fate(results, mode, setting, rate) {
            Fate::KeepsUp(candidate) => {
                candidates.push(candidate);
                continue;
            }
            Fate::TooSlow(how) => {
                too_slow += 1;
                format!("{mode} does not keep up ({how})")
            }
            Fate::GaveUp(at) => {
                too_slow += 1;
                format!("{mode} does not keep up with {}/s already", text::short(at as f64))
            }
            Fate::GeneratorBound => format!("{mode} cannot be told, as the generator was the limit"),
            Fate::NotMeasured => format!("{mode} was not measured there"),
        };
        left_out.push(why);
    }
    let place = format!("At disorder {} and {} records/s", setting.value(Axis::Disorder), text::short(rate as f64));
    let Some(taken) = choose(&candidates) else {
        return (too_slow > 0).then(|| none_keeps_up(results, &setting, &place, &left_out));
    };
    let mut reasons = against(&candidates, taken);
    if reasons.is_empty() && too_slow == 0 {
        return None;
    }
    reasons.extend(left_out);
    Some(format!(
        "{place} take {}, because {}. Its answers: 99 of 100 are complete within {} of their last referent, with {} of memory and {} CPU seconds for a million.",
        taken.mode,
        reasons.join("; "),
        text::micros(taken.p99_us),
        text::bytes(taken.memory),
        text::short(taken.cpu),
    ))
}

fn none_keeps_up(results: &Results, setting: &Setting, place: &str, left_out: &[String]) -> String {
    let modes = results.modes().into_iter().filter(|mode| mode.joins() && mode.answers_once());
    let most = modes.filter_map(|mode| Some((results.sustained(mode, setting)?, mode))).max();
    let most =
        most.map_or(String::new(), |(rate, mode)| format!(". Of all, {mode} sustains most, {}", sustained(rate)));
    format!("{place} none is to be taken: {}{most}.", left_out.join("; "))
}

fn fate(results: &Results, mode: Mode, setting: Setting, rate: u64) -> Fate {
    let bound = results.about.bound_seconds;
    let runs =
        || results.runs.iter().filter(|run| run.point.mode == mode && run.point.setting == setting && !run.probe);
    let mut here = runs().filter(|run| run.point.rate == rate).peekable();
    if here.peek().is_none() {
        let failed = runs().filter(|run| run.point.rate < rate && run.tried(bound) == Tried::NotSustained);
        return failed.map(|run| run.point.rate).min().map_or(Fate::NotMeasured, Fate::GaveUp);
    }
    if here.all(Run::is_generator_bound) {
        return Fate::GeneratorBound;
    }
    if let Some(candidate) = candidate(results, mode, setting, rate) {
        return Fate::KeepsUp(candidate);
    }
    let point = Point { mode, setting, rate };
    let p99 = results.median(&point, |run| Some(run.completion_p99_us())).filter(|p99| *p99 > bound * 1e6);
    let achieved = results.median(&point, |run| Some(run.achieved())).unwrap_or(0.0);
    let how = p99.map_or_else(
        || format!("it achieves {}/s", text::short(achieved)),
        |p99| format!("p99 is {}", text::micros(p99)),
    );
    Fate::TooSlow(how)
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

/// What the best of some have, and what is about as good.
#[derive(Clone, Copy)]
struct Limits {
    soonest: f64,
    leanest: f64,
    cheapest: f64,
}

impl Limits {
    fn of(candidates: &[Candidate]) -> Limits {
        let least = |numbers: &mut dyn Iterator<Item = f64>| numbers.fold(f64::INFINITY, f64::min);
        let soonest = least(&mut candidates.iter().map(|c| c.p99_us));
        let limits = Limits { soonest, leanest: f64::INFINITY, cheapest: f64::INFINITY };
        let leanest = least(&mut candidates.iter().filter(|c| limits.is_soon(c)).map(|c| c.memory));
        let limits = Limits { leanest, ..limits };
        let lean = candidates.iter().filter(|c| limits.is_soon(c) && limits.is_lean(c));
        Limits { cheapest: least(&mut lean.map(|c| c.cpu)), ..limits }
    }

    fn is_soon(&self, candidate: &Candidate) -> bool {
        candidate.p99_us <= self.soonest * ABOUT_AS_SOON + UNNOTICED_US
    }

    fn is_lean(&self, candidate: &Candidate) -> bool {
        candidate.memory <= self.leanest * ABOUT_AS_MUCH
    }

    fn is_cheap(&self, candidate: &Candidate) -> bool {
        candidate.cpu <= self.cheapest * ABOUT_AS_MUCH
    }
}

fn choose(candidates: &[Candidate]) -> Option<&Candidate> {
    let limits = Limits::of(candidates);
    // Candidates come in the order of the modes: the simplest first.
    candidates.iter().find(|c| limits.is_soon(c) && limits.is_lean(c) && limits.is_cheap(c))
}

/// For each of the others the first reason why it was not taken.
fn against(candidates: &[Candidate], taken: &Candidate) -> Vec<String> {
    let limits = Limits::of(candidates);
    let others = candidates.iter().filter(|other| other.mode != taken.mode);
    let reasons = others.map(|other| {
        let mode = other.mode;
        if !limits.is_soon(other) {
            let (p99, soonest) = (text::micros(other.p99_us), text::micros(limits.soonest));
            return format!("{mode} answers later (p99 {p99}, the soonest {soonest})");
        }
        if !limits.is_lean(other) {
            let (memory, least) = (text::bytes(other.memory), text::bytes(limits.leanest));
            return format!("{mode} takes more memory ({memory}, the least {least})");
        }
        let (cpu, least) = (text::short(other.cpu), text::short(limits.cheapest));
        if limits.is_cheap(other) {
            return format!(
                "{mode} is about the same in all of this ({cpu} CPU seconds, the least {least}), and less simple"
            );
        }
        format!("{mode} takes more CPU time ({cpu} seconds for a million, the least {least})")
    });
    reasons.collect()
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
        assert_eq!(
            soon,
            "At disorder 1,000 and 40k records/s take streaming, because deferred answers later (p99 110 ms, the soonest 2 ms). Its answers: 99 of 100 are \
             complete within 2 ms of their last referent, with 300 MiB of memory and 3.75 CPU seconds for a million."
        );
        let lean = take(vec![at(Mode::Streaming, 90, 300), at(Mode::Deferred, 110, 50)]).unwrap();
        assert!(
            lean.contains("take deferred, because streaming takes more memory (300 MiB, the least 50 MiB)."),
            "{lean}"
        );
    }

    #[test]
    fn with_equal_memory_cpu_time_decides() {
        let mut costly = at(Mode::Streaming, 2, 100);
        costly.summary.cpu_seconds = Some(9.0);
        let taken = take(vec![costly, at(Mode::StreamingDefer, 3, 105)]).unwrap();
        assert!(
            taken.contains("take streaming+defer, because streaming takes more CPU time (112 seconds for a million, the least 3.75)"),
            "{taken}"
        );
        let taken = take(vec![at(Mode::Streaming, 3, 105), at(Mode::StreamingDefer, 2, 100)]).unwrap();
        assert!(taken.contains("take streaming, because streaming+defer is about the same"), "the simplest: {taken}");
    }

    #[test]
    fn who_does_not_keep_up_is_not_taken() {
        let only = take(vec![at(Mode::Streaming, 2, 300), at(Mode::Deferred, 500, 50)]).unwrap();
        assert!(only.contains("take streaming, because deferred does not keep up (p99 is 500 ms)."), "{only}");
        let mut all = results(vec![at(Mode::Streaming, 900, 300), at(Mode::Deferred, 500, 50)], Vec::new());
        all.found = vec![found(Mode::Streaming, BASE, 30_000), found(Mode::Deferred, BASE, 20_000)];
        let none = what_to_take(&all, BASE, 40_000).unwrap();
        assert!(
            none.ends_with("deferred does not keep up (p99 is 500 ms). Of all, streaming sustains most, 30k/s."),
            "{none}"
        );
    }

    #[test]
    fn who_is_left_out_is_named_with_the_reason() {
        let lower = run(Mode::Deferred, BASE, 20_000, 300, 50);
        let mut bound = at(Mode::StreamingDefer, 2, 300);
        bound.summary.source_behind_seconds = 1.0;
        let taken = take(vec![at(Mode::Streaming, 2, 300), lower, bound]).unwrap();
        assert!(
            taken.contains(
                "because streaming+defer cannot be told, as the generator was the limit; deferred does not keep up with 20k/s already."
            ),
            "{taken}"
        );
        let mut backlog = at(Mode::Deferred, 2, 50);
        backlog.summary.busy_seconds = 4.0;
        let taken = take(vec![at(Mode::Streaming, 2, 300), backlog]).unwrap();
        assert!(taken.contains("deferred does not keep up (it achieves 20k/s)"), "{taken}");
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        assert_eq!(take(Vec::new()), None);
        assert_eq!(take(vec![at(Mode::Streaming, 2, 300)]), None, "there is no choice");
        let mut generators = vec![at(Mode::Streaming, 2, 300), at(Mode::Deferred, 110, 50)];
        generators.iter_mut().for_each(|run| run.summary.source_behind_seconds = 1.0);
        assert_eq!(take(generators.clone()), None, "the generator was the bottleneck");
        assert!(advice(&results(generators, Vec::new()))[0].starts_with("There is nothing to choose from"));
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

    #[test]
    fn of_lower_bounds_there_is_no_ratio() {
        let runs = vec![at(Mode::Independent, 1, 40), at(Mode::Streaming, 2, 300)];
        let sentence = |independent: bool, streaming: bool| {
            let all = [(Mode::Independent, 200_000, independent), (Mode::Streaming, 150_000, streaming)];
            let searched = all.into_iter().map(|(mode, rate, at_least)| {
                let mut found = found(mode, BASE, rate);
                found.search.generator_bound = at_least;
                found
            });
            cost_of_joining(&results(runs.clone(), searched.collect())).remove(0)
        };
        assert!(sentence(false, true).ends_with("streaming at least 150k/s (at least 75 %)."));
        assert!(sentence(true, false).ends_with("streaming 150k/s (at most 75 %)."));
        assert!(sentence(true, true).ends_with("streaming at least 150k/s."));
        let quick = cost_of_joining(&results(runs.clone(), Vec::new())).remove(0);
        assert!(!quick.contains("(1"), "nothing was searched: {quick}");
        let nothing = vec![at(Mode::Independent, 1, 40), at(Mode::Streaming, 900, 300)];
        assert!(
            cost_of_joining(&results(nothing, Vec::new()))[0].ends_with("streaming none of the rates that were tried.")
        );
    }
}
