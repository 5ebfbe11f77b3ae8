//! Engines, the state between them, and a network that delivers in any order that the real one might.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use resolvent_state::State;

use super::notation::{self, Record};
use crate::checkpoint::{Checkpoint, Committed, EpochEnd};
use crate::decode::{Decoded, Decoder};
use crate::dependency::Rules;
use crate::event::{Dependent, Epoch, EventId, Outcome, Partitions, Timestamp, WorkerIndex};
use crate::metrics::Totals;
use crate::mode::operator::calls;
use crate::mode::{self, Backlog, Effects, Engine, Message, Phase, Query, Settings, Visit};
use crate::sink::{self, Target};

/// What a tick of the shell works through.
pub(super) const BUDGET: usize = 4096;

/// Memory that no test fills.
pub(super) const PLENTY: usize = 1 << 30;

/// A seeded source of decisions (SplitMix64).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What a worker's source has still to do in the open epoch.
enum Input {
    Tick,
    Waiting(Box<Dependent>),
    Visit(Message),
    Record(Record),
}

/// One job over its restarts.
pub(super) struct Cluster {
    rules: Arc<Rules>,
    decoder: Decoder,
    state: State,
    checkpoint: Checkpoint,
    engines: Vec<Engine>,
    memory: usize,
    /// Bytes of changes after which an epoch should end. Little in every other case, so that not all that is over its bound leaves memory at once.
    changes_bytes: usize,
    /// Whether records can be read again. In every other case of each kind.
    rereads: bool,
    /// Events that one tick works through.
    budget: usize,
    pub(super) now: Timestamp,
    epoch: Epoch,
    pub(super) phase: Phase,
    pub(super) chance: Chance,
    /// Restored, and not yet sent on their way.
    waiting: Vec<Box<Dependent>>,
    /// Inputs by worker.
    inputs: Vec<VecDeque<Input>>,
    /// Messages by sender and receiver; what a source sends and what an engine sends do not keep an order with each other.
    network: BTreeMap<(usize, bool, usize), VecDeque<Visit>>,
    asked: Vec<VecDeque<Vec<Query>>>,
    /// All records of committed epochs, in the order in which they were read, and when each arrived.
    pub(super) committed: Vec<(Timestamp, Record)>,
    /// Of the open epoch.
    read: Vec<Record>,
    outcomes: Vec<Outcome>,
    /// Of committed epochs, for the test to take.
    pub(super) told: Vec<Outcome>,
}

fn no_sinks() -> sink::Settings {
    sink::Settings {
        resolved: Target::Null { checksum: false },
        dead_letter: Some(Target::Null { checksum: false }),
        accepted: Some(Target::Null { checksum: false }),
    }
}

impl Cluster {
    pub(super) fn new(rules: &Arc<Rules>, workers: usize, memory: usize, budget: usize, seed: u64) -> Cluster {
        let state = State::in_memory();
        let checkpoint = Checkpoint::open(state.clone(), Committed::default(), BTreeMap::new(), &no_sinks(), None)
            .expect("null sinks open");
        let mut cluster = Cluster {
            rules: Arc::clone(rules),
            decoder: Decoder::new(Arc::clone(rules), None),
            state,
            checkpoint,
            engines: Vec::new(),
            memory,
            changes_bytes: if seed.is_multiple_of(2) { 1 << 10 } else { PLENTY },
            rereads: (seed / 2).is_multiple_of(2),
            budget,
            now: Timestamp(1_000_000_000),
            epoch: Epoch(0),
            phase: Phase::CatchUp,
            chance: Chance(seed),
            waiting: Vec::new(),
            inputs: Vec::new(),
            network: BTreeMap::new(),
            asked: Vec::new(),
            committed: Vec::new(),
            read: Vec::new(),
            outcomes: Vec::new(),
            told: Vec::new(),
        };
        cluster.start_engines(workers, false);
        cluster
    }

    fn start_engines(&mut self, workers: usize, state_has_referents: bool) {
        let settings = Settings {
            streaming_bytes: self.memory,
            deferred_bytes: self.memory,
            changes_bytes: self.changes_bytes,
            accepted: true,
            state_has_referents,
            rereads: self.rereads,
        };
        let engine = |worker| Engine::new(Arc::clone(&self.rules), WorkerIndex(worker), workers, settings);
        self.engines = (0..workers).map(engine).collect();
        self.inputs = (0..workers).map(|_| VecDeque::new()).collect();
        self.asked = (0..workers).map(|_| VecDeque::new()).collect();
        self.network.clear();
        self.read.clear();
        self.outcomes.clear();
    }

    /// Whatever was not committed is lost; another process goes on, as `pipeline::open` does it.
    pub(super) fn restart(&mut self, workers: usize) {
        let mut committed = Committed::read(&self.state).expect("a commit");
        let listed = self.read_listed(&committed);
        committed.log_listed(&self.state, mode::log_waiting(&self.rules, committed.epoch, &listed)).expect("a state");
        let restored = mode::restore(&self.state, &self.rules, committed.epoch).expect("a state");
        self.epoch = committed.epoch;
        let replays = self.rules.entities().iter().any(|entity| entity.streaming && !entity.deferred);
        self.start_engines(workers, restored.has_referents);
        for engine in &mut self.engines {
            engine.restore_waiting(&restored.waited_for, restored.next_due);
            engine.remember(&restored.reminders);
        }
        for referent in restored.drains {
            self.engines[referent.hash.owner(workers).0].restore_drain(referent);
        }
        if replays && !committed.positions.0.is_empty() {
            mode::forget_overflow(&self.state, &self.rules).expect("a state");
            self.checkpoint = Checkpoint::open(self.state.clone(), committed, restored.log, &no_sinks(), None)
                .expect("null sinks open");
            self.phase = Phase::Replay;
            self.replay(&restored.unresolved);
        } else {
            self.checkpoint = Checkpoint::open(self.state.clone(), committed, restored.log, &no_sinks(), None)
                .expect("null sinks open");
        }
        self.phase = Phase::CatchUp;
        self.waiting = restored.waiting;
    }

    /// The events that the last commit has only listed, of the records that were read in committed epochs.
    fn read_listed(&mut self, committed: &Committed) -> Vec<Box<Dependent>> {
        let read = |at: mode::Position| {
            let (_, record) = self.committed.iter().find(|(_, record)| record.id == at.id()).expect("a record").clone();
            match self.decode_at(&record, at.arrival()) {
                Decoded::Event(dependent) => Ok::<_, mode::StoredError>(dependent),
                Decoded::Rejected(rejection) => panic!("{rejection:?} waited"),
            }
        };
        mode::read_listed(&committed.listed, read, |at| panic!("{at:?} is another record")).expect("lists")
    }

    fn replay(&mut self, unresolved: &rustc_hash::FxHashSet<EventId>) {
        let workers = self.engines.len();
        for (arrival, record) in self.committed.clone() {
            let Decoded::Event(dependent) = self.decode_at(&record, arrival) else { continue };
            let resolved = !unresolved.contains(&dependent.event.header.header.id);
            let reader = self.reader();
            let rules = Arc::clone(&self.rules);
            let inputs = &mut self.inputs[reader];
            mode::replay(&rules, &dependent, resolved, workers, |message| inputs.push_back(Input::Visit(message)));
        }
        self.run_epoch(Vec::new());
        self.commit();
    }

    fn is_ordered(&self) -> bool {
        self.rules.streams().iter().any(|stream| stream.queue().is_some())
    }

    fn reader(&mut self) -> usize {
        if self.is_ordered() { 0 } else { self.chance.below(self.engines.len()) }
    }

    pub(super) fn decode(&mut self, record: &Record) -> Decoded {
        self.decode_at(record, self.now)
    }

    fn decode_at(&mut self, record: &Record, arrival: Timestamp) -> Decoded {
        notation::decode(&mut self.decoder, record, arrival)
    }

    /// Opens an epoch, reads these records in it, and lets everything go its way. It is not committed yet.
    pub(super) fn run_epoch(&mut self, records: Vec<Record>) {
        self.epoch = self.epoch.next();
        // The records of two epochs never arrive at one moment.
        self.now = self.now.after(Duration::from_micros(1));
        let workers = self.engines.len();
        for worker in 0..workers {
            self.engines[worker].begin(self.epoch, self.phase);
            self.engines[worker].tell_time(self.now);
            self.inputs[worker].push_front(Input::Tick);
        }
        if self.phase != Phase::Replay {
            for dependent in std::mem::take(&mut self.waiting) {
                let reader = self.reader();
                self.inputs[reader].push_back(Input::Waiting(dependent));
            }
        }
        for record in records {
            self.read.push(record.clone());
            let reader = self.reader();
            self.inputs[reader].push_back(Input::Record(record));
        }
        let mut ticks = self.chance.below(4);
        while self.step() || self.tick_again(&mut ticks) {}
    }

    /// An epoch that lasts until no engine has a slice left to work through. Returns whether it became so full that it ought to have ended before.
    pub(super) fn run_long_epoch(&mut self, records: Vec<Record>) -> bool {
        self.run_epoch(records);
        let mut ticks = usize::MAX;
        while self.step() || self.tick_again(&mut ticks) {}
        self.engines.iter().any(Engine::is_full)
    }

    /// Does one thing that could happen next.
    fn step(&mut self) -> bool {
        self.network.retain(|_, visits| !visits.is_empty());
        let channels: Vec<_> = self.network.keys().copied().collect();
        let readers: Vec<usize> = (0..self.engines.len()).filter(|w| !self.inputs[*w].is_empty()).collect();
        let answers: Vec<usize> = (0..self.engines.len()).filter(|w| !self.asked[*w].is_empty()).collect();
        let choices = channels.len() + readers.len() + answers.len();
        if choices == 0 {
            return false;
        }
        let choice = self.chance.below(choices);
        if let Some(channel) = channels.get(choice) {
            let visit = self.network.get_mut(channel).and_then(VecDeque::pop_front).expect("a message");
            self.deliver(channel.2, visit);
        } else if let Some(reader) = readers.get(choice - channels.len()) {
            let input = self.inputs[*reader].pop_front().expect("an input");
            self.take(*reader, input);
        } else {
            self.answer(answers[choice - channels.len() - readers.len()]);
        }
        true
    }

    fn tick_again(&mut self, ticks: &mut usize) -> bool {
        let behind: Vec<usize> =
            (0..self.engines.len()).filter(|w| self.engines[*w].backlog() == Backlog::Slices).collect();
        if behind.is_empty() || *ticks == 0 {
            return false;
        }
        *ticks -= 1;
        let worker = behind[self.chance.below(behind.len())];
        self.inputs[worker].push_back(Input::Tick);
        true
    }

    fn take(&mut self, worker: usize, input: Input) {
        let workers = self.engines.len();
        let message = match input {
            Input::Tick => Message { to: WorkerIndex(worker), visit: Visit::Tick(self.now) },
            Input::Waiting(dependent) => mode::wake(dependent, workers),
            Input::Visit(message) => message,
            Input::Record(record) => {
                let mut messages = Vec::new();
                match self.decode(&record) {
                    Decoded::Event(dependent) => {
                        let outcome = mode::accept(&self.rules, dependent, workers, |message| messages.push(message));
                        self.outcomes.extend(outcome);
                    }
                    Decoded::Rejected(rejection) => self.outcomes.push(Outcome::Rejected(rejection)),
                }
                messages.into_iter().for_each(|message| self.send(worker, true, message));
                return;
            }
        };
        self.send(worker, true, message);
    }

    fn send(&mut self, from: usize, by_source: bool, message: Message) {
        self.network.entry((from, by_source, message.to.0)).or_default().push_back(message.visit);
    }

    fn deliver(&mut self, to: usize, visit: Visit) {
        let is_tick = matches!(visit, Visit::Tick(_));
        let mut effects = Effects::default();
        self.engines[to].handle(visit, &mut effects);
        if is_tick {
            self.engines[to].drain(self.budget, &mut effects);
        }
        self.carry_out(to, effects);
    }

    fn answer(&mut self, worker: usize) {
        // Several threads answer: whoever asked first may be answered last.
        let call = self.chance.below(self.asked[worker].len());
        let queries = self.asked[worker].swap_remove_back(call).expect("queries");
        let answers = mode::answer(&self.state, &self.rules, WorkerIndex(worker), self.engines.len(), queries);
        let mut effects = Effects::default();
        for answer in answers.expect("a state") {
            self.engines[worker].answer(answer, &mut effects);
        }
        self.carry_out(worker, effects);
    }

    fn carry_out(&mut self, worker: usize, mut effects: Effects) {
        effects.messages.into_iter().for_each(|message| self.send(worker, false, message));
        self.outcomes.extend(effects.outcomes);
        self.asked[worker].extend(calls(&mut effects.queries));
    }

    /// Ends the epoch and commits it. Returns the records that were read in it.
    pub(super) fn commit(&mut self) -> Vec<Record> {
        let rewrite =
            if self.chance.one_in(4) { Epoch(self.chance.below(1 + self.epoch.0 as usize) as u64) } else { Epoch(0) };
        let mut changes = Vec::new();
        let last = self.chance.one_in(8);
        for (worker, engine) in self.engines.iter_mut().enumerate() {
            let mut effects = Effects::default();
            engine.rewrite_log_before(rewrite);
            engine.goes_on(!last);
            changes.push((WorkerIndex(worker), engine.end_epoch(&mut effects)));
            assert!(effects.messages.is_empty() && effects.queries.is_empty());
            self.outcomes.extend(effects.outcomes);
        }
        let mut positions = self.checkpoint.committed().positions.clone();
        for record in &self.read {
            let next = positions.0.entry(record.id.partition).or_default();
            *next = (*next).max(record.id.offset + 1);
        }
        let partitions = Partitions::new(["0".into(), "1".into()]);
        let outcomes = std::mem::take(&mut self.outcomes);
        let totals = self.count(&outcomes);
        self.checkpoint
            .commit(
                self.epoch,
                EpochEnd { positions, partitions, totals, now: self.now, changes, ..EpochEnd::default() },
            )
            .expect("a commit");
        if self.phase != Phase::Replay {
            let committed = self.checkpoint.committed();
            if let Err(error) = committed.totals.conserves(self.waiting() as u64) {
                panic!("{error} (of them {} in the state)", committed.waiting_in_state);
            }
        }
        self.told.extend(outcomes);
        self.committed.extend(self.read.iter().map(|record| (self.now, record.clone())));
        std::mem::take(&mut self.read)
    }

    fn count(&self, outcomes: &[Outcome]) -> Totals {
        let mut totals = Totals { read: self.read.len() as u64, ..Totals::default() };
        for outcome in outcomes {
            match outcome {
                Outcome::Resolved(_) => totals.resolved += 1,
                Outcome::Expired(..) => totals.expired += 1,
                Outcome::Dropped(..) => totals.dropped += 1,
                Outcome::Rejected(_) => totals.rejected += 1,
                Outcome::Accepted(_) => {}
            }
        }
        totals.accepted = totals.read - totals.rejected;
        totals
    }

    /// Whether some engine has something left to do.
    pub(super) fn is_behind(&self) -> bool {
        self.engines.iter().any(|engine| engine.backlog() != Backlog::None)
    }

    /// Memory that the engines hold.
    pub(super) fn memory(&self) -> Vec<mode::Memory> {
        self.engines.iter().map(Engine::memory).collect()
    }

    /// Events that wait in memory.
    pub(super) fn waiting_in_memory(&self) -> usize {
        self.engines.iter().map(Engine::waiting).sum()
    }

    /// Events that wait, in memory and in the state.
    pub(super) fn waiting(&self) -> usize {
        self.waiting_in_memory() + self.checkpoint.committed().waiting_in_state as usize
    }
}
