//! The thread that owns the sinks and the state: it takes lines as they come and commits epochs one by one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::checkpoint::{Begun, Checkpoint, EpochEnd, Written};
use crate::clock::Clock;
use crate::event::{DroppedReason, Epoch, ExpiredReason, Partitions, RejectedReason, StreamId, Timestamp, WorkerIndex};
use crate::metrics::{Checksum, MemoryPart, Metrics, Totals};
use crate::mode::{Backlog, Changes, Memory, Phase};
use crate::sink::SinkKind;
use crate::source::{Fingerprints, GroupOffsets};

use super::durable::Durable;
use super::intake::{Closed, Intake};
use super::lookup::AppliedEpoch;
use super::{RunError, UntilEnd};

/// How often a sink that holds lines back is asked to send them on.
const TEND_EVERY: Duration = Duration::from_millis(1);

/// What happened to events, counted where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Happening {
    Resolved(StreamId),
    /// A maintained result was taken away.
    Retracted(StreamId),
    Expired(StreamId, ExpiredReason),
    Dropped(StreamId, DroppedReason),
    Rejected(RejectedReason),
    Accepted,
}

/// Runs of equal times: most events of a block share one.
#[derive(Debug, Default)]
pub(super) struct Times(Vec<(Timestamp, u64)>);

impl Times {
    pub(super) fn add(&mut self, at: Timestamp) {
        match self.0.last_mut() {
            Some((last, count)) if *last == at => *count += 1,
            _ => self.0.push((at, 1)),
        }
    }

    fn until(&self, now: Timestamp) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(move |(at, count)| (now.micros_since(*at), *count))
    }

    fn append(&mut self, mut other: Times) {
        self.0.append(&mut other.0);
    }
}

/// Lines that a worker has built, and what they stand for.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// By kind of sink.
    pub(super) lines: [Vec<u8>; 3],
    /// Bytes of lines that were built and discarded, because their sink is `null`.
    pub(super) discarded: [u64; 3],
    /// Of the lines of sinks that keep a checksum.
    pub(super) checksums: [Checksum; 3],
    pub(super) counts: Vec<(Happening, u64)>,
    pub(super) arrivals: Times,
    pub(super) completions: Times,
}

impl Chunk {
    pub(super) fn bytes(&self) -> u64 {
        self.lines.iter().map(|lines| lines.len() as u64).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(super) fn count(&mut self, happening: Happening) {
        match self.counts.iter_mut().find(|(h, _)| *h == happening) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((happening, 1)),
        }
    }
}

/// A worker's share of an epoch that has gone through.
#[derive(Debug)]
pub(super) struct WorkerEnd {
    pub(super) worker: WorkerIndex,
    pub(super) epoch: Epoch,
    pub(super) read: u64,
    pub(super) replayed: u64,
    pub(super) accepted_at: Times,
    pub(super) changes: Changes,
    pub(super) memory: Memory,
    pub(super) waiting: u64,
    pub(super) oldest: Option<Timestamp>,
    pub(super) has_deadline: bool,
    pub(super) draining: u64,
    pub(super) backlog: Backlog,
}

/// What the committer is told.
pub(super) enum Told {
    Chunk(Chunk),
    End(Box<WorkerEnd>),
    /// The epoch whose commit has begun is part of the state.
    Written(Written),
    Failed(RunError),
}

/// All that the committer works with.
pub(super) struct Committer {
    pub(super) checkpoint: Checkpoint,
    pub(super) durable: Durable,
    pub(super) intake: Arc<Intake>,
    pub(super) told: Receiver<Told>,
    pub(super) workers: usize,
    pub(super) partitions: Partitions,
    pub(super) fingerprints: Fingerprints,
    pub(super) group_offsets: Option<GroupOffsets>,
    pub(super) until_end: Option<UntilEnd>,
    /// Whether the results that stand in the end are told, in an epoch of their own.
    pub(super) compact: bool,
    pub(super) replay: bool,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    pub(super) state: resolvent_state::State,
    pub(super) streams: Vec<String>,
    pub(super) applied: Arc<AppliedEpoch>,
    pub(super) rewrite: Arc<std::sync::atomic::AtomicU64>,
}

/// What the epoch that is open has come to so far.
#[derive(Default)]
struct Gathered {
    totals: Totals,
    arrivals: Times,
    checksums: [Checksum; 3],
    ends: Vec<WorkerEnd>,
}

/// An epoch whose commit has begun.
struct Committing {
    epoch: Epoch,
    began: Instant,
    totals: Totals,
    arrivals: Times,
    accepted_at: Times,
    checksums: [Checksum; 3],
    waiting_in_memory: u64,
    /// Whether all has been read to the end that it had at the start, what was revoked is given up with it, and the job stops.
    caught_up: bool,
    revoked: bool,
    stopped: bool,
}

/// What comes after an epoch.
enum Then {
    Open(Phase),
    Finish,
}

impl Committer {
    /// Runs until the job is over. Returns the waiting events in memory at the end, and the checkpoint.
    pub(super) fn run(mut self) -> Result<(u64, Checkpoint), RunError> {
        let mut epoch = self.checkpoint.committed().epoch.next();
        let mut phase = if self.replay { Phase::Replay } else { Phase::CatchUp };
        let mut committing = None;
        self.intake.open(epoch, phase);
        loop {
            let gathered = self.gather(epoch, committing)?;
            let closed = self.intake.closed();
            let waiting: u64 = gathered.ends.iter().map(|end| end.waiting).sum();
            let then = self.then(phase, &closed, &gathered.ends);
            // The next epoch fills while this one is made durable.
            if let Then::Open(next) = then {
                if phase == Phase::Replay && next != Phase::Replay {
                    self.metrics.health().not_ready("catching up");
                    self.intake.restart();
                }
                self.intake.open(epoch.next(), next);
            }
            committing = self.begin(epoch, phase, closed, gathered)?;
            match then {
                Then::Open(next) => phase = next,
                Then::Finish => {
                    self.wait(&mut committing)?;
                    if let Some(offsets) = self.group_offsets.take() {
                        offsets.finish(&self.checkpoint.committed().positions, &self.partitions);
                    }
                    return Ok((waiting, self.checkpoint));
                }
            }
            epoch = epoch.next();
        }
    }

    /// Takes lines until every worker has ended the epoch, and the one before is committed.
    fn gather(&mut self, epoch: Epoch, mut committing: Option<Committing>) -> Result<Gathered, RunError> {
        let mut gathered = Gathered::default();
        while gathered.ends.len() < self.workers {
            // A sink that holds lines back is asked again, whether there are more or not.
            let told = match self.checkpoint.tend()? {
                true => self.told.recv_timeout(TEND_EVERY),
                false => self.told.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match told {
                Ok(Told::Chunk(chunk)) => self.take(chunk, &mut gathered)?,
                Ok(Told::End(end)) => {
                    debug_assert_eq!(end.epoch, epoch);
                    gathered.totals.read += end.read;
                    gathered.ends.push(*end);
                }
                Ok(Told::Written(written)) => self.written(&mut committing, written),
                Ok(Told::Failed(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
        self.wait(&mut committing)?;
        Ok(gathered)
    }

    /// Waits until what was begun is committed. Workers have nothing to say meanwhile: they have ended the epoch that is open.
    fn wait(&mut self, committing: &mut Option<Committing>) -> Result<(), RunError> {
        while committing.is_some() {
            match self.told.recv() {
                Ok(Told::Written(written)) => self.written(committing, written),
                Ok(Told::Failed(error)) => return Err(error),
                Ok(Told::Chunk(_) | Told::End(_)) => debug_assert!(false, "of an epoch that has not been opened"),
                Err(_) => return Err(gone()),
            }
        }
        Ok(())
    }

    fn written(&mut self, committing: &mut Option<Committing>, written: Written) {
        self.checkpoint.finish(written);
        if let Some(committing) = committing.take() {
            self.committed(committing, true);
        }
    }

    fn take(&mut self, chunk: Chunk, gathered: &mut Gathered) -> Result<(), RunError> {
        let bytes = chunk.bytes();
        for ((kind, lines), discarded) in SinkKind::ALL.into_iter().zip(chunk.lines).zip(chunk.discarded) {
            if !lines.is_empty() {
                self.checkpoint.write(kind, &lines)?;
            }
            self.metrics.sink_bytes(kind.as_str(), lines.len() as u64 + discarded);
            self.intake.lines.give(lines);
        }
        let now = self.clock.now();
        self.metrics.resolve_latency(chunk.arrivals.until(now));
        self.metrics.completion_latency(chunk.completions.until(now));
        self.count(&chunk.counts, &mut gathered.totals);
        if let Some(first) = self.intake.first_arrival() {
            self.metrics.busy(Duration::from_micros(now.micros_since(first)));
        }
        self.intake.lines_taken(bytes);
        gathered.checksums.iter_mut().zip(chunk.checksums).for_each(|(sum, lines)| sum.add(lines));
        gathered.arrivals.append(chunk.arrivals);
        Ok(())
    }

    fn count(&self, counts: &[(Happening, u64)], totals: &mut Totals) {
        let name = |stream: &StreamId| self.streams.get(usize::from(stream.0)).map_or("?", |name| name);
        for (happening, count) in counts {
            match happening {
                Happening::Resolved(stream) => {
                    totals.resolved += count;
                    self.metrics.resolved(name(stream), *count);
                }
                Happening::Retracted(stream) => {
                    totals.retracted += count;
                    self.metrics.retracted(name(stream), *count);
                }
                Happening::Expired(stream, reason) => {
                    totals.expired += count;
                    self.metrics.expired(name(stream), *reason, *count);
                }
                Happening::Dropped(stream, reason) => {
                    totals.dropped += count;
                    self.metrics.dropped(name(stream), *reason, *count);
                }
                Happening::Rejected(reason) => {
                    totals.rejected += count;
                    self.metrics.rejected(*reason, *count);
                }
                Happening::Accepted => self.metrics.notices(*count),
            }
        }
    }

    fn then(&self, phase: Phase, closed: &Closed, ends: &[WorkerEnd]) -> Then {
        let idle = ends.iter().all(|end| end.backlog == Backlog::None);
        if closed.stopped {
            // Who stops leaves all that waits in the state. An epoch that was closed before knew nothing of that.
            let lists = ends.iter().any(|end| !end.changes.listed.is_empty());
            return if lists { Then::Open(phase) } else { Then::Finish };
        }
        if phase == Phase::Replay {
            return Then::Open(if closed.ended { Phase::CatchUp } else { Phase::Replay });
        }
        let live = if closed.caught_up { Phase::Live } else { Phase::CatchUp };
        if !closed.ended || !idle {
            return Then::Open(if phase == Phase::Ending { phase } else { live });
        }
        match self.until_end {
            Some(_) if phase == Phase::Closing => Then::Finish,
            Some(UntilEnd::Expire) if phase != Phase::Ending => Then::Open(Phase::Ending),
            Some(UntilEnd::Deadlines) if ends.iter().any(|end| end.has_deadline) => Then::Open(Phase::Live),
            Some(_) if self.compact => Then::Open(Phase::Closing),
            Some(_) => Then::Finish,
            None => Then::Open(live),
        }
    }

    fn tell_health(&self, caught_up: bool, stopped: bool) {
        let health = self.metrics.health();
        if stopped {
            health.not_ready("stopping");
        } else if caught_up {
            health.ready();
        }
    }

    /// Begins to commit an epoch. What has to wait for the disk is returned; [`Told::Written`] tells when it is done.
    fn begin(
        &mut self,
        epoch: Epoch,
        phase: Phase,
        closed: Closed,
        gathered: Gathered,
    ) -> Result<Option<Committing>, RunError> {
        let began = Instant::now();
        let mut totals = gathered.totals;
        totals.accepted = totals.read - totals.rejected.min(totals.read);
        let (positions, fingerprints) = match phase {
            Phase::Replay => (self.checkpoint.committed().positions.clone(), BTreeMap::new()),
            Phase::CatchUp | Phase::Live | Phase::Ending | Phase::Closing => {
                self.metrics.bytes_read(closed.bytes);
                // What is expired leaves the state. Not before deadlines fire: until then an event may wait longer than its `wait` for what hides or wakes it.
                if phase != Phase::CatchUp {
                    self.state.advance(self.clock.now().0);
                }
                let fingerprints = self.fingerprints.take(&closed.positions)?;
                (closed.positions, fingerprints)
            }
        };
        let waiting_in_memory = self.report(&gathered.ends);
        let mut changes = Vec::new();
        let mut accepted_at = Times::default();
        for end in gathered.ends {
            accepted_at.append(end.accepted_at);
            self.metrics.records_replayed(end.replayed);
            self.metrics.referents_moved_to_state(end.changes.referents_moved);
            self.metrics.events_moved_to_state(end.changes.waiting_moved);
            changes.push((end.worker, end.changes));
        }
        let (now, partitions) = (self.clock.now(), self.partitions.clone());
        let end = EpochEnd { positions, origins: closed.origins, fingerprints, partitions, totals, now, changes };
        let committing = Committing {
            epoch,
            began,
            totals,
            arrivals: gathered.arrivals,
            accepted_at,
            checksums: gathered.checksums,
            waiting_in_memory,
            caught_up: closed.caught_up && phase != Phase::Replay,
            revoked: closed.revoked,
            stopped: closed.stopped,
        };
        match self.checkpoint.begin(epoch, end)? {
            Begun::Idle => self.committed(committing, false),
            Begun::Committed => self.committed(committing, true),
            Begun::Write(write) => {
                self.durable.write(epoch, write);
                return Ok(Some(committing));
            }
        }
        Ok(None)
    }

    /// Tells of an epoch that is committed; nothing may have been written for it.
    fn committed(&mut self, of: Committing, wrote: bool) {
        self.applied.set(Some(of.epoch));
        // Not before: who sees a record counted may rely on its commit.
        self.metrics.records_read(of.totals.read);
        self.metrics.accepted(of.totals.accepted);
        while let Some(batch) = self.checkpoint.spare_batch() {
            self.intake.batches.give(batch);
        }
        if let Some(offsets) = &mut self.group_offsets {
            offsets.committed(&self.checkpoint.committed().positions, &self.partitions);
        }
        self.metrics.waiting(of.waiting_in_memory, self.checkpoint.committed().waiting_in_state);
        if let Some(before) = self.checkpoint.rewrite_before() {
            self.rewrite.store(before.0, std::sync::atomic::Ordering::Relaxed);
        }
        let now = self.clock.now();
        self.metrics.visible_latency(of.arrivals.until(now));
        self.metrics.accept_latency(of.accepted_at.until(now));
        for (kind, lines) in SinkKind::ALL.into_iter().zip(of.checksums).filter(|(_, sum)| *sum != Checksum::default())
        {
            self.metrics.sink_checksum(kind.as_str(), lines);
        }
        if wrote {
            self.metrics.epoch_committed(of.began.elapsed());
            self.metrics.state_bytes(self.state.disk_bytes());
        }
        if of.revoked {
            self.intake.given_up();
        }
        self.tell_health(of.caught_up, of.stopped);
    }

    /// Exports what the workers say of themselves. Returns how many events wait in their memory.
    fn report(&self, ends: &[WorkerEnd]) -> u64 {
        let now = self.clock.now();
        let oldest = ends.iter().filter_map(|end| end.oldest).min();
        self.metrics.oldest_waiting(oldest.map(|at| Duration::from_micros(now.micros_since(at))));
        self.metrics.draining(ends.iter().map(|end| end.draining).sum());
        let sum = |part: fn(&Memory) -> usize| ends.iter().map(|end| part(&end.memory) as u64).sum();
        self.metrics.memory(MemoryPart::Referents, sum(|m| m.referents));
        self.metrics.memory(MemoryPart::Cache, sum(|m| m.cached_referents));
        self.metrics.memory(MemoryPart::Waiting, sum(|m| m.waiting + m.cached_waiting));
        self.metrics.memory(MemoryPart::Claims, sum(|m| m.claims));
        self.metrics.memory(MemoryPart::Queues, sum(|m| m.queues));
        self.metrics.memory(MemoryPart::Graph, sum(|m| m.graph));
        let state = self.state.memory();
        self.metrics.memory(MemoryPart::StateBlockCache, state.block_cache);
        self.metrics.memory(MemoryPart::StateMemtables, state.memtables);
        ends.iter().map(|end| end.waiting).sum()
    }
}

fn gone() -> RunError {
    RunError::Worker("the workers are gone".into())
}
