//! The situations that DESIGN.md §2 names, as text: these records in, these outcomes out, for any number of workers, in every mode, with and without
//! memory.

use std::sync::Arc;

use super::cluster::{BUDGET, PLENTY};
use super::notation;
use super::trial::Trial;
use crate::dependency::Rules;

/// Runs a script: records, `+SECONDS`, `restart`, `restart +SECONDS`, `live`, `end`; an empty line lets everything come to rest. Returns the outcomes.
fn run(rules: &str, script: &str, workers: usize, memory: usize, seed: u64) -> Vec<String> {
    let drafts = rules.lines().map(str::trim).filter(|line| !line.is_empty()).map(notation::stream).collect();
    let rules = Rules::build(drafts).expect("rules");
    let rules = Arc::new(if script.contains(" null") { rules.with_tombstones() } else { rules });
    let mut trial = Trial::new(&rules, workers, memory, 0, BUDGET, seed);
    trial.go_live();
    let mut records = Vec::new();
    for (offset, line) in script.lines().map(str::trim).enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_record =
            !matches!(words.as_slice(), [] | ["restart", ..] | ["live"] | ["end"]) && !line.starts_with('+');
        if is_record {
            records.push(notation::record(&rules, line, offset as u64));
            continue;
        }
        trial.read(std::mem::take(&mut records));
        match words.as_slice() {
            ["restart"] => trial.restart(1 + (workers + 1) % 3, 0),
            ["restart", seconds] => trial.restart(1 + (workers + 1) % 3, seconds[1..].parse().expect("seconds")),
            ["live"] => trial.pass(0),
            ["end"] => trial.end(),
            [seconds] => trial.pass(seconds[1..].parse().expect("seconds")),
            _ => {}
        }
    }
    trial.read(records);
    trial.lines()
}

pub(super) fn check(rules: &str, script: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let deferred = if rules.contains(":defer") { rules.to_owned() } else { defer(rules) };
    for rules in [rules, &deferred] {
        for (workers, memory, seed) in (0..24).map(|n| (1 + n % 3, [PLENTY, 0][n / 3 % 2], n as u64)) {
            let found = run(rules, script, workers, memory, seed);
            assert_eq!(found, expected, "{workers} workers, {memory} bytes, seed {seed}, by {rules}");
        }
    }
}

/// The rules with every dependency deferred.
fn defer(rules: &str) -> String {
    let line = |line: &str| match line.split_once("->") {
        Some((head, tail)) => {
            let words = tail.split_whitespace().map(|word| format!("{word}:deferred"));
            format!("{head}-> {}", words.collect::<Vec<_>>().join(" "))
        }
        None => line.to_owned(),
    };
    rules.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_event_is_resolved_whenever_its_referent_comes() {
    check(
        "post key
         like -> post:wait=10",
        "like post=1
         post id=1
         like post=1
         like post=\"1\"",
        "like post=1: resolved post=(post id=1)
         post id=1: resolved
         like post=1: resolved post=(post id=1)",
    );
}

#[test]
fn a_dead_letter_ends_the_event_whatever_else_is_missing() {
    check(
        "a key
         b key
         e -> a:wait=5 b",
        "a id=2
         e a=1 b=1
         e a=2 b=1
         +4
         +1
         b id=1",
        "a id=2: resolved
         e a=1 b=1: expired deadline a=- b=-
         e a=2 b=1: resolved a=(a id=2) b=(b id=1)
         b id=1: resolved",
    );
}

#[test]
fn drop_ends_the_event_and_a_dead_letter_of_the_same_moment_comes_first() {
    check(
        "a key
         b key
         e -> a:wait=5:drop b:wait=5:optional",
        "e a=1
         e a=1 b=1
         +5
         a id=1",
        "e a=1: dropped a=-
         e a=1 b=1: expired deadline a=- b=-
         a id=1: resolved",
    );
}

#[test]
fn partial_gives_up_that_reference_only() {
    check(
        "a key
         b key
         e -> a:wait=5:partial b:wait=9",
        "e a=1 b=1
         e a=1 b=2
         +5
         a id=1
         b id=1
         +4",
        "e a=1 b=1: resolved a=- b=(b id=1)
         e a=1 b=2: expired deadline a=- b=-
         a id=1: resolved
         b id=1: resolved",
    );
}

#[test]
fn partial_is_not_resolved_for_those_who_need_it() {
    check(
        "a key
         post key -> a:wait=5:partial
         like -> post:resolved:wait=7
         view -> post",
        "like post=1
         view post=1
         post id=1 a=1
         post id=2 a=2
         like post=2
         a id=2
         +5
         like post=1
         +10",
        "like post=1: expired deadline post=-
         view post=1: resolved post=(post id=1 a=1)
         post id=1 a=1: resolved a=-
         post id=2 a=2: resolved a=(a id=2)
         like post=2: resolved post=(post id=2 a=2)
         a id=2: resolved
         like post=1: expired deadline post=-",
    );
}

#[test]
fn keep_waits_on() {
    check(
        "a key
         e -> a:wait=5:keep",
        "e a=1
         +1000
         a id=1",
        "e a=1: resolved a=(a id=1)
         a id=1: resolved",
    );
}

#[test]
fn defer_waits_a_second_time() {
    for (options, fate) in [
        (":defer=3", "e a=1: expired deadline a=-"),
        (":defer=3:then=drop", "e a=1: dropped a=-"),
        (":defer=3:then=partial", "e a=1: resolved a=-"),
        (":defer=3:then=keep", "e a=1: resolved a=(a id=1)"),
        (":defer", "e a=1: resolved a=(a id=1)"),
    ] {
        let rules = format!("a key\n e -> a:wait=5{options}");
        let script = "e a=1 \n e a=2 \n +5 \n a id=2 \n +3 \n a id=1";
        check(&rules, script, &format!("{fate}\n e a=2: resolved a=(a id=2)\n a id=2: resolved\n a id=1: resolved"));
    }
}

#[test]
fn dependents_of_an_expired_event_wait_to_their_own_deadline() {
    check(
        "a key
         post key -> a:wait=5
         like -> post:resolved:wait=8",
        "post id=1 a=1
         like post=1
         +5
         post id=1 a=2
         like post=1
         a id=2",
        "post id=1 a=1: expired deadline a=-
         like post=1: resolved post=(post id=1 a=2)
         post id=1 a=2: resolved a=(a id=2)
         like post=1: resolved post=(post id=1 a=2)
         a id=2: resolved",
    );
}

#[test]
fn a_cycle_is_one_when_a_wait_ends_and_not_before() {
    check(
        "m key -> m:name=to:resolved:optional:wait=9
         n -> m:resolved:wait=9",
        "m id=1 to=2
         m id=2 to=3
         m id=3 to=1
         m id=4 to=1
         m id=6 to=7
         m id=7 to=6
         n m=6
         +4
         m id=7
         +5",
        "m id=1 to=2: expired cycle to=-
         m id=2 to=3: expired cycle to=-
         m id=3 to=1: expired cycle to=-
         m id=4 to=1: expired deadline to=-
         m id=6 to=7: resolved to=(m id=7)
         m id=7 to=6: resolved to=(m id=6 to=7)
         n m=6: resolved m=(m id=6 to=7)
         m id=7: resolved",
    );
}

#[test]
fn what_had_ended_before_the_end_of_the_input_is_on_no_cycle_then() {
    check(
        "m key -> m:name=to:resolved:optional:wait=1
         k key provides=m -> m:name=to:resolved:optional",
        "m id=1 to=2
         k id=2 to=1
         +1
         end",
        "m id=1 to=2: expired cycle to=-
         k id=2 to=1: expired end_of_input to=-",
    );
}

#[test]
fn an_event_may_refer_to_itself_where_it_need_only_have_arrived() {
    check("m key -> m:name=to", "m id=1 to=1", "m id=1 to=1: resolved to=(m id=1 to=1)");
    check("m key -> m:name=to:resolved:optional", "m id=1 to=1", "m id=1 to=1: rejected self_reference");
}

#[test]
fn a_way_back_that_is_no_longer_whole_is_no_cycle() {
    check(
        "p key
         m key -> m:name=to:resolved:optional:wait=9 p:name=by:optional",
        "m id=1 to=2
         m id=2 to=1 by=9

         m id=1 v=2
         +9
         p id=9",
        "m id=1 to=2: expired deadline to=-
         m id=2 to=1 by=9: resolved to=(m id=1 v=2) by=(p id=9)
         m id=1 v=2: resolved
         p id=9: resolved",
    );
}

#[test]
fn every_element_of_an_array_is_a_reference_and_an_absent_optional_one_is_none() {
    check(
        "a key
         e -> a:name=all:wait=5:partial:optional a:name=one:optional",
        "e all=[1,2,1] one=2
         e all=[]
         e
         e one=9
         a id=1
         a id=2
         e all=[1,3]
         +5",
        "e all=[1,2,1] one=2: resolved all=(a id=1) all=(a id=2) all=(a id=1) one=(a id=2)
         e all=[]: resolved
         e: resolved
         a id=1: resolved
         a id=2: resolved
         e all=[1,3]: resolved all=(a id=1) all=-",
    );
}

#[test]
fn two_streams_may_provide_one_entity() {
    check(
        "post key provides=message
         comment key provides=message -> message:name=to
         like -> message:resolved",
        "like message=2
         comment id=2 to=1
         post id=1",
        "like message=2: resolved message=(comment id=2 to=1)
         comment id=2 to=1: resolved to=(post id=1)
         post id=1: resolved",
    );
}

#[test]
fn an_ordered_event_parks_behind_a_waiting_one_of_the_same_value() {
    check(
        "a key
         e ordered -> a:wait=5",
        "a id=1
         e order=1 a=2
         e order=1 a=1
         e order=2 a=1

         restart
         e order=1 a=1 v=1
         +5",
        "a id=1: resolved
         e order=1 a=2: expired deadline a=-
         e order=1 a=1: resolved a=(a id=1)
         e order=2 a=1: resolved a=(a id=1)
         e order=1 a=1 v=1: resolved a=(a id=1)",
    );
}

#[test]
fn a_restart_never_expires_events_whose_referents_sit_in_the_backlog() {
    check(
        "a key
         e -> a:wait=5",
        "e a=1
         e a=2

         restart +100
         a id=1
         live
         a id=2",
        "e a=1: resolved a=(a id=1)
         e a=2: expired deadline a=-
         a id=1: resolved
         a id=2: resolved",
    );
}

#[test]
fn the_end_of_the_input_ends_every_wait() {
    check(
        "a key
         m key -> m:name=to:resolved:optional
         d -> a:wait=5:drop
         p -> a:wait=5:partial
         k -> a:wait=5:keep
         n -> a",
        "m id=1 to=2
         m id=2 to=1
         d a=1
         p a=1
         k a=1
         n a=1

         restart
         end",
        "m id=1 to=2: expired cycle to=-
         m id=2 to=1: expired cycle to=-
         d a=1: dropped a=-
         p a=1: resolved a=-
         k a=1: expired end_of_input a=-
         n a=1: expired end_of_input a=-",
    );
}

#[test]
fn what_is_being_woken_in_the_state_is_woken_after_a_crash() {
    let dependents: Vec<String> = (0..40).map(|n| format!("e a=1 n={n}")).collect();
    let script = format!("{}\n\n a id=1 \n restart", dependents.join("\n"));
    let mut expected: Vec<String> = dependents.iter().map(|line| format!("{line}: resolved a=(a id=1)")).collect();
    expected.push("a id=1: resolved".to_owned());
    check("a key \n e -> a", &script, &expected.join("\n"));
}
