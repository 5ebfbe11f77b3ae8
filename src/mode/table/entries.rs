//! The entries of all keys.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::Entry;
use crate::event::{EntityId, Key, KeyHash};

/// How many tables there are.
const TABLES: u8 = 128;

/// Bits of a hash that choose a table. They are neither those that choose the worker, nor those that choose the place in a table.
const CHOICE_BITS: u32 = 11;
const CHOICE_FROM: u32 = 29;

/// Entries by key, in many hash tables instead of one: a table moves all its entries when it grows, which took a worker some 50 milliseconds at two million.
///
/// Tables of one size would grow one after the other, but all within moments. So the last has twice as many keys as the first, and each as many times more than
/// the one before: however many there are, one grows now and then.
#[derive(Debug)]
pub(super) struct Entries {
    tables: Vec<HashTable<Entry>>,
    /// The table of each choice.
    chosen: Vec<u8>,
}

/// A place on the way round all buckets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hand {
    table: usize,
    bucket: usize,
}

impl Entries {
    pub(super) fn new() -> Self {
        let choices = 1u16 << CHOICE_BITS;
        let table = |choice: u16| (1.0 + f64::from(choice) / f64::from(choices)).log2() * f64::from(TABLES);
        Entries {
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
            // Below `TABLES`: the logarithm is below one.
            chosen: (0..choices).map(|choice| table(choice) as u8).collect(),
        }
    }

    fn number(&self, hash: KeyHash) -> usize {
        let choice = (hash.0 >> CHOICE_FROM) as usize & ((1 << CHOICE_BITS) - 1);
        self.chosen.get(choice).copied().map_or(0, usize::from)
    }

    pub(super) fn find(&self, entity: EntityId, hash: KeyHash, key: &Key) -> Option<&Entry> {
        self.tables.get(self.number(hash))?.find(hash.0, |entry| entry.is(entity, key))
    }

    pub(super) fn find_mut(&mut self, entity: EntityId, hash: KeyHash, key: &Key) -> Option<&mut Entry> {
        let number = self.number(hash);
        self.tables.get_mut(number)?.find_mut(hash.0, |entry| entry.is(entity, key))
    }

    /// The entry of a key, with whether it was made now.
    pub(super) fn find_or_insert(
        &mut self,
        entity: EntityId,
        hash: KeyHash,
        key: &Key,
        make: impl FnOnce() -> Entry,
    ) -> (&mut Entry, bool) {
        let number = self.number(hash);
        #[expect(clippy::indexing_slicing, reason = "every choice is of a table that there is")]
        let table = &mut self.tables[number];
        match table.entry(hash.0, |entry| entry.is(entity, key), |entry| entry.hash.0) {
            Slot::Occupied(entry) => (entry.into_mut(), false),
            Slot::Vacant(vacant) => (vacant.insert(make()).into_mut(), true),
        }
    }

    /// Takes the entry of a key out if that is wanted. Returns whether it was.
    pub(super) fn remove_if(
        &mut self,
        entity: EntityId,
        hash: KeyHash,
        key: &Key,
        is_wanted: impl FnOnce(&Entry) -> bool,
    ) -> bool {
        let number = self.number(hash);
        let Some(table) = self.tables.get_mut(number) else { return false };
        let Ok(found) = table.find_entry(hash.0, |entry| entry.is(entity, key)) else { return false };
        let removes = is_wanted(found.get());
        if removes {
            found.remove();
        }
        removes
    }

    pub(super) fn buckets(&self) -> usize {
        self.tables.iter().map(buckets_of).sum()
    }

    /// Moves a hand on to the next bucket, and shows what is in it.
    pub(super) fn next(&mut self, hand: &mut Hand) -> Option<&mut Entry> {
        hand.bucket += 1;
        for _ in 0..=TABLES {
            if hand.bucket < self.tables.get(hand.table).map_or(0, buckets_of) {
                break;
            }
            *hand = Hand { table: (hand.table + 1) % usize::from(TABLES), bucket: 0 };
        }
        self.tables.get_mut(hand.table)?.get_bucket_mut(hand.bucket)
    }
}

/// Those of a table that has no memory yet are none, whatever it says.
fn buckets_of(table: &HashTable<Entry>) -> usize {
    if table.capacity() == 0 { 0 } else { table.num_buckets() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many choices are those of the last table as of the first twice over, and no table is passed over.
    #[test]
    fn the_last_table_has_twice_as_many_keys_as_the_first() {
        let entries = Entries::new();
        let choices = |table: u8| entries.chosen.iter().filter(|chosen| **chosen == table).count();
        assert!(entries.chosen.is_sorted() && (0..TABLES).all(|table| choices(table) > 0));
        let half = |tables: std::ops::Range<u8>| tables.map(choices).sum::<usize>() as f64;
        let (first, last) = (half(0..TABLES / 8), half(TABLES - TABLES / 8..TABLES));
        assert!((1.7..2.0).contains(&(last / first)), "{last} to {first}");
    }
}
