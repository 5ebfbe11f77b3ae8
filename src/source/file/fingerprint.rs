//! Tells a file that was rewritten between two runs from the one that was read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::super::{Fingerprint, SourceError};
use super::origin;
use crate::event::{PartitionId, Positions};

/// Bytes that are looked at where the part that was read begins, and where it ends.
const SAMPLE_BYTES: u64 = 4096;

/// What the part of a file that was read began and ended with: of a compressed file, in its compressed bytes. It says
/// nothing of where the file is, nor of the bytes between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFingerprint {
    /// Bytes of that part.
    length: u64,
    head: u64,
    tail: u64,
}

impl FileFingerprint {
    /// That of the first `length` bytes of a file, which has as many. `earlier` is one of the same file, and not longer.
    fn of(file: &File, length: u64, earlier: Option<FileFingerprint>) -> io::Result<FileFingerprint> {
        let head = match earlier {
            Some(earlier) if earlier.length >= SAMPLE_BYTES => earlier.head,
            _ => sample(file, 0, length)?,
        };
        Ok(FileFingerprint { length, head, tail: sample(file, tail_start(length), length)? })
    }
}

fn tail_start(length: u64) -> u64 {
    length.saturating_sub(SAMPLE_BYTES)
}

/// The hash of the bytes from `start` on, up to `end` and no more than a sample.
fn sample(file: &File, start: u64, end: u64) -> io::Result<u64> {
    let mut bytes = [0; SAMPLE_BYTES as usize];
    let wanted = usize::try_from(end - start).unwrap_or(usize::MAX).min(bytes.len());
    let (bytes, _) = bytes.split_at_mut(wanted);
    file.read_exact_at(bytes, start)?;
    Ok(xxh3_64(bytes))
}

/// A file whose fingerprint can be taken while another thread reads it.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    pub(super) path: String,
    pub(super) partition: PartitionId,
    pub(super) file: Arc<File>,
    /// Of a compressed file, whose positions count other bytes: how many of its own have been decompressed.
    pub(super) used: Option<Arc<AtomicU64>>,
}

impl Witness {
    /// Refuses the file if it is not the one that `known` is of.
    fn verify(&self, known: FileFingerprint) -> Result<(), SourceError> {
        let changed = |what| Err(SourceError::Changed { path: self.path.clone(), what });
        let found = self.length()?;
        if found < known.length {
            return changed(format!("it had {} bytes and has {found} now", known.length));
        }
        let now =
            FileFingerprint::of(&self.file, known.length, None).map_err(|source| self.failed(known.length, source))?;
        let sampled = known.length.min(SAMPLE_BYTES);
        if now.head != known.head {
            return changed(format!("its first {sampled} bytes are others"));
        }
        if now.tail != known.tail {
            return changed(format!(
                "the {sampled} bytes before byte {}, to which it was read, are others",
                known.length
            ));
        }
        Ok(())
    }

    /// The fingerprint of what was read up to `offset`.
    fn take(&self, offset: u64, earlier: Option<FileFingerprint>) -> Result<FileFingerprint, SourceError> {
        let found = self.length()?;
        // After a restart a compressed file is decompressed from its start again.
        let reached = |used: &Arc<AtomicU64>| used.load(Ordering::Relaxed).max(earlier.map_or(0, |e| e.length));
        let length = self.used.as_ref().map_or(offset, reached);
        if found < length {
            return Err(SourceError::Truncated { path: self.path.clone(), offset, length: found });
        }
        FileFingerprint::of(&self.file, length, earlier).map_err(|source| self.failed(offset, source))
    }

    fn length(&self) -> Result<u64, SourceError> {
        origin::length(&self.file).map_err(|source| self.failed(0, source))
    }

    fn failed(&self, offset: u64, source: io::Error) -> SourceError {
        SourceError::Read { path: self.path.clone(), offset, source }
    }
}

/// Takes the fingerprints of files. Of standard input and pipes there are none.
#[derive(Debug, Default)]
pub(crate) struct FileFingerprints {
    files: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    witness: Witness,
    /// The last fingerprint, and the position it was taken for in this run.
    fingerprint: Option<FileFingerprint>,
    offset: Option<u64>,
}

impl FileFingerprints {
    /// Refuses files that are not those that were `known`.
    pub(super) fn of(
        files: impl Iterator<Item = Witness>,
        known: &BTreeMap<PartitionId, Fingerprint>,
    ) -> Result<FileFingerprints, SourceError> {
        let mut watched = Vec::new();
        for witness in files {
            let fingerprint = known.get(&witness.partition).and_then(|known| match known {
                Fingerprint::File(file) => Some(*file),
                Fingerprint::Record(_) => None,
            });
            fingerprint.map_or(Ok(()), |known| witness.verify(known))?;
            watched.push(Watched { witness, fingerprint, offset: None });
        }
        Ok(FileFingerprints { files: watched })
    }

    /// The fingerprints of files that have been read on since they were last taken.
    ///
    /// # Errors
    /// A file cannot be read, or is shorter than what was read of it.
    pub(crate) fn take(
        &mut self,
        positions: &Positions,
    ) -> Result<BTreeMap<PartitionId, FileFingerprint>, SourceError> {
        let mut moved = BTreeMap::new();
        for Watched { witness, fingerprint, offset } in &mut self.files {
            let reached = positions.0.get(&witness.partition).copied();
            let Some(now) = reached.filter(|_| reached != *offset) else { continue };
            let taken = witness.take(now, *fingerprint)?;
            (*fingerprint, *offset) = (Some(taken), reached);
            moved.insert(witness.partition, taken);
        }
        Ok(moved)
    }
}
