//! Reading the state: what an earlier run left, and answers to the queries of a running engine.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use resolvent_state::{Batch, Durability, State, StateError, Table};
use rustc_hash::{FxHashMap, FxHashSet};
use thiserror::Error;

use crate::dependency::Rules;
use crate::event::{
    Dependent, EntityId, Epoch, Event, EventId, Key, KeyHash, Reference, SHARDS, Stored, Timestamp, WorkerIndex,
};

use super::arrival::is_forgotten;
use super::claims;
use super::codec::{self, StoredError};
use super::deadline;
use super::deferred::Changes;
use super::{Hidden, Referent, Visit, deletion};

/// Where a row in the table of meta values says that events in the state are being woken: followed by the key that came.
pub(super) const DRAIN_PREFIX: &[u8] = b"drain/";

/// Where a row there says that a deleted referent is still being given to those who waited for it: followed by its key and its position.
pub(super) const HIDDEN_PREFIX: &[u8] = b"hidden/";

/// The version of the log's values.
const LOG_VERSION: u8 = 2;

/// Bytes of the log's keys: epoch, worker, part.
const LOG_KEY_BYTES: usize = 12;

/// The state cannot be read.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// It does not answer.
    #[error(transparent)]
    State(#[from] StateError),
    /// It answers with something else than was written.
    #[error("{0}; restore the state directory from a copy, or start over with --fresh")]
    Stored(#[from] StoredError),
}

/// The values that one epoch wrote to the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEpoch {
    /// Their keys.
    pub keys: Vec<Vec<u8>>,
    /// Their bytes.
    pub bytes: u64,
    /// Waiting events that were written in them.
    pub written: u64,
    /// Waiting events in them that no later epoch has taken out or written anew.
    pub live: u64,
}

impl LogEpoch {
    /// About how many of its bytes live.
    pub fn living_bytes(&self) -> u64 {
        self.bytes * self.live / self.written.max(1)
    }

    /// Adds what another worker wrote in the same epoch.
    pub fn add(&mut self, mut other: LogEpoch) {
        self.keys.append(&mut other.keys);
        self.bytes += other.bytes;
        self.written += other.written;
        self.live += other.live;
    }
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub struct Restored {
    /// The events that waited in memory, in the order of their positions.
    pub waiting: Vec<Box<Dependent>>,
    /// The log that holds them.
    pub log: BTreeMap<Epoch, LogEpoch>,
    /// Referents whose dependents in the state were being woken.
    pub drains: Vec<Referent>,
    /// What is to be remembered of every waiting event: see [`Engine::remember`](super::Engine::remember).
    pub reminders: Vec<Visit>,
    /// Events that are not resolved, though they have been read: they ended otherwise, or wait.
    pub unresolved: FxHashSet<EventId>,
    /// The keys that events in the state wait for.
    pub waited_for: Vec<KeyHash>,
    /// The earliest deadline of those events.
    pub next_due: Option<Timestamp>,
    /// Whether the state has referents.
    pub has_referents: bool,
}

/// What lies in a value of the log: the number before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logged {
    /// An event that waits.
    Event = 0,
    /// A referent that events behind it in the value have taken.
    Referent = 1,
}

/// Begins a value for the log, `version | count | ids that left`, to which more may be [appended](put_in_log).
pub(super) fn begin_log_value(removed: &[EventId], value: &mut Vec<u8>) {
    value.push(LOG_VERSION);
    value.extend_from_slice(&u32::try_from(removed.len()).unwrap_or(u32::MAX).to_le_bytes());
    for id in removed {
        codec::put_id(*id, value);
    }
}

/// Appends `what | length | bytes` to a value of the log.
pub(super) fn put_in_log(what: Logged, value: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    value.push(what as u8);
    let at = value.len();
    value.extend_from_slice(&[0; 4]);
    put(value);
    let length = u32::try_from(value.len() - at - 4).unwrap_or(u32::MAX);
    if let Some(slot) = value.get_mut(at..at + 4) {
        slot.copy_from_slice(&length.to_le_bytes());
    }
}

/// The key of a value of the log.
pub(super) fn log_key(epoch: Epoch, worker: WorkerIndex, part: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(LOG_KEY_BYTES);
    key.extend_from_slice(&epoch.0.to_be_bytes());
    key.extend_from_slice(&u16::try_from(worker.0).unwrap_or(u16::MAX).to_be_bytes());
    key.extend_from_slice(&u16::try_from(part).unwrap_or(u16::MAX).to_be_bytes());
    key
}

/// A place in the log: the key of a value, and the offset of an event in that.
type LogPlace = ([u8; LOG_KEY_BYTES], usize);

/// The log of waiting events: what each epoch wrote to it, and where the events are that wait still. Holds some 50 bytes for each of those, and not
/// the events themselves, but for those that are [added](Log::add).
#[derive(Debug, Default)]
pub struct Log {
    /// What each epoch wrote.
    pub epochs: BTreeMap<Epoch, LogEpoch>,
    live: FxHashMap<EventId, LogPlace>,
    listed: BTreeMap<EventId, Box<Dependent>>,
}

impl Log {
    /// Reads the log of a state as `last` left it, the last epoch that was committed. Values of a later one, which is not decided yet, are passed over.
    ///
    /// # Errors
    ///
    /// The state does not answer, or holds something else than was written.
    pub fn read(state: &State, last: Epoch) -> Result<Log, RestoreError> {
        let mut log = Log::default();
        each(state, Table::Log, &[], |key, value| {
            let (epoch, key) = split_log_key(key)?;
            if epoch > last {
                return Ok(());
            }
            let of_epoch = log.epochs.entry(epoch).or_default();
            of_epoch.keys.push(key.to_vec());
            of_epoch.bytes += value.len() as u64;
            let value = LogValue::read(value)?;
            for id in value.removed() {
                log.live.remove(&id);
            }
            for logged in value.all() {
                let (at, what, bytes) = logged?;
                if what == Logged::Event {
                    log.live.insert(codec::dependent_id(bytes).ok_or_else(ends_early)?, (key, at));
                    of_epoch.written += 1;
                }
            }
            Ok(())
        })?;
        for (key, _) in log.live.values() {
            let (epoch, _) = split_log_key(key)?;
            log.epochs.entry(epoch).or_default().live += 1;
        }
        Ok(log)
    }

    /// Adds the events that the last epoch has only listed, as they were [read again](super::read_listed), for somebody who only looks.
    pub fn add(&mut self, last: Epoch, listed: Vec<Box<Dependent>>) {
        self.listed.extend(listed.into_iter().map(|mut dependent| {
            dependent.stored = Stored::Log(last);
            (dependent.event.header.header.id, dependent)
        }));
    }

    /// How many events in it wait still.
    pub fn waiting(&self) -> u64 {
        (self.live.len() + self.listed.len()) as u64
    }

    /// Shows every event in it that waits still.
    fn each(&self, state: &State, rules: &Rules, mut see: impl FnMut(Box<Dependent>)) -> Result<(), RestoreError> {
        self.listed.values().for_each(|dependent| see(dependent.clone()));
        each(state, Table::Log, &[], |key, value| {
            let (epoch, key) = split_log_key(key)?;
            let is_live = |at, bytes: &[u8]| {
                let id = codec::dependent_id(bytes).ok_or_else(ends_early)?;
                Ok(self.live.get(&id) == Some(&(key, at)))
            };
            Ok(LogValue::read(value)?.each(rules, epoch, is_live, &mut see)?)
        })
    }

    fn find(&self, state: &State, rules: &Rules, id: EventId) -> Result<Option<Box<Dependent>>, RestoreError> {
        if let Some(dependent) = self.listed.get(&id) {
            return Ok(Some(dependent.clone()));
        }
        let Some((key, wanted)) = self.live.get(&id) else { return Ok(None) };
        let (epoch, key) = split_log_key(key)?;
        let Some(value) = state.get(Table::Log, &key)? else { return Ok(None) };
        let mut found = None;
        LogValue::read(&value)?.each(rules, epoch, |at, _| Ok(at == *wanted), |dependent| found = Some(dependent))?;
        Ok(found)
    }
}

/// A value of the log, taken apart.
struct LogValue<'a> {
    removed: &'a [u8],
    rest: &'a [u8],
}

impl<'a> LogValue<'a> {
    fn read(value: &'a [u8]) -> Result<Self, StoredError> {
        let (version, rest) = value.split_first().ok_or_else(ends_early)?;
        if *version != LOG_VERSION {
            return Err(StoredError::Version(*version));
        }
        let (count, rest) = rest.split_first_chunk::<4>().ok_or_else(ends_early)?;
        let bytes = (u32::from_le_bytes(*count) as usize).saturating_mul(codec::ID_BYTES);
        let (removed, rest) = rest.split_at_checked(bytes).ok_or_else(ends_early)?;
        Ok(LogValue { removed, rest })
    }

    /// Events of earlier values that have left.
    fn removed(&self) -> impl Iterator<Item = EventId> {
        self.removed.chunks_exact(codec::ID_BYTES).filter_map(codec::id_at_end)
    }

    /// What is written in it, each with its offset.
    fn all(&self) -> impl Iterator<Item = Result<(usize, Logged, &'a [u8]), StoredError>> {
        let (all, mut rest) = (self.rest.len(), self.rest);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let at = all - rest.len();
            let logged = split_logged(&mut rest);
            Some(logged.map(|(what, bytes)| (at, what, bytes)).ok_or_else(ends_early))
        })
    }

    /// Shows the events in it that are wanted; these share the referents that they have taken.
    fn each(
        &self,
        rules: &Rules,
        epoch: Epoch,
        is_wanted: impl Fn(usize, &[u8]) -> Result<bool, StoredError>,
        mut see: impl FnMut(Box<Dependent>),
    ) -> Result<(), StoredError> {
        let mut referents = Vec::new();
        for logged in self.all() {
            let (at, what, bytes) = logged?;
            match what {
                Logged::Referent => referents.push(codec::get_event(rules, bytes)?),
                Logged::Event if is_wanted(at, bytes)? => see(codec::get_logged(rules, bytes, epoch, &referents)?),
                Logged::Event => {}
            }
        }
        Ok(())
    }
}

/// Takes the next one off; where that fails nothing is left.
fn split_logged<'a>(rest: &mut &'a [u8]) -> Option<(Logged, &'a [u8])> {
    let (what, after) = std::mem::take(rest).split_first()?;
    let what = [Logged::Event, Logged::Referent].into_iter().find(|logged| *logged as u8 == *what)?;
    let (length, after) = after.split_first_chunk::<4>()?;
    let (bytes, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some((what, bytes))
}

fn split_log_key(key: &[u8]) -> Result<(Epoch, [u8; LOG_KEY_BYTES]), StoredError> {
    let damaged = || StoredError::Damaged("a key of the log of waiting events has another length".into());
    let key: [u8; LOG_KEY_BYTES] = key.try_into().map_err(|_| damaged())?;
    let epoch = key.first_chunk().ok_or_else(damaged)?;
    Ok((Epoch(u64::from_be_bytes(*epoch)), key))
}

fn ends_early() -> StoredError {
    StoredError::Damaged("a value of the log of waiting events ends early".into())
}

/// Adds to a batch that what epochs after `last` wrote to the log goes: they were not committed.
///
/// # Errors
///
/// The state does not answer.
pub fn discard_log(state: &State, last: Epoch, batch: &mut Batch) -> Result<(), StateError> {
    state.scan(Table::Log, &last.next().0.to_be_bytes(), &[], usize::MAX, |key, _| {
        batch.delete(Table::Log, key);
        ControlFlow::Continue(())
    })
}

/// Reads what an earlier run left; `last` is the last epoch that it committed.
pub fn restore(state: &State, rules: &Rules, last: Epoch) -> Result<Restored, RestoreError> {
    let log = Log::read(state, last)?;
    let mut restored = Restored::default();
    let (claimed, mut claimed_before) = (claims::claimed(rules), Vec::new());
    log.each(state, rules, |dependent| restored.waiting.push(dependent))?;
    restored.waiting.sort_by_key(|dependent| dependent.event.header.header.id);
    restored.log = log.epochs;
    read_drains(state, rules, &mut restored)?;
    read_hidden(state, rules, &mut restored)?;
    each(state, Table::Ended, &[], |key, _| {
        restored.unresolved.extend(codec::id_at_end(key));
        Ok(())
    })?;
    let mut waits = |dependent: &Dependent| {
        let header = &dependent.event.header.header;
        if rules.stream(header.stream).provides_resolved.is_some() {
            restored.unresolved.insert(header.id);
        }
        let link = super::cycle::link(rules, dependent).map(|link| Visit::Waits(Box::new((header.id, link))));
        let place = super::engine::place(rules, dependent).map(|place| Visit::Reserve(Box::new(place)));
        restored.reminders.extend(link.into_iter().chain(place));
    };
    restored.waiting.iter().for_each(|dependent| waits(dependent));
    each(state, Table::Waiting, &[], |row, value| {
        let dependent = codec::get_dependent(rules, value, Stored::No)?;
        let due = deadline::next(&dependent);
        restored.next_due = restored.next_due.into_iter().chain(due).min();
        waits(&dependent);
        let is_there = |r: &Reference| codec::is_at(row, r.entity, r.hash, &r.key);
        if let Some(at) = dependent.references.iter().position(is_there) {
            restored.waited_for.extend(dependent.references.get(at).map(|r| r.hash));
            claimed_before.extend(claims::rest(&claimed, &dependent, at));
        }
        Ok(())
    })?;
    restored.reminders.extend(claimed_before.into_iter().map(|claim| Visit::Claim(Box::new(claim))));
    state.scan(Table::Referent, &[], &[], 1, |_, _| {
        restored.has_referents = true;
        ControlFlow::Break(())
    })?;
    Ok(restored)
}

/// Shows every waiting event, one at a time, wherever the state has it: [`Stored::Log`] for one that its job has in memory, [`Stored::No`] for one with
/// a row of its own. Those of the log come first; otherwise the order means nothing.
///
/// # Errors
///
/// The state does not answer, or holds something else than was written.
pub fn each_waiting(
    state: &State,
    rules: &Rules,
    log: &Log,
    mut see: impl FnMut(Box<Dependent>),
) -> Result<(), RestoreError> {
    log.each(state, rules, &mut see)?;
    each(state, Table::Waiting, &[], |_, value| {
        see(codec::get_dependent(rules, value, Stored::No)?);
        Ok(())
    })
}

/// A waiting event, and where it has a row of its own, the key of that.
pub type WaitingRow = (Box<Dependent>, Option<Vec<u8>>);

/// The event of a position if it waits, and where it has a row of its own, the key of that. Reads the log's one value, or else the keys of all rows.
///
/// # Errors
///
/// The state does not answer, or holds something else than was written.
pub fn find_waiting(state: &State, rules: &Rules, log: &Log, id: EventId) -> Result<Option<WaitingRow>, RestoreError> {
    if let Some(dependent) = log.find(state, rules, id)? {
        return Ok(Some((dependent, None)));
    }
    let mut found = None;
    state.scan(Table::Waiting, &[], &[], usize::MAX, |key, value| {
        if codec::id_at_end(key) != Some(id) {
            return ControlFlow::Continue(());
        }
        found = Some((key.to_vec(), codec::get_dependent(rules, value, Stored::No)));
        ControlFlow::Break(())
    })?;
    found.map(|(key, dependent)| Ok((dependent?, Some(key)))).transpose()
}

/// The referent of a key that the state has; one that is over its `retain` is none, and neither is one that was deleted.
///
/// # Errors
///
/// The state does not answer, or holds something else than was written.
pub fn find_referent(
    state: &State,
    rules: &Rules,
    entity: EntityId,
    key: &Key,
    now: Timestamp,
) -> Result<Option<Event>, RestoreError> {
    let mut row = Vec::new();
    codec::put_key(entity, key.hash(entity), key, &mut row);
    let Some(value) = state.get(Table::Referent, &row)? else { return Ok(None) };
    let event = codec::get_event(rules, &value)?;
    Ok((!deletion::deletes(&event) && !is_forgotten(rules, &event, now)).then_some(event))
}

/// What takes an event that was found by [`find_waiting`] out of the state in an epoch, when its wait ends without its job: all that its engine would have
/// changed.
pub fn end_waiting(rules: &Rules, dependent: &Dependent, row: Option<&[u8]>, epoch: Epoch) -> Changes {
    let mut changes = Changes::default();
    if let Stored::Log(written) = dependent.stored {
        changes.obsolete.push(written);
        let (key, mut value) = (log_key(epoch, WorkerIndex(0), 0), Vec::new());
        begin_log_value(&[dependent.event.header.header.id], &mut value);
        changes.logged.put(Table::Log, &key, &value);
        changes.log = LogEpoch { bytes: value.len() as u64, keys: vec![key], ..LogEpoch::default() };
    }
    if let Some(row) = row {
        changes.delete_waiting(row, dependent);
    }
    changes.note_unresolved(rules, dependent);
    changes
}

fn each(
    state: &State,
    table: Table,
    prefix: &[u8],
    mut see: impl FnMut(&[u8], &[u8]) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    let mut failed = None;
    state.scan(table, prefix, prefix, usize::MAX, |key, value| match see(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(()), Err)
}

fn read_drains(state: &State, rules: &Rules, restored: &mut Restored) -> Result<(), RestoreError> {
    each(state, Table::Meta, DRAIN_PREFIX, |row, value| {
        let event = codec::get_event(rules, value)?;
        let rest = row.get(DRAIN_PREFIX.len()..).unwrap_or_default();
        let Some(entity) = codec::entity_of(rest) else { return Ok(()) };
        if let Some(key) = &event.header.header.key {
            restored.drains.push(Referent { entity, hash: key.hash(entity), event: event.clone() });
        }
        Ok(())
    })
}

fn read_hidden(state: &State, rules: &Rules, restored: &mut Restored) -> Result<(), RestoreError> {
    each(state, Table::Meta, HIDDEN_PREFIX, |row, value| {
        let damaged = || StoredError::Damaged("the row of a deleted referent ends early".into());
        let entity = codec::entity_of(row.get(HIDDEN_PREFIX.len()..).unwrap_or_default()).ok_or_else(damaged)?;
        let (until, event) = value.split_first_chunk::<8>().ok_or_else(damaged)?;
        let event = codec::get_event(rules, event)?;
        let hash = event.header.header.key.as_ref().ok_or_else(damaged)?.hash(entity);
        let until = Timestamp(i64::from_be_bytes(*until));
        restored.reminders.push(Visit::Hidden(Box::new(Hidden { entity, hash, event, until, noted: true })));
        Ok(())
    })
}

/// Deletes what an earlier run moved out of memory of referents that the replay brings back.
pub fn forget_overflow(state: &State, rules: &Rules) -> Result<(), StateError> {
    let mut batch = Batch::default();
    let entities: BTreeSet<u16> =
        (0u16..).zip(rules.entities()).filter(|(_, e)| !e.deferred).map(|(id, _)| id).collect();
    for shard in 0..SHARDS {
        for entity in &entities {
            let [high, low] = entity.to_be_bytes();
            let prefix = [u8::try_from(shard).unwrap_or(u8::MAX), high, low];
            state.scan(Table::Referent, &prefix, &prefix, usize::MAX, |key, _| {
                batch.delete(Table::Referent, key);
                ControlFlow::Continue(())
            })?;
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    state.write(&batch, Durability::Buffered)
}
