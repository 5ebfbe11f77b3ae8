//! What a damaged directory leads to: an exact prefix of the batches, or a typed error; never a panic, never other data.

use std::fs;
use std::path::Path;

use resolvent_state::{Batch, Durability, OpenError, State, StateError, Table};

use crate::{Content, content, copy, files, identity, open, options};

const BATCHES: u32 = 24;

/// The changes of one batch. They differ in size, so that records begin and end anywhere in the blocks of a log.
fn batch(n: u32, content: &mut Content) -> Batch {
    let mut batch = Batch::default();
    let mut put = |table: Table, key: u32, bytes: u32| {
        let value: Vec<u8> = (0..bytes).map(|i| (i.wrapping_mul(n + 17) >> 3) as u8).collect();
        batch.put(table, &key.to_be_bytes(), &value);
        content.insert((table, key.to_be_bytes().to_vec()), value);
    };
    put(Table::Meta, 0, 8 + n);
    put(Table::Referent, n % 7, 100 * n);
    put(Table::Waiting, n, 300);
    put(Table::Log, n, if n.is_multiple_of(5) { 40_000 } else { 900 });
    if let Some(old) = n.checked_sub(4) {
        for table in [Table::Waiting, Table::Log] {
            batch.delete(table, &old.to_be_bytes());
            content.remove(&(table, old.to_be_bytes().to_vec()));
        }
    }
    batch
}

/// A directory as a killed process leaves it, with table files and a log, and what it held after each batch.
struct Victim {
    path: tempfile::TempDir,
    after: Vec<Content>,
}

impl Victim {
    fn new() -> Victim {
        let job = tempfile::tempdir().unwrap();
        let path = tempfile::tempdir().unwrap();
        let state = open(job.path());
        let mut now = Content::new();
        let mut after = vec![now.clone()];
        for n in 0..BATCHES {
            state.write(&batch(n, &mut now), Durability::Synced).unwrap();
            after.push(now.clone());
            if n == 6 || n == 11 {
                state.flush().unwrap();
            }
        }
        copy(job.path(), path.path());
        Victim { path, after }
    }

    /// The last of the files whose names begin or end so.
    fn file(&self, part: &str) -> String {
        let mut names = files(self.path.path()).into_keys();
        names.rfind(|name| name.starts_with(part) || name.ends_with(part)).unwrap()
    }

    /// Damages a copy and tries to use it: the number of batches it holds, or the error.
    fn with(&self, file: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Result<usize, String> {
        let path = tempfile::tempdir().unwrap();
        copy(self.path.path(), path.path());
        let target = path.path().join(file);
        let mut bytes = fs::read(&target).unwrap();
        damage(&mut bytes);
        fs::write(&target, bytes).unwrap();
        self.held(path.path())
    }

    fn held(&self, path: &Path) -> Result<usize, String> {
        let before = files(path);
        let state = match State::open(&options(path), &identity()) {
            Ok(state) => state,
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        OpenError::Damaged { .. } | OpenError::Foreign { .. } | OpenError::NewerFormat { .. }
                    ),
                    "{error:?}"
                );
                assert_tables_untouched(&before, path, &error);
                return Err(error.to_string());
            }
        };
        match content(&state) {
            Ok(found) => {
                let held = self.after.iter().position(|content| *content == found);
                let held = held.unwrap_or_else(|| panic!("not a prefix: {:?}", found.keys().collect::<Vec<_>>()));
                let mut next = Batch::default();
                next.put(Table::Meta, b"next", b"");
                state.write(&next, Durability::Synced).unwrap();
                Ok(held)
            }
            Err(error) => {
                assert!(matches!(error, StateError::Damaged(_)), "{error:?}");
                Err(error.to_string())
            }
        }
    }
}

/// What was there is there, byte for byte.
fn assert_tables_untouched(before: &std::collections::BTreeMap<String, Vec<u8>>, path: &Path, error: &OpenError) {
    let after = files(path);
    for (name, bytes) in before {
        assert_eq!(after.get(name).map(Vec::len), Some(bytes.len()), "{name} after {error}");
        assert!(after.get(name) == Some(bytes), "{name} after {error}");
    }
}

/// Places spread over a file: its ends, and an odd step between.
fn places(length: usize, count: usize) -> impl Iterator<Item = usize> {
    let step = (length / count).max(1);
    (0..length)
        .step_by(step)
        .map(move |at| at + (at / step * 7) % step)
        .filter(move |&at| at < length)
        .chain([length - 1])
}

#[test]
fn undamaged() {
    let victim = Victim::new();
    assert_eq!(victim.held(victim.path.path()), Ok(BATCHES as usize));
}

#[test]
fn a_log_that_is_cut_off_opens_with_a_prefix() {
    let victim = Victim::new();
    let log = victim.file(".log");
    let length = fs::metadata(victim.path.path().join(&log)).unwrap().len() as usize;
    let mut last = 0;
    for at in places(length, 30) {
        let held = victim.with(&log, |bytes| bytes.truncate(at)).unwrap();
        assert!(held >= last.max(12), "{held} of the batches after {at} bytes");
        last = held;
    }
    assert_eq!(last, BATCHES as usize - 1);
}

#[test]
fn a_hole_in_the_last_write_opens_without_it() {
    let victim = Victim::new();
    let log = victim.file(".log");
    let held = victim.with(&log, |bytes| {
        let end = bytes.len();
        bytes[end - 500..end - 100].fill(0);
    });
    assert_eq!(held, Ok(BATCHES as usize - 1));
}

#[test]
fn a_flipped_byte_in_a_log_is_refused_but_in_the_last_write() {
    let victim = Victim::new();
    let log = victim.file(".log");
    let length = fs::metadata(victim.path.path().join(&log)).unwrap().len() as usize;
    let (mut refused, mut shorter) = (0, 0);
    for at in places(length, 40) {
        match victim.with(&log, |bytes| bytes[at] ^= 0x10) {
            Ok(held) if held == BATCHES as usize => {}
            Ok(held) => {
                assert_eq!(held, BATCHES as usize - 1, "byte {at} of {length}");
                shorter += 1;
            }
            Err(error) => {
                assert!(error.contains(&format!("write-ahead log {log}")), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 30 && shorter > 0, "{refused} refused, {shorter} shorter");
}

#[test]
fn a_flipped_byte_in_a_table_file_is_found_before_it_is_served() {
    let victim = Victim::new();
    let mut refused = 0;
    for (name, bytes) in files(victim.path.path()).iter().filter(|(name, _)| name.ends_with(".sst")) {
        for at in places(bytes.len(), 12) {
            match victim.with(name, |bytes| bytes[at] ^= 0x04) {
                Ok(held) => assert_eq!(held, BATCHES as usize, "byte {at} of {name}"),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn a_flipped_byte_in_the_manifest_is_refused() {
    for file in ["MANIFEST-", "CURRENT", "FORMAT"] {
        let victim = Victim::new();
        let name = victim.file(file);
        let length = fs::metadata(victim.path.path().join(&name)).unwrap().len() as usize;
        for at in places(length, 40) {
            match victim.with(&name, |bytes| bytes[at] ^= 0x01) {
                Ok(held) => assert_eq!(held, BATCHES as usize, "byte {at} of {length} of {name}"),
                Err(error) => assert!(error.contains("damaged") || error.contains("format"), "{error}"),
            }
        }
    }
}

/// But for the gap that the crate's documentation names: within the one record that follows the deletion of a log. It is as long as half a step, and
/// where it lies differs from run to run.
#[test]
fn a_manifest_that_is_cut_off_is_refused() {
    let victim = Victim::new();
    let manifest = victim.file("MANIFEST-");
    let length = fs::metadata(victim.path.path().join(&manifest)).unwrap().len() as usize;
    let mut opened = Vec::new();
    for at in places(length, 40) {
        if let Ok(held) = victim.with(&manifest, |bytes| bytes.truncate(at)) {
            opened.push((at, held));
        }
    }
    assert!(opened.len() <= 1, "{opened:?} of {length} bytes");
    assert!(opened.iter().all(|&(_, held)| held == BATCHES as usize), "{opened:?} of {length} bytes");
}

#[test]
fn a_missing_file_is_refused() {
    let victim = Victim::new();
    let kept = files(victim.path.path());
    for part in ["CURRENT", "MANIFEST-", ".sst", "FORMAT"] {
        let path = tempfile::tempdir().unwrap();
        copy(victim.path.path(), path.path());
        fs::remove_file(path.path().join(victim.file(part))).unwrap();
        let error = victim.held(path.path()).unwrap_err();
        assert!(error.contains("damaged") || error.contains("not a state directory"), "{error}");
        assert_eq!(files(victim.path.path()), kept);
    }
}
