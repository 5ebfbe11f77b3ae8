//! The evidence and the advice, for people and programs.

use serde::Serialize;

use super::decide::Settings;
use super::{Bar, Quantiles};
use crate::config::show_duration;
use crate::dependency::{Mode, OnExpiry};

/// All that there is to say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The job's name.
    pub job: String,
    /// The target, in microseconds.
    pub latency_us: u64,
    /// What arrivals were read off.
    pub clock: ClockReport,
    /// What was read.
    pub sample: SampleReport,
    /// Which keys were looked at.
    pub keys: Keys,
    /// The events of each stream that depends on something; none where they cannot be followed.
    pub streams: Vec<StreamReport>,
    /// By stream and dependency.
    pub dependencies: Vec<DependencyReport>,
    /// What referents take, by entity that is referred to.
    pub entities: Vec<EntityReport>,
    /// What the advice comes to.
    pub memory: MemoryReport,
    /// What limits the evidence, or follows from the advice.
    pub notes: Vec<String>,
    /// The lines to paste, a `depends_on` for each stream that has one; none where nothing is advised.
    pub toml: String,
}

/// What arrivals were read off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClockReport {
    /// `event_time`, `record_time`, `rate` or `records`.
    pub kind: &'static str,
    /// Of lags: `us` or `records`.
    pub unit: &'static str,
    /// In words.
    pub description: String,
    /// How far records were behind it; 0 where it is none of time.
    pub behind: Quantiles,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleReport {
    /// Records.
    pub records: u64,
    /// Those that were events.
    pub events: u64,
    /// Those that were none.
    pub rejected: u64,
    /// Bytes of the records.
    pub bytes: u64,
    /// From the first arrival to the last, by the clock; 0 where it knows none.
    pub span: u64,
    /// `present_end`, `sample` (as many records as were asked for) or `memory`.
    pub end: &'static str,
    /// How long it took to read, decode and measure them, in seconds.
    pub seconds: f64,
    /// The files and the partitions of topics.
    pub partitions: Vec<PartitionReport>,
}

/// A file or the partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    /// Its name.
    pub name: String,
    /// Records of it.
    pub records: u64,
    /// Those that have a time.
    pub timed: u64,
    /// Those whose time is before that of one before them.
    pub older: u64,
}

/// Which keys were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Keys {
    /// One of so many.
    pub one_in: u64,
    /// How many those were at the end.
    pub looked_at: u64,
}

/// The events of a stream: how many are complete, when all that they refer to has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    /// Its name.
    pub stream: String,
    /// All its events, also those that refer to nothing.
    pub events: u64,
    /// Those that are complete within the target after their arrival.
    pub within: u64,
    /// Those that are complete later.
    pub later: u64,
    /// Those that lack what never came.
    pub never: u64,
    /// Those that lack something at the end of the sample that may still come.
    pub undecided: u64,
}

/// One dependency.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DependencyReport {
    /// Its stream.
    pub stream: String,
    /// Its name.
    pub dependency: String,
    /// The entity referred to.
    pub entity: String,
    /// `arrived` or `resolved`.
    pub need: &'static str,
    /// References.
    pub references: u64,
    /// Whose referent was there.
    pub there_before: u64,
    /// Whose referent came later.
    pub later: u64,
    /// Whose referent never came.
    pub never: u64,
    /// That have not waited long enough by the end of the sample to tell.
    pub undecided: u64,
    /// By how many percent of the references these shares may be off, 19 times of 20; 0 where all keys were looked at.
    pub error_percent: f64,
    /// Of the events that refer by it and whose referents came, or may still come and have not within the target, percent that had all that it names within the
    /// target; of references, where events cannot be followed. `None` where there are none, or there is no time.
    pub own_within_percent: Option<f64>,
    /// The same of those that were complete within the target, with all else that they refer to.
    pub within_percent: Option<f64>,
    /// From the arrival of the dependent to that of the referent, of all that came; 0 where it was there.
    pub lag: Quantiles,
    /// The same in records, of those that came later.
    pub lag_records: Quantiles,
    /// How long before its dependent the referent had arrived, where it was there.
    pub age: Quantiles,
    /// The lags as bars.
    pub histogram: Vec<Bar>,
    /// Bytes of memory that waiting events and the keys that only they name take on average, once the job has run as long as they wait, as advised. What waits
    /// for ever is taken as the sample has it.
    pub waiting_memory_bytes: u64,
    /// Bytes of the state before compression.
    pub waiting_state_bytes: u64,
    /// How it waits now.
    pub now: SettingsReport,
    /// How it should.
    pub advice: SettingsReport,
    /// Why, for programs.
    pub reason: &'static str,
    /// Why, in words.
    pub because: String,
    /// The element of `depends_on`.
    pub toml: String,
}

/// How a dependency waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingsReport {
    /// Its mode.
    pub mode: &'static str,
    /// As it is written; `None` is for ever.
    pub wait: Option<String>,
    /// As it is written.
    pub on_expiry: Option<&'static str>,
    /// As it is written; `None` where nothing is deferred, or for ever.
    pub deferred_wait: Option<String>,
    /// As it is written.
    pub deferred_on_expiry: Option<&'static str>,
}

/// What the referents of one entity take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntityReport {
    /// Its name.
    pub entity: String,
    /// Whether these are the resolved ones.
    pub resolved: bool,
    /// Keys whose referent is there at the end of the sample.
    pub keys: u64,
    /// Bytes in memory, where a streaming dependency refers to them.
    pub memory_bytes: u64,
    /// Bytes of the state before compression, where a deferred one does.
    pub state_bytes: u64,
    /// Whether they are forgotten after a time.
    pub retained: bool,
    /// How long a restart would read input again for them, in seconds, at the speed of this run.
    pub restart_seconds: f64,
}

/// What the advice comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// Bytes of referents and waiting events that it keeps in memory.
    pub streaming_bytes: u64,
    /// `[streaming] memory`.
    pub streaming_limit: u64,
    /// Bytes that it keeps in the state, before compression.
    pub state_bytes: u64,
    /// References that waited at once, at most, if none had ever expired.
    pub waiting_peak: u64,
}

impl SettingsReport {
    pub(super) fn of(settings: Settings) -> SettingsReport {
        let waits = settings.mode != Mode::Independent;
        let wait = settings.wait.filter(|_| waits);
        let (mut deferred_wait, mut deferred_on_expiry) = (None, None);
        if let Some(OnExpiry::Defer { wait, then }) = wait.map(|_| settings.on_expiry) {
            (deferred_wait, deferred_on_expiry) = (wait.map(show_duration), Some(then.as_str()));
        }
        SettingsReport {
            mode: settings.mode.as_str(),
            wait: wait.map(show_duration),
            on_expiry: wait.map(|_| settings.on_expiry.as_str()),
            deferred_wait,
            deferred_on_expiry,
        }
    }
}
