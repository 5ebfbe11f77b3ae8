//! Which version of a referent an event takes, and which is forgotten, as text in the manner of [`super::situations`].

use std::time::Duration;

use super::cluster::{BUDGET, Cluster};
use super::notation::{self, Record};
use super::situations::check;
use crate::event::{Found, Outcome};
use crate::mode::Phase;

#[test]
fn the_current_version_is_taken_and_a_lower_position_never_replaces_a_higher_one() {
    check(
        "a key
         e -> a",
        "a id=1 v=1

         e a=1
         e a=2

         a id=1 v=2

         e a=1
         a id=2",
        "a id=1 v=1: resolved
         e a=1: resolved a=(a id=1 v=1)
         e a=2: resolved a=(a id=2)
         a id=1 v=2: resolved
         e a=1: resolved a=(a id=1 v=2)
         a id=2: resolved",
    );
}

#[test]
fn the_greater_time_is_current_across_partitions() {
    check(
        "a key time
         e -> a",
        "a @0 id=1 time=5

         a @1 id=1 time=4

         e a=1

         a @1 id=1 time=6

         restart
         e a=1",
        "a @0 id=1 time=5: resolved
         a @1 id=1 time=4: resolved
         e a=1: resolved a=(a @0 id=1 time=5)
         a @1 id=1 time=6: resolved
         e a=1: resolved a=(a @1 id=1 time=6)",
    );
}

#[test]
fn the_later_arrival_is_current_across_partitions_after_a_restart_too() {
    check(
        "a key
         e -> a",
        "a @0 id=1 v=1

         +1
         a @1 id=1 v=2

         restart
         e a=1",
        "a @0 id=1 v=1: resolved
         a @1 id=1 v=2: resolved
         e a=1: resolved a=(a @1 id=1 v=2)",
    );
}

#[test]
fn a_forgotten_referent_has_never_come() {
    check(
        "a key retain=5
         e -> a",
        "a id=1 v=1
         e a=1
         +5
         e a=1
         +1
         a id=1 v=2
         e a=1",
        "a id=1 v=1: resolved
         e a=1: resolved a=(a id=1 v=1)
         e a=1: resolved a=(a id=1 v=2)
         a id=1 v=2: resolved
         e a=1: resolved a=(a id=1 v=2)",
    );
}

#[test]
fn who_waited_before_a_referent_is_forgotten_takes_it_while_it_lacks_another() {
    check(
        "a key retain=5
         b key retain=5
         c key
         e -> a b c",
        "e a=1 b=1 c=1

         a id=1
         +6
         e a=1 b=1 c=1
         b id=1
         +6
         c id=1
         +1
         a id=1 v=2
         b id=1 v=2",
        "e a=1 b=1 c=1: resolved a=(a id=1) b=(b id=1) c=(c id=1)
         a id=1: resolved
         e a=1 b=1 c=1: resolved a=(a id=1 v=2) b=(b id=1) c=(c id=1)
         b id=1: resolved
         c id=1: resolved
         a id=1 v=2: resolved
         b id=1 v=2: resolved",
    );
}

#[test]
fn what_an_event_lacks_besides_is_given_to_it_after_a_restart_too() {
    check(
        "a key retain=5
         b key
         e -> a b",
        "e a=1 b=1

         restart
         a id=1
         +6
         b id=1",
        "e a=1 b=1: resolved a=(a id=1) b=(b id=1)
         a id=1: resolved
         b id=1: resolved",
    );
}

#[test]
fn a_referent_that_is_resolved_late_is_there_for_those_who_came_before_it_was_forgotten() {
    check(
        "forum key
         post key retain=5 -> forum
         like -> post:resolved",
        "like post=1
         post id=1 forum=1

         +4
         like post=1 n=2

         +1
         like post=1 n=3

         +9
         forum id=1

         like post=1 n=4",
        "like post=1: resolved post=(post id=1 forum=1)
         post id=1 forum=1: resolved forum=(forum id=1)
         like post=1 n=2: resolved post=(post id=1 forum=1)
         forum id=1: resolved",
    );
}

#[test]
fn two_versions_may_wake_in_the_state_at_once_and_each_goes_on_after_a_crash() {
    let rules = notation::rules(&["a key retain=5", "e -> a"]);
    let records = |lines: &[&str], from: u64| -> Vec<Record> {
        lines.iter().zip(from..).map(|(line, at)| notation::record(&rules, line, at)).collect()
    };
    for epochs in 0..16 {
        let mut cluster = Cluster::new(&rules, 1, 0, BUDGET, 1);
        cluster.phase = Phase::Live;
        cluster.run_epoch(records(&["e a=1"; 40], 0));
        cluster.commit();
        cluster.run_epoch(records(&["a id=1"], 100));
        cluster.commit();
        // It is forgotten while those who waited for it are still being woken.
        cluster.now = cluster.now.after(Duration::from_secs(5));
        cluster.run_epoch(records(&["e a=1"; 40], 200));
        cluster.commit();
        cluster.run_epoch(records(&["a id=1"], 300));
        cluster.commit();
        for _ in 0..epochs {
            cluster.run_epoch(Vec::new());
            cluster.commit();
        }
        cluster.restart(1);
        loop {
            cluster.run_epoch(Vec::new());
            cluster.commit();
            if !cluster.is_behind() {
                break;
            }
        }
        assert_eq!(cluster.waiting(), 0, "stopped after {epochs} epochs");
        for outcome in &cluster.told {
            let Outcome::Resolved(dependent) = outcome else { panic!("{outcome:?}") };
            let takes_first = matches!(dependent.references.first().map(|r| &r.found),
                Some(Found::Present(event)) if event.header.header.id.offset == 100);
            let came_late = (200..300).contains(&dependent.event.header.header.id.offset);
            assert!(!(came_late && takes_first), "stopped after {epochs} epochs: it was forgotten by then");
        }
    }
}
