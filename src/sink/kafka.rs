//! Topics: one producer a process, whose transactions end with the epochs of the job.

mod calls;
mod deliveries;
mod held;
mod limits;
mod patience;
mod settings;
mod transactions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

pub use settings::{Acks, KafkaSettings};
pub use transactions::Identity;

use super::{Broker, Marker, Place, SinkError, records};
use crate::event::headers;
use crate::kafka::{About, ClientError, ClientSettings, Cluster, Observer, Waiting, explain};
use crate::metrics::Metrics;
use calls::Calls;
use deliveries::{Deliveries, Producing, flush};
use held::Held;
use patience::Patience;
use transactions::{By, Transactions, latest_marker, offset_list};

/// How long a call of the client waits before it is looked whether to go on.
const STEP: Duration = Duration::from_secs(2);

/// How long a full queue is served before a record is tried again.
const FULL: Duration = Duration::from_millis(2);

/// How long to wait for reports of deliveries before looking for them again.
const NAP: Duration = Duration::from_millis(1);

/// How long an undelivered record is looked for where a call has failed: the client may tell of it a moment after that.
const REPORTED_WITHIN: Duration = Duration::from_millis(200);

/// How long the group's offsets may be in a transaction that nobody has open any more. Before version 4.0 brokers let them become true a moment after it has
/// ended.
const UNENDED_FOR: Duration = Duration::from_secs(15);

/// Whether a wait for brokers is to be given up.
pub type GiveUp = Arc<dyn Fn() -> bool + Send + Sync>;

/// Connects to the brokers of topics, which it waits for, and creates what topics are missing where the settings say so. With an identity outcomes are produced in
/// transactions.
///
/// # Errors
///
/// A topic is missing or may not be written, the credentials are refused, the settings are not taken, or it was given up.
pub fn connect(
    settings: &KafkaSettings,
    topics: &[&str],
    identity: Option<Identity>,
    metrics: &Metrics,
    give_up: GiveUp,
) -> Result<Box<dyn Broker>, SinkError> {
    let observer = Observer::new("producer", metrics.clone());
    let mut asking = settings.client.clone();
    let id = identity.as_ref().map(|identity| match identity {
        Identity::Sole(id) | Identity::Member { id, .. } => id.clone(),
    });
    if let Some(Identity::Sole(group)) = &identity {
        asking.properties.insert("group.id".to_owned(), group.clone());
        asking.properties.insert("isolation.level".to_owned(), "read_committed".to_owned());
        asking.properties.insert("enable.auto.commit".to_owned(), "false".to_owned());
    }
    let cluster = Cluster::new(&asking, "resolvent-sink", &observer)?.for_writing();
    let waiting = Waiting { give_up: &*give_up, say: &|text| metrics.health().not_ready(text.to_owned()) };
    cluster.topics(topics.iter().copied(), settings.create_topics, waiting)?;
    let batch_limits = limits::ask(&cluster, topics, waiting)?;
    let producer: Producing = settings
        .producer_config(id.as_deref(), batch_limits.values().copied().min())
        .create_with_context(Deliveries::new(observer.clone()))
        .map_err(|error| ClientError::of_settings(&error))?;
    let transactions = match identity {
        Some(Identity::Sole(group)) => {
            let metadata = cluster.client().group_metadata();
            let metadata = metadata.ok_or_else(|| SinkError::Refused(format!("there is no group {group}")))?;
            Some(Transactions { id: group.clone(), group, by: By::Sole(Arc::new(metadata)), open: false })
        }
        Some(Identity::Member { id, membership }) => {
            Some(Transactions { id, group: membership.group().to_owned(), by: By::Member(membership), open: false })
        }
        None => None,
    };
    let held_back = (transactions.is_some() || settings.idempotence).then_some(settings.linger);
    Ok(Box::new(KafkaBroker {
        producer: Calls::new(producer)
            .map_err(|error| SinkError::Refused(format!("cannot start a thread: {error}")))?,
        cluster: Some(cluster),
        asking,
        observer,
        transactions,
        settings: settings.client.clone(),
        batch_limits,
        patience: Patience::new(settings.transaction_timeout, Arc::clone(&give_up)),
        held: Held::new(held_back),
        metrics: metrics.clone(),
        give_up,
        bytes_written: 0,
    }))
}

/// What an error of a call is about.
fn about<'a>(
    settings: &'a ClientSettings,
    doing: &'a str,
    topic: &'a str,
    transactions: Option<&'a Transactions>,
) -> About<'a> {
    let brokers = settings.brokers.as_str();
    let (group, transactional_id) = transactions.map_or(("", ""), |of| (of.group.as_str(), of.id.as_str()));
    About { brokers, doing, topic, group, transactional_id, operations: "Write and Describe" }
}

/// The broker of topics, and the producer of this process.
struct KafkaBroker {
    producer: Calls,
    /// What markers are read with, until the first transaction.
    cluster: Option<Cluster>,
    /// The settings of that.
    asking: ClientSettings,
    observer: Observer,
    transactions: Option<Transactions>,
    settings: ClientSettings,
    /// Bytes of the largest batch that each topic takes, where the brokers have said so.
    batch_limits: BTreeMap<String, usize>,
    patience: Patience,
    held: Held,
    metrics: Metrics,
    give_up: GiveUp,
    bytes_written: u64,
}

impl KafkaBroker {
    /// What follows from an error of the client: whether the same would happen again.
    fn error(&self, error: &KafkaError, doing: &str, topic: &str) -> SinkError {
        let fatal = self.producer.get().client().fatal_error();
        let (error, detail) = match fatal {
            Some((code, detail)) => (KafkaError::Global(code), detail),
            None => (error.clone(), error.to_string()),
        };
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition,
            ) => explain(&error, about(&self.settings, doing, topic, self.transactions.as_ref())).into(),
            Some(RDKafkaErrorCode::MessageSizeTooLarge) if !topic.is_empty() => self.too_large(topic),
            Some(RDKafkaErrorCode::InvalidTransactionTimeout) => SinkError::Refused(format!(
                "{doing} failed: {detail}; transaction_timeout of [sink.kafka] is more than transaction.max.timeout.ms of the broker"
            )),
            Some(
                RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::PolicyViolation
                | RDKafkaErrorCode::UnsupportedFeature
                | RDKafkaErrorCode::UnsupportedVersion,
            ) => SinkError::Refused(format!("{doing} failed: {detail}")),
            _ => SinkError::Undecided(format!("{doing} failed: {detail}")),
        }
    }

    /// The offsets of the group at these places; `None` where they are in a transaction that has not ended.
    fn read_offsets(&self, cluster: &Cluster, places: &[Place]) -> Result<Option<TopicPartitionList>, SinkError> {
        let mut list = TopicPartitionList::new();
        places.iter().for_each(|place| _ = list.add_partition(&place.topic, place.partition));
        let metrics = &self.metrics;
        let waiting = Waiting { give_up: &*self.give_up, say: &|text| metrics.health().not_ready(text.to_owned()) };
        let group = self.transactions.as_ref().map_or("", |transactions| &transactions.group);
        let doing = format!("reading the offsets of group {group}");
        let about = about(&self.settings, &doing, "", self.transactions.as_ref());
        let mut unaware = None;
        let found =
            cluster.insist(about, waiting, |client, wait| match client.committed_offsets(list.clone(), wait) {
                // The client asks again and again where they are in a transaction, and says only that its time is over.
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut) => {
                    match unaware.get_or_insert_with(|| self.unaware_cluster()) {
                        Ok(unaware) => unaware.client().committed_offsets(list.clone(), wait).map(|_| None),
                        Err(_) => Err(error),
                    }
                }
                found => found.map(Some),
            })?;
        Ok(found)
    }

    /// A client that is answered with the offsets as they were before a transaction that is open.
    fn unaware_cluster(&self) -> Result<Cluster, SinkError> {
        let mut asking = self.asking.clone();
        asking.properties.insert("isolation.level".to_owned(), "read_uncommitted".to_owned());
        Ok(Cluster::new(&asking, "resolvent-sink", &self.observer)?)
    }

    /// What follows where the job is to stop while it waits for brokers.
    fn stopped(&self) -> SinkError {
        ClientError::Stopped { brokers: self.settings.brokers.clone() }.into()
    }

    /// The error of the first record that was not delivered.
    fn check_deliveries(&self) -> Result<(), SinkError> {
        match self.producer.get().context().failed() {
            Some((topic, error)) => Err(self.error(&error, &format!("writing to topic {topic}"), &topic)),
            None => Ok(()),
        }
    }

    /// The error of a call that has failed: that of a record that was not delivered, where it is the cause.
    fn failed(&self, error: &KafkaError, doing: &str, topic: &str) -> SinkError {
        let until = Instant::now() + REPORTED_WITHIN;
        loop {
            match self.check_deliveries() {
                Err(error) => return error,
                Ok(()) if Instant::now() >= until => return self.error(error, doing, topic),
                Ok(()) => self.producer.get().poll(NAP),
            }
        }
    }

    /// Opens a transaction where none is open.
    fn begin(&mut self) -> Result<(), SinkError> {
        if self.transactions.as_ref().is_none_or(|transactions| transactions.open) {
            return Ok(());
        }
        if let Err(error) = self.producer.get().begin_transaction() {
            return Err(self.failed(&error, "beginning a transaction", ""));
        }
        if let Some(transactions) = &mut self.transactions {
            transactions.open = true;
        }
        Ok(())
    }

    /// Whether the client may be given records now.
    fn lets_through(&mut self) -> bool {
        self.held.lets_through(self.producer.get().in_flight_count() > 0, Instant::now())
    }

    fn send_held(&mut self) -> Result<(), SinkError> {
        let held = self.held.take();
        for (topic, records) in &held {
            self.send(topic, records)?;
        }
        self.held.give_back(held);
        Ok(())
    }

    /// Gives records to the client.
    fn send(&mut self, topic: &str, bytes: &[u8]) -> Result<(), SinkError> {
        // Once for all of them: where a record has none the client looks at the clock for each.
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let timestamp = timestamp.and_then(|since| i64::try_from(since.as_millis()).ok());
        for record in records(bytes) {
            let mut message: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
            message.timestamp = timestamp;
            message.payload = record.value;
            message.key = record.key;
            message.headers = Some(
                headers(record.headers)
                    .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value })),
            );
            let mut full_since = None;
            loop {
                match self.producer.get().send(message) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                        message = again;
                        self.producer.get().poll(FULL);
                        self.check_deliveries()?;
                        let now = Instant::now();
                        if self.patience.left(*full_since.get_or_insert(now), now).is_zero() {
                            let waited = self.patience.in_words();
                            return Err(SinkError::Undecided(format!("the broker has taken nothing {waited}")));
                        }
                    }
                    Err((error, _)) => return Err(self.failed(&error, &format!("writing to topic {topic}"), topic)),
                }
            }
        }
        Ok(())
    }

    /// Calls the producer on its thread, no longer than a transaction may take.
    fn call(
        &mut self,
        doing: &str,
        work: impl FnOnce(&Producing) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<(), SinkError> {
        match self.producer.call(&mut self.patience, work) {
            Some(Ok(())) => self.check_deliveries(),
            Some(Err(error)) => Err(self.failed(&error, doing, "")),
            None => Err(SinkError::Undecided(format!("{doing} has not ended {}", self.patience.in_words()))),
        }
    }
}

impl Broker for KafkaBroker {
    fn marker(&mut self, places: &[Place]) -> Result<Option<Marker>, SinkError> {
        let (Some(cluster), Some(transactions)) = (&self.cluster, &self.transactions) else { return Ok(None) };
        let mut unended_since = None;
        loop {
            if let Some(found) = self.read_offsets(cluster, places)? {
                return Ok(latest_marker(&found));
            }
            let group = &transactions.group;
            if unended_since.get_or_insert_with(Instant::now).elapsed() >= UNENDED_FOR {
                return Err(SinkError::Unended { group: group.clone() });
            }
            if self.patience.gives_up() {
                return Err(self.stopped());
            }
            tracing::warn!("waiting for the broker to end a transaction that has offsets of group {group}");
        }
    }

    fn decided_marker(&mut self, places: &[Place]) -> Result<Option<Marker>, SinkError> {
        let unaware = self.unaware_cluster()?;
        Ok(self.read_offsets(&unaware, places)?.as_ref().and_then(latest_marker))
    }

    fn fence(&mut self) -> Result<(), SinkError> {
        let doing = "taking over the transactional id";
        loop {
            match self.producer.get().init_transactions(STEP) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                    tracing::info!("{doing}: {error}");
                    self.producer.get().poll(Duration::ZERO);
                    if self.patience.gives_up() {
                        return Err(self.stopped());
                    }
                }
                Err(error) => return Err(self.error(&error, doing, "")),
            }
        }
    }

    fn produce(&mut self, topic: &str, records: &[u8]) -> Result<(), SinkError> {
        self.begin()?;
        self.bytes_written += records.len() as u64;
        if self.held.is_empty() && self.lets_through() {
            self.send(topic, records)?;
        } else {
            self.held.add(topic, records);
        }
        self.producer.get().poll(Duration::ZERO);
        self.check_deliveries()
    }

    fn tend(&mut self) -> Result<bool, SinkError> {
        if self.held.is_empty() {
            return Ok(false);
        }
        self.producer.get().poll(Duration::ZERO);
        if self.lets_through() {
            self.send_held()?;
        }
        self.check_deliveries()?;
        Ok(!self.held.is_empty())
    }

    fn commit(&mut self, marker: Option<&Marker>, offsets: &[(Place, u64)]) -> Result<(), SinkError> {
        self.begin()?;
        self.send_held()?;
        self.cluster = None;
        let Some(transactions) = &mut self.transactions else { return Ok(()) };
        transactions.open = false;
        let group = match &transactions.by {
            By::Sole(metadata) => Some(Arc::clone(metadata)),
            By::Member(membership) => membership.metadata(),
        };
        let Some(group) = group else {
            return Err(SinkError::Undecided(format!("this process is no member of group {}", transactions.group)));
        };
        let text = marker.map(Marker::to_string);
        let place = offsets.first().map(|(place, _)| place.clone());
        let offsets = offsets.to_vec();
        let committed = self.call("committing a transaction", move |producer| {
            let list = offset_list(&offsets, text.as_deref())?;
            producer.send_offsets_to_transaction(&list, &group, None)?;
            flush(producer)?;
            producer.commit_transaction(None)
        });
        match committed {
            Ok(()) => self.metrics.transaction_committed(),
            Err(_) => self.metrics.transaction_aborted(),
        }
        match (committed, place) {
            // The records had been taken. A place in a topic that the job does not read is the marker's.
            (Err(SinkError::Client(ClientError::TopicDenied { topic, .. })), Some(place)) if topic.is_empty() => {
                Err(ClientError::TopicDenied { topic: place.topic, operations: "Read" }.into())
            }
            (committed, _) => committed,
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.send_held()?;
        self.cluster = None;
        self.call("waiting for the broker to acknowledge what was written", flush)
    }

    fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    fn batch_bytes_max(&self, topic: &str) -> Option<usize> {
        self.batch_limits.get(topic).copied()
    }
}
