//! Events that need each other resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Result;
use super::dataflow::{Decoding, Fed, rules, stream};
use resolvent::dependency::Need;
use resolvent::event::{Change, EventId, Found};

/// A result: an event, and what it has found.
type Standing = (EventId, Option<EventId>);

/// What each level of a chain costs, for chains of these depths.
pub(crate) fn chain(depths: &[u64]) -> Result<()> {
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    for depth in depths {
        for (at, (what, took, changes)) in course(*depth)?.into_iter().enumerate() {
            let per_level = took.as_secs_f64() * 1e6 / *depth as f64;
            let cell = format!("{changes} | {:.1} | {per_level:.1}", took.as_secs_f64() * 1e3);
            match rows.get_mut(at) {
                Some((_, cells)) => cells.push(cell),
                None => rows.push((what, vec![cell])),
            }
        }
    }
    let columns: String = depths.iter().map(|depth| format!(" {depth} deep: changes | ms | µs a level |")).collect();
    println!("\nchain: events, each of which needs the one before it resolved; one worker\n");
    println!("| what happens |{columns}");
    println!("| --- |{}", " --- | --- | --- |".repeat(depths.len()));
    rows.iter().for_each(|(what, cells)| println!("| {what} | {} |", cells.join(" | ")));
    Ok(())
}

/// What happens to a chain, how long each takes, and how many results it adds or takes away.
fn course(depth: u64) -> Result<Vec<(&'static str, Duration, usize)>> {
    let rules = rules(vec![stream("step", Some(("step", Need::Resolved)))?])?;
    timely::execute_directly(move |worker| {
        let (mut fed, mut decoding, mut chain) = (Fed::new(worker, &rules), Decoding::new(&rules), Chain::default());
        let (first, middle, last) = (None, depth / 2, depth - 1);
        let after = |at: u64| Some(at - 1);
        let all: Vec<Step> = (1..depth).map(|at| Step::Comes(at, after(at))).collect();
        let steps = [
            ("all but the first come", all),
            ("the first comes", vec![Step::Comes(0, first)]),
            ("it is corrected", vec![Step::Comes(0, first)]),
            ("the one in the middle is corrected", vec![Step::Comes(middle, after(middle))]),
            ("the last is corrected", vec![Step::Comes(last, after(last))]),
            ("the first is deleted", vec![Step::Goes(0)]),
            ("it comes again", vec![Step::Comes(0, first)]),
            ("it closes a cycle", vec![Step::Comes(0, Some(last))]),
        ];
        let mut measured = Vec::new();
        for (what, steps) in steps {
            let mut events = Vec::new();
            for step in steps {
                let event = decoding.event("step", &step.record())?;
                chain.apply(&step, event.event.header.header.id);
                events.push(event);
            }
            let (took, changes) = fed.epoch(events);
            measured.push((what, took, changes.len()));
            chain.check(what, &changes)?;
        }
        Ok(measured)
    })
}

/// What happens to one event of a chain.
enum Step {
    Comes(u64, Option<u64>),
    Goes(u64),
}

impl Step {
    fn record(&self) -> String {
        match self {
            Step::Comes(id, Some(refers)) => format!("{{\"id\":{id},\"ref\":{refers}}}"),
            Step::Comes(id, None) => format!("{{\"id\":{id}}}"),
            Step::Goes(id) => format!("{{\"id\":{id},\"deleted\":true}}"),
        }
    }
}

/// What is there of a chain, and what was told of its results.
#[derive(Default)]
struct Chain {
    there: BTreeMap<u64, (EventId, Option<u64>)>,
    told: BTreeMap<Standing, i64>,
}

impl Chain {
    fn apply(&mut self, step: &Step, event: EventId) {
        match step {
            Step::Comes(id, refers) => _ = self.there.insert(*id, (event, *refers)),
            Step::Goes(id) => _ = self.there.remove(id),
        }
    }

    /// Fails where what was told does not sum up to what is right: the events that lead to one that needs none.
    fn check(&mut self, what: &str, changes: &[Change]) -> Result<()> {
        for change in changes {
            let found = change.dependent.references.first().and_then(|reference| match &reference.found {
                Found::Present(event) => Some(event.header.header.id),
                _ => None,
            });
            let standing = (change.dependent.event.header.header.id, found);
            *self.told.entry(standing).or_default() += if change.added { 1 } else { -1 };
        }
        self.told.retain(|_, count| *count != 0);
        let mut right: BTreeSet<Standing> = BTreeSet::new();
        let mut resolved: BTreeMap<u64, EventId> = BTreeMap::new();
        // An event refers to one of a lesser number, or closes a cycle, in which none is resolved.
        for (id, (event, refers)) in &self.there {
            let found = refers.map(|refers| resolved.get(&refers).copied());
            if found != Some(None) {
                resolved.insert(*id, *event);
                right.insert((*event, found.flatten()));
            }
        }
        if self.told.keys().eq(&right) && self.told.values().all(|count| *count == 1) {
            return Ok(());
        }
        Err(format!("WRONG RESULTS: {what}: {} stand, {} should", self.told.len(), right.len()).into())
    }
}
