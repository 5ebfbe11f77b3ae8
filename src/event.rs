//! What travels: a [`Block`] of records, an [`Event`], the [`Dependent`] that looks for its referents, an [`Outcome`].
//!
//! Nothing here knows how an event is read, resolved or written; every stage imports this module and no other stage.

mod carried;
mod key;
mod outcome;
mod spare;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use memchr::memchr2;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use triomphe::ThinArc;

pub use carried::{Carried, Headers, headers, push_header};
pub use key::{Key, KeyHash};
pub use outcome::{Change, DroppedReason, ExpiredReason, Outcome, RejectedReason, Rejection, ResultIdentity};
pub use spare::Spare;

/// The number of fixed slices that the key space is cut into. A shard is owned by one worker at a time.
pub const SHARDS: usize = 256;

/// The unit of commit. Epochs are numbered from 1 over the life of a job's state; 0 is "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

/// Wall-clock time in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Later than every deadline.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// This time plus a duration, saturating.
    pub fn after(self, duration: Duration) -> Timestamp {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(micros))
    }

    /// This time less a duration, saturating.
    pub fn before(self, duration: Duration) -> Timestamp {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_sub(micros))
    }

    /// Microseconds from `earlier` to this time; 0 where `earlier` is the later one, so that a latency is never negative.
    pub fn micros_since(self, earlier: Timestamp) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// One worker of the dataflow, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerIndex(pub usize);

/// A stream of the job: an index into its rules, in the order of the streams' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(pub u16);

/// A namespace of keys: an index into the job's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityId(pub u16);

/// A file or a topic partition; its name is in [`Partitions`]. Numbers stay the same for the life of a job's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId(pub u32);

/// A record's position in compact form; unique for each record and ordered as the records of a partition are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId {
    /// Where the record was read.
    pub partition: PartitionId,
    /// Byte offset in a file, record offset in a topic partition.
    pub offset: u64,
}

/// The names of the partitions a job has ever read, by [`PartitionId`]. Kept in the state, so that ids outlive a restart.
///
/// Names are only ever added, and all copies are the same registry: a partition that turns up while a job runs is known to all who have one.
#[derive(Clone, Default)]
pub struct Partitions {
    names: Arc<RwLock<Vec<Arc<str>>>>,
}

impl Partitions {
    /// The registry with these names, the first being partition 0.
    pub fn new(names: impl IntoIterator<Item = Arc<str>>) -> Self {
        Partitions { names: Arc::new(RwLock::new(names.into_iter().collect())) }
    }

    /// The id of `name`, entered now if it is new.
    pub fn id(&self, name: &str) -> PartitionId {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let at = match names.iter().position(|n| &**n == name) {
            Some(at) => at,
            None => {
                names.push(name.into());
                names.len() - 1
            }
        };
        PartitionId(u32::try_from(at).unwrap_or(u32::MAX))
    }

    /// The name of a partition; `?` for one that was never entered.
    pub fn name(&self, id: PartitionId) -> Arc<str> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.get(id.0 as usize).cloned().unwrap_or_else(|| "?".into())
    }

    /// All names, in the order of their ids.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `partition:offset`, as users see a position.
    pub fn position(&self, id: EventId) -> String {
        format!("{}:{}", self.name(id.partition), id.offset)
    }
}

impl fmt::Debug for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl PartialEq for Partitions {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl Eq for Partitions {}

/// How far each partition has been read: the offset of the first record that was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(pub std::collections::BTreeMap<PartitionId, u64>);

/// A run of consecutive records of one partition, as a source hands them to a worker to decode.
#[derive(Debug)]
pub struct Block {
    /// Where the records come from.
    pub partition: PartitionId,
    /// The stream of every record in it, where the partition decides that and not a field of the record.
    pub stream: Option<StreamId>,
    /// When it was read: the arrival of its records.
    pub arrival: Timestamp,
    /// The records.
    pub content: Content,
    /// The offset of the record after the last one: the position to commit once the block has been handled.
    pub next_offset: u64,
}

/// The records of a [`Block`].
#[derive(Debug)]
pub enum Content {
    /// Lines of a file; `base` is the byte offset of the first byte. The last line may lack its line break. Blank lines are no records.
    Lines {
        /// Byte offset of `bytes[0]`.
        base: u64,
        /// Whole lines.
        bytes: Vec<u8>,
    },
    /// Records of a topic partition, in the order of their offsets.
    Records {
        /// Where each lies in `bytes`.
        records: Vec<TopicRecord>,
        /// What they are made of.
        bytes: Vec<u8>,
    },
    /// One record that is longer than the job's `max_record`: only its head was kept.
    Oversized {
        /// Offset of the record.
        offset: u64,
        /// Its first `max_record` bytes.
        head: Vec<u8>,
        /// Its whole length in bytes.
        size: u64,
    },
}

/// A record of a topic partition: ranges of the bytes of its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRecord {
    /// Its offset.
    pub offset: u64,
    /// Milliseconds since the Unix epoch, where it has a timestamp.
    pub timestamp: Option<i64>,
    /// Its key; `None` for none, which is not the same as an empty one.
    pub key: Option<Range<usize>>,
    /// Its value; `None` for null, a tombstone.
    pub value: Option<Range<usize>>,
    /// Its [`Headers`].
    pub headers: Range<usize>,
}

/// What is known of an event besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventHeader {
    /// Its position.
    pub id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// When its record was read; kept over restarts.
    pub arrival: Timestamp,
    /// Event time in milliseconds, where the stream declares one.
    pub time: Option<i64>,
    /// Its own key, where the stream has one.
    pub key: Option<Key>,
    /// Whether its bytes [have line breaks](has_line_breaks), which a line of a file must not have.
    pub line_breaks: bool,
    /// What its record carried besides its value; `None` where that is nothing, or nobody asks for it.
    pub carried: Option<Box<Carried>>,
}

/// Whether a record has line breaks. In JSON they are between tokens: a string has none.
pub fn has_line_breaks(record: &[u8]) -> bool {
    memchr2(b'\n', b'\r', record).is_some()
}

/// A record that decoded and validated as one of a stream: header and bytes in one shared allocation, so that a copy costs a counter.
pub type Event = ThinArc<EventHeader, u8>;

/// How an event goes to a worker of another process.
pub(crate) mod shared_event {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Event, EventHeader, event};

    pub(crate) fn serialize<S: Serializer>(event: &Event, serializer: S) -> Result<S::Ok, S::Error> {
        (&event.header.header, serde_bytes::Bytes::new(&event.slice)).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Event, D::Error> {
        let (header, bytes) = <(EventHeader, serde_bytes::ByteBuf)>::deserialize(deserializer)?;
        Ok(event(header, &bytes))
    }
}

/// A copy of `bytes` with its header.
pub fn event(header: EventHeader, bytes: &[u8]) -> Event {
    ThinArc::from_header_and_slice(header, bytes)
}

/// Whether an event deletes the referent of its key: it came as a record without a value, and has no bytes.
pub fn is_tombstone(event: &Event) -> bool {
    event.slice.is_empty()
}

/// Touches what lies before an event's bytes, which is in two cache lines: something that means nothing.
pub fn look_at(event: &Event) -> usize {
    let header = &event.header.header;
    Event::strong_count(event) ^ usize::from(header.stream.0) ^ event.slice.len()
}

/// Memory held by an event: header, counter and bytes.
pub fn event_bytes(event: &Event) -> usize {
    let header = &event.header.header;
    let carried = header.carried.as_ref().map_or(0, |carried| carried.heap_bytes());
    event.slice.len() + size_of::<EventHeader>() + 16 + header.key.as_ref().map_or(0, Key::heap_bytes) + carried
}

/// One reference of an event, and what is known of its referent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reference {
    /// The key referred to.
    pub key: Key,
    /// Its hash, taken once.
    pub hash: KeyHash,
    /// The entity referred to.
    pub entity: EntityId,
    /// Which of the stream's dependencies this is one of, as an index.
    pub dependency: u16,
    /// When the wait for it ends; [`Timestamp::MAX`] is never.
    pub deadline: Timestamp,
    /// Whether its first deadline has passed and it waits on (`defer`, `keep`).
    pub overdue: bool,
    /// What was found.
    pub found: Found,
}

/// What is known of a reference's referent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Found {
    /// Its shard has not been asked since the event arrived or woke.
    Unknown,
    /// Its shard did not have it.
    Missing,
    /// It was there: the version that the event carries.
    Present(#[serde(with = "shared_event")] Event),
    /// It was there, and the state has it: what the state holds of the event does not repeat it, and it is taken from there again.
    Kept,
    /// Its deadline passed with `on_expiry = "partial"`: no longer asked for.
    GivenUp,
}

/// An event on its way to its referents, or waiting for one of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dependent {
    /// The event.
    #[serde(with = "shared_event")]
    pub event: Event,
    /// All its references, those of one dependency together and in the order of its array.
    pub references: SmallVec<[Reference; 2]>,
    /// Dependencies that this event has at all, one bit each: an absent optional one is not among them.
    pub present: u64,
    /// Dependencies that this event gives as an array, one bit each.
    pub arrays: u64,
    /// Its place among its stream's events of one `ordered_by` value.
    pub order: Option<Box<Order>>,
    /// When the last of the referents found so far arrived; its own arrival before that.
    pub completed_at: Timestamp,
    /// Whether an `accepted` notice was due and written.
    pub accepted: bool,
    /// Whether every missing reference is being asked for once more because a deadline has passed.
    pub judging: bool,
    /// Where the state holds it.
    pub stored: Stored,
}

/// The place of an event among the events of its stream that share an `ordered_by` value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The value.
    pub key: Key,
    /// Its hash in the stream's queue entity.
    pub hash: KeyHash,
    /// Its number in the queue, given when it enters; 0 before that.
    pub ticket: u64,
}

/// Where the state holds a waiting event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stored {
    /// Nowhere yet.
    #[default]
    No,
    /// In the log of waiting events, written by this epoch.
    Log(Epoch),
}

impl Dependent {
    /// An event without references.
    pub fn new(event: Event, arrival: Timestamp) -> Dependent {
        Dependent {
            event,
            references: SmallVec::new(),
            present: 0,
            arrays: 0,
            order: None,
            completed_at: arrival,
            accepted: false,
            judging: false,
            stored: Stored::No,
        }
    }

    /// The same in place of another whose event and references are gone already.
    fn reset(&mut self, arrival: Timestamp) {
        (self.present, self.arrays, self.order) = (0, 0, None);
        (self.completed_at, self.accepted, self.judging, self.stored) = (arrival, false, false, Stored::No);
    }

    /// Where the references of one dependency are.
    pub fn references_of(&self, dependency: usize) -> impl Iterator<Item = &Reference> {
        self.references.iter().filter(move |r| usize::from(r.dependency) == dependency)
    }

    /// Takes a referent for every reference to it that lacks one.
    pub fn take(&mut self, entity: EntityId, hash: KeyHash, key: &Key, referent: &Event) {
        self.completed_at = self.completed_at.max(referent.header.header.arrival);
        for r in &mut self.references {
            let lacks = matches!(r.found, Found::Missing | Found::Unknown);
            if lacks && r.hash == hash && r.entity == entity && r.key == *key {
                r.found = Found::Present(referent.clone());
            }
        }
    }

    /// References still asked for.
    pub fn missing(&self) -> impl Iterator<Item = &Reference> {
        self.references.iter().filter(|r| matches!(r.found, Found::Missing | Found::Unknown))
    }
}
