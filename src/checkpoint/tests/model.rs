//! A broker in memory, and a job on it: what a real one does with transactions, as far as the commit protocol relies on it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use resolvent_state::{Batch, State, Table};
use serde_bytes::ByteBuf;

use crate::checkpoint::failpoint;
use crate::checkpoint::{Checkpoint, CheckpointError, Committed, Ending, EpochEnd, Instance, Recovery, Topics};
use crate::event::{PartitionId, Positions, WorkerIndex};
use crate::metrics::Totals;
use crate::mode::Changes;
use crate::sink::{self, Broker, LostEpoch, Marker, Place, SinkError, SinkKind, Target, TopicSettings};

/// What becomes of a call that ends a transaction, where it is not simply done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing is committed, and the caller does not know.
    Lost,
    /// It is committed, and the caller does not know.
    Unanswered,
}

#[derive(Default)]
pub(super) struct World {
    /// The producer that was initialised last: all others are fenced.
    producer: u64,
    open: Vec<Vec<u8>>,
    /// What a reader of committed records sees.
    pub(super) visible: Vec<Vec<u8>>,
    pub(super) markers: BTreeMap<Place, (u64, Marker)>,
    /// What becomes of the next transactions.
    pub(super) faults: VecDeque<Option<Fault>>,
}

/// The broker, as all its clients see it.
#[derive(Clone, Default)]
pub(super) struct Model(Arc<Mutex<World>>);

impl Model {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no test panics with it")
    }
}

struct Client {
    model: Model,
    producer: u64,
}

impl Client {
    fn check(&self) -> Result<(), SinkError> {
        let fenced = self.model.world().producer != self.producer;
        if fenced { Err(SinkError::Undecided("the producer is fenced".to_owned())) } else { Ok(()) }
    }
}

impl Broker for Client {
    fn marker(&mut self, places: &[Place]) -> Result<Option<Marker>, SinkError> {
        assert!(self.model.world().open.is_empty(), "it would wait until the open transaction times out");
        self.decided_marker(places)
    }

    fn decided_marker(&mut self, places: &[Place]) -> Result<Option<Marker>, SinkError> {
        let world = self.model.world();
        let markers = places.iter().filter_map(|place| world.markers.get(place));
        Ok(markers.map(|(_, marker)| marker.clone()).max_by_key(|marker| marker.epoch))
    }

    fn fence(&mut self) -> Result<(), SinkError> {
        failpoint::pass("before_fence");
        {
            let mut world = self.model.world();
            world.producer += 1;
            world.open.clear();
            self.producer = world.producer;
        }
        failpoint::pass("after_fence");
        Ok(())
    }

    fn produce(&mut self, _topic: &str, records: &[u8]) -> Result<(), SinkError> {
        self.check()?;
        self.model.world().open.push(records.to_vec());
        Ok(())
    }

    fn commit(&mut self, marker: Option<&Marker>, offsets: &[(Place, u64)]) -> Result<(), SinkError> {
        self.check()?;
        failpoint::pass("inside_commit");
        let fault = self.model.world().faults.pop_front().flatten();
        if fault != Some(Fault::Lost) {
            let mut world = self.model.world();
            let open = std::mem::take(&mut world.open);
            world.visible.extend(open);
            let (place, offset) = offsets[0].clone();
            world.markers.extend(marker.map(|marker| (place, (offset, marker.clone()))));
        }
        failpoint::pass("committed");
        match fault {
            None => Ok(()),
            Some(_) => Err(SinkError::Undecided("no answer".to_owned())),
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.check()?;
        let mut world = self.model.world();
        let open = std::mem::take(&mut world.open);
        world.visible.extend(open);
        Ok(())
    }

    fn tend(&mut self) -> Result<bool, SinkError> {
        Ok(false)
    }

    fn bytes_written(&self) -> u64 {
        0
    }

    fn batch_bytes_max(&self, _topic: &str) -> Option<usize> {
        None
    }
}

/// A job that reads records numbered from 0 and has an outcome for each: every third one goes to a file, the others to a topic.
pub(super) struct Job {
    pub(super) model: Model,
    pub(super) records: u64,
    pub(super) exactly_once: bool,
    pub(super) reads_topics: bool,
    pub(super) lost_epoch: Option<LostEpoch>,
    pub(super) fresh: bool,
    pub(super) file: PathBuf,
}

/// Records of an epoch.
const STEP: u64 = 4;

/// What the epoch lists that ends at a position: every other one has something.
fn listed(position: u64) -> Option<ByteBuf> {
    (position % (2 * STEP) == STEP).then(|| ByteBuf::from(position.to_be_bytes()))
}

impl Job {
    pub(super) fn new(directory: &Path, records: u64) -> Job {
        let (model, file) = (Model::default(), directory.join("dead.jsonl"));
        Job { model, records, exactly_once: true, reads_topics: false, lost_epoch: None, fresh: false, file }
    }

    fn topics(&self, instance: &Instance) -> Topics {
        Topics {
            broker: Box::new(Client { model: self.model.clone(), producer: 0 }),
            ending: if self.exactly_once { Ending::Marked } else { Ending::Acknowledged },
            job: "model".to_owned(),
            group: "resolvent-model".to_owned(),
            instance: instance.clone(),
            place: Place { topic: "resolved".to_owned(), partition: 0 },
            sources: if self.reads_topics { vec!["input".to_owned()] } else { Vec::new() },
            lost_epoch: self.lost_epoch,
            fresh: self.fresh,
            refreshed: Instant::now(),
        }
    }

    /// Starts, or begins again.
    pub(super) fn open(&self, state: &State, instance: &Instance) -> Result<Checkpoint, CheckpointError> {
        let mut topics = self.topics(instance);
        let recovery = Recovery::find(Some(state), Some(&mut topics))?;
        failpoint::pass("found");
        let mut committed = recovery.settle(state)?;
        failpoint::pass("settled");
        let position = committed.positions.0.get(&PartitionId(0)).copied().unwrap_or(0);
        let is_logged = state.get(Table::Meta, b"logged")?.is_some_and(|logged| *logged == position.to_be_bytes());
        let expected: Vec<ByteBuf> = listed(position).filter(|_| !is_logged).into_iter().collect();
        assert_eq!(committed.listed, expected, "what the last epoch listed");
        let mut logged = Batch::default();
        logged.put(Table::Meta, b"logged", &position.to_be_bytes());
        committed.log_listed(state, logged)?;
        failpoint::pass("listed");
        let sinks = sink::Settings {
            resolved: Target::Topic(TopicSettings {
                topic: "resolved".to_owned(),
                key: Default::default(),
                record_bytes_max: 1 << 20,
                upserts: false,
            }),
            dead_letter: Some(Target::File(self.file.clone())),
            accepted: None,
        };
        Checkpoint::open(state.clone(), committed, BTreeMap::new(), &sinks, Some(topics))
    }

    /// Reads the records of one epoch and commits it. Returns whether there were any.
    pub(super) fn epoch(&self, checkpoint: &mut Checkpoint) -> Result<bool, CheckpointError> {
        let committed = checkpoint.committed().clone();
        let from = committed.positions.0.get(&PartitionId(0)).copied().unwrap_or(0);
        let to = (from + STEP).min(self.records);
        if from == to {
            return Ok(false);
        }
        let mut changes = Changes::default();
        for record in from..to {
            let (kind, line) = match record % 3 {
                0 => (SinkKind::DeadLetter, format!("{record}\n")),
                _ => (SinkKind::Resolved, record.to_string()),
            };
            checkpoint.write(kind, line.as_bytes())?;
            // Puts of a key that is there are refused: no change is applied twice.
            changes.batch.put(Table::Waiting, &record.to_be_bytes(), &[]);
            let key = [committed.epoch.next().0.to_be_bytes(), record.to_be_bytes()].concat();
            changes.logged.put(Table::Log, &key, &record.to_be_bytes());
        }
        changes.listed = listed(to).unwrap_or_default().into_vec();
        committed.partitions.id("input:0");
        let end = EpochEnd {
            positions: Positions([(PartitionId(0), to)].into()),
            origins: Positions([(PartitionId(0), 0)].into()),
            partitions: committed.partitions.clone(),
            totals: Totals { read: to - from, accepted: to - from, resolved: to - from, ..Totals::default() },
            changes: vec![(WorkerIndex(0), changes)],
            ..EpochEnd::default()
        };
        checkpoint.commit(committed.epoch.next(), end)
    }

    /// Runs to the end of the input.
    pub(super) fn run(&self, state: &State, instance: &Instance) -> Result<(), CheckpointError> {
        let mut checkpoint = self.open(state, instance)?;
        while self.epoch(&mut checkpoint)? {}
        Ok(())
    }

    /// Runs to the end, beginning again wherever the job would in its process.
    pub(super) fn run_through(&self, state: &State, instance: &Instance) {
        for _ in 0..10 {
            match self.run(state, instance) {
                Ok(()) => return,
                Err(error) => assert!(error.is_undecided(), "{error}"),
            }
        }
        panic!("the job begins again and again");
    }

    /// Every outcome is visible once, and the state is that of all records.
    pub(super) fn check(&self, state: &State) {
        let file = std::fs::read_to_string(&self.file).expect("the file");
        let world = self.model.world();
        let topic = world.visible.iter().map(|record| std::str::from_utf8(record).expect("a number"));
        let mut seen: Vec<u64> = topic.chain(file.lines()).map(|line| line.parse().expect("a number")).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..self.records).collect::<Vec<_>>());
        let committed = Committed::read(state).expect("reads");
        assert_eq!(committed.totals.read, self.records);
        assert_eq!(committed.partitions.names().iter().map(|name| name.to_string()).collect::<Vec<_>>(), ["input:0"]);
        assert_eq!(committed.origins.0, [(PartitionId(0), 0)].into());
        for record in 0..self.records {
            let found = state.get(Table::Waiting, &record.to_be_bytes()).expect("reads");
            assert!(found.is_some(), "the changes of record {record} are missing");
        }
        let mut logged = Vec::new();
        let see = |_: &[u8], record: &[u8]| {
            logged.push(record.to_vec());
            ControlFlow::Continue(())
        };
        state.scan(Table::Log, &[], &[], usize::MAX, see).expect("reads");
        assert_eq!(logged, (0..self.records).map(|record| record.to_be_bytes().to_vec()).collect::<Vec<_>>());
        let mut more = Batch::default();
        more.put(Table::Meta, b"probe", b"");
        state.write(&more, resolvent_state::Durability::Synced).expect("the state takes more");
    }
}
