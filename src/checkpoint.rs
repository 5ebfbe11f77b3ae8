//! The commit protocol: an epoch's outcomes, its changes in the state and the positions it was read to become true together, or not at all.
//!
//! The positions live in the same write as the state that they produced, and with them the lengths of the output files. To commit an epoch, the files are
//! made durable first; then one synced write to the state decides. After a crash the files are cut back to the lengths that the state has, and reading goes on
//! from its positions: what was written in between is written again.

mod failpoint;
mod timeline;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bincode::Options;
use resolvent_state::{Batch, Durability, State, StateError, Table};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use timeline::Timeline;

use crate::event::{Epoch, PartitionId, Partitions, Positions, Timestamp, WorkerIndex};
use crate::metrics::Totals;
use crate::mode::{Changes, LogEpoch};
use crate::sink::{self, Mark, Sink, SinkError, SinkKind, Target};
use crate::source::{FileFingerprint, Fingerprint, RecordFingerprint};

/// The row that every commit writes.
const COMMIT: &[u8] = b"commit";

/// The row of the input's fingerprints.
const INPUTS: &[u8] = b"inputs";

/// The row of the last records of topics.
const RECORDS: &[u8] = b"records";

/// The row of where the partitions begin.
const ORIGINS: &[u8] = b"origins";

/// The version of these rows.
const VERSION: u8 = 1;

/// Dead events in the log are not worth writing the living among them anew below this.
const LOG_DEAD_BYTES: u64 = 16 << 20;

/// An epoch cannot be committed, or the last one cannot be found.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The state does not answer.
    #[error(transparent)]
    State(#[from] StateError),
    /// A sink does not take what it is given.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The commit's row cannot be read.
    #[error(
        "the state's last commit cannot be read ({0}): restore the state directory from a copy, or start over with --fresh"
    )]
    Damaged(String),
    /// It was written by a later program.
    #[error("the state's last commit has version {0}, this program reads {VERSION}: use the newer program")]
    Newer(u8),
}

/// All that the last commit says, and what the next one builds on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The last epoch.
    pub epoch: Epoch,
    /// How far the sources had been read.
    pub positions: Positions,
    /// Where partitions were read first, where that is not their start: nothing before it belongs to the job.
    pub origins: Positions,
    /// What files and topics of the input were up to there.
    pub fingerprints: BTreeMap<PartitionId, Fingerprint>,
    /// The names of their partitions.
    pub partitions: Partitions,
    /// What had become of all records.
    pub totals: Totals,
    /// Waiting events that are in the state and not in memory.
    pub waiting_in_state: u64,
    files: BTreeMap<PathBuf, u64>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    epoch: u64,
    positions: Vec<(u32, u64)>,
    partitions: Vec<String>,
    totals: Totals,
    waiting_in_state: u64,
    files: Vec<(PathBuf, u64)>,
}

impl Committed {
    /// The last commit of a state; the beginning where there is none.
    ///
    /// # Errors
    ///
    /// The row is damaged or of a later version.
    pub fn read(state: &State) -> Result<Committed, CheckpointError> {
        let Some(row) = read_row::<Row>(state, COMMIT)? else { return Ok(Committed::default()) };
        let files: Vec<(u32, FileFingerprint)> = read_row(state, INPUTS)?.unwrap_or_default();
        let records: Vec<(u32, RecordFingerprint)> = read_row(state, RECORDS)?.unwrap_or_default();
        let files = files.into_iter().map(|(p, file)| (PartitionId(p), Fingerprint::File(file)));
        let records = records.into_iter().map(|(p, record)| (PartitionId(p), Fingerprint::Record(record)));
        let origins: Vec<(u32, u64)> = read_row(state, ORIGINS)?.unwrap_or_default();
        Ok(Committed {
            epoch: Epoch(row.epoch),
            positions: positions(row.positions),
            origins: positions(origins),
            fingerprints: files.chain(records).collect(),
            partitions: Partitions::new(row.partitions.into_iter().map(Into::into)),
            totals: row.totals,
            waiting_in_state: row.waiting_in_state,
            files: row.files.into_iter().collect(),
        })
    }

    fn put(&self, batch: &mut Batch) -> Result<(), CheckpointError> {
        let row = Row {
            epoch: self.epoch.0,
            positions: pairs(&self.positions),
            partitions: self.partitions.names().iter().map(|name| name.to_string()).collect(),
            totals: self.totals,
            waiting_in_state: self.waiting_in_state,
            files: self.files.iter().map(|(path, length)| (path.clone(), *length)).collect(),
        };
        put_row(batch, COMMIT, &row)?;
        let (mut files, mut records) = (Vec::new(), Vec::new());
        for (partition, fingerprint) in &self.fingerprints {
            match fingerprint {
                Fingerprint::File(file) => files.push((partition.0, *file)),
                Fingerprint::Record(record) => records.push((partition.0, *record)),
            }
        }
        put_row(batch, INPUTS, &files)?;
        put_row(batch, RECORDS, &records)?;
        put_row(batch, ORIGINS, &pairs(&self.origins))
    }

    /// Refuses sinks that are not as this commit left them: what [`Checkpoint::open`] would refuse, before anything is touched.
    ///
    /// # Errors
    ///
    /// A file is shorter than what was committed to it, holds something though nothing was, or is in use.
    pub fn check_sinks(&self, sinks: &sink::Settings) -> Result<(), CheckpointError> {
        let targets = SinkKind::ALL.into_iter().filter_map(|kind| sinks.target(kind));
        targets.into_iter().try_for_each(|target| Ok(sink::check(target, self.mark(target))?))
    }

    /// What a sink held.
    fn mark(&self, target: &Target) -> Option<Mark> {
        let Target::File(path) = target else { return None };
        self.files.get(path).map(|length| Mark { length: *length })
    }
}

fn positions(pairs: Vec<(u32, u64)>) -> Positions {
    Positions(pairs.into_iter().map(|(partition, offset)| (PartitionId(partition), offset)).collect())
}

fn pairs(positions: &Positions) -> Vec<(u32, u64)> {
    positions.0.iter().map(|(partition, offset)| (partition.0, *offset)).collect()
}

fn read_row<T: DeserializeOwned>(state: &State, row: &[u8]) -> Result<Option<T>, CheckpointError> {
    let Some(bytes) = state.get(Table::Meta, row)? else { return Ok(None) };
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            options().deserialize(rest).map(Some).map_err(|error| CheckpointError::Damaged(error.to_string()))
        }
        Some((version, _)) => Err(CheckpointError::Newer(*version)),
        None => Err(CheckpointError::Damaged("it is empty".into())),
    }
}

fn put_row(batch: &mut Batch, row: &[u8], value: &impl Serialize) -> Result<(), CheckpointError> {
    let mut bytes = vec![VERSION];
    options().serialize_into(&mut bytes, value).map_err(|error| CheckpointError::Damaged(error.to_string()))?;
    batch.put(Table::Meta, row, &bytes);
    Ok(())
}

fn options() -> impl Options {
    bincode::DefaultOptions::new()
}

struct Outlet {
    kind: SinkKind,
    file: Option<PathBuf>,
    sink: Box<dyn Sink>,
}

/// What an epoch has come to.
#[derive(Debug, Default)]
pub struct EpochEnd {
    /// How far the sources were read.
    pub positions: Positions,
    /// Where partitions that were announced since the job started begin.
    pub origins: Positions,
    /// What files and topics that were read in it were up to there.
    pub fingerprints: BTreeMap<PartitionId, Fingerprint>,
    /// The names of their partitions.
    pub partitions: Partitions,
    /// What became of records in it.
    pub totals: Totals,
    /// When it ended.
    pub now: Timestamp,
    /// What each worker changed in the state.
    pub changes: Vec<(WorkerIndex, Changes)>,
}

/// The state and the sinks of a job, and what was committed to them last. One a process, used by one thread.
pub struct Checkpoint {
    state: State,
    outlets: Vec<Outlet>,
    committed: Committed,
    log: BTreeMap<Epoch, LogEpoch>,
    timeline: Option<Timeline>,
    spare: Vec<Batch>,
    written: bool,
}

impl Checkpoint {
    /// Opens the sinks as the last commit left them.
    ///
    /// # Errors
    ///
    /// A file is shorter than what was committed to it, or holds something though nothing was.
    pub fn open(
        state: State,
        committed: Committed,
        log: BTreeMap<Epoch, LogEpoch>,
        sinks: &sink::Settings,
    ) -> Result<Checkpoint, CheckpointError> {
        let mut outlets = Vec::new();
        for kind in SinkKind::ALL {
            let Some(target) = sinks.target(kind) else { continue };
            let file = match target {
                Target::File(path) => Some(path.clone()),
                Target::Stdout | Target::Null => None,
            };
            let sink = sink::open(target, committed.mark(target))?;
            outlets.push(Outlet { kind, file, sink });
        }
        let mut checkpoint =
            Checkpoint { state, outlets, committed, log, timeline: None, spare: Vec::new(), written: false };
        failpoint::pass("sinks_opened");
        checkpoint.begin_files()?;
        Ok(checkpoint)
    }

    /// Notes that files which the state does not know begin empty: what is in one of them after a crash before the first commit is then known to be
    /// this job's, and cut.
    fn begin_files(&mut self) -> Result<(), CheckpointError> {
        let files = self.outlets.iter().filter_map(|outlet| outlet.file.as_ref());
        let new: Vec<PathBuf> = files.filter(|path| !self.committed.files.contains_key(*path)).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        self.committed.files.extend(new.into_iter().map(|path| (path, 0)));
        let mut batch = Batch::default();
        self.committed.put(&mut batch)?;
        Ok(self.state.write(&batch, Durability::Synced)?)
    }

    /// An empty batch that has been committed, to be filled again.
    pub fn spare_batch(&mut self) -> Option<Batch> {
        self.spare.pop()
    }

    /// Keeps a timeline from now on.
    pub fn keep_timeline(&mut self, timeline: Timeline) {
        self.timeline = Some(timeline);
    }

    /// The last commit.
    pub fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Gives lines to a sink. They count once their epoch is committed.
    ///
    /// # Errors
    ///
    /// The sink does not take them.
    pub fn write(&mut self, kind: SinkKind, lines: &[u8]) -> Result<(), CheckpointError> {
        self.written = true;
        match self.outlets.iter_mut().find(|outlet| outlet.kind == kind) {
            Some(outlet) => Ok(outlet.sink.write(lines)?),
            None => Ok(()),
        }
    }

    /// Commits an epoch; one in which nothing happened writes nothing. Returns whether it wrote.
    ///
    /// # Errors
    ///
    /// A file cannot be made durable or the state cannot be written. Then nothing was committed, and no later commit can be.
    pub fn commit(&mut self, epoch: Epoch, end: EpochEnd) -> Result<bool, CheckpointError> {
        let idle = !self.written
            && end.positions == self.committed.positions
            && end.totals == Totals::default()
            && end.changes.iter().all(|(_, changes)| changes.is_empty());
        if idle {
            return Ok(false);
        }
        failpoint::pass("before_sinks");
        for outlet in &mut self.outlets {
            let mark = outlet.sink.sync()?;
            failpoint::pass("between_sinks");
            if let Some(path) = &outlet.file {
                self.committed.files.insert(path.clone(), mark.length);
            }
        }
        self.committed.epoch = epoch;
        self.committed.positions = end.positions;
        for (partition, start) in end.origins.0 {
            self.committed.origins.0.entry(partition).or_insert(start);
        }
        self.committed.fingerprints.extend(end.fingerprints);
        self.committed.partitions = end.partitions;
        self.committed.totals.add(&end.totals);
        let (mut batch, changed) = (Batch::default(), self.account(epoch, end.changes));
        self.drop_dead_log(&mut batch);
        if let Some(timeline) = &mut self.timeline {
            timeline.note(end.now, &self.committed.positions, &mut batch)?;
        }
        self.committed.put(&mut batch)?;
        let batches: Vec<&Batch> = changed.iter().chain([&batch]).collect();
        failpoint::pass("before_state");
        self.state.write_all(&batches, Durability::Synced)?;
        failpoint::pass("after_state");
        self.written = false;
        self.spare.extend(changed.into_iter().map(|mut batch| {
            batch.clear();
            batch
        }));
        Ok(true)
    }

    /// Keeps count of what the workers have changed; what is to be written of it is returned.
    fn account(&mut self, epoch: Epoch, changes: Vec<(WorkerIndex, Changes)>) -> Vec<Batch> {
        let mut batches = Vec::with_capacity(changes.len());
        for (_, changes) in changes {
            let in_state = self.committed.waiting_in_state;
            self.committed.waiting_in_state = in_state.saturating_add_signed(changes.waiting_in_state);
            if !changes.log.keys.is_empty() {
                self.log.entry(epoch).or_default().add(changes.log);
            }
            for obsolete in changes.obsolete {
                if let Some(of_epoch) = self.log.get_mut(&obsolete) {
                    of_epoch.live = of_epoch.live.saturating_sub(1);
                }
            }
            batches.push(changes.batch);
        }
        batches
    }

    /// Deletes values of the log in which nothing lives: from the oldest on, and no further than the first that lives, for what a later value takes out of
    /// an earlier one must not come back.
    fn drop_dead_log(&mut self, batch: &mut Batch) {
        while let Some(oldest) = self.log.first_entry().filter(|oldest| oldest.get().live == 0) {
            for key in oldest.remove().keys {
                batch.delete(Table::Log, &key);
            }
        }
    }

    /// Where the older part of the log is mostly dead: the epoch before which everything that lives should be written anew, so that it can go.
    ///
    /// What is written anew is at most a third of what goes, so that the log is written at most half as much again as its events ask for.
    pub fn rewrite_before(&self) -> Option<Epoch> {
        let (mut bytes, mut living) = (0, 0);
        let mut mostly_dead = self.log.iter().filter(|(_, of_epoch)| {
            bytes += of_epoch.bytes;
            living += of_epoch.living_bytes();
            bytes >= LOG_DEAD_BYTES && 4 * living <= bytes
        });
        // The shortest such part: the rest has its turn in a later epoch.
        mostly_dead.next().map(|(epoch, _)| epoch.next())
    }

    /// Bytes written to files.
    pub fn bytes_written(&self) -> u64 {
        self.outlets.iter().map(|outlet| outlet.sink.bytes_written()).sum()
    }
}
