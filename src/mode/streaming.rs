//! What is particular to referents that are kept in memory only: after a restart they are rebuilt by reading committed input once more.

use crate::dependency::Rules;
use crate::event::{Dependent, is_tombstone};

use super::independent::provide;
use super::{Message, Visit};

/// What a committed record does when it is read again to rebuild the referents that are kept in memory only: nothing is resolved, and nobody is woken.
pub fn replay(
    rules: &Rules,
    dependent: &Dependent,
    ended_resolved: bool,
    workers: usize,
    mut send: impl FnMut(Message),
) {
    let header = &dependent.event.header.header;
    let stream = rules.stream(header.stream);
    let Some(key) = &header.key else { return };
    let resolved = stream.provides_resolved.filter(|_| ended_resolved || is_tombstone(&dependent.event));
    for entity in stream.provides.into_iter().chain(resolved) {
        if rules.entity(entity).streaming && !rules.entity(entity).deferred {
            send(provide(entity, key.hash(entity), &dependent.event, workers));
        }
    }
}

/// Wakes an event that waited when an earlier run stopped.
pub fn wake(dependent: Box<Dependent>, workers: usize) -> Message {
    let (to, visit) = match (&dependent.order, dependent.references.first()) {
        (Some(order), _) => (order.hash.owner(workers), Visit::Enter(dependent)),
        (None, Some(first)) => (first.hash.owner(workers), Visit::Dependent(dependent)),
        (None, None) => (super::engine::GRAPH, Visit::Dependent(dependent)),
    };
    Message { to, visit }
}
