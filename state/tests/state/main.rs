//! The promises of the state, on disk and in memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod contract;
mod damage;
mod faults;
mod format;
mod read_only;
mod refusals;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::{fs, io};

use resolvent_state::{Identity, Options, State, StateError, Table};

/// All entries of a state.
type Content = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

fn options(path: &Path) -> Options {
    Options { path: path.to_owned(), memory: 16 << 20, memtables: 4 << 20, direct_io: false }
}

fn identity() -> Identity {
    Identity {
        job: "social".into(),
        fingerprint: b"rules 1".to_vec(),
        fingerprint_text: "person key /id\nlike by /person".into(),
    }
}

fn open(path: &Path) -> State {
    State::open(&options(path), &identity()).unwrap()
}

fn content(state: &State) -> Result<Content, StateError> {
    let mut content = Content::new();
    for table in Table::ALL {
        state.scan(table, b"", b"", usize::MAX, |key, value| {
            content.insert((table, key.to_vec()), value.to_vec());
            ControlFlow::Continue(())
        })?;
    }
    Ok(content)
}

/// The files of a directory with their bytes, but for RocksDB's `LOG`, in which it writes what it does.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    loop {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
        let named = named.filter(|(name, _)| !name.starts_with("LOG"));
        match named.map(|(name, path)| Ok((name, fs::read(path)?))).collect::<io::Result<_>>() {
            Ok(files) => return files,
            // A flush that has returned still deletes what it has made superfluous.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What is on disk at this moment, as a killed process would leave it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
}
