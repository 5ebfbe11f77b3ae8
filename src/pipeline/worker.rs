//! One timely worker: source, engine and renderer, the same dataflow on every worker.

mod half;
mod lines;
mod maintained;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashSet;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::core::Probe;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::operators::generic::{Operator, OutputBuilderSession};
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::{Scope, Stream, channels::pact::Pipeline};
use timely::scheduling::Activator;
use timely::worker::Worker;

use crate::clock::Clock;
use crate::decode::{Decoded, Decoder};
use crate::dependency::{Mode, Place, Rules};
use crate::event::{Block, Content, Dependent, Epoch, EventId, KeyHash, Outcome, Partitions, Timestamp, WorkerIndex};
use crate::mode::maintained::StoredRow;
use crate::mode::{self, Backlog, ByWorker, Engine, Message, Phase, Referent, Visit};
use crate::sink::Format;

use super::RunError;
use super::committer::{Times, Told, WorkerEnd};
use super::intake::{Intake, Taken};
use super::lookup::{Lookups, Reader};
use half::Half;
use lines::Lines;

/// How long slices wait when the committer is behind.
const SINK_BEHIND: Duration = Duration::from_millis(1);

/// What every worker is given.
pub(super) struct Setup {
    pub(super) rules: Arc<Rules>,
    pub(super) stream_field: Option<Place>,
    /// Whether a sink passes on what records carry besides their value.
    pub(super) carries: bool,
    pub(super) settings: mode::Settings,
    /// By kind of sink: whether its lines are only counted.
    pub(super) discards: [bool; 3],
    /// By kind of sink: whether a checksum is kept of its lines.
    pub(super) checksums: [bool; 3],
    /// By kind of sink: how its outcomes are written.
    pub(super) formats: [Format; 3],
    pub(super) partitions: Partitions,
    pub(super) intake: Arc<Intake>,
    pub(super) reader: Reader,
    pub(super) clock: Clock,
    pub(super) rewrite: Arc<AtomicU64>,
    /// Events that waited when an earlier run stopped, for each worker to bring in.
    pub(super) waiting: Vec<Mutex<Vec<Box<Dependent>>>>,
    /// Referents whose dependents in the state were being woken.
    pub(super) drains: Vec<Referent>,
    /// What is to be remembered of all events that wait.
    pub(super) reminders: Vec<Visit>,
    /// The keys that events in the state wait for, and the earliest of their deadlines.
    pub(super) waited_for: Vec<KeyHash>,
    pub(super) next_due: Option<Timestamp>,
    /// Events that are not resolved though they were read before.
    pub(super) unresolved: Arc<FxHashSet<EventId>>,
    /// Where results are maintained: what an earlier run left, by worker.
    pub(super) rows: Vec<Mutex<Vec<StoredRow>>>,
    /// Whether every wait ends with the input.
    pub(super) ends_waits: bool,
    /// Whether nothing is told but the results that stand in the end.
    pub(super) compact: bool,
}

/// What the source and the loop around the dataflow share.
#[derive(Default)]
struct Shared {
    read: Cell<u64>,
    replayed: Cell<u64>,
    /// Events that waited when an earlier run stopped, and are still to be brought in.
    to_bring_in: Cell<usize>,
    /// Whether the memory of maintained results was full before.
    was_full: Cell<bool>,
    accepted_at: RefCell<Times>,
}

/// Tells the committer when its thread panics: the others would wait for it for ever.
pub(super) struct TellOnPanic(pub(super) Sender<Told>);

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or("unnamed").to_owned();
            let _ = self.0.send(Told::Failed(RunError::Worker(format!("{name} panicked"))));
        }
    }
}

/// Runs a worker until the job is over.
pub(super) fn run(worker: &mut Worker, setup: &Setup) {
    let _guard = TellOnPanic(setup.reader.tell.clone());
    let me = WorkerIndex(worker.index());
    let workers = worker.peers();
    let half = Half::new(setup, me, workers);
    let shared = Rc::new(Shared::default());
    let decoder = Decoder::new(Arc::clone(&setup.rules), setup.stream_field.as_ref()).carrying(setup.carries);
    let lines = Rc::new(RefCell::new(Lines::new(setup, decoder.spare())));
    let (probe, wake) = worker.dataflow::<u64, _, _>(|scope| {
        let (events, wake) = read(scope, setup, decoder, half.clone(), Rc::clone(&shared), Rc::clone(&lines));
        let engine = match &half {
            Half::Engine(engine) => Rc::clone(engine),
            Half::Table(table) => return (maintained::dataflow(events, table, setup), wake),
        };
        let intake = Arc::clone(&setup.intake);
        let reader = Reader { worker: me, ..setup.reader.clone() };
        let clock = setup.clock.clone();
        let outcomes = mode::resolve(events, engine, Lookups::new(reader), clock, move || intake.current());
        (write(outcomes, Rc::clone(&lines)), wake)
    });
    let mut epoch = setup.intake.current().0;
    while !setup.intake.is_finished() {
        worker.step_or_park(Some(setup.intake.until_due()));
        // Once a step, before the worker may park: each time the committer's thread is woken.
        half.tell(&mut lines.borrow_mut());
        lines.borrow_mut().flush();
        // An answer of the state may have left pages to ask for, which the source's ticks do.
        let has_slices = half.backlog().0 == Backlog::Slices && setup.intake.takes_slices();
        if has_slices || setup.intake.until_due().is_zero() {
            wake.activate();
        }
        let open = setup.intake.current().0;
        if epoch == Epoch(0) {
            epoch = open;
        }
        if epoch != Epoch(0) && !probe.less_equal(&epoch.0) {
            let lines = &mut lines.borrow_mut();
            let end = match &half {
                Half::Engine(engine) => end_epoch(epoch, me, &mut engine.borrow_mut(), &shared, lines, setup),
                Half::Table(table) => maintained::end_epoch(epoch, me, &mut table.borrow_mut(), &shared, lines, setup),
            };
            // Where the committer is gone the job is ending.
            let _ = setup.reader.tell.send(Told::End(Box::new(end)));
            epoch = epoch.next();
        }
    }
    if !setup.intake.begins_again() {
        // The process is about to end: giving its tables back piece by piece takes seconds where they are large, and a stop should not wait for that.
        std::mem::forget(half);
    }
    // After a failure some operator may still hold the right to send: it is not waited for.
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

fn end_epoch(
    epoch: Epoch,
    worker: WorkerIndex,
    engine: &mut Engine,
    shared: &Shared,
    lines: &mut Lines,
    setup: &Setup,
) -> WorkerEnd {
    engine.rewrite_log_before(Epoch(setup.rewrite.load(Ordering::Relaxed)));
    engine.goes_on(!setup.intake.is_ending());
    let mut effects = mode::Effects::default();
    let changes = engine.end_epoch(&mut effects);
    // What is logged is mostly far more than what else is changed.
    let logged = setup.intake.batches.take_large();
    engine.recycle(setup.intake.batches.take_small(), logged);
    lines.add(&mut effects.outcomes);
    lines.flush();
    WorkerEnd {
        worker,
        epoch,
        read: shared.read.take(),
        replayed: shared.replayed.take(),
        accepted_at: shared.accepted_at.take(),
        changes,
        memory: engine.memory(),
        // A stop may come before all is where it was.
        waiting: (engine.waiting() + shared.to_bring_in.get()) as u64,
        oldest: engine.oldest(),
        has_deadline: engine.has_deadline(),
        draining: engine.drains().1 as u64,
        backlog: engine.backlog(),
    }
}

type Out<'a> = OutputBuilderSession<'a, u64, ByWorker>;

/// The source: takes blocks, decodes them, and sends events on their way.
fn read<'scope>(
    scope: Scope<'scope, u64>,
    setup: &Setup,
    decoder: Decoder,
    half: Half,
    shared: Rc<Shared>,
    lines: Rc<RefCell<Lines>>,
) -> (Stream<'scope, u64, Vec<Message>>, Activator) {
    let me = WorkerIndex(scope.index());
    let mut reading = Reading {
        me,
        workers: scope.peers(),
        rules: Arc::clone(&setup.rules),
        deferred: setup.rules.streams().iter().map(|s| s.depends_on.iter().any(|d| d.mode == Mode::Deferred)).collect(),
        decoder,
        intake: Arc::clone(&setup.intake),
        clock: setup.clock.clone(),
        half,
        shared,
        lines,
        waiting: setup
            .waiting
            .get(me.0)
            .map(|w| std::mem::take(&mut *w.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default(),
        unresolved: Arc::clone(&setup.unresolved),
        ticked: Epoch(0),
    };
    reading.shared.to_bring_in.set(reading.waiting.len());
    let activator_cell = Rc::new(RefCell::new(None));
    let to_caller = Rc::clone(&activator_cell);
    let intake = Arc::clone(&setup.intake);
    let stream = source(scope, "source", move |capability: Capability<u64>, info| {
        let address = info.address.to_vec();
        intake.register(scope.worker().sync_activator_for(address));
        let activator = scope.activator_for(Rc::clone(&info.address));
        *to_caller.borrow_mut() = Some(scope.activator_for(info.address));
        let mut capability = Some(capability);
        move |output: &mut Out<'_>| {
            if reading.intake.is_finished() {
                capability = None;
            }
            if let Some(capability) = capability.as_mut() {
                match reading.step(capability, output) {
                    Again::Now => activator.activate(),
                    Again::Later(delay) => activator.activate_after(delay),
                    Again::WhenWoken => {}
                }
            }
        }
    });
    let activator = activator_cell.borrow_mut().take();
    // The source's constructor has run: it put the activator there.
    (stream, activator.unwrap_or_else(|| scope.activator_for(Rc::from([].as_slice()))))
}

/// When the source is to run again.
enum Again {
    Now,
    Later(Duration),
    WhenWoken,
}

struct Reading {
    me: WorkerIndex,
    workers: usize,
    rules: Arc<Rules>,
    /// By stream: whether it has a deferred dependency.
    deferred: Vec<bool>,
    decoder: Decoder,
    intake: Arc<Intake>,
    clock: Clock,
    half: Half,
    shared: Rc<Shared>,
    lines: Rc<RefCell<Lines>>,
    waiting: Vec<Box<Dependent>>,
    unresolved: Arc<FxHashSet<EventId>>,
    ticked: Epoch,
}

impl Reading {
    fn step(&mut self, capability: &mut Capability<u64>, output: &mut Out<'_>) -> Again {
        self.bring_in(capability, output);
        let (backlog, is_full) = self.half.backlog();
        let taken = self.intake.take(self.me.0, backlog, is_full);
        if let Taken::Closed(epoch) = taken {
            if *capability.time() <= epoch.0 {
                // Perhaps it was closed before this worker came to it. Time passes in every epoch nevertheless: what ends waits depends on it.
                if self.ticked != epoch {
                    self.tick(epoch, capability, output);
                }
                capability.downgrade(&epoch.next().0);
            }
            return Again::WhenWoken;
        }
        let (epoch, phase) = self.intake.current();
        let behind = backlog == Backlog::Slices && self.intake.is_sink_behind();
        if self.ticked != epoch || (backlog == Backlog::Slices && !behind) {
            self.tick(epoch, capability, output);
        }
        match taken {
            Taken::Block(block) => {
                let mut session = output.session_with_builder(capability);
                self.decode(&block, phase, |message| session.give(message));
                if let Content::Lines { bytes, .. } | Content::Records { bytes, .. } = block.content {
                    self.intake.blocks.give(bytes);
                }
                Again::Now
            }
            Taken::Nothing if behind => Again::Later(SINK_BEHIND),
            Taken::Nothing if backlog == Backlog::Slices => Again::Now,
            Taken::NoRoom => {
                self.half.give_up(&self.lines.borrow());
                Again::WhenWoken
            }
            Taken::Nothing | Taken::Closed(_) => Again::WhenWoken,
        }
    }

    /// Lets time pass in an epoch, before anything else happens in it.
    fn tick(&mut self, epoch: Epoch, capability: &mut Capability<u64>, output: &mut Out<'_>) {
        self.ticked = epoch;
        if *capability.time() < epoch.0 {
            capability.downgrade(&epoch.0);
        }
        self.half.begin(epoch, self.intake.current().1);
        output.session_with_builder(capability).give(Message { to: self.me, visit: Visit::Tick(self.clock.now()) });
    }

    /// Sends the events that waited when an earlier run stopped on their way, once the replay is over. Also in an epoch that takes no more
    /// records, as long as this worker has not ended it: a job whose input is at its end has no other.
    fn bring_in(&mut self, capability: &mut Capability<u64>, output: &mut Out<'_>) {
        let (epoch, phase) = self.intake.current();
        if self.waiting.is_empty() || phase == Phase::Replay || *capability.time() > epoch.0 {
            return;
        }
        capability.downgrade(&epoch.0);
        self.half.begin(epoch, phase);
        let mut session = output.session_with_builder(capability);
        for dependent in self.waiting.drain(..) {
            session.give(mode::wake(dependent, self.workers));
        }
        self.shared.to_bring_in.set(0);
    }

    fn decode(&mut self, block: &Block, phase: Phase, mut send: impl FnMut(Message)) {
        let (rules, workers, unresolved) = (&self.rules, self.workers, &self.unresolved);
        if phase == Phase::Replay {
            let replayed = &self.shared.replayed;
            return self.decoder.decode(block, &mut |decoded| {
                replayed.set(replayed.get() + 1);
                if let Decoded::Event(dependent) = decoded {
                    let resolved = !unresolved.contains(&dependent.event.header.header.id);
                    mode::replay(rules, &dependent, resolved, workers, &mut send);
                }
            });
        }
        let mut lines = self.lines.borrow_mut();
        lines.now = self.clock.now();
        let mut accepted_at = self.shared.accepted_at.borrow_mut();
        let (mut read, deferred) = (0, &self.deferred);
        let is_maintained = matches!(self.half, Half::Table(_));
        self.decoder.decode(block, &mut |decoded| {
            read += 1;
            match decoded {
                Decoded::Event(dependent) if is_maintained => send(mode::maintained::route(rules, dependent, workers)),
                Decoded::Event(dependent) => {
                    let header = &dependent.event.header.header;
                    if deferred.get(usize::from(header.stream.0)) == Some(&true) {
                        accepted_at.add(header.arrival);
                    }
                    if let Some(outcome) = mode::accept(rules, dependent, workers, &mut send) {
                        lines.add_one(outcome);
                    }
                }
                Decoded::Rejected(rejection) => lines.add_one(Outcome::Rejected(rejection)),
            }
        });
        self.shared.read.set(self.shared.read.get() + read);
    }
}

/// The sink's half on the worker: builds lines and passes them on.
fn write<'scope>(outcomes: Stream<'scope, u64, Vec<Outcome>>, lines: Rc<RefCell<Lines>>) -> Handle<u64> {
    let done: Stream<'scope, u64, Vec<()>> = outcomes.unary(Pipeline, "render", |_capability, _info| {
        move |input, _output: &mut OutputBuilderSession<'_, u64, CapacityContainerBuilder<Vec<()>>>| {
            let mut lines = lines.borrow_mut();
            lines.now = lines.clock.now();
            input.for_each(|_capability, outcomes| {
                lines.add(outcomes);
            });
        }
    });
    done.probe().0
}
