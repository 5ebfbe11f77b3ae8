//! Random rules and records. `PROPTEST_CASES` says how many of each family, `PROPTEST_RNG_SEED` which.

use proptest::prelude::*;

use super::{Step, check, rules};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// Events that refer to what has arrived.
    Plain,
    /// Chains and cycles of `need = "resolved"`, which form and break.
    Transitive,
    /// Waits that end, in cycles too, and referents that are forgotten.
    Timed,
    /// Events of one entity that need each other, and hardly anything else: many wait in cycles when their waits end, together or one after the other.
    Cyclic,
}

#[derive(Clone, Debug)]
struct Rule {
    entity: usize,
    is_resolved: bool,
    is_optional: bool,
    wait: u64,
    expiry: usize,
}

#[derive(Clone, Debug)]
struct Kind {
    is_keyed: bool,
    is_shared: bool,
    appends: bool,
    retain: Option<u64>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Choice {
    kind: usize,
    id: usize,
    partition: usize,
    deletes: bool,
    references: [Vec<usize>; 3],
    is_array: bool,
}

#[derive(Clone, Debug)]
enum Told {
    Read(Vec<Choice>),
    Pass(u64),
    Nearly(u64),
    Restart(usize),
    EndByHand(usize),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn kind(family: Family) -> impl Strategy<Value = Kind> {
    let longest: u64 = if family == Family::Cyclic { 3 } else { 6 };
    let wait = prop_oneof![1 => Just(0), 5 => 1..longest];
    let (is_timed, is_cyclic) = (family == Family::Timed || family == Family::Cyclic, family == Family::Cyclic);
    let rule = (0..6_usize, any::<bool>(), any::<bool>(), wait, 0..4_usize).prop_map(
        move |(entity, is_resolved, is_optional, wait, expiry)| Rule {
            entity,
            is_resolved: (is_resolved && family != Family::Plain) || is_cyclic,
            is_optional: is_optional || is_cyclic,
            wait: if is_timed { wait } else { 0 },
            expiry,
        },
    );
    let retain =
        prop::option::weighted(0.4, 1..5_u64).prop_map(move |retain| retain.filter(|_| family == Family::Timed));
    let is_keyed = prop::bool::weighted(0.8);
    (is_keyed, any::<bool>(), prop::bool::weighted(0.2), retain, prop::collection::vec(rule, 0..3)).prop_map(
        move |(is_keyed, is_shared, appends, retain, rules)| Kind {
            is_keyed: is_keyed || is_cyclic,
            is_shared: is_shared || is_cyclic,
            appends,
            retain,
            rules,
        },
    )
}

fn choice() -> impl Strategy<Value = Choice> {
    let references = prop::array::uniform3(prop::collection::vec(0..4_usize, 0..3));
    (0..4_usize, 0..4_usize, 0..2_usize, prop::bool::weighted(0.15), references, prop::bool::weighted(0.3)).prop_map(
        |(kind, id, partition, deletes, references, is_array)| Choice {
            kind,
            id,
            partition,
            deletes,
            references,
            is_array,
        },
    )
}

fn told(family: Family) -> impl Strategy<Value = Told> {
    let (pass, longest): (u32, u64) = match family {
        Family::Plain | Family::Transitive => (1, 7),
        Family::Timed => (3, 7),
        Family::Cyclic => (3, 3),
    };
    prop_oneof![
        8 => prop::collection::vec(choice(), 1..6).prop_map(Told::Read),
        pass => prop_oneof![4 => 1..longest, 1 => Just(100)].prop_map(Told::Pass),
        pass => (1..longest).prop_map(Told::Nearly),
        1 => (1..3_usize).prop_map(Told::Restart),
        1 => (0..8_usize).prop_map(Told::EndByHand),
    ]
}

/// The lines of the streams. Every reference names an entity that there is.
fn lines(kinds: &[Kind]) -> Vec<String> {
    let provided = |(kind, name): (&Kind, &str)| {
        kind.is_keyed.then(|| if kind.is_shared { "m".to_owned() } else { name.to_owned() })
    };
    let mut entities: Vec<String> = kinds.iter().zip(NAMES).filter_map(provided).collect();
    entities.sort();
    entities.dedup();
    let entity_of = |rule: &Rule| entities.get(rule.entity % entities.len().max(1)).cloned();
    // What is forgotten has to be referred to with waits that end.
    let may_be_forgotten = |entity: &str| {
        let refers = |kind: &&Kind| kind.rules.iter().any(|rule| entity_of(rule).as_deref() == Some(entity));
        kinds.iter().filter(refers).flat_map(|kind| &kind.rules).all(|rule| rule.wait > 0 && rule.expiry != 3)
    };
    let line = |(kind, name): (&Kind, &str)| {
        let mut line = name.to_owned();
        if let Some(entity) = provided((kind, name)) {
            line += &format!(" key provides={entity}");
            if kind.appends {
                line += " append";
            }
            if let Some(retain) = kind.retain.filter(|_| may_be_forgotten(&entity)) {
                line += &format!(" retain={retain}");
            }
        }
        line += " ->";
        for (at, rule) in kind.rules.iter().enumerate() {
            let Some(entity) = entity_of(rule) else { continue };
            line += &format!(" {entity}:name=r{at}");
            line += if rule.is_resolved { ":resolved" } else { "" };
            line += if rule.is_optional { ":optional" } else { "" };
            if rule.wait > 0 {
                line += &format!(":wait={}{}", rule.wait, ["", ":drop", ":partial", ":keep"][rule.expiry]);
            }
        }
        line
    };
    kinds.iter().zip(NAMES).map(line).collect()
}

fn record(kinds: &[Kind], choice: &Choice) -> String {
    let at = choice.kind % kinds.len();
    let mut line = format!("{} @{} id={}", NAMES[at], choice.partition, choice.id);
    if choice.deletes && kinds[at].is_keyed {
        return line + " null";
    }
    for (rule, references) in choice.references.iter().enumerate() {
        match references.as_slice() {
            _ if choice.is_array => line += &format!(" r{rule}={references:?}").replace(", ", ","),
            [one, ..] => line += &format!(" r{rule}={one}"),
            [] => {}
        }
    }
    line
}

fn case(family: Family) -> impl Strategy<Value = (Vec<Kind>, Vec<Told>, usize, bool)> {
    let kinds = prop::collection::vec(kind(family), 2..5);
    (kinds, prop::collection::vec(told(family), 1..12), 1..3_usize, any::<bool>())
}

fn holds((kinds, told, workers, ends): &(Vec<Kind>, Vec<Told>, usize, bool)) -> Result<(), TestCaseError> {
    let Some(rules) = rules(&lines(kinds)) else { return Err(TestCaseError::reject("no event is ever resolved")) };
    let mut steps: Vec<Step> = told
        .iter()
        .map(|told| match told {
            Told::Read(choices) => Step::Read(choices.iter().map(|choice| record(kinds, choice)).collect()),
            Told::Pass(seconds) => Step::Pass(*seconds),
            Told::Nearly(seconds) => Step::Nearly(*seconds),
            Told::Restart(workers) => Step::Restart(*workers),
            Told::EndByHand(which) => Step::EndByHand(*which),
        })
        .collect();
    if *ends {
        steps.push(Step::Pass(0));
        steps.push(Step::End);
        steps.push(Step::Pass(0));
    }
    check(&rules, *workers, &steps);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 1 << 20, ..ProptestConfig::default() })]

    #[test]
    fn results_follow_what_has_arrived(case in case(Family::Plain)) {
        holds(&case)?;
    }

    #[test]
    fn results_follow_chains_and_cycles_that_form_and_break(case in case(Family::Transitive)) {
        holds(&case)?;
    }

    #[test]
    fn results_stand_when_waits_are_over(case in case(Family::Timed)) {
        holds(&case)?;
    }

    #[test]
    fn waits_end_in_cycles_that_form_and_break(case in case(Family::Cyclic)) {
        holds(&case)?;
    }
}
