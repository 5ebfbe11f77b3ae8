//! When committed input was read: what is read again to rebuild referents gets its old arrival, so that `retain` counts from that and not from a restart.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use bincode::Options;
use resolvent_state::{Batch, State, Table};

use crate::event::{PartitionId, Positions, Timestamp};

use super::{CheckpointError, options, pairs};

/// What the rows begin with; the time in microseconds follows, so that they are in order.
const PREFIX: &[u8] = b"time/";

/// Points that a timeline aims at: an arrival is known to a thousandth of the longest `retain`.
const POINTS: u32 = 1000;

/// How far the sources had been read at points of time, as far back as the longest `retain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    keep: Duration,
    every: Duration,
    points: BTreeMap<Timestamp, Positions>,
}

impl Timeline {
    /// Reads the timeline of a state; `keep` is the longest `retain` of referents that are rebuilt by reading again.
    ///
    /// # Errors
    ///
    /// The state does not answer, or a row is damaged.
    pub fn read(state: &State, keep: Duration) -> Result<Timeline, CheckpointError> {
        let (mut points, mut damaged) = (BTreeMap::new(), None);
        state.scan(Table::Meta, PREFIX, PREFIX, usize::MAX, |row, value| match point(row, value) {
            Ok((at, positions)) => {
                points.insert(at, positions);
                ControlFlow::Continue(())
            }
            Err(what) => {
                damaged = Some(CheckpointError::Damaged(what));
                ControlFlow::Break(())
            }
        })?;
        let every = (keep / POINTS).max(Duration::from_secs(1));
        damaged.map_or(Ok(Timeline { keep, every, points }), Err)
    }

    /// When the records before an offset had been read: the arrival of a block that ends there, or a little later. `None` where the timeline does not reach.
    pub fn arrival(&self, partition: PartitionId, next_offset: u64) -> Option<Timestamp> {
        let reached = |positions: &Positions| positions.0.get(&partition).is_some_and(|at| *at >= next_offset);
        self.points.iter().find(|(_, positions)| reached(positions)).map(|(at, _)| *at)
    }

    /// How far a partition had been read at a point of time, or a little before: whatever lies behind that came later. `None` where it is not known.
    pub fn position(&self, partition: PartitionId, at: Timestamp) -> Option<u64> {
        let (_, positions) = self.points.range(..=at).next_back()?;
        positions.0.get(&partition).copied()
    }

    /// Notes how far the sources have been read, and forgets what no `retain` asks for any more.
    pub(crate) fn note(
        &mut self,
        now: Timestamp,
        positions: &Positions,
        batch: &mut Batch,
    ) -> Result<(), CheckpointError> {
        if self.points.last_key_value().is_some_and(|(last, _)| last.after(self.every) > now) {
            return Ok(());
        }
        let value =
            options().serialize(&pairs(positions)).map_err(|error| CheckpointError::Damaged(error.to_string()))?;
        batch.put(Table::Meta, &row(now), &value);
        self.points.insert(now, positions.clone());
        // A point may go when the next one is already older than anything that is retained.
        while self.points.keys().nth(1).is_some_and(|second| second.after(self.keep) < now) {
            if let Some((oldest, _)) = self.points.pop_first() {
                batch.delete(Table::Meta, &row(oldest));
            }
        }
        Ok(())
    }
}

fn row(at: Timestamp) -> Vec<u8> {
    [PREFIX, &at.0.to_be_bytes()].concat()
}

fn point(row: &[u8], value: &[u8]) -> Result<(Timestamp, Positions), String> {
    let at = row.last_chunk::<8>().ok_or("a point of its timeline has no time")?;
    let pairs: Vec<(u32, u64)> = options().deserialize(value).map_err(|error| error.to_string())?;
    let positions = pairs.into_iter().map(|(partition, offset)| (PartitionId(partition), offset)).collect();
    Ok((Timestamp(i64::from_be_bytes(*at)), Positions(positions)))
}

#[cfg(test)]
mod tests {
    use resolvent_state::Durability;

    use super::*;

    fn positions(offset: u64) -> Positions {
        Positions([(PartitionId(0), offset)].into())
    }

    #[test]
    fn an_arrival_is_that_of_the_first_point_that_had_read_so_far() {
        let state = State::in_memory();
        let mut timeline = Timeline::read(&state, Duration::from_secs(100)).unwrap();
        let mut batch = Batch::default();
        for second in 1..=3_i64 {
            timeline.note(Timestamp(second * 1_000_000), &positions(second as u64 * 10), &mut batch).unwrap();
        }
        state.write(&batch, Durability::Synced).unwrap();
        let again = Timeline::read(&state, Duration::from_secs(100)).unwrap();
        assert_eq!(again, timeline);
        assert_eq!(again.arrival(PartitionId(0), 10), Some(Timestamp(1_000_000)));
        assert_eq!(again.arrival(PartitionId(0), 11), Some(Timestamp(2_000_000)));
        assert_eq!(again.arrival(PartitionId(0), 31), None);
        assert_eq!(again.arrival(PartitionId(1), 1), None);
        assert_eq!(again.position(PartitionId(0), Timestamp(999_999)), None);
        assert_eq!(again.position(PartitionId(0), Timestamp(2_000_000)), Some(20));
        assert_eq!(again.position(PartitionId(0), Timestamp(2_999_999)), Some(20));
        assert_eq!(again.position(PartitionId(1), Timestamp(2_999_999)), None);
    }

    #[test]
    fn points_that_nothing_is_retained_for_are_deleted() {
        let state = State::in_memory();
        let mut timeline = Timeline::read(&state, Duration::from_secs(5)).unwrap();
        for second in 1..=60_i64 {
            let mut batch = Batch::default();
            timeline.note(Timestamp(second * 1_000_000), &positions(second as u64), &mut batch).unwrap();
            state.write(&batch, Durability::Synced).unwrap();
        }
        let kept = Timeline::read(&state, Duration::from_secs(5)).unwrap();
        assert_eq!(kept, timeline);
        assert!(kept.points.len() <= 8, "{} points", kept.points.len());
    }
}
