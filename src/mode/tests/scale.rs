//! Lengths that recursion or rescanning would not survive.

use std::time::Duration;

use super::cluster::{BUDGET, Cluster, PLENTY};
use super::notation::{self, rules};
use crate::event::Outcome;
use crate::mode::Phase;

#[test]
fn a_chain_of_resolutions_may_be_of_any_length() {
    const LENGTH: u64 = 100_000;
    let rules = rules(&["m key -> m:name=after:resolved:optional"]);
    let mut cluster = Cluster::new(&rules, 2, PLENTY, BUDGET, 1);
    let lines = (1..LENGTH).rev().map(|n| format!("m id={n} after={}", n - 1));
    let records = lines.enumerate().map(|(at, line)| notation::record(&rules, &line, at as u64)).collect();
    cluster.run_epoch(records);
    cluster.commit();
    assert_eq!(cluster.waiting() as u64, LENGTH - 1);
    cluster.run_epoch(vec![notation::record(&rules, "m id=0", LENGTH)]);
    cluster.commit();
    assert_eq!(cluster.told.iter().filter(|outcome| matches!(outcome, Outcome::Resolved(_))).count() as u64, LENGTH);
}

#[test]
fn a_referent_with_many_dependents_does_not_stall_the_rest() {
    const DEPENDENTS: u64 = 50_000;
    let rules = rules(&["post key", "like -> post"]);
    for memory in [PLENTY, 0] {
        let mut cluster = Cluster::new(&rules, 1, memory, BUDGET, 1);
        let like = |at| notation::record(&rules, "like post=1", at);
        cluster.run_epoch((0..DEPENDENTS).map(like).collect());
        cluster.commit();
        assert_eq!(cluster.waiting() as u64, DEPENDENTS);
        let lines = ["post id=1", "like post=2", "post id=2"];
        let records = lines.iter().enumerate().map(|(at, line)| notation::record(&rules, line, DEPENDENTS + at as u64));
        cluster.run_epoch(records.collect());
        cluster.commit();
        let told = std::mem::take(&mut cluster.told);
        let other =
            told.iter().filter(|o| matches!(o, Outcome::Resolved(d) if d.event.header.header.id.offset > DEPENDENTS));
        assert_eq!(other.count(), 2, "the others are answered at once");
        assert!(told.len() < 20_000, "{} were woken in one epoch", told.len());
        let mut resolved = told.len();
        while cluster.is_behind() {
            cluster.run_epoch(Vec::new());
            cluster.commit();
            resolved += std::mem::take(&mut cluster.told).len();
        }
        assert_eq!((resolved as u64, cluster.waiting()), (DEPENDENTS + 3, 0));
    }
}

#[test]
fn what_waits_in_the_state_flows_page_after_page_within_an_epoch() {
    const DEPENDENTS: u64 = 2_000;
    let rules = rules(&["post key", "like -> post:deferred:wait=10"]);
    for (workers, comes) in [(1, true), (1, false), (3, false)] {
        let mut cluster = Cluster::new(&rules, workers, 0, BUDGET, 1);
        cluster.phase = Phase::Live;
        let like = |at| notation::record(&rules, &format!("like post={}", if comes { 1 } else { at }), at);
        cluster.run_epoch((0..DEPENDENTS).map(like).collect());
        cluster.commit();
        assert_eq!((cluster.waiting() as u64, cluster.waiting_in_memory()), (DEPENDENTS, 0));
        cluster.told.clear();
        let mut records = Vec::new();
        if comes {
            records.push(notation::record(&rules, "post id=1", DEPENDENTS));
        } else {
            cluster.now = cluster.now.after(Duration::from_secs(11));
        }
        cluster.run_long_epoch(records);
        cluster.commit();
        assert_eq!(cluster.waiting(), 0, "{workers} workers, the referent comes: {comes}");
        let ended = |outcome: &&Outcome| match outcome {
            Outcome::Resolved(dependent) => comes && dependent.references.len() == 1,
            Outcome::Expired(..) => !comes,
            _ => false,
        };
        assert_eq!(cluster.told.iter().filter(ended).count() as u64, DEPENDENTS);
    }
}

#[test]
fn an_epoch_is_full_when_much_waits_at_its_end_and_not_for_what_has_left() {
    let rules = rules(&["post key", "like -> post"]);
    // With this seed an epoch is to change a KiB.
    let mut cluster = Cluster::new(&rules, 1, PLENTY, BUDGET, 2);
    let like = |at| notation::record(&rules, "like post=1", at);
    let post = |at| notation::record(&rules, "post id=1", at);
    assert!(!cluster.run_long_epoch((0..4).map(like).collect()));
    cluster.commit();
    assert!(cluster.run_long_epoch((4..104).map(like).collect()));
    cluster.commit();
    assert!(!cluster.run_long_epoch(Vec::new()), "an epoch begins empty");
    cluster.commit();
    assert!(!cluster.run_long_epoch((104..204).map(like).chain([post(204)]).collect()), "none of them waits");
    cluster.commit();
    assert_eq!(cluster.waiting(), 0);
}

#[test]
fn memory_over_its_bound_is_moved_out_over_several_epochs() {
    const DEPENDENTS: u64 = 1_000;
    let rules = rules(&["post key", "like -> post:deferred"]);
    // With this seed an epoch is to change a KiB.
    let mut cluster = Cluster::new(&rules, 1, 0, BUDGET, 2);
    let like = |at| notation::record(&rules, "like post=1", at);
    cluster.run_epoch((0..DEPENDENTS).map(like).collect());
    cluster.commit();
    let mut left = cluster.waiting_in_memory();
    assert!(left > 0, "all has left at once");
    while left > 0 {
        cluster.run_epoch(Vec::new());
        cluster.commit();
        let now = cluster.waiting_in_memory();
        assert!(now < left && left - now < 100, "{} events were moved out in one epoch", left - now);
        left = now;
    }
    assert_eq!(cluster.waiting() as u64, DEPENDENTS);
}
