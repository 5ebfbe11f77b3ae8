//! From what was measured to advice. Pure: numbers in, settings with their reasons out.
//!
//! For each dependency, of the events that refer by it and are complete (or have waited longer than the target, and may still be):
//!
//! | what was measured | mode | `wait` | `on_expiry` |
//! | --- | --- | --- | --- |
//! | fewer than [`REFERENCES_LEAST`] references | as it is | as it is | as it is |
//! | no referent came, and [`REFERENCES_LEAST`] or more have waited for [`NOTHING_LEAST`] or longer | `independent` | | |
//! | no referent came, and the sample is too short to tell whether one will | as it is | as it is | as it is |
//! | 99 % have all that it names within the target | `streaming` | twice the 99.9th percentile of the lag, and no less than [`WAIT_LEAST`] | `defer` where some came even later, otherwise [the end](end) |
//! | 90 % are complete within the target, with all else that they refer to | `streaming` | the target | `defer`: what comes later is resolved later |
//! | less | `deferred` | twice the longest lag, and no less than [`WAIT_LEAST`] | [the end](end) |
//!
//! A second wait is as long as a deferred one. Where more than [`UNDECIDED_MOST`] of the references could not be told by the end of the sample, deferred waits
//! are at least twice as long as the sample.
//!
//! Without time no wait is advised: it stays as it is.
//!
//! In a job that maintains its results (`emit = "changes"`) nothing can be deferred: instead it is `streaming`, with the longer wait.
//!
//! Then, for all dependencies on an entity: `deferred` where its referents must go for the streaming ones to fit into `[streaming] memory` (the largest go
//! first), and where a restart would take too long to read its input again.

use std::time::Duration;

use super::lags::Quantiles;
use crate::dependency::{Mode, OnExpiry, SecondExpiry};

/// Fewer references than this say nothing.
pub const REFERENCES_LEAST: u64 = 100;

/// Where fewer than [`REFERENCES_LEAST`] referents came late, nothing is known of how late they come: what has not waited for as long as this may still get
/// its referent. That none of 100 came in it says that fewer than 3 % do, 19 times of 20 (the rule of three).
pub const NOTHING_LEAST: Duration = Duration::from_secs(86_400);

/// Waits that end events are no shorter: what a restarted broker, a rebalance or a slow producer delays must not expire.
pub const WAIT_LEAST: Duration = Duration::from_secs(60);

/// Percent of references that cannot be told by the end of the sample, from which on the sample counts as too short.
pub const UNDECIDED_MOST: f64 = 1.0;

/// Percent of references whose referent never comes from which on that is taken for the nature of the stream and not for an accident.
pub const NEVER_USUAL: f64 = 5.0;

/// Percent complete within the target that `streaming` is advised from, with a wait that covers all, and with one that is the target.
const WITHIN_ALWAYS: f64 = 99.0;
const WITHIN_MOSTLY: f64 = 90.0;

/// The longest wait that a configuration takes.
const WAIT_MOST: Duration = Duration::from_secs(36_500 * 86_400);

/// What was measured of one dependency. Times are microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// References whose referent was there.
    pub before: u64,
    /// Whose referent came later.
    pub later: u64,
    /// Whose referent did not come, though they have waited longer than the [`horizon`].
    pub never: u64,
    /// That have not waited as long as that by the end of the sample.
    pub undecided: u64,
    /// Of the events that refer by it, those that had all that it names within the target; `None` where there is no time.
    pub own: Option<Within>,
    /// Those that were complete, with all else that they refer to; `None` where there is no time.
    pub whole: Option<Within>,
    /// The lags of all that came, 0 where the referent was there.
    pub lag: Quantiles,
    /// From the first to the last arrival of the sample.
    pub span: u64,
}

/// How many events come in time; of those that never get what they lack, none counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Within {
    /// Those within the target.
    pub within: u64,
    /// Those that are complete, within the target or not.
    pub complete: u64,
    /// Those that may still be when the sample ends, and have waited longer than the target.
    pub beyond: u64,
}

impl Within {
    /// Those that are told: all that are complete, or come too late if they come.
    pub fn told(&self) -> u64 {
        self.complete + self.beyond
    }

    /// Percent of those that are told; `None` where none is.
    pub fn percent(&self) -> Option<f64> {
        (self.told() > 0).then(|| percent(self.within, self.told()))
    }
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Within this time of its arrival an event is to be complete.
    pub latency: Duration,
    /// Bytes for referents and waiting events of streaming dependencies.
    pub streaming_memory: u64,
    /// How long a restart may take to read input again.
    pub restart: Duration,
    /// Whether the job maintains its results: then all that waits does so in memory.
    pub maintained: bool,
}

/// Why something is advised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There are too few references.
    TooFew,
    /// No referent came, and some should have.
    NothingCame,
    /// No referent came, but the sample is too short to tell whether one will.
    NothingYet,
    /// Nearly all are complete within the target.
    Within,
    /// Most are.
    MostlyWithin,
    /// Many are not.
    Beyond,
    /// There is no time to compare the target with, and referents come later.
    NoTime,
    /// Its referents do not fit into memory.
    Memory,
    /// They would take too long to rebuild.
    Restart,
}

impl Reason {
    /// As programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::TooFew => "too_few",
            Reason::NothingCame => "nothing_came",
            Reason::NothingYet => "nothing_yet",
            Reason::Within => "within",
            Reason::MostlyWithin => "mostly_within",
            Reason::Beyond => "beyond",
            Reason::NoTime => "no_time",
            Reason::Memory => "memory",
            Reason::Restart => "restart",
        }
    }

    /// Whether there is nothing to go by: the dependency stays as it is.
    pub fn keeps(self) -> bool {
        matches!(self, Reason::TooFew | Reason::NothingYet | Reason::NoTime)
    }
}

/// How a dependency is to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its mode.
    pub mode: Mode,
    /// How long it waits; `None` is for ever.
    pub wait: Option<Duration>,
    /// What then; of no effect without `wait`.
    pub on_expiry: OnExpiry,
}

/// What is advised for a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What to write.
    pub settings: Settings,
    /// Why.
    pub reason: Reason,
}

impl Measured {
    /// All references.
    pub fn references(&self) -> u64 {
        self.before + self.later + self.never + self.undecided
    }

    /// Whose referent came.
    pub fn came(&self) -> u64 {
        self.before + self.later
    }

    /// Percent of the decided references whose referent never came.
    pub fn never_percent(&self) -> f64 {
        percent(self.never, self.came() + self.never)
    }

    /// Percent of all references that could not be told.
    pub fn undecided_percent(&self) -> f64 {
        percent(self.undecided, self.references())
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// How long a reference must have waited for it to count as one whose referent never comes, in ticks: longer than twice the 99.9th percentile of the lag, and
/// than the target. Where hardly any came late, that percentile is no measure of how late they come. Without a `target` there is no time.
pub fn horizon(later: u64, lag: Quantiles, target: Option<Duration>) -> u64 {
    let twice = lag.p999.saturating_mul(2);
    match target {
        None if later < REFERENCES_LEAST => u64::MAX,
        None => twice,
        Some(target) if later < REFERENCES_LEAST => twice.max(micros(target)).max(micros(NOTHING_LEAST)),
        Some(target) => twice.max(micros(target)),
    }
}

/// What to advise for one dependency by itself; `now` is how it waits now.
pub fn alone(measured: &Measured, target: &Target, now: Settings) -> Advice {
    let advice = |settings, reason| Advice { settings, reason };
    if measured.references() < REFERENCES_LEAST {
        return advice(now, Reason::TooFew);
    }
    if measured.came() == 0 && measured.never < REFERENCES_LEAST {
        return advice(now, Reason::NothingYet);
    }
    if measured.came() == 0 {
        let settings = Settings { mode: Mode::Independent, wait: None, on_expiry: OnExpiry::DeadLetter };
        return advice(settings, Reason::NothingCame);
    }
    let (Some(own), Some(whole)) = (measured.own, measured.whole) else {
        // Where nothing is late there is nothing to compare.
        return match measured.later + measured.undecided {
            0 => advice(Settings { mode: Mode::Streaming, ..now }, Reason::Within),
            _ => advice(now, Reason::NoTime),
        };
    };
    let reaches = |share: Within, least: f64| share.percent().is_some_and(|percent| percent >= least);
    if reaches(own, WITHIN_ALWAYS) {
        // It is not what keeps its events from being complete.
        advice(in_memory(measured, target), Reason::Within)
    } else if reaches(whole, WITHIN_MOSTLY) {
        advice(allowed(in_memory_first(measured, target.latency), target), Reason::MostlyWithin)
    } else {
        advice(allowed(on_disk(measured), target), Reason::Beyond)
    }
}

/// The settings, as far as the job may have them: results that are maintained are so in memory, and the two waits are one.
fn allowed(settings: Settings, target: &Target) -> Settings {
    match (target.maintained, settings.on_expiry) {
        (false, _) => settings,
        (true, OnExpiry::Defer { wait, then }) => {
            let wait = settings.wait.zip(wait).map(|(first, second)| first.max(second));
            Settings { mode: Mode::Streaming, wait, on_expiry: at_once(then) }
        }
        (true, _) => Settings { mode: Mode::Streaming, ..settings },
    }
}

/// `streaming`, with a wait that covers all but what is far off.
fn in_memory(measured: &Measured, target: &Target) -> Settings {
    let end = end(measured);
    let twice = Duration::from_micros(measured.lag.p999.saturating_mul(2));
    let wait = round_up(twice.max(WAIT_LEAST).max(target.latency));
    let on_expiry = match micros(wait) < measured.lag.max {
        true => OnExpiry::Defer { wait: Some(long_wait(measured)), then: end },
        false => at_once(end),
    };
    allowed(Settings { mode: Mode::Streaming, wait: Some(wait), on_expiry }, target)
}

/// `streaming` for a time, and then in the state.
fn in_memory_first(measured: &Measured, wait: Duration) -> Settings {
    let on_expiry = OnExpiry::Defer { wait: Some(long_wait(measured)), then: end(measured) };
    Settings { mode: Mode::Streaming, wait: Some(round_up(wait)), on_expiry }
}

/// `deferred`.
fn on_disk(measured: &Measured) -> Settings {
    Settings { mode: Mode::Deferred, wait: Some(long_wait(measured)), on_expiry: at_once(end(measured)) }
}

/// `deferred`, with the waits as they are: without time none is advised.
fn on_disk_as_it_waits(settings: Settings) -> Settings {
    let settings = Settings { mode: Mode::Deferred, ..settings };
    match settings.on_expiry {
        OnExpiry::Defer { wait, then } => {
            let wait = settings.wait.zip(wait).map(|(first, second)| first.saturating_add(second));
            Settings { wait, on_expiry: at_once(then), ..settings }
        }
        _ => settings,
    }
}

/// Waiting on disk is cheap: twice as long as anything took.
fn long_wait(measured: &Measured) -> Duration {
    let mut longest = measured.lag.max;
    if measured.undecided_percent() > UNDECIDED_MOST {
        longest = longest.max(measured.span);
    }
    round_up(Duration::from_micros(longest.saturating_mul(2)).max(WAIT_LEAST))
}

/// What ends a wait. Where referents often never come, the event goes on without; otherwise it is for somebody to look at.
pub fn end(measured: &Measured) -> SecondExpiry {
    if measured.never_percent() >= NEVER_USUAL { SecondExpiry::Partial } else { SecondExpiry::DeadLetter }
}

fn at_once(end: SecondExpiry) -> OnExpiry {
    match end {
        SecondExpiry::DeadLetter => OnExpiry::DeadLetter,
        SecondExpiry::Drop => OnExpiry::Drop,
        SecondExpiry::Partial => OnExpiry::Partial,
        SecondExpiry::Keep => OnExpiry::Keep,
    }
}

/// The next longer time that people write: 1, 2 or 5 of milliseconds and their tens, seconds and minutes of a clock, parts of a day.
pub fn round_up(duration: Duration) -> Duration {
    const MS: u64 = 1;
    const S: u64 = 1000 * MS;
    const M: u64 = 60 * S;
    const H: u64 = 60 * M;
    const D: u64 = 24 * H;
    const STEPS: [u64; 35] = [
        MS,
        2 * MS,
        5 * MS,
        10 * MS,
        20 * MS,
        50 * MS,
        100 * MS,
        200 * MS,
        500 * MS,
        S,
        2 * S,
        5 * S,
        10 * S,
        15 * S,
        30 * S,
        M,
        2 * M,
        5 * M,
        10 * M,
        15 * M,
        30 * M,
        H,
        2 * H,
        3 * H,
        6 * H,
        12 * H,
        D,
        2 * D,
        3 * D,
        7 * D,
        14 * D,
        30 * D,
        90 * D,
        180 * D,
        365 * D,
    ];
    let step = STEPS.into_iter().map(Duration::from_millis).find(|step| *step >= duration);
    step.unwrap_or_else(|| {
        let year = Duration::from_millis(365 * D);
        let years = u32::try_from(duration.as_secs().div_ceil(year.as_secs())).unwrap_or(u32::MAX);
        year.saturating_mul(years).min(WAIT_MOST)
    })
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A dependency among all of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Considered {
    /// What was measured of it.
    pub measured: Measured,
    /// The entity that it refers to, as an index.
    pub entity: usize,
    /// Bytes that its waiting events take in memory on average, for a wait in memory as long as that of `advice`.
    pub waiting_bytes: u64,
    /// What is advised for it by itself.
    pub advice: Advice,
}

/// What the referents of an entity cost a job that keeps them in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes in memory.
    pub memory: u64,
    /// How long a restart takes to read again what they can be in.
    pub restart: Duration,
}

/// Sees to it that what is kept in memory fits there, and can be rebuilt in time; where results are maintained there is no other place. `costs` are by entity.
pub fn together(dependencies: &mut [Considered], costs: &[Cost], target: &Target) {
    if target.maintained {
        return;
    }
    for entity in 0..costs.len() {
        if costs.get(entity).is_some_and(|cost| cost.restart > target.restart) {
            defer(dependencies, entity, Reason::Restart);
        }
    }
    while memory(dependencies, costs) > target.streaming_memory {
        let kept =
            (0..costs.len()).filter(|entity| is_in_memory(dependencies, *entity) && may_move(dependencies, *entity));
        let Some(largest) = kept.max_by_key(|entity| bytes_of(dependencies, costs, *entity)) else { break };
        defer(dependencies, largest, Reason::Memory);
    }
}

/// Bytes of referents and waiting events that the advice keeps in memory.
pub fn memory(dependencies: &[Considered], costs: &[Cost]) -> u64 {
    (0..costs.len())
        .filter(|entity| is_in_memory(dependencies, *entity))
        .map(|entity| bytes_of(dependencies, costs, entity))
        .fold(0, u64::saturating_add)
}

fn of(dependencies: &[Considered], entity: usize) -> impl Iterator<Item = &Considered> {
    dependencies.iter().filter(move |dependency| dependency.entity == entity)
}

/// Whether some dependency on the entity is in memory.
pub fn is_in_memory(dependencies: &[Considered], entity: usize) -> bool {
    of(dependencies, entity).any(|dependency| dependency.advice.settings.mode == Mode::Streaming)
}

/// Whether there is enough evidence to move at least one dependency on the entity out of memory, and no other stays for lack of it.
fn may_move(dependencies: &[Considered], entity: usize) -> bool {
    of(dependencies, entity)
        .filter(|dependency| dependency.advice.settings.mode == Mode::Streaming)
        .all(|dependency| !dependency.advice.reason.keeps())
}

fn bytes_of(dependencies: &[Considered], costs: &[Cost], entity: usize) -> u64 {
    let waiting =
        of(dependencies, entity).filter(|d| d.advice.settings.mode == Mode::Streaming).map(|d| d.waiting_bytes);
    waiting.fold(costs.get(entity).map_or(0, |cost| cost.memory), u64::saturating_add)
}

fn defer(dependencies: &mut [Considered], entity: usize, reason: Reason) {
    for dependency in dependencies.iter_mut().filter(|d| d.entity == entity) {
        if dependency.advice.settings.mode == Mode::Streaming && !dependency.advice.reason.keeps() {
            let settings = match dependency.measured.own {
                Some(_) => on_disk(&dependency.measured),
                None => on_disk_as_it_waits(dependency.advice.settings),
            };
            dependency.advice = Advice { settings, reason };
        }
    }
}
