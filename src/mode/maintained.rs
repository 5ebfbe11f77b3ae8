//! Maintained results (`emit = "changes"`): the resolved events as a collection that follows its input, by differential dataflow.
//!
//! ```text
//!            ┌── Table ──┐   rows (events that want a result) ──┐
//! events ───►│ who is    │   versions (current, by key) ────────┼─► join ─ complete ─┬─► results ──► Table ──► changes
//! ticks  ───►│ here now  │   settled (resolved once and for all)┘    ▲               │
//!            └───────────┘                                          └─ need = "resolved" ─┘ least fixed point
//! ```
//!
//! * [`Table`] is the plain half: one worker's shards of all that is here. It decides which version of a key is current, what a deletion and a deadline
//!   do, and which of the results that come back are told. It knows neither timely nor a clock.
//! * `judge` is what the passing of time does to it, `results` what the results that come back do; `waits` tells which waits end in a cycle.
//! * `dataflow` is the differential half: from the rows, versions and settled events that the table adds and takes away to the results that follow.
//! * [`Snapshot`] is what waits, out of the state of a job, for those who look at it from outside.
//! * `store` is how what is here lies in the state. It is written with each epoch, so that a start reads what is here and nothing of the input again.
//! * [`crate::mode::reference::maintained`] is the same from scratch, slow and plain, which tests hold the rest against.
//!
//! # What a result is
//!
//! At the end of an epoch an event that is here has a result if each of its references has found the version of its referent that is current then, or was
//! given up (`partial`). With `need = "resolved"` the referent must have a result, too, in which nothing was given up: the results are the *least*
//! collection of which that is true, so that events that need each other have none.
//!
//! An event is here from its arrival until another version or a deletion of its key comes (`updates = "replace"`), until its wait ends without a result,
//! or until the last of its waits is over and it has one (*cut-offs*). In the last case its result stands and is not revised any more. Where it is still the version of
//! its key, others go on to refer to it until it is replaced, deleted, or forgotten (`retain`). Forgetting revises nothing, since a configuration
//! with `retain` bounds the waits of all that refer to the entity: they have left before.
//!
//! Cut-offs happen at the beginning of an epoch, by what results there were at the end of the one before. So does the judgement of who waited in a cycle.
//!
//! # What the dataflow moves
//!
//! Rows are small: an identity that is compared and a pointer to the event that is not. Keys compare by their hash before their bytes. References of all
//! dependencies are one collection, which is arranged once and joined with one arrangement of versions; an event with a single reference is complete
//! with what the join gives, others are reduced by event. What goes two ways is split and not copied, and joins do not consolidate what they give.
//!
//! What is here is larger than the caches, so that most of the time goes by waiting for memory. Before the table takes in events, results are told, lines are
//! written and rows are put into the state, what that needs is therefore looked at in loops that do nothing else (as in `mode/preload.rs`), and what rows are asked
//! for stands in them. Arrangements are brought into one piece when much lies beside the largest one, and not with each epoch.
//!
//! One epoch is one time. Since the intake hands out an epoch only when the one before has gone through everywhere, the table knows at each tick what the
//! results of the epoch before were, and nobody sees half of one.

mod dataflow;
mod entry;
mod judge;
mod oldest;
mod results;
mod settings;
mod snapshot;
mod store;
mod table;
mod waits;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use dataflow::{configure, maintain};
pub use judge::FORGET_GRACE;
pub use settings::{Facts, Limits, PATIENCE, Room};
pub use snapshot::Snapshot;
pub use store::{StoredRow, restore};
pub use table::{Effects, Table};

use super::{Message, Name, Visit};
use crate::dependency::{Rules, Stream, Updates};
use crate::event::{Dependent, EntityId, Event, EventId, Found, Key, KeyHash, ResultIdentity, Timestamp};

/// A version of a referent, for those that refer to it. Compared by its position.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    id: EventId,
    /// It is not there for events that arrive then or later.
    until: Timestamp,
    /// The referent.
    #[serde(with = "crate::event::shared_event")]
    pub event: Event,
}

impl Version {
    fn of(rules: &Rules, event: &Event) -> Version {
        Version { id: event.header.header.id, until: super::arrival::until(rules, event), event: event.clone() }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Version {}

/// An event that wants a result. Compared by its position, and by what the table may change of it.
///
/// What is asked of every row is here, though its event knows most of it: that has mostly left the caches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    id: EventId,
    dependent: Arc<Dependent>,
    /// How many references it has.
    references: u32,
    standing: Standing,
}

/// How many references of a row were given up, whether some of the others are to resolved events, and whether it is the current version of its key (an
/// earlier one that stays, by `append`, resolves nobody): in one word, which keeps rows to half a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Standing(u32);

impl Standing {
    const CURRENT: u32 = 1;
    const TRANSITIVE: u32 = 2;

    /// A record has less than 2^30 references: each is two bytes of it at least, and `max_record` is 2^30 bytes at most.
    fn new(given_up: u32, is_transitive: bool, is_current: bool) -> Standing {
        let flag = |is: bool, flag| if is { flag } else { 0 };
        Standing(given_up << 2 | flag(is_transitive, Standing::TRANSITIVE) | flag(is_current, Standing::CURRENT))
    }
}

impl Row {
    fn new(rules: &Rules, dependent: &Arc<Dependent>, is_current: bool) -> Row {
        let (mut given_up, mut is_transitive) = (0_u32, false);
        for reference in &dependent.references {
            if matches!(reference.found, Found::GivenUp) {
                given_up += 1;
            } else {
                is_transitive |= rules.entity(reference.entity).resolved_of.is_some();
            }
        }
        let id = dependent.event.header.header.id;
        // Where nobody needs its events resolved, this makes no difference.
        let is_current = is_current && rules.stream(dependent.event.header.header.stream).provides_resolved.is_some();
        let references = u32::try_from(dependent.references.len()).unwrap_or(u32::MAX);
        let standing = Standing::new(given_up, is_transitive, is_current);
        Row { id, dependent: Arc::clone(dependent), references, standing }
    }

    /// References that were given up.
    fn given_up(&self) -> u32 {
        self.standing.0 >> 2
    }

    /// References that are looked for.
    fn needed(&self) -> u32 {
        self.references - self.given_up()
    }

    fn is_transitive(&self) -> bool {
        self.standing.0 & Standing::TRANSITIVE != 0
    }

    fn is_current(&self) -> bool {
        self.standing.0 & Standing::CURRENT != 0
    }

    /// Whether it takes a version: one that was forgotten when it arrived is not for it.
    fn takes(&self, version: &Version) -> bool {
        version.until == Timestamp::MAX || self.dependent.event.header.header.arrival < version.until
    }

    /// What its result makes of it for those that need it resolved.
    fn twin(&self, rules: &Rules) -> Option<(Name, Version)> {
        if !self.is_current() || self.given_up() > 0 {
            return None;
        }
        twin(rules, &self.dependent.event)
    }

    fn identity(&self) -> (EventId, Standing) {
        (self.id, self.standing)
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Row {}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// What an event has found: for each of its references the version, or none.
pub(super) type FoundVersions = Arc<[Option<Version>]>;

/// What a row has come to. Compared by positions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resolution {
    row: Row,
    found: FoundVersions,
    /// Whether that is all: it is a result then. Otherwise it only tells what is there so far.
    is_complete: bool,
}

impl Resolution {
    /// Whether the row is the current version makes no other result of it.
    fn identity(&self) -> (EventId, u32, bool, &[Option<Version>]) {
        (self.row.id, self.row.given_up(), self.is_complete, &self.found)
    }
}

impl Ord for Resolution {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl PartialOrd for Resolution {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Resolution {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Resolution {}

/// The name that an event has as a referent.
fn name(rules: &Rules, event: &Event) -> Option<Name> {
    let header = &event.header.header;
    let (entity, key) = (rules.stream(header.stream).provides?, header.key.as_ref()?);
    Some(named(entity, key))
}

/// The name and version that an event is for those that need it resolved.
fn twin(rules: &Rules, event: &Event) -> Option<(Name, Version)> {
    let header = &event.header.header;
    let (entity, key) = (rules.stream(header.stream).provides_resolved?, header.key.as_ref()?);
    Some((named(entity, key), Version::of(rules, event)))
}

fn named(entity: EntityId, key: &Key) -> Name {
    Name { entity, key: key.clone(), hash: key.hash(entity) }
}

/// Whether events of its stream can be referred to.
fn may_be_referred_to(rules: &Rules, event: &Event) -> bool {
    stream_may_be_referred_to(rules, rules.stream(event.header.header.stream))
}

fn stream_may_be_referred_to(rules: &Rules, stream: &Stream) -> bool {
    stream.provides.into_iter().chain(stream.provides_resolved).any(|entity| rules.entity(entity).streaming)
}

/// Whether the present referents of an entity are all here, as long as they are remembered. `entity` may be that of resolved events.
pub fn keeps_referents(rules: &Rules, entity: EntityId) -> bool {
    let plain = rules.entity(entity).resolved_of.unwrap_or(entity);
    let mut providing = rules.streams().iter().filter(|stream| stream.provides == Some(plain));
    providing.all(|stream| stream_replaces(stream) || stream_may_be_referred_to(rules, stream))
}

/// Whether later versions of an event take its place.
fn is_replaced(rules: &Rules, event: &Event) -> bool {
    stream_replaces(rules.stream(event.header.header.stream))
}

fn stream_replaces(stream: &Stream) -> bool {
    stream.upkeep.as_ref().is_some_and(|upkeep| upkeep.updates == Updates::Replace)
}

/// How the result of an event is known.
fn identity(rules: &Rules, event: &Event) -> ResultIdentity {
    let header = &event.header.header;
    match (rules.stream(header.stream).provides, &header.key) {
        (Some(entity), Some(key)) if is_replaced(rules, event) => ResultIdentity::Key(entity, key.clone()),
        _ => ResultIdentity::Position,
    }
}

/// What decides which worker an event belongs to: its key, so that its versions meet; of an event without one, its position.
fn home(rules: &Rules, event: &Event) -> KeyHash {
    let header = &event.header.header;
    match (rules.stream(header.stream).provides, &header.key) {
        (Some(entity), Some(key)) => key.hash(entity),
        _ => Key::unsigned(header.id.offset ^ u64::from(header.id.partition.0) << 40).hash(EntityId(0)),
    }
}

/// Sends an event to the worker that it belongs to.
pub fn route(rules: &Rules, dependent: Box<Dependent>, workers: usize) -> Message {
    Message { to: home(rules, &dependent.event).owner(workers), visit: Visit::Dependent(dependent) }
}
