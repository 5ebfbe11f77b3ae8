//! Whose fault it is that records come late: that of the source, which makes them too slowly, or that of whoever holds it back.

/// How far a schedule has fallen behind by the source's own slowness. In microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    behind: u64,
    behind_most: u64,
}

impl Pace {
    /// Notes how late the next record was when records were asked for, and how late the one after them when they were made. Between two such calls the
    /// source was held back: lateness that grows then is not its own.
    pub(super) fn made(&mut self, late_before: u64, late_after: u64) {
        // It catches up with what is not its own first only where it has nothing of its own left.
        self.behind = (self.behind + late_after).saturating_sub(late_before).min(late_after);
        self.behind_most = self.behind_most.max(self.behind);
    }

    /// The most that there was.
    pub(super) fn behind_most(&self) -> u64 {
        self.behind_most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(calls: &[(u64, u64)]) -> u64 {
        let mut pace = Pace::default();
        calls.iter().for_each(|(before, after)| pace.made(*before, *after));
        pace.behind_most()
    }

    #[test]
    fn what_grows_while_records_are_made_is_its_own() {
        // late before and after each call, the most of its own
        let cases: [(&[(u64, u64)], u64); 5] = [
            (&[(0, 0), (0, 0)], 0),
            (&[(0, 10), (10, 20), (20, 30)], 30),
            (&[(0, 10), (10, 0), (0, 10)], 10),
            // Held back for 500: it catches up.
            (&[(0, 0), (500, 400), (400, 100), (100, 0)], 0),
            // Slow and held back: of 530 only 30 is its own.
            (&[(0, 10), (510, 520), (520, 530)], 30),
        ];
        for (calls, expected) in cases {
            assert_eq!(most(calls), expected, "{calls:?}");
        }
    }
}
