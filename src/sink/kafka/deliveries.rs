//! What the producer tells of what it was given: the first delivery that failed, and when all have succeeded.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};

use super::NAP;
use crate::kafka::Observer;

/// The producer.
pub(super) type Producing = BaseProducer<Deliveries>;

/// Keeps the first delivery that failed; successes are not reported.
pub(super) struct Deliveries {
    observer: Observer,
    /// Its topic, and why.
    failed: Mutex<Option<(String, KafkaError)>>,
}

impl Deliveries {
    pub(super) fn new(observer: Observer) -> Deliveries {
        Deliveries { observer, failed: Mutex::default() }
    }

    /// The topic of the first record that was not delivered, and why.
    pub(super) fn failed(&self) -> Option<(String, KafkaError)> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.observer.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.observer.statistics(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.observer.error(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, record)) = result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| (record.topic().to_owned(), error.clone()));
        }
    }
}

/// Waits until all that was produced is delivered, or a delivery has failed. (The client's own `flush` sleeps 100 ms at a time, and spins through what is
/// left of a millisecond.)
pub(super) fn flush(producer: &Producing) -> Result<(), KafkaError> {
    loop {
        let waiting = producer.in_flight_count();
        if waiting == 0 {
            return Ok(());
        }
        producer.poll(Duration::ZERO);
        if producer.in_flight_count() < waiting {
            continue;
        }
        if producer.context().failed().is_some() || producer.client().fatal_error().is_some() {
            return Err(KafkaError::Canceled);
        }
        thread::sleep(NAP);
    }
}
