//! The metrics of a job: one method for each thing that can happen.
//!
//! Code says what happened (`metrics.records_read(n)`) and never touches a counter. Every name and help stands in `definitions.rs`.
//! Methods take counts, not single events: called once for a chunk, they cost next to nothing an event. Labels are of bounded cardinality, never keys.
//!
//! Totals go on over restarts ([`Metrics::restore_totals`]); everything else counts from the start of the process.

mod checksum;
mod definitions;
mod health;
mod latency;
mod process;
mod snapshot;
mod totals;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::{Registry, TextEncoder};

pub use checksum::Checksum;
pub use health::{Health, Phase};
pub use latency::Quantiles;
pub use process::{DiskIo, ResidentMemory, cpu_seconds, cpu_seconds_of, disk_io, resident_memory};
pub use snapshot::Snapshot;
pub use totals::{ConservationError, Totals};

use crate::event::{DroppedReason, ExpiredReason, RejectedReason};
use definitions::{Events, Input, Kafka, Latencies, Resources, gauge_value, set_optional};

/// The metrics of one job. Cheap to copy; all copies are the same.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    health: Health,
    events: Events,
    latencies: Latencies,
    input: Input,
    kafka: Kafka,
    resources: Resources,
    waiting_peak: AtomicU64,
    memory_peaks: [AtomicU64; MemoryPart::ALL.len()],
    busy_micros: AtomicU64,
    checksums: Mutex<BTreeMap<&'static str, Checksum>>,
    restored: OnceLock<Totals>,
}

impl Inner {
    fn new(job: &str) -> prometheus::Result<Self> {
        let registry = Registry::new_custom(None, Some(HashMap::from([("job".to_owned(), job.to_owned())])))?;
        let health = Health::default();
        definitions::register_about(&registry, &health)?;
        Ok(Inner {
            events: Events::new(&registry)?,
            latencies: Latencies::new(&registry)?,
            input: Input::new(&registry)?,
            kafka: Kafka::new(&registry)?,
            resources: Resources::new(&registry)?,
            waiting_peak: AtomicU64::new(0),
            memory_peaks: Default::default(),
            busy_micros: AtomicU64::new(0),
            checksums: Mutex::default(),
            restored: OnceLock::new(),
            registry,
            health,
        })
    }
}

impl Inner {
    fn checksums(&self) -> MutexGuard<'_, BTreeMap<&'static str, Checksum>> {
        // Sums are whole after every statement, so what a panicking thread left behind can be read.
        self.checksums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}

/// What holds a source back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backpressure {
    /// The queue of blocks is full: the workers are busy.
    Workers,
    /// The queue of blocks is full, and no worker may take one: an epoch is being closed and the one before it committed, or too many lines wait for
    /// the sinks.
    Commit,
    /// What is kept for maintained results fills its memory, and some of it is about to leave.
    Memory,
}

impl Backpressure {
    /// All causes.
    pub const ALL: [Backpressure; 3] = [Backpressure::Workers, Backpressure::Commit, Backpressure::Memory];

    /// As it is written in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Backpressure::Workers => "workers",
            Backpressure::Commit => "commit",
            Backpressure::Memory => "memory",
        }
    }
}

/// What holds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryPart {
    /// Referents in memory.
    Referents,
    /// Waiting events in memory.
    Waiting,
    /// Hot referents of the deferred mode.
    Cache,
    /// What waiting events lack besides the referent that they wait at.
    Claims,
    /// The queues of `ordered_by`.
    Queues,
    /// The graph of events that may wait for each other.
    Graph,
    /// The state's block cache, with its indexes and filters.
    StateBlockCache,
    /// The state's writes that are not in its tables yet.
    StateMemtables,
}

impl MemoryPart {
    /// All parts.
    pub const ALL: [MemoryPart; 8] = [
        MemoryPart::Referents,
        MemoryPart::Waiting,
        MemoryPart::Cache,
        MemoryPart::Claims,
        MemoryPart::Queues,
        MemoryPart::Graph,
        MemoryPart::StateBlockCache,
        MemoryPart::StateMemtables,
    ];

    /// As it is written in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            MemoryPart::Referents => "referents",
            MemoryPart::Waiting => "waiting",
            MemoryPart::Cache => "cache",
            MemoryPart::Claims => "claims",
            MemoryPart::Queues => "queues",
            MemoryPart::Graph => "graph",
            MemoryPart::StateBlockCache => "state_block_cache",
            MemoryPart::StateMemtables => "state_memtables",
        }
    }
}

impl Metrics {
    /// The metrics of the job `job`, all zero. Its name is the label `job` of every one.
    pub fn new(job: &str) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "names, helps and labels are constants of this file; every test makes these metrics"
        )]
        let inner = Inner::new(job).expect("the metrics of this file are valid and distinct");
        Metrics { inner: Arc::new(inner) }
    }

    /// All metrics as Prometheus text, format 0.0.4.
    pub fn gather(&self) -> String {
        // Encoding fails only for a metric without a name or values: registering checks the one, gathering leaves out the other.
        TextEncoder::new().encode_to_string(&self.inner.registry.gather()).unwrap_or_default()
    }

    /// Whether the job is ready and alive.
    pub fn health(&self) -> &Health {
        &self.inner.health
    }

    /// Starts the totals where the last committed epoch left them: before anything is counted, and when the job begins again.
    pub fn restore_totals(&self, totals: &Totals) {
        // What this process has done counts from its first start.
        _ = self.inner.restored.set(*totals);
        let events = &self.inner.events;
        for (counter, count) in [
            (&events.read, totals.read),
            (&events.rejected, totals.rejected),
            (&events.accepted, totals.accepted),
            (&events.resolved, totals.resolved),
            (&events.expired, totals.expired),
            (&events.dropped, totals.dropped),
            (&events.retracted, totals.retracted),
        ] {
            counter.reset();
            counter.inc_by(count);
        }
    }

    /// Records were read for the first time.
    pub fn records_read(&self, records: u64) {
        self.inner.events.read.inc_by(records);
    }

    /// Bytes of records were read for the first time.
    pub fn bytes_read(&self, bytes: u64) {
        self.inner.input.bytes_read.inc_by(bytes);
    }

    /// Records were read again to rebuild referents.
    pub fn records_replayed(&self, records: u64) {
        self.inner.input.replayed.inc_by(records);
    }

    /// Records decoded and validated as events.
    pub fn accepted(&self, events: u64) {
        self.inner.events.accepted.inc_by(events);
    }

    /// Records were rejected.
    pub fn rejected(&self, reason: RejectedReason, records: u64) {
        self.inner.events.rejected.inc_by(records);
        self.inner.events.rejected_by_reason.with_label_values(&[reason.as_str()]).inc_by(records);
    }

    /// Events of a stream were resolved.
    pub fn resolved(&self, stream: &str, events: u64) {
        self.inner.events.resolved.inc_by(events);
        self.inner.events.by_stream.with_label_values(&[stream, "resolved", ""]).inc_by(events);
    }

    /// Results of events of a stream, which are maintained, were taken away again.
    pub fn retracted(&self, stream: &str, results: u64) {
        self.inner.events.retracted.inc_by(results);
        self.inner.events.by_stream.with_label_values(&[stream, "retracted", ""]).inc_by(results);
    }

    /// Events of a stream expired.
    pub fn expired(&self, stream: &str, reason: ExpiredReason, events: u64) {
        self.inner.events.expired.inc_by(events);
        self.inner.events.by_stream.with_label_values(&[stream, "expired", reason.as_str()]).inc_by(events);
    }

    /// Events of a stream were dropped.
    pub fn dropped(&self, stream: &str, reason: DroppedReason, events: u64) {
        self.inner.events.dropped.inc_by(events);
        self.inner.events.by_stream.with_label_values(&[stream, "dropped", reason.as_str()]).inc_by(events);
    }

    /// `accepted` notices were made. Notices are no outcomes.
    pub fn notices(&self, notices: u64) {
        self.inner.events.notices.inc_by(notices);
    }

    /// How many events wait in memory and in the state now.
    pub fn waiting(&self, memory: u64, state: u64) {
        self.inner.events.waiting_memory.set(gauge_value(memory));
        self.inner.events.waiting_state.set(gauge_value(state));
        self.inner.waiting_peak.fetch_max(memory + state, Ordering::Relaxed);
    }

    /// How long the oldest event that waits in memory has waited; `None` where none does.
    pub fn oldest_waiting(&self, waited: Option<Duration>) {
        self.inner.events.oldest_waiting.set(waited.unwrap_or_default().as_secs_f64());
    }

    /// How many referents are still waking what waited for them.
    pub fn draining(&self, referents: u64) {
        self.inner.events.draining.set(gauge_value(referents));
    }

    /// Events were accepted by a commit: pairs of microseconds since arrival, and how many events had them.
    pub fn accept_latency(&self, latencies: impl IntoIterator<Item = (u64, u64)>) {
        self.inner.latencies.accept.record(latencies);
    }

    /// A sink took outcomes: pairs of microseconds since the event's arrival, and how many events had them.
    pub fn resolve_latency(&self, latencies: impl IntoIterator<Item = (u64, u64)>) {
        self.inner.latencies.resolve.record(latencies);
    }

    /// A sink took outcomes: pairs of microseconds since the last missing referent's arrival, and how many events had them.
    pub fn completion_latency(&self, latencies: impl IntoIterator<Item = (u64, u64)>) {
        self.inner.latencies.completion.record(latencies);
    }

    /// A commit made outcomes visible: pairs of microseconds since the event's arrival, and how many events had them.
    pub fn visible_latency(&self, latencies: impl IntoIterator<Item = (u64, u64)>) {
        self.inner.latencies.visible.record(latencies);
    }

    /// An epoch was committed.
    pub fn epoch_committed(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.inner.latencies.epoch_commit.record([(micros, 1)]);
    }

    /// What lies between what was read and the present end of the input, in bytes and in records; `None` where the source does not know.
    pub fn source_lag(&self, bytes: Option<u64>, records: Option<u64>) {
        set_optional(&self.inner.input.lag_bytes, bytes);
        set_optional(&self.inner.input.lag_records, records);
    }

    /// How far the source has fallen behind its schedule by its own slowness, at most.
    pub fn source_behind(&self, behind: Duration) {
        self.inner.input.behind.set(behind.as_secs_f64());
    }

    /// What lies between what was read of a topic's partition and its present end.
    pub fn partition_lag(&self, topic: &str, partition: i32, records: u64) {
        let labels = [topic, &partition.to_string()];
        self.inner.kafka.partition_lag.with_label_values(&labels).set(gauge_value(records));
    }

    /// A partition is no longer read by this process.
    pub fn partition_is_gone(&self, topic: &str, partition: i32) {
        // Of one that was never counted there is nothing to remove.
        let _ = self.inner.kafka.partition_lag.remove_label_values(&[topic, &partition.to_string()]);
    }

    /// A client of Kafka (`consumer`, `producer`) had an error of a kind.
    pub fn client_error(&self, client: &'static str, kind: &'static str) {
        self.inner.kafka.errors.with_label_values(&[client, kind]).inc();
    }

    /// Brokers held requests of a client (`consumer`, `producer`) back because of a quota.
    pub fn client_throttled(&self, client: &'static str, held: Duration) {
        self.inner.kafka.throttled.with_label_values(&[client]).inc_by(held.as_secs_f64());
    }

    /// The partitions of the consumer group were shared out anew.
    pub fn rebalances(&self, rebalances: u64) {
        self.inner.kafka.rebalances.inc_by(rebalances);
    }

    /// A transaction was committed.
    pub fn transaction_committed(&self) {
        self.inner.kafka.transactions.with_label_values(&["committed"]).inc();
    }

    /// A transaction was aborted, or its producer given up.
    pub fn transaction_aborted(&self) {
        self.inner.kafka.transactions.with_label_values(&["aborted"]).inc();
    }

    /// The job began again from its last commit, for nobody knew what had become of an epoch.
    pub fn began_again(&self) {
        self.inner.kafka.began_again.inc();
    }

    /// The source was held back for this long.
    pub fn backpressure(&self, cause: Backpressure, held: Duration) {
        self.inner.input.backpressure.with_label_values(&[cause.as_str()]).inc_by(held.as_secs_f64());
    }

    /// The size of the state on disk now.
    pub fn state_bytes(&self, bytes: u64) {
        self.inner.resources.state_bytes.set(gauge_value(bytes));
    }

    /// How much memory a part holds now.
    pub fn memory(&self, part: MemoryPart, bytes: u64) {
        self.inner.resources.memory.with_label_values(&[part.as_str()]).set(gauge_value(bytes));
        let peaks = MemoryPart::ALL.iter().zip(&self.inner.memory_peaks);
        peaks.filter(|(of, _)| **of == part).for_each(|(_, peak)| _ = peak.fetch_max(bytes, Ordering::Relaxed));
    }

    /// Referents went from memory to the state.
    pub fn referents_moved_to_state(&self, referents: u64) {
        self.inner.resources.referents_moved.inc_by(referents);
    }

    /// Waiting events went from memory to the state.
    pub fn events_moved_to_state(&self, events: u64) {
        self.inner.resources.events_moved.inc_by(events);
    }

    /// Distinct keys were looked up in the state.
    pub fn state_lookups(&self, keys: u64) {
        self.inner.resources.state_lookups.inc_by(keys);
    }

    /// A sink took outcomes, so long after the first record of this process arrived.
    pub fn busy(&self, since_first: Duration) {
        let micros = u64::try_from(since_first.as_micros()).unwrap_or(u64::MAX);
        self.inner.busy_micros.fetch_max(micros, Ordering::Relaxed);
    }

    /// Lines of a sink (`resolved`, `dead_letter`, `accepted`) that keeps a checksum were committed.
    pub fn sink_checksum(&self, sink: &'static str, lines: Checksum) {
        self.inner.checksums().entry(sink).or_default().add(lines);
    }

    /// A sink (`resolved`, `dead_letter`, `accepted`) took lines.
    pub fn sink_bytes(&self, sink: &'static str, bytes: u64) {
        self.inner.resources.sink_bytes.with_label_values(&[sink]).inc_by(bytes);
    }
}
