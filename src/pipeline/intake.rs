//! Between the reading thread and the workers: a short queue of blocks, cut into epochs.
//!
//! An epoch's blocks are handed out only when the epoch before has gone through the whole dataflow. So the positions at its end are a plain prefix of every
//! partition, its changes of the state are its own, and what is in flight is bounded by an epoch's size.

mod held;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use timely::scheduling::SyncActivator;

use super::buffers::{Batches, Buffers};
use crate::event::{Block, Content, Epoch, PartitionId, Positions, Timestamp};
use crate::metrics::{Backpressure, Metrics};
use crate::mode::maintained::Room;
use crate::mode::{Backlog, Phase};
use held::Held;

/// What bounds the intake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long an epoch is.
    pub(super) epoch: Duration,
    /// Bytes after which it ends before that.
    pub(super) epoch_bytes: u64,
    /// Blocks that wait for a worker.
    pub(super) blocks: usize,
    /// Only the first worker takes blocks, so that events keep the order of their records.
    pub(super) one_reader: bool,
    /// Bytes of lines that may wait for the committer before sources are held back.
    pub(super) sink_bytes: u64,
    /// Bytes of lines that may wait for the committer before what is done in slices is held back.
    pub(super) slices_bytes: u64,
}

/// What the reading thread puts into the queue.
#[derive(Debug)]
pub(super) enum Item {
    Block(Block),
    /// A partition is read from this offset on.
    Partition(PartitionId, u64),
    /// Every partition has been read to the end that it had at the start.
    CaughtUp,
    /// All that is read is taken away: the epoch ends here, and once it is committed the reading thread gives it up.
    Revoked,
    /// There will never be more.
    End,
}

/// What a worker gets.
#[derive(Debug)]
pub(super) enum Taken {
    /// Records of the open epoch.
    Block(Block),
    /// The epoch is over: nothing more of it will come.
    Closed(Epoch),
    /// Nothing now.
    Nothing,
    /// Nothing ever again: there is more, this worker has no room for it, and nothing that it has leaves by itself.
    NoRoom,
}

/// How an epoch stood when it was closed.
#[derive(Clone, Debug, Default)]
pub(super) struct Closed {
    pub(super) positions: Positions,
    /// Where partitions that were announced in this run begin.
    pub(super) origins: Positions,
    /// Bytes of its records.
    pub(super) bytes: u64,
    pub(super) caught_up: bool,
    pub(super) ended: bool,
    pub(super) revoked: bool,
    pub(super) stopped: bool,
}

struct Inner {
    queue: VecDeque<Item>,
    epoch: Epoch,
    phase: Phase,
    open: bool,
    opened: Instant,
    bytes: u64,
    positions: Positions,
    /// Where partitions that were announced in this run begin.
    origins: Positions,
    first_arrival: Option<Timestamp>,
    caught_up: bool,
    ended: bool,
    /// What was read is to be given up after this epoch, or the next if it is closed.
    revoked: bool,
    end_closed: bool,
    stop: bool,
    finished: bool,
    begins_again: bool,
    waiting_lines: u64,
    /// Whether the reading thread waits for room.
    reader_waits: bool,
    /// What keeps workers from taking blocks though the queue is full, or the reading thread waits, and since when.
    held_since: Option<(Backpressure, Instant)>,
    /// How long that was the case so far.
    held: Held,
    backlog: Vec<Backlog>,
    rooms: Vec<Room>,
    activators: Vec<SyncActivator>,
}

/// The queue and the state of the open epoch. One a process.
pub(super) struct Intake {
    limits: Limits,
    metrics: Metrics,
    inner: Mutex<Inner>,
    room: Condvar,
    /// Buffers of blocks on their way back to the source.
    pub(super) blocks: Buffers,
    /// Buffers of lines on their way back to the workers.
    pub(super) lines: Buffers,
    /// Batches of changes on their way back to the workers.
    pub(super) batches: Batches,
}

impl Intake {
    pub(super) fn new(limits: Limits, workers: usize, positions: Positions, metrics: Metrics) -> Self {
        let inner = Inner {
            queue: VecDeque::new(),
            epoch: Epoch(0),
            phase: Phase::Replay,
            open: false,
            opened: Instant::now(),
            bytes: 0,
            positions,
            origins: Positions::default(),
            first_arrival: None,
            caught_up: false,
            ended: false,
            revoked: false,
            end_closed: false,
            stop: false,
            finished: false,
            begins_again: false,
            waiting_lines: 0,
            reader_waits: false,
            held_since: None,
            held: Held::default(),
            backlog: vec![Backlog::None; workers],
            rooms: vec![Room::Free; workers],
            activators: Vec::new(),
        };
        let (blocks, lines) = (Buffers::new(limits.blocks + workers), Buffers::new(4 * workers));
        Intake {
            limits,
            metrics,
            inner: Mutex::new(inner),
            room: Condvar::new(),
            blocks,
            lines,
            // Two of each worker are with the committer, and two are about to follow.
            batches: Batches::new(4 * workers),
        }
    }

    /// A thread that panics while it holds the lock ends the job; what it left behind is only looked at to stop.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- the reading thread ---

    /// Waits for room in the queue, at most so long. Returns whether there is room, or the job is over.
    ///
    /// Once it is full it has room when half of it is gone: to wake the reading thread costs as much as some dozens of records.
    pub(super) fn wait_for_room(&self, wait: Duration) -> bool {
        let mut inner = self.lock();
        if inner.queue.len() < self.limits.blocks {
            return true;
        }
        let (began, held_before) = (Instant::now(), inner.held_so_far());
        inner.reader_waits = true;
        inner.hold(&self.limits);
        let is_full = |inner: &mut Inner| inner.queue.len() > self.limits.blocks / 2 && !inner.is_over();
        let (after, waited) =
            self.room.wait_timeout_while(inner, wait, is_full).unwrap_or_else(PoisonError::into_inner);
        inner = after;
        inner.reader_waits = false;
        let held = inner.held_so_far();
        let commit = held.commit.saturating_sub(held_before.commit);
        let memory = held.memory.saturating_sub(held_before.memory);
        self.metrics.backpressure(Backpressure::Commit, commit);
        self.metrics.backpressure(Backpressure::Memory, memory);
        self.metrics.backpressure(Backpressure::Workers, began.elapsed().saturating_sub(commit + memory));
        !waited.timed_out()
    }

    /// Puts an item into the queue, which [has room](Intake::wait_for_room). Returns whether the job goes on.
    pub(super) fn push(&self, item: Item) -> bool {
        let mut inner = self.lock();
        inner.revoked |= matches!(item, Item::Revoked);
        let was_empty = inner.queue.is_empty();
        inner.queue.push_back(item);
        inner.hold(&self.limits);
        // Who finds the queue empty, or closed to him, is woken when that changes. Others come back by themselves.
        if was_empty {
            inner.wake();
        }
        !inner.is_over()
    }

    /// Waits until what was [revoked](Item::Revoked) is committed, at most so long. Returns whether it is, or the job is over.
    pub(super) fn wait_for_commit(&self, wait: Duration) -> bool {
        let is_pending = |inner: &mut Inner| inner.revoked && !inner.is_over();
        let waited = self.room.wait_timeout_while(self.lock(), wait, is_pending);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Whether reading should go on.
    pub(super) fn goes_on(&self) -> bool {
        !self.lock().is_over()
    }

    // --- the workers ---

    /// Registers what wakes a worker's source.
    pub(super) fn register(&self, activator: SyncActivator) {
        self.lock().activators.push(activator);
    }

    /// The epoch and what the passing of time may do in it.
    pub(super) fn current(&self) -> (Epoch, Phase) {
        let inner = self.lock();
        (inner.epoch, inner.phase)
    }

    /// The next block of the open epoch for a worker, which says what its engine has left to do, and whether it has changed so much that the epoch should
    /// end.
    pub(super) fn take(&self, worker: usize, backlog: Backlog, is_full: bool) -> Taken {
        let mut inner = self.lock();
        if let Some(slot) = inner.backlog.get_mut(worker) {
            *slot = backlog;
        }
        if inner.open && (is_full || inner.is_due(&self.limits)) {
            inner.close();
        }
        inner.hold(&self.limits);
        if !inner.open {
            return Taken::Closed(inner.epoch);
        }
        if inner.may_take_nothing(&self.limits) || (self.limits.one_reader && worker != 0) {
            return Taken::Nothing;
        }
        // What lies behind the end of the source that is read again belongs to the next one, and to a later phase.
        while !inner.ended {
            if inner.has_no_room() {
                return if inner.will_have_room(worker) { Taken::Nothing } else { Taken::NoRoom };
            }
            let item = inner.queue.pop_front();
            if item.is_some() && inner.queue.len() <= self.limits.blocks / 2 {
                self.room.notify_one();
            }
            match item {
                Some(Item::Block(block)) => {
                    inner.bytes += block.bytes();
                    if inner.phase != Phase::Replay {
                        inner.first_arrival.get_or_insert(block.arrival);
                    }
                    inner.advance(block.partition, block.next_offset);
                    return Taken::Block(block);
                }
                Some(Item::Partition(partition, start)) => {
                    // Where it was given up before, others may have read it on since.
                    inner.positions.0.insert(partition, start);
                    inner.origins.0.entry(partition).or_insert(start);
                }
                Some(Item::CaughtUp) => inner.caught_up = true,
                Some(Item::Revoked) => {
                    inner.close();
                    inner.hold(&self.limits);
                    return Taken::Closed(inner.epoch);
                }
                Some(Item::End) => {
                    inner.ended = true;
                    if inner.is_due(&self.limits) {
                        inner.close();
                        inner.hold(&self.limits);
                        return Taken::Closed(inner.epoch);
                    }
                }
                None => break,
            }
        }
        Taken::Nothing
    }

    /// Notes, when a worker has ended an epoch, whether it has room for more.
    pub(super) fn tell_room(&self, worker: usize, room: Room) {
        if let Some(slot) = self.lock().rooms.get_mut(worker) {
            *slot = room;
        }
    }

    /// Notes lines on their way to the committer.
    pub(super) fn lines_sent(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.waiting_lines += bytes;
        inner.hold(&self.limits);
    }

    /// Whether slices should wait until the committer has caught up: their lines would be in the way of others'.
    pub(super) fn is_sink_behind(&self) -> bool {
        self.lock().waiting_lines > self.limits.slices_bytes
    }

    /// Whether there is an epoch in which slices may be worked through now.
    pub(super) fn takes_slices(&self) -> bool {
        let inner = self.lock();
        inner.open && inner.waiting_lines <= self.limits.slices_bytes
    }

    /// How long until the open epoch is over; for an epoch that is closed, how long an epoch is.
    pub(super) fn until_due(&self) -> Duration {
        let inner = self.lock();
        if inner.open { self.limits.epoch.saturating_sub(inner.opened.elapsed()) } else { self.limits.epoch }
    }

    /// Whether the input has ended or the job is to stop: the epoch that is closed may be the last one.
    pub(super) fn is_ending(&self) -> bool {
        let inner = self.lock();
        inner.ended || inner.stop
    }

    /// Whether the job is over.
    pub(super) fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// Whether it is over only to begin again in this process.
    pub(super) fn begins_again(&self) -> bool {
        self.lock().begins_again
    }

    // --- the committer ---

    /// Opens an epoch.
    pub(super) fn open(&self, epoch: Epoch, phase: Phase) {
        let mut inner = self.lock();
        inner.epoch = epoch;
        inner.phase = phase;
        inner.open = true;
        inner.opened = Instant::now();
        inner.bytes = 0;
        inner.hold(&self.limits);
        inner.wake();
    }

    /// How the epoch stood when it was closed.
    pub(super) fn closed(&self) -> Closed {
        let inner = self.lock();
        Closed {
            positions: inner.positions.clone(),
            origins: inner.origins.clone(),
            bytes: inner.bytes,
            caught_up: inner.caught_up,
            ended: inner.ended,
            revoked: inner.revoked && inner.queue.is_empty(),
            stopped: inner.stop,
        }
    }

    /// When the first record arrived that is not only read again.
    pub(super) fn first_arrival(&self) -> Option<Timestamp> {
        self.lock().first_arrival
    }

    /// Notes that what was revoked is committed.
    pub(super) fn given_up(&self) {
        self.lock().revoked = false;
        self.room.notify_all();
    }

    /// Notes that the committer has taken lines.
    pub(super) fn lines_taken(&self, bytes: u64) {
        let mut inner = self.lock();
        let before = inner.waiting_lines > self.limits.sink_bytes;
        inner.waiting_lines = inner.waiting_lines.saturating_sub(bytes);
        inner.hold(&self.limits);
        if before && inner.waiting_lines <= self.limits.sink_bytes {
            inner.wake();
        }
    }

    /// Begins with another source: its end and its catching up are still to come.
    pub(super) fn restart(&self) {
        let mut inner = self.lock();
        inner.ended = false;
        inner.end_closed = false;
        inner.caught_up = false;
    }

    /// Ends the job, for good or to begin again: workers come to rest.
    pub(super) fn finish(&self, begins_again: bool) {
        let mut inner = self.lock();
        inner.finished = true;
        inner.begins_again = begins_again;
        inner.open = false;
        inner.wake();
        self.room.notify_all();
    }

    /// Asks for a stop: the open epoch is closed and committed, then the job is over.
    pub(super) fn stop(&self) {
        let mut inner = self.lock();
        inner.stop = true;
        inner.wake();
        self.room.notify_all();
    }
}

impl Inner {
    fn is_over(&self) -> bool {
        self.stop || self.finished
    }

    fn is_due(&self, limits: &Limits) -> bool {
        let idle = self.backlog.iter().all(|backlog| *backlog == Backlog::None);
        self.stop
            || self.bytes >= limits.epoch_bytes
            || self.opened.elapsed() >= limits.epoch
            || (self.ended && !self.end_closed && idle)
    }

    fn close(&mut self) {
        self.open = false;
        self.end_closed |= self.ended;
        self.wake();
    }

    /// Whether workers may take no block: the epoch before this one, or its lines, are still with the committer.
    fn may_take_nothing(&self, limits: &Limits) -> bool {
        !self.open || self.waiting_lines > limits.sink_bytes
    }

    /// Whether the next item is a block, and some worker has no room for what may be in it.
    fn has_no_room(&self) -> bool {
        matches!(self.queue.front(), Some(Item::Block(_))) && self.rooms.iter().any(|room| *room != Room::Free)
    }

    /// Whether a worker has room, or will have it without reading on. No wait ends before the sources have been read to the end that they had at the start.
    fn will_have_room(&self, worker: usize) -> bool {
        match self.rooms.get(worker) {
            Some(Room::Never) => false,
            Some(Room::Soon) => self.phase != Phase::CatchUp || self.caught_up,
            Some(Room::Free) | None => true,
        }
    }

    fn advance(&mut self, partition: PartitionId, next: u64) {
        let position = self.positions.0.entry(partition).or_default();
        *position = next.max(*position);
    }

    fn wake(&self) {
        for activator in &self.activators {
            // A worker that is gone has nothing to be woken for.
            let _ = activator.activate();
        }
    }
}

impl Block {
    fn bytes(&self) -> u64 {
        match &self.content {
            Content::Lines { bytes, .. } | Content::Records { bytes, .. } => bytes.len() as u64,
            Content::Oversized { size, .. } => *size,
        }
    }
}
