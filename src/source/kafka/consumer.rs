//! The consumer: how it is made, that it is closed in bounded time, and the offsets that it commits for lag tools.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::Offset;
use tracing::{debug, warn};

use super::KafkaSettings;
use crate::event::{PartitionId, Partitions, Positions};
use crate::kafka::{ClientError, Context, Observer};

/// How long a consumer may take to send its last offsets and say good-bye: it has been seen to wait for ever.
const CLOSE: Duration = Duration::from_secs(3);

/// How often offsets are committed to the group.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Bytes that may be fetched ahead of what is handed out, over all partitions.
const FETCHED_KIB: &str = "32768";

/// How often topics are looked at, in milliseconds, where the client itself looks for partitions that are added.
const METADATA_MS: &str = "5000";

/// Bytes of each partition that one fetch for single records may bring: most batches, from a thousand partitions at once. Less would be slow: where an answer
/// has room for one batch only, brokers give it to the same partition again and again. A larger batch comes all the same, one in each answer.
const SINGLE_BYTES: &str = "65536";

/// A consumer that several threads use. The last of its copies closes it.
#[derive(Clone)]
pub(super) struct Consumer(Option<Arc<BaseConsumer<Context>>>);

impl Consumer {
    /// A consumer with these settings, to which nothing is assigned yet.
    pub(super) fn new(settings: &KafkaSettings, observer: &Observer) -> Result<Consumer, ClientError> {
        Consumer::with(settings, observer, &[])
    }

    /// A consumer that is to be a member of its group: what the group asks of it [waits to be answered](Observer::next_rebalance).
    pub(super) fn member(settings: &KafkaSettings, observer: &Observer) -> Result<Consumer, ClientError> {
        observer.await_rebalances(true);
        let name = "topic.metadata.refresh.interval.ms";
        // How soon partitions that are added to a topic are found.
        let refresh = (!settings.client.properties.contains_key(name)).then_some((name, METADATA_MS));
        Consumer::with(settings, observer, refresh.as_slice())
    }

    /// The same, for one record here and there.
    pub(super) fn for_single_records(settings: &KafkaSettings, observer: &Observer) -> Result<Consumer, ClientError> {
        let overrides = [("fetch.message.max.bytes", SINGLE_BYTES), ("queued.min.messages", "1")];
        Consumer::with(settings, observer, &overrides)
    }

    fn with(
        settings: &KafkaSettings,
        observer: &Observer,
        overrides: &[(&str, &str)],
    ) -> Result<Consumer, ClientError> {
        let mut config = settings.client.config(&settings.client_id);
        let mut default = |name: &str, value: &str| {
            if !settings.client.properties.contains_key(name) {
                config.set(name, value);
            }
        };
        default("queued.max.messages.kbytes", FETCHED_KIB);
        default("fetch.wait.max.ms", "100");
        default("fetch.min.bytes", &settings.fetch_min_bytes.to_string());
        default("check.crcs", if settings.check_crcs { "true" } else { "false" });
        config.set("group.id", &settings.group);
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        // A position that the broker no longer has is an error, and never skipped.
        config.set("auto.offset.reset", "error");
        config.set("isolation.level", "read_committed");
        for (name, value) in overrides {
            config.set(*name, *value);
        }
        let consumer =
            config.create_with_context(Context(observer.clone())).map_err(|error| ClientError::of_settings(&error))?;
        Ok(Consumer(Some(Arc::new(consumer))))
    }
}

impl Deref for Consumer {
    type Target = BaseConsumer<Context>;

    fn deref(&self) -> &Self::Target {
        #[expect(clippy::expect_used, reason = "taken out in `drop` only")]
        self.0.as_ref().expect("a consumer that is not being dropped")
    }
}

impl AsRef<BaseConsumer<Context>> for Consumer {
    fn as_ref(&self) -> &BaseConsumer<Context> {
        self
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let Some(consumer) = self.0.take().and_then(Arc::into_inner) else { return };
        let observer = &consumer.context().0;
        if observer.awaits_rebalances() {
            // Nobody answers the group any more: one that was asked is answered here, others are when they come.
            observer.await_rebalances(false);
            if let Err(error) = consumer.unassign() {
                debug!(%error, "partitions are not given up");
            }
        }
        let (closed, is_closed) = mpsc::channel();
        let closing = thread::Builder::new().name("kafka-close".to_owned()).spawn(move || {
            drop(consumer);
            // Nobody waits any more where it took too long.
            let _ = closed.send(());
        });
        if closing.is_ok() && is_closed.recv_timeout(CLOSE).is_err() {
            warn!("the consumer does not close: left alone, the brokers are out of reach");
        }
    }
}

/// Commits offsets to the consumer group, so that tools that show its lag see the job. No promise hangs on them.
pub struct GroupOffsets {
    consumer: Consumer,
    partitions: BTreeMap<PartitionId, (String, i32)>,
    committed: Positions,
    at: Option<Instant>,
}

impl GroupOffsets {
    pub(super) fn new(consumer: Consumer) -> GroupOffsets {
        GroupOffsets { consumer, partitions: BTreeMap::new(), committed: Positions::default(), at: None }
    }

    /// Notes positions that the state has committed. Sends them on their way, at most once a second.
    pub fn committed(&mut self, positions: &Positions, names: &Partitions) {
        if self.at.is_none_or(|at| at.elapsed() >= COMMIT_EVERY) {
            self.send(positions, names);
        }
    }

    /// Sends the last positions on their way. Closing the consumer waits for their arrival.
    pub fn finish(mut self, positions: &Positions, names: &Partitions) {
        self.send(positions, names);
    }

    fn send(&mut self, positions: &Positions, names: &Partitions) {
        let mut offsets = TopicPartitionList::new();
        for (partition, position) in &positions.0 {
            if self.committed.0.get(partition) == Some(position) {
                continue;
            }
            let (topic, number) = self.partitions.entry(*partition).or_insert_with(|| {
                let name = names.name(*partition);
                super::split_name(&name).map_or((String::new(), -1), |(topic, number)| (topic.to_owned(), number))
            });
            let offset = Offset::Offset(i64::try_from(*position).unwrap_or(i64::MAX));
            if *number >= 0 && offsets.add_partition_offset(topic, *number, offset).is_err() {
                debug!(topic, number, "an offset that cannot be committed to the group");
            }
        }
        if offsets.count() == 0 {
            return;
        }
        self.at = Some(Instant::now());
        match self.consumer.commit(&offsets, CommitMode::Async) {
            Ok(()) => self.committed = positions.clone(),
            // It is tried again with the next positions.
            Err(error) => debug!(%error, "offsets were not committed to the group"),
        }
    }
}
