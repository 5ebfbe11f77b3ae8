//! The commit protocol: an epoch's outcomes, its changes in the state and the positions it was read to become true together, or not at all.
//!
//! The positions live in the same write as the state that they produced, and with them the lengths of the output files. To commit an epoch, the files are
//! made durable first; then one synced write to the state decides. After a crash the files are cut back to the lengths that the state has, and reading goes on
//! from its positions: what was written in between is written again.
//!
//! Of events that began to wait in an epoch that write may have no more than a list of where their records are. The list goes with the next epoch, which writes what
//! waits still; a start puts it into the log before anything else ([`Committed::log_listed`]).
//!
//! With topics the broker decides. An epoch's records are produced within one transaction while it fills. At its end the files are made durable, then one
//! synced write keeps all that the epoch changes as one *pending* value, but for the log of waiting events, whose values stand under keys of this epoch and
//! are passed over while it does not count; then the transaction commits, with the number of the epoch in it (the *marker*); then
//! the pending value is applied. That write need not be synced: the next one makes it durable, and a crash finds the epoch pending once more. A start asks the
//! broker for the marker, and applies what is pending or discards it ([`Recovery`]).

mod failpoint;
mod group;
mod recovery;
mod rows;
mod timeline;
mod topics;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use resolvent_state::{Batch, Durability, State, StateError, Table};
use thiserror::Error;

pub use group::Group;
pub use recovery::Recovery;
pub use rows::Committed;
pub use timeline::Timeline;
pub use topics::{Ending, Instance, Topics};

use rows::{News, Pending, VERSION, options, pairs};

use crate::event::{Epoch, PartitionId, Partitions, Positions, Timestamp, WorkerIndex};
use crate::kafka::MembershipError;
use crate::metrics::Totals;
use crate::mode::{Changes, LogEpoch};
use crate::sink::{self, Sink, SinkError, SinkKind, Target, Unsynced};
use crate::source::Fingerprint;

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
    /// The group does not take how far was read.
    #[error(transparent)]
    Group(#[from] MembershipError),
    /// The commit's row cannot be read.
    #[error(
        "the state's last commit cannot be read ({0}): restore the state directory from a copy, or start over with --fresh"
    )]
    Damaged(String),
    /// It was written by another version of the program.
    #[error(
        "the state's last commit has version {0}, this program reads 2 and {VERSION}: use the program that wrote it, or start over with --fresh"
    )]
    Version(u8),
    /// An epoch was given to topics, and the job is now set up in a way that does not ask the broker for it.
    #[error(
        "epoch {} was given to topics in a transaction, and the job ended before it knew what became of it: start the job once more with its topics and \
         `delivery = \"exactly_once\"` as they were, stop it, then change them",
        .0.0
    )]
    Undecided(Epoch),
    /// The broker has no marker.
    #[error(
        "group {group} has no offset with the job's last epoch ({}): the broker has dropped it, as it does with offsets of a job that is down longer than \
         offsets.retention.minutes, or somebody has deleted it, or the topic at whose partition it was, or this is another cluster. Look at the end of the output topics: if they hold the outcomes of \
         that epoch, start once with lost_epoch = \"committed\" in [sink.kafka], otherwise with lost_epoch = \"aborted\"",
        epoch.0
    )]
    Lost {
        /// The job's group.
        group: String,
        /// The epoch in question.
        epoch: Epoch,
    },
    /// The broker's marker is of an epoch that the state does not know.
    #[error(
        "group {group} says that the job has committed epoch {}, and the state is at epoch {}: this is not the state directory that the job ran with last, or \
         the broker has lost data. Use the newer directory; or start over with --fresh, and give the job other topics",
        broker.0, state.0
    )]
    Differs {
        /// The job's group.
        group: String,
        /// What the broker says.
        broker: Epoch,
        /// What the state says.
        state: Epoch,
    },
    /// New state beside topics that the job has written to.
    #[error(
        "group {group} says that a job of this name has written to these topics, but the job's state knows nothing of it; use the state directory that it ran \
         with, or start with --fresh to leave what they hold and go on behind it, or give the job another name"
    )]
    Used {
        /// The job's group.
        group: String,
    },
}

impl CheckpointError {
    /// Whether the job can begin again from its last commit in the same process.
    pub fn is_undecided(&self) -> bool {
        match self {
            CheckpointError::Sink(error) => error.is_undecided(),
            CheckpointError::Group(error) => matches!(error, MembershipError::Undecided { .. }),
            _ => false,
        }
    }
}

struct Outlet {
    kind: SinkKind,
    to: To,
}

enum To {
    Sink(Box<dyn Sink>, Option<PathBuf>),
    Topic(String),
}

/// What an epoch has come to.
#[derive(Debug, Default)]
pub struct EpochEnd {
    /// How far the sources were read.
    pub positions: Positions,
    /// Where partitions that were announced since the job started begin.
    pub origins: Positions,
    /// What files that were read in it were up to there.
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

/// How a commit goes on.
pub enum Begun {
    /// Nothing happened in the epoch, and nothing is written.
    Idle,
    /// It is done.
    Committed,
    /// Once this is written. No other commit may begin before.
    Write(Box<Write>),
}

/// What makes an epoch true: files are made durable, and then the one write to the state that decides.
pub struct Write {
    state: State,
    files: Vec<Unsynced>,
    changed: Vec<Batch>,
    logged: Vec<Batch>,
    rows: Batch,
    durability: Durability,
}

/// A [`Write`] that is done: its memory is used again.
pub struct Written(Vec<Batch>);

impl Write {
    /// Waits for the disk. `applied` is called as soon as the state shows what was written: what is read there then counts for nothing before this has returned.
    ///
    /// # Errors
    ///
    /// As of [`Checkpoint::commit`].
    pub fn run(mut self, applied: impl FnOnce()) -> Result<Written, CheckpointError> {
        self.sync_files()?;
        let Write { state, mut changed, mut logged, rows, durability, .. } = self;
        let batches: Vec<&Batch> = changed.iter().chain(&logged).chain([&rows]).collect();
        let synced = durability == Durability::Synced;
        if synced {
            failpoint::pass("before_state");
        }
        state.write_all(&batches, Durability::Buffered)?;
        applied();
        if synced {
            failpoint::pass("before_sync");
            state.sync()?;
        }
        failpoint::pass(if synced { "after_state" } else { "after_apply" });
        changed.append(&mut logged);
        Ok(Written(changed))
    }

    fn sync_files(&mut self) -> Result<(), CheckpointError> {
        self.files.drain(..).try_for_each(|file| file.sync())?;
        Ok(())
    }
}

/// The state and the sinks of a job, and what was committed to them last. One a process, used by one thread.
pub struct Checkpoint {
    state: State,
    outlets: Vec<Outlet>,
    topics: Option<Topics>,
    group: Option<Group>,
    committed: Committed,
    /// How many names of partitions the state has.
    names: usize,
    log: BTreeMap<Epoch, LogEpoch>,
    timeline: Option<Timeline>,
    spare: Vec<Batch>,
    /// The write that makes an epoch pending: its memory is used again.
    pending: Batch,
    written: bool,
}

impl Checkpoint {
    /// Opens the sinks as the last commit left them. Where they are topics in transactions, the marker of this process is put in place of that of the one before.
    ///
    /// # Errors
    ///
    /// A file is shorter than what was committed to it, or holds something though nothing was; the broker does not take the marker.
    pub fn open(
        state: State,
        committed: Committed,
        log: BTreeMap<Epoch, LogEpoch>,
        sinks: &sink::Settings,
        topics: Option<Topics>,
    ) -> Result<Checkpoint, CheckpointError> {
        let mut outlets = Vec::new();
        for kind in SinkKind::ALL {
            let Some(target) = sinks.target(kind) else { continue };
            let to = match (target, sink::open(target, committed.mark(target))?) {
                (Target::Topic(settings), _) => To::Topic(settings.topic.clone()),
                (Target::File(path), Some(sink)) => To::Sink(sink, Some(path.clone())),
                (_, Some(sink)) => To::Sink(sink, None),
                (_, None) => continue,
            };
            outlets.push(Outlet { kind, to });
        }
        let names = committed.names;
        let (group, timeline, spare, pending, written) = (None, None, Vec::new(), Batch::default(), false);
        let mut checkpoint =
            Checkpoint { state, outlets, topics, group, committed, names, log, timeline, spare, pending, written };
        failpoint::pass("sinks_opened");
        checkpoint.begin_files()?;
        match &mut checkpoint.topics {
            Some(topics) => topics.begin(&mut checkpoint.committed)?,
            None => checkpoint.committed.place = None,
        }
        Ok(checkpoint)
    }

    /// Notes that files which the state does not know begin empty: what is in one of them after a crash before the first commit is then known to be
    /// this job's, and cut.
    fn begin_files(&mut self) -> Result<(), CheckpointError> {
        let files = self.outlets.iter().filter_map(|outlet| match &outlet.to {
            To::Sink(_, file) => file.as_ref(),
            To::Topic(_) => None,
        });
        let new: Vec<PathBuf> = files.filter(|path| !self.committed.files.contains_key(*path)).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        self.committed.files.extend(new.into_iter().map(|path| (path, 0)));
        let mut batch = Batch::default();
        self.committed.put(&News::default(), &mut batch)?;
        Ok(self.state.write(&batch, Durability::Synced)?)
    }

    /// An empty batch that has been committed, to be filled again.
    pub fn spare_batch(&mut self) -> Option<Batch> {
        self.spare.pop()
    }

    /// Gives positions to a group from now on.
    pub fn commit_to(&mut self, group: Group) {
        self.group = Some(group);
    }

    /// Keeps a timeline from now on.
    pub fn keep_timeline(&mut self, timeline: Timeline) {
        self.timeline = Some(timeline);
    }

    /// The last commit.
    pub fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Gives lines or records to a sink. They count once their epoch is committed.
    ///
    /// # Errors
    ///
    /// The sink does not take them.
    pub fn write(&mut self, kind: SinkKind, lines: &[u8]) -> Result<(), CheckpointError> {
        self.written = true;
        let Some(outlet) = self.outlets.iter_mut().find(|outlet| outlet.kind == kind) else { return Ok(()) };
        match (&mut outlet.to, &mut self.topics) {
            (To::Sink(sink, _), _) => sink.write(lines)?,
            (To::Topic(topic), Some(topics)) => {
                topics.broker.produce(topic, lines)?;
                failpoint::pass("inside_transaction");
            }
            (To::Topic(_), None) => {}
        }
        Ok(())
    }

    /// Sends on what a sink holds back, if it is time for that. Returns whether something is still held back: then this wants to be called every millisecond or so.
    ///
    /// # Errors
    ///
    /// The sink does not take it.
    pub fn tend(&mut self) -> Result<bool, CheckpointError> {
        Ok(self.topics.as_mut().map_or(Ok(false), |topics| topics.broker.tend())?)
    }

    /// Commits an epoch; one in which nothing happened writes nothing. Returns whether it wrote.
    ///
    /// # Errors
    ///
    /// A file cannot be made durable, the broker does not commit, or the state cannot be written. Then it is not known that anything was committed, and no later
    /// commit can be.
    pub fn commit(&mut self, epoch: Epoch, end: EpochEnd) -> Result<bool, CheckpointError> {
        match self.begin(epoch, end)? {
            Begun::Idle => return Ok(false),
            Begun::Committed => {}
            Begun::Write(write) => self.finish(write.run(|| ())?),
        }
        Ok(true)
    }

    /// The same, but for what waits for the disk where no broker decides: lines of the next epoch may be [given](Checkpoint::write) to sinks meanwhile, and its commit
    /// begins when that is done.
    ///
    /// # Errors
    ///
    /// As of [`Checkpoint::commit`].
    pub fn begin(&mut self, epoch: Epoch, end: EpochEnd) -> Result<Begun, CheckpointError> {
        let idle = !self.written
            && end.positions == self.committed.positions
            && end.totals == Totals::default()
            && end.changes.iter().all(|(_, changes)| changes.is_empty())
            && self.committed.listed.is_empty();
        if idle {
            if let Some(topics) = &mut self.topics {
                topics.refresh(&self.committed)?;
            }
            return Ok(Begun::Idle);
        }
        failpoint::pass("before_sinks");
        let mut files = Vec::new();
        for outlet in &mut self.outlets {
            let To::Sink(sink, file) = &mut outlet.to else { continue };
            let (mark, unsynced) = sink.flush()?;
            files.extend(unsynced);
            failpoint::pass("between_sinks");
            if let Some(path) = file {
                self.committed.files.insert(path.clone(), mark.length);
            }
        }
        let before = std::mem::replace(&mut self.committed.positions, end.positions);
        self.committed.epoch = epoch;
        let mut news = News { partitions: end.partitions.len() > self.names, ..News::default() };
        self.names = end.partitions.len();
        for (partition, start) in end.origins.0 {
            news.origins |= !self.committed.origins.0.contains_key(&partition);
            self.committed.origins.0.entry(partition).or_insert(start);
        }
        news.inputs.extend(end.fingerprints.keys());
        self.committed.fingerprints.extend(end.fingerprints);
        self.committed.partitions = end.partitions;
        self.committed.totals.add(&end.totals);
        news.had_lists = !std::mem::take(&mut self.committed.listed).is_empty();
        let (mut rows, (changed, logged)) = (Batch::default(), self.account(epoch, end.changes));
        self.drop_dead_log(&mut rows);
        if let Some(timeline) = &mut self.timeline {
            timeline.note(end.now, &self.committed.positions, &mut rows)?;
        }
        self.committed.put(&news, &mut rows)?;
        self.written = false;
        let write = Write { state: self.state.clone(), files, changed, logged, rows, durability: Durability::Synced };
        self.decide(&before, write)
    }

    /// Notes that a write has been done, and keeps its memory.
    pub fn finish(&mut self, written: Written) {
        self.spare.extend(written.0.into_iter().map(|mut batch| {
            batch.clear();
            batch
        }));
    }

    /// Makes an epoch visible in the topics, where there are some, and then part of the state.
    fn decide(&mut self, before: &Positions, mut write: Write) -> Result<Begun, CheckpointError> {
        if self.topics.is_none() && self.group.is_none() {
            return Ok(Begun::Write(Box::new(write)));
        }
        write.sync_files()?;
        match (&mut self.topics, &self.group) {
            (topics, Some(group)) => group.commit(topics.as_mut(), &self.committed, before)?,
            (Some(topics), None) if topics.ending == Ending::Marked => {
                Pending::put(self.committed.epoch, &write.rows, &write.changed, &mut self.pending);
                failpoint::pass("before_state");
                // What is logged is large, and in nobody's way while it does not count: it is written once.
                let logged = std::mem::take(&mut write.logged);
                let batches: Vec<&Batch> = logged.iter().chain([&self.pending]).collect();
                self.state.write_all(&batches, Durability::Synced)?;
                failpoint::pass("after_state");
                failpoint::pass("before_commit");
                topics.commit(&self.committed, before)?;
                failpoint::pass("after_commit");
                Pending::clear(&mut write.rows);
                write.durability = Durability::Buffered;
                self.finish(Written(logged));
            }
            (Some(topics), None) => topics.broker.flush()?,
            (None, None) => {}
        }
        let written = write.run(|| ())?;
        self.finish(written);
        Ok(Begun::Committed)
    }

    /// Keeps count of what the workers have changed; what is to be written of it is returned: changes, and the log.
    fn account(&mut self, epoch: Epoch, changes: Vec<(WorkerIndex, Changes)>) -> (Vec<Batch>, Vec<Batch>) {
        let (mut changed, mut logged) = (Vec::with_capacity(changes.len()), Vec::with_capacity(changes.len()));
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
            if !changes.listed.is_empty() {
                self.committed.listed.push(changes.listed.into());
            }
            changed.push(changes.batch);
            logged.push(changes.logged);
        }
        (changed, logged)
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

    /// Bytes written to files and topics.
    pub fn bytes_written(&self) -> u64 {
        let outlets = self.outlets.iter().map(|outlet| match &outlet.to {
            To::Sink(sink, _) => sink.bytes_written(),
            To::Topic(_) => 0,
        });
        outlets.sum::<u64>() + self.topics.as_ref().map_or(0, |topics| topics.broker.bytes_written())
    }
}
