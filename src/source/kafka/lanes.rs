//! The partitions that are read: records go in as they come, blocks come out.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers as _};
use smallvec::SmallVec;
use tracing::warn;

use super::super::{Fingerprint, Limits};
use super::block::{OpenBlock, Record};
use super::fingerprint::{Marks, RecordFingerprint};
use crate::clock::Clock;
use crate::event::{Block, Content, PartitionId, StreamId};
use crate::kafka::{Observer, PartitionStatistics};

/// Records that are in open blocks are handed out after this time at the latest.
const OPEN_FOR: Duration = Duration::from_millis(5);

/// How many records are taken before the time is looked at.
const RECORDS_A_LOOK: u32 = 64;

/// Bytes of open blocks over all partitions, in block sizes.
const OPEN_BLOCKS_MAX: usize = 8;

/// Headers of a record that are looked at without an allocation.
type Headers<'m> = SmallVec<[(&'m str, Option<&'m [u8]>); 8]>;

/// One partition.
pub(super) struct Lane {
    pub(super) topic: String,
    pub(super) number: i32,
    pub(super) id: PartitionId,
    pub(super) stream: Option<StreamId>,
    /// Records below it have been taken.
    pub(super) position: u64,
    /// Where it ended when it was opened; reading stops there where the source ends.
    pub(super) end: u64,
    pub(super) caught_up: bool,
    passed: Passed,
    open: Option<OpenBlock>,
    /// The last record that is known: of the block that was handed out last, or, where there was none yet, of the last commit.
    last: Option<RecordFingerprint>,
}

/// Whether the client has fetched all up to the end that a partition had, which control records may be the last part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    No,
    /// As of one look at its statistics: what it has parsed may not be in the queue yet.
    Once,
    /// All that was in the queue then is out when so many records have been taken.
    When(u64),
}

impl Lane {
    pub(super) fn new(
        topic: &str,
        number: i32,
        id: PartitionId,
        stream: Option<StreamId>,
        start: u64,
        end: u64,
    ) -> Lane {
        let caught_up = start >= end;
        Lane {
            topic: topic.to_owned(),
            number,
            id,
            stream,
            position: start,
            end,
            caught_up,
            passed: Passed::No,
            open: None,
            last: None,
        }
    }

    /// Takes note of what the client has counted, when `taken` records have been taken so far. Returns the lag.
    fn note(&mut self, statistics: PartitionStatistics, taken: u64) -> Option<u64> {
        let offset = |offset: i64| u64::try_from(offset).ok();
        let fetched = offset(statistics.next_offset);
        let waiting = offset(statistics.fetchq_cnt).unwrap_or(0);
        let has_passed = fetched.is_some_and(|fetched| fetched >= self.end);
        self.passed = match self.passed {
            _ if !has_passed => Passed::No,
            Passed::No => Passed::Once,
            Passed::Once => Passed::When(taken + waiting),
            when => when,
        };
        let end = offset(statistics.ls_offset).or(offset(statistics.hi_offset))?;
        // What lies between is control records, where nothing is left to be handed out.
        let reached = if waiting == 0 { fetched.unwrap_or(0).max(self.position) } else { self.position };
        Some(end.saturating_sub(reached))
    }
}

/// All partitions that are read.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// For each topic, the lane of each of its partitions.
    topics: Vec<(String, Vec<Option<usize>>)>,
    ready: VecDeque<Block>,
    spare: Vec<Vec<u8>>,
    marks: Marks,
    limits: Limits,
    clock: Clock,
    /// Whether reading stops at the ends.
    bounded: bool,
    taken: u64,
    open_bytes: usize,
    opened: Option<Instant>,
    until_look: u32,
}

impl Lanes {
    pub(super) fn new(limits: Limits, clock: Clock, bounded: bool) -> Lanes {
        Lanes {
            lanes: Vec::new(),
            topics: Vec::new(),
            ready: VecDeque::new(),
            spare: Vec::new(),
            marks: Marks::default(),
            limits,
            clock,
            bounded,
            taken: 0,
            open_bytes: 0,
            opened: None,
            until_look: RECORDS_A_LOOK,
        }
    }

    /// Adds a partition, which must be none of those that are there.
    pub(super) fn add(&mut self, lane: Lane) {
        let at = match self.topics.iter().position(|(name, _)| *name == lane.topic) {
            Some(at) => at,
            None => {
                self.topics.push((lane.topic.clone(), Vec::new()));
                self.topics.len() - 1
            }
        };
        let number = usize::try_from(lane.number).unwrap_or(0);
        if let Some((_, numbers)) = self.topics.get_mut(at) {
            if numbers.len() <= number {
                numbers.resize(number + 1, None);
            }
            if let Some(slot) = numbers.get_mut(number) {
                *slot = Some(self.lanes.len());
            }
        }
        self.lanes.push(lane);
    }

    /// Forgets all partitions, and what was taken of them and not handed out.
    pub(super) fn clear(&mut self, observer: &Observer) {
        for lane in self.lanes.drain(..) {
            observer.metrics().partition_is_gone(&lane.topic, lane.number);
        }
        self.topics.clear();
        self.ready.clear();
        (self.open_bytes, self.opened) = (0, None);
    }

    /// All partitions.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter()
    }

    /// Takes note of the last committed record of partitions.
    pub(super) fn remember(&mut self, known: &BTreeMap<PartitionId, Fingerprint>) {
        for lane in &mut self.lanes {
            if let Some(Fingerprint::Record(known)) = known.get(&lane.id) {
                lane.last.get_or_insert(*known);
            }
        }
    }

    /// The last record of each partition that is known.
    pub(super) fn last(&self) -> BTreeMap<PartitionId, Fingerprint> {
        self.lanes.iter().filter_map(|lane| Some((lane.id, Fingerprint::Record(lane.last?)))).collect()
    }

    /// The fingerprints at the ends of the blocks that were handed out.
    pub(super) fn marks(&self) -> Marks {
        self.marks.clone()
    }

    fn find(&self, topic: &str, number: i32) -> Option<usize> {
        let (_, numbers) = self.topics.iter().find(|(name, _)| name == topic)?;
        *numbers.get(usize::try_from(number).ok()?)?
    }

    /// Takes a record.
    pub(super) fn take(&mut self, message: &BorrowedMessage<'_>) {
        self.taken += 1;
        let Some(at) = self.find(message.topic(), message.partition()) else { return };
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let Ok(offset) = u64::try_from(message.offset()) else { return };
        // Records come again when fetching was paused.
        if offset < lane.position {
            return;
        }
        if self.bounded && offset >= lane.end {
            lane.caught_up = true;
            return;
        }
        lane.position = offset + 1;
        lane.caught_up |= lane.position >= lane.end;
        let record =
            Record { offset, timestamp: message.timestamp().to_millis(), key: message.key(), value: message.payload() };
        if message.payload_len() > self.limits.record_bytes_max {
            self.close(at);
            self.add_oversized(at, &record);
            return;
        }
        let headers = message.headers().map(|found| headers(found, message)).unwrap_or_default();
        self.push(at, &record, headers);
        self.until_look -= 1;
        if self.until_look == 0 {
            self.until_look = RECORDS_A_LOOK;
            if self.opened.is_some_and(|opened| opened.elapsed() >= OPEN_FOR) {
                self.close_all();
            }
        }
    }

    fn push(&mut self, at: usize, record: &Record<'_>, headers: Headers<'_>) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let open = lane.open.get_or_insert_with(|| {
            self.opened.get_or_insert_with(Instant::now);
            let bytes = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(self.limits.block_bytes / 4));
            OpenBlock::new(self.clock.now(), bytes)
        });
        let before = open.len();
        open.push(record, headers.into_iter());
        let length = open.len();
        self.open_bytes += length - before;
        if length >= self.limits.block_bytes {
            self.close(at);
        } else if self.open_bytes >= OPEN_BLOCKS_MAX * self.limits.block_bytes {
            self.close_all();
        }
    }

    fn add_oversized(&mut self, at: usize, record: &Record<'_>) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let last = RecordFingerprint::of(record);
        self.marks.add(lane.id, last);
        lane.last = Some(last);
        let value = record.value.unwrap_or_default();
        let head = value.get(..self.limits.record_bytes_max).unwrap_or(value).to_vec();
        let content = Content::Oversized { offset: record.offset, head, size: value.len() as u64 };
        let (partition, stream, arrival) = (lane.id, lane.stream, self.clock.now());
        self.ready.push_back(Block { partition, stream, arrival, content, next_offset: record.offset + 1 });
    }

    /// Makes the records of a partition that are gathered so far a block to hand out.
    fn close(&mut self, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let Some(open) = lane.open.take() else { return };
        self.open_bytes -= open.len();
        if let Some(last) = open.last().map(|last| RecordFingerprint::of(&last)) {
            self.marks.add(lane.id, last);
            lane.last = Some(last);
        }
        self.ready.extend(open.close(lane.id, lane.stream));
    }

    /// The same for all partitions.
    pub(super) fn close_all(&mut self) {
        if self.opened.take().is_some() {
            (0..self.lanes.len()).for_each(|at| self.close(at));
        }
    }

    /// Whether there are records that are not in a block to hand out yet.
    pub(super) fn has_open(&self) -> bool {
        self.open_bytes > 0
    }

    /// The next block to hand out.
    pub(super) fn next_block(&mut self) -> Option<Block> {
        self.ready.pop_front()
    }

    /// Takes note of what the client has counted. Returns the lag over all partitions whose end is known.
    pub(super) fn note(&mut self, observer: &Observer) -> u64 {
        let mut sum = 0;
        for lane in &mut self.lanes {
            let Some(statistics) = observer.partition(&lane.topic, lane.number) else { continue };
            if let Some(lag) = lane.note(statistics, self.taken) {
                observer.metrics().partition_lag(&lane.topic, lane.number, lag);
                sum += lag;
            }
        }
        sum
    }

    /// Whether every partition has been read to the end that it had.
    pub(super) fn caught_up(&mut self) -> bool {
        for lane in &mut self.lanes {
            lane.caught_up |= matches!(lane.passed, Passed::When(taken) if self.taken >= taken);
        }
        self.lanes.iter().all(|lane| lane.caught_up)
    }

    /// Takes a buffer back, unless there are enough or a large record has been in it.
    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < OPEN_BLOCKS_MAX && buffer.capacity() <= 2 * self.limits.block_bytes {
            self.spare.push(buffer);
        }
    }
}

/// The headers of a record. Kafka's are named in UTF-8; of others, which no client should have written, rdkafka makes a panic, and they are left out.
fn headers<'m>(found: &'m BorrowedHeaders, message: &BorrowedMessage<'_>) -> Headers<'m> {
    let all = catch_unwind(AssertUnwindSafe(|| found.iter().map(|header| (header.key, header.value)).collect()));
    all.unwrap_or_else(|_| {
        let position = format!("{}:{}:{}", message.topic(), message.partition(), message.offset());
        warn!(position, "a header whose name is not UTF-8 is left out");
        let one = |at| catch_unwind(AssertUnwindSafe(|| found.try_get(at))).ok().flatten();
        (0..found.count()).filter_map(one).map(|header| (header.key, header.value)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Timestamp, TopicRecord};

    /// Four of the records below fill a block.
    const LIMITS: Limits = Limits { block_bytes: 4 * (10 + size_of::<TopicRecord>()), record_bytes_max: 100 };

    fn lanes(ends: &[u64]) -> Lanes {
        let mut lanes = Lanes::new(LIMITS, Clock::manual(Timestamp(5)), false);
        for (number, end) in (0..).zip(ends) {
            lanes.add(Lane::new("posts", number, PartitionId(number as u32), None, 0, *end));
        }
        lanes
    }

    fn record(offset: u64) -> Record<'static> {
        Record { offset, timestamp: None, key: None, value: Some(b"0123456789") }
    }

    #[test]
    fn a_block_is_handed_out_when_it_is_full_or_all_are_closed() {
        let mut lanes = lanes(&[9, 9]);
        for offset in 0..3 {
            lanes.push(0, &record(offset), Headers::default());
            lanes.push(1, &record(offset), Headers::default());
        }
        assert!(lanes.next_block().is_none() && lanes.has_open());
        lanes.push(0, &record(3), Headers::default());
        let full = lanes.next_block().unwrap();
        assert_eq!((full.partition, full.next_offset, full.arrival), (PartitionId(0), 4, Timestamp(5)));
        assert!(lanes.next_block().is_none() && lanes.has_open());
        lanes.add_oversized(0, &record(4));
        lanes.close_all();
        let handed_out: Vec<_> =
            std::iter::from_fn(|| lanes.next_block()).map(|b| (b.partition.0, b.next_offset)).collect();
        assert_eq!(handed_out, [(0, 5), (1, 3)]);
        assert!(!lanes.has_open());
    }

    #[test]
    fn a_partition_has_caught_up_when_what_was_fetched_before_its_end_is_out() {
        let mut lanes = lanes(&[0, 10]);
        let note = |lanes: &mut Lanes, next_offset, fetchq_cnt| {
            let statistics = PartitionStatistics { next_offset, fetchq_cnt, ls_offset: 10, hi_offset: 12 };
            let taken = lanes.taken;
            lanes.lanes.get_mut(1).unwrap().note(statistics, taken)
        };
        assert!(lanes.lanes[0].caught_up && !lanes.caught_up());
        lanes.lanes.get_mut(1).unwrap().position = 4;
        assert_eq!(note(&mut lanes, 9, 2), Some(6));
        assert_eq!(note(&mut lanes, 10, 2), Some(6));
        assert!(!lanes.caught_up());
        assert_eq!(note(&mut lanes, 10, 2), Some(6));
        lanes.taken += 1;
        assert!(!lanes.caught_up());
        lanes.taken += 1;
        assert!(lanes.caught_up());
        // Only control records are left.
        assert_eq!(note(&mut lanes, 10, 0), Some(0));
    }
}
