//! Which waiting events wait for themselves.
//!
//! Only events that need a *resolved* referent can: what they lack may be provided by an event that waits for them in turn. The graph of all such events
//! is kept on one worker, and asked only when a wait has ended anyway, so that a cycle is never reported early. The engine keeps one, and so do results that
//! are maintained.

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::FxHashMap;

use crate::dependency::Rules;
use crate::event::{Dependent, EntityId, Epoch, Event, EventId, Key, Reference};

use super::Link;

type Provided = (EntityId, Key);

/// The waiting events of streams that may wait in cycles, and what they wait for.
#[derive(Debug, Default)]
pub(super) struct WaitGraph {
    links: FxHashMap<EventId, Link>,
    providers: FxHashMap<u64, BTreeSet<EventId>>,
    /// Events that have ended, the first first, and the epoch in which they did.
    ended: VecDeque<(Epoch, EventId)>,
    /// What is known of the graph as it is: of an event on a cycle the one by which all that are on it with each other are known.
    on_cycle: FxHashMap<EventId, Option<EventId>>,
    /// Of the links.
    bytes: usize,
}

impl WaitGraph {
    /// Notes what an event lacks. That only ever becomes less, so of two links, which may come in any order, the one that lacks less is the later.
    pub(super) fn add(&mut self, id: EventId, link: Link) {
        if self.links.get(&id).is_some_and(|known| known.lacks.len() <= link.lacks.len()) {
            return;
        }
        self.providers.entry(hash(&link.provides)).or_default().insert(id);
        self.bytes += link_bytes(&link);
        if let Some(old) = self.links.insert(id, link) {
            self.bytes -= link_bytes(&old);
        }
        self.on_cycle.clear();
    }

    /// Notes what an event lacks now, whatever was known of it.
    pub(super) fn set(&mut self, id: EventId, link: Link) {
        self.remove(id);
        self.add(id, link);
    }

    /// Forgets an event.
    pub(super) fn remove(&mut self, id: EventId) {
        let Some(link) = self.links.remove(&id) else { return };
        self.bytes -= link_bytes(&link);
        self.on_cycle.clear();
        let hash = hash(&link.provides);
        if let Some(ids) = self.providers.get_mut(&hash) {
            ids.remove(&id);
            if ids.is_empty() {
                self.providers.remove(&hash);
            }
        }
    }

    /// Notes that an event has ended in `epoch`. One that ended unresolved still counts, for a cycle ends as one; nothing leads on from a resolved one.
    pub(super) fn end(&mut self, id: EventId, epoch: Epoch, resolved: bool) {
        self.ended.push_back((epoch, id));
        if let Some(link) = self.links.get_mut(&id).filter(|link| resolved && !link.lacks.is_empty()) {
            self.bytes -= link_bytes(link);
            link.lacks = Vec::new();
            self.bytes += link_bytes(link);
            self.on_cycle.clear();
        }
    }

    /// Forgets what ended before `epoch`.
    pub(super) fn forget_before(&mut self, epoch: Epoch) {
        while self.ended.front().is_some_and(|(ended, _)| *ended < epoch) {
            let Some((_, id)) = self.ended.pop_front() else { break };
            self.remove(id);
        }
    }

    /// Gives up what is known of the graph as it is, and the memory that takes.
    pub(super) fn forget_walks(&mut self) {
        self.on_cycle = FxHashMap::default();
    }

    /// Memory that the graph holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
            + self.ended.capacity() * size_of::<(Epoch, EventId)>()
            + self.on_cycle.capacity() * size_of::<(EventId, Option<EventId>)>()
    }

    /// Whether what an event lacks leads back to it: whether it is in a strongly connected component of more than itself.
    ///
    /// Tarjan's algorithm (1972) with frames of its own instead of recursion. What it finds out about the others on the way is kept for as long as the
    /// graph stays as it is, so that a chain whose events all end at once is walked once.
    pub(super) fn leads_back(&mut self, id: EventId) -> bool {
        self.cycle_of(id).is_some()
    }

    /// Whether these lead back to an event, of all that it lacked: the others have been given up.
    pub(super) fn leads_back_over(&mut self, id: EventId, lacks: &[Provided]) -> bool {
        let Some(cycle) = self.cycle_of(id) else { return false };
        // What it lacks has been walked with it.
        let is_on_it = |other: EventId| self.on_cycle.get(&other) == Some(&Some(cycle));
        lacks.iter().flat_map(|key| self.provided_by(key)).any(is_on_it)
    }

    fn cycle_of(&mut self, id: EventId) -> Option<EventId> {
        if !self.on_cycle.contains_key(&id) {
            let found = Tarjan::new(self).run(id);
            self.on_cycle.extend(found);
        }
        self.on_cycle.get(&id).copied().flatten()
    }

    fn lacked_by(&self, id: EventId) -> Vec<EventId> {
        let lacks = self.links.get(&id).map_or(&[][..], |link| &link.lacks);
        lacks.iter().flat_map(|key| self.provided_by(key)).collect()
    }

    fn provided_by<'a>(&'a self, key: &'a Provided) -> impl Iterator<Item = EventId> + 'a {
        let ids = self.providers.get(&hash(key)).into_iter().flatten().copied();
        ids.filter(move |id| self.links.get(id).is_some_and(|link| link.provides == *key))
    }
}

/// What an event of a stream that may wait in cycles provides and lacks; `None` for others.
pub(super) fn link(rules: &Rules, dependent: &Dependent) -> Option<Link> {
    link_over(rules, &dependent.event, dependent.missing())
}

/// The same, where what an event lacks is known from elsewhere.
pub(super) fn link_over<'a>(
    rules: &Rules,
    event: &Event,
    missing: impl Iterator<Item = &'a Reference>,
) -> Option<Link> {
    let header = &event.header.header;
    let stream = rules.stream(header.stream);
    let (true, Some(entity), Some(key)) = (stream.cyclic, stream.provides_resolved, &header.key) else { return None };
    let resolved = missing.filter(|r| rules.entity(r.entity).resolved_of.is_some());
    let lacks = resolved.map(|r| (r.entity, r.key.clone())).collect();
    Some(Link { provides: (entity, key.clone()), lacks })
}

fn hash(provided: &Provided) -> u64 {
    provided.1.hash(provided.0).0
}

/// Memory of a link and of its place among the providers.
fn link_bytes(link: &Link) -> usize {
    let keys: usize = link.lacks.iter().chain([&link.provides]).map(|(_, key)| key.heap_bytes()).sum();
    let places = size_of::<(EventId, Link)>() + size_of::<(u64, BTreeSet<EventId>)>() + size_of::<EventId>();
    places + link.lacks.capacity() * size_of::<Provided>() + keys
}

/// One event on the path of the walk.
struct Frame {
    id: EventId,
    ahead: Vec<EventId>,
    low: usize,
}

struct Tarjan<'a> {
    graph: &'a WaitGraph,
    index: FxHashMap<EventId, usize>,
    open: Vec<EventId>,
    path: Vec<Frame>,
    found: Vec<(EventId, Option<EventId>)>,
}

impl<'a> Tarjan<'a> {
    fn new(graph: &'a WaitGraph) -> Self {
        Tarjan { graph, index: FxHashMap::default(), open: Vec::new(), path: Vec::new(), found: Vec::new() }
    }

    fn run(mut self, start: EventId) -> Vec<(EventId, Option<EventId>)> {
        self.enter(start);
        while let Some(frame) = self.path.last_mut() {
            match frame.ahead.pop() {
                Some(next) if self.graph.on_cycle.contains_key(&next) => {}
                Some(next) => match self.index.get(&next) {
                    // A closed component has the index usize::MAX, which lowers nothing.
                    Some(index) => frame.low = frame.low.min(*index),
                    None => self.enter(next),
                },
                None => self.leave(),
            }
        }
        self.found
    }

    fn enter(&mut self, id: EventId) {
        let index = self.index.len();
        self.index.insert(id, index);
        self.open.push(id);
        self.path.push(Frame { id, ahead: self.graph.lacked_by(id), low: index });
    }

    fn leave(&mut self) {
        let Some(frame) = self.path.pop() else { return };
        if let Some(parent) = self.path.last_mut() {
            parent.low = parent.low.min(frame.low);
        }
        if self.index.get(&frame.id) != Some(&frame.low) {
            return;
        }
        let from = self.open.iter().rposition(|id| *id == frame.id).unwrap_or(self.open.len());
        let component = self.open.split_off(from);
        let cyclic = component.len() > 1 || self.graph.lacked_by(frame.id).contains(&frame.id);
        for id in component {
            self.index.insert(id, usize::MAX);
            self.found.push((id, cyclic.then_some(frame.id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PartitionId;

    const MESSAGE: EntityId = EntityId(3);

    fn id(n: u64) -> EventId {
        EventId { partition: PartitionId(0), offset: n }
    }

    fn graph(edges: &[(u64, &[u64])]) -> WaitGraph {
        let mut graph = WaitGraph::default();
        let key = |n: &u64| (MESSAGE, Key::unsigned(*n));
        for (n, lacks) in edges {
            graph.add(id(*n), Link { provides: key(n), lacks: lacks.iter().map(key).collect() });
        }
        graph
    }

    #[test]
    fn only_events_on_a_cycle_lead_back_to_themselves() {
        let mut graph = graph(&[(1, &[2]), (2, &[3]), (3, &[1, 9]), (4, &[1]), (5, &[6]), (6, &[7]), (8, &[8])]);
        let on_cycle: Vec<u64> = (1..=9).filter(|n| graph.leads_back(id(*n))).collect();
        assert_eq!(on_cycle, [1, 2, 3, 8]);
    }

    #[test]
    fn an_event_between_two_cycles_is_on_none() {
        let mut graph = graph(&[(1, &[2]), (2, &[1, 3]), (3, &[4]), (4, &[5]), (5, &[4])]);
        let on_cycle: Vec<u64> = (1..=5).filter(|n| graph.leads_back(id(*n))).collect();
        assert_eq!(on_cycle, [1, 2, 4, 5]);
    }

    #[test]
    fn what_is_left_of_what_an_event_lacks_may_lead_back_or_not() {
        let mut graph = graph(&[(1, &[2, 3, 4]), (2, &[1]), (3, &[5]), (4, &[2]), (5, &[3])]);
        let over = |graph: &mut WaitGraph, lacks: &[u64]| {
            let lacks: Vec<Provided> = lacks.iter().map(|n| (MESSAGE, Key::unsigned(*n))).collect();
            graph.leads_back_over(id(1), &lacks)
        };
        let left: [&[u64]; 5] = [&[2], &[3], &[4], &[3, 9], &[]];
        assert_eq!(left.map(|left| over(&mut graph, left)), [true, false, true, false, false]);
    }

    #[test]
    fn an_event_may_lack_more_than_before_and_may_leave() {
        let mut graph = graph(&[(1, &[2]), (2, &[])]);
        assert!(!graph.leads_back(id(1)));
        graph.set(id(2), Link { provides: (MESSAGE, Key::Int(2)), lacks: vec![(MESSAGE, Key::Int(1))] });
        assert!(graph.leads_back(id(1)));
        graph.remove(id(2));
        assert!(!graph.leads_back(id(1)));
        graph.remove(id(1));
        assert_eq!(graph.bytes, 0);
    }

    #[test]
    fn a_deep_chain_is_walked_once_and_without_recursion() {
        let edges: Vec<(u64, Vec<u64>)> = (0..100_000).map(|n| (n, vec![n + 1])).collect();
        let edges: Vec<(u64, &[u64])> = edges.iter().map(|(n, lacks)| (*n, &lacks[..])).collect();
        let mut graph = graph(&edges);
        assert!((0..100_000).all(|n| !graph.leads_back(id(n))));
    }

    #[test]
    fn what_ends_unresolved_counts_until_it_is_forgotten() {
        let mut graph = graph(&[(1, &[2]), (2, &[1])]);
        graph.end(id(1), Epoch(7), false);
        graph.forget_before(Epoch(7));
        assert!(graph.leads_back(id(2)));
        graph.forget_before(Epoch(8));
        assert!(!graph.leads_back(id(2)));
    }

    #[test]
    fn its_memory_is_counted_and_free_when_all_is_forgotten() {
        let mut graph = graph(&[(1, &[2, 3]), (2, &[1])]);
        let full = graph.bytes;
        assert!(full > 2 * size_of::<Link>());
        graph.end(id(1), Epoch(7), true);
        assert!(graph.bytes < full, "what a resolved event lacked is gone");
        graph.end(id(2), Epoch(7), false);
        graph.forget_before(Epoch(8));
        assert_eq!(graph.bytes, 0);
    }

    #[test]
    fn nothing_leads_on_from_what_is_resolved_whatever_is_told_of_it_late() {
        let mut graph = graph(&[(1, &[2]), (2, &[1])]);
        assert!(graph.leads_back(id(2)));
        graph.end(id(1), Epoch(7), true);
        graph.add(id(1), Link { provides: (MESSAGE, Key::Int(1)), lacks: vec![(MESSAGE, Key::Int(2))] });
        assert!(!graph.leads_back(id(2)));
    }
}
