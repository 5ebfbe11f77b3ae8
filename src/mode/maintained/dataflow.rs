//! The differential half: the results that follow from what is here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::collection::AsCollection;
use differential_dataflow::consolidation::consolidate;
use differential_dataflow::operators::iterate::Variable;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::core::Concat;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{Operator, OutputBuilder, OutputBuilderSession};
use timely::dataflow::operators::{Capability, InputCapability};
use timely::order::Product;
use timely::progress::operate::FrontierInterest;
use timely::{ExchangeData, WorkerConfig};

use super::table::{Table, Updates};
use super::waits::Note;
use super::{FoundVersions, Resolution, Row, Version, home};
use crate::dependency::Rules;
use crate::event::{Epoch, Found, Timestamp, WorkerIndex};
use crate::mode::engine::GRAPH;
use crate::mode::{Message, Name, Phase, Visit};

/// What a worker does to bring an arrangement into one piece, each time that it looks at it and nothing else is to do, in rows: what was replaced goes then,
/// also where nothing new comes.
const IDLE_MERGE_EFFORT: isize = 1 << 14;

/// A collection of what is here in each epoch, or in each round of each epoch.
type Collection<'scope, T, D> = VecCollection<'scope, T, D, isize>;

/// Which of its references an event has found, and what.
type Slot = (u16, Version);

/// Sets a worker up for maintained results.
pub fn configure(config: &mut WorkerConfig) {
    let settings = differential_dataflow::Config::default().idle_merge_effort(Some(IDLE_MERGE_EFFORT));
    differential_dataflow::configure(config, &settings);
}

/// Lets events and ticks change what is here, and the table follow the results. What is told lies in the table when the stream's frontier has passed an epoch.
///
/// `now` tells the time, `current` the open epoch and its phase; all messages between two of its answers are of that epoch.
pub fn maintain<'scope>(
    messages: Stream<'scope, u64, Vec<Message>>,
    table: Rc<RefCell<Table>>,
    now: impl Fn() -> Timestamp + 'static,
    current: impl Fn() -> (Epoch, Phase) + 'static,
) -> Stream<'scope, u64, Vec<()>> {
    let (rules, tells_partial) = (Arc::clone(&table.borrow().rules), table.borrow().limits.tells_partial);
    let (here, notes) = keep(messages, Rc::clone(&table), now, current);
    let (followed, judged) = (Rc::clone(&table), table);
    let results = resolve(&rules, tells_partial, here);
    let workers = results.scope().peers();
    let home_of = Arc::clone(&rules);
    let owner = move |result: &Resolution| home(&home_of, &result.row.dependent.event).owner(workers);
    let done = by_epoch(results, "follow", owner, move |epoch, mut results| {
        consolidate(&mut results);
        followed.borrow_mut().follow(epoch, results);
    });
    if !rules.streams().iter().any(|stream| stream.cyclic) {
        return done;
    }
    done.concat(by_epoch(
        notes,
        "judge",
        |_| GRAPH,
        move |epoch, notes| {
            judged.borrow_mut().judge_waits(epoch, notes.into_iter().map(|(note, _)| note));
        },
    ))
}

/// What is here, as collections.
struct Here<'scope> {
    rows: Collection<'scope, u64, Row>,
    versions: Collection<'scope, u64, (Name, Version)>,
    settled: Collection<'scope, u64, (Name, Version)>,
}

type Out<D> = OutputBuilder<u64, CapacityContainerBuilder<Vec<(D, u64, isize)>>>;

/// The table as an operator: what is here, and what is told of its waits.
fn keep<'scope>(
    messages: Stream<'scope, u64, Vec<Message>>,
    table: Rc<RefCell<Table>>,
    now: impl Fn() -> Timestamp + 'static,
    current: impl Fn() -> (Epoch, Phase) + 'static,
) -> (Here<'scope>, Collection<'scope, u64, Note>) {
    let mut builder = OperatorBuilder::new("table".to_owned(), messages.scope());
    let mut input = builder.new_input(messages, Exchange::new(|message: &Message| message.to.0 as u64));
    let (rows, rows_stream) = builder.new_output();
    let (versions, versions_stream) = builder.new_output();
    let (settled, settled_stream) = builder.new_output();
    let (notes, notes_stream) = builder.new_output();
    builder.set_notify_for(0, FrontierInterest::Never);
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut rows: Out<Row> = OutputBuilder::from(rows);
        let mut versions: Out<(Name, Version)> = OutputBuilder::from(versions);
        let mut settled: Out<(Name, Version)> = OutputBuilder::from(settled);
        let mut notes: Out<Note> = OutputBuilder::from(notes);
        let mut begun = Epoch(0);
        move |_frontiers| {
            input.for_each(|capability, messages| {
                let mut table = table.borrow_mut();
                let (epoch, phase) = current();
                if begun != epoch {
                    // Cut-offs come first in an epoch, whichever message does.
                    begun = epoch;
                    table.begin(epoch, phase);
                    table.tick(now());
                }
                for message in messages.drain(..) {
                    if let Visit::Dependent(dependent) = message.visit {
                        table.arrive(dependent);
                    }
                }
                let new: Updates = table.take_updates();
                drop(table);
                send(&mut rows, &capability, new.rows);
                send(&mut versions, &capability, new.versions);
                send(&mut settled, &capability, new.settled);
                send(&mut notes, &capability, new.notes);
            });
        }
    });
    let here = Here {
        rows: rows_stream.as_collection(),
        versions: versions_stream.as_collection(),
        settled: settled_stream.as_collection(),
    };
    (here, notes_stream.as_collection())
}

fn send<D: 'static>(output: &mut Out<D>, capability: &InputCapability<u64>, updates: Vec<(D, isize)>) {
    let Some(time) = capability.least().copied().filter(|_| !updates.is_empty()) else { return };
    let updates = updates.into_iter().map(|(data, diff)| (data, time, diff));
    output.activate().session_with_builder(capability).give_iterator(updates);
}

/// The results that follow from what is here.
fn resolve<'scope>(rules: &Arc<Rules>, tells_partial: bool, here: Here<'scope>) -> Collection<'scope, u64, Resolution> {
    let complete = complete(tells_partial);
    let Here { rows, versions, settled } = here;
    let alone = rows.clone().filter(|row| row.needed == 0).map(complete_alone);
    let is_twin: Arc<[bool]> = rules.entities().iter().map(|entity| entity.resolved_of.is_some()).collect();
    let slots = rows.flat_map(references);
    let twins = Arc::clone(&is_twin);
    let plain = slots.clone().filter(move |(name, _)| !is(&twins, name)).arrange_by_key_named("references");
    let versions = versions.arrange_by_key_named("versions");
    let found = plain.join_core(versions, take);
    let outside = found.clone().filter(|(row, _)| !row.is_transitive);
    let one = outside.clone().filter(|(row, _)| row.needed == 1).map(complete_one);
    let many = outside.filter(|(row, _)| row.needed > 1).reduce_named("complete", complete.clone()).map(resolution);
    let results = alone.concat(one).concat(many);
    if !is_twin.contains(&true) {
        return results;
    }

    let scope = results.scope();
    let transitive = slots.filter(move |(name, _)| is(&is_twin, name)).arrange_by_key_named("transitive references");
    let before = found.filter(|(row, _)| row.is_transitive);
    let twin_of = twin_of(rules);
    let resolved = settled.concat(results.clone().flat_map(twin_of.clone()));
    let inside = scope.iterative::<u64, _, _>(|inner| {
        // It begins empty: the least fixed point, in which nothing is resolved for its own sake.
        let (variable, further) = Variable::new(inner, Product::new(Default::default(), 1));
        let resolved = resolved.enter(inner).concat(further).arrange_by_key_named("resolved");
        let found = transitive.enter(inner).join_core(resolved, take);
        let one = found.clone().filter(|(row, _)| row.needed == 1).map(complete_one);
        let many = found.filter(|(row, _)| row.needed > 1).concat(before.enter(inner));
        let results = one.concat(many.reduce_named("complete", complete).map(resolution));
        variable.set(results.clone().flat_map(twin_of));
        results.leave(scope)
    });
    results.concat(inside)
}

fn is(of: &[bool], name: &Name) -> bool {
    of.get(usize::from(name.entity.0)) == Some(&true)
}

/// The references of a row, each with its place.
fn references(row: Row) -> Vec<(Name, (Row, u16))> {
    let looked_for = row.dependent.references.iter().enumerate().filter(|(_, r)| !matches!(r.found, Found::GivenUp));
    looked_for.map(|(at, r)| (Name::of(r), (row.clone(), u16::try_from(at).unwrap_or(u16::MAX)))).collect()
}

/// What a reference finds.
fn take(_: &Name, (row, at): &(Row, u16), version: &Version) -> Option<(Row, Slot)> {
    row.takes(version).then(|| (row.clone(), (*at, version.clone())))
}

fn complete_alone(row: Row) -> Resolution {
    let found = row.dependent.references.iter().map(|_| None).collect();
    Resolution { row, found, is_complete: true }
}

/// The result of a row that looks for one version.
fn complete_one((row, (place, version)): (Row, Slot)) -> Resolution {
    let count = row.dependent.references.len();
    let found = (0..count).map(|at| (at == usize::from(place)).then(|| version.clone())).collect();
    Resolution { row, found, is_complete: true }
}

/// What a row that looks for several versions has found: all of them, or some, where a wait may end that has to tell which.
fn complete(
    tells_partial: bool,
) -> impl FnMut(&Row, &[(&Slot, isize)], &mut Vec<(FoundVersions, isize)>) + Clone + 'static {
    move |row, slots, out| {
        let references = &row.dependent.references;
        let may_end = || tells_partial || references.iter().any(|reference| reference.deadline < Timestamp::MAX);
        if slots.len() < usize::from(row.needed) && !may_end() {
            return;
        }
        let mut found = vec![None; references.len()];
        for ((at, version), _) in slots {
            if let Some(place) = found.get_mut(usize::from(*at)) {
                *place = Some(version.clone());
            }
        }
        out.push((found.into(), 1));
    }
}

fn resolution((row, found): (Row, FoundVersions)) -> Resolution {
    let is_complete = found.iter().flatten().count() == usize::from(row.needed);
    Resolution { row, found, is_complete }
}

/// What a result is for those that need it.
fn twin_of(rules: &Arc<Rules>) -> impl FnMut(Resolution) -> Option<(Name, Version)> + Clone + 'static {
    let rules = Arc::clone(rules);
    // What has no references is settled, and given by the table.
    move |result| {
        let is_result = result.is_complete && !result.row.dependent.references.is_empty();
        result.row.twin(&rules).filter(|_| is_result)
    }
}

/// What an epoch has come to so far, and what keeps it from going through.
struct OfEpoch<D> {
    _held: Capability<u64>,
    updates: Vec<(D, isize)>,
}

/// Hands each epoch's updates to the workers that they belong to, once they are all there. Nothing leaves but the epoch, when that has been done.
fn by_epoch<'scope, D: ExchangeData>(
    updates: Collection<'scope, u64, D>,
    name: &str,
    owner: impl Fn(&D) -> WorkerIndex + 'static,
    mut hand: impl FnMut(Epoch, Vec<(D, isize)>) + 'static,
) -> Stream<'scope, u64, Vec<()>> {
    let owner = move |(data, _, _): &(D, u64, isize)| owner(data).0 as u64;
    updates.inner.unary_frontier(Exchange::new(owner), name, move |_capability, _info| {
        let mut open: BTreeMap<u64, OfEpoch<D>> = BTreeMap::new();
        move |(input, frontier), _output: &mut OutputBuilderSession<'_, u64, CapacityContainerBuilder<Vec<()>>>| {
            input.for_each(|capability, updates| {
                for (data, time, diff) in updates.drain(..) {
                    let of_epoch = open
                        .entry(time)
                        .or_insert_with(|| OfEpoch { _held: capability.delayed(&time, 0), updates: Vec::new() });
                    of_epoch.updates.push((data, diff));
                }
            });
            while let Some(first) = open.first_entry().filter(|first| !frontier.less_equal(first.key())) {
                let (epoch, of_epoch) = first.remove_entry();
                // The right to send is given up after that: the epoch has gone through when what it came to is known.
                hand(Epoch(epoch), of_epoch.updates);
            }
        }
    })
}
