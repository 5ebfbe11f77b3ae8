//! Tombstones, as text in the manner of [`super::situations`], and what is remembered of them.

use std::time::Duration;

use super::cluster::{BUDGET, Cluster, PLENTY};
use super::notation::{self, Record};
use super::situations::check;
use crate::dependency::Rules;
use crate::event::{Found, Outcome};
use crate::mode::Phase;

#[test]
fn a_deleted_referent_has_never_come_for_those_who_are_read_later() {
    check(
        "a key
         e -> a",
        "a id=1 v=1

         e a=1
         a id=1 null

         e a=1 n=2

         restart
         e a=1 n=3

         a id=1 v=2",
        "a id=1 v=1: resolved
         e a=1: resolved a=(a id=1 v=1)
         a id=1 null: dropped
         e a=1 n=2: resolved a=(a id=1 v=2)
         e a=1 n=3: resolved a=(a id=1 v=2)
         a id=1 v=2: resolved",
    );
}

#[test]
fn who_has_taken_a_referent_keeps_it_while_it_waits_for_another_whatever_is_deleted_or_restarts() {
    check(
        "a key
         b key
         e -> a b",
        "a id=1

         e a=1 b=1

         a id=1 null

         restart
         b id=1",
        "a id=1: resolved
         e a=1 b=1: resolved a=(a id=1) b=(b id=1)
         a id=1 null: dropped
         b id=1: resolved",
    );
}

#[test]
fn who_waits_is_given_what_comes_and_is_deleted_before_it_has_the_rest() {
    check(
        "a key
         b key
         e -> a b",
        "e a=1 b=1

         a id=1

         restart
         a id=1 null

         b id=1",
        "e a=1 b=1: resolved a=(a id=1) b=(b id=1)
         a id=1: resolved
         a id=1 null: dropped
         b id=1: resolved",
    );
}

#[test]
fn a_version_and_its_tombstone_in_one_epoch_reach_who_waited_in_any_order() {
    check(
        "a key
         e -> a",
        "e a=1

         a id=1
         a id=1 null

         e a=1 n=2",
        "e a=1: resolved a=(a id=1)
         a id=1: resolved
         a id=1 null: dropped",
    );
}

#[test]
fn a_tombstone_deletes_the_resolved_referent_too_and_what_is_resolved_late_stays_hidden() {
    check(
        "forum key
         post key -> forum
         like -> post:resolved",
        "post id=1 forum=1
         like post=1

         post id=1 null

         like post=1 n=2

         restart
         forum id=1

         post id=1 forum=1 v=2",
        "post id=1 forum=1: resolved forum=(forum id=1)
         like post=1: resolved post=(post id=1 forum=1)
         post id=1 null: dropped
         like post=1 n=2: resolved post=(post id=1 forum=1 v=2)
         forum id=1: resolved
         post id=1 forum=1 v=2: resolved forum=(forum id=1)",
    );
}

#[test]
fn across_partitions_the_greater_time_decides_where_the_tombstone_has_one_and_otherwise_the_later_arrival() {
    check(
        "a key time
         b key
         e -> a:optional b:optional",
        "a @0 id=1 time=5 null

         a @1 id=1 time=4

         e a=1
         b @1 id=1 null

         b @0 id=1

         e b=1
         a @1 id=1 time=6",
        "a @0 id=1 time=5 null: dropped
         a @1 id=1 time=4: resolved
         e a=1: resolved a=(a @1 id=1 time=6)
         b @1 id=1 null: dropped
         b @0 id=1: resolved
         e b=1: resolved b=(b @0 id=1)
         a @1 id=1 time=6: resolved",
    );
}

#[test]
fn a_deleted_key_leaves_memory_and_the_state_when_nothing_can_come_that_it_hides() {
    const DAY: u64 = 24 * 60 * 60;
    // The streams, and for how long a tombstone of `a` is remembered; `None` is for ever.
    for (streams, seconds) in [
        (&["a key", "e -> a"][..], Some(0)),
        (&["a key", "e -> a:deferred"], Some(0)),
        (&["a key", "e -> a:resolved"], Some(0)),
        (&["a key time", "e -> a"], Some(DAY)),
        (&["f key", "a key -> f:wait=9", "e -> a:resolved"], Some(DAY + 9)),
        (&["f key", "a key -> f:wait=9:defer=5:then=drop", "e -> a:resolved"], Some(DAY + 14)),
        (&["f key", "a key -> f", "e -> a:resolved"], None),
    ] {
        let rules = notation::deletable(streams);
        let mut cluster = Cluster::new(&rules, 1, PLENTY, BUDGET, 1);
        cluster.phase = Phase::Live;
        cluster.run_epoch(records(&rules, &["a id=1 time=1 f=1", "a id=1 time=1 null"]));
        cluster.commit();
        let memory = |cluster: &Cluster| cluster.memory()[0].referents + cluster.memory()[0].cached_referents;
        let passes = |cluster: &mut Cluster, seconds: u64| {
            cluster.now = cluster.now.after(Duration::from_secs(seconds));
            cluster.run_epoch(Vec::new());
            cluster.commit();
        };
        if let Some(seconds) = seconds {
            if seconds > 0 {
                passes(&mut cluster, seconds - 1);
                assert!(memory(&cluster) > 0, "{streams:?}: it is remembered");
                passes(&mut cluster, 1);
            }
            assert_eq!(memory(&cluster), 0, "{streams:?}");
        } else {
            passes(&mut cluster, 1000 * DAY);
            assert!(memory(&cluster) > 0, "{streams:?}");
        }
    }
}

#[test]
fn those_who_are_still_being_woken_by_a_deleted_referent_are_woken_after_a_crash_and_no_others() {
    for (memory, streams) in
        [(PLENTY, ["a key", "e -> a"]), (0, ["a key", "e -> a"]), (0, ["a key", "e -> a:deferred"])]
    {
        for epochs in 0..8 {
            let rules = notation::deletable(&streams);
            // Slices of one, so that it takes many epochs.
            let mut cluster = Cluster::new(&rules, 1, memory, 1, 1);
            cluster.phase = Phase::Live;
            cluster.run_epoch(records(&rules, &["e a=1"; 60]));
            cluster.commit();
            for (line, offset) in [("a id=1", 100), ("a id=1 null", 101), ("e a=1", 102)] {
                cluster.run_epoch(vec![notation::record(&rules, line, offset)]);
                cluster.commit();
            }
            for _ in 0..epochs {
                cluster.run_epoch(Vec::new());
                cluster.commit();
            }
            cluster.restart(2);
            for _ in 0..200 {
                cluster.run_epoch(Vec::new());
                cluster.commit();
            }
            assert!(!cluster.is_behind());
            assert_eq!(cluster.waiting(), 1, "{streams:?}, stopped after {epochs} epochs: it came after the tombstone");
            let took = cluster.told.iter().filter(|outcome| match outcome {
                Outcome::Resolved(dependent) => {
                    dependent.references.iter().any(|r| matches!(r.found, Found::Present(_)))
                }
                _ => false,
            });
            assert_eq!(took.count(), 60);
        }
    }
}

fn records(rules: &Rules, lines: &[&str]) -> Vec<Record> {
    lines.iter().zip(1..).map(|(line, at)| notation::record(rules, line, at)).collect()
}
