//! A worker's threads for looking things up in the state, so that the worker never waits for a disk.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use resolvent_state::State;
use timely::scheduling::SyncActivator;

use crate::dependency::Rules;
use crate::event::{Epoch, WorkerIndex};
use crate::metrics::Metrics;
use crate::mode::{self, Answer, Lookup, Query, RestoreError};

use super::committer::Told;
use super::named;
use super::worker::TellOnPanic;

/// The last epoch that the state shows, whether it is durable or not.
#[derive(Debug)]
pub(super) struct AppliedEpoch {
    /// `None` once there will be no more of them.
    epoch: Mutex<Option<Epoch>>,
    moved: Condvar,
}

impl AppliedEpoch {
    pub(super) fn new(epoch: Epoch) -> AppliedEpoch {
        AppliedEpoch { epoch: Mutex::new(Some(epoch)), moved: Condvar::new() }
    }

    /// Moves on; `None`: nothing more is written, and nobody waits for it.
    pub(super) fn set(&self, epoch: Option<Epoch>) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
        self.moved.notify_all();
    }

    /// Waits until every epoch before this one is in the state. Returns whether it is.
    fn wait_before(&self, epoch: Epoch) -> bool {
        let mut applied = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        while applied.is_some_and(|applied| applied.next() < epoch) {
            applied = self.moved.wait(applied).unwrap_or_else(PoisonError::into_inner);
        }
        applied.is_some()
    }
}

/// Threads, shared out among the workers: a disk serves many reads at once in little more time than one, and RocksDB makes those of one call one after the
/// other. More of them are a little faster, and each takes a mebibyte or two.
const THREADS: usize = 8;

type Answered = (usize, Vec<Answer>);
type Asked = (usize, Epoch, Vec<Query>);

/// What lookup threads work with.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) state: State,
    pub(super) rules: Arc<Rules>,
    pub(super) worker: WorkerIndex,
    pub(super) workers: usize,
    pub(super) applied: Arc<AppliedEpoch>,
    pub(super) metrics: Metrics,
    pub(super) tell: Sender<Told>,
}

/// The threads, which start with the first question: a job whose memory suffices never asks one.
///
/// They are gone when their handle is: a thread that still read when the process ends would find RocksDB's own objects destroyed under it, and abort the
/// process. What they have been asked is left once there is no [`AppliedEpoch`] to come.
pub(super) struct Lookups {
    reader: Reader,
    activator: Option<SyncActivator>,
    calls: usize,
    asked: Option<Sender<Asked>>,
    threads: Vec<JoinHandle<()>>,
    answers: (Sender<Answered>, Receiver<Answered>),
}

impl Lookups {
    pub(super) fn new(reader: Reader) -> Self {
        Lookups { reader, activator: None, calls: 0, asked: None, threads: Vec::new(), answers: mpsc::channel() }
    }

    fn asked(&mut self) -> &Sender<Asked> {
        self.asked.get_or_insert_with(|| {
            let (asked, questions) = mpsc::channel();
            let questions = Arc::new(Mutex::new(questions));
            for _ in 0..(THREADS / self.reader.workers).max(1) {
                let (reader, questions, answers) =
                    (self.reader.clone(), Arc::clone(&questions), self.answers.0.clone());
                let activator = self.activator.clone();
                match named("lookup", move || reader.run(&questions, &answers, activator.as_ref())) {
                    Ok(thread) => self.threads.push(thread),
                    Err(error) => {
                        // Where the committer is gone the job is ending.
                        let _ = self.reader.tell.send(Told::Failed(error.into()));
                        break;
                    }
                }
            }
            asked
        })
    }
}

impl Lookup for Lookups {
    fn ask(&mut self, epoch: Epoch, queries: Vec<Query>) {
        let call = self.calls;
        self.calls += 1;
        // Where they are gone the job is ending.
        let _ = self.asked().send((call, epoch, queries));
    }

    fn answers(&mut self) -> Vec<Answered> {
        self.answers.1.try_iter().collect()
    }

    fn notify(&mut self, activator: SyncActivator) {
        self.activator = Some(activator);
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        self.asked = None;
        for thread in self.threads.drain(..) {
            // Where it panicked it has told so.
            let _ = thread.join();
        }
    }
}

impl Reader {
    /// Answers questions, which threads take in turn; answers may come in another order.
    fn run(&self, questions: &Mutex<Receiver<Asked>>, answers: &Sender<Answered>, activator: Option<&SyncActivator>) {
        let _guard = TellOnPanic(self.tell.clone());
        let next = || questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        while let Ok((call, epoch, queries)) = next() {
            if !self.applied.wait_before(epoch) {
                return;
            }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A job that has failed would otherwise take RocksDB away from under a thread that reads, and abort. These cannot go before they are told that nothing more
    /// is written: the epoch before the one that they are asked of never is.
    #[test]
    fn threads_are_gone_when_their_handle_is() {
        let applied = Arc::new(AppliedEpoch::new(Epoch(0)));
        let (tell, told) = mpsc::channel();
        let reader = Reader {
            state: State::in_memory(),
            rules: Arc::new(Rules::build(vec![]).unwrap()),
            worker: WorkerIndex(0),
            workers: 1,
            applied: Arc::clone(&applied),
            metrics: Metrics::new("lookups"),
            tell,
        };
        let mut lookups = Lookups::new(reader);
        for _ in 0..2 * THREADS {
            lookups.ask(Epoch(5), vec![]);
        }
        let ends = Arc::clone(&applied);
        let ending = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            ends.set(None);
        });
        drop(lookups);
        // Each thread had a sender of its own.
        assert!(matches!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected)));
        ending.join().unwrap();
    }
}
