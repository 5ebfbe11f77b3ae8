//! After a start: whether the last epoch that topics were given counts. The broker has decided that, and the state learns it here.

use resolvent_state::{Batch, Durability, State};

use super::rows::{Committed, Pending};
use super::{CheckpointError, Ending, Topics};
use crate::event::Epoch;
use crate::mode;
use crate::sink::{LostEpoch, Marker, Place, SinkError};

/// What is known when a job starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Situation {
    /// The last epoch that the state has.
    last: Epoch,
    /// The epoch that it has pending.
    pending: Option<Epoch>,
    /// Whether the state has committed to topics, so that there must be a marker.
    expected: bool,
    /// The epoch of the broker's marker.
    broker: Option<Epoch>,
    /// Whether the job was told to start over.
    fresh: bool,
    lost: Option<LostEpoch>,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    GoOn,
    Apply,
    Discard,
    Refuse(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// There is no marker.
    Lost,
    /// It is of an epoch that the state does not know.
    Differs(Epoch),
    /// A new state, and topics that the job has written to.
    Used,
}

impl Situation {
    fn decide(self) -> Verdict {
        let or_lost = |verdict: fn(LostEpoch) -> Verdict| self.lost.map_or(Verdict::Refuse(Refusal::Lost), verdict);
        match (self.pending, self.broker) {
            (Some(pending), Some(broker)) if broker == pending => Verdict::Apply,
            (Some(_), Some(broker)) if broker == self.last => Verdict::Discard,
            (Some(_), Some(broker)) => Verdict::Refuse(Refusal::Differs(broker)),
            (Some(_), None) => or_lost(|lost| match lost {
                LostEpoch::Committed => Verdict::Apply,
                LostEpoch::Aborted => Verdict::Discard,
            }),
            (None, Some(broker)) if self.expected && broker != self.last => Verdict::Refuse(Refusal::Differs(broker)),
            (None, None) if self.expected => or_lost(|_| Verdict::GoOn),
            (None, Some(broker)) if !self.expected && self.last == Epoch(0) && broker != Epoch(0) && !self.fresh => {
                Verdict::Refuse(Refusal::Used)
            }
            (None, _) => Verdict::GoOn,
        }
    }
}

/// What a start has found, to be settled once nothing else is refused.
#[derive(Debug, Default)]
pub struct Recovery {
    committed: Committed,
    settle: Option<Settle>,
}

#[derive(Debug)]
enum Settle {
    Apply(Box<Pending>),
    Discard,
}

impl Recovery {
    /// Reads the last commit of a state, `None` being a new one, and asks the broker where one is needed to know it. Modifies nothing in the state.
    ///
    /// # Errors
    ///
    /// The state cannot be read, the broker does not answer, or holds another epoch than the state; or another process has taken over.
    pub fn find(state: Option<&State>, topics: Option<&mut Topics>) -> Result<Recovery, CheckpointError> {
        let committed = state.map(Committed::read).transpose()?.unwrap_or_default();
        let pending = state.map(Pending::read).transpose()?.flatten();
        let Some(topics) = topics.filter(|topics| topics.ending != Ending::Acknowledged) else {
            return match pending {
                Some(pending) => Err(CheckpointError::Undecided(pending.epoch)),
                None => Ok(Recovery { committed, settle: None }),
            };
        };
        if topics.ending == Ending::Grouped {
            // What an earlier beginning of this process left open is aborted. No other process has its transactional id.
            topics.broker.fence()?;
            return Ok(Recovery { committed, settle: None });
        }
        let with_pending = match (state, &pending) {
            (Some(state), Some(pending)) => Some(Committed::read_with(state, pending)?),
            _ => None,
        };
        let known = [&committed].into_iter().chain(&with_pending).filter_map(|committed| committed.place.clone());
        let mut places: Vec<_> = known.collect();
        let expected = !places.is_empty();
        if !expected {
            places.push(topics.place_for(&committed));
        }
        let broker = topics.fence(&places)?;
        let situation = Situation {
            last: committed.epoch,
            pending: pending.as_ref().map(|pending| pending.epoch),
            expected,
            broker,
            fresh: topics.fresh,
            lost: topics.lost_epoch,
        };
        let verdict = situation.decide();
        tracing::debug!(?situation, ?verdict, "recovery");
        match (verdict, with_pending, pending) {
            (Verdict::Apply, Some(committed), Some(pending)) => {
                Ok(Recovery { committed, settle: Some(Settle::Apply(Box::new(pending))) })
            }
            (Verdict::Refuse(refusal), ..) => Err(situation.refused(refusal, topics)),
            (_, _, pending) => Ok(Recovery { committed, settle: pending.map(|_| Settle::Discard) }),
        }
    }

    /// The last commit.
    pub fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Makes what was found true in the state. Returns the last commit.
    ///
    /// # Errors
    ///
    /// The state cannot be written.
    pub fn settle(self, state: &State) -> Result<Committed, CheckpointError> {
        let mut cleared = Batch::default();
        Pending::clear(&mut cleared);
        match self.settle {
            Some(Settle::Apply(pending)) => {
                state.write_all(&[&pending.changes, &pending.rows, &cleared], Durability::Synced)?;
            }
            Some(Settle::Discard) => {
                mode::discard_log(state, self.committed.epoch, &mut cleared)?;
                state.write(&cleared, Durability::Synced)?;
            }
            None => {}
        }
        Ok(self.committed)
    }
}

impl Situation {
    fn refused(self, refusal: Refusal, topics: &Topics) -> CheckpointError {
        let group = topics.group.clone();
        match refusal {
            Refusal::Lost => CheckpointError::Lost { group, epoch: self.pending.unwrap_or(self.last) },
            Refusal::Differs(broker) => CheckpointError::Differs { group, broker, state: self.last },
            Refusal::Used => CheckpointError::Used { group },
        }
    }
}

impl Topics {
    /// Fences every other process of the job, and reads the epoch that the broker holds then. Where this process has put its marker there before, another's
    /// says that it has been taken over, and it must not fence that one. What a process left open that was killed is not waited for: fencing ends it.
    fn fence(&mut self, places: &[Place]) -> Result<Option<Epoch>, CheckpointError> {
        if self.instance.has_committed() {
            let marker = self.broker.decided_marker(places)?;
            self.refuse_anothers(marker.as_ref())?;
        }
        self.broker.fence()?;
        let marker = self.broker.marker(places)?;
        self.refuse_anothers(marker.as_ref())?;
        Ok(marker.map(|marker| marker.epoch))
    }

    fn refuse_anothers(&self, marker: Option<&Marker>) -> Result<(), CheckpointError> {
        let is_anothers = marker.is_some_and(|marker| marker.instance != self.instance.id());
        if self.instance.has_committed() && is_anothers {
            return Err(SinkError::TakenOver { job: self.job.clone() }.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `state` is `last`, `last+pending`, with `!` where a marker must be there; `broker` its epoch or `-`; then the verdict without `lost_epoch`, and, where
    /// they differ, with `committed` and with `aborted`.
    const TABLE: &str = "
        state   broker   verdict
        0       -        go on
        0       0        go on
        0       7        used
        0+1     0        discard
        0+1     1        apply
        0+1     -        lost, apply, discard
        0+1     7        differs
        7       -        go on
        7       9        go on
        7!      7        go on
        7!      6        differs
        7!      9        differs
        7!      0        differs
        7!      -        lost, go on, go on
        7+9!    9        apply
        7+9!    7        discard
        7+9!    8        differs
        7+9!    10       differs
        7+9!    0        differs
        7+9!    -        lost, apply, discard
        7+9     9        apply
        7+9     7        discard
    ";

    #[test]
    fn what_the_broker_says_decides() {
        let epoch = |text: &str| Epoch(text.parse().expect("an epoch"));
        let mut rows = 0;
        for row in TABLE.lines().map(str::trim).filter(|row| !row.is_empty()).skip(1) {
            let mut columns = row.splitn(3, "  ").map(str::trim);
            let (state, rest) = (columns.next().expect("a state"), row.split_once("  ").expect("columns").1.trim());
            let (broker, verdicts) = rest.split_once("  ").expect("columns");
            let expected = state.ends_with('!');
            let (last, pending) = match state.trim_end_matches('!').split_once('+') {
                Some((last, pending)) => (epoch(last), Some(epoch(pending))),
                None => (epoch(state.trim_end_matches('!')), None),
            };
            let broker = (broker != "-").then(|| epoch(broker));
            let verdicts: Vec<&str> = verdicts.trim().split(", ").collect();
            for (at, lost) in [None, Some(LostEpoch::Committed), Some(LostEpoch::Aborted)].into_iter().enumerate() {
                let situation = Situation { last, pending, expected, broker, fresh: false, lost };
                let said = match situation.decide() {
                    Verdict::GoOn => "go on",
                    Verdict::Apply => "apply",
                    Verdict::Discard => "discard",
                    Verdict::Refuse(Refusal::Lost) => "lost",
                    Verdict::Refuse(Refusal::Differs(_)) => "differs",
                    Verdict::Refuse(Refusal::Used) => "used",
                };
                assert_eq!(said, *verdicts.get(at).unwrap_or(&verdicts[0]), "{row}, lost_epoch {lost:?}");
            }
            rows += 1;
        }
        assert_eq!(rows, 22);
    }

    #[test]
    fn a_job_that_starts_over_goes_on_beside_its_old_marker() {
        let situation = Situation {
            last: Epoch(0),
            pending: None,
            expected: false,
            broker: Some(Epoch(7)),
            fresh: true,
            lost: None,
        };
        assert_eq!(situation.decide(), Verdict::GoOn);
    }
}
