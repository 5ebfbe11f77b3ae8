//! The same suite against the state on disk, the state in memory, and a model.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;
use resolvent_state::{Batch, Durability, State, StateError, Table};

use crate::{content, open};

/// Values with their expiry.
type Model = BTreeMap<(Table, Vec<u8>), (Vec<u8>, i64)>;

#[derive(Clone, Debug)]
struct Change {
    table: Table,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    expires: i64,
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Change>, bool),
    Advance(i64),
    Flush,
    Reopen,
    GetMany(Table, Vec<Vec<u8>>),
    Scan(Table, Vec<u8>, Vec<u8>, usize),
}

fn table() -> impl Strategy<Value = Table> {
    prop::sample::select(Table::ALL.to_vec())
}

/// Few and short keys, so that they meet; among them the empty one and the ones that no key follows.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(vec![0u8, 1, 7, 255]), 0..4)
}

fn change() -> impl Strategy<Value = Change> {
    let value = prop::option::weighted(0.6, prop_oneof![4 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 70_000)]);
    (table(), key(), value, prop_oneof![Just(i64::MAX), 0i64..100]).prop_map(|(table, key, value, expires)| Change {
        table,
        key,
        value,
        expires,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (vec(change(), 0..12), any::<bool>()).prop_map(|(changes, synced)| Step::Write(changes, synced)),
        1 => (0i64..100).prop_map(Step::Advance),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        3 => (table(), vec(key(), 0..12)).prop_map(|(table, keys)| Step::GetMany(table, keys)),
        3 => (table(), key(), key(), prop_oneof![0usize..6, Just(usize::MAX)])
            .prop_map(|(table, from, prefix, limit)| Step::Scan(table, from, prefix, limit)),
    ]
}

/// The batch of these changes, and the model after it; without puts that the table's rule forbids.
fn batch(model: &mut Model, changes: &[Change]) -> Batch {
    let mut batch = Batch::default();
    for Change { table, key, value, expires } in changes {
        let at = (*table, key.clone());
        match value {
            Some(_) if table.put_once() && model.contains_key(&at) => {}
            Some(value) if *table == Table::Referent => {
                batch.put_until(key, value, *expires);
                model.insert(at, (value.clone(), *expires));
            }
            Some(value) => {
                batch.put(*table, key, value);
                model.insert(at, (value.clone(), i64::MAX));
            }
            None => {
                batch.delete(*table, key);
                model.remove(&at);
            }
        }
    }
    batch
}

struct Run {
    /// The states under test; on disk first.
    states: Vec<State>,
    path: tempfile::TempDir,
    model: Model,
    now: i64,
}

impl Run {
    fn new() -> Run {
        let path = tempfile::tempdir().unwrap();
        Run { states: vec![open(path.path()), State::in_memory()], path, model: Model::new(), now: i64::MIN }
    }

    fn present(&self) -> impl Iterator<Item = (Table, &Vec<u8>, &Vec<u8>)> {
        let live = self.model.iter().filter(|(_, (_, expires))| *expires == i64::MAX || *expires > self.now);
        live.map(|((table, key), (value, _))| (*table, key, value))
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(changes, synced) => {
                let batch = batch(&mut self.model, changes);
                let durability = if *synced { Durability::Synced } else { Durability::Buffered };
                self.states.iter().for_each(|state| state.write(&batch, durability).unwrap());
            }
            Step::Advance(to) => {
                self.now = self.now.max(*to);
                self.states.iter().for_each(|state| state.advance(*to));
            }
            Step::Flush => self.states.iter().for_each(|state| state.flush().unwrap()),
            Step::Reopen => {
                self.states.remove(0);
                let state = open(self.path.path());
                state.advance(self.now);
                self.states.insert(0, state);
            }
            Step::GetMany(table, keys) => {
                let expected: Vec<Option<&Vec<u8>>> = keys
                    .iter()
                    .map(|key| self.present().find(|(t, k, _)| t == table && *k == key).map(|(_, _, value)| value))
                    .collect();
                for state in &self.states {
                    let many = state.get_many(*table, keys).unwrap();
                    assert_eq!(many.iter().map(Option::as_ref).collect::<Vec<_>>(), expected);
                    let single: Vec<_> = keys.iter().map(|key| state.get(*table, key).unwrap()).collect();
                    assert_eq!(single, many);
                }
            }
            Step::Scan(table, from, prefix, limit) => {
                let within = self.present().filter(|(t, key, _)| t == table && key.starts_with(prefix) && *key >= from);
                let expected: Vec<_> =
                    within.take(*limit).map(|(_, key, value)| (key.clone(), value.clone())).collect();
                for state in &self.states {
                    assert_eq!(scanned(state, *table, from, prefix, *limit), expected);
                }
            }
        }
    }
}

fn scanned(state: &State, table: Table, from: &[u8], prefix: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    let scan = state.scan(table, from, prefix, limit, |key, value| {
        entries.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    });
    scan.unwrap();
    entries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn both_states_do_as_the_model(steps in vec(step(), 1..40)) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
        }
        let expected: BTreeMap<_, _> =
            run.present().map(|(table, key, value)| ((table, key.clone()), value.clone())).collect();
        for state in &run.states {
            prop_assert_eq!(&content(state).unwrap(), &expected);
            prop_assert_eq!(state.health(), Ok(()));
        }
    }
}

#[test]
fn a_scan_stops_where_its_visitor_does() {
    for state in Run::new().states {
        let mut batch = Batch::default();
        (0u8..200).for_each(|n| batch.put(Table::Waiting, &[1, n], &[n]));
        state.write(&batch, Durability::Synced).unwrap();
        let mut seen = Vec::new();
        let scan = state.scan(Table::Waiting, &[1, 90], &[1], usize::MAX, |key, _| {
            seen.push(key[1]);
            // A visitor may use the state.
            assert_eq!(state.get(Table::Waiting, key).unwrap(), Some(vec![key[1]]));
            if key[1] == 99 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        scan.unwrap();
        assert_eq!(seen, (90..=99).collect::<Vec<_>>());
    }
}

#[test]
fn a_batch_kept_as_a_value_can_be_applied() {
    for state in Run::new().states {
        let mut pending = Batch::default();
        pending.put_until(b"key", b"value", 50);
        pending.put(Table::Waiting, b"wait", b"");
        let mut batch = Batch::default();
        batch.put(Table::Meta, b"pending", pending.as_bytes());
        state.write(&batch, Durability::Synced).unwrap();
        let kept = Batch::from_bytes(state.get(Table::Meta, b"pending").unwrap().unwrap()).unwrap();
        state.write(&kept, Durability::Synced).unwrap();
        assert_eq!(state.get(Table::Referent, b"key"), Ok(Some(b"value".to_vec())));
        assert_eq!(state.get(Table::Waiting, b"wait"), Ok(Some(Vec::new())));
    }
}

#[test]
fn what_expired_leaves_the_disk() {
    let path = tempfile::tempdir().unwrap();
    let state = open(path.path());
    let key = |kind: u8, n: u32| [&n.to_be_bytes()[..], &[kind]].concat();
    let expired: Vec<_> = (0..1000).map(|n| key(0, n)).collect();
    let mut batch = Batch::default();
    expired.iter().for_each(|key| batch.put_until(key, &[7; 100], 10));
    state.write(&batch, Durability::Synced).unwrap();
    state.flush().unwrap();
    state.advance(10);
    assert!(state.get_many(Table::Referent, &expired).unwrap().iter().all(Option::is_none));
    // A reader has a clock of its own, by which nothing is expired: it sees what is still on disk.
    let on_disk = || {
        let reader = State::open_read_only(path.path()).unwrap();
        reader.get_many(Table::Referent, &expired).unwrap().iter().flatten().count()
    };
    assert_eq!(on_disk(), 1000);
    for round in 1u8..=200 {
        let mut batch = Batch::default();
        (0..1000).for_each(|n| batch.put(Table::Referent, &key(round, n), &[round; 100]));
        state.write(&batch, Durability::Buffered).unwrap();
        state.flush().unwrap();
        if on_disk() == 0 {
            return;
        }
    }
    panic!("{} of 1000 entries are still on disk", on_disk());
}

#[test]
fn memory_refuses_a_second_put_where_a_key_is_put_once() {
    let state = State::in_memory();
    let mut batch = Batch::default();
    batch.put(Table::Log, b"k", b"1");
    batch.delete(Table::Log, b"k");
    batch.put(Table::Log, b"k", b"2");
    state.write(&batch, Durability::Synced).unwrap();
    let mut again = Batch::default();
    again.put(Table::Meta, b"m", b"not applied");
    again.put(Table::Log, b"k", b"3");
    let refused = Err(StateError::PutTwice { table: "log", key: "6b".into() });
    assert_eq!(state.write(&again, Durability::Synced), refused);
    assert_eq!(content(&state.after_power_loss().unwrap()).unwrap().len(), 1);
}
