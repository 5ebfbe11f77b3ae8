//! Situations that were thought of, each with what is to come of it.

use super::{Step, check, rules};

fn read(lines: &[&str]) -> Step {
    Step::Read(lines.iter().map(|line| (*line).to_owned()).collect())
}

/// The events that have a result in the end, as offsets with those of what they found.
fn standing(streams: &[&str], steps: &[Step]) -> Vec<String> {
    let lines: Vec<String> = streams.iter().map(|line| (*line).to_owned()).collect();
    let trial = check(&rules(&lines).expect("rules"), 2, steps);
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
