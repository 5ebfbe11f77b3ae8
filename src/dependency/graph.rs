//! Who waits for whose resolution: which streams may wait in a cycle, and which can never resolve.

use std::collections::{BTreeSet, HashSet};

use super::{Dependency, Mode, Need, Rules, Stream};
use crate::event::EntityId;

/// A stream that can never resolve, by the dependency that begins its way into a cycle. Indexes are those of the rules.
#[derive(Debug)]
pub(super) struct Deadlock {
    /// The stream.
    pub(super) stream: usize,
    /// The dependency of it that never finds a referent.
    pub(super) dependency: usize,
    /// The stream's name.
    pub(super) name: String,
    /// The cycle, spelled out.
    pub(super) cycle: String,
}

/// Whether a dependency looks up the resolution of its referent.
fn needs_resolution(dependency: &Dependency) -> bool {
    dependency.need == Need::Resolved && dependency.mode != Mode::Independent
}

/// The streams that provide a resolved twin, as indexes.
fn providers(rules: &Rules, twin: EntityId) -> impl Iterator<Item = usize> {
    rules.streams.iter().enumerate().filter(move |(_, s)| s.provides_resolved == Some(twin)).map(|(at, _)| at)
}

/// Sets `cyclic` for every stream that can reach itself over dependencies with `need = "resolved"`.
pub(super) fn mark_cycles(rules: &mut Rules) {
    let cyclic: Vec<bool> = (0..rules.streams.len()).map(|stream| reaches_itself(rules, stream)).collect();
    rules.streams.iter_mut().zip(cyclic).for_each(|(stream, cyclic)| stream.cyclic = cyclic);
}

fn reaches_itself(rules: &Rules, start: usize) -> bool {
    let mut entities = HashSet::new();
    let mut streams = HashSet::new();
    let mut next = vec![start];
    while let Some(stream) = next.pop() {
        for dependency in rules.streams.get(stream).map_or(&[][..], |s| &s.depends_on) {
            if needs_resolution(dependency) && entities.insert(dependency.entity) {
                next.extend(providers(rules, dependency.entity).filter(|&provider| streams.insert(provider)));
            }
        }
    }
    streams.contains(&start)
}

/// The cycles that keep streams from ever resolving, one deadlock for each cycle.
///
/// A least fixed point: a stream can resolve once every required resolution it needs is of an entity that some stream can provide resolved.
/// An optional dependency does not block, for its field may be absent; one that ends `partial` does, for such an event is not resolved.
pub(super) fn deadlocks(rules: &Rules) -> Vec<Deadlock> {
    let mut resolvable: HashSet<EntityId> = HashSet::new();
    let mut resolves = vec![false; rules.streams.len()];
    loop {
        let before = resolvable.len();
        for (stream, resolves) in rules.streams.iter().zip(&mut resolves) {
            *resolves = blocker(stream, &resolvable).is_none();
            if *resolves {
                resolvable.extend(stream.provides_resolved);
            }
        }
        if resolvable.len() == before {
            break;
        }
    }
    let mut found = BTreeSet::new();
    let stuck = resolves.iter().enumerate().filter(|(_, resolves)| !**resolves);
    stuck.filter_map(|(stream, _)| cycle_from(rules, &resolvable, stream, &mut found)).collect()
}

/// The first dependency that keeps a stream from resolving.
fn blocker<'a>(stream: &'a Stream, resolvable: &HashSet<EntityId>) -> Option<(usize, &'a Dependency)> {
    let blocks = |d: &Dependency| needs_resolution(d) && d.required && !resolvable.contains(&d.entity);
    stream.depends_on.iter().enumerate().find(|(_, dependency)| blocks(dependency))
}

/// Follows what blocks a stream until it comes round; `None` where that cycle was found before.
fn cycle_from(
    rules: &Rules,
    resolvable: &HashSet<EntityId>,
    start: usize,
    found: &mut BTreeSet<BTreeSet<usize>>,
) -> Option<Deadlock> {
    let mut way: Vec<(usize, usize)> = Vec::new();
    let mut at = start;
    let cycle = loop {
        if let Some(first) = way.iter().position(|&(stream, _)| stream == at) {
            break way.split_off(first);
        }
        let (index, dependency) = blocker(rules.streams.get(at)?, resolvable)?;
        way.push((at, index));
        at = providers(rules, dependency.entity).next()?;
    };
    if !found.insert(cycle.iter().map(|&(stream, _)| stream).collect()) {
        return None;
    }
    let step = |&(stream, index): &(usize, usize)| {
        let stream = rules.streams.get(stream)?;
        let dependency = stream.depends_on.get(index)?;
        let entity = &rules.entity(dependency.entity).name;
        Some(format!("{:?} needs a resolved {entity:?} by {:?}", stream.name, dependency.by.as_str()))
    };
    let spelled: Vec<String> = cycle.iter().filter_map(step).collect();
    let &(stream, dependency) = cycle.first()?;
    let name = rules.streams.get(stream)?.name.clone();
    Some(Deadlock {
        stream,
        dependency,
        name,
        cycle: spelled.join(", which only comes from a stream that in turn waits: "),
    })
}
