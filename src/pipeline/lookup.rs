//! A worker's thread for looking things up in the state, so that the worker never waits for a disk.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use resolvent_state::State;
use timely::scheduling::SyncActivator;

use crate::dependency::Rules;
use crate::event::{Epoch, WorkerIndex};
use crate::metrics::Metrics;
use crate::mode::{self, Answer, Lookup, Query, RestoreError};

use super::committer::Told;
use super::worker::TellOnPanic;

/// The last epoch that the state has.
#[derive(Debug, Default)]
pub(super) struct CommittedEpoch {
    epoch: Mutex<Epoch>,
    moved: Condvar,
}

impl CommittedEpoch {
    pub(super) fn set(&self, epoch: Epoch) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
        self.moved.notify_all();
    }

    /// Waits until every epoch before this one is in the state.
    fn wait_before(&self, epoch: Epoch) {
        let mut committed = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        while committed.next() < epoch {
            committed = self.moved.wait(committed).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

type Answered = (usize, Vec<Answer>);
type Asked = (usize, Epoch, Vec<Query>);

/// What a lookup thread works with.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) state: State,
    pub(super) rules: Arc<Rules>,
    pub(super) worker: WorkerIndex,
    pub(super) workers: usize,
    pub(super) committed: Arc<CommittedEpoch>,
    pub(super) metrics: Metrics,
    pub(super) tell: Sender<Told>,
}

/// The thread, which starts with the first question: a job whose memory suffices never asks one.
pub(super) struct Lookups {
    reader: Reader,
    activator: Option<SyncActivator>,
    calls: usize,
    asked: Option<Sender<Asked>>,
    answers: (Sender<Answered>, Receiver<Answered>),
}

impl Lookups {
    pub(super) fn new(reader: Reader) -> Self {
        Lookups { reader, activator: None, calls: 0, asked: None, answers: mpsc::channel() }
    }

    fn thread(&mut self) -> &Sender<Asked> {
        let (reader, answers, activator) = (self.reader.clone(), self.answers.0.clone(), self.activator.clone());
        self.asked.get_or_insert_with(|| {
            let (asked, questions) = mpsc::channel();
            thread::spawn(move || reader.run(&questions, &answers, activator.as_ref()));
            asked
        })
    }
}

impl Lookup for Lookups {
    fn ask(&mut self, epoch: Epoch, queries: Vec<Query>) {
        let call = self.calls;
        self.calls += 1;
        // The thread goes only when this end of the channel does.
        let _ = self.thread().send((call, epoch, queries));
    }

    fn answers(&mut self) -> Vec<Answered> {
        self.answers.1.try_iter().collect()
    }

    fn notify(&mut self, activator: SyncActivator) {
        self.activator = Some(activator);
    }
}

impl Reader {
    fn run(&self, questions: &Receiver<Asked>, answers: &Sender<Answered>, activator: Option<&SyncActivator>) {
        let _guard = TellOnPanic(self.tell.clone());
        while let Ok((call, epoch, queries)) = questions.recv() {
            self.committed.wait_before(epoch);
            self.metrics.state_lookups(queries.len() as u64);
            let found = match self.answer(queries) {
                Ok(found) => found,
                Err(error) => {
                    let _ = self.tell.send(Told::Failed(error.into()));
                    return;
                }
            };
            if answers.send((call, found)).is_err() {
                return;
            }
            if let Some(activator) = activator {
                // A worker that is gone waits for no answer.
                let _ = activator.activate();
            }
        }
    }

    fn answer(&self, queries: Vec<Query>) -> Result<Vec<Answer>, RestoreError> {
        mode::answer(&self.state, &self.rules, self.worker, self.workers, queries)
    }
}
