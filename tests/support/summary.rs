//! The table that a job prints at its end.

/// Its counts: over all runs of the job where it ran before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) read: u64,
    pub(crate) rejected: u64,
    pub(crate) accepted: u64,
    pub(crate) resolved: u64,
    pub(crate) expired: u64,
    pub(crate) dropped: u64,
    pub(crate) waiting: u64,
    /// Results that were taken away again, where they are maintained.
    pub(crate) retracted: u64,
}

impl Summary {
    /// Reads the table, and checks the law of conservation in it.
    #[track_caller]
    pub(crate) fn parse(stderr: &str) -> Summary {
        let find = |row: &str| -> Option<u64> {
            let found = stderr.lines().find_map(|line| line.strip_prefix(row))?;
            Some(found.split_whitespace().next().unwrap().replace(',', "").parse().unwrap())
        };
        let count = |row: &str| find(row).unwrap_or_else(|| panic!("no {row:?}: {stderr}"));
        let summary = Summary {
            read: count("    read "),
            rejected: count("  = rejected "),
            accepted: count("    accepted "),
            resolved: count("  = resolved "),
            expired: count("  + expired "),
            dropped: count("  + dropped "),
            waiting: count("  + waiting "),
            retracted: find("  + retracted ").unwrap_or_default(),
        };
        assert_eq!(summary.read, summary.rejected + summary.accepted, "{stderr}");
        assert_eq!(
            summary.accepted + summary.retracted,
            summary.resolved + summary.expired + summary.dropped + summary.waiting,
            "{stderr}"
        );
        summary
    }
}
