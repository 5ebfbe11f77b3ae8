//! Maintained results against results from scratch: any rules, any records, any number of workers, restarts; at the end of every epoch.

mod properties;
mod situations;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use resolvent_state::{Batch, Durability, State};
use timely::dataflow::operators::core::Probe;
use timely::dataflow::operators::vec::{Input, Map};

use super::cluster::PLENTY;
use super::notation;
use crate::decode::{Decoded, Decoder};
use crate::dependency::{RecordFormat, Rules, Updates, Upkeep};
use crate::event::{
    Change, Dependent, DroppedReason, Epoch, EventId, ExpiredReason, Found, Outcome, PartitionId, StreamId, Timestamp,
    WorkerIndex,
};
use crate::mode::maintained::{self, Limits, Snapshot, StoredRow, Table};
use crate::mode::reference::maintained::{Ended, FoundPositions, FromScratch};
use crate::mode::{Message, Phase, Visit};

const LIMITS: Limits =
    Limits { changes_bytes: PLENTY, memory_bytes: PLENTY, tells_partial: false, compact: false, upserts: true };

/// The rules of these streams; an `append` among their words is taken out of them.
fn rules(lines: &[String]) -> Option<Arc<Rules>> {
    let is_append = |line: &str| line.split_whitespace().take_while(|word| *word != "->").any(|word| word == "append");
    let appended: Vec<String> = lines
        .iter()
        .filter(|line| is_append(line) || !line.contains(" key"))
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    let plain: Vec<String> = lines.iter().map(|line| line.replace(" append", "")).collect();
    let drafts = plain.iter().map(|line| notation::stream(line)).collect();
    let rules = Rules::build(drafts).ok()?.with_tombstones();
    Some(Arc::new(rules.maintained(|name| Upkeep {
        updates: if appended.iter().any(|one| one == name) { Updates::Append } else { Updates::Replace },
        deleted: None,
        format: RecordFormat::Plain,
    })))
}

/// What goes into one epoch.
#[derive(Clone)]
struct EpochIn {
    number: u64,
    now: Timestamp,
    phase: Phase,
    events: Vec<Dependent>,
}

/// What came out of one worker in one epoch.
#[derive(Default)]
struct EpochOut {
    changes: Vec<Change>,
    expired: Vec<Outcome>,
    dropped: Vec<(StreamId, DroppedReason)>,
    waiting: u64,
    more_waiting: i64,
    batch: Batch,
}

/// Runs epochs from what is in the state, on some workers; what came out of each epoch, by worker.
fn run(rules: &Arc<Rules>, workers: usize, rows: Vec<StoredRow>, epochs: Vec<EpochIn>) -> Vec<Vec<EpochOut>> {
    let mut shares: Vec<Vec<StoredRow>> = (0..workers).map(|_| Vec::new()).collect();
    rows.into_iter().for_each(|row| shares[row.owner(rules, workers).0].push(row));
    let shares: Arc<Vec<Mutex<Vec<StoredRow>>>> = Arc::new(shares.into_iter().map(Mutex::new).collect());
    // A process knows when it is started whether every wait ends with its input.
    let limits = Limits { tells_partial: epochs.iter().any(|epoch| epoch.phase == Phase::Ending), ..LIMITS };
    let (rules, barrier, count) = (Arc::clone(rules), Arc::new(Barrier::new(workers)), epochs.len());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let me = worker.index();
        let table = Table::new(Arc::clone(&rules), limits, std::mem::take(&mut *shares[me].lock().unwrap()));
        let table = Rc::new(RefCell::new(table));
        let open = Rc::new(Cell::new((Epoch(0), Phase::Replay, Timestamp(0))));
        let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, visits) = scope.new_input::<(WorkerIndex, Option<Box<Dependent>>)>();
            let messages = visits
                .map(|(to, event)| Message { to, visit: event.map_or(Visit::Tick(Timestamp(0)), Visit::Dependent) });
            let (clock, current) = (Rc::clone(&open), Rc::clone(&open));
            let current = move || (current.get().0, current.get().1);
            let done = maintained::maintain(messages, Rc::clone(&table), move || clock.get().2, current);
            (input, done.probe().0)
        });
        let mut out = Vec::new();
        for epoch in &epochs {
            // An epoch begins when the one before has gone through everywhere.
            barrier.wait();
            open.set((Epoch(epoch.number), epoch.phase, epoch.now));
            input.advance_to(epoch.number);
            input.send((WorkerIndex(me), None));
            for event in epoch.events.iter().skip(me).step_by(workers) {
                let message = maintained::route(&rules, Box::new(event.clone()), workers);
                input.send((message.to, Some(Box::new(event.clone()))));
            }
            input.advance_to(epoch.number + 1);
            while probe.less_equal(&epoch.number) {
                worker.step();
            }
            let mut table = table.borrow_mut();
            let (batch, more_waiting) = table.end_epoch();
            let effects = table.take_effects();
            out.push(EpochOut {
                changes: effects.changes,
                expired: effects.expired,
                dropped: effects.dropped,
                waiting: table.facts().waiting,
                more_waiting,
                batch,
            });
        }
        barrier.wait();
        out
    });
    let mut by_worker: Vec<Vec<EpochOut>> = guards.unwrap().join().into_iter().map(Result::unwrap).collect();
    by_worker.iter_mut().for_each(|out| out.reverse());
    (0..count).map(|_| by_worker.iter_mut().filter_map(Vec::pop).collect()).collect()
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// Records, in one epoch.
    Read(Vec<String>),
    /// Seconds pass.
    Pass(u64),
    /// So many pass but for some milliseconds, so that what ends then ends in several epochs.
    Nearly(u64),
    /// The job stops, and starts with so many workers.
    Restart(usize),
    /// The job stops, one of the waits is ended by hand, and it starts again.
    EndByHand(usize),
    /// The input ends, and every wait.
    End,
}

/// One job, told to the dataflow and from scratch.
struct Trial {
    rules: Arc<Rules>,
    decoder: Decoder,
    state: State,
    workers: usize,
    now: Timestamp,
    number: u64,
    records: u64,
    /// Epochs that have not been run.
    epochs: Vec<EpochIn>,
    reference: FromScratch,
    /// Of those epochs, what has to be there at their ends.
    expected: Vec<Expected>,
    /// What has been told, summed up.
    told: BTreeMap<(EventId, FoundPositions), i64>,
    /// What has expired, and why.
    expired: BTreeMap<EventId, ExpiredReason>,
    totals: [u64; 5],
    waiting_in_state: i64,
    streams: BTreeMap<EventId, StreamId>,
}

struct Expected {
    results: Vec<(EventId, FoundPositions)>,
    ended: Vec<Ended>,
    waiting: usize,
    accepted: u64,
}

impl Trial {
    fn new(rules: &Arc<Rules>, workers: usize) -> Trial {
        Trial {
            rules: Arc::clone(rules),
            decoder: Decoder::new(Arc::clone(rules), None),
            state: State::in_memory(),
            workers,
            now: Timestamp(1_000_000_000),
            number: 0,
            records: 0,
            epochs: Vec::new(),
            reference: FromScratch::new(Arc::clone(rules)),
            expected: Vec::new(),
            told: BTreeMap::new(),
            expired: BTreeMap::new(),
            totals: [0; 5],
            waiting_in_state: 0,
            streams: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Read(lines) => self.epoch(lines, Phase::Live),
            Step::Pass(seconds) => {
                self.now = self.now.after(Duration::from_secs(*seconds));
                self.epoch(&[], Phase::Live);
            }
            Step::Nearly(seconds) => {
                self.now = self.now.after(Duration::from_millis(seconds * 1000 - 5));
                self.epoch(&[], Phase::Live);
            }
            Step::Restart(workers) => {
                self.flush();
                self.workers = *workers;
                self.reference.restart();
                self.bring_back();
            }
            Step::EndByHand(which) => {
                self.flush();
                self.end_by_hand(*which);
                self.reference.restart();
                self.bring_back();
            }
            Step::End => self.epoch(&[], Phase::Ending),
        }
    }

    fn epoch(&mut self, lines: &[String], phase: Phase) {
        if phase != Phase::Ending {
            self.now = self.now.after(Duration::from_millis(1));
        }
        self.reference.begin(self.now);
        if phase == Phase::Ending {
            // All deadlines until now have passed in an epoch before.
            self.reference.end();
        }
        let mut events = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let record = notation::record(&self.rules, line, self.records);
            self.records += 1;
            let arrival = Timestamp(self.now.0 + at as i64);
            if let Decoded::Event(dependent) = notation::decode(&mut self.decoder, &record, arrival) {
                let header = &dependent.event.header.header;
                self.streams.insert(header.id, header.stream);
                self.reference.arrive(Dependent::clone(&dependent));
                events.push(*dependent);
            }
        }
        let accepted = events.len() as u64;
        let (results, waiting) = (self.reference.settle(), self.reference.waiting().len());
        self.expected.push(Expected { results, ended: self.reference.take_ended(), waiting, accepted });
        self.number += 1;
        self.epochs.push(EpochIn { number: self.number, now: self.now, phase, events });
    }

    fn end_by_hand(&mut self, which: usize) {
        let waiting = self.reference.waiting();
        let Some((id, found_before)) = waiting.get(which % waiting.len().max(1)) else { return };
        let snapshot = Snapshot::read(&self.state, &self.rules).unwrap();
        let (dependent, row) =
            snapshot.find_waiting(&self.state, &self.rules, *id, self.now).unwrap().expect("it waits");
        assert_eq!(found(&dependent), *found_before);
        let batch = Snapshot::end_waiting(&self.state, &self.rules, &row).unwrap();
        self.state.write(&batch, Durability::Buffered).unwrap();
        self.reference.end_by_hand(*id);
        self.waiting_in_state -= 1;
        self.totals[3] += 1;
    }

    /// What the state alone says of what waits, after all epochs have been run.
    fn compare_snapshot(&self) {
        let snapshot = Snapshot::read(&self.state, &self.rules).unwrap();
        let mut ids = Vec::new();
        let see = |dependent: &Dependent| ids.push(dependent.event.header.header.id);
        snapshot.each_waiting(&self.state, &self.rules, self.now, see).unwrap();
        ids.sort();
        let find = |id: EventId| {
            let found_in = snapshot.find_waiting(&self.state, &self.rules, id, self.now).unwrap().expect("it waits");
            (id, found(&found_in.0))
        };
        let shown: Vec<_> = ids.into_iter().map(find).collect();
        assert_eq!(shown, self.reference.waiting(), "what waits out of the state");
    }

    /// What is here comes back, in an epoch of its own that tells nothing.
    fn bring_back(&mut self) {
        let rows = maintained::restore(&self.state, &self.rules).unwrap();
        let is_something = !rows.is_empty();
        if is_something {
            self.number += 1;
            let (number, now) = (self.number, self.now);
            self.epochs.push(EpochIn { number, now, phase: Phase::Replay, events: Vec::new() });
            let (results, waiting) = (self.reference.settle(), self.reference.waiting().len());
            self.expected.push(Expected { results, ended: Vec::new(), waiting, accepted: 0 });
        }
    }

    /// Runs what has gathered, and compares each epoch.
    fn flush(&mut self) {
        let rows = maintained::restore(&self.state, &self.rules).unwrap();
        let (epochs, expected) = (std::mem::take(&mut self.epochs), std::mem::take(&mut self.expected));
        let numbers: Vec<u64> = epochs.iter().map(|epoch| epoch.number).collect();
        let out = run(&self.rules, self.workers, rows, epochs);
        for ((number, of_workers), expected) in numbers.into_iter().zip(out).zip(expected) {
            self.compare(number, of_workers, &expected);
        }
        self.compare_snapshot();
    }

    fn compare(&mut self, number: u64, of_workers: Vec<EpochOut>, expected: &Expected) {
        let [accepted, resolved, retracted, expired, dropped] = &mut self.totals;
        *accepted += expected.accepted;
        let (mut ended, mut waiting) = (Vec::new(), 0);
        for out in of_workers {
            for change in &out.changes {
                assert_eq!(change.epoch, Epoch(number));
                let count =
                    self.told.entry((change.dependent.event.header.header.id, found(&change.dependent))).or_default();
                *count += if change.added { 1 } else { -1 };
                assert!((0..=1).contains(count), "epoch {number}: {change:?} makes it {count}");
                if change.added { *resolved += 1 } else { *retracted += 1 }
            }
            for outcome in &out.expired {
                let Outcome::Expired(dependent, reason) = outcome else { panic!("{outcome:?}") };
                ended.push(Ended::Expired(dependent.event.header.header.id, *reason, found(dependent)));
                self.expired.insert(dependent.event.header.header.id, *reason);
                *expired += 1;
            }
            *dropped += out.dropped.len() as u64;
            ended.extend(out.dropped.iter().map(|(stream, reason)| stand_in(*stream, *reason)));
            waiting += out.waiting;
            self.waiting_in_state += out.more_waiting;
            self.state.write(&out.batch, Durability::Buffered).unwrap();
        }
        self.told.retain(|_, count| *count > 0);
        let told: Vec<_> = self.told.keys().cloned().collect();
        assert_eq!(told, expected.results, "epoch {number}: what was told is not what is to be there");
        let mut expected_ended: Vec<Ended> = expected
            .ended
            .iter()
            .map(|ended| match ended {
                Ended::Dropped(id, reason) => stand_in(self.streams[id], *reason),
                other => other.clone(),
            })
            .collect();
        ended.sort();
        expected_ended.sort();
        assert_eq!(ended, expected_ended, "epoch {number}: what ended");
        assert_eq!(waiting, expected.waiting as u64, "epoch {number}: what waits");
        assert_eq!(self.waiting_in_state, waiting as i64, "epoch {number}: what the state was told of");
        assert_eq!(
            *accepted + *retracted,
            *resolved + *expired + *dropped + waiting,
            "epoch {number}: the law: {:?}",
            self.totals
        );
    }
}

/// A dropped event, of which only the stream is told.
fn stand_in(stream: StreamId, reason: DroppedReason) -> Ended {
    Ended::Dropped(EventId { partition: PartitionId(u32::from(stream.0)), offset: 0 }, reason)
}

/// What a result has found, by position.
fn found(dependent: &Dependent) -> FoundPositions {
    let found = dependent.references.iter().map(|reference| match &reference.found {
        Found::Present(event) => Some(event.header.header.id),
        _ => None,
    });
    found.collect()
}

/// Tells a job all steps, and compares at the end of each epoch.
fn check(rules: &Arc<Rules>, workers: usize, steps: &[Step]) -> Trial {
    let mut trial = Trial::new(rules, workers);
    steps.iter().for_each(|step| trial.step(step));
    trial.flush();
    trial
}
