//! Situations that were thought of, each with what is to come of it.

use super::{LIMITS, Step, Trial, check, rules};
use crate::decode::{Decoded, Decoder};
use crate::event::{Epoch, Timestamp};
use crate::mode::Phase;
use crate::mode::maintained::{Limits, PATIENCE, Room, Table};
use crate::mode::tests::notation;

fn read(lines: &[&str]) -> Step {
    Step::Read(lines.iter().map(|line| (*line).to_owned()).collect())
}

fn trial(streams: &[&str], steps: &[Step]) -> Trial {
    let lines: Vec<String> = streams.iter().map(|line| (*line).to_owned()).collect();
    check(&rules(&lines).expect("rules"), 2, steps)
}

/// The events that have a result in the end, as offsets with those of what they found.
fn standing(streams: &[&str], steps: &[Step]) -> Vec<String> {
    let trial = trial(streams, steps);
    let show = |(id, found): &(crate::event::EventId, Vec<Option<crate::event::EventId>>)| {
        let found: Vec<String> = found.iter().map(|id| id.map_or("-".to_owned(), |id| id.offset.to_string())).collect();
        format!("{}({})", id.offset, found.join(","))
    };
    trial.told.keys().map(show).collect()
}

const SHOP: [&str; 3] = ["customer key", "product key", "order key -> customer product"];

#[test]
fn a_correction_revises_and_a_deletion_retracts() {
    let first = read(&["customer id=1", "product id=1", "order id=1 customer=1 product=1"]);
    assert_eq!(standing(&SHOP, std::slice::from_ref(&first)), ["0()", "1()", "2(0,1)"]);
    let corrected = read(&["customer id=1"]);
    assert_eq!(standing(&SHOP, &[first.clone(), corrected.clone()]), ["1()", "2(3,1)", "3()"]);
    let cancelled = read(&["product id=1 null"]);
    assert_eq!(standing(&SHOP, &[first.clone(), corrected.clone(), cancelled.clone()]), ["3()"]);
    let back = read(&["product id=1"]);
    let all = [first, corrected, cancelled, Step::Restart(3), back];
    assert_eq!(standing(&SHOP, &all), ["2(3,5)", "3()", "5()"]);
}

#[test]
fn an_event_has_as_many_references_as_it_likes() {
    let group = format!("group persons=[{}]", ["1"; 70_000].join(","));
    let steps = [read(&["person id=1", &group])];
    let results = standing(&["person key", "group -> person:name=persons"], &steps);
    assert_eq!(results[1], format!("1({})", ["0"; 70_000].join(",")));
}

#[test]
fn what_replaces_an_event_replaces_its_result() {
    let steps = [
        read(&["customer id=1", "customer id=2", "product id=1", "order id=1 customer=1 product=1"]),
        read(&["order id=1 customer=2 product=1"]),
        read(&["order id=1 customer=3 product=1"]),
        read(&["order id=1 null", "order id=1 customer=1 product=1"]),
    ];
    assert_eq!(standing(&SHOP, &steps[..2]), ["0()", "1()", "2()", "4(1,2)"]);
    assert_eq!(standing(&SHOP, &steps[..3]), ["0()", "1()", "2()"]);
    assert_eq!(standing(&SHOP, &steps), ["0()", "1()", "2()", "7(0,2)"]);
}

#[test]
fn a_cycle_never_supports_itself() {
    let streams = ["step key -> step:resolved:optional:name=after"];
    let cycle = read(&["step id=1 after=2", "step id=2 after=1"]);
    assert!(standing(&streams, std::slice::from_ref(&cycle)).is_empty());
    // It is entered from outside, and left again.
    let entered = read(&["step id=2"]);
    assert_eq!(standing(&streams, &[cycle.clone(), entered.clone()]), ["0(2)", "2()"]);
    let closed = read(&["step id=2 after=1"]);
    assert!(standing(&streams, &[cycle, entered, closed]).is_empty());
}

#[test]
fn a_chain_breaks_and_forms_again() {
    let streams = ["step key -> step:resolved:optional:name=after"];
    let members: Vec<String> = (1..50).map(|id| format!("step id={id} after={}", id - 1)).collect();
    let mut steps = vec![Step::Read(members), read(&["step id=0"])];
    assert_eq!(standing(&streams, &steps).len(), 50);
    steps.push(read(&["step id=25 null"]));
    assert_eq!(standing(&streams, &steps).len(), 25);
    steps.push(Step::Restart(1));
    steps.push(read(&["step id=25"]));
    assert_eq!(standing(&streams, &steps).len(), 50);
}

#[test]
fn a_result_stands_once_its_wait_is_over() {
    let streams = ["person key", "like -> person:wait=5"];
    let mut steps = vec![read(&["person id=1", "like person=1"]), Step::Pass(6)];
    // The like has left: what becomes of the person makes no difference to it.
    steps.push(read(&["person id=1"]));
    assert_eq!(standing(&streams, &steps), ["1(0)", "2()"]);
    steps.push(Step::Restart(2));
    steps.push(read(&["person id=1 null"]));
    assert_eq!(standing(&streams, &steps), ["1(0)"]);
}

#[test]
fn what_is_forgotten_is_not_for_those_who_come_later() {
    let streams = ["person key retain=10", "like -> person:wait=5"];
    let first = [read(&["person id=1", "like person=1"]), Step::Pass(9), read(&["like person=1"])];
    assert_eq!(standing(&streams, &first), ["0()", "1(0)", "2(0)"]);
    let later = [first.as_slice(), &[Step::Pass(2), read(&["like person=1"])]].concat();
    assert_eq!(standing(&streams, &later), ["0()", "1(0)", "2(0)"]);
    // Long after, the person leaves, and its result stands whatever comes.
    let gone = [later.as_slice(), &[Step::Pass(100), read(&["person id=1 null"])]].concat();
    assert_eq!(standing(&streams, &gone), ["0()", "1(0)", "2(0)"]);
}

#[test]
fn the_current_version_alone_resolves_others_where_all_stay() {
    let streams = ["person key", "post key append -> person", "like -> post:resolved"];
    let steps = [
        read(&["person id=1", "post id=1 person=1", "like post=1"]),
        read(&["post id=1 person=2"]),
        read(&["person id=2"]),
    ];
    assert_eq!(standing(&streams, &steps[..1]), ["0()", "1(0)", "2(1)"]);
    assert_eq!(standing(&streams, &steps[..2]), ["0()", "1(0)"]);
    assert_eq!(standing(&streams, &steps), ["0()", "1(0)", "2(3)", "3(4)", "4()"]);
}

#[test]
fn what_can_never_be_revised_has_its_result_and_is_gone() {
    // Nobody refers to a note; of two posts in one epoch the first is nobody's referent any more.
    let streams = ["note", "post key append", "like -> post"];
    let steps = [
        read(&["note", "post id=1", "post id=1", "like post=1"]),
        Step::Restart(1),
        read(&["post id=1 null", "post id=1", "note"]),
        read(&["post id=1"]),
    ];
    assert_eq!(standing(&streams, &steps[..1]), ["0()", "1()", "2()", "3(2)"]);
    assert_eq!(standing(&streams, &steps), ["0()", "1()", "2()", "3(7)", "5()", "6()", "7()"]);
}

#[test]
fn a_wait_that_was_over_when_its_referent_was_there_ends_the_event_when_that_goes() {
    // It waits on for what it lacks (`keep`), with the other in hand; without that it has nothing to wait for.
    let streams = ["person key", "like -> person:name=first:wait=1:keep person:name=second:wait=1"];
    let steps = [
        read(&["person id=1", "like first=9 second=1"]),
        Step::Pass(2),
        read(&["person id=1 null"]),
        Step::Pass(1),
        read(&["person id=1", "person id=9"]),
    ];
    assert_eq!(standing(&streams, &steps), ["3()", "4()"]);
}

/// The events that have expired, as offsets with the reasons.
fn expired(streams: &[&str], steps: &[Step]) -> Vec<String> {
    trial(streams, steps).expired.iter().map(|(id, reason)| format!("{} {reason:?}", id.offset)).collect()
}

/// Steps that wait for two others at most.
const STEPS: [&str; 1] =
    ["step key -> step:resolved:optional:name=a:wait=2 step:resolved:optional:name=b:wait=4:partial"];

#[test]
fn a_wait_that_leads_back_to_itself_ends_as_a_cycle() {
    // 1 and 2 need each other, 3 needs them, 4 needs what never comes.
    let steps = [read(&["step id=1 a=2", "step id=2 a=1", "step id=3 a=1", "step id=4 a=9"]), Step::Pass(3)];
    assert_eq!(expired(&STEPS, &steps), ["0 Cycle", "1 Cycle", "2 Deadline", "3 Deadline"]);
    // After a restart too.
    let [first, pass] = steps;
    let restarted = [first.clone(), Step::Restart(2), pass.clone()];
    assert_eq!(expired(&STEPS, &restarted), ["0 Cycle", "1 Cycle", "2 Deadline", "3 Deadline"]);
    // And at the end of the input, where nothing else ends a wait.
    let without = ["step key -> step:resolved:optional:name=a"];
    let ends = [first, Step::End];
    assert_eq!(expired(&without, &ends), ["0 Cycle", "1 Cycle", "2 EndOfInput", "3 EndOfInput"]);
}

#[test]
fn a_cycle_that_was_broken_is_none() {
    let cycle = read(&["step id=1 a=2", "step id=2 a=3", "step id=3 a=1"]);
    // A correction leads elsewhere; a deletion leads nowhere.
    for broken in ["step id=2 a=9", "step id=2 null"] {
        let steps = [cycle.clone(), read(&[broken]), Step::Pass(3)];
        assert!(expired(&STEPS, &steps).iter().all(|expired| expired.ends_with("Deadline")), "{broken}");
    }
    // One closes it again.
    let steps = [cycle, read(&["step id=2 a=9"]), read(&["step id=2 a=3"]), Step::Pass(3)];
    assert_eq!(expired(&STEPS, &steps), ["0 Cycle", "2 Cycle", "4 Cycle"]);
}

#[test]
fn what_is_found_leads_nowhere() {
    // 2 has found the version of 1 that is there, and lacks what never comes; the version before that needed 2, and its wait has just ended.
    let streams = [
        "plain key provides=step",
        "step key -> step:resolved:optional:name=a:wait=1 step:resolved:optional:name=b:wait=1",
    ];
    let steps = [read(&["step id=1 a=2"]), Step::Pass(1), read(&["plain id=1", "step id=2 a=9 b=1"]), Step::Pass(1)];
    assert_eq!(expired(&streams, &steps), ["0 Deadline", "2 Deadline"]);
}

#[test]
fn what_had_been_found_when_a_wait_ended_leads_nowhere_afterwards() {
    // 2 has found 1, and ends with 3, which needs it as it needs 3. Only then does 1 lose what it had found, by a correction of 0 that needs 2: what 1 lacks
    // leads to 2, which did not lack it.
    let streams = ["step key -> step:resolved:optional:name=a:wait=2 step:resolved:optional:name=b:wait=1"];
    let steps = [
        read(&["step id=1 a=0", "step id=3 b=2", "step id=2 a=1 b=3", "step id=0"]),
        Step::Pass(1),
        read(&["step id=0 b=2"]),
        Step::Pass(1),
    ];
    assert_eq!(expired(&streams, &steps), ["0 Deadline", "1 Cycle", "2 Cycle", "4 Deadline"]);
}

#[test]
fn what_others_on_the_way_have_found_leads_nowhere() {
    // 1 needs 2, which has found the version of 3 that is there, and lacks what never comes. The version before that needed 1, and its wait has just ended.
    for wait in [":wait=4", ""] {
        let streams = [
            "plain key provides=step",
            "step key provides=step -> step:resolved:optional:name=a:wait=1 step:resolved:optional:name=b:wait=2",
            &format!(
                "late key provides=step -> step:resolved:optional:name=a{wait} step:resolved:optional:name=b{wait}"
            ),
        ];
        let steps = [
            read(&["step id=3 a=1", "step id=1 b=2", "late id=2 a=9 b=3"]),
            Step::Pass(1),
            read(&["plain id=3"]),
            Step::Pass(1),
        ];
        assert_eq!(expired(&streams, &steps), ["0 Cycle", "1 Deadline"], "{wait}");
    }
}

#[test]
fn what_is_given_up_leads_nowhere() {
    // The first leads back over what it has given up by then, and lacks what never comes; to the second it leads over what it lacks.
    let streams = ["step key -> step:resolved:optional:name=a:wait=2:partial step:resolved:optional:name=b:wait=2"];
    let both = ["step key -> step:resolved:optional:name=a:wait=1:partial step:resolved:optional:name=b:wait=2"];
    let steps = [read(&["step id=1 a=2 b=9", "step id=2 b=1"]), Step::Pass(3)];
    assert_eq!(expired(&streams, &steps), ["0 Cycle", "1 Cycle"]);
    assert_eq!(expired(&both, &steps), ["0 Deadline", "1 Cycle"]);
}

#[test]
fn a_cycle_ends_as_one_within_two_epochs() {
    let other = || Step::Read(vec!["step id=9".to_owned()]);
    // One epoch apart, two, and three: those whose waits end later still lead through those that have just ended.
    let apart = |epochs: usize| {
        let between = (1..epochs).map(|_| other());
        let mut steps = vec![read(&["step id=1 a=2"])];
        steps.extend(between);
        steps.extend([read(&["step id=2 a=1"]), Step::Nearly(2)]);
        steps.extend((0..10).map(|_| other()));
        expired(&STEPS, &steps)
    };
    let second = |expired: Vec<String>| expired.last().cloned().unwrap_or_default();
    assert_eq!(apart(1), ["0 Cycle", "1 Cycle"]);
    assert!(second(apart(2)).ends_with("Cycle"));
    assert!(second(apart(3)).ends_with("Deadline"));
}

#[test]
fn a_full_table_says_once_that_the_epoch_should_end_and_whether_something_is_about_to_leave() {
    let patience = PATIENCE.as_secs();
    let waits = [String::new(), format!(":wait={}", patience - 1), format!(":wait={}", patience + 1)];
    for (wait, expected) in waits.into_iter().zip([Room::Never, Room::Soon, Room::Never]) {
        let rules = rules(&["person key".to_owned(), format!("like -> person{wait}")]).expect("rules");
        let mut table = Table::new(rules.clone(), Limits { memory_bytes: 1, ..LIMITS }, Vec::new());
        table.begin(Epoch(1), Phase::Live);
        table.tick(Timestamp(1));
        assert!(!table.is_full());
        let record = notation::record(&rules, "like person=1", 0);
        let decoded = notation::decode(&mut Decoder::new(rules.clone(), None), &record, Timestamp(1));
        let Decoded::Event(like) = decoded else { panic!("{decoded:?}") };
        table.arrive(like);
        assert!(table.is_full());
        table.end_epoch();
        assert_eq!(table.facts().room, expected, "{wait}");
        assert!(!table.is_full());
    }
}
