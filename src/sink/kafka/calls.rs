//! Calls of the producer that may never return, each with a limit.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use rdkafka::error::KafkaError;

use super::Producing;

type Call = Box<dyn FnOnce(&Producing) + Send>;

/// A producer with a thread for calls that block. It is given up on such a thread too: neither a call that hangs nor a producer that takes its time to end
/// holds up the job.
pub(super) struct Calls {
    producer: Arc<Producing>,
    calls: Sender<Call>,
}

impl Calls {
    pub(super) fn new(producer: Producing) -> io::Result<Calls> {
        let producer = Arc::new(producer);
        let (calls, called) = mpsc::channel::<Call>();
        let mine = Arc::clone(&producer);
        thread::Builder::new().name("transactions".to_owned()).spawn(move || {
            called.iter().for_each(|call| call(&mine));
            // The producer ends here: the fields of `Calls` are dropped in their order, and so its half goes before this thread is told to end.
        })?;
        Ok(Calls { producer, calls })
    }

    /// The producer, for calls that do not block.
    pub(super) fn get(&self) -> &Producing {
        &self.producer
    }

    /// The result of `work` on the thread; `None` where it has not ended within `limit`.
    pub(super) fn call(
        &self,
        limit: Duration,
        work: impl FnOnce(&Producing) -> Result<(), KafkaError> + Send + 'static,
    ) -> Option<Result<(), KafkaError>> {
        let (tell, told) = mpsc::sync_channel(1);
        let call: Call = Box::new(move |producer| _ = tell.send(work(producer)));
        self.calls.send(call).ok()?;
        told.recv_timeout(limit).ok()
    }
}
