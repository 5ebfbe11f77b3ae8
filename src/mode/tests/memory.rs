//! Memory that is over its bounds.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::{BUDGET, Cluster, PLENTY};
use super::notation::{self, Record, rules};
use crate::dependency::Rules;
use crate::event::{Found, Outcome};
use crate::mode::{self, Phase};

fn records(rules: &Arc<Rules>, lines: &[&str]) -> Vec<Record> {
    lines.iter().enumerate().map(|(at, line)| notation::record(rules, line, at as u64)).collect()
}

#[test]
fn what_came_in_an_epoch_moves_out_at_its_end_however_small_the_table() {
    let rules = rules(&["a key", "e -> a"]);
    let mut cluster = Cluster::new(&rules, 1, 0, BUDGET, 1);
    cluster.run_epoch(records(&rules, &["a id=1", "a id=2", "e a=3", "e a=3"]));
    cluster.commit();
    assert_eq!(cluster.memory()[0].referents, 0);
    assert_eq!(cluster.waiting(), 2);
    assert_eq!(cluster.waiting_in_memory(), 0);
}

#[test]
fn queues_and_the_graph_count_and_are_free_when_nobody_waits() {
    let rules = rules(&["a key", "m key -> m:name=to:resolved:optional", "e ordered -> a"]);
    let mut cluster = Cluster::new(&rules, 1, PLENTY, BUDGET, 1);
    cluster.run_epoch(records(&rules, &["e a=1 order=1", "e a=1 order=1", "m id=1 to=2"]));
    cluster.commit();
    let memory = cluster.memory()[0];
    assert!(memory.queues > 0 && memory.graph > 0, "{memory:?}");
    assert_eq!(memory.streaming(), memory.referents + memory.waiting + memory.claims + memory.queues + memory.graph);
    cluster.run_epoch(records(&rules, &["a id=1", "m id=2"]));
    cluster.commit();
    // What ended counts for two more epochs.
    for _ in 0..4 {
        cluster.run_epoch(Vec::new());
        cluster.commit();
    }
    let after = cluster.memory()[0];
    assert_eq!(after.queues, 0);
    assert!(after.graph < memory.graph, "{after:?}");
}

#[test]
fn claims_count_and_are_free_however_the_event_ends() {
    let rules = rules(&["a key retain=9", "b key retain=9", "e -> a:wait=5 b:optional"]);
    for last in [&["a id=1", "b id=1"][..], &["b id=1", "a id=1"], &["b id=1"], &["a id=1"], &[]] {
        let mut cluster = Cluster::new(&rules, 3, PLENTY, BUDGET, 1);
        cluster.phase = Phase::Live;
        cluster.run_epoch(records(&rules, &["e a=1 b=1", "e a=1 b=1", "e a=1"]));
        cluster.commit();
        let claims = |cluster: &Cluster| -> usize { cluster.memory().iter().map(|memory| memory.claims).sum() };
        assert!(claims(&cluster) > 0);
        cluster.run_epoch(last.iter().zip(10..).map(|(line, at)| notation::record(&rules, line, at)).collect());
        cluster.commit();
        // Where `b` never comes, its reference is still waited for.
        cluster.now = cluster.now.after(Duration::from_secs(5));
        cluster.run_epoch(Vec::new());
        cluster.commit();
        assert_eq!((cluster.waiting(), claims(&cluster)), (if last == ["a id=1"] { 2 } else { 0 }, 0), "{last:?}");
    }
}

#[test]
fn a_queue_that_fills_memory_moves_the_rest_to_the_state() {
    let rules = rules(&["a key", "e ordered -> a"]);
    let lines: Vec<String> = (0..200).map(|n| format!("e a=1 order={n}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut measured = Cluster::new(&rules, 1, PLENTY, BUDGET, 1);
    measured.run_epoch(records(&rules, &lines));
    measured.commit();
    let memory = measured.memory()[0];
    // With room for the queues, and for few of the events, packed or not.
    let room = memory.queues + (memory.streaming() - memory.queues) / 8;
    let mut cluster = Cluster::new(&rules, 1, room, BUDGET, 1);
    cluster.run_epoch(records(&rules, &lines));
    cluster.commit();
    assert!(cluster.waiting_in_memory() < 200);
    assert_eq!(cluster.waiting(), 200);
}

#[test]
fn where_what_waits_fills_memory_it_is_packed_and_resolved_all_the_same() {
    let rules = rules(&["a key", "b key", "e -> a:deferred b:deferred"]);
    let lines: Vec<String> = (0..200).map(|n| format!("e a=1 b={n}")).collect();
    let lines: Vec<&str> = std::iter::once("a id=1").chain(lines.iter().map(String::as_str)).collect();
    let referents: Vec<String> = (0..200).map(|n| format!("b id={n}")).collect();
    for workers in [1, 3] {
        let mut measured = Cluster::new(&rules, workers, PLENTY, BUDGET, 1);
        measured.run_epoch(records(&rules, &lines));
        measured.commit();
        let most = measured.memory().iter().map(mode::Memory::deferred).max().unwrap_or_default();
        // Room for all of them.
        let mut cluster = Cluster::new(&rules, workers, most, BUDGET, 1);
        cluster.run_epoch(records(&rules, &lines));
        cluster.commit();
        assert_eq!(cluster.waiting_in_memory(), 200);
        let waiting = |cluster: &Cluster| cluster.memory().iter().map(|memory| memory.cached_waiting).sum::<usize>();
        assert!(waiting(&cluster) < waiting(&measured) * 9 / 10, "{} bytes", waiting(&cluster));
        cluster.told.clear();
        cluster.run_epoch(referents.iter().zip(1000..).map(|(line, at)| notation::record(&rules, line, at)).collect());
        cluster.commit();
        assert_eq!((cluster.waiting(), waiting(&cluster)), (0, 0));
        let complete = |outcome: &&Outcome| {
            matches!(outcome, Outcome::Resolved(of) if of.references.len() == 2
            && of.references.iter().all(|r| matches!(r.found, Found::Present(_))))
        };
        assert_eq!(cluster.told.iter().filter(complete).count(), 200);
    }
}

#[test]
fn who_wait_together_leave_memory_before_referents_in_use() {
    let rules = rules(&["a key", "e -> a:deferred"]);
    let referents = (0..50).map(|n| format!("a id={n}"));
    let crowd = (0..30).map(|_| "e a=1000".to_owned());
    let others = (0..3).map(|n| format!("e a={}", 2000 + n));
    let lines: Vec<String> = referents.chain(crowd).chain(others).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut measured = Cluster::new(&rules, 1, PLENTY, BUDGET, 1);
    measured.run_epoch(records(&rules, &lines));
    measured.commit();
    let memory = measured.memory()[0];
    // With room for all referents, and for few of the events, packed or not.
    let room = memory.cached_referents + memory.cached_waiting / 8;
    let mut cluster = Cluster::new(&rules, 1, room, BUDGET, 1);
    cluster.run_epoch(records(&rules, &lines));
    cluster.commit();
    assert_eq!(cluster.memory()[0].cached_referents, memory.cached_referents, "no key is gone");
    assert!(cluster.memory()[0].deferred() <= room && (4..15).contains(&cluster.waiting_in_memory()));
    assert_eq!(cluster.waiting(), 33);
    let late = ["a id=1000", "a id=2000", "a id=2001", "a id=2002"];
    cluster.run_epoch(late.iter().zip(1000..).map(|(line, at)| notation::record(&rules, line, at)).collect());
    while cluster.is_behind() {
        cluster.commit();
        cluster.run_epoch(Vec::new());
    }
    cluster.commit();
    assert_eq!(cluster.waiting(), 0);
    assert_eq!(
        cluster.told.iter().filter(|outcome| matches!(outcome, Outcome::Resolved(_))).count(),
        lines.len() + late.len()
    );
}
