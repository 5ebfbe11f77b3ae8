//! What a commit leaves in the state for the next start: its rows, and the epoch that is not decided yet.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use bincode::Options;
use resolvent_state::{Batch, Durability, State, Table};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::CheckpointError;
use crate::event::{Epoch, PartitionId, Partitions, Positions};
use crate::metrics::Totals;
use crate::sink::{self, Mark, Place, SinkKind, Target};
use crate::source::Fingerprint;

/// The row that every commit writes.
const COMMIT: &[u8] = b"commit";

/// The row of the partitions' names, written when there are more of them.
const PARTITIONS: &[u8] = b"partitions";

/// The row of where the partitions begin, written when more of them do.
const ORIGINS: &[u8] = b"origins";

/// The row of how many maintained results were taken away again; written once there is one.
const RETRACTED: &[u8] = b"retracted";

/// What the rows of the input's fingerprints begin with; the partition's number follows. Written for partitions that were read.
const INPUT: &[u8] = b"input/";

/// The row of an epoch that topics have been given, and that the broker has not been heard of.
const PENDING: &[u8] = b"pending";

/// The row of the lists of events that the last epoch has not written down otherwise; there where it has some.
const LISTED: &[u8] = b"listed";

/// The version of these rows.
pub(super) const VERSION: u8 = 3;

/// Those that are read: without lists, as before version 3, they are the same.
const VERSIONS: RangeInclusive<u8> = 2..=VERSION;

/// All that the last commit says, and what the next one builds on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The last epoch.
    pub epoch: Epoch,
    /// How far the sources had been read.
    pub positions: Positions,
    /// Where partitions were read first, where that is not their start: nothing before it belongs to the job.
    pub origins: Positions,
    /// What the files of the input were up to there.
    pub fingerprints: BTreeMap<PartitionId, Fingerprint>,
    /// The names of their partitions.
    pub partitions: Partitions,
    /// What had become of all records.
    pub totals: Totals,
    /// Waiting events that are in the state and not in memory.
    pub waiting_in_state: u64,
    /// Where the broker's marker is, for a job that commits to topics in transactions.
    pub place: Option<Place>,
    /// Lists of events that wait and that the state does not have otherwise: a start [reads them again](crate::mode::read_listed).
    pub listed: Vec<ByteBuf>,
    pub(super) files: BTreeMap<PathBuf, u64>,
    /// How many names of partitions were read: more of them may turn up at any time.
    pub(super) names: usize,
}

#[derive(Serialize, Deserialize)]
struct Row {
    epoch: u64,
    positions: Vec<(u32, u64)>,
    totals: Totals,
    waiting_in_state: u64,
    place: Option<Place>,
    files: Vec<(PathBuf, u64)>,
}

/// What is new since the last commit, beside what every commit writes.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) partitions: bool,
    pub(super) origins: bool,
    /// Whether the commit before had lists.
    pub(super) had_lists: bool,
    /// Partitions whose fingerprint is another one.
    pub(super) inputs: Vec<PartitionId>,
}

impl Committed {
    /// The last commit of a state; the beginning where there is none. An epoch that is not decided yet is not part of it.
    ///
    /// # Errors
    ///
    /// A row is damaged or of another version.
    pub fn read(state: &State) -> Result<Committed, CheckpointError> {
        Self::read_by(|row| Ok(state.get(Table::Meta, row)?))
    }

    /// The same with the rows of a pending epoch in place of those that they replace.
    pub(super) fn read_with(state: &State, pending: &Pending) -> Result<Committed, CheckpointError> {
        let rows: BTreeMap<&[u8], Option<&[u8]>> = pending.rows.changes_of(Table::Meta).collect();
        Self::read_by(|row| match rows.get(row) {
            Some(value) => Ok(value.map(<[u8]>::to_vec)),
            None => Ok(state.get(Table::Meta, row)?),
        })
    }

    fn read_by(get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, CheckpointError>) -> Result<Committed, CheckpointError> {
        let Some(row) = read_row::<Row>(get(COMMIT)?)? else { return Ok(Committed::default()) };
        let names: Vec<String> = read_row(get(PARTITIONS)?)?.unwrap_or_default();
        let origins: Vec<(u32, u64)> = read_row(get(ORIGINS)?)?.unwrap_or_default();
        let mut fingerprints = BTreeMap::new();
        for (partition, _) in &row.positions {
            if let Some(fingerprint) = read_row(get(&input_row(PartitionId(*partition)))?)? {
                fingerprints.insert(PartitionId(*partition), fingerprint);
            }
        }
        Ok(Committed {
            epoch: Epoch(row.epoch),
            names: names.len(),
            positions: positions(row.positions),
            origins: positions(origins),
            fingerprints,
            partitions: Partitions::new(names.into_iter().map(Into::into)),
            totals: Totals { retracted: read_row(get(RETRACTED)?)?.unwrap_or_default(), ..row.totals },
            waiting_in_state: row.waiting_in_state,
            place: row.place,
            listed: read_row(get(LISTED)?)?.unwrap_or_default(),
            files: row.files.into_iter().collect(),
        })
    }

    /// Adds the rows of this commit to a batch.
    pub(super) fn put(&self, news: &News, batch: &mut Batch) -> Result<(), CheckpointError> {
        let row = Row {
            epoch: self.epoch.0,
            positions: pairs(&self.positions),
            totals: self.totals,
            waiting_in_state: self.waiting_in_state,
            place: self.place.clone(),
            files: self.files.iter().map(|(path, length)| (path.clone(), *length)).collect(),
        };
        put_row(batch, COMMIT, &row)?;
        if self.totals.retracted > 0 {
            put_row(batch, RETRACTED, &self.totals.retracted)?;
        }
        if news.partitions {
            let names: Vec<String> = self.partitions.names().iter().map(|name| name.to_string()).collect();
            put_row(batch, PARTITIONS, &names)?;
        }
        if news.origins {
            put_row(batch, ORIGINS, &pairs(&self.origins))?;
        }
        if !self.listed.is_empty() {
            put_row(batch, LISTED, &self.listed)?;
        } else if news.had_lists {
            Self::forget_lists(batch);
        }
        for partition in &news.inputs {
            if let Some(fingerprint) = self.fingerprints.get(partition) {
                put_row(batch, &input_row(*partition), fingerprint)?;
            }
        }
        Ok(())
    }

    fn forget_lists(batch: &mut Batch) {
        batch.delete(Table::Meta, LISTED);
    }

    /// Puts what the last commit has only listed into the log.
    ///
    /// # Errors
    ///
    /// The state cannot be written.
    pub fn log_listed(&mut self, state: &State, mut logged: Batch) -> Result<(), CheckpointError> {
        Self::forget_lists(&mut logged);
        state.write(&logged, Durability::Synced)?;
        self.listed.clear();
        Ok(())
    }

    /// Refuses sinks that are not as this commit left them: what [`Checkpoint::open`](super::Checkpoint::open) would refuse, before anything is touched.
    ///
    /// # Errors
    ///
    /// A file is shorter than what was committed to it, holds something though nothing was, or is in use.
    pub fn check_sinks(&self, sinks: &sink::Settings) -> Result<(), CheckpointError> {
        let targets = SinkKind::ALL.into_iter().filter_map(|kind| sinks.target(kind));
        targets.into_iter().try_for_each(|target| Ok(sink::check(target, self.mark(target))?))
    }

    /// What a sink held.
    pub(super) fn mark(&self, target: &Target) -> Option<Mark> {
        let Target::File(path) = target else { return None };
        self.files.get(path).map(|length| Mark { length: *length })
    }
}

/// An epoch that is made durable as one value before the broker is asked to commit it, and that becomes part of the state only after that.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) epoch: Epoch,
    /// Its rows.
    pub(super) rows: Batch,
    /// What the workers have changed.
    pub(super) changes: Batch,
}

impl Pending {
    /// The epoch that a state has pending, if there is one.
    pub(super) fn read(state: &State) -> Result<Option<Pending>, CheckpointError> {
        let Some(mut value) = versioned(state.get(Table::Meta, PENDING)?)? else { return Ok(None) };
        let damaged = || CheckpointError::Damaged("the pending epoch is cut off".into());
        let head: [u8; 16] = value.first_chunk().copied().ok_or_else(damaged)?;
        let [epoch, rows] = head.as_chunks::<8>().0 else { return Err(damaged()) };
        let rows = usize::try_from(u64::from_le_bytes(*rows)).map_err(|_| damaged())?;
        value.drain(..head.len());
        if rows > value.len() {
            return Err(damaged());
        }
        let changes = Batch::from_bytes(value.split_off(rows))?;
        Ok(Some(Pending { epoch: Epoch(u64::from_le_bytes(*epoch)), rows: Batch::from_bytes(value)?, changes }))
    }

    /// Replaces a batch by the write that makes an epoch pending.
    pub(super) fn put(epoch: Epoch, rows: &Batch, changes: &[Batch], batch: &mut Batch) {
        let (epoch, rows_bytes) = (epoch.0.to_le_bytes(), (rows.bytes() as u64).to_le_bytes());
        let head: [&[u8]; 4] = [&[VERSION], &epoch, &rows_bytes, rows.as_bytes()];
        let parts: Vec<&[u8]> = head.into_iter().chain(changes.iter().map(Batch::as_bytes)).collect();
        batch.clear();
        batch.put_parts(Table::Meta, PENDING, &parts);
    }

    /// Adds to a batch that no epoch is pending any more.
    pub(super) fn clear(batch: &mut Batch) {
        batch.delete(Table::Meta, PENDING);
    }
}

fn input_row(partition: PartitionId) -> Vec<u8> {
    [INPUT, &partition.0.to_be_bytes()].concat()
}

fn positions(pairs: Vec<(u32, u64)>) -> Positions {
    Positions(pairs.into_iter().map(|(partition, offset)| (PartitionId(partition), offset)).collect())
}

pub(super) fn pairs(positions: &Positions) -> Vec<(u32, u64)> {
    positions.0.iter().map(|(partition, offset)| (partition.0, *offset)).collect()
}

/// A row's value without its version.
fn versioned(row: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, CheckpointError> {
    let Some(mut bytes) = row else { return Ok(None) };
    match bytes.first() {
        Some(version) if VERSIONS.contains(version) => {
            bytes.remove(0);
            Ok(Some(bytes))
        }
        Some(version) => Err(CheckpointError::Version(*version)),
        None => Err(CheckpointError::Damaged("it is empty".into())),
    }
}

fn read_row<T: DeserializeOwned>(row: Option<Vec<u8>>) -> Result<Option<T>, CheckpointError> {
    let Some(bytes) = versioned(row)? else { return Ok(None) };
    options().deserialize(&bytes).map(Some).map_err(|error| CheckpointError::Damaged(error.to_string()))
}

fn put_row(batch: &mut Batch, row: &[u8], value: &impl Serialize) -> Result<(), CheckpointError> {
    let mut bytes = vec![VERSION];
    options().serialize_into(&mut bytes, value).map_err(|error| CheckpointError::Damaged(error.to_string()))?;
    batch.put(Table::Meta, row, &bytes);
    Ok(())
}

pub(super) fn options() -> impl Options {
    bincode::DefaultOptions::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_version_before_are_read_and_others_are_refused() {
        for (version, is_read) in [(1, false), (2, true), (VERSION, true), (VERSION + 1, false)] {
            let committed = Committed { epoch: Epoch(7), ..Committed::default() };
            let mut rows = Batch::default();
            committed.put(&News::default(), &mut rows).expect("rows");
            let mut changed = Batch::default();
            for (row, value) in rows.changes_of(Table::Meta) {
                let mut value = value.expect("a put").to_vec();
                value[0] = version;
                changed.put(Table::Meta, row, &value);
            }
            let state = State::in_memory();
            state.write(&changed, Durability::Synced).expect("a state");
            match Committed::read(&state) {
                Ok(read) => assert!(is_read && read == committed, "{version}"),
                Err(error) => {
                    assert!(!is_read && matches!(error, CheckpointError::Version(v) if v == version), "{error}")
                }
            }
        }
    }
}
