//! One key: whether its referent is there, and who waits for it.

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::report::{JsonKey, Time, Waiter};
use super::select::Least;
use super::{InspectError, Inspector, Short, Waits};
use crate::dependency::Rules;
use crate::event::{EntityId, Key};
use crate::mode::maintained::keeps_referents;

/// A text is no key of this job.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It names no entity.
    #[error("`{found}` begins with no entity of this job: give it as ENTITY/KEY; the entities are {known}")]
    UnknownEntity {
        /// What was asked for.
        found: String,
        /// What there is.
        known: String,
    },
    /// It names an entity and no key.
    #[error("`{0}` is an entity and no key of it: give both as ENTITY/KEY, such as {0}/17")]
    NoKey(String),
    /// What follows the entity is no key.
    #[error("`{0}` is no key: give an integer (17), a JSON string (\"17\"), or plain text that is neither (seventeen)")]
    Malformed(String),
}

/// An entity and a key of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRequest {
    /// The entity, as users name it.
    pub entity: EntityId,
    /// The key.
    pub key: Key,
}

impl KeyRequest {
    /// Reads `ENTITY/KEY`. The key is an integer or a string in JSON; what is not JSON is taken as a string as it stands, so that only strings that look
    /// like numbers, or begin with a quotation mark, need quotation marks. Where names of entities have slashes the longest one that fits is meant.
    ///
    /// # Errors
    ///
    /// No entity of the job fits, or there is no key.
    pub fn parse(rules: &Rules, text: &str) -> Result<KeyRequest, KeyError> {
        let plain = || {
            (0..).map(EntityId).zip(rules.entities()).filter(|(_, e)| e.resolved_of.is_none() && e.order_of.is_none())
        };
        let rest_of = |name: &str| text.strip_prefix(name)?.strip_prefix('/');
        let fits = plain().filter_map(|(id, entity)| Some((entity.name.len(), id, rest_of(&entity.name)?)));
        let Some((_, entity, rest)) = fits.max() else {
            if plain().any(|(_, entity)| entity.name == text) {
                return Err(KeyError::NoKey(text.to_owned()));
            }
            let known: Vec<&str> = plain().map(|(_, entity)| entity.name.as_str()).collect();
            return Err(KeyError::UnknownEntity { found: text.to_owned(), known: known.join(", ") });
        };
        let malformed = || KeyError::Malformed(rest.to_owned());
        let key = match serde_json::from_str(rest) {
            Ok(Value::String(text)) => Key::text(&text),
            Ok(Value::Number(number)) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Key::Int(value),
                (None, Some(value)) => Key::Big(value),
                (None, None) => return Err(malformed()),
            },
            _ if rest.is_empty() || rest.starts_with('"') => return Err(malformed()),
            _ => Key::text(rest),
        };
        Ok(KeyRequest { entity, key })
    }
}

/// What is known of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    /// The time of the question.
    pub at: Time,
    /// The entity.
    pub entity: String,
    /// The key.
    pub key: JsonKey,
    /// Whether an event that provides it has arrived.
    pub arrived: ReferentStatus,
    /// Whether one is resolved; `None` where no dependency needs that.
    pub resolved: Option<ReferentStatus>,
    /// Events that wait for it.
    pub waiting: u64,
    /// Those of them that have waited longest.
    pub first: Vec<Waiter>,
    /// Events that provide it and wait themselves, in the order of their arrival: what needs it resolved waits for one of them.
    pub provided_by: Vec<Waiter>,
}

/// What the state knows of a referent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ReferentStatus {
    /// The state has it.
    Here {
        /// Its position.
        position: String,
        /// When it arrived.
        since: Time,
    },
    /// It has not come, or was forgotten (`retain`).
    Absent,
    /// The job keeps the referents of this entity in its memory, where nobody else can look.
    InMemory,
    /// Nothing looks for referents of this entity, so they are not kept.
    NotKept,
}

impl Inspector {
    /// What is known of one key, with up to `limit` of those that wait for it. Reads every waiting event.
    ///
    /// # Errors
    ///
    /// The state does not answer, or holds something else than was written.
    pub fn key(&self, request: &KeyRequest, limit: usize) -> Result<KeyReport, InspectError> {
        let KeyRequest { entity, key } = request;
        let twin = (0..).map(EntityId).zip(self.rules.entities()).find(|(_, e)| e.resolved_of == Some(*entity));
        let (mut waiting, mut first, mut provided_by) = (0, Least::new(limit), Least::new(limit));
        self.each_waiting(|dependent| {
            let header = &dependent.event.header.header;
            if dependent.missing().any(|r| r.key == *key && self.named(r.entity) == *entity) {
                waiting += 1;
                first.add(Short::of(dependent));
            }
            if header.key.as_ref() == Some(key) && self.rules.stream(header.stream).provides == Some(*entity) {
                provided_by.add(Short::of(dependent));
            }
        })?;
        let show = |least: Least<Short>| least.into_sorted().into_iter().map(|short| self.waiter(short)).collect();
        Ok(KeyReport {
            at: Time(self.now),
            entity: self.rules.entity(*entity).name.clone(),
            key: JsonKey(key.clone()),
            arrived: self.referent(*entity, key)?,
            resolved: twin.map(|(twin, _)| self.referent(twin, key)).transpose()?,
            waiting,
            first: show(first),
            provided_by: show(provided_by),
        })
    }

    /// What the state knows of the referent of a key.
    pub(super) fn referent(&self, entity: EntityId, key: &Key) -> Result<ReferentStatus, InspectError> {
        let rule = self.rules.entity(entity);
        if let Some((id, arrival)) = self.find_referent(entity, key)? {
            return Ok(ReferentStatus::Here { position: self.position(id), since: Time(arrival) });
        }
        let is_known = matches!(self.waits, Waits::Maintained(_)) && keeps_referents(&self.rules, entity);
        Ok(match (rule.deferred || is_known, rule.streaming) {
            (true, _) => ReferentStatus::Absent,
            (false, true) => ReferentStatus::InMemory,
            (false, false) => ReferentStatus::NotKept,
        })
    }
}
