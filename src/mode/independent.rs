//! Events that wait for nothing: no reference is looked up, so an event is resolved where it was decoded.

use crate::dependency::Rules;
use crate::event::{Dependent, DroppedReason, EntityId, Event, KeyHash, Outcome, is_tombstone};

use super::{Message, Referent, Visit};

/// What a decoded event does on the worker that read it: it is sent to the shards of its own key as a referent, and then to those of its references;
/// without references it is resolved here. A tombstone is sent to the shards of its key and ends here. Returns the outcome if there is one.
pub fn accept(
    rules: &Rules,
    dependent: Box<Dependent>,
    workers: usize,
    mut send: impl FnMut(Message),
) -> Option<Outcome> {
    let header = &dependent.event.header.header;
    let stream = rules.stream(header.stream);
    let ordered = stream.queue().filter(|_| dependent.order.is_some());
    let deletes = is_tombstone(&dependent.event);
    let at_once = deletes || (dependent.references.is_empty() && ordered.is_none());
    if let Some(key) = &header.key {
        let resolved = stream.provides_resolved.filter(|_| at_once);
        for entity in stream.provides.into_iter().chain(resolved) {
            if rules.entity(entity).streaming || rules.entity(entity).deferred {
                send(provide(entity, key.hash(entity), &dependent.event, workers));
            }
        }
    }
    if deletes {
        return Some(Outcome::Dropped(dependent, DroppedReason::Tombstone));
    }
    if at_once {
        return Some(Outcome::Resolved(dependent));
    }
    let (to, visit) = match (ordered, &dependent.order, dependent.references.first()) {
        (Some(_), Some(order), _) => (order.hash.owner(workers), Visit::Enter(dependent)),
        (_, _, Some(first)) => (first.hash.owner(workers), Visit::Dependent(dependent)),
        // Without references and without an order it was resolved above.
        _ => return Some(Outcome::Resolved(dependent)),
    };
    send(Message { to, visit });
    None
}

/// A referent on its way to its shard.
pub(super) fn provide(entity: EntityId, hash: KeyHash, event: &Event, workers: usize) -> Message {
    Message { to: hash.owner(workers), visit: Visit::Referent(Referent { entity, hash, event: event.clone() }) }
}
