//! The few of many, in bounded memory: the least of some order, and the most frequent.

use std::collections::BinaryHeap;

use hashbrown::HashTable;

use crate::event::{EntityId, Key, KeyHash};

/// Keeps the least items, up to a number of them.
pub(super) struct Least<T> {
    limit: usize,
    heap: BinaryHeap<T>,
}

impl<T: Ord> Least<T> {
    pub(super) fn new(limit: usize) -> Self {
        Least { limit, heap: BinaryHeap::new() }
    }

    pub(super) fn add(&mut self, item: T) {
        if self.heap.len() < self.limit {
            self.heap.push(item);
        } else if let Some(mut greatest) = self.heap.peek_mut().filter(|greatest| **greatest > item) {
            *greatest = item;
        }
    }

    /// What was kept, the least first.
    pub(super) fn into_sorted(self) -> Vec<T> {
        self.heap.into_sorted_vec()
    }
}

/// A key with the number of events counted for it.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) entity: EntityId,
    pub(super) key: Key,
    hash: KeyHash,
    pub(super) count: u64,
}

/// Finds the most frequent keys with a fixed number of counters (Misra and Gries 1982): of n keys added, every one that came more than
/// n / (counters + 1) times keeps a counter. Counts are too low once a counter had to be given up; [`Frequent::recount`] then counts those that are left
/// once more.
pub(super) struct Frequent {
    counters: usize,
    counted: HashTable<Counted>,
    gave_up: bool,
}

impl Frequent {
    pub(super) fn new(counters: usize) -> Self {
        Frequent { counters, counted: HashTable::new(), gave_up: false }
    }

    pub(super) fn add(&mut self, entity: EntityId, hash: KeyHash, key: &Key) {
        if let Some(counted) = self.counted.find_mut(hash.0, |c| c.entity == entity && c.key == *key) {
            counted.count += 1;
        } else if self.counted.len() < self.counters {
            let counted = Counted { entity, key: key.clone(), hash, count: 1 };
            self.counted.insert_unique(hash.0, counted, |c| c.hash.0);
        } else {
            self.gave_up = true;
            self.counted.retain(|c| {
                c.count -= 1;
                c.count > 0
            });
        }
    }

    /// Sets all counts to 0 and says whether they must be counted anew, each with [`Frequent::add_known`].
    pub(super) fn recount(&mut self) -> bool {
        if self.gave_up {
            self.counted.iter_mut().for_each(|c| c.count = 0);
        }
        self.gave_up
    }

    /// Counts a key that has a counter.
    pub(super) fn add_known(&mut self, entity: EntityId, hash: KeyHash, key: &Key) {
        if let Some(counted) = self.counted.find_mut(hash.0, |c| c.entity == entity && c.key == *key) {
            counted.count += 1;
        }
    }

    /// The most frequent keys, up to `limit`: the most frequent first, and equal ones in the order of their entities and hashes.
    pub(super) fn into_top(self, limit: usize) -> Vec<Counted> {
        let mut all: Vec<Counted> = self.counted.into_iter().collect();
        all.sort_unstable_by_key(|c| (std::cmp::Reverse(c.count), c.entity, c.hash));
        all.truncate(limit);
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const ENTITY: EntityId = EntityId(0);

    fn add(frequent: &mut Frequent, key: i64, known: bool) {
        let key = Key::Int(key);
        let hash = key.hash(ENTITY);
        if known { frequent.add_known(ENTITY, hash, &key) } else { frequent.add(ENTITY, hash, &key) }
    }

    proptest! {
        #[test]
        fn the_least_are_kept(items in vec(any::<u8>(), 0..60), limit in 0usize..10) {
            let mut least = Least::new(limit);
            items.iter().for_each(|item| least.add(*item));
            let mut expected = items;
            expected.sort_unstable();
            expected.truncate(limit);
            prop_assert_eq!(least.into_sorted(), expected);
        }

        #[test]
        fn what_is_frequent_is_found_and_counted(keys in vec(0i64..12, 0..200), counters in 1usize..8) {
            let mut frequent = Frequent::new(counters);
            keys.iter().for_each(|key| add(&mut frequent, *key, false));
            prop_assert!(frequent.counted.len() <= counters);
            if frequent.recount() {
                keys.iter().for_each(|key| add(&mut frequent, *key, true));
            }
            let top = frequent.into_top(usize::MAX);
            let times = |key: &Key| keys.iter().filter(|k| Key::Int(**k) == *key).count();
            for counted in &top {
                prop_assert_eq!(counted.count as usize, times(&counted.key));
            }
            prop_assert!(top.is_sorted_by(|a, b| a.count >= b.count));
            for key in (0..12).map(Key::Int) {
                let found = top.iter().any(|c| c.key == key);
                prop_assert!(found || times(&key) * (counters + 1) <= keys.len());
            }
        }
    }
}
