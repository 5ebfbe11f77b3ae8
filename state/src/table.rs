//! The list of all tables.

/// A table: an ordered map from byte strings to byte strings, with rules of its own.
///
/// The number and the name of a table are on disk. Those of a table that is given up stay reserved: add new ones at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// What there is one of: positions, totals, file lengths. Few keys, overwritten at will.
    Meta = 0,
    /// Referents, by shard, entity and key. Overwritten at will; each entry may carry an expiry, after which it is not there
    /// any more ([`Batch::put_until`](crate::Batch::put_until)). Read by key: has a filter.
    Referent = 1,
    /// Who waits for what, read by prefix. Put once: a key that is there is deleted before it is put again.
    Waiting = 2,
    /// What is due when, in the order of time; read from the front. Overwritten at will. What was deleted at the front is
    /// stepped over until it is compacted: begin each scan where the one before ended, not at the first key.
    Deadline = 3,
    /// Large values (64 KiB to 1 MiB), written once and soon deleted. Put once: a key that is there is deleted before it is
    /// put again.
    Log = 4,
    /// Keys that ended without an answer. Overwritten at will.
    Ended = 5,
}

impl Table {
    /// All tables, in the order of their numbers.
    pub const ALL: [Table; 6] =
        [Table::Meta, Table::Referent, Table::Waiting, Table::Deadline, Table::Log, Table::Ended];

    /// Its name: that of its column family, and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::Referent => "referent",
            Table::Waiting => "waiting",
            Table::Deadline => "deadline",
            Table::Log => "log",
            Table::Ended => "ended",
        }
    }

    /// Whether a key that is there must be deleted before it is put again. Such a table deletes with RocksDB's
    /// `SingleDelete`, which takes the value away with it instead of leaving a tombstone behind; with two puts before one
    /// delete the older value could come back. [`State::in_memory`](crate::State::in_memory) refuses a batch that breaks the
    /// rule, so that simulations find it.
    pub fn put_once(self) -> bool {
        matches!(self, Table::Waiting | Table::Log)
    }

    pub(crate) fn from_number(number: u8) -> Option<Table> {
        Table::ALL.get(usize::from(number)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_list() {
        for (number, table) in (0..).zip(Table::ALL) {
            assert_eq!(table as u8, number);
            assert_eq!(Table::from_number(number), Some(table));
        }
        assert_eq!(Table::from_number(6), None);
    }
}
