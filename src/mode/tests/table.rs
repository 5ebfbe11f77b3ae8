//! The table of one worker's keys: chains, what is known, what is cold, and how much memory it says it holds.

use std::sync::Arc;

use super::notation;
use crate::dependency::Rules;
use crate::event::{Dependent, EntityId, Event, Key, KeyHash, Timestamp, event_bytes};
use crate::mode::Memory;
use crate::mode::table::{Chain, Cold, Entry, Parked, Table, Unlogged, WaiterId};

struct Desk {
    rules: Arc<Rules>,
    table: Table,
    a: EntityId,
    offset: u64,
}

impl Desk {
    fn new() -> Desk {
        let rules = notation::rules(&["a key -> a:name=x:optional", "e -> a:name=x a:name=y:optional"]);
        let a = rules.streams()[0].provides.expect("a provides an entity");
        Desk { table: Table::new(Arc::clone(&rules)), rules, a, offset: 0 }
    }

    fn park(&mut self, line: &str) -> WaiterId {
        self.offset += 1;
        let dependent = notation::dependent(&self.rules, line, self.offset, Timestamp(0));
        self.table.park(dependent, Parked::At(0), false).0
    }

    fn referent(&self, line: &str) -> Event {
        notation::dependent(&self.rules, line, 0, Timestamp(0)).event.clone()
    }

    fn hash(&self, key: i64) -> (EntityId, KeyHash, Key) {
        let key = Key::Int(key);
        (self.a, key.hash(self.a), key)
    }

    fn put(&mut self, key: i64, line: &str) {
        let (entity, hash, key) = self.hash(key);
        let referent = self.referent(line);
        self.table.put(entity, hash, &key, referent, false);
    }

    fn waiting(&self, key: i64) -> Vec<WaiterId> {
        let (entity, hash, key) = self.hash(key);
        self.table.waiters_of(&Cold { hash, entity, key })
    }

    fn detach(&mut self, key: i64) -> Chain {
        let (entity, hash, key) = self.hash(key);
        self.table.detach(entity, hash, &key)
    }

    fn woken(&mut self, mut chain: Chain) -> Vec<u64> {
        let mut offsets = Vec::new();
        while let Some(dependent) = self.table.next_of(&mut chain) {
            offsets.push(dependent.event.header.header.id.offset);
        }
        offsets
    }
}

#[test]
fn events_are_woken_in_the_order_in_which_they_came_whoever_left_meanwhile() {
    let cases = [(&[][..], &[1, 2, 3, 4][..]), (&[0], &[2, 3, 4]), (&[1, 2], &[1, 4]), (&[3], &[1, 2, 3])];
    for ((left, woken), packs) in cases.into_iter().flat_map(|case| [(case, false), (case, true)]) {
        let mut desk = Desk::new();
        let waiters: Vec<WaiterId> = (0..4).map(|_| desk.park("e x=1")).collect();
        desk.park("e x=2");
        waiters.iter().filter(|_| packs).for_each(|waiter| desk.table.pack(*waiter, &mut Vec::new()));
        for at in left {
            assert!(desk.table.take(waiters[*at]).is_some() && desk.table.take(waiters[*at]).is_none());
        }
        let chain = desk.detach(1);
        assert_eq!(chain.len(), woken.len());
        assert_eq!(desk.woken(chain), woken, "without {left:?}");
        assert_eq!(desk.waiting(2).len(), 1, "the chain of another key");
    }
}

#[test]
fn an_event_whose_chain_was_detached_lacks_nothing_and_is_in_no_later_chain() {
    let mut desk = Desk::new();
    let [first, second] = [desk.park("e x=1"), desk.park("e x=1")];
    assert!(desk.table.lacks_referent(first) && desk.table.lacks_referent(second));
    let chain = desk.detach(1);
    assert!(!desk.table.lacks_referent(first), "it is being woken");
    desk.table.pack(second, &mut Vec::new());
    let third = desk.park("e x=1");
    assert!(desk.table.lacks_referent(third) && !desk.table.lacks_referent(second));
    assert_eq!(desk.waiting(1), [third]);
    assert_eq!(desk.woken(chain), [1, 2]);
    let behind = notation::dependent(&desk.rules, "e x=1", 9, Timestamp(0));
    let (behind, _) = desk.table.park(behind, Parked::Behind, false);
    assert!(!desk.table.lacks_referent(behind), "it waits for its turn");
}

#[test]
fn keys_of_one_hash_are_told_apart() {
    let mut desk = Desk::new();
    let hash = KeyHash(7);
    let (one, two) = (Key::Int(1), Key::text("1"));
    let referent = desk.referent("a id=1");
    desk.table.put(desk.a, hash, &one, referent, false);
    assert!(desk.table.entry(desk.a, hash, &two).is_none(), "nothing is known of the other");
    desk.table.know(desk.a, hash, &two);
    assert!(desk.table.entry(desk.a, hash, &two).is_some_and(|entry| entry.referent.is_none()));
    desk.table.forget(desk.a, hash, &two);
    assert!(desk.table.entry(desk.a, hash, &one).is_some_and(|entry| entry.referent.is_some()));
    assert!(desk.table.entry(EntityId(desk.a.0 + 1), hash, &one).is_none(), "nor are entities mixed");
}

#[test]
fn memory_is_counted_when_it_is_taken_and_when_it_is_given_back() {
    let mut desk = Desk::new();
    desk.put(1, "a id=1");
    let one = desk.table.memory().referents;
    assert!(one > event_bytes(&desk.referent("a id=1")));
    desk.put(1, "a id=1 more=1234567890");
    let longer = event_bytes(&desk.referent("a id=1 more=1234567890")) - event_bytes(&desk.referent("a id=1"));
    assert_eq!(desk.table.memory().referents, one + longer, "a version takes the place of another");
    let waiters = [desk.park("e x=2 y=1"), desk.park("e x=2"), desk.park("e x=1")];
    assert!(desk.table.memory().waiting > 3 * 100);
    desk.table.take(waiters[1]);
    let chain = desk.detach(2);
    assert_eq!(desk.woken(chain).len(), 1);
    let (entity, hash, key) = desk.hash(1);
    desk.table.forget(entity, hash, &key);
    assert_eq!(desk.waiting(1).len(), 1, "who waits keeps the key known");
    desk.table.take(waiters[2]);
    let (entity, hash, key) = desk.hash(2);
    desk.table.forget(entity, hash, &key);
    assert_eq!(desk.table.memory(), Memory::default());
}

#[test]
fn a_packed_event_takes_less_memory_and_is_what_it_was_once_it_is_taken() {
    let mut desk = Desk::new();
    let waiter = desk.park("e x=1 y=2");
    let whole = desk.table.memory().waiting;
    let before = desk.table.whole_mut(waiter).expect("it waits").clone();
    desk.table.pack(waiter, &mut Vec::new());
    let packed = desk.table.memory().waiting;
    assert!(packed < whole, "{packed} of {whole} bytes");
    desk.table.pack(waiter, &mut Vec::new());
    assert_eq!(desk.table.memory().waiting, packed, "it is packed already");
    assert!(desk.table.whole_mut(waiter).is_some());
    assert_eq!(desk.table.memory().waiting, whole, "it works again");
    desk.table.pack(waiter, &mut Vec::new());
    let after = desk.table.take(waiter).expect("it waits");
    assert_eq!(desk.table.memory().waiting, 0);
    assert_eq!(after.event.slice, before.event.slice);
    assert_eq!(after.event.header.header, before.event.header.header);
    assert_eq!(after.completed_at, before.completed_at);
    let names = |dependent: &Dependent| -> Vec<_> {
        dependent.references.iter().map(|r| (r.entity, r.hash, r.key.clone(), r.dependency, r.deadline)).collect()
    };
    assert_eq!(names(&after), names(&before));
    assert_eq!(after.missing().count(), before.missing().count());
}

#[test]
fn what_would_not_save_memory_or_waits_for_its_turn_is_not_packed() {
    let mut desk = Desk::new();
    let packs = |desk: &mut Desk, waiter: WaiterId| {
        let before = desk.table.memory().waiting;
        desk.table.pack(waiter, &mut Vec::new());
        desk.table.memory().waiting < before
    };
    let plain = desk.park("e x=1");
    assert!(packs(&mut desk, plain));
    let keyed = desk.park("a id=7 x=1");
    let referent = desk.table.whole_mut(keyed).expect("it waits").event.clone();
    assert!(!packs(&mut desk, keyed), "the table has its bytes: {referent:?}");
    drop(referent);
    assert!(packs(&mut desk, keyed));
    let holds = desk.park("e x=1 y=2");
    let (entity, hash, key) = desk.hash(2);
    let referent = desk.referent("a id=2");
    desk.table.whole_mut(holds).expect("it waits").take(entity, hash, &key, &referent);
    assert!(!packs(&mut desk, holds), "it has a referent that is nowhere else");
    let behind = notation::dependent(&desk.rules, "e x=1", 9, Timestamp(0));
    let (behind, _) = desk.table.park(behind, Parked::Behind, false);
    assert!(!packs(&mut desk, behind), "it is complete");
}

#[test]
fn what_was_not_touched_since_the_hand_last_passed_is_cold() {
    let mut desk = Desk::new();
    (0..100).for_each(|key| desk.put(key, "a id=1"));
    let round = desk.table.buckets();
    let is_cold = |_: &Entry, touched: bool| !touched;
    assert_eq!(desk.table.sweep(round, is_cold).len(), 0, "all were touched when they came");
    for key in 0..40 {
        let (entity, hash, key) = desk.hash(key);
        desk.table.entry(entity, hash, &key);
    }
    let half = round / 2;
    let cold = desk.table.sweep(half, is_cold).len() + desk.table.sweep(round - half, is_cold).len();
    assert_eq!(cold, 60, "the hand goes on where it stopped");
    assert_eq!(desk.table.sweep(round, |_, _| false).len(), 0);
    assert_eq!(desk.table.sweep(round, is_cold).len(), 100, "what is cold and stays is found again");
}

#[test]
fn what_is_no_longer_retained_is_forgotten_in_one_round() {
    let mut desk = Desk::new();
    (0..100).for_each(|key| desk.put(key, if key % 4 == 0 { "a id=1 old=1" } else { "a id=1" }));
    let waiter = desk.park("e x=0");
    let is_old = |_: EntityId, event: &Event| event.slice.ends_with(b"\"old\":1}");
    desk.table.forget_old(desk.table.buckets(), is_old);
    let left = (0..100).filter(|key| {
        let (entity, hash, key) = desk.hash(*key);
        desk.table.entry(entity, hash, &key).is_some_and(|entry| entry.referent.is_some())
    });
    assert_eq!(left.count(), 75);
    assert!(desk.table.lacks_referent(waiter));
}

#[test]
fn what_is_to_be_logged_is_counted_once_and_until_it_leaves() {
    let mut desk = Desk::new();
    let (first, second) = (desk.park("e x=1"), desk.park("e x=2"));
    assert!(desk.table.set_unlogged(first, 100) && desk.table.set_unlogged(second, 0));
    assert_eq!(desk.table.unlogged(), Unlogged { events: 2, bytes: 101 }, "an event has a byte at least");
    assert!(!desk.table.set_unlogged(first, 70), "it is noted already");
    assert_eq!(desk.table.unlogged(), Unlogged { events: 2, bytes: 71 });
    desk.table.take(second);
    desk.table.logged(first);
    assert_eq!(desk.table.unlogged(), Unlogged::default());
    assert!(desk.table.set_unlogged(first, 5), "it has changed since");
    let chain = desk.detach(1);
    desk.woken(chain);
    assert_eq!(desk.table.unlogged(), Unlogged::default());
}
