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
    /// Referents are forgotten. Then a dependent has one reference, and there are neither crashes nor two partitions.
    retain: bool,
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
    (0..3usize, 0..5usize, 0..4usize, 0..2usize, 0..2usize, references, any::<bool>()).prop_map(
        |(stream, id, time, order, partition, references, arrays)| Choice {
            stream,
            id,
            time,
            order,
            partition,
            references,
            arrays,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(choice(), 1..12).prop_map(Step::Read),
        2 => (1..4u64).prop_map(Step::Pass),
        1 => (1..5usize, 0..4u64).prop_map(|(workers, seconds)| Step::Restart(workers, seconds)),
    ]
}

fn case(family: Family) -> impl Strategy<Value = Case> {
    let rules = prop::array::uniform3(prop::collection::vec(rule(), 0..4));
    let flags = prop::array::uniform6(any::<bool>());
    let steps = prop::collection::vec(step(), 1..8);
    let memory = prop_oneof![Just(PLENTY), Just(0), Just(4000)];
    (rules, flags, steps, 1..5usize, memory, prop_oneof![Just(0), Just(2), Just(5)], any::<u64>()).prop_map(
        move |(rules, flags, steps, workers, memory, crashes, seed)| {
            let (rules, names) = lines(family, &rules, flags);
            let crashes = if family.retain { 0 } else { crashes };
            let steps = steps.into_iter().flat_map(|step| match step {
                Step::Read(choices) => {
                    let lines: Vec<String> = choices.iter().map(|choice| record(family, &names, choice)).collect();
                    // Who waits takes a referent whose `retain` is over when it is resolved at last, who comes then does not: what is read together,
                    // and so in any order, would have several answers.
                    let together = if family.retain { 1 } else { lines.len().max(1) };
                    lines.chunks(together).map(|lines| Told::Read(lines.to_vec())).collect()
                }
                Step::Pass(seconds) if family.timed || family.retain => vec![Told::Pass(seconds)],
                Step::Restart(workers, seconds) if !family.retain => vec![Told::Restart(workers, seconds)],
                Step::Pass(_) | Step::Restart(..) => Vec::new(),
            });
            Case { steps: steps.collect(), rules, workers, memory, crashes, seed }
        },
    )
}

/// The names of a stream's references, whether each is required, and whether the stream is ordered.
type Names = Vec<(Vec<(String, bool)>, bool)>;

fn lines(family: Family, rules: &[Vec<Rule>; 3], flags: [bool; 6]) -> (Vec<String>, Names) {
    let [shared, time_a, time_b, keyed, ordered_a, ordered_c] = flags;
    let entity = |at: usize| ["a", if shared { "a" } else { "b" }, if keyed { "c" } else { "a" }][at];
    let keyed = keyed && !(family.timed && family.ordered);
    let entity = |at: usize| if !keyed && at == 2 { "a" } else { entity(at) };
    let retain = if family.retain { " retain=3" } else { "" };
    let heads = [
        format!(
            "a key{}{}{retain}",
            if time_a { " time" } else { "" },
            order(family.ordered && !family.timed && ordered_a)
        ),
        format!("b key{}{}{retain}", if time_b { " time" } else { "" }, if shared { " provides=a" } else { "" }),
        format!("c{}{}", if keyed { " key" } else { "" }, order(family.ordered && ordered_c)),
    ];
    let mut names = Names::new();
    let mut lines = Vec::new();
    for (head, rules) in heads.iter().zip(rules) {
        let rules = &rules[..if family.retain { rules.len().min(1) } else { rules.len() }];
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
        names.push((of_stream, head.contains("ordered")));
        lines.push(line);
    }
    (lines, names)
}

fn order(is: bool) -> &'static str {
    if is { " ordered" } else { "" }
}

fn record(family: Family, names: &Names, choice: &Choice) -> String {
    let (references, is_ordered) = &names[choice.stream];
    let partition = if family.retain { 0 } else { choice.partition };
    let mut line =
        format!("{} @{partition} id={} time={}", ["a", "b", "c"][choice.stream], key(choice.id), choice.time);
    if *is_ordered {
        line.push_str(&format!(" order={}", choice.order));
    }
    for ((name, required), keys) in references.iter().zip(&choice.references) {
        let values: Vec<String> = keys.iter().map(|k| key(*k)).collect();
        match values.as_slice() {
            values if choice.arrays && !family.retain => line.push_str(&format!(" {name}=[{}]", values.join(","))),
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

fn rules(lines: &[String]) -> Arc<Rules> {
    Arc::new(Rules::build(lines.iter().map(|line| notation::stream(line)).collect()).expect("rules"))
}

fn run(case: &Case) -> Trial {
    let rules = rules(&case.rules);
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
    fn every_event_has_the_answer_of_the_reference(case in case(Family { timed: false, ordered: false, retain: false })) {
        run(&case);
    }

    #[test]
    fn also_where_streams_are_ordered(case in case(Family { timed: false, ordered: true, retain: false })) {
        run(&case);
    }

    #[test]
    fn also_where_waits_end(case in case(Family { timed: true, ordered: true, retain: false })) {
        let mut trial = run(&case);
        while let Some(last) = trial.last_deadline() {
            let ahead = last.micros_since(trial.cluster.now).div_ceil(1_000_000);
            trial.pass(ahead.max(1));
        }
    }

    #[test]
    fn also_where_the_input_ends(case in case(Family { timed: true, ordered: true, retain: false })) {
        run(&case).end();
    }

    #[test]
    fn also_where_referents_are_forgotten(case in case(Family { timed: false, ordered: false, retain: true })) {
        run(&case);
    }

    #[test]
    fn neither_order_nor_workers_nor_modes_nor_crashes_change_what_is_resolved(
        first in case(Family { timed: false, ordered: false, retain: false }),
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
