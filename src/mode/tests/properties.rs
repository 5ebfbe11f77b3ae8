//! Any rules, any records, any interleaving, any crash: what the engines say is what the reference says.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::cluster::{BUDGET, Chance, PLENTY};
use super::notation::{self, Record};
use super::trial::Trial;
use crate::dependency::Rules;

/// What a family of cases is about.
#[derive(Clone, Copy, Debug)]
struct Family {
    /// Dependencies have a `wait`.
    timed: bool,
    /// The stream without a key has an order; in a family without deadlines every stream may.
    ordered: bool,
    /// Referents are forgotten. Where they have a time there is one partition: across several, which version is left after a restart depends on the order
    /// in which they are read again, and with it who still finds one.
    retain: bool,
    /// Referents are deleted. Each key has its partition, as a topic has it.
    deletes: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    entity: usize,
    options: (bool, bool, bool),
    wait: Option<(u64, usize)>,
}

#[derive(Clone, Debug)]
struct Choice {
    stream: usize,
    id: usize,
    time: usize,
    order: usize,
    partition: usize,
    null: bool,
    references: [Vec<usize>; 3],
    arrays: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Read(Vec<Choice>),
    Pass(u64),
    Restart(usize, u64),
}

/// A job and what happens to it.
#[derive(Clone, Debug)]
struct Case {
    /// Lines of the [`notation`].
    rules: Vec<String>,
    steps: Vec<Told>,
    workers: usize,
    memory: usize,
    crashes: usize,
    seed: u64,
    deletes: bool,
}

#[derive(Clone, Debug)]
enum Told {
    Read(Vec<String>),
    Pass(u64),
    Restart(usize, u64),
}

fn rule() -> impl Strategy<Value = Rule> {
    let wait = prop::option::of((1..6u64, 0..9usize));
    (0..3usize, (prop::bool::weighted(0.4), any::<bool>(), any::<bool>()), wait)
        .prop_map(|(entity, options, wait)| Rule { entity, options, wait })
}

fn choice() -> impl Strategy<Value = Choice> {
    let references = prop::array::uniform3(prop::collection::vec(0..6usize, 0..3));
    let null = prop::bool::weighted(0.3);
    (0..3usize, 0..5usize, 0..4usize, 0..2usize, 0..2usize, null, references, any::<bool>()).prop_map(
        |(stream, id, time, order, partition, null, references, arrays)| Choice {
            stream,
            id,
            time,
            order,
            partition,
            null,
            references,
            arrays,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        18 => prop::collection::vec(choice(), 1..12).prop_map(Step::Read),
        // Enough for several slices and pages of one key.
        1 => prop::collection::vec(choice(), 16..40).prop_map(Step::Read),
        6 => (1..4u64).prop_map(Step::Pass),
        3 => (1..5usize, 0..4u64).prop_map(|(workers, seconds)| Step::Restart(workers, seconds)),
    ]
}

fn case(family: Family) -> impl Strategy<Value = Case> {
    let rules = prop::array::uniform3(prop::collection::vec(rule(), 0..4));
    let flags = prop::array::uniform8(any::<bool>());
    let steps = prop::collection::vec(step(), 1..8);
    let memory = prop_oneof![Just(PLENTY), Just(0), Just(4000)];
    (rules, flags, steps, 1..5usize, memory, prop_oneof![Just(0), Just(2), Just(5)], any::<u64>()).prop_map(
        move |(rules, flags, steps, workers, memory, crashes, seed)| {
            let (rules, names) = lines(family, &rules, flags);
            let mut deleted = BTreeSet::new();
            let restarts = crashes > 0 || steps.iter().any(|step| matches!(step, Step::Restart(..)));
            let steps = steps.into_iter().flat_map(|step| match step {
                Step::Read(choices) => {
                    let lines: Vec<String> = choices.iter().map(|choice| record(&names, choice)).collect();
                    apart(lines, &mut deleted, restarts)
                }
                Step::Pass(seconds) if family.timed || family.retain => vec![Told::Pass(seconds)],
                Step::Restart(workers, seconds) => vec![Told::Restart(workers, seconds)],
                Step::Pass(_) => Vec::new(),
            });
            Case { steps: steps.collect(), rules, workers, memory, crashes, seed, deletes: family.deletes }
        },
    )
}

/// Reads the second tombstone of a key, and later ones, when all before it has come to rest. A version between two tombstones may come to be resolved
/// before or after the second, and in the second case is there for nobody who came after the first. Leaves them out where the job restarts: it does not
/// know then which it was.
fn apart(lines: Vec<String>, deleted: &mut BTreeSet<String>, restarts: bool) -> Vec<Told> {
    let mut steps = vec![Told::Read(Vec::new())];
    for line in lines {
        let again = line.ends_with(" null") && !deleted.insert(line.split(' ').nth(2).unwrap_or_default().to_owned());
        match steps.last_mut() {
            Some(Told::Read(last)) if !again => last.push(line),
            _ if restarts => {}
            _ => steps.extend([Told::Read(vec![line]), Told::Read(Vec::new())]),
        }
    }
    steps.retain(|step| !matches!(step, Told::Read(lines) if lines.is_empty()));
    steps
}

/// What the records of a case are made of.
#[derive(Debug)]
struct Names {
    /// The names of each stream's references, whether each is required, and whether the stream is ordered.
    streams: Vec<(Vec<(String, bool)>, bool)>,
    partitions: usize,
    deletes: bool,
    /// Whether each stream has a key.
    keyed: [bool; 3],
}

fn lines(family: Family, rules: &[Vec<Rule>; 3], flags: [bool; 8]) -> (Vec<String>, Names) {
    let [shared, time_a, time_b, keyed, ordered_a, ordered_c, forgets_a, forgets_b] = flags;
    let entity = |at: usize| ["a", if shared { "a" } else { "b" }, if keyed { "c" } else { "a" }][at];
    let keyed = keyed && !(family.timed && family.ordered);
    let entity = |at: usize| if !keyed && at == 2 { "a" } else { entity(at) };
    let retain = |is: bool| if family.retain && is { " retain=3" } else { "" };
    // Two streams that provide one entity forget alike: which of their versions was the last to be forgotten is not known after a restart.
    let forgets_a = forgets_a || !forgets_b;
    let forgets_b = if shared { forgets_a } else { forgets_b };
    let heads = [
        format!(
            "a key{}{}{}",
            if time_a { " time" } else { "" },
            order(family.ordered && !family.timed && ordered_a),
            retain(forgets_a)
        ),
        format!(
            "b key{}{}{}",
            if time_b { " time" } else { "" },
            if shared { " provides=a" } else { "" },
            retain(forgets_b)
        ),
        format!("c{}{}", if keyed { " key" } else { "" }, order(family.ordered && ordered_c)),
    ];
    let partitions = if family.retain && (time_a || time_b) { 1 } else { 2 };
    let mut names = Names { streams: Vec::new(), partitions, deletes: family.deletes, keyed: [true, true, keyed] };
    let mut lines = Vec::new();
    for (head, rules) in heads.iter().zip(rules) {
        let mut of_stream = Vec::new();
        let mut line = format!("{head} ->");
        for (at, rule) in rules.iter().enumerate() {
            // Only an optional one may need its referent resolved, so that no stream waits for itself for ever.
            let (resolved, deferred, optional) = rule.options;
            line.push_str(&format!(" {}:name=r{at}", entity(rule.entity)));
            let words = [(resolved, ":resolved"), (deferred, ":deferred"), (optional || resolved, ":optional")];
            words.iter().filter(|(set, _)| *set).for_each(|(_, word)| line.push_str(word));
            if let Some((wait, on_expiry)) = rule.wait.filter(|_| family.timed) {
                const ACTS: [&str; 9] = [
                    "",
                    ":drop",
                    ":partial",
                    ":keep",
                    ":defer",
                    ":defer=2",
                    ":defer=3:then=drop",
                    ":defer=2:then=partial",
                    ":defer=2:then=keep",
                ];
                let act = if deferred { ACTS[on_expiry % 4] } else { ACTS[on_expiry] };
                line.push_str(&format!(":wait={wait}{act}"));
            }
            of_stream.push((format!("r{at}"), !(optional || resolved)));
        }
        names.streams.push((of_stream, head.contains("ordered")));
        lines.push(line);
    }
    (lines, names)
}

fn order(is: bool) -> &'static str {
    if is { " ordered" } else { "" }
}

fn record(names: &Names, choice: &Choice) -> String {
    let (references, is_ordered) = &names.streams[choice.stream];
    let partition = if names.deletes { choice.id } else { choice.partition } % names.partitions;
    let mut line =
        format!("{} @{partition} id={} time={}", ["a", "b", "c"][choice.stream], key(choice.id), choice.time);
    if names.deletes && choice.null && names.keyed[choice.stream] {
        line.push_str(" null");
        return line;
    }
    if *is_ordered {
        line.push_str(&format!(" order={}", choice.order));
    }
    for ((name, required), keys) in references.iter().zip(&choice.references) {
        let values: Vec<String> = keys.iter().map(|k| key(*k)).collect();
        match values.as_slice() {
            values if choice.arrays => line.push_str(&format!(" {name}=[{}]", values.join(","))),
            [first, ..] => line.push_str(&format!(" {name}={first}")),
            [] if *required => line.push_str(&format!(" {name}=5")),
            [] => {}
        }
    }
    line
}

/// A few integers and a string.
fn key(at: usize) -> String {
    if at == 3 { "\"x\"".to_owned() } else { at.to_string() }
}

fn rules(case: &Case) -> Arc<Rules> {
    let lines: Vec<&str> = case.rules.iter().map(String::as_str).collect();
    if case.deletes { notation::deletable(&lines) } else { notation::rules(&lines) }
}

fn run(case: &Case) -> Trial {
    let rules = rules(case);
    let budget = [1, 3, BUDGET, BUDGET][case.seed as usize % 4];
    let mut trial = Trial::new(&rules, case.workers, case.memory, case.crashes, budget, case.seed);
    let mut offset = 0;
    for step in &case.steps {
        match step {
            Told::Read(lines) => {
                let records = lines.iter().map(|line| {
                    offset += 1;
                    notation::record(&rules, line, offset)
                });
                let records: Vec<Record> = records.collect();
                trial.read(records);
            }
            Told::Pass(seconds) => trial.pass(*seconds),
            Told::Restart(workers, seconds) => trial.restart(*workers, *seconds),
        }
    }
    trial
}

proptest! {
    #[test]
    fn every_event_has_the_answer_of_the_reference(case in case(Family { timed: false, ordered: false, retain: false, deletes: false })) {
        run(&case);
    }

    #[test]
    fn also_where_streams_are_ordered(case in case(Family { timed: false, ordered: true, retain: false, deletes: false })) {
        run(&case);
    }

    #[test]
    fn also_where_waits_end(case in case(Family { timed: true, ordered: true, retain: false, deletes: false })) {
        let mut trial = run(&case);
        while let Some(last) = trial.last_deadline() {
            let ahead = last.micros_since(trial.cluster.now).div_ceil(1_000_000);
            trial.pass(ahead.max(1));
        }
    }

    #[test]
    fn also_where_the_input_ends(case in case(Family { timed: true, ordered: true, retain: false, deletes: false })) {
        run(&case).end();
    }

    #[test]
    fn also_where_referents_are_forgotten(case in case(Family { timed: true, ordered: true, retain: true, deletes: false })) {
        let mut trial = run(&case);
        while let Some(last) = trial.last_deadline() {
            let ahead = last.micros_since(trial.cluster.now).div_ceil(1_000_000);
            trial.pass(ahead.max(1));
        }
    }

    #[test]
    fn also_where_referents_are_deleted(case in case(Family { timed: false, ordered: true, retain: false, deletes: true })) {
        run(&case);
    }

    #[test]
    fn also_where_they_are_deleted_and_waits_end(case in case(Family { timed: true, ordered: true, retain: true, deletes: true })) {
        let mut trial = run(&case);
        while let Some(last) = trial.last_deadline() {
            let ahead = last.micros_since(trial.cluster.now).div_ceil(1_000_000);
            trial.pass(ahead.max(1));
        }
    }

    #[test]
    fn also_where_they_are_deleted_and_the_input_ends(case in case(Family { timed: true, ordered: false, retain: false, deletes: true })) {
        run(&case).end();
    }

    #[test]
    fn neither_order_nor_workers_nor_modes_nor_crashes_change_what_is_resolved(
        first in case(Family { timed: false, ordered: false, retain: false, deletes: false }),
        (workers, memory, crashes, seed) in (1..5usize, prop_oneof![Just(PLENTY), Just(0)], prop_oneof![Just(0), Just(3)], any::<u64>()),
        deferred in any::<bool>(),
    ) {
        let mut seen = BTreeSet::new();
        let lines: Vec<String> = first.steps.iter().flat_map(|step| match step {
            Told::Read(lines) => lines.clone(),
            _ => Vec::new(),
        }).collect();
        // Where no key comes with two contents.
        let unique: Vec<String> = lines.into_iter().filter(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            seen.insert(words[2].to_owned())
        }).collect();
        let mut second = Case { steps: vec![Told::Read(shuffled(&unique, seed))], workers, memory, crashes, seed, ..first.clone() };
        for line in &mut second.rules {
            *line = line.replace(":deferred", "");
            if deferred {
                *line = line.replace(":name", ":deferred:name");
            }
        }
        let first = Case { steps: vec![Told::Read(unique)], ..first };
        let resolved = |trial: &Trial| -> BTreeSet<String> {
            trial.lines().iter().filter(|line| line.contains(": resolved")).map(|line| same_order(line)).collect()
        };
        prop_assert_eq!(resolved(&run(&first)), resolved(&run(&second)));
    }
}

/// An event's references come in the order of the rules, which is not the same in every mode.
fn same_order(line: &str) -> String {
    let (event, took) = line.split_once(": resolved").expect("a resolved line");
    let mut took: Vec<&str> = took.split(") ").map(|one| one.trim().trim_end_matches(')')).collect();
    took.sort_unstable();
    format!("{event}: {took:?}")
}

fn shuffled(lines: &[String], seed: u64) -> Vec<String> {
    let mut chance = Chance(seed);
    let mut lines = lines.to_vec();
    for at in (1..lines.len()).rev() {
        lines.swap(at, chance.below(at + 1));
    }
    lines
}
