//! From declared streams to checked [`Rules`]: names become ids, derived entities are added, contradictions are found.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::graph::{self, Deadlock};
use super::{DEPENDENCIES_MAX, Dependency, Entity, Mode, Need, OnExpiry, Place, Pointer, Rules, STREAMS_MAX, Stream};
use crate::event::{EntityId, StreamId};

/// A stream as it was declared, not yet checked against the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDraft {
    /// Unique in the job.
    pub name: String,
    /// Where its key is.
    pub key: Option<Place>,
    /// The entity it provides; the stream's name where it has a key and this is `None`.
    pub provides: Option<String>,
    /// Where its event time is.
    pub time: Option<Place>,
    /// How long a referent is kept; `None` is for ever.
    pub retain: Option<Duration>,
    /// The field whose equal values keep their order.
    pub ordered_by: Option<Pointer>,
    /// What its events depend on.
    pub depends_on: Vec<DependencyDraft>,
}

/// A dependency as it was declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyDraft {
    /// The entity's name where this is `None`.
    pub name: Option<String>,
    /// The name of the entity referred to.
    pub entity: String,
    /// The field that carries the key.
    pub by: Pointer,
    /// How it waits.
    pub mode: Mode,
    /// Whether a missing field is rejected.
    pub required: bool,
    /// What must have become of the referent.
    pub need: Need,
    /// How long it waits; `None` is for ever.
    pub wait: Option<Duration>,
    /// What the deadline does.
    pub on_expiry: OnExpiry,
    /// The fields of the referent to carry; `None` is all.
    pub include: Option<Vec<Pointer>>,
}

impl DependencyDraft {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.entity)
    }

    /// What of it the state depends on: the order of a stream's dependencies, whose indexes the state holds.
    fn order(&self) -> (&str, &Pointer, &str, &str, &str) {
        (&self.entity, &self.by, self.need.as_str(), self.mode.as_str(), self.name())
    }
}

/// A contradiction among declared streams, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Index of the stream among the drafts.
    pub stream: usize,
    /// Index of the dependency in that stream's draft, where it is about one.
    pub dependency: Option<usize>,
    /// What is wrong.
    pub problem: RuleProblem,
}

/// What can be wrong with declared streams.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleProblem {
    /// More streams than [`STREAMS_MAX`].
    #[error("there are {0} streams; a job has at most {STREAMS_MAX}")]
    TooManyStreams(usize),
    /// Two streams of one name.
    #[error("stream {0:?} is declared twice")]
    DuplicateStream(String),
    /// A setting that is about a stream's key, in a stream that has none.
    #[error("`{0}` is about the events that others refer to, and this stream has no `key` to refer to")]
    NeedsKey(&'static str),
    /// More dependencies than [`DEPENDENCIES_MAX`].
    #[error("there are {0} dependencies; a stream has at most {DEPENDENCIES_MAX}")]
    TooManyDependencies(usize),
    /// Two dependencies of one name in a stream.
    #[error("two dependencies of this stream are named {0:?}")]
    DuplicateDependency(String),
    /// An entity that no stream provides.
    #[error("no stream provides entity {found:?}")]
    UnknownEntity {
        /// The entity named.
        found: String,
        /// The entities that there are, sorted.
        known: Vec<String>,
    },
    /// A stream of which no event can ever be resolved, for a cycle of `need = "resolved"`.
    #[error("no event of stream {stream:?} can ever be resolved, but where an array is empty: {cycle}")]
    NeverResolves {
        /// The stream.
        stream: String,
        /// The cycle, spelled out.
        cycle: String,
    },
}

impl Rules {
    /// Checks declared streams and gives every name its id. The order of the drafts, and of the dependencies in them,
    /// does not matter.
    pub fn build(drafts: Vec<StreamDraft>) -> Result<Rules, Vec<RuleError>> {
        let errors = contradictions(&drafts);
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut order: Vec<usize> = (0..drafts.len()).collect();
        order.sort_by_key(|&at| drafts.get(at).map(|d| &d.name));
        let (rules, places) = Tables::new(&drafts, &order).finish();
        let deadlocks = graph::deadlocks(&rules);
        if deadlocks.is_empty() {
            return Ok(rules);
        }
        let error = |deadlock: Deadlock| RuleError {
            stream: order.get(deadlock.stream).copied().unwrap_or_default(),
            dependency: places.get(deadlock.stream).and_then(|p| p.get(deadlock.dependency)).copied(),
            problem: RuleProblem::NeverResolves { stream: deadlock.name, cycle: deadlock.cycle },
        };
        Err(deadlocks.into_iter().map(error).collect())
    }
}

/// Everything that is wrong with the names and the settings of the drafts.
fn contradictions(drafts: &[StreamDraft]) -> Vec<RuleError> {
    let mut errors = Vec::new();
    if drafts.len() > STREAMS_MAX {
        let problem = RuleProblem::TooManyStreams(drafts.len());
        errors.push(RuleError { stream: STREAMS_MAX, dependency: None, problem });
    }
    let entities = entity_names(drafts);
    let mut streams = HashSet::new();
    for (stream, draft) in drafts.iter().enumerate() {
        let mut report = |dependency, problem| errors.push(RuleError { stream, dependency, problem });
        if !streams.insert(&draft.name) {
            report(None, RuleProblem::DuplicateStream(draft.name.clone()));
        }
        if draft.key.is_none() {
            let set = [
                ("provides", draft.provides.is_some()),
                ("time", draft.time.is_some()),
                ("retain", draft.retain.is_some()),
            ];
            set.iter().filter(|(_, set)| *set).for_each(|(name, _)| report(None, RuleProblem::NeedsKey(name)));
        }
        if draft.depends_on.len() > DEPENDENCIES_MAX {
            report(Some(DEPENDENCIES_MAX), RuleProblem::TooManyDependencies(draft.depends_on.len()));
        }
        let mut names = HashSet::new();
        for (at, dependency) in draft.depends_on.iter().enumerate() {
            if !names.insert(dependency.name()) {
                report(Some(at), RuleProblem::DuplicateDependency(dependency.name().to_owned()));
            }
            if !entities.contains(dependency.entity.as_str()) {
                let known = entities.iter().map(|e| (*e).to_owned()).collect();
                report(Some(at), RuleProblem::UnknownEntity { found: dependency.entity.clone(), known });
            }
        }
    }
    errors
}

/// The entity that a draft provides.
fn provided(draft: &StreamDraft) -> Option<&str> {
    draft.key.as_ref().map(|_| draft.provides.as_deref().unwrap_or(&draft.name))
}

fn entity_names(drafts: &[StreamDraft]) -> BTreeSet<&str> {
    drafts.iter().filter_map(provided).collect()
}

/// The tables of a job while its names become ids: entities by name, then resolved twins by name, then the queues of
/// the streams.
struct Tables<'a> {
    drafts: Vec<&'a StreamDraft>,
    entities: Vec<Entity>,
    plain: BTreeMap<&'a str, EntityId>,
    twins: BTreeMap<&'a str, EntityId>,
    /// The id of the first stream's queue. Every stream has one, so that to order a stream later does not renumber the
    /// others.
    queues: usize,
}

impl<'a> Tables<'a> {
    fn new(drafts: &'a [StreamDraft], order: &[usize]) -> Self {
        let drafts: Vec<&StreamDraft> = order.iter().filter_map(|&at| drafts.get(at)).collect();
        let timed: HashSet<&str> = drafts.iter().filter(|d| d.time.is_some()).filter_map(|d| provided(d)).collect();
        let retained: HashSet<&str> =
            drafts.iter().filter(|d| d.retain.is_some()).filter_map(|d| provided(d)).collect();
        let names: BTreeSet<&str> = drafts.iter().filter_map(|d| provided(d)).collect();
        let needed = drafts.iter().flat_map(|d| &d.depends_on).filter(|d| d.need == Need::Resolved);
        let resolved: BTreeSet<&str> = needed.map(|d| d.entity.as_str()).collect();

        let mut entities = Vec::new();
        let mut add = |name: &str, resolved_of: Option<EntityId>, order_of: Option<StreamId>| {
            let timed = order_of.is_none() && timed.contains(name);
            let retained = order_of.is_none() && retained.contains(name);
            let name = name.to_owned();
            let (streaming, deferred, deletable) = (false, false, false);
            entities.push(Entity { name, resolved_of, order_of, streaming, deferred, timed, retained, deletable });
            EntityId(id(entities.len() - 1))
        };
        let plain: BTreeMap<_, _> = names.into_iter().map(|name| (name, add(name, None, None))).collect();
        let twins: BTreeMap<_, _> =
            resolved.into_iter().map(|name| (name, add(name, plain.get(name).copied(), None))).collect();
        let queues = plain.len() + twins.len();
        for (at, draft) in drafts.iter().enumerate() {
            add(&draft.name, None, Some(StreamId(id(at))));
        }
        Tables { drafts, entities, plain, twins, queues }
    }

    /// The rules, and for each of their dependencies its place in the draft of its stream.
    fn finish(mut self) -> (Rules, Vec<Vec<usize>>) {
        let mut streams = Vec::with_capacity(self.drafts.len());
        let mut places = Vec::with_capacity(self.drafts.len());
        for (at, draft) in std::mem::take(&mut self.drafts).into_iter().enumerate() {
            let mut order: Vec<(usize, &DependencyDraft)> = draft.depends_on.iter().enumerate().collect();
            order.sort_by_key(|(_, dependency)| dependency.order());
            let provides = provided(draft);
            streams.push(Stream {
                name: draft.name.clone(),
                key: draft.key.clone(),
                provides: provides.and_then(|name| self.plain.get(name).copied()),
                provides_resolved: provides.and_then(|name| self.twins.get(name).copied()),
                time: draft.time.clone(),
                retain: draft.retain,
                ordered_by: draft.ordered_by.clone().map(|by| (by, EntityId(id(self.queues + at)))),
                depends_on: order.iter().filter_map(|(_, dependency)| self.dependency(dependency)).collect(),
                cyclic: false,
                upkeep: None,
            });
            places.push(order.into_iter().map(|(place, _)| place).collect());
        }
        let mut rules = Rules { streams, entities: self.entities };
        graph::mark_cycles(&mut rules);
        (rules, places)
    }

    /// The dependency by ids; always there, for `contradictions` has found every entity.
    fn dependency(&mut self, draft: &DependencyDraft) -> Option<Dependency> {
        let ids = match draft.need {
            Need::Arrived => &self.plain,
            Need::Resolved => &self.twins,
        };
        let entity = *ids.get(draft.entity.as_str())?;
        let referred = self.entities.get_mut(usize::from(entity.0))?;
        referred.streaming |= draft.mode == Mode::Streaming;
        referred.deferred |= draft.mode == Mode::Deferred;
        Some(Dependency {
            name: draft.name().to_owned(),
            entity,
            by: draft.by.clone(),
            mode: draft.mode,
            required: draft.required,
            need: draft.need,
            wait: draft.wait,
            on_expiry: draft.on_expiry,
            include: draft.include.clone(),
        })
    }
}

/// An index as an id: three entities a stream at most, and [`STREAMS_MAX`] streams, fit 16 bits.
fn id(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}
