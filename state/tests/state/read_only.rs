//! A state can be read beside the job that writes it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use resolvent_state::{Batch, Durability, State, StateError, Table};

use crate::{content, files, identity, open};

#[test]
fn sees_the_commits_of_a_running_job_and_leaves_no_trace() {
    let path = tempfile::tempdir().unwrap();
    let job = open(path.path());
    let mut expected = Vec::new();
    for n in 0u8..3 {
        let mut batch = Batch::default();
        batch.put(Table::Meta, &[n], b"value");
        job.write(&batch, Durability::Synced).unwrap();
        if n == 0 {
            job.flush().unwrap();
        }
        expected.push(((Table::Meta, vec![n]), b"value".to_vec()));
        // A flush that has returned still deletes the log that it has made superfluous.
        let before = std::iter::repeat_with(|| files(path.path())).find(has_one_log).unwrap();
        let reader = State::open_read_only(path.path()).unwrap();
        assert_eq!(content(&reader).unwrap().into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(reader.identity(), &identity());
        assert_eq!(reader.write(&batch, Durability::Synced), Err(StateError::ReadOnly));
        assert_eq!(reader.get(Table::Meta, &[n]), Ok(Some(b"value".to_vec())));
        drop(reader);
        assert_eq!(files(path.path()), before);
        let logs = std::fs::read_dir(path.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("LOG"));
        assert_eq!(logs.count(), 1);
    }
}

fn has_one_log(files: &BTreeMap<String, Vec<u8>>) -> bool {
    files.keys().filter(|name| name.ends_with(".log")).count() == 1
}

/// Every batch puts the same number under a key of each of two tables, flushed at other times than each other.
#[test]
fn sees_whole_batches_while_files_come_and_go() {
    let path = tempfile::tempdir().unwrap();
    let job = open(path.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0u32..600 {
                let mut batch = Batch::default();
                batch.put(Table::Meta, b"n", &n.to_be_bytes());
                batch.put(Table::Ended, b"n", &n.to_be_bytes());
                batch.put(Table::Referent, &n.to_be_bytes(), &vec![n as u8; 30_000]);
                job.write(&batch, Durability::Buffered).unwrap();
                if n % 40 == 0 {
                    job.flush().unwrap();
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut last = 0;
        while !done.load(Ordering::SeqCst) {
            let reader = State::open_read_only(path.path()).unwrap();
            let n = reader.get(Table::Meta, b"n").unwrap();
            assert_eq!(reader.get(Table::Ended, b"n").unwrap(), n);
            let Some(n) = n.map(|n| u32::from_be_bytes(n.try_into().unwrap())) else { continue };
            assert!(n >= last);
            last = n;
            let keys: Vec<[u8; 4]> = (0..=n + 1).map(u32::to_be_bytes).collect();
            let found = reader.get_many(Table::Referent, &keys).unwrap();
            assert!(found[..=n as usize].iter().all(Option::is_some));
            assert_eq!(found[n as usize + 1], None);
        }
    });
}
