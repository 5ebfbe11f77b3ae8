//! How events lie in the state: keys that begin with the shard, values that begin with a version.
//!
//! Values are bincode with variable-length integers. What follows from the rules (entities, hashes) is not stored but taken from them again.

use std::borrow::Cow;
use std::ops::Range;

use bincode::Options;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use thiserror::Error;

use crate::dependency::Rules;
use crate::event::{
    Carried, Dependent, EntityId, Epoch, Event, EventHeader, EventId, Found, Key, KeyHash, Order, PartitionId,
    Reference, Stored, StreamId, Timestamp, event, has_line_breaks,
};

/// The version of every value that this program writes.
const VERSION: u8 = 1;

/// Bytes of an [`EventId`] in a key.
pub(super) const ID_BYTES: usize = 12;

/// A value in the state that this program cannot read.
#[derive(Debug, Error)]
pub enum StoredError {
    /// It was written by another version of the program.
    #[error("a value in the state has version {0}, which this program does not read: use the one that wrote it")]
    Version(u8),
    /// It is damaged.
    #[error("a value in the state is damaged: {0}")]
    Damaged(String),
    /// It names something that the rules do not have.
    #[error("a value in the state names {0}, which the configuration does not have")]
    Unknown(String),
}

#[derive(Serialize, Deserialize)]
enum StoredKey<'a> {
    Int(i64),
    Big(u64),
    Text(#[serde(borrow, with = "serde_bytes")] &'a [u8]),
}

#[derive(Serialize, Deserialize)]
struct StoredEvent<'a> {
    partition: u32,
    offset: u64,
    stream: u16,
    arrival: i64,
    time: Option<i64>,
    #[serde(borrow)]
    key: Option<StoredKey<'a>>,
    #[serde(borrow, with = "serde_bytes")]
    bytes: &'a [u8],
    carried: Option<Cow<'a, Carried>>,
}

#[derive(Serialize, Deserialize)]
enum StoredFound<'a> {
    Missing,
    GivenUp,
    Present(#[serde(borrow)] StoredEvent<'a>),
    /// It is in the table of referents: however many events have taken it, it is stored once.
    Kept,
    /// It lies before the event in the same value of the log, the how manieth of the referents there this tells: for the same reason.
    Logged(u32),
}

#[derive(Serialize, Deserialize)]
struct StoredReference<'a> {
    dependency: u16,
    deadline: i64,
    overdue: bool,
    #[serde(borrow)]
    key: StoredKey<'a>,
    #[serde(borrow)]
    found: StoredFound<'a>,
}

#[derive(Serialize, Deserialize)]
struct StoredDependent<'a> {
    #[serde(borrow)]
    event: StoredEvent<'a>,
    #[serde(borrow)]
    references: SmallVec<[StoredReference<'a>; 2]>,
    present: u64,
    arrays: u64,
    #[serde(borrow)]
    order: Option<(StoredKey<'a>, u64)>,
    completed_at: i64,
    accepted: bool,
}

impl<'a> StoredKey<'a> {
    fn of(key: &'a Key) -> Self {
        match key {
            Key::Int(value) => StoredKey::Int(*value),
            Key::Big(value) => StoredKey::Big(*value),
            Key::Text(bytes) => StoredKey::Text(&bytes.slice),
        }
    }

    fn restore(&self) -> Key {
        match self {
            StoredKey::Int(value) => Key::Int(*value),
            StoredKey::Big(value) => Key::Big(*value),
            StoredKey::Text(bytes) => Key::bytes(bytes),
        }
    }
}

impl<'a> StoredEvent<'a> {
    fn of(event: &'a Event) -> Self {
        let header = &event.header.header;
        StoredEvent {
            partition: header.id.partition.0,
            offset: header.id.offset,
            stream: header.stream.0,
            arrival: header.arrival.0,
            time: header.time,
            key: header.key.as_ref().map(StoredKey::of),
            bytes: &event.slice,
            carried: header.carried.as_deref().map(Cow::Borrowed),
        }
    }

    fn restore(&self, rules: &Rules) -> Result<Event, StoredError> {
        if usize::from(self.stream) >= rules.streams().len() {
            return Err(StoredError::Unknown(format!("stream {}", self.stream)));
        }
        let header = EventHeader {
            id: EventId { partition: PartitionId(self.partition), offset: self.offset },
            stream: StreamId(self.stream),
            arrival: Timestamp(self.arrival),
            time: self.time,
            key: self.key.as_ref().map(StoredKey::restore),
            line_breaks: has_line_breaks(self.bytes),
            carried: self.carried.as_ref().map(|carried| Box::new(Carried::clone(carried))),
        };
        Ok(event(header, self.bytes))
    }
}

impl<'a> StoredDependent<'a> {
    /// `number` tells which referent of its value one is, where it is there already.
    fn of(rules: &Rules, dependent: &'a Dependent, number: impl Fn(&Event) -> Option<u32>) -> Self {
        StoredDependent {
            event: StoredEvent::of(&dependent.event),
            references: dependent.references.iter().map(|r| StoredReference::of(rules, r, &number)).collect(),
            present: dependent.present,
            arrays: dependent.arrays,
            order: dependent.order.as_ref().map(|order| (StoredKey::of(&order.key), order.ticket)),
            completed_at: dependent.completed_at.0,
            accepted: dependent.accepted,
        }
    }

    fn restore(&self, rules: &Rules, stored: Stored, referents: &[Event]) -> Result<Box<Dependent>, StoredError> {
        let event = self.event.restore(rules)?;
        let stream = rules.stream(event.header.header.stream);
        let references = self.references.iter().map(|reference| {
            let Some(rule) = stream.depends_on.get(usize::from(reference.dependency)) else {
                return Err(StoredError::Unknown(format!("dependency {} of {}", reference.dependency, stream.name)));
            };
            let key = reference.key.restore();
            Ok(Reference {
                hash: key.hash(rule.entity),
                key,
                entity: rule.entity,
                dependency: reference.dependency,
                deadline: Timestamp(reference.deadline),
                overdue: reference.overdue,
                found: match &reference.found {
                    StoredFound::Missing => Found::Unknown,
                    StoredFound::GivenUp => Found::GivenUp,
                    StoredFound::Kept => Found::Kept,
                    StoredFound::Present(event) => Found::Present(event.restore(rules)?),
                    StoredFound::Logged(number) => {
                        let no_such =
                            || StoredError::Damaged(format!("there is no referent {number} before its event"));
                        Found::Present(referents.get(*number as usize).ok_or_else(no_such)?.clone())
                    }
                },
            })
        });
        let order = self.order.as_ref().zip(stream.ordered_by.as_ref()).map(|((key, ticket), (_, entity))| {
            let key = key.restore();
            Box::new(Order { hash: key.hash(*entity), key, ticket: *ticket })
        });
        Ok(Box::new(Dependent {
            references: references.collect::<Result<_, _>>()?,
            event,
            present: self.present,
            arrays: self.arrays,
            order,
            completed_at: Timestamp(self.completed_at),
            accepted: self.accepted,
            judging: false,
            stored,
        }))
    }
}

impl<'a> StoredReference<'a> {
    fn of(rules: &Rules, reference: &'a Reference, number: impl Fn(&Event) -> Option<u32>) -> Self {
        StoredReference {
            dependency: reference.dependency,
            deadline: reference.deadline.0,
            overdue: reference.overdue,
            key: StoredKey::of(&reference.key),
            found: match &reference.found {
                Found::Missing | Found::Unknown => StoredFound::Missing,
                Found::GivenUp => StoredFound::GivenUp,
                Found::Kept => StoredFound::Kept,
                Found::Present(_) if rules.entity(reference.entity).is_lasting() => StoredFound::Kept,
                Found::Present(event) => match number(event) {
                    Some(number) => StoredFound::Logged(number),
                    None => StoredFound::Present(StoredEvent::of(event)),
                },
            },
        }
    }
}

/// The referents that a waiting event has taken and the state does not keep for ever.
pub(super) fn carried<'a>(rules: &'a Rules, dependent: &'a Dependent) -> impl Iterator<Item = &'a Event> {
    dependent.references.iter().filter_map(|reference| match &reference.found {
        Found::Present(event) if !rules.entity(reference.entity).is_lasting() => Some(event),
        _ => None,
    })
}

fn options() -> impl Options {
    bincode::DefaultOptions::new()
}

pub(super) fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    out.push(VERSION);
    // Writing to memory does not fail, and no type here has a length that bincode cannot know.
    let written = options().serialize_into(out, value);
    debug_assert!(written.is_ok());
}

pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StoredError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => options().deserialize(rest).map_err(|error| StoredError::Damaged(error.to_string())),
        Some((version, _)) => Err(StoredError::Version(*version)),
        None => Err(StoredError::Damaged("it is empty".into())),
    }
}

/// Appends an event as a value.
pub(super) fn put_event(event: &Event, out: &mut Vec<u8>) {
    write(&StoredEvent::of(event), out);
}

/// Reads the value of an event.
pub(super) fn get_event(rules: &Rules, bytes: &[u8]) -> Result<Event, StoredError> {
    read::<StoredEvent>(bytes)?.restore(rules)
}

/// Bytes that the state holds of a referent, key and value, before they are compressed.
pub fn stored_referent_bytes(entity: EntityId, event: &Event) -> usize {
    let mut row = Vec::new();
    if let Some(key) = &event.header.header.key {
        put_key(entity, key.hash(entity), key, &mut row);
    }
    put_event(event, &mut row);
    row.len()
}

/// Bytes that the state holds of an event that waits and has taken nothing, before they are compressed: its value, and its id in the key.
pub fn stored_waiting_bytes(rules: &Rules, dependent: &Dependent) -> usize {
    let mut value = Vec::new();
    put_dependent(rules, dependent, &mut value);
    value.len() + ID_BYTES
}

/// Appends a waiting event as a value. Of the referents that it has taken only those are in it that the state does not keep for ever.
pub(super) fn put_dependent(rules: &Rules, dependent: &Dependent, out: &mut Vec<u8>) {
    write(&StoredDependent::of(rules, dependent, |_| None), out);
}

/// The same for the log: in place of a referent that lies before it in the value there is its number.
pub(super) fn put_logged(
    rules: &Rules,
    dependent: &Dependent,
    number: impl Fn(&Event) -> Option<u32>,
    out: &mut Vec<u8>,
) {
    write(&StoredDependent::of(rules, dependent, number), out);
}

/// About how many bytes [`put_dependent`] appends.
pub(super) fn dependent_bytes(rules: &Rules, dependent: &Dependent) -> usize {
    const HEADER: usize = 32;
    let carried = carried(rules, dependent).map(|referent| HEADER / 2 + referent.slice.len());
    HEADER + dependent.references.len() * HEADER / 2 + dependent.event.slice.len() + carried.sum::<usize>()
}

/// Reads the value of a waiting event. What it lacked is to be asked for again, and what it had taken and the state keeps.
pub(super) fn get_dependent(rules: &Rules, bytes: &[u8], stored: Stored) -> Result<Box<Dependent>, StoredError> {
    read::<StoredDependent>(bytes)?.restore(rules, stored, &[])
}

/// Reads what [`put_logged`] wrote in an epoch, behind these referents.
pub(super) fn get_logged(
    rules: &Rules,
    bytes: &[u8],
    epoch: Epoch,
    referents: &[Event],
) -> Result<Box<Dependent>, StoredError> {
    read::<StoredDependent>(bytes)?.restore(rules, Stored::Log(epoch), referents)
}

/// The position of the event in the value of a waiting one, without reading the rest of it.
pub(super) fn dependent_id(bytes: &[u8]) -> Option<EventId> {
    let (_, rest) = bytes.split_first().filter(|(version, _)| **version == VERSION)?;
    let (partition, offset): (u32, u64) = options().allow_trailing_bytes().deserialize(rest).ok()?;
    Some(EventId { partition: PartitionId(partition), offset })
}

/// The entity in a key.
pub(super) fn entity_of(key: &[u8]) -> Option<EntityId> {
    let entity = key.get(1..)?.first_chunk::<2>()?;
    Some(EntityId(u16::from_be_bytes(*entity)))
}

/// Appends `shard | entity | key`: an integer as 8 ordered bytes, a string with its length before it, so that no key is the beginning of another.
pub(super) fn put_key(entity: EntityId, hash: KeyHash, key: &Key, out: &mut Vec<u8>) {
    out.push(hash.shard());
    out.extend_from_slice(&entity.0.to_be_bytes());
    match key {
        Key::Int(value) => {
            out.push(0);
            out.extend_from_slice(&(*value as u64 ^ (1 << 63)).to_be_bytes());
        }
        Key::Big(value) => {
            out.push(1);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Key::Text(bytes) => {
            out.push(2);
            out.extend_from_slice(&u32::try_from(bytes.slice.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(&bytes.slice);
        }
    }
}

/// Whether a row of the waiting events is under this key.
pub(super) fn is_at(row: &[u8], entity: EntityId, hash: KeyHash, key: &Key) -> bool {
    let mut prefix = Vec::new();
    put_key(entity, hash, key, &mut prefix);
    row.len() == prefix.len() + ID_BYTES && row.starts_with(&prefix)
}

/// Appends an event's id, in the order of its partition.
pub(super) fn put_id(id: EventId, out: &mut Vec<u8>) {
    out.extend_from_slice(&id.partition.0.to_be_bytes());
    out.extend_from_slice(&id.offset.to_be_bytes());
}

/// The id at the end of a key.
pub(super) fn id_at_end(key: &[u8]) -> Option<EventId> {
    let id: &[u8; ID_BYTES] = key.last_chunk()?;
    let (partition, offset) = id.split_first_chunk::<4>()?;
    Some(EventId {
        partition: PartitionId(u32::from_be_bytes(*partition)),
        offset: u64::from_be_bytes(offset.try_into().ok()?),
    })
}

/// Appends `shard | deadline | waiting key without its shard`: the deadlines of a shard in the order in which they pass.
pub(super) fn put_deadline_key(at: Timestamp, waiting_key: &[u8], out: &mut Vec<u8>) {
    let Some((shard, rest)) = waiting_key.split_first() else { return };
    out.push(*shard);
    out.extend_from_slice(&(at.0 as u64 ^ (1 << 63)).to_be_bytes());
    out.extend_from_slice(rest);
}

/// The deadline and the waiting key of a deadline key.
pub(super) fn split_deadline_key(key: &[u8]) -> Option<(Timestamp, Vec<u8>)> {
    let (shard, rest) = key.split_first()?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let waiting_key = [&[*shard], rest].concat();
    Some((Timestamp((u64::from_be_bytes(*at) ^ (1 << 63)) as i64), waiting_key))
}

/// The shards that a worker owns.
pub(super) fn shards_of(worker: usize, workers: usize) -> Range<usize> {
    use crate::event::SHARDS;
    let first = |w: usize| (w * SHARDS).div_ceil(workers);
    first(worker)..first(worker + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependency::{DependencyDraft, Mode, Need, OnExpiry, Pointer, StreamDraft};

    /// A like that has taken its post, of the rules `like -> post:MODE` with or without `retain` of posts, and with or without tombstones.
    fn like(mode: Mode, retain: bool, deletable: bool) -> (Rules, Dependent) {
        let pointer = |field| Pointer::parse(field).unwrap();
        let stream = |name: &str, key: Option<Pointer>, depends_on| StreamDraft {
            name: name.into(),
            key: key.map(Into::into),
            provides: None,
            time: None,
            retain: None,
            ordered_by: None,
            depends_on,
        };
        let post = DependencyDraft {
            name: None,
            entity: "post".into(),
            by: pointer("/post"),
            mode,
            required: true,
            need: Need::Arrived,
            wait: None,
            on_expiry: OnExpiry::DeadLetter,
            include: None,
        };
        let posts = StreamDraft {
            retain: retain.then(|| std::time::Duration::from_secs(60)),
            ..stream("post", Some(pointer("/id")), vec![])
        };
        let rules = Rules::build(vec![posts, stream("like", None, vec![post])]).unwrap();
        let rules = if deletable { rules.with_tombstones() } else { rules };
        let header = |name, key| EventHeader {
            id: EventId { partition: PartitionId(0), offset: 7 },
            stream: rules.stream_named(name).unwrap(),
            arrival: Timestamp(1),
            time: None,
            key,
            line_breaks: false,
            carried: None,
        };
        let entity = rules.stream(rules.stream_named("like").unwrap()).depends_on[0].entity;
        let key = Key::Int(1);
        let reference = Reference {
            hash: key.hash(entity),
            key: key.clone(),
            entity,
            dependency: 0,
            deadline: Timestamp::MAX,
            overdue: false,
            found: Found::Present(event(header("post", Some(key)), &[b'x'; 1000])),
        };
        let dependent = Dependent {
            event: event(header("like", None), b"{}"),
            references: [reference].into_iter().collect(),
            present: 1,
            arrays: 0,
            order: None,
            completed_at: Timestamp(1),
            accepted: false,
            judging: false,
            stored: Stored::No,
        };
        (rules, dependent)
    }

    #[test]
    fn a_taken_referent_is_written_with_the_event_only_where_the_state_does_not_keep_it() {
        for (mode, retain, deletable, with_event) in [
            (Mode::Deferred, false, false, false),
            (Mode::Deferred, true, false, true),
            (Mode::Deferred, false, true, true),
            (Mode::Streaming, false, false, true),
        ] {
            let (rules, dependent) = like(mode, retain, deletable);
            let mut value = Vec::new();
            put_dependent(&rules, &dependent, &mut value);
            assert_eq!(value.len() > 1000, with_event, "{mode:?}, retain: {retain}, tombstones: {deletable}");
            assert!(dependent_bytes(&rules, &dependent).abs_diff(value.len()) < 50);
            let restored = get_dependent(&rules, &value, Stored::No).unwrap();
            match &restored.references[0].found {
                Found::Present(event) => assert!(with_event && event.slice.len() == 1000),
                found => assert!(!with_event && matches!(found, Found::Kept)),
            }
            assert_eq!(restored.missing().count(), 0, "it lacks nothing");
        }
    }
}
