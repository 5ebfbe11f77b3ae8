//! A real broker for tests: topics made, records put into them, and what committed readers see of them, read by kcat, which is not our code.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use super::broker::{Broker, BrokerSettings};
use super::{Outcome, PATIENCE, Running, skip};

/// Names a broker of the user's, `host:port`, on which the tests run instead.
const FOREIGN: &str = "RESOLVENT_KAFKA";

/// A record's key and headers, byte for byte.
pub(crate) type KeyAndHeaders = (Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

/// A broker to test with: one of our own, or the user's.
pub(crate) struct Kafka {
    address: String,
    broker: Option<Broker>,
    /// Made when it is first needed.
    producer: OnceLock<BaseProducer<Delivered>>,
}

/// A record to put into a topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent<'a> {
    pub(crate) partition: i32,
    pub(crate) key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, &'a [u8])],
    /// Milliseconds since 1970.
    pub(crate) timestamp: Option<i64>,
}

impl<'a> Sent<'a> {
    /// A value without a key.
    pub(crate) fn value(partition: i32, value: &'a str) -> Sent<'a> {
        Sent { partition, value: Some(value.as_bytes()), ..Sent::default() }
    }
}

/// A record that kcat has read.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Kafka {
    /// The broker that most tests share. It ends with the process.
    pub(crate) fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| match foreign() {
            Some(address) => Kafka { address, broker: None, producer: OnceLock::new() },
            None => Kafka::started(BrokerSettings::brief()),
        })
    }

    /// A broker of this test alone, which may be killed. With a broker of the user's there is none, and `what` is said to be skipped.
    pub(crate) fn own(what: &str, settings: BrokerSettings) -> Option<Kafka> {
        if foreign().is_some() {
            skip(what, &format!("{FOREIGN} is set, and this needs a broker of its own"));
            return None;
        }
        Some(Kafka::started(settings))
    }

    /// The same, or the broker of the user's, which [`is_foreign`](Kafka::is_foreign) then.
    pub(crate) fn own_or_foreign(settings: BrokerSettings) -> Kafka {
        match foreign() {
            Some(address) => Kafka { address, broker: None, producer: OnceLock::new() },
            None => Kafka::started(settings),
        }
    }

    /// Whether it is a broker of the user's, which is not to be killed.
    pub(crate) fn is_foreign(&self) -> bool {
        self.broker.is_none()
    }

    fn started(settings: BrokerSettings) -> Kafka {
        let broker = Broker::start(settings).unwrap_or_else(|error| panic!("{error}"));
        Kafka { address: broker.address(), broker: Some(broker), producer: OnceLock::new() }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The broker of [`own`](Kafka::own).
    pub(crate) fn broker(&mut self) -> &mut Broker {
        self.broker.as_mut().expect("only a broker of our own is asked for")
    }

    /// Kills the broker and starts it again on the same port and data.
    pub(crate) fn restart(&mut self) {
        self.broker().kill();
        self.broker().launch().unwrap_or_else(|error| panic!("{error}"));
    }

    /// A settings of a client, with those that all have here.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).set("reconnect.backoff.max.ms", "500");
        config
    }

    /// Makes a topic with a name that no other run has, and returns the name.
    pub(crate) fn topic(&self, name: &str, partitions: i32) -> String {
        self.topic_with(name, partitions, &[])
    }

    /// The same with settings of the topic.
    pub(crate) fn topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let name = unique(name);
        self.create(&name, partitions, settings);
        name
    }

    /// Makes a topic of just this name.
    pub(crate) fn create(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let made = block_on(self.admin().create_topics([&topic], &patient()));
        all_succeeded(made.map(|results| results.into_iter().map(|result| result.map(drop)).collect()), name);
        // The controller has it; the broker answers for it a moment later.
        super::eventually("the topic is there", || (self.partitions(name) == partitions as usize).then_some(()));
    }

    /// Adds partitions to a topic, so that it has `partitions`.
    pub(crate) fn grow(&self, topic: &str, partitions: usize) {
        let grown = block_on(self.admin().create_partitions([&NewPartitions::new(topic, partitions)], &patient()));
        all_succeeded(grown.map(|results| results.into_iter().map(|result| result.map(drop)).collect()), topic);
        super::eventually("the partitions are there", || (self.partitions(topic) == partitions).then_some(()));
    }

    /// Gives a topic these settings, and the brokers' for all else.
    pub(crate) fn configure(&self, topic: &str, settings: &[(&str, &str)]) {
        let config = settings
            .iter()
            .fold(AlterConfig::new(ResourceSpecifier::Topic(topic)), |config, (name, value)| config.set(name, value));
        let altered = block_on(self.admin().alter_configs([&config], &patient()));
        all_succeeded(altered.map(|results| results.into_iter().map(|result| result.map(drop)).collect()), topic);
    }

    /// Deletes a topic, and waits until it has gone.
    pub(crate) fn delete(&self, topic: &str) {
        let deleted = block_on(self.admin().delete_topics(&[topic], &patient()));
        all_succeeded(deleted.map(|results| results.into_iter().map(|result| result.map(drop)).collect()), topic);
        super::eventually("the topic has gone", || (self.partitions(topic) == 0).then_some(()));
    }

    /// Removes the records of partition 0 that lie before an offset, as retention does.
    pub(crate) fn remove_before(&self, topic: &str, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
        let removed = block_on(self.admin().delete_records(&list, &patient())).unwrap();
        removed.elements().iter().for_each(|element| element.error().unwrap());
    }

    /// Has the broker forget a group and its offsets, as it does after `offsets.retention.minutes`.
    pub(crate) fn forget_group(&self, group: &str) {
        let deleted = block_on(self.admin().delete_groups(&[group], &patient()));
        all_succeeded(deleted.map(|results| results.into_iter().map(|result| result.map(drop)).collect()), group);
    }

    /// Commits an offset of partition 0 to a group in a transaction, and leaves that open.
    pub(crate) fn hold_offset(&self, group: &str, topic: &str) -> impl Sized + use<> {
        let asking: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        let producer: BaseProducer = self.client().set("transactional.id", unique("holding")).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(1)).unwrap();
        producer.send_offsets_to_transaction(&list, &asking.group_metadata().unwrap(), PATIENCE).unwrap();
        producer
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    fn partitions(&self, topic: &str) -> usize {
        let consumer: BaseConsumer = self.client().create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        metadata.topics().iter().filter(|found| found.error().is_none()).map(|found| found.partitions().len()).sum()
    }

    /// Puts records into a topic, in their order within each partition, and waits until the broker has them.
    pub(crate) fn send<'a>(&self, topic: &str, records: impl IntoIterator<Item = Sent<'a>>) {
        let producer = self.producer.get_or_init(|| self.producer());
        for record in records {
            enqueue(producer, topic, &record);
        }
        flush(producer);
        assert_eq!(producer.context().0.get(), None, "a record was not delivered");
    }

    /// Puts values without keys into partition 0.
    pub(crate) fn send_lines(&self, topic: &str, lines: &str) {
        self.send(topic, lines.lines().map(|line| Sent::value(0, line)));
    }

    /// Puts one record into a topic; false where the broker refuses it for its size.
    pub(crate) fn try_send(&self, topic: &str, record: Sent<'_>) -> bool {
        let producer = self.producer();
        enqueue(&producer, topic, &record);
        flush(&producer);
        match producer.context().0.get() {
            None => true,
            Some(error) if error.contains("MessageSizeTooLarge") => false,
            Some(error) => panic!("a record was not delivered: {error}"),
        }
    }

    /// A producer that keeps the order, and refuses nothing by itself for its size.
    fn producer(&self) -> BaseProducer<Delivered> {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("linger.ms", "2").set("message.max.bytes", "33554432");
        config.set("topic.metadata.refresh.interval.ms", "200");
        config.create_with_context(Delivered::default()).unwrap()
    }

    /// Puts a record into a topic, with a header whose name is not UTF-8 between two others. (Rust's clients cannot write one.)
    pub(crate) fn send_with_odd_header(&self, topic: &str, value: &str) {
        let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe=odd");
        let mut command = Command::new("kcat");
        command.args(["-P", "-b", &self.address, "-t", topic, "-p", "0", "-H", "first=1", "-H"]).arg(odd);
        let mut kcat = command.args(["-H", "last=2"]).stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut kcat.stdin.take().unwrap(), value.as_bytes()).unwrap();
        assert!(kcat.wait().unwrap().success());
    }

    /// What a committed reader sees of a topic, from its beginning to its end, in the order of each partition.
    pub(crate) fn read(&self, topic: &str) -> Vec<Received> {
        let ended = Running::start(&mut self.kcat(topic, &["-e"])).wait().succeeded();
        ended.stdout.lines().map(Received::parse).collect()
    }

    /// The outcomes among them.
    pub(crate) fn outcomes(&self, topic: &str) -> Vec<Outcome> {
        self.read(topic).iter().map(Received::outcome).collect()
    }

    /// The keys and headers of a topic's partition 0 as they are, in its order. (kcat shows texts.)
    pub(crate) fn read_bytes(&self, topic: &str) -> Vec<KeyAndHeaders> {
        let mut config = self.client();
        config.set("group.id", topic).set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let mut found = Vec::new();
        loop {
            let message = match consumer.poll(PATIENCE).expect("the end comes") {
                Ok(message) => message,
                Err(KafkaError::PartitionEOF(_)) => return found,
                Err(error) => panic!("{topic}: {error}"),
            };
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            let headers = headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()));
            found.push((message.key().map(<[u8]>::to_vec), headers.collect()));
        }
    }

    /// A committed reader that follows a topic from its beginning, for as long as it lives, whatever becomes of the broker.
    pub(crate) fn follow(&self, topic: &str) -> Running {
        Running::start(&mut self.kcat(topic, &["-E", "-X", "reconnect.backoff.max.ms=500"]))
    }

    fn kcat(&self, topic: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("kcat");
        command.args(["-C", "-q", "-J", "-u", "-b", &self.address, "-t", topic, "-o", "beginning"]);
        command.args(["-X", "isolation.level=read_committed", "-X", "fetch.wait.max.ms=50"]).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// The offset behind the last record of each partition.
    pub(crate) fn ends(&self, topic: &str) -> Vec<i64> {
        let consumer: BaseConsumer = self.client().create().unwrap();
        let partitions = 0..self.partitions(topic) as i32;
        partitions.map(|partition| consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap().1).collect()
    }

    /// Commits an offset of partition 0 to a group that has no members.
    pub(crate) fn commit(&self, group: &str, topic: &str, offset: i64) {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
        consumer.commit(&list, CommitMode::Sync).unwrap();
    }

    /// What a group has committed for the partitions of a topic; `None` where it has nothing.
    pub(crate) fn committed(&self, group: &str, topic: &str) -> Vec<Option<i64>> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, self.partitions(topic) as i32 - 1);
        let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
        let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
        committed.elements().iter().map(|element| offset(element.offset())).collect()
    }
}

/// Hands a record to a producer, which may be full for a while.
fn enqueue(producer: &BaseProducer<Delivered>, topic: &str, sent: &Sent<'_>) {
    let headers = sent
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }));
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(sent.partition).headers(headers);
    record.key = sent.key;
    record.payload = sent.value;
    record.timestamp = sent.timestamp;
    let began = Instant::now();
    while let Err((error, back)) = producer.send(record) {
        let code = error.rdkafka_error_code();
        // Partitions that were added a moment ago are not known yet.
        let passes = matches!(code, Some(RDKafkaErrorCode::QueueFull | RDKafkaErrorCode::UnknownPartition));
        assert!(passes && began.elapsed() < PATIENCE, "{topic}: {error}");
        record = back;
        producer.poll(Duration::from_millis(10));
    }
    producer.poll(Duration::ZERO);
}

/// Waits until all is delivered. (The client's own `flush` sleeps 100 ms at a time.)
fn flush(producer: &BaseProducer<Delivered>) {
    let began = Instant::now();
    while producer.in_flight_count() > 0 {
        assert!(began.elapsed() < PATIENCE, "records are not delivered");
        producer.poll(Duration::from_millis(1));
    }
}

/// Keeps the first error of a record that was not delivered. (A report that panics would end all tests at once.)
#[derive(Default)]
struct Delivered(OnceLock<String>);

impl rdkafka::ClientContext for Delivered {}

impl rdkafka::producer::ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let _ = self.0.set(error.to_string());
        }
    }
}

impl Received {
    pub(crate) fn parse(line: &str) -> Received {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let headers: Vec<String> = line["headers"].as_array().into_iter().flatten().filter_map(text).collect();
        Received {
            partition: line["partition"].as_i64().unwrap() as i32,
            offset: line["offset"].as_i64().unwrap(),
            key: text(&line["key"]),
            value: text(&line["payload"]),
            headers: headers.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
        }
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn outcome(&self) -> Outcome {
        Outcome::parse(self.value.as_deref().expect("an outcome is no tombstone"))
    }
}

/// A name that no other run, and nobody else in this one, has.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let started = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    format!("resolvent-{started}-{}-{}-{name}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The broker of the user's.
fn foreign() -> Option<String> {
    std::env::var(FOREIGN).ok().filter(|address| !address.is_empty())
}

fn patient() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

fn all_succeeded<E: std::fmt::Debug>(results: Result<Vec<Result<(), E>>, KafkaError>, name: &str) {
    for result in results.unwrap_or_else(|error| panic!("{name}: {error}")) {
        result.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// A TLS client's settings, as a job's `properties` takes them.
pub(crate) fn tls_properties(certificate: &Path) -> Vec<(&'static str, String)> {
    vec![("security.protocol", "SSL".to_owned()), ("ssl.ca.location", certificate.display().to_string())]
}
