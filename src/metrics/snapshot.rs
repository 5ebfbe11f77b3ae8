//! The present values of the metrics, for the live line, the summary and the comparison of the modes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::definitions::{count, optional, sum};
use super::{Backpressure, Checksum, Inner, MemoryPart, Metrics, Quantiles, Totals};

/// The present values of a job's metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// What became of all records, over all runs of the job.
    pub totals: Totals,
    /// What the totals were when the process started.
    pub restored: Totals,
    /// Events that wait in memory.
    pub waiting_memory: u64,
    /// Events that wait in the state.
    pub waiting_state: u64,
    /// The most events that have waited at once, in memory and state together.
    pub waiting_peak: u64,
    /// Bytes of records read.
    pub bytes_read: u64,
    /// Records read again to rebuild referents.
    pub records_replayed: u64,
    /// Bytes that are still to be read, where that is known.
    pub lag_bytes: Option<u64>,
    /// Records that are still to be read, where that is known.
    pub lag_records: Option<u64>,
    /// How far a synthetic source fell behind its schedule at most, by its own slowness.
    pub source_behind: Duration,
    /// From the arrival of the first record of this process to the last outcome that a sink took; zero before that.
    pub busy: Duration,
    /// Arrival to the commit of the epoch that accepted.
    pub accept: Quantiles,
    /// Arrival to the sink taking the outcome.
    pub resolve: Quantiles,
    /// Arrival of the last missing referent to the sink taking the outcome.
    pub completion: Quantiles,
    /// Arrival to the commit that makes the outcome visible.
    pub visible: Quantiles,
    /// Commits of epochs.
    pub epoch_commit: Quantiles,
    /// How long the source was held back, by cause.
    pub backpressure: [(Backpressure, Duration); Backpressure::ALL.len()],
    /// Bytes of memory accounted for, by part.
    pub memory: [(MemoryPart, u64); MemoryPart::ALL.len()],
    /// The most that each part has held at the end of an epoch.
    pub memory_peaks: [(MemoryPart, u64); MemoryPart::ALL.len()],
    /// Of the lines that sinks with a checksum have committed, by sink.
    pub checksums: BTreeMap<&'static str, Checksum>,
    /// Bytes of the state on disk.
    pub state_bytes: u64,
    /// Bytes of outcomes that the sinks took.
    pub sink_bytes: u64,
}

impl Snapshot {
    /// Events that wait, in memory and in the state.
    pub fn waiting(&self) -> u64 {
        self.waiting_memory + self.waiting_state
    }
}

impl Metrics {
    /// The totals alone, for who looks often: quantiles take their time.
    pub fn totals(&self) -> Totals {
        let events = &self.inner.events;
        Totals {
            read: events.read.get(),
            rejected: events.rejected.get(),
            accepted: events.accepted.get(),
            resolved: events.resolved.get(),
            expired: events.expired.get(),
            dropped: events.dropped.get(),
            retracted: events.retracted.get(),
        }
    }

    /// The present values. Each is right; together they are not of one instant.
    pub fn snapshot(&self) -> Snapshot {
        let Inner { events, latencies, input, resources, waiting_peak, memory_peaks, busy_micros, restored, .. } =
            &*self.inner;
        let mut peaks = memory_peaks.iter().map(|peak| peak.load(Ordering::Relaxed));
        let held = |cause: Backpressure| input.backpressure.with_label_values(&[cause.as_str()]).get();
        Snapshot {
            totals: self.totals(),
            restored: restored.get().copied().unwrap_or_default(),
            waiting_memory: count(&events.waiting_memory),
            waiting_state: count(&events.waiting_state),
            waiting_peak: waiting_peak.load(Ordering::Relaxed),
            bytes_read: input.bytes_read.get(),
            records_replayed: input.replayed.get(),
            lag_bytes: optional(&input.lag_bytes),
            lag_records: optional(&input.lag_records),
            source_behind: Duration::try_from_secs_f64(input.behind.get()).unwrap_or_default(),
            busy: Duration::from_micros(busy_micros.load(Ordering::Relaxed)),
            accept: latencies.accept.quantiles(),
            resolve: latencies.resolve.quantiles(),
            completion: latencies.completion.quantiles(),
            visible: latencies.visible.quantiles(),
            epoch_commit: latencies.epoch_commit.quantiles(),
            backpressure: Backpressure::ALL
                .map(|cause| (cause, Duration::try_from_secs_f64(held(cause)).unwrap_or_default())),
            memory: MemoryPart::ALL.map(|part| (part, count(&resources.memory.with_label_values(&[part.as_str()])))),
            memory_peaks: MemoryPart::ALL.map(|part| (part, peaks.next().unwrap_or(0))),
            checksums: self.inner.checksums().clone(),
            state_bytes: count(&resources.state_bytes),
            sink_bytes: sum(&resources.sink_bytes),
        }
    }
}
