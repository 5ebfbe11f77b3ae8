//! The state of a job as a whole.

use serde::Serialize;

use super::report::{JsonKey, Residence, Time, Waiter};
use super::select::{Frequent, Least};
use super::{InspectError, Inspector, Short};
use crate::event::{Dependent, EntityId, Key, KeyHash, Timestamp};
use crate::metrics::Totals;

/// Counters for the keys that most events wait for: some 6 MB.
const COUNTERS: usize = 1 << 16;

/// A job as of its last epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// The job's name.
    pub job: String,
    /// The time of the question.
    pub at: Time,
    /// The last epoch committed.
    pub epoch: u64,
    /// How far each partition has been read, in the order in which they were first read.
    pub positions: Vec<ReadTo>,
    /// What has become of all records.
    pub totals: Totals,
    /// Results that were taken away again, where they are maintained: the totals count each time that one was added as `resolved`.
    pub retracted: u64,
    /// Events that wait, counted one by one.
    pub waiting: u64,
    /// What the law of conservation finds wrong: nothing, unless Resolvent has a defect.
    pub conservation_broken: Option<String>,
    /// Waiting events that the job has in memory while it runs; the state has them too.
    pub waiting_in_memory: u64,
    /// Waiting events that are in the state alone.
    pub waiting_in_state: u64,
    /// Waiting events that lack nothing, and wait for their turn (`ordered_by`).
    pub waiting_for_turn: u64,
    /// Waiting events with a wait whose first deadline has passed, and that go on (`keep`, `defer`).
    pub overdue: u64,
    /// Waiting events with a deadline that has passed: they end, or go on, once the job runs and has caught up with its input.
    pub due: u64,
    /// Waiting events with no deadline ahead.
    pub without_deadline: u64,
    /// The event that has waited longest.
    pub oldest: Option<Waiter>,
    /// Waiting events of each stream that has any, most first.
    pub streams: Vec<Count>,
    /// Waiting events that lack some referent of an entity, for each entity that has any, most first.
    pub missing: Vec<Count>,
    /// The keys that most events wait for.
    pub keys: Vec<KeyCount>,
    /// The events with the next deadlines, and those that have passed before.
    pub deadlines: Vec<Waiter>,
}

/// How far a partition has been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadTo {
    /// A file's path as configured, or a topic's partition.
    pub partition: String,
    /// The offset of the first record that has not been read: bytes in a file.
    pub read_to: u64,
}

/// A number of waiting events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// What was counted: a stream, or an entity.
    pub name: String,
    /// How many events.
    pub waiting: u64,
}

/// A number of events that wait for one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyCount {
    /// The entity.
    pub entity: String,
    /// The key.
    pub key: JsonKey,
    /// How many events.
    pub waiting: u64,
}

impl Inspector {
    /// The job as a whole, with up to `limit` keys and deadlines. Reads every waiting event once, or twice where they wait for more than 65,536 keys; a
    /// key for which fewer than one in so many waits may then not be among the first.
    ///
    /// # Errors
    ///
    /// The state does not answer, or holds something else than was written.
    pub fn overview(&self, limit: usize) -> Result<Overview, InspectError> {
        let mut survey = Survey::new(self, limit, COUNTERS);
        self.each_waiting(|dependent| survey.see(dependent))?;
        if survey.keys.recount() {
            self.each_waiting(|dependent| survey.see_again(dependent))?;
        }
        Ok(survey.finish(limit))
    }

    fn read_to(&self) -> Vec<ReadTo> {
        let positions = self.committed.positions.0.iter();
        let name = |partition| self.committed.partitions.name(partition).to_string();
        positions.map(|(partition, offset)| ReadTo { partition: name(*partition), read_to: *offset }).collect()
    }
}

struct Survey<'a> {
    inspector: &'a Inspector,
    in_memory: u64,
    in_state: u64,
    for_turn: u64,
    overdue: u64,
    due: u64,
    without_deadline: u64,
    oldest: Option<Short>,
    deadlines: Least<(Timestamp, Short)>,
    streams: Vec<u64>,
    missing: Vec<u64>,
    keys: Frequent,
    /// The keys that the event at hand lacks, each once.
    lacks: Vec<(EntityId, KeyHash, Key)>,
}

impl<'a> Survey<'a> {
    fn new(inspector: &'a Inspector, limit: usize, counters: usize) -> Self {
        Survey {
            inspector,
            in_memory: 0,
            in_state: 0,
            for_turn: 0,
            overdue: 0,
            due: 0,
            without_deadline: 0,
            oldest: None,
            deadlines: Least::new(limit),
            streams: vec![0; inspector.rules.streams().len()],
            missing: vec![0; inspector.rules.entities().len()],
            keys: Frequent::new(counters),
            lacks: Vec::new(),
        }
    }

    fn see(&mut self, dependent: &Dependent) {
        match self.inspector.residence(dependent) {
            Residence::Memory => self.in_memory += 1,
            Residence::State => self.in_state += 1,
        }
        let short = Short::of(dependent);
        self.oldest = Some(self.oldest.map_or(short, |oldest| oldest.min(short)));
        if short.until < Timestamp::MAX {
            self.due += u64::from(short.until <= self.inspector.now);
            self.deadlines.add((short.until, short));
        } else {
            self.without_deadline += 1;
        }
        self.overdue += u64::from(dependent.missing().any(|reference| reference.overdue));
        count_one(&mut self.streams, short.stream.0);
        self.note_lacks(dependent);
        self.for_turn += u64::from(self.lacks.is_empty());
        let mut before = None;
        for (entity, hash, key) in &self.lacks {
            self.keys.add(*entity, *hash, key);
            if before.replace(*entity) != Some(*entity) {
                count_one(&mut self.missing, entity.0);
            }
        }
    }

    fn see_again(&mut self, dependent: &Dependent) {
        self.note_lacks(dependent);
        for (entity, hash, key) in &self.lacks {
            self.keys.add_known(*entity, *hash, key);
        }
    }

    fn note_lacks(&mut self, dependent: &Dependent) {
        self.lacks.clear();
        self.lacks.extend(dependent.missing().map(|reference| {
            let entity = self.inspector.named(reference.entity);
            (entity, reference.key.hash(entity), reference.key.clone())
        }));
        self.lacks.sort_unstable_by_key(|(entity, hash, _)| (*entity, *hash));
        self.lacks.dedup();
    }

    fn finish(self, limit: usize) -> Overview {
        let inspector = self.inspector;
        let (rules, committed) = (&inspector.rules, &inspector.committed);
        let waiting = self.in_memory + self.in_state;
        let deadlines = self.deadlines.into_sorted().into_iter();
        let keys = self.keys.into_top(limit).into_iter().map(|counted| KeyCount {
            entity: rules.entity(counted.entity).name.clone(),
            key: JsonKey(counted.key),
            waiting: counted.count,
        });
        Overview {
            job: inspector.state.identity().job.clone(),
            at: Time(inspector.now),
            epoch: committed.epoch.0,
            positions: inspector.read_to(),
            totals: committed.totals,
            retracted: committed.totals.retracted,
            waiting,
            conservation_broken: committed.totals.conserves(waiting).err().map(|error| error.to_string()),
            waiting_in_memory: self.in_memory,
            waiting_in_state: self.in_state,
            waiting_for_turn: self.for_turn,
            overdue: self.overdue,
            due: self.due,
            without_deadline: self.without_deadline,
            oldest: self.oldest.map(|short| inspector.waiter(short)),
            streams: most_first(&self.streams, rules.streams().iter().map(|stream| stream.name.as_str())),
            missing: most_first(&self.missing, rules.entities().iter().map(|entity| entity.name.as_str())),
            keys: keys.collect(),
            deadlines: deadlines.map(|(_, short)| inspector.waiter(short)).collect(),
        }
    }
}

fn count_one(counts: &mut [u64], at: u16) {
    if let Some(count) = counts.get_mut(usize::from(at)) {
        *count += 1;
    }
}

fn most_first<'n>(counts: &[u64], names: impl Iterator<Item = &'n str>) -> Vec<Count> {
    let counts = counts.iter().zip(names).filter(|(count, _)| **count > 0);
    let mut counts: Vec<Count> = counts.map(|(count, name)| Count { name: name.to_owned(), waiting: *count }).collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.waiting));
    counts
}
