//! Lengths that recursion or rescanning would not survive.

use super::cluster::{BUDGET, Cluster, PLENTY};
use super::notation::{self, rules};
use crate::event::Outcome;

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
