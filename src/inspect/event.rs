//! One event: whether it waits, and for what.

use serde::Serialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::key::ReferentStatus;
use super::report::{JsonKey, Residence, Time};
use super::{InspectError, Inspector};
use crate::dependency::{Dependency, Mode, OnExpiry};
use crate::event::{Dependent, EventId, Found, PartitionId, Reference, Timestamp};
use crate::mode::{lacks_deferred, next_deadline};

/// A text is no position of this job.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PositionError {
    /// It is not made as positions are.
    #[error("`{0}` is no position: give it as outcomes do, PATH:OFFSET, such as updates.jsonl:1823")]
    Malformed(String),
    /// The job has never read that partition.
    #[error("the job has never read `{name}`; it has read {known}")]
    UnknownPartition {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

/// What is known of the event at a position.
#[derive(Debug, Serialize)]
pub struct EventReport {
    /// The time of the question.
    pub at: Time,
    /// Its position.
    pub position: String,
    /// What became of it.
    #[serde(flatten)]
    pub status: EventStatus,
}

/// What became of an event.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum EventStatus {
    /// It waits.
    Waiting(Box<WaitingEvent>),
    /// Its position has been read, and nothing waits: its outcome is written, if a record begins there.
    Ended,
    /// Its position has not been read.
    NotRead {
        /// How far its partition has been read.
        read_to: u64,
    },
}

/// A waiting event in full.
#[derive(Debug, Serialize)]
pub struct WaitingEvent {
    /// Its stream.
    pub stream: String,
    /// Its own key, where its stream has one.
    pub key: Option<JsonKey>,
    /// When it arrived.
    pub since: Time,
    /// The earliest deadline among what it lacks; `None` is for ever.
    pub until: Option<Time>,
    /// `deferred` where it lacks a deferred reference, `streaming` where it does not.
    pub mode: &'static str,
    /// Where it is.
    pub waits_in: Residence,
    /// Whether it was accepted for a deferred wait, with a notice where there is a sink for that.
    pub accepted: bool,
    /// All its references, those of one dependency together.
    pub references: Vec<ReferenceReport>,
    /// Its place in the queue of its `ordered_by` value.
    pub turn: Option<Turn>,
    /// The event as read.
    pub event: Option<Box<RawValue>>,
}

/// One reference of a waiting event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReferenceReport {
    /// The dependency that it is one of.
    pub dependency: String,
    /// The entity referred to.
    pub entity: String,
    /// The key referred to.
    pub key: JsonKey,
    /// How it waits.
    pub mode: &'static str,
    /// What must have become of the referent.
    pub need: &'static str,
    /// What was found.
    #[serde(flatten)]
    pub status: ReferenceStatus,
}

/// What was found when an event last asked for a referent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum ReferenceStatus {
    /// Nothing.
    Missing {
        /// When the wait for it ends; `None` is never.
        until: Option<Time>,
        /// What happens then, as `on_expiry` names it.
        then: Option<&'static str>,
        /// Whether its first deadline has passed and it waits on.
        overdue: bool,
        /// What the state knows of it now.
        referent: ReferentStatus,
    },
    /// The referent, which the event carries.
    Present {
        /// The position of the referent.
        position: String,
    },
    /// Nothing, and it was given up (`on_expiry = "partial"`).
    GivenUp,
}

/// A place in the queue of an `ordered_by` value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// The value.
    pub value: JsonKey,
    /// Waiting events of the stream with the same value that go first.
    pub ahead: u64,
    /// The first of them.
    pub first: Option<String>,
}

impl Inspector {
    /// The event of a position as outcomes have it: `path:offset`.
    ///
    /// # Errors
    ///
    /// It is none, or of a partition that the job has never read.
    pub fn event_id(&self, position: &str) -> Result<EventId, PositionError> {
        let malformed = || PositionError::Malformed(position.to_owned());
        let (name, offset) = position.rsplit_once(':').ok_or_else(malformed)?;
        let offset = offset.parse().map_err(|_| malformed())?;
        let names = self.committed.partitions.names();
        match names.iter().zip(0..).find(|(known, _)| &***known == name) {
            Some((_, partition)) => Ok(EventId { partition: PartitionId(partition), offset }),
            None => {
                let known: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                let known = if known.is_empty() { "nothing yet".to_owned() } else { known.join(", ") };
                Err(PositionError::UnknownPartition { name: name.to_owned(), known })
            }
        }
    }

    /// What is known of one event. For one with `ordered_by` every waiting event is read, otherwise that one and the keys of some others.
    ///
    /// # Errors
    ///
    /// The state does not answer, or holds something else than was written.
    pub fn event(&self, id: EventId) -> Result<EventReport, InspectError> {
        let read_to = self.committed.positions.0.get(&id.partition).copied().unwrap_or_default();
        let status = match self.find_waiting(id)? {
            Some(dependent) => EventStatus::Waiting(Box::new(self.waiting_event(&dependent)?)),
            None if id.offset < read_to => EventStatus::Ended,
            None => EventStatus::NotRead { read_to },
        };
        Ok(EventReport { at: Time(self.now), position: self.position(id), status })
    }

    fn waiting_event(&self, dependent: &Dependent) -> Result<WaitingEvent, InspectError> {
        let header = &dependent.event.header.header;
        let stream = self.rules.stream(header.stream);
        let mut references = Vec::with_capacity(dependent.references.len());
        for reference in &dependent.references {
            // References are restored by their dependency's rule, so there is one.
            if let Some(rule) = stream.depends_on.get(usize::from(reference.dependency)) {
                references.push(self.reference(rule, reference)?);
            }
        }
        Ok(WaitingEvent {
            stream: stream.name.clone(),
            key: header.key.clone().map(JsonKey),
            since: Time(header.arrival),
            until: next_deadline(dependent).map(Time),
            mode: if lacks_deferred(&self.rules, dependent) { Mode::Deferred } else { Mode::Streaming }.as_str(),
            waits_in: self.residence(dependent),
            accepted: dependent.accepted,
            references,
            turn: self.turn(dependent)?,
            event: serde_json::from_slice(&dependent.event.slice).ok(),
        })
    }

    fn reference(&self, rule: &Dependency, reference: &Reference) -> Result<ReferenceReport, InspectError> {
        let present = match &reference.found {
            Found::Kept => self.find_referent(reference.entity, &reference.key)?.map(|(id, _)| id),
            Found::Present(event) => Some(event.header.header.id),
            Found::Missing | Found::Unknown | Found::GivenUp => None,
        };
        let status = match (present, &reference.found) {
            (Some(id), _) => ReferenceStatus::Present { position: self.position(id) },
            (None, Found::GivenUp) => ReferenceStatus::GivenUp,
            (None, _) => {
                let until = (reference.deadline < Timestamp::MAX).then_some(Time(reference.deadline));
                ReferenceStatus::Missing {
                    until,
                    then: until.map(|_| fate(rule.on_expiry, reference.overdue)),
                    overdue: reference.overdue,
                    referent: self.referent(reference.entity, &reference.key)?,
                }
            }
        };
        Ok(ReferenceReport {
            dependency: rule.name.clone(),
            entity: self.rules.entity(rule.entity).name.clone(),
            key: JsonKey(reference.key.clone()),
            mode: rule.mode.as_str(),
            need: rule.need.as_str(),
            status,
        })
    }

    fn turn(&self, dependent: &Dependent) -> Result<Option<Turn>, InspectError> {
        let Some(order) = &dependent.order else { return Ok(None) };
        let stream = dependent.event.header.header.stream;
        let (mut ahead, mut first) = (0, None);
        self.each_waiting(|other| {
            let header = &other.event.header.header;
            let Some(place) = other.order.as_ref().filter(|_| header.stream == stream) else { return };
            if place.key == order.key && place.ticket < order.ticket {
                ahead += 1;
                first =
                    Some(first.map_or((place.ticket, header.id), |first: (u64, EventId)| {
                        first.min((place.ticket, header.id))
                    }));
            }
        })?;
        let first = first.map(|(_, id)| self.position(id));
        Ok(Some(Turn { value: JsonKey(order.key.clone()), ahead, first }))
    }
}

/// What a deadline does, as it is configured.
fn fate(on_expiry: OnExpiry, overdue: bool) -> &'static str {
    match on_expiry {
        OnExpiry::Defer { then, .. } if overdue => then.as_str(),
        first => first.as_str(),
    }
}
