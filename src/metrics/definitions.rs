//! The name, help and labels of every metric. Base units, `_total` for counters; labels of bounded cardinality.

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, PullingGauge, Registry,
};

use super::health::{Health, Phase};
use super::latency::LatencyHistogram;
use super::process::ProcessCollector;
use super::{Backpressure, MemoryPart};

/// What became of records and events.
pub(super) struct Events {
    pub(super) read: IntCounter,
    pub(super) accepted: IntCounter,
    pub(super) resolved: IntCounter,
    pub(super) rejected: IntCounter,
    pub(super) expired: IntCounter,
    pub(super) dropped: IntCounter,
    pub(super) retracted: IntCounter,
    pub(super) by_stream: IntCounterVec,
    pub(super) rejected_by_reason: IntCounterVec,
    pub(super) notices: IntCounter,
    pub(super) waiting_memory: IntGauge,
    pub(super) waiting_state: IntGauge,
    pub(super) oldest_waiting: Gauge,
    pub(super) draining: IntGauge,
}

impl Events {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let outcomes = counters(
            registry,
            "resolvent_events_total",
            "Records by their outcome, over all runs of the job.",
            &["outcome"],
        )?;
        let waiting = gauges(
            registry,
            "resolvent_events_waiting",
            "Events accepted and not all references present, by the place where they wait.",
            &["place"],
        )?;
        let outcome = |name| outcomes.get_metric_with_label_values(&[name]);
        Ok(Events {
            read: counter(registry, "resolvent_records_read_total", "Records read, over all runs of the job.")?,
            accepted: counter(
                registry,
                "resolvent_events_accepted_total",
                "Records that decoded and validated as an event, over all runs of the job.",
            )?,
            resolved: outcome("resolved")?,
            rejected: outcome("rejected")?,
            expired: outcome("expired")?,
            dropped: outcome("dropped")?,
            retracted: counter(
                registry,
                "resolvent_results_retracted_total",
                "Maintained results that were taken away again, over all runs of the job.",
            )?,
            by_stream: counters(
                registry,
                "resolvent_stream_events_total",
                "Events that ended in this process, by stream, outcome and the reason where the outcome has one.",
                &["stream", "outcome", "reason"],
            )?,
            rejected_by_reason: counters(
                registry,
                "resolvent_rejected_total",
                "Records rejected in this process, by reason.",
                &["reason"],
            )?,
            notices: counter(
                registry,
                "resolvent_accepted_notices_total",
                "Notices that an event was accepted and waits for a deferred reference.",
            )?,
            waiting_memory: waiting.get_metric_with_label_values(&["memory"])?,
            waiting_state: waiting.get_metric_with_label_values(&["state"])?,
            oldest_waiting: gauge_seconds(
                registry,
                "resolvent_oldest_waiting_seconds",
                "How long the oldest event that waits in memory has waited; 0 where none does.",
            )?,
            draining: gauge(
                registry,
                "resolvent_draining",
                "Referents that are here and whose waiting events are still being woken, slice by slice.",
            )?,
        })
    }
}

/// How long things took.
pub(super) struct Latencies {
    pub(super) accept: LatencyHistogram,
    pub(super) resolve: LatencyHistogram,
    pub(super) completion: LatencyHistogram,
    pub(super) visible: LatencyHistogram,
    pub(super) epoch_commit: LatencyHistogram,
}

impl Latencies {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let latency = |name, help| register(registry, LatencyHistogram::new(name, help)?);
        Ok(Latencies {
            accept: latency(
                "resolvent_accept_latency_seconds",
                "From an event's arrival to the commit of the epoch that accepted it (deferred mode).",
            )?,
            resolve: latency(
                "resolvent_resolve_latency_seconds",
                "From an event's arrival to the sink taking its outcome.",
            )?,
            completion: latency(
                "resolvent_completion_latency_seconds",
                "From the arrival of an event's last missing referent to the sink taking its outcome: the part that is Resolvent's.",
            )?,
            visible: latency(
                "resolvent_visible_latency_seconds",
                "From an event's arrival to the commit that makes its outcome visible.",
            )?,
            epoch_commit: latency("resolvent_epoch_commit_seconds", "How long the commit of an epoch took.")?,
        })
    }
}

/// What is read, and what is held back.
pub(super) struct Input {
    pub(super) bytes_read: IntCounter,
    pub(super) replayed: IntCounter,
    pub(super) lag_records: IntGaugeVec,
    pub(super) lag_bytes: IntGaugeVec,
    pub(super) behind: Gauge,
    pub(super) backpressure: CounterVec,
}

impl Input {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let backpressure = CounterVec::new(
            Opts::new(
                "resolvent_backpressure_seconds_total",
                "Time that records were not taken from the source, by what was busy.",
            ),
            &["cause"],
        )?;
        let backpressure = register(registry, backpressure)?;
        for cause in Backpressure::ALL {
            backpressure.get_metric_with_label_values(&[cause.as_str()])?;
        }
        Ok(Input {
            bytes_read: counter(
                registry,
                "resolvent_source_bytes_total",
                "Bytes read in this process, decompressed; without those that were replayed.",
            )?,
            replayed: counter(
                registry,
                "resolvent_records_replayed_total",
                "Records read again after the start to rebuild referents; not counted as read.",
            )?,
            lag_records: gauges(
                registry,
                "resolvent_source_lag_records",
                "Records between what was read and the present end of the input, where the source counts records.",
                &[],
            )?,
            lag_bytes: gauges(
                registry,
                "resolvent_source_lag_bytes",
                "Bytes between what was read and the present end of the input, where the source is files.",
                &[],
            )?,
            behind: gauge_seconds(
                registry,
                "resolvent_source_behind_seconds",
                "How far a synthetic source fell behind its schedule at most, because it made records too slowly and not because it was held back.",
            )?,
            backpressure,
        })
    }
}

/// What clients of Kafka go through.
pub(super) struct Kafka {
    pub(super) partition_lag: IntGaugeVec,
    pub(super) errors: IntCounterVec,
    pub(super) throttled: CounterVec,
    pub(super) rebalances: IntCounter,
    pub(super) transactions: IntCounterVec,
    pub(super) began_again: IntCounter,
}

impl Kafka {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let throttled = CounterVec::new(
            Opts::new(
                "resolvent_kafka_throttled_seconds_total",
                "Time that brokers held requests back because of a quota, by client (consumer, producer).",
            ),
            &["client"],
        )?;
        Ok(Kafka {
            partition_lag: gauges(
                registry,
                "resolvent_partition_lag_records",
                "Records between what was read of a topic's partition and its present end; offsets of control records count.",
                &["topic", "partition"],
            )?,
            errors: counters(
                registry,
                "resolvent_kafka_errors_total",
                "Errors between a client (consumer, producer) and the brokers, by kind. The client goes on trying.",
                &["client", "kind"],
            )?,
            throttled: register(registry, throttled)?,
            rebalances: counter(
                registry,
                "resolvent_kafka_rebalances_total",
                "How often partitions of the consumer group were shared out anew.",
            )?,
            began_again: counter(
                registry,
                "resolvent_began_again_total",
                "How often the job began again from its last commit, because the broker did not say what had become of an epoch.",
            )?,
            transactions: counters(
                registry,
                "resolvent_kafka_transactions_total",
                "Transactions of the producer that ended, by how (committed, aborted).",
                &["end"],
            )?,
        })
    }
}

/// What the job takes of the machine.
pub(super) struct Resources {
    pub(super) state_bytes: IntGauge,
    pub(super) memory: IntGaugeVec,
    pub(super) referents_moved: IntCounter,
    pub(super) events_moved: IntCounter,
    pub(super) state_lookups: IntCounter,
    pub(super) sink_bytes: IntCounterVec,
}

impl Resources {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let memory = gauges(registry, "resolvent_memory_bytes", "Memory accounted for, by what holds it.", &["part"])?;
        for part in MemoryPart::ALL {
            memory.get_metric_with_label_values(&[part.as_str()])?;
        }
        let moved = counters(
            registry,
            "resolvent_moved_to_state_total",
            "Referents and waiting events moved from memory to the state, by the memory limit or a passed deadline (defer).",
            &["kind"],
        )?;
        Ok(Resources {
            state_bytes: gauge(registry, "resolvent_state_bytes", "Bytes of the state on disk.")?,
            memory,
            referents_moved: moved.get_metric_with_label_values(&["referent"])?,
            events_moved: moved.get_metric_with_label_values(&["event"])?,
            state_lookups: counter(
                registry,
                "resolvent_state_lookups_total",
                "Distinct keys looked up in the state: neither a filter nor a cache had the answer.",
            )?,
            sink_bytes: counters(
                registry,
                "resolvent_sink_bytes_total",
                "Bytes of outcomes taken, by sink.",
                &["sink"],
            )?,
        })
    }
}

/// Metrics of the program and its process, which nothing but a scrape reads.
pub(super) fn register_about(registry: &Registry, health: &Health) -> prometheus::Result<()> {
    let build = gauges(registry, "resolvent_build_info", "Always 1; the version of the program.", &["version"])?;
    build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1);
    let health = health.clone();
    register(
        registry,
        PullingGauge::new(
            "resolvent_ready",
            "1 when every source has been read to the end that it had at the start, 0 before and after a failure.",
            Box::new(move || if health.phase() == Phase::Ready { 1.0 } else { 0.0 }),
        )?,
    )?;
    registry.register(Box::new(ProcessCollector {
        resident_memory: Gauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?,
        cpu: Counter::new("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")?,
    }))
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    register(registry, IntCounter::new(name, help)?)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    register(registry, IntGauge::new(name, help)?)
}

fn gauge_seconds(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Gauge> {
    register(registry, Gauge::new(name, help)?)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

/// A count as the value of a gauge.
pub(super) fn gauge_value(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Sets a gauge without labels that is absent where there is no value.
pub(super) fn set_optional(gauge: &IntGaugeVec, value: Option<u64>) {
    match value {
        Some(value) => gauge.with_label_values::<&str>(&[]).set(gauge_value(value)),
        None => gauge.reset(),
    }
}

/// The value of a gauge without labels, where it has one.
pub(super) fn optional(gauge: &IntGaugeVec) -> Option<u64> {
    let families = gauge.collect();
    let value = families.first()?.get_metric().first()?.get_gauge().get_value();
    Some(value as u64)
}

/// The value of a gauge as a count.
pub(super) fn count(gauge: &IntGauge) -> u64 {
    u64::try_from(gauge.get()).unwrap_or(0)
}

/// The sum of a counter over all its labels.
pub(super) fn sum(counters: &IntCounterVec) -> u64 {
    counters.collect().iter().flat_map(|family| family.get_metric()).map(|m| m.get_counter().get_value() as u64).sum()
}
