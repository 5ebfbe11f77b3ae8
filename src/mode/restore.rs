//! Reading the state: what an earlier run left, and answers to the queries of a running engine.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use resolvent_state::{State, StateError, Table};
use rustc_hash::{FxHashMap, FxHashSet};
use thiserror::Error;

use crate::dependency::Rules;
use crate::event::{Dependent, Epoch, EventId, KeyHash, Stored, Timestamp, WorkerIndex};

use super::codec::{self, StoredError};
use super::deferred::{Answer, Drain, Kept, Query};
use super::{Referent, deadline, engine::SLICE};

/// Where a row in the table of meta values says that events in the state are being woken: followed by the key that came.
pub(super) const DRAIN_PREFIX: &[u8] = b"drain/";

/// The version of the log's values.
const LOG_VERSION: u8 = 1;

/// Waiting events that are fetched from the state at once.
const PAGE: usize = 2 * SLICE;

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
    /// Events that are not resolved, though they have been read: they ended otherwise, or wait.
    pub unresolved: FxHashSet<EventId>,
    /// The keys that events in the state wait for.
    pub waited_for: Vec<KeyHash>,
    /// The earliest deadline of those events.
    pub next_due: Option<Timestamp>,
    /// Whether the state has referents.
    pub has_referents: bool,
}

/// The beginning of a value for the log, `version | count | ids that left`, to which `(length | event) …` may be appended.
pub(super) fn log_value(removed: &[EventId]) -> Vec<u8> {
    let mut value = vec![LOG_VERSION];
    value.extend_from_slice(&u32::try_from(removed.len()).unwrap_or(u32::MAX).to_le_bytes());
    for id in removed {
        codec::put_id(*id, &mut value);
    }
    value
}

/// The key of a value of the log.
pub(super) fn log_key(epoch: Epoch, worker: WorkerIndex, part: usize) -> Vec<u8> {
    let mut key = epoch.0.to_be_bytes().to_vec();
    key.extend_from_slice(&u16::try_from(worker.0).unwrap_or(u16::MAX).to_be_bytes());
    key.extend_from_slice(&u16::try_from(part).unwrap_or(u16::MAX).to_be_bytes());
    key
}

/// Reads what an earlier run left.
pub fn restore(state: &State, rules: &Rules) -> Result<Restored, RestoreError> {
    let mut restored = Restored::default();
    read_log(state, rules, &mut restored)?;
    read_drains(state, rules, &mut restored)?;
    each(state, Table::Ended, &[], |key, _| {
        restored.unresolved.extend(codec::id_at_end(key));
        Ok(())
    })?;
    let mut waits = |dependent: &Dependent| {
        let header = &dependent.event.header.header;
        if rules.stream(header.stream).provides_resolved.is_some() {
            restored.unresolved.insert(header.id);
        }
    };
    restored.waiting.iter().for_each(|dependent| waits(dependent));
    each(state, Table::Waiting, &[], |row, value| {
        let dependent = codec::get_dependent(rules, value, Stored::No)?;
        let due = deadline::next(&dependent);
        restored.next_due = restored.next_due.into_iter().chain(due).min();
        let parked_at = dependent.missing().find(|r| codec::is_at(row, r.entity, r.hash, &r.key));
        restored.waited_for.extend(parked_at.map(|r| r.hash));
        waits(&dependent);
        Ok(())
    })?;
    state.scan(Table::Referent, &[], &[], 1, |_, _| {
        restored.has_referents = true;
        ControlFlow::Break(())
    })?;
    Ok(restored)
}

/// Every waiting event, wherever the state has it; for [`restore`] only what concerns it, for others to look at.
pub fn each_waiting(state: &State, rules: &Rules, mut see: impl FnMut(Box<Dependent>)) -> Result<(), RestoreError> {
    let mut restored = Restored::default();
    read_log(state, rules, &mut restored)?;
    restored.waiting.into_iter().for_each(&mut see);
    each(state, Table::Waiting, &[], |_, value| {
        see(codec::get_dependent(rules, value, Stored::No)?);
        Ok(())
    })
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

fn read_log(state: &State, rules: &Rules, restored: &mut Restored) -> Result<(), RestoreError> {
    let mut live: FxHashMap<EventId, (Epoch, Vec<u8>)> = FxHashMap::default();
    each(state, Table::Log, &[], |key, value| {
        let epoch = key.first_chunk::<8>().map_or(Epoch(0), |bytes| Epoch(u64::from_be_bytes(*bytes)));
        let of_epoch = restored.log.entry(epoch).or_default();
        of_epoch.keys.push(key.to_vec());
        of_epoch.bytes += value.len() as u64;
        let written = read_log_value(value, epoch, &mut live);
        of_epoch.written +=
            written.ok_or(StoredError::Damaged("a value of the log of waiting events ends early".into()))?;
        Ok(())
    })?;
    for (epoch, value) in live.into_values() {
        if let Some(of_epoch) = restored.log.get_mut(&epoch) {
            of_epoch.live += 1;
        }
        restored.waiting.push(codec::get_dependent(rules, &value, Stored::Log(epoch))?);
    }
    restored.waiting.sort_by_key(|dependent| dependent.event.header.header.id);
    Ok(())
}

/// Applies one value of the log and counts the events written in it; `None` where it ends too early.
fn read_log_value(value: &[u8], epoch: Epoch, live: &mut FxHashMap<EventId, (Epoch, Vec<u8>)>) -> Option<u64> {
    let (_, rest) = value.split_first().filter(|(version, _)| **version == LOG_VERSION)?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    for _ in 0..u32::from_le_bytes(*count) {
        let (id, after) = rest.split_at_checked(12)?;
        live.remove(&codec::id_at_end(id)?);
        rest = after;
    }
    let mut written = 0;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (event, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        live.insert(codec::dependent_id(event)?, (epoch, event.to_vec()));
        rest = after;
        written += 1;
    }
    Some(written)
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

/// Answers the queries of one worker. Referents are looked up together, in the order of their rows.
pub fn answer(
    state: &State,
    rules: &Rules,
    worker: WorkerIndex,
    workers: usize,
    queries: Vec<Query>,
) -> Result<Vec<Answer>, RestoreError> {
    let mut referents = Vec::new();
    let mut answers = Vec::with_capacity(queries.len());
    for query in queries {
        match query {
            Query::Referent { entity, hash, key } => {
                let mut row = Vec::new();
                codec::put_key(entity, hash, &key, &mut row);
                referents.push((row, entity, hash, key));
            }
            Query::Waiters(drain) => answers.push(waiters(state, rules, drain)?),
            Query::Due { from, until } => answers.push(due(state, rules, worker, workers, from, until)?),
            Query::All { from } => answers.push(all(state, rules, worker, workers, from)?),
        }
    }
    referents.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let rows: Vec<&[u8]> = referents.iter().map(|(row, ..)| row.as_slice()).collect();
    let found = state.get_many(Table::Referent, &rows)?;
    for ((_, entity, hash, key), value) in referents.into_iter().zip(found) {
        let found = value.map(|value| codec::get_event(rules, &value)).transpose()?;
        answers.push(Answer::Referent { entity, hash, key, found });
    }
    Ok(answers)
}

/// The waiting events under a prefix, from a row on: up to a page of them.
fn page(state: &State, rules: &Rules, from: &[u8], prefix: &[u8]) -> Result<Vec<Kept>, RestoreError> {
    let mut page = Vec::new();
    let mut failed = None;
    state.scan(Table::Waiting, from, prefix, PAGE, |key, value| {
        match codec::get_dependent(rules, value, Stored::No) {
            Ok(dependent) => page.push(Kept { key: key.to_vec(), dependent }),
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(page), |error| Err(error.into()))
}

fn waiters(state: &State, rules: &Rules, drain: Drain) -> Result<Answer, RestoreError> {
    let mut prefix = Vec::new();
    codec::put_key(drain.entity, drain.hash, &drain.key, &mut prefix);
    let mut from = prefix.clone();
    if let Some(after) = drain.after {
        codec::put_id(after, &mut from);
        from.push(0);
    }
    let page = page(state, rules, &from, &prefix)?;
    let more = page.len() >= PAGE;
    Ok(Answer::Waiters { drain, page, more })
}

fn due(
    state: &State,
    rules: &Rules,
    worker: WorkerIndex,
    workers: usize,
    from: Timestamp,
    until: Timestamp,
) -> Result<Answer, RestoreError> {
    let (mut page, mut stale, mut next) = (Vec::new(), Vec::new(), None::<Timestamp>);
    for shard in codec::shards_of(worker.0, workers) {
        let shard = [u8::try_from(shard).unwrap_or(u8::MAX)];
        let (mut rows, mut first) = (Vec::new(), Vec::new());
        codec::put_deadline_key(from, &shard, &mut first);
        state.scan(Table::Deadline, &first, &shard, PAGE, |row, _| {
            let Some((at, key)) = codec::split_deadline_key(row) else { return ControlFlow::Continue(()) };
            if at > until || page.len() + rows.len() >= PAGE {
                next = Some(next.map_or(at, |next| next.min(at)));
                return ControlFlow::Break(());
            }
            rows.push((row.to_vec(), key));
            ControlFlow::Continue(())
        })?;
        for (row, key) in rows {
            match state.get(Table::Waiting, &key)? {
                Some(value) => page.push(Kept { dependent: codec::get_dependent(rules, &value, Stored::No)?, key }),
                None => stale.push(row),
            }
        }
    }
    Ok(Answer::Due { until, page, stale, next })
}

fn all(
    state: &State,
    rules: &Rules,
    worker: WorkerIndex,
    workers: usize,
    from: Vec<u8>,
) -> Result<Answer, RestoreError> {
    let shards = codec::shards_of(worker.0, workers);
    let first = from.first().map_or(shards.start, |shard| usize::from(*shard).max(shards.start));
    for shard in first..shards.end {
        let prefix = [u8::try_from(shard).unwrap_or(u8::MAX)];
        let from = if shard == first && !from.is_empty() { from.as_slice() } else { &prefix };
        let page = page(state, rules, from, &prefix)?;
        if let Some(last) = page.last() {
            let next = [last.key.as_slice(), &[0]].concat();
            return Ok(Answer::All { page, next: Some(next) });
        }
    }
    Ok(Answer::All { page: Vec::new(), next: None })
}
