//! Rules and records as lines of text.
//!
//! A stream: `post key provides=message time retain=10 ordered -> person forum:deferred:wait=5:drop`, a dependency being
//! `entity[:resolved][:deferred][:optional][:name=N][:wait=SECONDS][:drop|:partial|:keep|:defer=SECONDS|:defer][:then=drop|partial|keep]`. The field
//! of a reference is the dependency's name.
//!
//! A record: `post id=1 person=7`; values are JSON without spaces. `@1` reads it from partition 1 instead of 0. `post id=1 null` is the tombstone of a post:
//! its value is null, `id` is the key of the record and `time` its timestamp.

use std::sync::Arc;
use std::time::Duration;

use crate::decode::{Decoded, Decoder};
use crate::dependency::{DependencyDraft, Mode, Need, OnExpiry, Pointer, Rules, SecondExpiry, StreamDraft};

use crate::event::{Block, Content, Dependent, EventHeader, EventId, Key, PartitionId, StreamId, Timestamp, event};

/// A record to be read.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: EventId,
    pub(super) stream: StreamId,
    pub(super) json: String,
    pub(super) text: String,
    /// Of a tombstone: the key, and the timestamp where the stream has a time.
    pub(super) deletes: Option<(Key, Option<i64>)>,
}

/// The rules of these streams.
pub(super) fn rules(lines: &[&str]) -> Arc<Rules> {
    Arc::new(Rules::build(lines.iter().map(|line| stream(line)).collect()).expect("rules"))
}

/// The rules of these streams where tombstones may come.
pub(super) fn deletable(lines: &[&str]) -> Arc<Rules> {
    Arc::new(Rules::clone(&rules(lines)).with_tombstones())
}

pub(super) fn stream(line: &str) -> StreamDraft {
    let (head, tail) = line.split_once("->").unwrap_or((line, ""));
    let mut words = head.split_whitespace();
    let mut draft = StreamDraft {
        name: words.next().expect("a name").to_owned(),
        key: None,
        provides: None,
        time: None,
        retain: None,
        ordered_by: None,
        depends_on: tail.split_whitespace().map(dependency).collect(),
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("key", _) => draft.key = Some(pointer("id").into()),
            ("provides", entity) => draft.provides = Some(entity.to_owned()),
            ("time", _) => draft.time = Some(pointer("time").into()),
            ("retain", seconds) => draft.retain = Some(duration(seconds)),
            ("ordered", _) => draft.ordered_by = Some(pointer("order")),
            other => panic!("{other:?}"),
        }
    }
    draft
}

fn pointer(field: &str) -> Pointer {
    Pointer::parse(&format!("/{field}")).expect("a pointer")
}

fn duration(seconds: &str) -> Duration {
    Duration::from_secs(seconds.parse().expect("seconds"))
}

fn dependency(text: &str) -> DependencyDraft {
    let mut words = text.split(':');
    let entity = words.next().expect("an entity").to_owned();
    let (mut mode, mut need, mut required, mut wait) = (Mode::Streaming, Need::Arrived, true, None);
    let (mut name, mut on_expiry, mut then) = (entity.clone(), OnExpiry::DeadLetter, SecondExpiry::DeadLetter);
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("resolved", _) => need = Need::Resolved,
            ("deferred", _) => mode = Mode::Deferred,
            ("optional", _) => required = false,
            ("name", to) => name = to.to_owned(),
            ("wait", seconds) => wait = Some(duration(seconds)),
            ("drop", _) => on_expiry = OnExpiry::Drop,
            ("partial", _) => on_expiry = OnExpiry::Partial,
            ("keep", _) => on_expiry = OnExpiry::Keep,
            ("defer", seconds) => {
                let wait = (!seconds.is_empty()).then(|| duration(seconds));
                on_expiry = OnExpiry::Defer { wait, then };
            }
            ("then", act) => {
                then = match act {
                    "drop" => SecondExpiry::Drop,
                    "partial" => SecondExpiry::Partial,
                    _ => SecondExpiry::Keep,
                }
            }
            other => panic!("{other:?}"),
        }
    }
    if let OnExpiry::Defer { wait, .. } = on_expiry {
        on_expiry = OnExpiry::Defer { wait, then };
    }
    let by = pointer(&name);
    DependencyDraft { name: Some(name), entity, by, mode, required, need, wait, on_expiry, include: None }
}

/// What a record is decoded to.
pub(super) fn decode(decoder: &mut Decoder, record: &Record, arrival: Timestamp) -> Decoded {
    if let Some((key, time)) = record.deletes.clone() {
        return Decoded::Event(Box::new(tombstone(record, key, time, arrival)));
    }
    let block = Block {
        partition: record.id.partition,
        stream: Some(record.stream),
        arrival,
        content: Content::Lines { base: record.id.offset, bytes: record.json.clone().into_bytes() },
        next_offset: record.id.offset + 1,
    };
    let mut decoded = None;
    decoder.decode(&block, &mut |one| decoded = Some(one));
    decoded.expect("a record")
}

fn tombstone(record: &Record, key: Key, time: Option<i64>, arrival: Timestamp) -> Dependent {
    let (id, stream, key) = (record.id, record.stream, Some(key));
    let header = EventHeader { id, stream, arrival, time, key, line_breaks: false, carried: None };
    Dependent::new(event(header, &[]), arrival)
}

/// The event of a line, which arrives at a time.
pub(super) fn dependent(rules: &Arc<Rules>, line: &str, offset: u64, arrival: Timestamp) -> Box<Dependent> {
    let mut decoder = Decoder::new(Arc::clone(rules), None);
    match decode(&mut decoder, &record(rules, line, offset), arrival) {
        Decoded::Event(dependent) => dependent,
        Decoded::Rejected(rejection) => panic!("{line}: {rejection:?}"),
    }
}

/// The record of a line, which is the `offset`-th of its partition.
pub(super) fn record(rules: &Rules, line: &str, offset: u64) -> Record {
    let mut words = line.split_whitespace();
    let stream = words.next().and_then(|name| rules.stream_named(name)).expect("a stream");
    let mut partition = PartitionId(0);
    let mut members = Vec::new();
    let (mut is_null, mut key, mut time) = (false, None, None);
    for word in words {
        match word.split_once('=') {
            Some((field, value)) => {
                members.push(format!("\"{field}\":{value}"));
                match field {
                    "id" => key = Some(value.parse().map_or_else(|_| Key::text(value.trim_matches('"')), Key::Int)),
                    "time" if rules.stream(stream).time.is_some() => time = value.parse().ok(),
                    _ => {}
                }
            }
            None if word == "null" => is_null = true,
            None => partition = PartitionId(word.trim_start_matches('@').parse().expect("a partition")),
        }
    }
    let json = format!("{{{}}}", members.join(","));
    let deletes = is_null.then(|| (key.expect("an id"), time));
    Record { id: EventId { partition, offset }, stream, json, text: line.to_owned(), deletes }
}
