//! After a write that failed nobody reads or writes.

use std::process::Command;

use resolvent_state::{Batch, Durability, State, StateError, Table};

use crate::{content, open};

fn put(n: u32, bytes: usize) -> Batch {
    let mut batch = Batch::default();
    batch.put(Table::Referent, &n.to_be_bytes(), &vec![n as u8; bytes]);
    batch
}

fn assert_poisoned(state: &State, first: &StateError) {
    let poisoned = StateError::Poisoned { first: first.to_string() };
    assert_eq!(state.get(Table::Meta, b"key").unwrap_err(), poisoned);
    assert_eq!(state.get_many(Table::Meta, &[b"key"]).unwrap_err(), poisoned);
    assert_eq!(content(state).unwrap_err(), poisoned);
    assert_eq!(state.write(&Batch::default(), Durability::Buffered).unwrap_err(), poisoned);
    assert_eq!(state.sync().unwrap_err(), poisoned);
    assert_eq!(state.flush().unwrap_err(), poisoned);
    assert_eq!(state.health().unwrap_err(), poisoned);
}

#[test]
fn a_failed_write_in_memory_poisons_the_state() {
    let state = State::in_memory();
    state.write(&put(0, 1), Durability::Synced).unwrap();
    state.write(&put(1, 1), Durability::Buffered).unwrap();
    state.fail_write(2);
    state.write(&put(2, 1), Durability::Buffered).unwrap();
    let other_handle = state.clone();
    let first = state.write(&put(3, 1), Durability::Synced).unwrap_err();
    assert_poisoned(&other_handle, &first);
    let after = state.after_power_loss().unwrap();
    assert_eq!(content(&after).unwrap().len(), 1);
    after.write(&put(1, 1), Durability::Synced).unwrap();
}

#[test]
fn what_was_written_is_durable_once_it_is_synced_and_a_sync_that_fails_poisons_the_state() {
    let state = State::in_memory();
    state.write(&put(0, 1), Durability::Buffered).unwrap();
    state.sync().unwrap();
    state.write(&put(1, 1), Durability::Buffered).unwrap();
    state.fail_write(1);
    let first = state.sync().unwrap_err();
    assert_poisoned(&state, &first);
    assert_eq!(content(&state.after_power_loss().unwrap()).unwrap().len(), 1);
}

#[test]
fn a_full_disk_poisons_the_state_and_loses_nothing_committed() {
    let path = tempfile::tempdir().unwrap();
    drop(open(path.path()));
    // A limit on the size of a file stands in for a full disk: it needs no rights.
    let script = "trap '' XFSZ; ulimit -f 1024; exec \"$0\" --exact faults::child --ignored --nocapture";
    let exe = std::env::current_exe().unwrap();
    let child = Command::new("sh").args(["-c", script]).arg(exe).env("STATE_PATH", path.path()).output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let text = String::from_utf8(child.stdout).unwrap();
    let committed = text.lines().find_map(|line| line.strip_prefix("committed ")).unwrap().parse::<u32>().unwrap();
    assert!(committed > 0);
    let state = open(path.path());
    for n in 0..committed {
        assert_eq!(state.get(Table::Referent, &n.to_be_bytes()), Ok(Some(vec![n as u8; 10_000])));
    }
}

#[test]
#[ignore = "run by a_full_disk_poisons_the_state_and_loses_nothing_committed in a process of its own"]
fn child() {
    let state = open(std::path::Path::new(&std::env::var("STATE_PATH").unwrap()));
    for n in 0..1000 {
        if let Err(first) = state.write(&put(n, 10_000), Durability::Synced) {
            assert!(matches!(first, StateError::Full(_)), "{first:?}");
            assert!(first.to_string().contains("Make room"), "{first}");
            assert_poisoned(&state, &first);
            println!("\ncommitted {n}");
            return;
        }
    }
    panic!("10 MB fitted into a limit of 1 MiB, or of 512 KiB");
}
