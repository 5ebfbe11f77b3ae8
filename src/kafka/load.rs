//! Puts records into topics, without transactions: how `generate` loads them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::util::Timeout;

use super::{About, ClientError, ClientSettings, Cluster, Context, Observer, Waiting, explain};
use crate::metrics::Metrics;

/// How the client names itself to the brokers.
const CLIENT_ID: &str = "resolvent-generate";

/// How long to wait for room in a full queue before looking again.
const ROOM: Duration = Duration::from_millis(10);

/// Settings for throughput, where the user has none: a producer that keeps the order and repeats nothing.
const DEFAULTS: [(&str, &str); 5] = [
    ("enable.idempotence", "true"),
    ("partitioner", "murmur2_random"),
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    ("batch.size", "262144"),
];

/// A producer whose records are all delivered, or it says which was not.
pub struct Loader {
    producer: BaseProducer<Deliveries>,
    sent: u64,
}

/// Counts what the brokers have taken.
struct Deliveries {
    context: Context,
    outcome: Mutex<Delivered>,
}

#[derive(Default)]
struct Delivered {
    records: u64,
    /// Of the first one that was not.
    failed: Option<ClientError>,
}

impl Loader {
    /// Waits for the brokers, makes the `topics` that are missing, each with this many partitions, and gets ready to load them. Whenever what it
    /// waits for changes, `say` is told.
    ///
    /// # Errors
    /// The settings are not taken, the brokers refuse the credentials, or a topic is missing where no number of partitions is given, or cannot be made.
    pub fn open(
        settings: &ClientSettings,
        topics: &[String],
        partitions: Option<i32>,
        say: &dyn Fn(&str),
    ) -> Result<Loader, ClientError> {
        let observer = Observer::new("producer", Metrics::new("generate"));
        let cluster = Cluster::new(settings, CLIENT_ID, &observer)?;
        let waiting = Waiting { give_up: &|| false, say };
        let about = About { doing: "asking for the brokers", ..cluster.about() };
        let known = cluster.insist(about, waiting, |client, patience| {
            let metadata = rdkafka::consumer::Consumer::fetch_metadata(client, None, patience)?;
            Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect::<Vec<_>>())
        })?;
        if let Some(partitions) = partitions {
            topics
                .iter()
                .filter(|topic| !known.contains(topic))
                .try_for_each(|name| cluster.create(name, partitions))?;
        }
        cluster.topics(topics.iter().map(String::as_str), false, waiting)?;

        let mut config = settings.config(CLIENT_ID);
        for (name, value) in DEFAULTS {
            if !settings.properties.contains_key(name) {
                config.set(name, value);
            }
        }
        let deliveries = Deliveries { context: Context(observer), outcome: Mutex::default() };
        let producer = config.create_with_context(deliveries).map_err(|error| ClientError::of_settings(&error))?;
        Ok(Loader { producer, sent: 0 })
    }

    /// Sends a record, and waits while the queue is full. With a key, the partition follows from it.
    ///
    /// # Errors
    /// This record cannot be sent, or one before it was not delivered.
    pub fn send(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<(), ClientError> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).payload(value);
        record.key = key;
        if !headers.is_empty() {
            let list = OwnedHeaders::new_with_capacity(headers.len());
            let list = headers.iter().fold(list, |list, (key, value)| list.insert(Header { key, value: Some(*value) }));
            record = record.headers(list);
        }
        while let Err((error, back)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(not_sent(&error, topic));
            }
            record = back;
            self.producer.poll(ROOM);
            self.check()?;
        }
        self.sent += 1;
        // Reports come in great numbers, and each is looked at soon enough.
        if self.sent.is_multiple_of(1024) {
            self.serve()?;
        }
        Ok(())
    }

    /// Lets the client report what it has delivered. To be called when nothing is sent for a while.
    ///
    /// # Errors
    /// A record was not delivered.
    pub fn serve(&self) -> Result<(), ClientError> {
        self.producer.poll(Duration::ZERO);
        self.check()
    }

    /// Waits until every record is delivered, and says how many there are.
    ///
    /// # Errors
    /// One was not.
    pub fn finish(self) -> Result<u64, ClientError> {
        let flushed = self.producer.flush(Timeout::Never);
        self.check()?;
        let failed = |detail| ClientError::Failed { doing: "delivering the last records".to_owned(), detail };
        flushed.map_err(|error| failed(error.to_string()))?;
        let delivered = self.producer.context().outcome().records;
        if delivered == self.sent {
            Ok(delivered)
        } else {
            Err(failed(format!("{} records were sent and {delivered} delivered", self.sent)))
        }
    }

    fn check(&self) -> Result<(), ClientError> {
        self.producer.context().outcome().failed.clone().map_or(Ok(()), Err)
    }
}

impl Deliveries {
    /// A report that panics ends the process; what it left behind is whole.
    fn outcome(&self) -> std::sync::MutexGuard<'_, Delivered> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.context.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut outcome = self.outcome();
        match result {
            Ok(_) => outcome.records += 1,
            Err((error, message)) => {
                outcome.failed.get_or_insert_with(|| not_sent(error, rdkafka::Message::topic(message)));
            }
        }
    }
}

fn not_sent(error: &KafkaError, topic: &str) -> ClientError {
    let doing = format!("sending a record to topic `{topic}`");
    explain(error, About { doing: &doing, topic, brokers: "", group: "", transactional_id: "", operations: "Write" })
}
