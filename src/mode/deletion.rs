//! Tombstones: a referent is deleted.
//!
//! A tombstone is a version of its referent like any other, and takes its place among them by the same rule. It hides what was sent before it from
//! events that are read after it. Who was read before it, or in the same block, is still given that: within an epoch it may not have asked yet, the
//! referent may be given to it in slices over many epochs, and it may wait for a referent to be resolved that was sent before it was deleted. So a
//! version that a tombstone hides stays at hand to the end of the epoch, and as long as it is being given to anybody; then also in the state, where
//! nobody else would find it after a crash.
//!
//! # How long a tombstone is remembered
//!
//! As long as something may come that it hides. A lower position of its own partition comes within its epoch, and so does every earlier arrival of
//! another one. Only two kinds of versions come later: those that are resolved late, where `need = "resolved"` refers to them, and those of another
//! partition with a lesser `time`, where the tombstone has a time too. For these it is remembered for a day (as long as Kafka itself keeps tombstones
//! of a compacted topic, by default) and for the longest `wait` of the streams that provide the entity; where one of them may wait for ever, for ever.
//! Like a referent it then counts as memory, and moves to the state where that is short.
//!
//! Where a key is deleted again while an older version of it still waits to be resolved, that stays hidden from those who came after the first tombstone,
//! unless a version between the two was resolved. A restart that reads all of them again cannot tell when that was: who was read between the two
//! tombstones, and still waits, may then be given the older version when that is resolved at last.

use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::dependency::{Dependency, Mode, OnExpiry, Rules, SecondExpiry};
use crate::event::{EntityId, Event, EventId, Key, KeyHash, Timestamp, event, event_bytes, shared_event};

use super::arrival::{self, Drain};
use super::engine::{Engine, Phase};
use super::{Effects, Referent};

/// For how long versions are expected that are late for another reason than a `wait`.
const LATE: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether a version of a referent is a tombstone.
pub(super) fn deletes(version: &Event) -> bool {
    version.slice.first().is_none_or(|first| *first == AGAIN)
}

/// The first of the bytes of a tombstone that is remembered beside another one, which no JSON begins with; behind it, since when the key has no referent.
const AGAIN: u8 = 0;

/// Since when a tombstone's key has had no referent.
fn deleted_at(tombstone: &Event) -> Timestamp {
    let since = tombstone.slice.get(1..).and_then(|since| since.first_chunk::<8>());
    since.map_or(tombstone.header.header.arrival, |since| Timestamp(i64::from_be_bytes(*since)))
}

/// A tombstone beside another one of its key: what that hid stays hidden from those who came after it.
fn beside(tombstone: &Event, other: &Event) -> Event {
    let mut bytes = vec![AGAIN];
    bytes.extend_from_slice(&deleted_at(tombstone).min(deleted_at(other)).0.to_be_bytes());
    event(tombstone.header.header.clone(), &bytes)
}

/// A version of a referent that a tombstone hides.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hidden {
    /// The entity it was provided as.
    pub entity: EntityId,
    /// The hash of its key there.
    pub hash: KeyHash,
    /// The version; its header has the key.
    #[serde(with = "shared_event")]
    pub event: Event,
    /// It is there for events that arrived before this time.
    pub until: Timestamp,
    /// Whether the state says so.
    pub noted: bool,
}

impl Hidden {
    fn bytes(&self) -> usize {
        size_of::<((EntityId, KeyHash), Vec<Hidden>)>() + size_of::<Hidden>() + event_bytes(&self.event)
    }

    fn id(&self) -> EventId {
        self.event.header.header.id
    }
}

/// How long the events that provide an entity may wait before they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Waits {
    Never,
    AtMost(Duration),
    ForEver,
}

/// What a worker knows of deletions besides the tombstones in its table.
#[derive(Debug)]
pub(super) struct Deletions {
    /// By entity.
    waits: Vec<Waits>,
    /// Keys whose tombstone need not be remembered beyond this epoch.
    passing: Vec<(EntityId, KeyHash, Key)>,
    hidden: FxHashMap<(EntityId, KeyHash), Vec<Hidden>>,
    bytes: usize,
}

impl Deletions {
    pub(super) fn new(rules: &Rules) -> Self {
        let entities = (0u16..).take(rules.entities().len()).map(EntityId);
        Deletions {
            waits: entities.map(|entity| waits(rules, entity)).collect(),
            passing: Vec::new(),
            hidden: FxHashMap::default(),
            bytes: 0,
        }
    }

    /// Memory of the versions that are hidden.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes back what was hidden when an earlier run stopped.
    pub(super) fn restore(&mut self, hidden: Hidden) {
        self.add(hidden);
    }

    fn add(&mut self, hidden: Hidden) {
        let of_key = self.hidden.entry((hidden.entity, hidden.hash)).or_default();
        if of_key.iter().all(|known| known.id() != hidden.id()) {
            self.bytes += hidden.bytes();
            of_key.push(hidden);
        }
    }

    /// When a version is hidden; [`Timestamp::MAX`] for one that is not.
    pub(super) fn until(&self, entity: EntityId, hash: KeyHash, version: &Event) -> Timestamp {
        if self.hidden.is_empty() {
            return Timestamp::MAX;
        }
        let of_key = self.hidden.get(&(entity, hash)).into_iter().flatten();
        let until = of_key.filter(|hidden| hidden.id() == version.header.header.id).map(|hidden| hidden.until);
        until.min().unwrap_or(Timestamp::MAX)
    }

    /// The version that a tombstone hides from others than those who arrived at `arrival`.
    pub(super) fn find(
        &self,
        rules: &Rules,
        arrival: Timestamp,
        (entity, hash): (EntityId, KeyHash),
        key: &Key,
    ) -> Option<Event> {
        if self.hidden.is_empty() {
            return None;
        }
        let of_key = self.hidden.get(&(entity, hash))?;
        let for_it = |hidden: &&Hidden| arrival < hidden.until && !arrival::is_forgotten(rules, &hidden.event, arrival);
        let same_key = |hidden: &&Hidden| hidden.event.header.header.key.as_ref() == Some(key);
        of_key.iter().filter(same_key).rfind(for_it).map(|hidden| hidden.event.clone())
    }

    /// Until when a referent, or the tombstone of one, is kept.
    pub(super) fn kept_until(&self, rules: &Rules, entity: EntityId, event: &Event) -> Timestamp {
        if deletes(event) {
            return self.remembered_until(entity, event).unwrap_or(event.header.header.arrival);
        }
        arrival::until(rules, event)
    }

    /// Until when a tombstone is remembered; `None` where its own epoch is enough.
    fn remembered_until(&self, entity: EntityId, tombstone: &Event) -> Option<Timestamp> {
        let header = &tombstone.header.header;
        match self.waits.get(usize::from(entity.0)) {
            Some(Waits::ForEver) => Some(Timestamp::MAX),
            Some(Waits::AtMost(longest)) => Some(header.arrival.after(*longest).after(LATE)),
            Some(Waits::Never) | None => header.time.map(|_| header.arrival.after(LATE)),
        }
    }
}

/// How long events may wait that become referents of an entity when they are resolved.
fn waits(rules: &Rules, entity: EntityId) -> Waits {
    let provide = rules.streams().iter().filter(|stream| stream.provides_resolved == Some(entity));
    provide.flat_map(|stream| &stream.depends_on).map(longest).max().unwrap_or(Waits::Never)
}

fn longest(rule: &Dependency) -> Waits {
    match (rule.mode, rule.wait, rule.on_expiry) {
        (Mode::Independent, ..) => Waits::Never,
        (_, Some(wait), OnExpiry::DeadLetter | OnExpiry::Drop | OnExpiry::Partial) => Waits::AtMost(wait),
        (_, Some(_), OnExpiry::Defer { then: SecondExpiry::Keep, .. }) => Waits::ForEver,
        (_, Some(wait), OnExpiry::Defer { wait: Some(second), .. }) => Waits::AtMost(wait.saturating_add(second)),
        (_, None, _) | (_, _, OnExpiry::Keep | OnExpiry::Defer { wait: None, .. }) => Waits::ForEver,
    }
}

/// For how long the arrival of tombstones must be known that are rebuilt by reading committed input again: those of entities that are in memory only, and
/// whose versions may come late. `None` where there are none; [`Duration::MAX`] for ever.
pub fn tombstones_kept(rules: &Rules) -> Option<Duration> {
    let entities = (0u16..).zip(rules.entities()).filter(|(_, e)| e.deletable && e.streaming && !e.deferred);
    let kept = entities.filter_map(|(id, _)| match waits(rules, EntityId(id)) {
        Waits::Never => None,
        Waits::AtMost(longest) => Some(longest.saturating_add(LATE)),
        Waits::ForEver => Some(Duration::MAX),
    });
    kept.max()
}

impl Engine {
    /// A tombstone has come that takes the place of what was known of its key.
    pub(super) fn delete(&mut self, referent: Referent, key: &Key) {
        let Referent { entity, hash, event } = referent;
        let old = self.table.entry(entity, hash, key).and_then(|entry| entry.referent.clone());
        match old {
            Some(old) if deletes(&old) => self.put_tombstone(entity, hash, key, beside(&event, &old)),
            Some(old) => {
                self.hide(entity, hash, old, &event);
                self.put_tombstone(entity, hash, key, event);
            }
            None => self.put_tombstone(entity, hash, key, event),
        }
    }

    fn put_tombstone(&mut self, entity: EntityId, hash: KeyHash, key: &Key, event: Event) {
        let remembered = self.deletions.remembered_until(entity, &event);
        let kept = self.rules.entity(entity).deferred;
        match remembered {
            Some(until) if kept => self.residency.keep(until, entity, hash, key, &event),
            _ if kept || self.residency.may_hold_referent(&self.rules, entity, hash) => {
                self.residency.erase(entity, hash, key);
            }
            _ => {}
        }
        self.table.put(entity, hash, key, event, kept);
        if remembered.is_none() {
            self.deletions.passing.push((entity, hash, key.clone()));
        }
    }

    /// A version has come that a tombstone hides: it is there for those who arrived before that. Or it is a tombstone itself, of a lower position.
    pub(super) fn arrive_hidden(&mut self, referent: &Referent, key: &Key, tombstone: &Event, effects: &mut Effects) {
        let Referent { entity, hash, event } = referent;
        if deletes(event) {
            return self.put_tombstone(*entity, *hash, key, beside(tombstone, event));
        }
        if self.phase == Phase::Replay {
            return;
        }
        self.hide(*entity, *hash, event.clone(), tombstone);
        self.give_to_claims(*entity, *hash, event, effects);
        self.wake(*entity, *hash, key, event);
    }

    fn hide(&mut self, entity: EntityId, hash: KeyHash, event: Event, tombstone: &Event) {
        // In a replay nobody asks, and who was being given something is restored.
        if self.phase == Phase::Replay {
            return;
        }
        let until = Timestamp(deleted_at(tombstone).0.saturating_add(1));
        self.deletions.add(Hidden { entity, hash, event, until, noted: false });
    }

    /// Whether a version is there for an event that arrived at `arrival`: neither forgotten nor deleted before.
    pub(super) fn is_for(&self, entity: EntityId, hash: KeyHash, version: &Event, arrival: Timestamp) -> bool {
        !arrival::is_forgotten(&self.rules, version, arrival) && arrival < self.deletions.until(entity, hash, version)
    }

    /// Ends an epoch: forgets what only mattered in it, and notes in the state what is still being given.
    pub(super) fn settle_deletions(&mut self) {
        for (entity, hash, key) in std::mem::take(&mut self.deletions.passing) {
            let entry = self.table.entry(entity, hash, &key);
            if entry.and_then(|entry| entry.referent.as_ref()).is_some_and(deletes) {
                self.table.forget(entity, hash, &key);
            }
        }
        if self.phase == Phase::Replay {
            return;
        }
        self.hide_forgotten();
        if self.deletions.hidden.is_empty() {
            return;
        }
        let mut all = std::mem::take(&mut self.deletions.hidden);
        for hidden in all.values_mut().flatten() {
            match (self.is_giving(&hidden.event), hidden.noted) {
                (true, false) => self.residency.note_hidden(hidden),
                (false, true) => self.residency.forget_hidden(hidden),
                _ => {}
            }
        }
        all.retain(|_, of_key| {
            of_key.retain(|hidden| self.is_giving(&hidden.event));
            !of_key.is_empty()
        });
        self.deletions.bytes = all.values().flatten().map(Hidden::bytes).sum();
        self.deletions.hidden = all;
    }

    /// A version that will be forgotten is not rebuilt after that: who is still to be given it must find it all the same.
    fn hide_forgotten(&mut self) {
        let drains = self.drains.iter().map(Drain::given);
        for (entity, hash, event) in drains.chain(self.claims.given()) {
            let until = arrival::until(&self.rules, event);
            if until < Timestamp::MAX {
                self.deletions.add(Hidden { entity, hash, event: event.clone(), until, noted: false });
            }
        }
    }

    /// Whether a version is still being given to those who waited for it.
    fn is_giving(&self, version: &Event) -> bool {
        let id = version.header.header.id;
        self.drains.iter().any(|drain| drain.version() == id)
            || self.residency.is_draining(id)
            || self.claims.is_giving(id)
    }
}
