//! The differential half: the results that follow from what is here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::identity;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::collection::AsCollection;
use differential_dataflow::consolidation::consolidate;
use differential_dataflow::operators::iterate::Variable;
use differential_dataflow::operators::join::join_traces;
use differential_dataflow::trace::ExertionLogic;
use differential_dataflow::{Data, VecCollection};
use timely::container::{CapacityContainerBuilder, PushInto};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::core::{Concat, OkErr};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{Operator, OutputBuilder, OutputBuilderSession};
use timely::dataflow::operators::{Capability, InputCapability};
use timely::order::Product;
use timely::progress::Timestamp as Time;
use timely::progress::operate::FrontierInterest;
use timely::{Container, ExchangeData, WorkerConfig};

use super::table::{Table, Updates};
use super::waits::Note;
use super::{FoundVersions, Resolution, Row, Version, home};
use crate::dependency::Rules;
use crate::event::{Epoch, Found, Timestamp, WorkerIndex};
use crate::mode::engine::GRAPH;
use crate::mode::{Message, Name, Phase, Visit};

/// What a worker does to bring an arrangement into one piece, each time that it looks at it, in rows: what was replaced goes then, also where nothing new comes.
const MERGE_EFFORT: usize = 1 << 14;

/// Not before this part of it lies beside the largest piece: with each epoch the whole of it would be copied, which costs more the more is here.
const APART: usize = 4;

/// A collection of what is here in each epoch, or in each round of each epoch.
type Collection<'scope, T, D> = VecCollection<'scope, T, D, isize>;

/// A row that looks for a version, for the reference in this place.
type Sought = (Row, u32);

/// Which of its references an event has found, and what.
type Slot = (u32, Version);

/// Sets a worker up for maintained results.
pub fn configure(config: &mut WorkerConfig) {
    let logic: ExertionLogic = Arc::new(|levels| is_apart(levels).then_some(MERGE_EFFORT));
    // What `differential_dataflow::configure` sets, too: it brings everything into one piece whenever it can.
    config.set("differential/default_exert_logic".to_owned(), logic);
}

/// Whether much of an arrangement lies beside its largest piece, where by level it has so many pieces of so many rows together. Of two that are being merged the
/// smaller one is half of them at most.
fn is_apart(levels: &[(usize, usize, usize)]) -> bool {
    let rows: usize = levels.iter().map(|(_, _, rows)| rows).sum();
    let largest = levels.iter().map(|(_, pieces, rows)| if *pieces > 1 { rows / 2 } else { *rows }).max().unwrap_or(0);
    (rows - largest) * APART > rows
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
    let (rules, tells_partial) = (Arc::clone(&table.borrow().rules), table.borrow().tells_partial());
    let (here, notes) = keep(messages, Rc::clone(&table), now, current);
    let (followed, judged) = (Rc::clone(&table), table);
    let results = resolve(&rules, &tells_partial, here);
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
    /// Rows that look for nothing are results.
    alone: Collection<'scope, u64, Resolution>,
    /// What rows look for: events, and events that are resolved.
    plain: Collection<'scope, u64, (Name, Sought)>,
    transitive: Collection<'scope, u64, (Name, Sought)>,
    versions: Collection<'scope, u64, (Name, Version)>,
    settled: Collection<'scope, u64, (Name, Version)>,
}

/// The table as an operator: what is here, and what is told of its waits.
fn keep<'scope>(
    messages: Stream<'scope, u64, Vec<Message>>,
    table: Rc<RefCell<Table>>,
    now: impl Fn() -> Timestamp + 'static,
    current: impl Fn() -> (Epoch, Phase) + 'static,
) -> (Here<'scope>, Collection<'scope, u64, Note>) {
    let mut builder = OperatorBuilder::new("table".to_owned(), messages.scope());
    let mut input = builder.new_input(messages, Exchange::new(|message: &Message| message.to.0 as u64));
    let (alone, alone_stream) = builder.new_output();
    let (plain, plain_stream) = builder.new_output();
    let (transitive, transitive_stream) = builder.new_output();
    let (versions, versions_stream) = builder.new_output();
    let (settled, settled_stream) = builder.new_output();
    let (notes, notes_stream) = builder.new_output();
    builder.set_notify_for(0, FrontierInterest::Never);
    let mut outs = Outs {
        is_twin: is_twin(&table.borrow().rules),
        alone: OutputBuilder::from(alone),
        plain: OutputBuilder::from(plain),
        transitive: OutputBuilder::from(transitive),
        versions: OutputBuilder::from(versions),
        settled: OutputBuilder::from(settled),
    };
    builder.build(move |capabilities| {
        drop(capabilities);
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
                table.preload(messages);
                for message in messages.drain(..) {
                    if let Visit::Dependent(dependent) = message.visit {
                        table.arrive(dependent);
                    }
                }
                let mut new: Updates = table.take_updates();
                drop(table);
                send(&mut notes, &capability, std::mem::take(&mut new.notes).into_iter());
                outs.send(&capability, new);
            });
        }
    });
    let here = Here {
        alone: alone_stream.as_collection(),
        plain: plain_stream.as_collection(),
        transitive: transitive_stream.as_collection(),
        versions: versions_stream.as_collection(),
        settled: settled_stream.as_collection(),
    };
    (here, notes_stream.as_collection())
}

type Out<D> = OutputBuilder<u64, CapacityContainerBuilder<Vec<(D, u64, isize)>>>;

/// Where what [is here](Here) goes.
struct Outs {
    is_twin: Arc<[bool]>,
    alone: Out<Resolution>,
    plain: Out<(Name, Sought)>,
    transitive: Out<(Name, Sought)>,
    versions: Out<(Name, Version)>,
    settled: Out<(Name, Version)>,
}

impl Outs {
    fn send(&mut self, capability: &InputCapability<u64>, updates: Updates) {
        let (alone, rows): (Vec<_>, Vec<_>) = updates.rows.into_iter().partition(|(row, _)| row.needed() == 0);
        send(&mut self.alone, capability, alone.into_iter().map(|(row, diff)| (complete_alone(row), diff)));
        let sought = rows.iter().flat_map(|(row, diff)| references(row).map(|sought| (sought, *diff)));
        let (transitive, plain): (Vec<_>, Vec<_>) = sought.partition(|((name, _), _)| is(&self.is_twin, name));
        send(&mut self.transitive, capability, transitive.into_iter());
        send(&mut self.plain, capability, plain.into_iter());
        send(&mut self.versions, capability, updates.versions.into_iter());
        send(&mut self.settled, capability, updates.settled.into_iter());
    }
}

fn send<D: 'static>(
    output: &mut Out<D>,
    capability: &InputCapability<u64>,
    updates: impl ExactSizeIterator<Item = (D, isize)>,
) {
    let Some(time) = capability.least().copied().filter(|_| updates.len() > 0) else { return };
    let updates = updates.map(|(data, diff)| (data, time, diff));
    output.activate().session_with_builder(capability).give_iterator(updates);
}

/// The results that follow from what is here, and by stream, where it is asked for, what those have found that have none.
fn resolve<'scope>(
    rules: &Arc<Rules>,
    tells_partial: &Arc<[bool]>,
    here: Here<'scope>,
) -> Collection<'scope, u64, Resolution> {
    let complete = || {
        let tells_partial = Arc::clone(tells_partial);
        move |row: &Row, slots: &[(&Slot, isize)], out: &mut Vec<_>| complete(&tells_partial, row, slots, out)
    };
    let Here { alone, plain, transitive, versions, settled } = here;
    let plain = plain.arrange_by_key_named("references");
    let versions = versions.arrange_by_key_named("versions");
    let (one, further) = split(join_traces(plain, versions, "find", find), identity);
    if !is_twin(rules).contains(&true) {
        let many = further.reduce_named("complete", complete()).map(resolution);
        return alone.concat(one).concat(many);
    }

    let is_transitive = |found: (Row, Slot)| if found.0.is_transitive() { Ok(found) } else { Err(found) };
    let (before, many) = split(further.inner, is_transitive);
    let many = many.reduce_named("complete", complete()).map(resolution);
    let results = alone.concat(one).concat(many);
    let scope = results.scope();
    let transitive = transitive.arrange_by_key_named("transitive references");
    let twin_of = twin_of(rules);
    let resolved = settled.concat(results.clone().flat_map(twin_of.clone()));
    let inside = scope.iterative::<u64, _, _>(|inner| {
        // It begins empty: the least fixed point, in which nothing is resolved for its own sake.
        let (variable, further) = Variable::new(inner, Product::new(Default::default(), 1));
        let resolved = resolved.enter(inner).concat(further).arrange_by_key_named("resolved");
        let (one, further) = split(join_traces(transitive.enter(inner), resolved, "find", find), identity);
        let many = further.concat(before.enter(inner));
        let results = one.concat(many.reduce_named("complete", complete()).map(resolution));
        variable.set(results.clone().flat_map(twin_of));
        results.leave(scope)
    });
    results.concat(inside)
}

/// By entity: whether its events are those of another one that are resolved.
fn is_twin(rules: &Rules) -> Arc<[bool]> {
    rules.entities().iter().map(|entity| entity.resolved_of.is_some()).collect()
}

fn is(of: &[bool], name: &Name) -> bool {
    of.get(usize::from(name.entity.0)) == Some(&true)
}

/// The references of a row, each with its place.
fn references(row: &Row) -> impl Iterator<Item = (Name, Sought)> {
    let looked_for = row.dependent.references.iter().enumerate().filter(|(_, r)| !matches!(r.found, Found::GivenUp));
    looked_for.map(|(at, r)| (Name::of(r), (row.clone(), u32::try_from(at).unwrap_or(u32::MAX))))
}

/// What references find, at a time: results of rows that look for one version alone, and what others have found of theirs.
type FindingsAt<T> = Vec<(Result<Resolution, (Row, Slot)>, T, isize)>;

type Findings<T> = CapacityContainerBuilder<FindingsAt<T>>;

/// Adds what a reference finds. That is not consolidated here, as joins usually do: hardly any of it is the same, and results are consolidated before they are
/// followed.
fn find<T: 'static>(
    _: &Name,
    (row, at): &Sought,
    version: &Version,
    time: T,
    sought: &isize,
    there: &isize,
    out: &mut Findings<T>,
) where
    FindingsAt<T>: Container,
{
    if row.takes(version) {
        let found = if row.needed() == 1 {
            Ok(complete_one(row, *at, version))
        } else {
            Err((row.clone(), (*at, version.clone())))
        };
        out.push_into((found, time, sought * there));
    }
}

/// What `which` says goes one way, and what goes the other; nothing is copied.
fn split<'scope, T: Time, D: 'static, D1: Data, D2: Data>(
    updates: Stream<'scope, T, Vec<(D, T, isize)>>,
    which: impl Fn(D) -> Result<D1, D2> + 'static,
) -> (Collection<'scope, T, D1>, Collection<'scope, T, D2>)
where
    Vec<(D, T, isize)>: Container,
{
    let (one, other) = updates.ok_err(move |(data, time, diff)| match which(data) {
        Ok(data) => Ok((data, time, diff)),
        Err(data) => Err((data, time, diff)),
    });
    (one.as_collection(), other.as_collection())
}

fn complete_alone(row: Row) -> Resolution {
    let found = (0..row.references).map(|_| None).collect();
    Resolution { row, found, is_complete: true }
}

/// The result of a row that looks for one version.
fn complete_one(row: &Row, place: u32, version: &Version) -> Resolution {
    let found = (0..row.references).map(|at| (at == place).then(|| version.clone())).collect();
    Resolution { row: row.clone(), found, is_complete: true }
}

/// What a row that looks for several versions has found: all of them, or some, where a wait may end that has to tell which, or the graph of waits
/// has to know.
fn complete(tells_partial: &[bool], row: &Row, slots: &[(&Slot, isize)], out: &mut Vec<(FoundVersions, isize)>) {
    let references = &row.dependent.references;
    let is_told = || {
        let stream = usize::from(row.dependent.event.header.header.stream.0);
        tells_partial.get(stream) == Some(&true)
            || references.iter().any(|reference| reference.deadline < Timestamp::MAX)
    };
    if slots.len() < row.needed() as usize && !is_told() {
        return;
    }
    let mut found = vec![None; references.len()];
    for ((at, version), _) in slots {
        if let Some(place) = found.get_mut(*at as usize) {
            *place = Some(version.clone());
        }
    }
    out.push((found.into(), 1));
}

fn resolution((row, found): (Row, FoundVersions)) -> Resolution {
    let is_complete = found.iter().flatten().count() == row.needed() as usize;
    Resolution { row, found, is_complete }
}

/// What a result is for those that need it.
fn twin_of(rules: &Arc<Rules>) -> impl FnMut(Resolution) -> Option<(Name, Version)> + Clone + 'static {
    let rules = Arc::clone(rules);
    // What has no references is settled, and given by the table.
    move |result| {
        let is_result = result.is_complete && result.row.references > 0;
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

#[cfg(test)]
mod tests {
    use super::is_apart;

    #[test]
    fn pieces_are_merged_where_they_are_many() {
        assert!(!is_apart(&[]));
        assert!(!is_apart(&[(10, 1, 1000), (9, 0, 0)]));
        assert!(!is_apart(&[(10, 1, 1000), (6, 1, 200)]), "a fifth more costs less than copying all of it");
        assert!(is_apart(&[(10, 1, 1000), (8, 1, 200), (7, 2, 200)]));
        assert!(is_apart(&[(10, 2, 1000)]), "a merge that was begun is ended");
    }
}
