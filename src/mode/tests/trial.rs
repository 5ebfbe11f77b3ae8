//! One job, told to a cluster and to the reference resolver alike, and what both say of it compared.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::cluster::{BUDGET, Cluster, PLENTY};
use super::notation::Record;
use crate::decode::Decoded;
use crate::dependency::Rules;
use crate::event::{Dependent, EventId, ExpiredReason, Found, Key, Outcome, StreamId, Timestamp};
use crate::mode::Phase;
use crate::mode::engine::EPOCHS_LATE;
use crate::mode::reference::{Answered, Fate, Reference, Took};

/// Epochs after which what has no more input must have come to rest.
const EPOCHS_MAX: usize = 2000;

pub(super) struct Trial {
    pub(super) cluster: Cluster,
    reference: Reference,
    rules: Arc<Rules>,
    /// One epoch in this many is lost; 0 is none.
    crashes: usize,
    /// Whether an engine had something left to do at the end of an epoch since the last comparison.
    was_behind: bool,
    /// Whether events that end together may have ended in different epochs.
    apart: bool,
    noticed: BTreeSet<EventId>,
    notices_due: BTreeSet<EventId>,
    notices_allowed: BTreeSet<EventId>,
    answered: BTreeMap<EventId, Outcome>,
    /// The number of each event in the order of reading.
    numbers: BTreeMap<EventId, usize>,
    /// The number of the last event resolved of each `ordered_by` value.
    last_of: BTreeMap<(StreamId, String), usize>,
}

impl Trial {
    pub(super) fn new(
        rules: &Arc<Rules>,
        workers: usize,
        memory: usize,
        crashes: usize,
        budget: usize,
        seed: u64,
    ) -> Trial {
        Trial {
            cluster: Cluster::new(rules, workers, memory, budget, seed),
            reference: Reference::new(Arc::clone(rules)),
            rules: Arc::clone(rules),
            crashes,
            was_behind: false,
            apart: memory < PLENTY || budget < BUDGET,
            noticed: BTreeSet::new(),
            notices_due: BTreeSet::new(),
            notices_allowed: BTreeSet::new(),
            answered: BTreeMap::new(),
            numbers: BTreeMap::new(),
            last_of: BTreeMap::new(),
        }
    }

    /// Reads records, in one epoch or several, and lets everything come to rest.
    pub(super) fn read(&mut self, records: Vec<Record>) {
        let mut left: VecDeque<Record> = records.into();
        while !left.is_empty() {
            let count = 1 + self.cluster.chance.below(left.len());
            let records: Vec<Record> = left.iter().take(count).cloned().collect();
            if self.epoch(records) {
                left.drain(..count);
            }
        }
        self.rest();
    }

    /// Lets the time pass, and what it ends come to rest.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.rest();
        // Time passes in epochs, and for the next few of them an event that has ended still counts as waiting.
        for _ in 0..EPOCHS_LATE {
            while !self.epoch(Vec::new()) {}
        }
        self.cluster.now = self.cluster.now.after(Duration::from_secs(seconds));
        self.go_live();
        self.reference.pass(self.cluster.now);
        self.was_behind = true;
        self.epoch(Vec::new());
        self.epoch(Vec::new());
        self.rest();
    }

    /// The sources have been read to the end that they had at the start: deadlines fire from now on.
    pub(super) fn go_live(&mut self) {
        if self.cluster.phase == Phase::CatchUp {
            while !self.epoch(Vec::new()) {}
            self.cluster.phase = Phase::Live;
        }
    }

    /// Stops and starts again, some time later.
    pub(super) fn restart(&mut self, workers: usize, seconds: u64) {
        self.rest();
        self.cluster.now = self.cluster.now.after(Duration::from_secs(seconds));
        self.start_again(workers);
    }

    fn start_again(&mut self, workers: usize) {
        self.reference.restart();
        self.apart = true;
        self.cluster.restart(workers);
        self.was_behind |= self.cluster.is_behind();
    }

    /// Ends the input and every wait with it.
    pub(super) fn end(&mut self) {
        self.rest();
        self.cluster.phase = Phase::Ending;
        self.crashes = 0;
        self.reference.end();
        self.was_behind = true;
        self.rest();
        assert_eq!(self.cluster.waiting(), 0, "events that wait after the end");
    }

    /// The latest time that a deadline is ahead.
    pub(super) fn last_deadline(&self) -> Option<Timestamp> {
        self.reference.last_deadline()
    }

    /// One epoch. Returns whether it was committed.
    fn epoch(&mut self, records: Vec<Record>) -> bool {
        let live = self.cluster.phase == Phase::Live;
        self.cluster.run_epoch(records);
        if self.crashes > 0 && self.cluster.chance.one_in(self.crashes) {
            let workers = 1 + self.cluster.chance.below(4);
            self.start_again(workers);
            if live {
                self.go_live();
            }
            return false;
        }
        for record in self.cluster.commit() {
            self.numbers.insert(record.id, self.numbers.len());
            if let Decoded::Event(dependent) = self.cluster.decode(&record) {
                self.reference.arrive(*dependent);
            }
        }
        self.notices_due.extend(self.reference.notices());
        self.notices_allowed.extend(self.reference.notices_allowed());
        self.was_behind |= self.cluster.is_behind();
        if !self.was_behind {
            self.compare();
        }
        true
    }

    /// Runs epochs until nothing is left to do, and compares.
    fn rest(&mut self) {
        for _ in 0..EPOCHS_MAX {
            let committed = self.epoch(Vec::new());
            if committed && !self.cluster.is_behind() {
                self.compare();
                self.was_behind = false;
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn compare(&mut self) {
        let mut told: BTreeMap<EventId, Outcome> = BTreeMap::new();
        for outcome in std::mem::take(&mut self.cluster.told) {
            let dependent = match &outcome {
                Outcome::Accepted(dependent) => {
                    let id = dependent.event.header.header.id;
                    assert!(self.noticed.insert(id), "{} accepted twice", show(dependent));
                    assert!(
                        !self.answered.contains_key(&id) && !told.contains_key(&id),
                        "{} accepted late",
                        show(dependent)
                    );
                    continue;
                }
                Outcome::Rejected(rejection) => {
                    assert!(self.answered.insert(rejection.id, outcome.clone()).is_none(), "rejected twice");
                    continue;
                }
                Outcome::Resolved(dependent) => {
                    self.check_order(dependent);
                    dependent
                }
                Outcome::Expired(dependent, _) | Outcome::Dropped(dependent, _) => dependent,
            };
            let id = dependent.event.header.header.id;
            let text = show(dependent);
            assert!(!self.answered.contains_key(&id), "{text} answered again");
            assert!(told.insert(id, outcome).is_none(), "{text} answered twice");
        }
        let expected = self.reference.settle();
        for answered in &expected {
            let header = &answered.event.header.header;
            let Some(outcome) = told.get(&header.id) else {
                panic!("{} is not answered: expected {:?}", show_event(&answered.event), answered.fate)
            };
            self.check(answered, outcome);
        }
        let ids: BTreeSet<EventId> = expected.iter().map(|answered| answered.event.header.header.id).collect();
        if let Some((_, outcome)) = told.iter().find(|(id, _)| !ids.contains(id)) {
            panic!("too early: {outcome:?}");
        }
        self.answered.extend(told);
        assert_eq!(self.cluster.waiting(), self.reference.waiting().count(), "events that wait");
        for id in &self.notices_due {
            assert!(self.noticed.contains(id), "no notice for {id:?}");
        }
        if !self.was_behind {
            let extra = self.noticed.difference(&self.notices_due).find(|id| !self.notices_allowed.contains(id));
            assert_eq!(extra, None, "a notice too many");
        }
        self.notices_allowed.extend(&self.noticed);
    }

    fn check(&self, expected: &Answered, outcome: &Outcome) {
        let (dependent, fate) = match outcome {
            Outcome::Resolved(dependent) => (dependent, Fate::Resolved),
            Outcome::Expired(dependent, reason) => (dependent, Fate::Expired(*reason)),
            Outcome::Dropped(dependent, reason) => (dependent, Fate::Dropped(*reason)),
            Outcome::Accepted(_) | Outcome::Rejected(_) => panic!("not an end: {outcome:?}"),
        };
        let cycle_or_not = match (fate, expected.fate) {
            (Fate::Expired(_), Fate::Expired(ExpiredReason::Cycle)) => self.apart || expected.cycle_or_not,
            (Fate::Expired(ExpiredReason::Cycle), Fate::Expired(_)) => expected.cycle_or_not,
            _ => false,
        };
        assert!(fate == expected.fate || cycle_or_not, "{}: {fate:?}, expected {:?}", show(dependent), expected.fate);
        for (reference, took) in dependent.references.iter().zip(&expected.took) {
            let fits = match (&reference.found, took) {
                (Found::Present(event), Took::OneOf(versions)) => {
                    versions.iter().any(|v| v.header.header.id == event.header.header.id && v.slice == event.slice)
                }
                (Found::Missing, Took::Missing) | (Found::GivenUp, Took::GivenUp) => true,
                _ => false,
            };
            assert!(
                fits,
                "{}: for {:?} it has {:?}, expected {took:?}",
                show(dependent),
                reference.key,
                reference.found
            );
        }
    }

    fn check_order(&mut self, dependent: &Dependent) {
        let header = &dependent.event.header.header;
        let Some(order) = &dependent.order else { return };
        if self.rules.stream(header.stream).queue().is_none() {
            return;
        }
        let number = self.numbers.get(&header.id).copied().expect("it was read");
        let last = self.last_of.insert((header.stream, order.key.to_string()), number);
        assert!(last.is_none_or(|last| last < number), "{} overtook another", show(dependent));
    }

    /// Every outcome, as lines: the record, what became of it, and the records that it took.
    pub(super) fn lines(&self) -> Vec<String> {
        let texts: BTreeMap<EventId, &str> =
            self.cluster.committed.iter().map(|(_, record)| (record.id, record.text.as_str())).collect();
        let text = |id: EventId| texts.get(&id).copied().unwrap_or("?");
        let numbers = |id: &EventId| self.numbers.get(id).copied();
        let mut ended: Vec<(&EventId, &Outcome)> = self.answered.iter().collect();
        ended.sort_by_key(|(id, _)| numbers(id));
        let line = |(id, outcome): (&EventId, &Outcome)| {
            let (dependent, fate) = match outcome {
                Outcome::Resolved(dependent) => (dependent, "resolved".to_owned()),
                Outcome::Expired(dependent, reason) => (dependent, format!("expired {}", reason.as_str())),
                Outcome::Dropped(dependent, _) => (dependent, "dropped".to_owned()),
                Outcome::Rejected(rejection) => {
                    return format!("{}: rejected {}", text(*id), rejection.reason.as_str());
                }
                Outcome::Accepted(_) => return String::new(),
            };
            let name = |r: &crate::event::Reference| {
                let stream = self.rules.stream(dependent.event.header.header.stream);
                stream.depends_on.get(usize::from(r.dependency)).map_or("?", |d| &d.name).to_owned()
            };
            let took: Vec<String> = dependent
                .references
                .iter()
                .map(|r| match &r.found {
                    Found::Present(event) => format!("{}=({})", name(r), text(event.header.header.id)),
                    _ => format!("{}=-", name(r)),
                })
                .collect();
            [format!("{}: {fate}", text(*id)), took.join(" ")].join(" ").trim().to_owned()
        };
        ended.into_iter().map(line).collect()
    }
}

fn show(dependent: &Dependent) -> String {
    show_event(&dependent.event)
}

fn show_event(event: &crate::event::Event) -> String {
    let header = &event.header.header;
    let key = header.key.as_ref().map_or(String::new(), Key::to_string);
    format!("{:?} {key} {}", header.id, String::from_utf8_lossy(&event.slice))
}
