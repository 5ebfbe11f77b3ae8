//! The queues of `ordered_by`: events of one stream with one value are resolved in the order in which they came.
//!
//! An event enters the queue of its value before it looks for its referents, so that it waits for them at once; complete, it comes back and is let go
//! when nobody that still waits is before it. An event that ends otherwise leaves on time, and does not hold up the rest.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::event::{EntityId, Key, KeyHash};

use super::Place;
use super::table::WaiterId;

#[derive(Debug, Default)]
struct Queue {
    last: u64,
    /// By ticket: the complete event that waits for its turn, or `None` for one that still lacks something.
    places: BTreeMap<u64, Option<WaiterId>>,
}

/// All queues of one worker.
#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: FxHashMap<(EntityId, KeyHash), Vec<(Key, Queue)>>,
    bytes: usize,
}

/// Memory of a queue without its places, and of a place.
fn queue_bytes(key: &Key) -> usize {
    size_of::<((EntityId, KeyHash), Vec<(Key, Queue)>)>() + size_of::<(Key, Queue)>() + key.heap_bytes()
}

const PLACE_BYTES: usize = size_of::<(u64, Option<WaiterId>)>();

impl Queues {
    /// Enters an event at the end, or at its old place when it comes out of the state with its ticket. Returns the ticket.
    pub(super) fn enter(&mut self, entity: EntityId, hash: KeyHash, key: &Key, ticket: u64) -> u64 {
        let same_hash = self.queues.entry((entity, hash)).or_default();
        let at = match same_hash.iter().position(|(k, _)| k == key) {
            Some(at) => at,
            None => {
                same_hash.push((key.clone(), Queue::default()));
                self.bytes += queue_bytes(key);
                same_hash.len() - 1
            }
        };
        let Some((_, queue)) = same_hash.get_mut(at) else { return ticket };
        let ticket = if ticket == 0 { queue.last + 1 } else { ticket };
        queue.last = queue.last.max(ticket);
        if queue.places.insert(ticket, None).is_none() {
            self.bytes += PLACE_BYTES;
        }
        ticket
    }

    /// Memory that the queues hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps the place of an event that has not come out of the state yet.
    pub(super) fn reserve(&mut self, place: &Place) {
        self.enter(place.entity, place.hash, &place.key, place.ticket);
    }

    /// Whether nobody is before this place.
    pub(super) fn is_first(&mut self, place: &Place) -> bool {
        self.queue(place).is_none_or(|q| q.places.first_key_value().is_none_or(|(first, _)| *first >= place.ticket))
    }

    /// Notes that the event of this place is complete and waits for its turn.
    pub(super) fn wait(&mut self, place: &Place, waiter: WaiterId) {
        if let Some(queue) = self.queue(place) {
            queue.places.insert(place.ticket, Some(waiter));
        }
    }

    /// Takes an event out of its queue. If the one that is first now is complete, that one is to go next.
    pub(super) fn leave(&mut self, place: &Place) -> Option<WaiterId> {
        let queue = self.queue(place)?;
        let was_there = queue.places.remove(&place.ticket).is_some();
        let next = queue.places.first_key_value().and_then(|(_, waiter)| *waiter);
        if queue.places.is_empty() {
            self.remove(place);
        }
        if was_there {
            self.bytes -= PLACE_BYTES;
        }
        next
    }

    fn queue(&mut self, place: &Place) -> Option<&mut Queue> {
        let same_hash = self.queues.get_mut(&(place.entity, place.hash))?;
        same_hash.iter_mut().find(|(key, _)| *key == place.key).map(|(_, queue)| queue)
    }

    fn remove(&mut self, place: &Place) {
        if let Some(same_hash) = self.queues.get_mut(&(place.entity, place.hash)) {
            same_hash.retain(|(key, _)| *key != place.key);
            self.bytes -= queue_bytes(&place.key);
            if same_hash.is_empty() {
                self.queues.remove(&(place.entity, place.hash));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: EntityId = EntityId(9);

    fn place(key: i64, ticket: u64) -> Place {
        Place { entity: QUEUE, key: Key::Int(key), hash: KeyHash(7), ticket }
    }

    fn enter(queues: &mut Queues, key: i64) -> u64 {
        queues.enter(QUEUE, KeyHash(7), &Key::Int(key), 0)
    }

    #[test]
    fn an_event_goes_when_nobody_is_before_it_in_the_queue_of_its_value() {
        let mut queues = Queues::default();
        assert_eq!([enter(&mut queues, 1), enter(&mut queues, 1), enter(&mut queues, 2)], [1, 2, 1]);
        assert!(queues.is_first(&place(1, 1)) && !queues.is_first(&place(1, 2)) && queues.is_first(&place(2, 1)));
        assert_eq!(queues.leave(&place(1, 1)), None, "the next one is not complete");
        assert!(queues.is_first(&place(1, 2)));
        assert_eq!(queues.bytes(), 2 * (queue_bytes(&Key::Int(1)) + PLACE_BYTES));
        queues.leave(&place(1, 2));
        queues.leave(&place(2, 1));
        assert_eq!(queues.bytes(), 0);
    }

    #[test]
    fn a_place_that_was_kept_is_before_what_came_later() {
        let mut queues = Queues::default();
        queues.reserve(&place(1, 5));
        assert_eq!(enter(&mut queues, 1), 6);
        assert!(!queues.is_first(&place(1, 6)));
        assert_eq!(queues.enter(QUEUE, KeyHash(7), &Key::Int(1), 5), 5);
        assert!(queues.is_first(&place(1, 5)));
    }
}
