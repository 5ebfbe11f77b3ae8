//! One worker's share of the resolution: dependents visit, wait, are woken, and leave.
//!
//! Everything an engine does follows from the messages it is given and the time it is told. It works through a queue of its own instead of calling itself,
//! so that a chain of events that resolve each other may be of any length.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::dependency::Rules;
use crate::event::{Dependent, DroppedReason, Epoch, ExpiredReason, Found, Outcome, Timestamp, WorkerIndex};

use super::arrival::Drain;
use super::claims::Claims;
use super::cycle::{self, WaitGraph};
use super::deadline::Deadlines;
use super::deferred::Residency;
use super::deletion::Deletions;
use super::order::Queues;
use super::table::{Memory, Parked, Table, WaiterId};
use super::visit::ask_missing_again;
use super::{Changes, Claim, Effects, Hidden, Message, Place, Referent, Visit};

/// Dependents of one referent that are woken at once; more are woken in slices, so that others get their turn. Few in tests, so that small cases have slices.
pub(super) const SLICE: usize = if cfg!(test) { 4 } else { 256 };

/// What bounds an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of memory for streaming referents and the events that wait for them (this worker's share of `[streaming] memory`).
    pub streaming_bytes: usize,
    /// Bytes of memory for the cache of deferred referents and waiting events (this worker's share of `[state] memory`).
    pub deferred_bytes: usize,
    /// Bytes of changes of the state after which an epoch should end (this worker's share).
    pub changes_bytes: usize,
    /// Whether `accepted` notices are wanted.
    pub accepted: bool,
    /// Whether the state has referents of an earlier run.
    pub state_has_referents: bool,
    /// Whether every record can be read again by its position.
    pub rereads: bool,
}

/// Epochs for which events that ended unresolved still count as waiting for each other.
pub(super) const EPOCHS_LATE: u64 = 2;

/// One worker's referents and waiting events. See the module's description.
#[derive(Debug)]
pub struct Engine {
    pub(super) rules: Arc<Rules>,
    pub(super) me: WorkerIndex,
    pub(super) workers: usize,
    pub(super) settings: Settings,
    pub(super) epoch: Epoch,
    pub(super) now: Timestamp,
    pub(super) table: Table,
    pub(super) deadlines: Deadlines,
    pub(super) residency: Residency,
    pub(super) phase: Phase,
    queues: Queues,
    graph: WaitGraph,
    pub(super) drains: VecDeque<Drain>,
    /// Events that the end of the input has still to end.
    ending: Option<Vec<WaiterId>>,
    /// Whether the last slice left events whose wait has ended.
    pub(super) due_left: bool,
    pub(super) claims: Claims,
    pub(super) deletions: Deletions,
    pub(super) work: VecDeque<Visit>,
}

/// What an engine has left to do when its messages are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backlog {
    /// Nothing.
    None,
    /// The state has still to answer.
    Answers,
    /// Another tick does another slice.
    Slices,
}

/// What the passing of time may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Committed input is read again: referents come back, nothing is woken.
    Replay,
    /// The sources have not been read to the end that they had at the start: no deadline fires.
    CatchUp,
    /// Deadlines fire.
    Live,
    /// The input has ended, and so does every wait.
    Ending,
    /// All has ended, and the results that stand are told (`--compact`).
    Closing,
}

impl Engine {
    /// An engine with nothing in it, for one of `workers` workers.
    pub fn new(rules: Arc<Rules>, me: WorkerIndex, workers: usize, settings: Settings) -> Self {
        let claims = Claims::new(&rules);
        let deletions = Deletions::new(&rules);
        Engine {
            table: Table::new(Arc::clone(&rules)),
            residency: Residency::new(&settings),
            rules,
            me,
            workers,
            settings,
            epoch: Epoch(0),
            now: Timestamp::default(),
            deadlines: Deadlines::default(),
            phase: Phase::Replay,
            queues: Queues::default(),
            graph: WaitGraph::default(),
            drains: VecDeque::new(),
            ending: None,
            due_left: false,
            claims,
            deletions,
            work: VecDeque::new(),
        }
    }

    /// Begins an epoch, unless it has begun.
    pub fn begin(&mut self, epoch: Epoch, phase: Phase) {
        // Deadlines may be two epochs late. At the end of the input all waits end together, in as many epochs as it takes: those that had ended before
        // are no longer waited through.
        let late = match (self.phase, phase) {
            (Phase::Ending, _) => None,
            (_, Phase::Ending) => Some(0),
            _ => (self.epoch != epoch).then_some(EPOCHS_LATE),
        };
        self.phase = phase;
        self.epoch = epoch;
        if let Some(late) = late {
            self.graph.forget_before(Epoch(epoch.0.saturating_sub(late)));
        }
    }

    /// Tells the time; it never goes back.
    pub fn tell_time(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Does what a message asks.
    pub fn handle(&mut self, visit: Visit, effects: &mut Effects) {
        self.step(visit, effects);
        self.run(effects);
    }

    /// Tells it, before its first epoch, of the events that waited when an earlier run stopped: wherever they are now, they keep their places in their
    /// queues, and others wait for them.
    pub fn remember(&mut self, reminders: &[Visit]) {
        for reminder in reminders {
            match reminder {
                Visit::Reserve(place) if place.hash.owner(self.workers) == self.me => self.queues.reserve(place),
                Visit::Claim(claim) if claim.lacks.hash.owner(self.workers) == self.me => {
                    self.claims.restore(Claim::clone(claim));
                }
                Visit::Hidden(hidden) if hidden.hash.owner(self.workers) == self.me => {
                    self.deletions.restore(Hidden::clone(hidden));
                }
                Visit::Waits(waits) if self.me == GRAPH => {
                    let (id, link) = &**waits;
                    self.graph.add(*id, link.clone());
                }
                _ => {}
            }
        }
    }

    pub(super) fn run(&mut self, effects: &mut Effects) {
        while let Some(visit) = self.work.pop_front() {
            self.step(visit, effects);
        }
    }

    fn step(&mut self, visit: Visit, effects: &mut Effects) {
        match visit {
            Visit::Dependent(dependent) => self.advance(dependent, effects),
            Visit::Referent(referent) => self.arrive(referent, effects),
            Visit::Claim(claim) => self.claim(claim, effects),
            Visit::Claimed(claim, referent) => self.take_claimed(claim, referent, effects),
            Visit::Withdraw(of) => self.claims.withdraw(of.id, of.reference, of.entity, of.hash),
            Visit::Enter(dependent) => self.enter(dependent, effects),
            Visit::Complete(dependent) => self.take_turn(dependent, effects),
            Visit::Leave(place) => self.leave(&place),
            Visit::Reserve(place) => self.queues.reserve(&place),
            Visit::Hidden(hidden) => self.deletions.restore(*hidden),
            Visit::Waits(waits) => {
                let (id, link) = *waits;
                self.graph.add(id, link);
            }
            Visit::Ended(id, resolved) => self.graph.end(id, self.epoch, resolved),
            Visit::Judge(dependent) => {
                let id = dependent.event.header.header.id;
                if let Some(link) = cycle::link(&self.rules, &dependent) {
                    self.graph.add(id, link);
                }
                let cycle = self.graph.leads_back(id);
                self.graph.end(id, self.epoch, false);
                let reason = if cycle { ExpiredReason::Cycle } else { self.plain_reason() };
                effects.outcomes.push(Outcome::Expired(dependent, reason));
            }
            Visit::Tick(now) => self.tick(now),
        }
    }

    fn plain_reason(&self) -> ExpiredReason {
        if self.phase == Phase::Ending { ExpiredReason::EndOfInput } else { ExpiredReason::Deadline }
    }

    // --- an event ends ---

    pub(super) fn complete(&mut self, dependent: Box<Dependent>, effects: &mut Effects) {
        match place(&self.rules, &dependent) {
            Some(place) => {
                let to = place.hash.owner(self.workers);
                self.send(to, Visit::Complete(dependent), effects);
            }
            None => self.end_resolved(dependent, effects),
        }
    }

    fn end_resolved(&mut self, dependent: Box<Dependent>, effects: &mut Effects) {
        self.residency.ended(&dependent);
        self.leave_graph(&dependent, true, effects);
        self.withdraw_claims(&dependent, effects);
        let header = &dependent.event.header.header;
        let partial = dependent.references.iter().any(|r| matches!(r.found, Found::GivenUp));
        if let (Some(entity), Some(key)) = (self.rules.stream(header.stream).provides_resolved, &header.key) {
            if partial {
                self.residency.ended_unresolved(&self.rules, &dependent);
            } else {
                let referent = Referent { entity, hash: key.hash(entity), event: dependent.event.clone() };
                self.send(referent.hash.owner(self.workers), Visit::Referent(referent), effects);
            }
        }
        effects.outcomes.push(Outcome::Resolved(dependent));
    }

    pub(super) fn end_dropped(&mut self, dependent: Box<Dependent>, reason: DroppedReason, effects: &mut Effects) {
        self.end_unresolved(&dependent, effects);
        self.leave_graph(&dependent, false, effects);
        effects.outcomes.push(Outcome::Dropped(dependent, reason));
    }

    pub(super) fn end_expired(&mut self, dependent: Box<Dependent>, effects: &mut Effects) {
        self.end_unresolved(&dependent, effects);
        if self.rules.stream(dependent.event.header.header.stream).cyclic {
            return self.send(GRAPH, Visit::Judge(dependent), effects);
        }
        let reason = self.plain_reason();
        effects.outcomes.push(Outcome::Expired(dependent, reason));
    }

    fn end_unresolved(&mut self, dependent: &Dependent, effects: &mut Effects) {
        self.residency.ended(dependent);
        self.residency.ended_unresolved(&self.rules, dependent);
        self.withdraw_claims(dependent, effects);
        if let Some(place) = place(&self.rules, dependent) {
            self.send(place.hash.owner(self.workers), Visit::Leave(Box::new(place)), effects);
        }
    }

    fn leave_graph(&mut self, dependent: &Dependent, resolved: bool, effects: &mut Effects) {
        let header = &dependent.event.header.header;
        if self.rules.stream(header.stream).cyclic {
            self.send(GRAPH, Visit::Ended(header.id, resolved), effects);
        }
    }

    pub(super) fn send(&mut self, to: WorkerIndex, visit: Visit, effects: &mut Effects) {
        if to == self.me {
            self.work.push_back(visit);
        } else {
            effects.messages.push(Message { to, visit });
        }
    }

    // --- order ---

    fn enter(&mut self, mut dependent: Box<Dependent>, effects: &mut Effects) {
        if let (Some(mut place), Some(order)) = (place(&self.rules, &dependent), dependent.order.as_mut()) {
            place.ticket = self.queues.enter(place.entity, place.hash, &place.key, order.ticket);
            order.ticket = place.ticket;
        }
        self.advance(dependent, effects);
    }

    fn take_turn(&mut self, dependent: Box<Dependent>, effects: &mut Effects) {
        let Some(place) = place(&self.rules, &dependent) else { return self.end_resolved(dependent, effects) };
        if !self.queues.is_first(&place) {
            self.tell_graph(&dependent, effects);
            let (waiter, _) = self.park(dependent, Parked::Behind);
            return self.queues.wait(&place, waiter);
        }
        self.leave(&place);
        self.end_resolved(dependent, effects);
    }

    fn leave(&mut self, place: &Place) {
        let Some(next) = self.queues.leave(place) else { return };
        if let Some(dependent) = self.table.take(next) {
            self.work.push_back(Visit::Complete(dependent));
        }
    }

    // --- time ---

    fn tick(&mut self, now: Timestamp) {
        self.tell_time(now);
        match self.phase {
            Phase::Replay | Phase::CatchUp | Phase::Closing => {}
            Phase::Live => self.residency.fetch_due(self.now),
            Phase::Ending if self.ending.is_none() => {
                // Who came last is at the front: they leave in the order in which they came.
                let mut ending: Vec<_> = self.table.waiters().map(|(id, waiter)| (waiter.came(), id)).collect();
                ending.sort_unstable_by(|a, b| b.cmp(a));
                self.ending = Some(ending.into_iter().map(|(_, id)| id).collect());
                self.residency.fetch_all();
            }
            Phase::Ending => {}
        }
    }

    /// The next event whose wait has ended.
    pub(super) fn next_due(&mut self) -> Option<WaiterId> {
        match self.phase {
            Phase::Replay | Phase::CatchUp | Phase::Closing => None,
            Phase::Live => self.deadlines.pop_due(self.now, &self.table),
            Phase::Ending => self.ending.as_mut()?.pop(),
        }
    }

    /// Lets a parked event ask for all that it lacks once more; one that is being drained or waits for its turn is left alone.
    pub(super) fn ask_again(&mut self, waiter: WaiterId) {
        if !self.table.lacks_referent(waiter) {
            return;
        }
        if let Some(mut dependent) = self.table.take(waiter) {
            ask_missing_again(&mut dependent);
            dependent.judging = true;
            self.work.push_back(Visit::Dependent(dependent));
        }
    }

    /// Ends an epoch: what has changed in the state, and the `accepted` notices that are due.
    pub fn end_epoch(&mut self, effects: &mut Effects) -> Changes {
        let changes = super::deferred::end_epoch(self, effects);
        self.deadlines.compact(&self.table);
        changes
    }

    // --- what others may know ---

    /// The epoch that is open.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What is left to do besides waiting for messages.
    pub fn backlog(&self) -> Backlog {
        let pages = self.phase != Phase::Replay && self.residency.has_pages(self.now, self.phase == Phase::Live);
        let claims = self.phase != Phase::Replay && self.claims.has_slices();
        if self.due_left || !self.drains.is_empty() || pages || claims {
            Backlog::Slices
        } else if self.residency.is_fetching() {
            Backlog::Answers
        } else {
            Backlog::None
        }
    }

    /// Whether the epoch should end, so that what it changes in the state, and what memory holds beyond its bounds until then, stays small.
    pub fn is_full(&self) -> bool {
        super::deferred::is_full(self)
    }

    /// Events that are being woken in slices, and referents that they are woken by.
    pub fn drains(&self) -> (usize, usize) {
        (self.drains.iter().map(|d| d.chain.len()).sum(), self.drains.len())
    }

    /// Memory that the tables hold.
    pub fn memory(&self) -> Memory {
        let mut memory = self.table.memory();
        memory.waiting += self.deadlines.bytes();
        memory.referents += self.deletions.bytes();
        memory.claims = self.claims.bytes();
        memory.queues = self.queues.bytes();
        memory.graph = self.graph.bytes();
        memory
    }

    /// Events that wait in memory.
    pub fn waiting(&self) -> usize {
        self.table.waiters_len()
    }

    /// The arrival of the event that has waited longest, among those in memory, to a second.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.table.oldest()
    }

    /// Whether any event, in memory or in the state, has a deadline ahead.
    pub fn has_deadline(&mut self) -> bool {
        self.deadlines.first(&self.table).is_some() || self.residency.has_deadline()
    }
}

/// The worker that keeps the graph of events that may wait in cycles.
pub(super) const GRAPH: WorkerIndex = WorkerIndex(0);

/// The place of an event in the queue of its `ordered_by` value.
pub(super) fn place(rules: &Rules, dependent: &Dependent) -> Option<Place> {
    let order = dependent.order.as_ref()?;
    let entity = rules.stream(dependent.event.header.header.stream).queue()?;
    Some(Place { entity, key: order.key.clone(), hash: order.hash, ticket: order.ticket })
}
