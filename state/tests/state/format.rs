//! The format on disk: a state written by each released version is opened by this one.
//!
//! `cargo test -p resolvent-state --test state format::write -- --ignored` writes the fixture of the present format; it is
//! committed once and never changed.

use std::fs;
use std::path::{Path, PathBuf};

use resolvent_state::{Batch, Durability, FORMAT_VERSION, State, Table};

use crate::{Content, content, copy, identity, open};

const EXPIRES: i64 = 1_000_000;

/// The checkout that is tested, as cargo says when it runs a test: `env!` would be the one that the binary was built in.
fn fixture(version: u32) -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&package).join(format!("tests/fixtures/v{version}"))
}

/// Two batches with something for every table, the first of which is flushed.
fn batches() -> [Batch; 2] {
    let [mut flushed, mut logged] = [Batch::default(), Batch::default()];
    for (number, table) in (0u8..).zip(Table::ALL) {
        flushed.put(table, &[number, 1], b"flushed");
        flushed.put(table, &[number, 2], b"deleted");
        logged.delete(table, &[number, 2]);
        logged.put(table, &[number, 3], &[number; 1000]);
    }
    logged.put_until(b"short-lived", b"value", EXPIRES);
    [flushed, logged]
}

#[test]
fn version_1_is_opened() {
    let path = tempfile::tempdir().unwrap();
    copy(&fixture(1), path.path());
    let mut expected = Content::new();
    for (number, table) in (0u8..).zip(Table::ALL) {
        expected.insert((table, vec![number, 1]), b"flushed".to_vec());
        expected.insert((table, vec![number, 3]), vec![number; 1000]);
    }
    let short_lived = (Table::Referent, b"short-lived".to_vec());
    let with_short_lived = expected.clone().into_iter().chain([(short_lived, b"value".to_vec())]).collect::<Content>();
    for state in [State::open_read_only(path.path()).unwrap(), open(path.path())] {
        assert_eq!(state.identity(), &identity());
        assert_eq!(content(&state).unwrap(), with_short_lived);
        state.advance(EXPIRES);
        assert_eq!(content(&state).unwrap(), expected);
    }
}

#[test]
fn the_bytes_of_a_batch_are_those_of_version_1() {
    let mut batch = Batch::default();
    batch.put(Table::Meta, b"k", b"v");
    batch.put_until(b"r", b"x", 1);
    batch.delete(Table::Ended, b"e");
    let bytes = b"\x00\x01k\x01v\x01\x01r\x09\0\0\0\0\0\0\0\x01x\x85\x01e";
    assert_eq!(batch.as_bytes(), bytes);
    assert_eq!(Batch::from_bytes(bytes.to_vec()).unwrap(), batch);
}

#[test]
#[ignore = "writes the fixture of a new format"]
fn write() {
    let path = tempfile::tempdir().unwrap();
    let state = open(path.path());
    let [flushed, logged] = batches();
    state.write(&flushed, Durability::Synced).unwrap();
    state.flush().unwrap();
    state.write(&logged, Durability::Synced).unwrap();
    let to = fixture(FORMAT_VERSION);
    assert!(!to.exists(), "{} is there: a released format does not change", to.display());
    copy(path.path(), &to);
    fs::remove_file(to.join("LOCK")).unwrap();
}
