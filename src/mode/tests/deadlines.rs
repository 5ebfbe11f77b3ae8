//! What passed deadlines do, as tables: these dependencies, this time, this verdict.

use std::sync::Arc;
use std::time::Duration;

use super::notation;
use crate::dependency::Rules;
use crate::event::{Dependent, DroppedReason, Found, Timestamp};
use crate::mode::deadline::{Deadlines, Verdict, judge, judge_at_end, lacks_deferred, next};
use crate::mode::table::{Parked, Table, WaiterId};

/// When the events of these tests arrive.
const ARRIVAL: Timestamp = Timestamp(1_000_000_000);

fn after(seconds: u64) -> Timestamp {
    ARRIVAL.after(Duration::from_secs(seconds))
}

/// An event that refers to `a` and `b` by these dependencies, and has asked in vain.
fn event(dependencies: &str) -> (Arc<Rules>, Box<Dependent>) {
    let rules = notation::rules(&["a key", "b key", &format!("e -> {dependencies}")]);
    let references = dependencies.split(' ').map(|d| format!(" {}=1", &d[..1])).collect::<String>();
    let mut dependent = notation::dependent(&rules, &format!("e{references}"), 1, ARRIVAL);
    dependent.references.iter_mut().for_each(|r| r.found = Found::Missing);
    (rules, dependent)
}

/// The verdict, and after `waits` what is still missing and how many seconds after its arrival the next deadline is.
fn show(rules: &Rules, dependent: &Dependent, verdict: Verdict) -> String {
    let stream = rules.stream(dependent.event.header.header.stream);
    match verdict {
        Verdict::Expires => "expires".to_owned(),
        Verdict::Drops(DroppedReason::Deadline) => "drops".to_owned(),
        Verdict::Drops(DroppedReason::Tombstone | DroppedReason::Replaced) => "not by a deadline".to_owned(),
        Verdict::Waits => {
            let missing: String =
                dependent.missing().map(|r| stream.depends_on[usize::from(r.dependency)].name.as_str()).collect();
            let due = next(dependent).map(|due| format!(" until {}", due.micros_since(ARRIVAL) / 1_000_000));
            format!("waits for {missing}{}", due.unwrap_or_default())
        }
    }
}

#[test]
fn the_earliest_deadline_decides_and_of_two_at_once_the_dead_letter() {
    let table = "
        a:wait=5                        4  waits for a until 5
        a:wait=5                        5  expires
        a:wait=5 b                      5  expires
        a:wait=5:drop                   5  drops
        a:wait=5:drop b:wait=5          5  expires
        a:wait=4:drop b:wait=5          9  drops
        a:wait=5 b:wait=4:drop          9  drops
        a:wait=5:partial b              5  waits for b
        a:wait=5:partial b:wait=8       5  waits for b until 8
        a:wait=5:partial b:wait=8       8  expires
        a:wait=5:partial                5  waits for 
        a:wait=5:keep                 500  waits for a
        a:wait=5:keep b:wait=9:drop     9  drops
        a:wait=5:defer                500  waits for a
        a:wait=5:defer=3                5  waits for a until 8
        a:wait=5:defer=3                8  expires
        a:wait=5:defer=3:then=drop      7  waits for a until 8
        a:wait=5:defer=3:then=drop      8  drops
        a:wait=5:defer=3:then=partial   8  waits for 
        a:wait=5:defer=3:then=keep    500  waits for a
        a:wait=5:defer=3 b:wait=7:drop  9  drops";
    for line in table.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        let (dependencies, expected) = line.split_once("  ").expect("two columns");
        let (seconds, expected) = expected.trim_start().split_once("  ").expect("three columns");
        let (rules, mut dependent) = event(dependencies);
        let verdict = judge(&rules, &mut dependent, after(seconds.parse().expect("seconds")));
        assert_eq!(show(&rules, &dependent, verdict), expected, "{line}");
    }
}

#[test]
fn at_the_end_of_the_input_only_drop_and_partial_are_no_dead_letters() {
    let table = "
        a                                        expires
        a:wait=5                                 expires
        a:wait=5:keep                            expires
        a:wait=5:defer                           expires
        a:wait=5:defer=3:then=partial            expires
        a:wait=5:drop                            drops
        a:wait=5:drop b:wait=9                   expires
        a:wait=5:drop b:wait=9:partial           drops
        a:wait=5:partial                         waits for 
        a:wait=5:partial b                       expires";
    for line in table.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        let (dependencies, expected) = line.split_once("  ").expect("two columns");
        let (rules, mut dependent) = event(dependencies);
        let verdict = judge_at_end(&rules, &mut dependent);
        assert_eq!(show(&rules, &dependent, verdict), expected.trim_start(), "{line}");
    }
}

#[test]
fn at_the_end_of_the_input_a_second_wait_ends_as_it_says() {
    for (then, expected) in [("drop", "drops"), ("partial", "waits for "), ("keep", "expires")] {
        let (rules, mut dependent) = event(&format!("a:wait=5:defer=3:then={then}"));
        judge(&rules, &mut dependent, after(5));
        let verdict = judge_at_end(&rules, &mut dependent);
        assert_eq!(show(&rules, &dependent, verdict), expected, "{then}");
    }
}

#[test]
fn an_event_waits_in_the_state_for_a_deferred_reference_or_once_it_is_deferred() {
    for (dependencies, seconds, expected) in [
        ("a", 0, false),
        ("a:deferred", 0, true),
        ("a b:deferred", 0, true),
        ("a:wait=5:defer", 4, false),
        ("a:wait=5:defer", 5, true),
        ("a:wait=5:keep", 5, false),
    ] {
        let (rules, mut dependent) = event(dependencies);
        judge(&rules, &mut dependent, after(seconds));
        assert_eq!(lacks_deferred(&rules, &dependent), expected, "{dependencies} after {seconds} s");
    }
}

#[test]
fn deadlines_come_the_earliest_first_and_not_for_events_that_have_left() {
    let rules = notation::rules(&["a key", "e -> a"]);
    let mut table = Table::new(Arc::clone(&rules));
    let mut deadlines = Deadlines::default();
    let mut park = |table: &mut Table, offset: u64, due: u64| -> WaiterId {
        let dependent = notation::dependent(&rules, "e a=1", offset, ARRIVAL);
        let (waiter, ticket) = table.park(dependent, Parked::At(0), false);
        deadlines.add(after(due), waiter, ticket);
        waiter
    };
    let [third, first, second] = [(1, 7), (2, 3), (3, 5)].map(|(offset, due)| park(&mut table, offset, due));
    table.take(first);
    // Its slot is used again, with another ticket.
    let fourth = park(&mut table, 4, 9);
    assert_eq!(fourth, first);
    assert_eq!(deadlines.first(&table), Some(after(5)));
    assert_eq!(deadlines.pop_due(after(4), &table), None);
    assert_eq!(deadlines.pop_due(after(8), &table), Some(second));
    assert_eq!(deadlines.pop_due(after(8), &table), Some(third));
    assert_eq!(deadlines.pop_due(after(8), &table), None);
    assert_eq!(deadlines.pop_due(after(9), &table), Some(fourth));
    assert_eq!(deadlines.first(&table), None);
}

#[test]
fn what_has_left_is_dropped_from_the_deadlines_once_it_is_the_greater_part() {
    let rules = notation::rules(&["a key", "e -> a"]);
    let mut table = Table::new(Arc::clone(&rules));
    let mut deadlines = Deadlines::default();
    for offset in 0..3000 {
        let dependent = notation::dependent(&rules, "e a=1", offset, ARRIVAL);
        let (waiter, ticket) = table.park(dependent, Parked::At(0), false);
        deadlines.add(after(offset), waiter, ticket);
        if offset != 2000 {
            table.take(waiter);
        }
    }
    let full = deadlines.len();
    deadlines.compact(&table);
    assert_eq!((full, deadlines.len()), (3000, 1));
    assert_eq!(deadlines.first(&table), Some(after(2000)));
}
