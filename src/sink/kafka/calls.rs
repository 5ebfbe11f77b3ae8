//! Calls of the producer that may never return, each with a limit.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;

use super::deliveries::Producing;
use super::patience::Patience;

/// How often a wait looks whether the job is to stop.
const LOOK: Duration = Duration::from_millis(50);

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

    /// The result of `work` on the thread; `None` where patience came to its end before.
    pub(super) fn call(
        &self,
        patience: &mut Patience,
        work: impl FnOnce(&Producing) -> Result<(), KafkaError> + Send + 'static,
    ) -> Option<Result<(), KafkaError>> {
        let (tell, told) = mpsc::sync_channel(1);
        let call: Call = Box::new(move |producer| _ = tell.send(work(producer)));
        self.calls.send(call).ok()?;
        let began = Instant::now();
        loop {
            let left = patience.left(began, Instant::now());
            match told.recv_timeout(left.min(LOOK)) {
                Ok(result) => return Some(result),
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                Err(_) => return None,
            }
        }
    }
}
