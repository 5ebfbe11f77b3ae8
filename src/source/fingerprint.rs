//! What a later start knows the input again by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SourceError;
use super::file::{FileFingerprint, FileFingerprints};
use super::kafka::{Marks, RecordFingerprint};
use crate::event::{PartitionId, Positions};

/// What the part of a partition that was read looked like, as far as a later start must know it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fingerprint {
    /// Of a file: what it began and ended with.
    File(FileFingerprint),
    /// Of a topic partition: its last record.
    Record(RecordFingerprint),
}

/// Takes the fingerprints of what is committed. Of standard input, pipes and synthetic workloads there are none.
#[derive(Debug, Default)]
pub struct Fingerprints {
    pub(super) files: FileFingerprints,
    pub(super) records: Marks,
}

impl Fingerprints {
    /// The fingerprints of partitions that have been read on since they were last taken.
    ///
    /// # Errors
    /// A file cannot be read, or is shorter than what was read of it.
    pub fn take(&mut self, positions: &Positions) -> Result<BTreeMap<PartitionId, Fingerprint>, SourceError> {
        let files = self.files.take(positions)?.into_iter().map(|(p, file)| (p, Fingerprint::File(file)));
        let records = self.records.take(positions).into_iter().map(|(p, record)| (p, Fingerprint::Record(record)));
        Ok(files.chain(records).collect())
    }
}
