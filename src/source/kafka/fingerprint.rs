//! Tells a topic that was deleted and made anew from the one that was read: by the last record that was committed of each partition.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use super::block::Record;
use crate::event::{PartitionId, Positions};

/// Bytes of key and value that are looked at.
const SAMPLE_BYTES: usize = 4096;

/// A record of a topic partition, as far as a later start must know it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordFingerprint {
    /// Its offset.
    pub(super) offset: u64,
    timestamp: Option<i64>,
    /// Of its key and its value.
    hash: u64,
}

impl RecordFingerprint {
    /// That of a record.
    pub(super) fn of(record: &Record<'_>) -> RecordFingerprint {
        let mut hasher = Xxh3Default::new();
        for part in [record.key, record.value] {
            // None is not the same as empty.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            hasher.update(&length.to_le_bytes());
            let part = part.unwrap_or_default();
            hasher.update(part.get(..SAMPLE_BYTES).unwrap_or(part));
        }
        RecordFingerprint { offset: record.offset, timestamp: record.timestamp, hash: hasher.digest() }
    }
}

/// The fingerprints at the ends of blocks that are not committed yet: the reading thread adds them, the committer takes them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(Arc<Mutex<BTreeMap<PartitionId, VecDeque<RecordFingerprint>>>>);

impl Marks {
    /// Whatever a thread that panicked left behind is whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionId, VecDeque<RecordFingerprint>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds that of the last record of a block.
    pub(super) fn add(&self, partition: PartitionId, fingerprint: RecordFingerprint) {
        self.lock().entry(partition).or_default().push_back(fingerprint);
    }

    /// Those of the last records before `positions`, where there are new ones. Forgets all before them.
    pub(crate) fn take(&self, positions: &Positions) -> BTreeMap<PartitionId, RecordFingerprint> {
        let mut taken = BTreeMap::new();
        for (partition, marks) in self.lock().iter_mut() {
            let Some(position) = positions.0.get(partition) else { continue };
            while let Some(mark) = marks.front().filter(|mark| mark.offset < *position) {
                taken.insert(*partition, *mark);
                marks.pop_front();
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'m>(offset: u64, key: Option<&'m [u8]>, value: Option<&'m [u8]>) -> Record<'m> {
        Record { offset, timestamp: Some(9), key, value }
    }

    #[test]
    fn records_that_differ_have_different_fingerprints() {
        let long = vec![b'x'; 2 * SAMPLE_BYTES];
        let all = [
            record(1, None, None),
            record(2, None, None),
            record(1, Some(b""), None),
            record(1, None, Some(b"")),
            record(1, Some(b"a"), Some(b"b")),
            record(1, Some(b"ab"), Some(b"")),
            record(1, None, Some(&long)),
            record(1, None, Some(&long[1..])),
            Record { timestamp: None, ..record(1, None, None) },
        ];
        let fingerprints: Vec<_> = all.iter().map(RecordFingerprint::of).collect();
        for (at, one) in fingerprints.iter().enumerate() {
            assert!(!fingerprints[..at].contains(one), "{at}: {one:?}");
        }
        assert_eq!(RecordFingerprint::of(&record(1, Some(b"a"), Some(b"b"))), fingerprints[4]);
    }

    #[test]
    fn the_last_record_before_a_position_is_taken_once() {
        let marks = Marks::default();
        let of = |offset| RecordFingerprint::of(&record(offset, None, None));
        for (partition, offset) in [(0, 4), (0, 9), (1, 2), (0, 20)] {
            marks.add(PartitionId(partition), of(offset));
        }
        let positions = |pairs: &[(u32, u64)]| Positions(pairs.iter().map(|(p, o)| (PartitionId(*p), *o)).collect());
        assert!(marks.take(&positions(&[(0, 4), (1, 2)])).is_empty());
        assert_eq!(marks.take(&positions(&[(0, 10)])), BTreeMap::from([(PartitionId(0), of(9))]));
        assert_eq!(marks.take(&positions(&[(0, 10), (1, 3)])), BTreeMap::from([(PartitionId(1), of(2))]));
        assert_eq!(marks.take(&positions(&[(0, 21), (1, 3)])), BTreeMap::from([(PartitionId(0), of(20))]));
    }
}
