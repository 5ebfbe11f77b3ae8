//! The thread that waits for the disk while the committer's takes lines: a sync that takes its time holds up no outcome of the next epoch.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use crate::checkpoint::Write;
use crate::event::Epoch;

use super::committer::Told;
use super::lookup::AppliedEpoch;
use super::named;
use super::worker::TellOnPanic;

/// The thread. It ends, when what it was given last is done, before its handle is gone: nothing is written to a state that may be opened again.
pub(super) struct Durable {
    writes: Option<Sender<(Epoch, Box<Write>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Durable {
    /// Starts it. It tells of each write that is done.
    pub(super) fn start(tell: Sender<Told>, applied: Arc<AppliedEpoch>) -> std::io::Result<Durable> {
        let (writes, given) = mpsc::channel();
        let thread = named("durable", move || run(&given, &tell, &applied))?;
        Ok(Durable { writes: Some(writes), thread: Some(thread) })
    }

    /// Gives it what makes an epoch true.
    pub(super) fn write(&self, epoch: Epoch, write: Box<Write>) {
        // Where the thread has gone it has told why.
        let _ = self.writes.as_ref().map(|writes| writes.send((epoch, write)));
    }
}

fn run(given: &Receiver<(Epoch, Box<Write>)>, tell: &Sender<Told>, applied: &AppliedEpoch) {
    let _guard = TellOnPanic(tell.clone());
    while let Ok((epoch, write)) = given.recv() {
        // Who looks something up in the state does not wait for the disk: it counts only with a later epoch, which is written after this one is durable.
        let told = match write.run(|| applied.set(Some(epoch))) {
            Ok(written) => Told::Written(written),
            Err(error) => Told::Failed(error.into()),
        };
        // Where the committer is gone the job is ending.
        let _ = tell.send(told);
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        self.writes = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
