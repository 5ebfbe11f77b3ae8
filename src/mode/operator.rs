//! The shell around an engine: a timely operator in a loop, so that an event can go on to the shard of its next reference.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;
use timely::container::{CapacityContainerBuilder, ContainerBuilder, PushInto};
use timely::dataflow::Stream;
use timely::dataflow::operators::core::{Concat, ConnectLoop, Enter, Leave, LoopVariable};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{CapabilitySet, CapabilityTrait};
use timely::order::Product;
use timely::progress::operate::FrontierInterest;

use crate::clock::Clock;
use crate::event::{Epoch, Outcome};

use super::engine::{Engine, Phase};
use super::exchange::{self, ByWorker, ToOwner};
use super::{Answer, Effects, Message, Query, Visit};

/// Slices that one tick works through: a few milliseconds, then others get their turn.
const TICK_BUDGET: usize = 4096;

/// Queries that are asked together go in so many calls, which several threads answer: those of one call are found one after the other.
const CALLS: usize = 8;

/// Fewer queries make no call of their own.
const CALL_QUERIES_MIN: usize = 2;

/// Who looks things up in the state, on threads of its own: an operator must not wait for a disk.
pub trait Lookup {
    /// Begins to look up; `epoch` is the one that asks.
    fn ask(&mut self, epoch: Epoch, queries: Vec<Query>);

    /// Answers that have come, each with the number of the call of [`Lookup::ask`] that it belongs to, counted from 0.
    fn answers(&mut self) -> Vec<(usize, Vec<Answer>)>;

    /// Says what to activate when answers have come.
    fn notify(&mut self, activator: timely::scheduling::SyncActivator);
}

type InLoop = Product<u64, u32>;
type Out = OutputBuilder<InLoop, CapacityContainerBuilder<Vec<Outcome>>>;
type Again = OutputBuilder<InLoop, ByWorker>;

/// The right to send at the time at which a query was asked.
#[derive(Clone)]
struct Held {
    again: CapabilitySet<InLoop>,
    out: CapabilitySet<InLoop>,
}

/// Lets messages visit the shards of this worker's engine, and gives out what becomes of events. They are to be gathered by [`ByWorker`]: each container goes whole
/// to the worker that its first message names.
///
/// `current` tells the open epoch and its phase; all messages between two of its answers are of that epoch, for the sources begin one only when
/// the one before has gone through everywhere.
pub fn resolve<'scope>(
    messages: Stream<'scope, u64, Vec<Message>>,
    engine: Rc<RefCell<Engine>>,
    mut lookup: impl Lookup + 'static,
    clock: Clock,
    current: impl Fn() -> (Epoch, Phase) + 'static,
) -> Stream<'scope, u64, Vec<Outcome>> {
    let outer = messages.scope();
    outer.iterative::<u32, _, _>(|inner| {
        let (handle, looped) = inner.loop_variable(1);
        let arriving = messages.enter(inner).concat(looped);

        let mut builder = OperatorBuilder::new("resolve".to_owned(), inner);
        lookup.notify(inner.worker().sync_activator_for(builder.operator_info().address.to_vec()));
        let mut input = builder.new_input(arriving, ToOwner::pact());
        let (again, again_stream) = builder.new_output();
        let (out, out_stream) = builder.new_output();
        builder.set_notify_for(0, FrontierInterest::Never);
        builder.build(move |capabilities| {
            drop(capabilities);
            let mut shell = Shell { engine, effects: Effects::default(), held: FxHashMap::default(), asked: 0 };
            let (mut again, mut out): (Again, Out) = (OutputBuilder::from(again), OutputBuilder::from(out));
            move |_frontiers| {
                shell.begin(&current, &clock);
                for (ask, answers) in lookup.answers() {
                    shell.answered(ask, answers, &mut lookup, &mut again, &mut out);
                }
                input.for_each(|capability, messages| {
                    shell.engine.borrow().preload(messages);
                    for message in messages.drain(..) {
                        shell.handle(message.visit);
                    }
                    exchange::recycle(std::mem::take(messages));
                    if !shell.effects.queries.is_empty() {
                        let (again, out) = (capability.retain_stamp(0), capability.retain_stamp(1));
                        shell.ask(&Held { again, out }, &mut lookup);
                    }
                    send(&mut again, &capability, &mut shell.effects.messages);
                    send(&mut out, &capability, &mut shell.effects.outcomes);
                });
            }
        });
        again_stream.connect_loop(handle);
        out_stream.leave(outer)
    })
}

struct Shell {
    engine: Rc<RefCell<Engine>>,
    effects: Effects,
    /// By call of [`Lookup::ask`].
    held: FxHashMap<usize, Held>,
    asked: usize,
}

impl Shell {
    fn begin(&mut self, current: &impl Fn() -> (Epoch, Phase), clock: &Clock) {
        let (epoch, phase) = current();
        let mut engine = self.engine.borrow_mut();
        engine.begin(epoch, phase);
        engine.tell_time(clock.now());
    }

    fn handle(&mut self, visit: Visit) {
        let mut engine = self.engine.borrow_mut();
        let is_tick = matches!(visit, Visit::Tick(_));
        engine.handle(visit, &mut self.effects);
        if is_tick {
            engine.drain(TICK_BUDGET, &mut self.effects);
        }
    }

    /// Passes the engine's queries on.
    fn ask(&mut self, held: &Held, lookup: &mut impl Lookup) {
        let epoch = self.engine.borrow().epoch();
        for call in calls(&mut self.effects.queries) {
            lookup.ask(epoch, call);
            self.held.insert(self.asked, held.clone());
            self.asked += 1;
        }
    }

    fn answered(
        &mut self,
        ask: usize,
        answers: Vec<Answer>,
        lookup: &mut impl Lookup,
        again: &mut Again,
        out: &mut Out,
    ) {
        let Some(held) = self.held.remove(&ask) else { return };
        for answer in answers {
            self.engine.borrow_mut().answer(answer, &mut self.effects);
        }
        send(again, &held.again, &mut self.effects.messages);
        send(out, &held.out, &mut self.effects.outcomes);
        self.ask(&held, lookup);
    }
}

/// Shares queries out.
pub(super) fn calls(queries: &mut Vec<Query>) -> impl Iterator<Item = Vec<Query>> {
    let size = queries.len().div_ceil(CALLS).max(CALL_QUERIES_MIN);
    let mut queries = queries.drain(..);
    std::iter::from_fn(move || {
        let call: Vec<Query> = queries.by_ref().take(size).collect();
        (!call.is_empty()).then_some(call)
    })
}

fn send<D: 'static, B: ContainerBuilder<Container = Vec<D>> + PushInto<D> + 'static>(
    output: &mut OutputBuilder<InLoop, B>,
    capability: &impl CapabilityTrait<InLoop>,
    data: &mut Vec<D>,
) {
    if !data.is_empty() {
        output.activate().session_with_builder(capability).give_iterator(data.drain(..));
    }
}
