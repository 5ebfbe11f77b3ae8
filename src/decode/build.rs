//! From the values of a record to an event with its references, by the rules of its stream.

use std::time::Duration;

use super::Fault;
use super::collect::{Value, Values, cut};
use super::fields::{FieldId, Fields};
use super::topic::Envelope;
use crate::dependency::{Dependency, Mode, Need, Place, Pointer, RecordFormat, Rules, Stream};
use crate::event::{
    Block, Carried, Dependent, EntityId, EventHeader, EventId, Found, Key, Order, Reference, RejectedReason, Spare,
    StreamId, Timestamp, event,
};

/// The rules of a job with every pointer made a [`FieldId`].
#[derive(Debug)]
pub(super) struct Plan {
    fields: Fields,
    stream_name: Option<StreamName>,
    /// In the order of their ids, which is that of their names.
    streams: Vec<StreamPlan>,
    /// Whether events and rejections carry what their records do besides a value.
    pub(super) carries: bool,
    /// Whether records of some stream are changes of rows.
    pub(super) has_row_changes: bool,
    /// Where boxes for events come from.
    pub(super) spare: Spare,
}

/// Where a record says its stream.
#[derive(Debug)]
enum StreamName {
    Field(FieldPlace),
    Header(String),
}

/// Where an event's own key is.
#[derive(Debug)]
enum OwnKey {
    Field(FieldPlace),
    /// The record's key; always a text where that is asked for.
    Record {
        text: bool,
    },
}

/// Where an event's time is.
#[derive(Debug)]
enum Time {
    Field(FieldPlace),
    /// The record's timestamp.
    Record,
}

/// A field, and how users write it.
#[derive(Debug)]
struct FieldPlace {
    field: FieldId,
    pointer: String,
}

/// What is known of a record besides its value.
pub(super) struct Origin<'a> {
    pub(super) block: &'a Block,
    pub(super) id: EventId,
    pub(super) envelope: &'a Envelope<'a>,
}

#[derive(Debug)]
pub(super) struct StreamPlan {
    name: String,
    key: Option<OwnKey>,
    time: Option<Time>,
    order: Option<(FieldPlace, EntityId)>,
    dependencies: Vec<DependencyPlan>,
    /// The field that is `true` in a record that deletes.
    deleted: Option<FieldPlace>,
    /// Whether its records are changes of rows.
    has_row_changes: bool,
}

#[derive(Debug)]
struct DependencyPlan {
    by: FieldPlace,
    entity: EntityId,
    required: bool,
    wait: Option<Duration>,
    /// Whether its referents are looked up at all: `independent` ones are only validated.
    looked_up: bool,
    /// Whether a reference to the event's own key could never be satisfied.
    never_itself: bool,
}

impl Plan {
    pub(super) fn new(rules: &Rules, stream_field: Option<&Place>) -> Self {
        let named_by = stream_field.and_then(Place::field);
        let fields = Fields::new(named_by.into_iter().chain(rules.streams().iter().flat_map(pointers)));
        let streams: Vec<StreamPlan> =
            rules.streams().iter().map(|stream| StreamPlan::new(stream, rules, &fields)).collect();
        let has_row_changes = streams.iter().any(|stream| stream.has_row_changes);
        let stream_name = stream_field.and_then(|named_by| match named_by {
            Place::Field(pointer) => Some(StreamName::Field(place(pointer, &fields))),
            Place::Header(name) => Some(StreamName::Header(name.clone())),
            Place::Key | Place::KeyText | Place::Timestamp => None,
        });
        Plan { stream_name, streams, fields, carries: false, has_row_changes, spare: Spare::default() }
    }

    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The event of a record whose values were read.
    pub(super) fn dependent(
        &self,
        origin: &Origin<'_>,
        record: &[u8],
        values: &Values<'_>,
    ) -> Result<Box<Dependent>, Fault> {
        let (stream, plan) = self.stream_of(origin, Some(values))?;
        self.event_of((stream, plan), origin, record, values, false)
    }

    /// Whether records of a stream are changes of rows.
    pub(super) fn is_row_change(&self, stream: StreamId) -> bool {
        self.streams.get(usize::from(stream.0)).is_some_and(|plan| plan.has_row_changes)
    }

    /// The event that a row is, or the end of it.
    pub(super) fn row(
        &self,
        origin: &Origin<'_>,
        stream: StreamId,
        row: &[u8],
        values: &Values<'_>,
        deletes: bool,
    ) -> Result<Box<Dependent>, Fault> {
        self.event_of((stream, self.plan_of(stream)?), origin, row, values, deletes)
    }

    fn plan_of(&self, stream: StreamId) -> Result<&StreamPlan, Fault> {
        self.streams.get(usize::from(stream.0)).ok_or_else(|| {
            Fault::new(RejectedReason::UnknownStream, format!("the job has no stream number {}", stream.0))
        })
    }

    #[inline]
    fn event_of(
        &self,
        (stream, plan): (StreamId, &StreamPlan),
        origin: &Origin<'_>,
        record: &[u8],
        values: &Values<'_>,
        deletes: bool,
    ) -> Result<Box<Dependent>, Fault> {
        if deletes || plan.deletes(values)? {
            return self.deletion((stream, plan), origin, values);
        }
        let arrival = origin.block.arrival;
        let key = plan.key.as_ref().map(|own| own.of(origin.envelope, values)).transpose()?;
        let time = plan.time.as_ref().map(|time| time.of(origin.envelope, values)).transpose()?;
        let order = plan.order.as_ref().map(|(place, entity)| order(place, *entity, values)).transpose()?;
        // Filled in its place: it is large, and would otherwise be copied on every step of the way.
        let mut dependent = self.spare.take(arrival);
        plan.references(arrival, key.as_ref(), values, &mut dependent)?;
        dependent.order = order.map(Box::new);
        let (line_breaks, carried) = (values.has_line_breaks(record), self.carried(origin.envelope));
        let header = EventHeader { id: origin.id, stream, arrival, time, key, line_breaks, carried };
        dependent.event = event(header, record);
        Ok(dependent)
    }

    /// The event of a record that deletes what has its key; nothing else of it need be there.
    fn deletion(
        &self,
        (stream, plan): (StreamId, &StreamPlan),
        origin: &Origin<'_>,
        values: &Values<'_>,
    ) -> Result<Box<Dependent>, Fault> {
        let key = plan.key.as_ref().map(|own| own.of(origin.envelope, values)).transpose()?;
        let time = plan.time.as_ref().and_then(|time| time.of(origin.envelope, values).ok());
        Ok(self.without_value(stream, origin, time, key))
    }

    /// An event without bytes.
    fn without_value(
        &self,
        stream: StreamId,
        origin: &Origin<'_>,
        time: Option<i64>,
        key: Option<Key>,
    ) -> Box<Dependent> {
        let (id, arrival, carried) = (origin.id, origin.block.arrival, self.carried(origin.envelope));
        let header = EventHeader { id, stream, arrival, time, key, line_breaks: false, carried };
        Box::new(Dependent::new(event(header, &[]), arrival))
    }

    /// The event of a record without a value: it deletes the referent of its key.
    pub(super) fn tombstone(&self, origin: &Origin<'_>) -> Result<Box<Dependent>, Fault> {
        let (stream, plan) = self.stream_of(origin, None)?;
        if plan.has_row_changes {
            // The row's deletion came before it.
            return Ok(self.without_value(stream, origin, None, None));
        }
        let text = match &plan.key {
            Some(OwnKey::Field(_)) => false,
            Some(OwnKey::Record { text }) => *text,
            None => {
                let detail =
                    format!("a record without a value deletes a referent, and stream {:?} has no key", plan.name);
                return Err(Fault::new(RejectedReason::InvalidKey, detail));
            }
        };
        let time = match plan.time {
            Some(Time::Record) => Some(origin.envelope.time()?),
            Some(Time::Field(_)) | None => None,
        };
        let key = origin.envelope.key(text)?;
        Ok(self.without_value(stream, origin, time, Some(key)))
    }

    /// What a record carries, where somebody asks for it.
    pub(super) fn carried(&self, envelope: &Envelope<'_>) -> Option<Box<Carried>> {
        if self.carries { envelope.carried() } else { None }
    }

    /// The stream of a record; `values` are those of its value, where it has one.
    pub(super) fn stream_of(
        &self,
        origin: &Origin<'_>,
        values: Option<&Values<'_>>,
    ) -> Result<(StreamId, &StreamPlan), Fault> {
        let unknown = |detail| Fault::new(RejectedReason::UnknownStream, detail);
        if let Some(id) = origin.block.stream {
            return Ok((id, self.plan_of(id)?));
        }
        let (found, describe): (_, &dyn Fn() -> String) = match (&self.stream_name, values) {
            (Some(StreamName::Field(place)), Some(values)) => {
                let value = values.get(place.field);
                let named = values.text(value).and_then(|name| self.stream_named(name));
                (named, &move || format!("`{}` is {}", place.pointer, values.describe(value)))
            }
            (Some(StreamName::Field(place)), None) => {
                (None, &move || format!("`{}` is missing, as the record has no value", place.pointer))
            }
            (Some(StreamName::Header(name)), _) => {
                let value = origin.envelope.header(name);
                let named = value.and_then(|value| self.stream_named(value));
                (named, &move || match value {
                    None => format!("header {name:?} is missing"),
                    Some(value) => format!("header {name:?} is {:?}", cut(&String::from_utf8_lossy(value), 40)),
                })
            }
            (None, _) => return Err(unknown("neither the source nor a field says what stream this is".to_owned())),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.streams.iter().map(|s| s.name.as_str()).collect();
            unknown(format!("{}, not the name of a stream: {}", describe(), names.join(", ")))
        })
    }

    #[inline]
    fn stream_named(&self, name: &[u8]) -> Option<(StreamId, &StreamPlan)> {
        let at = self.streams.iter().position(|s| s.name.as_bytes() == name)?;
        Some((StreamId(u16::try_from(at).ok()?), self.streams.get(at)?))
    }
}

/// All pointers of a stream into its records.
fn pointers(stream: &Stream) -> impl Iterator<Item = &Pointer> {
    let order = stream.ordered_by.as_ref().map(|(pointer, _)| pointer);
    let deleted = stream.upkeep.as_ref().and_then(|upkeep| upkeep.deleted.as_ref());
    let own = stream.key.iter().chain(&stream.time).filter_map(Place::field).chain(order).chain(deleted);
    own.chain(stream.depends_on.iter().map(|dependency| &dependency.by))
}

fn place(pointer: &Pointer, fields: &Fields) -> FieldPlace {
    // Every pointer was given to `Fields::new`; one that was not would find an object and reject the record.
    FieldPlace { field: fields.id(pointer).unwrap_or(FieldId::ROOT), pointer: pointer.to_string() }
}

impl StreamPlan {
    fn new(stream: &Stream, rules: &Rules, fields: &Fields) -> Self {
        let dependencies = stream.depends_on.iter().map(|dependency| DependencyPlan {
            by: place(&dependency.by, fields),
            entity: dependency.entity,
            required: dependency.required,
            wait: dependency.wait,
            looked_up: dependency.mode != Mode::Independent,
            never_itself: never_itself(stream, dependency, rules),
        });
        StreamPlan {
            name: stream.name.clone(),
            key: stream.key.as_ref().map(|at| OwnKey::new(at, fields)),
            time: stream.time.as_ref().map(|at| Time::new(at, fields)),
            order: stream.ordered_by.as_ref().map(|(pointer, entity)| (place(pointer, fields), *entity)),
            dependencies: dependencies.collect(),
            deleted: stream.upkeep.as_ref().and_then(|upkeep| upkeep.deleted.as_ref()).map(|at| place(at, fields)),
            has_row_changes: stream.upkeep.as_ref().is_some_and(|upkeep| upkeep.format == RecordFormat::Debezium),
        }
    }

    /// Whether a record is marked as one that deletes.
    #[inline]
    fn deletes(&self, values: &Values<'_>) -> Result<bool, Fault> {
        let Some(place) = &self.deleted else { return Ok(false) };
        match values.get(place.field) {
            Value::Bool(deletes) => Ok(deletes),
            Value::Absent | Value::Null => Ok(false),
            other => Err(mismatch(RejectedReason::InvalidChange, &place.pointer, other, values, "true or false")),
        }
    }

    /// Adds what the record refers to.
    fn references(
        &self,
        arrival: Timestamp,
        own: Option<&Key>,
        values: &Values<'_>,
        dependent: &mut Dependent,
    ) -> Result<(), Fault> {
        for (index, dependency) in self.dependencies.iter().enumerate() {
            let value = values.get(dependency.by.field);
            let elements = match value {
                Value::Absent | Value::Null if !dependency.required => continue,
                Value::Array => values.elements(dependency.by.field),
                _ => std::slice::from_ref(&value),
            };
            let is_array = value == Value::Array;
            let deadline = dependency.wait.map_or(Timestamp::MAX, |wait| arrival.after(wait));
            if dependency.looked_up {
                // At most `DEPENDENCIES_MAX` of them: one bit each.
                dependent.present |= 1 << index;
                dependent.arrays |= u64::from(is_array) << index;
                dependent.references.reserve(elements.len());
            }
            for (position, &element) in elements.iter().enumerate() {
                let at = is_array.then_some(position);
                let Some(key) = values.key(element) else { return Err(dependency.no_reference(at, element, values)) };
                if dependency.never_itself && own == Some(&key) {
                    return Err(dependency.self_reference(at, &key));
                }
                if dependency.looked_up {
                    dependent.references.push(Reference {
                        hash: key.hash(dependency.entity),
                        key,
                        entity: dependency.entity,
                        dependency: index as u16,
                        deadline,
                        overdue: false,
                        found: Found::Unknown,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Whether the dependency needs its referent resolved, and the referents are of what the stream's events provide themselves. In every mode, so that
/// what is rejected does not depend on it.
fn never_itself(stream: &Stream, dependency: &Dependency, rules: &Rules) -> bool {
    let entity = rules.entities().get(usize::from(dependency.entity.0));
    let original = entity.and_then(|entity| entity.resolved_of).unwrap_or(dependency.entity);
    dependency.need == Need::Resolved && stream.provides == Some(original)
}

impl DependencyPlan {
    /// The pointer of the reference: of one element where it is one of an array.
    fn pointer(&self, position: Option<usize>) -> String {
        position.map_or_else(|| self.by.pointer.clone(), |position| format!("{}/{position}", self.by.pointer))
    }

    #[cold]
    fn no_reference(&self, position: Option<usize>, value: Value<'_>, values: &Values<'_>) -> Fault {
        let expected = if position.is_some() {
            INTEGER_OR_STRING
        } else {
            "an integer within 64 bits, a string, or an array of them"
        };
        mismatch(RejectedReason::InvalidReference, &self.pointer(position), value, values, expected)
    }

    #[cold]
    fn self_reference(&self, position: Option<usize>, key: &Key) -> Fault {
        let detail = format!(
            "`{}` is {key}, the event's own key, which can never be resolved before it",
            self.pointer(position)
        );
        Fault::new(RejectedReason::SelfReference, detail)
    }
}

const INTEGER_OR_STRING: &str = "an integer within 64 bits or a string";

#[cold]
fn mismatch(reason: RejectedReason, pointer: &str, value: Value<'_>, values: &Values<'_>, expected: &str) -> Fault {
    Fault::new(reason, format!("`{pointer}` is {}, expected {expected}", values.describe(value)))
}

impl OwnKey {
    fn new(at: &Place, fields: &Fields) -> OwnKey {
        match at {
            Place::Field(pointer) => OwnKey::Field(place(pointer, fields)),
            Place::KeyText => OwnKey::Record { text: true },
            // A configuration gives no other part.
            Place::Key | Place::Timestamp | Place::Header(_) => OwnKey::Record { text: false },
        }
    }

    #[inline]
    fn of(&self, envelope: &Envelope<'_>, values: &Values<'_>) -> Result<Key, Fault> {
        match self {
            OwnKey::Field(place) => key(place, values),
            OwnKey::Record { text } => envelope.key(*text),
        }
    }
}

impl Time {
    fn new(at: &Place, fields: &Fields) -> Time {
        match at.field() {
            Some(pointer) => Time::Field(place(pointer, fields)),
            None => Time::Record,
        }
    }

    #[inline]
    fn of(&self, envelope: &Envelope<'_>, values: &Values<'_>) -> Result<i64, Fault> {
        match self {
            Time::Field(place) => time(place, values),
            Time::Record => envelope.time(),
        }
    }
}

#[inline]
fn key(place: &FieldPlace, values: &Values<'_>) -> Result<Key, Fault> {
    let value = values.get(place.field);
    values
        .key(value)
        .ok_or_else(|| mismatch(RejectedReason::InvalidKey, &place.pointer, value, values, INTEGER_OR_STRING))
}

fn order(place: &FieldPlace, entity: EntityId, values: &Values<'_>) -> Result<Order, Fault> {
    let value = values.get(place.field);
    let key = values
        .key(value)
        .ok_or_else(|| mismatch(RejectedReason::InvalidOrder, &place.pointer, value, values, INTEGER_OR_STRING))?;
    let hash = key.hash(entity);
    Ok(Order { key, hash, ticket: 0 })
}

/// Milliseconds since the Unix epoch.
fn time(place: &FieldPlace, values: &Values<'_>) -> Result<i64, Fault> {
    let value = values.get(place.field);
    let milliseconds = match value {
        Value::Signed(milliseconds) => Some(milliseconds),
        Value::Unsigned(milliseconds) => i64::try_from(milliseconds).ok(),
        value => values.text(value).and_then(|text| str::from_utf8(text).ok()).and_then(rfc_3339),
    };
    milliseconds.ok_or_else(|| {
        let expected = "milliseconds since 1970 as an integer, or an RFC 3339 time such as \"2026-01-31T09:30:00Z\"";
        mismatch(RejectedReason::InvalidTime, &place.pointer, value, values, expected)
    })
}

fn rfc_3339(text: &str) -> Option<i64> {
    text.parse().ok().map(jiff::Timestamp::as_millisecond)
}
