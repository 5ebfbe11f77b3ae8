//! The totals of a job, and the law that they obey.

use serde::{Deserialize, Serialize};

/// What became of all records that a job has ever read. Committed with each epoch, they go on over restarts; a replayed record is not counted again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Records read.
    pub read: u64,
    /// Records that were no event.
    pub rejected: u64,
    /// Records that were an event.
    pub accepted: u64,
    /// Events that ended `resolved`.
    pub resolved: u64,
    /// Events that ended `expired`.
    pub expired: u64,
    /// Events that ended `dropped`.
    pub dropped: u64,
    /// Results that were taken away again, where they are maintained: `resolved` counts each time that one is added. The state has it in a row of its own,
    /// for jobs whose results are told once have none.
    #[serde(skip)]
    pub retracted: u64,
}

impl Totals {
    /// The events that were accepted and have not ended: what waits, and what is in flight.
    pub fn waiting(&self) -> u64 {
        self.accepted.saturating_sub(self.ended())
    }

    /// Adds what another share of the work counted.
    pub fn add(&mut self, other: &Totals) {
        self.read += other.read;
        self.rejected += other.rejected;
        self.accepted += other.accepted;
        self.resolved += other.resolved;
        self.expired += other.expired;
        self.dropped += other.dropped;
        self.retracted += other.retracted;
    }

    /// What was counted since `earlier`, an older reading of the same totals.
    pub fn since(&self, earlier: &Totals) -> Totals {
        Totals {
            read: self.read.saturating_sub(earlier.read),
            rejected: self.rejected.saturating_sub(earlier.rejected),
            accepted: self.accepted.saturating_sub(earlier.accepted),
            resolved: self.resolved.saturating_sub(earlier.resolved),
            expired: self.expired.saturating_sub(earlier.expired),
            dropped: self.dropped.saturating_sub(earlier.dropped),
            retracted: self.retracted.saturating_sub(earlier.retracted),
        }
    }

    /// Checks the law of conservation (`accepted + retracted = resolved + expired + dropped + waiting`, where nothing is taken away again without
    /// `retracted`), where `waiting` was counted apart from these totals: the events that are really there.
    ///
    /// # Errors
    ///
    /// Says which of the two equations fails. Either means that an event was lost or answered twice.
    pub fn conserves(&self, waiting: u64) -> Result<(), ConservationError> {
        if self.read != self.rejected + self.accepted {
            return Err(ConservationError::Read { read: self.read, rejected: self.rejected, accepted: self.accepted });
        }
        if self.accepted + self.retracted != self.resolved + self.expired + self.dropped + waiting {
            return Err(ConservationError::Accepted {
                accepted: self.accepted,
                resolved: self.resolved,
                expired: self.expired,
                dropped: self.dropped,
                waiting,
                retracted: self.retracted,
            });
        }
        Ok(())
    }

    fn ended(&self) -> u64 {
        (self.resolved + self.expired + self.dropped).saturating_sub(self.retracted)
    }
}

/// The totals do not add up: a defect of Resolvent, never of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConservationError {
    /// Not every record read is either an event or rejected.
    #[error("the totals do not add up: read {read}, but rejected {rejected} + accepted {accepted} = {}", rejected + accepted)]
    Read {
        /// Records read.
        read: u64,
        /// Records that were no event.
        rejected: u64,
        /// Records that were an event.
        accepted: u64,
    },
    /// Not every event has either ended or waits.
    #[error(
        "the totals do not add up: accepted {accepted}{}, but resolved {resolved} + expired {expired} + dropped {dropped} + waiting {waiting} = {}",
        if *retracted > 0 { format!(" + retracted {retracted} = {}", accepted + retracted) } else { String::new() },
        resolved + expired + dropped + waiting
    )]
    Accepted {
        /// Records that were an event.
        accepted: u64,
        /// Events that ended `resolved`.
        resolved: u64,
        /// Events that ended `expired`.
        expired: u64,
        /// Events that ended `dropped`.
        dropped: u64,
        /// Events that were found waiting.
        waiting: u64,
        /// Results that were taken away again.
        retracted: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals([read, rejected, accepted, resolved, expired, dropped]: [u64; 6]) -> Totals {
        Totals { read, rejected, accepted, resolved, expired, dropped, retracted: 0 }
    }

    #[test]
    fn the_law_holds_or_says_what_is_wrong() {
        // read, rejected, accepted, resolved, expired, dropped; waiting; what the error says
        let cases = [
            ([0, 0, 0, 0, 0, 0], 0, ""),
            ([10, 1, 9, 4, 2, 1], 2, ""),
            ([10, 1, 9, 9, 0, 0], 0, ""),
            ([10, 1, 8, 8, 0, 0], 0, "read 10, but rejected 1 + accepted 8 = 9"),
            ([9, 0, 9, 4, 2, 1], 1, "accepted 9, but resolved 4 + expired 2 + dropped 1 + waiting 1 = 8"),
            ([9, 0, 9, 9, 1, 0], 0, "accepted 9, but resolved 9 + expired 1 + dropped 0 + waiting 0 = 10"),
        ];
        for (counts, waiting, expected) in cases {
            let found = totals(counts).conserves(waiting).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(found.ends_with(expected) && found.is_empty() == expected.is_empty(), "{counts:?}: {found}");
        }
    }

    #[test]
    fn what_is_taken_away_again_may_be_added_again() {
        let twice = Totals { retracted: 2, ..totals([10, 1, 9, 8, 0, 2]) };
        assert_eq!(twice.conserves(1), Ok(()));
        assert_eq!(twice.waiting(), 1);
        let said = twice.conserves(0).unwrap_err().to_string();
        assert!(
            said.contains("accepted 9 + retracted 2 = 11, but resolved 8 + expired 0 + dropped 2 + waiting 0 = 10"),
            "{said}"
        );
        assert_eq!(twice.since(&Totals { retracted: 1, ..Totals::default() }).retracted, 1);
    }

    #[test]
    fn shares_add_up_and_subtract() {
        let mut sum = totals([10, 1, 9, 4, 2, 1]);
        sum.add(&totals([5, 0, 5, 5, 0, 0]));
        assert_eq!(sum, totals([15, 1, 14, 9, 2, 1]));
        assert_eq!(sum.waiting(), 2);
        assert_eq!(sum.since(&totals([10, 1, 9, 4, 2, 1])), totals([5, 0, 5, 5, 0, 0]));
    }
}
