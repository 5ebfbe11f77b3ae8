//! What a client says of itself: its log, its errors, its statistics.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};
use serde::Deserialize;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;

/// How many different errors are remembered, so that each is logged once.
const TOLD_MAX: usize = 64;

/// What keeps a client from its brokers, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Trouble {
    /// They refuse the credentials.
    Authentication,
    /// The TLS handshake fails.
    Tls,
    /// The group may not be used: the client goes on looking for its coordinator.
    Group,
    /// A name does not resolve.
    Resolve,
    /// A connection cannot be made, or breaks.
    Transport,
    /// None of them can be reached.
    AllBrokersDown,
    /// Anything else.
    Other,
}

impl Trouble {
    fn of(code: Option<RDKafkaErrorCode>) -> Trouble {
        match code {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                Trouble::Authentication
            }
            Some(RDKafkaErrorCode::SSL) => Trouble::Tls,
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => Trouble::Group,
            Some(RDKafkaErrorCode::Resolve) => Trouble::Resolve,
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::MessageTimedOut
                | RDKafkaErrorCode::RequestTimedOut,
            ) => Trouble::Transport,
            Some(RDKafkaErrorCode::AllBrokersDown) => Trouble::AllBrokersDown,
            _ => Trouble::Other,
        }
    }

    /// As it is written in metrics.
    fn as_str(self) -> &'static str {
        match self {
            Trouble::Authentication => "authentication",
            Trouble::Tls => "tls",
            Trouble::Group => "group",
            Trouble::Resolve => "resolve",
            Trouble::Transport => "transport",
            Trouble::AllBrokersDown => "all_brokers_down",
            Trouble::Other => "other",
        }
    }
}

/// The last error of a kind, since something last worked.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    /// When that kind was seen first.
    pub(crate) since: Instant,
    /// What the client said.
    pub(crate) text: String,
}

/// Keeps what clients of one kind say of themselves. All copies are the same.
#[derive(Clone)]
pub(crate) struct Observer(Arc<Observed>);

struct Observed {
    /// `consumer` or `producer`: a label.
    client: &'static str,
    metrics: Metrics,
    seen: Mutex<Seen>,
    rebalances: Mutex<Rebalances>,
    /// Whether there may be one to be answered.
    is_asked: AtomicBool,
}

#[derive(Default)]
struct Seen {
    troubles: BTreeMap<Trouble, Sighting>,
    /// What has been logged since something last worked.
    told: HashSet<String>,
    partitions: HashMap<String, HashMap<i32, PartitionStatistics>>,
    /// How often statistics came.
    counted: u64,
    rebalances: u64,
}

/// What the group asks of a consumer that is a member of it. Nothing more happens in the group before it is answered, with `assign` or `unassign`.
#[derive(Debug)]
pub(crate) enum Rebalance {
    /// It is given these partitions, and has none at that time.
    Assigned(TopicPartitionList),
    /// All that it has is taken from it. Where it is lost, others may have it already.
    Revoked {
        /// Whether it is lost.
        lost: bool,
    },
}

#[derive(Default)]
struct Rebalances {
    /// Whether somebody takes and answers them; otherwise they are answered at once.
    awaited: bool,
    next: VecDeque<Rebalance>,
}

/// What librdkafka counts of a partition that is read. Offsets are negative where they are not known.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct PartitionStatistics {
    /// The offset to fetch next: it passes over control records.
    pub(crate) next_offset: i64,
    /// The end of what is committed.
    pub(crate) ls_offset: i64,
    /// The end.
    pub(crate) hi_offset: i64,
    /// Records that were fetched and not handed out.
    pub(crate) fetchq_cnt: i64,
}

#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: HashMap<String, BrokerStatistics>,
    #[serde(default)]
    topics: HashMap<String, TopicStatistics>,
    cgrp: Option<GroupStatistics>,
}

#[derive(Deserialize)]
struct BrokerStatistics {
    throttle: Option<Window>,
}

/// Of the time since the statistics before.
#[derive(Deserialize)]
struct Window {
    sum: u64,
}

#[derive(Deserialize)]
struct TopicStatistics {
    partitions: HashMap<i32, PartitionStatistics>,
}

#[derive(Deserialize)]
struct GroupStatistics {
    rebalance_cnt: u64,
}

impl Observer {
    /// For clients of one kind, `consumer` or `producer`.
    pub(crate) fn new(client: &'static str, metrics: Metrics) -> Observer {
        Observer(Arc::new(Observed {
            client,
            metrics,
            seen: Mutex::default(),
            rebalances: Mutex::default(),
            is_asked: AtomicBool::new(false),
        }))
    }

    /// The metrics of the job.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// A callback that panics is caught by rdkafka and ends the process; what it left behind is whole.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for these.
    fn rebalances(&self) -> MutexGuard<'_, Rebalances> {
        self.0.rebalances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has rebalances wait for whoever takes them, or no longer.
    pub(crate) fn await_rebalances(&self, awaited: bool) {
        self.rebalances().awaited = awaited;
    }

    /// Whether rebalances wait for somebody.
    pub(crate) fn awaits_rebalances(&self) -> bool {
        self.rebalances().awaited
    }

    /// The next rebalance that is to be answered. Costs next to nothing where there is none: it is asked for with each record.
    pub(crate) fn next_rebalance(&self) -> Option<Rebalance> {
        if !self.0.is_asked.load(Ordering::Acquire) {
            return None;
        }
        let mut rebalances = self.rebalances();
        let next = rebalances.next.pop_front();
        self.0.is_asked.store(!rebalances.next.is_empty(), Ordering::Release);
        next
    }

    /// The worst trouble since something last worked.
    pub(crate) fn trouble(&self) -> Option<(Trouble, Sighting)> {
        self.seen().troubles.first_key_value().map(|(trouble, sighting)| (*trouble, sighting.clone()))
    }

    /// Notes that something worked: the brokers are there and take the credentials.
    pub(crate) fn worked(&self) {
        let mut seen = self.seen();
        seen.troubles.clear();
        seen.told.clear();
    }

    /// A line of librdkafka's log.
    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            // It comes as an error, too.
            _ if matches!(facility, "FAIL" | "ERROR") => debug!(target: "librdkafka", "{facility}: {message}"),
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                warn!(target: "librdkafka", "{facility}: {message}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => info!(target: "librdkafka", "{facility}: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                debug!(target: "librdkafka", "{facility}: {message}");
            }
        }
    }

    /// An error of the client. The client itself goes on trying.
    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        let trouble = Trouble::of(error.rdkafka_error_code());
        self.0.metrics.client_error(self.0.client, trouble.as_str());
        let text = if reason.is_empty() { error.to_string() } else { without_times(reason).to_owned() };
        let mut seen = self.seen();
        if seen.told.len() >= TOLD_MAX {
            seen.told.clear();
        }
        // That none is left is said of each broker.
        let is_new = seen.told.insert(text.clone()) && trouble != Trouble::AllBrokersDown;
        let sighting =
            seen.troubles.entry(trouble).or_insert_with(|| Sighting { since: Instant::now(), text: String::new() });
        sighting.text.clone_from(&text);
        drop(seen);
        if is_new {
            warn!(client = self.0.client, kind = trouble.as_str(), "kafka: {text}");
        }
    }

    /// Statistics as librdkafka gives them, in JSON.
    pub(crate) fn statistics(&self, json: &[u8]) {
        let statistics: Statistics = match serde_json::from_slice(json) {
            Ok(statistics) => statistics,
            Err(error) => {
                debug!(%error, "statistics of librdkafka that cannot be read");
                return;
            }
        };
        let throttled: u64 = statistics.brokers.values().filter_map(|b| b.throttle.as_ref()).map(|w| w.sum).sum();
        self.0.metrics.client_throttled(self.0.client, Duration::from_millis(throttled));
        let mut seen = self.seen();
        if let Some(group) = statistics.cgrp {
            self.0.metrics.rebalances(group.rebalance_cnt.saturating_sub(seen.rebalances));
            seen.rebalances = group.rebalance_cnt;
        }
        seen.partitions = statistics.topics.into_iter().map(|(name, topic)| (name, topic.partitions)).collect();
        seen.counted += 1;
    }

    /// How often statistics came so far.
    pub(crate) fn counted(&self) -> u64 {
        self.seen().counted
    }

    /// The last statistics of a partition.
    pub(crate) fn partition(&self, topic: &str, partition: i32) -> Option<PartitionStatistics> {
        self.seen().partitions.get(topic)?.get(&partition).copied()
    }
}

/// The reason of an error without how long it took, and how often it came before: `… failed: Connection refused (after 0ms in state CONNECT)`.
fn without_times(reason: &str) -> &str {
    reason.rsplit_once(" (after ").map_or(reason, |(before, _)| before)
}

/// The context of a consumer, or of a client that only asks: all goes to an [`Observer`].
pub(crate) struct Context(pub(crate) Observer);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.0.statistics(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let is_assigned = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let mut rebalances = self.0.rebalances();
        if rebalances.awaited {
            rebalances.next.push_back(match is_assigned {
                true => Rebalance::Assigned(partitions.clone()),
                false => Rebalance::Revoked { lost: consumer.assignment_lost() },
            });
            self.0.0.is_asked.store(true, Ordering::Release);
            return;
        }
        drop(rebalances);
        let answered = if is_assigned { consumer.assign(partitions) } else { consumer.unassign() };
        if let Err(error) = answered {
            self.0.error(&error, "");
        }
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            self.0.error(&error, &format!("offsets were not committed to the group: {error}"));
        }
    }
}
