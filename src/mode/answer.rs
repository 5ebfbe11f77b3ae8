//! Answers to the queries of a running engine, out of the state.

use std::ops::ControlFlow;

use resolvent_state::{State, Table};

use crate::dependency::Rules;
use crate::event::{Stored, WorkerIndex};

use super::codec;
use super::deferred::{Answer, Drain, DuePass, Kept, Query};
use super::engine::SLICE;
use super::{Claim, RestoreError};

/// Waiting events that are fetched from the state at once.
const PAGE: usize = 4 * SLICE;

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
            Query::Waiter { claim, referent } => {
                let kept = waiter(state, rules, &claim)?;
                answers.push(Answer::Waiter { claim, referent, kept });
            }
            Query::Due(pass) => answers.push(due(state, rules, worker, workers, pass)?),
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

fn waiter(state: &State, rules: &Rules, claim: &Claim) -> Result<Option<Kept>, RestoreError> {
    let mut key = Vec::new();
    codec::put_key(claim.waits_at.entity, claim.waits_at.hash, &claim.waits_at.key, &mut key);
    codec::put_id(claim.id, &mut key);
    let Some(value) = state.get(Table::Waiting, &key)? else { return Ok(None) };
    Ok(Some(Kept { dependent: codec::get_dependent(rules, &value, Stored::No)?, key }))
}

fn due(
    state: &State,
    rules: &Rules,
    worker: WorkerIndex,
    workers: usize,
    mut pass: DuePass,
) -> Result<Answer, RestoreError> {
    let mut rows = Vec::new();
    let shards = codec::shards_of(worker.0, workers);
    let mut from = std::mem::take(&mut pass.from);
    let begin = from.first().map_or(shards.start, |shard| usize::from(*shard));
    for shard in begin..shards.end {
        let shard = [u8::try_from(shard).unwrap_or(u8::MAX)];
        if from.is_empty() {
            codec::put_deadline_key(pass.since, &shard, &mut from);
        }
        state.scan(Table::Deadline, &from, &shard, usize::MAX, |row, _| {
            let Some((at, key)) = codec::split_deadline_key(row) else { return ControlFlow::Continue(()) };
            if at > pass.until {
                pass.next = Some(pass.next.map_or(at, |next| next.min(at)));
                return ControlFlow::Break(());
            }
            if rows.len() >= PAGE {
                pass.from = row.to_vec();
                return ControlFlow::Break(());
            }
            rows.push((key, row.to_vec()));
            ControlFlow::Continue(())
        })?;
        if !pass.from.is_empty() {
            break;
        }
        from.clear();
    }
    rows.sort_unstable();
    let keys: Vec<&[u8]> = rows.iter().map(|(key, _)| key.as_slice()).collect();
    let found = state.get_many(Table::Waiting, &keys)?;
    let (mut page, mut stale) = (Vec::with_capacity(rows.len()), Vec::new());
    for ((key, row), value) in rows.into_iter().zip(found) {
        match value {
            Some(value) => page.push(Kept { dependent: codec::get_dependent(rules, &value, Stored::No)?, key }),
            None => stale.push(row),
        }
    }
    Ok(Answer::Due { pass, page, stale })
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
