//! From a sample to its report.

use std::time::Duration;

use indicatif::HumanCount;

use super::arrival::Partition;
use super::counts::Counts;
use super::decide::{
    self, Advice, Considered, Cost, Measured, NEVER_USUAL, NOTHING_LEAST, REFERENCES_LEAST, Reason, Settings, Target,
    UNDECIDED_MOST, Within, micros,
};
use super::events::ByDependency;
use super::lags::{self, Lags};
use super::references::{Found, Referents};
use super::report::{
    ClockReport, DependencyReport, EntityReport, Keys, MemoryReport, PartitionReport, Report, SampleReport,
    SettingsReport, StreamReport,
};
use super::waiting::Waiting;
use super::{End, Options, Quantiles, Sample, notes, toml};
use crate::config::{Job, show_duration};
use crate::dependency::{Dependency, Mode, OnExpiry, Stream};
use crate::event::{EntityId, PartitionId};

/// One dependency on its way to a report.
pub(super) struct Subject<'a> {
    pub(super) stream: &'a Stream,
    pub(super) dependency: &'a Dependency,
    pub(super) counts: &'a Counts,
    /// Its events, where they could be followed.
    pub(super) events: Option<&'a ByDependency>,
    /// How many keys of its entity tell as much as those that were looked at.
    effective_keys: f64,
}

pub(super) fn build(job: &Job, deferred: Option<&Job>, options: &Options, sample: &Sample) -> Report {
    let subjects = subjects(job, &sample.found);
    let has_time = sample.has_time();
    // What came is divided by it.
    let span = sample.arrivals.span().max(1);
    let target = Target {
        latency: options.latency,
        streaming_memory: job.streaming_memory,
        restart: options.restart,
        maintained: job.rules.is_maintained(),
    };
    let mut considered: Vec<Considered> = subjects
        .iter()
        .map(|subject| {
            let measured = measure(subject, options.latency, has_time, span);
            let advice = decide::alone(&measured, &target, now(subject.dependency));
            let waiting_bytes = Waiting::of(subject, advice.settings, has_time, span).memory;
            Considered { measured, entity: usize::from(subject.dependency.entity.0), waiting_bytes, advice }
        })
        .collect();
    let costs: Vec<Cost> = (0..job.rules.entities().len()).map(|entity| cost(job, sample, entity)).collect();
    decide::together(&mut considered, &costs, &target);
    let advised = subjects.iter().zip(&considered);
    let waiting: Vec<Waiting> =
        advised.clone().map(|(s, c)| Waiting::of(s, c.advice.settings, has_time, span)).collect();
    let dependencies: Vec<DependencyReport> = advised
        .zip(&waiting)
        .map(|((subject, considered), waiting)| {
            dependency(job, deferred, options, sample, subject, considered, *waiting)
        })
        .collect();
    let entities = entities(job, sample, &costs);
    let memory = memory(sample, &considered, &waiting, &costs, target.streaming_memory);
    let notes = notes::notes(job, options, sample, &subjects, &considered, &memory);
    Report {
        job: job.shown(&job.name).to_owned(),
        latency_us: micros(options.latency),
        clock: clock(sample),
        sample: sample_report(job, sample),
        keys: Keys { one_in: sample.found.one_in, looked_at: sample.found.keys },
        toml: if considered.iter().all(|d| d.advice.reason.keeps()) {
            String::new()
        } else {
            lines(job, &dependencies)
        },
        streams: streams(job, sample, options),
        dependencies,
        entities,
        memory,
        notes,
    }
}

impl Sample {
    /// Whether arrivals are times.
    pub(super) fn has_time(&self) -> bool {
        self.arrivals.clock().has_time() && self.arrivals.is_known()
    }

    fn bytes(&self) -> u64 {
        self.arrivals.partitions().iter().map(|partition| partition.bytes).sum()
    }

    /// The partitions with their numbers.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (PartitionId, &Partition)> {
        (0..).map(PartitionId).zip(self.arrivals.partitions())
    }
}

fn subjects<'a>(job: &'a Job, found: &'a Found) -> Vec<Subject<'a>> {
    let streams = job.rules.streams().iter().zip(&found.counts).enumerate();
    streams
        .flat_map(|(at, (stream, counts))| {
            stream.depends_on.iter().zip(counts).enumerate().map(move |(number, both)| (stream, both, (at, number)))
        })
        .map(|(stream, (dependency, counts), (at, number))| {
            let events = found.events.as_ref().and_then(|streams| streams.get(at)?.by.get(number));
            let referents = found.referents.get(usize::from(dependency.entity.0));
            let effective_keys = referents.map_or(0.0, Referents::effective_keys);
            Subject { stream, dependency, counts, events, effective_keys }
        })
        .collect()
}

fn now(dependency: &Dependency) -> Settings {
    Settings { mode: dependency.mode, wait: dependency.wait, on_expiry: dependency.on_expiry }
}

fn measure(subject: &Subject<'_>, latency: Duration, has_time: bool, span: u64) -> Measured {
    let Subject { counts, events, .. } = subject;
    let lag = counts.lags.quantiles();
    let horizon = counts.horizon(has_time.then_some(latency));
    let latency = micros(latency);
    // Who has waited as long as the horizon, and no longer, may still get its referent.
    let undecided = counts.waiting.within(horizon);
    let within = |lags: &Lags, beyond| Within { within: lags.within(latency), complete: lags.count(), beyond };
    // Where events cannot be followed, each reference stands for one.
    let (own, whole) = match events {
        Some(events) => (within(&events.own, events.own_beyond), within(&events.whole, events.whole_beyond)),
        None => {
            let references = within(&counts.lags, undecided - counts.waiting.within(horizon.min(latency)));
            (references, references)
        }
    };
    Measured {
        before: counts.before,
        later: counts.later(),
        never: counts.waiting.count() - undecided,
        undecided,
        own: has_time.then_some(own),
        whole: has_time.then_some(whole),
        lag: if has_time { lag } else { Quantiles::default() },
        span,
    }
}

fn cost(job: &Job, sample: &Sample, entity: usize) -> Cost {
    let bytes = read_again(job, sample, EntityId(u16::try_from(entity).unwrap_or(u16::MAX)));
    let share = bytes as f64 / sample.bytes().max(1) as f64;
    let memory = sample.found.referents.get(entity).map_or(0, |referents| referents.memory);
    Cost { memory, restart: sample.elapsed.mul_f64(share) }
}

/// Bytes of the input that a restart reads again for the referents of an entity in memory: of partitions that can hold one, all, or as much as is retained.
fn read_again(job: &Job, sample: &Sample, entity: EntityId) -> u64 {
    let partitions = sample.partitions().map(|(id, partition)| {
        let only = job.source.stream_of(&sample.partitions.name(id));
        let streams: &[Stream] = match only {
            Some(stream) => std::slice::from_ref(job.rules.stream(stream)),
            None => job.rules.streams(),
        };
        let provides = |s: &&Stream| s.provides == Some(entity) || s.provides_resolved == Some(entity);
        let mut retains = streams.iter().filter(provides).map(|stream| stream.retain).peekable();
        if retains.peek().is_none() {
            return 0;
        }
        let longest = retains.collect::<Option<Vec<Duration>>>().and_then(|all| all.into_iter().max());
        let share = longest
            .filter(|_| sample.has_time())
            .map_or(1.0, |longest| (micros(longest) as f64 / sample.arrivals.span().max(1) as f64).min(1.0));
        (partition.bytes as f64 * share) as u64
    });
    partitions.sum()
}

fn memory(sample: &Sample, considered: &[Considered], waiting: &[Waiting], costs: &[Cost], limit: u64) -> MemoryReport {
    let deferred = |d: &&Considered| d.advice.settings.mode == Mode::Deferred;
    let mut entities: Vec<usize> = considered.iter().filter(deferred).map(|d| d.entity).collect();
    entities.sort_unstable();
    entities.dedup();
    let referents = entities.iter().filter_map(|entity| sample.found.referents.get(*entity)).map(|r| r.stored);
    let waiting = waiting.iter().map(|waiting| waiting.stored);
    MemoryReport {
        streaming_bytes: decide::memory(considered, costs),
        streaming_limit: limit,
        state_bytes: referents.chain(waiting).fold(0, u64::saturating_add),
        waiting_peak: sample.found.waiting_peak,
    }
}

fn dependency(
    job: &Job,
    deferred: Option<&Job>,
    options: &Options,
    sample: &Sample,
    subject: &Subject<'_>,
    considered: &Considered,
    waiting: Waiting,
) -> DependencyReport {
    let Subject { stream, dependency, counts, effective_keys, .. } = subject;
    let (measured, advice) = (&considered.measured, considered.advice);
    let bounds = lags::bounds(sample.has_time());
    // 1.96 standard errors of a share of one half, with whole keys as what was drawn.
    let error_percent = if sample.found.one_in == 1 { 0.0 } else { (98.0 / effective_keys.sqrt()).min(100.0) };
    DependencyReport {
        stream: job.shown(&stream.name).to_owned(),
        dependency: job.shown(&dependency.name).to_owned(),
        entity: job.shown(&job.rules.entity(dependency.entity).name).to_owned(),
        need: dependency.need.as_str(),
        references: measured.references(),
        there_before: measured.before,
        later: measured.later,
        never: measured.never,
        undecided: measured.undecided,
        error_percent,
        own_within_percent: measured.own.and_then(|own| own.percent()),
        within_percent: measured.whole.and_then(|whole| whole.percent()),
        lag: counts.lags.quantiles(),
        lag_records: counts.records.quantiles(),
        age: counts.ages.quantiles(),
        histogram: counts.lags.bars(bounds),
        waiting_memory_bytes: waiting.memory,
        waiting_state_bytes: waiting.stored,
        now: SettingsReport::of(now(dependency)),
        advice: SettingsReport::of(advice.settings),
        reason: advice.reason.as_str(),
        because: because(advice, measured, subject, options),
        toml: toml::element(
            job,
            dependency,
            advice.settings,
            !advice.reason.keeps() || names_mode(deferred, stream, dependency),
        ),
    }
}

/// Whether the file names the mode of a dependency: then no launcher changes it. `job` and the dependency are of different launchers.
fn names_mode(job: Option<&Job>, stream: &Stream, dependency: &Dependency) -> bool {
    let Some(job) = job else { return dependency.mode != Mode::Streaming };
    let same = |other: &&Dependency| other.name == dependency.name;
    let other = job.rules.stream_named(&stream.name).map(|id| job.rules.stream(id));
    other.and_then(|other| other.depends_on.iter().find(same)).is_some_and(|other| other.mode == dependency.mode)
}

fn because(advice: Advice, measured: &Measured, subject: &Subject<'_>, options: &Options) -> String {
    let target = show_duration(options.latency);
    let [own, whole] =
        [measured.own, measured.whole].map(|share| floor_percent(share.and_then(|s| s.percent()).unwrap_or(100.0)));
    // What the percentages are of.
    let whose = |share: Option<Within>| {
        let told = share.map_or(measured.came(), |share| share.told());
        let what = if subject.events.is_some() { "events" } else { "references" };
        format!("the {} {what} whose referents came, or still may after {target},", HumanCount(told))
    };
    let reason = advice.reason;
    let then = match advice.settings {
        Settings { mode: Mode::Deferred, .. } => "accepted at once, resolved when the referent comes",
        Settings { on_expiry: OnExpiry::Defer { .. }, .. } => {
            "those in real time, the others when their referent comes"
        }
        _ => "the others wait in memory, for results that are maintained are kept there",
    };
    let text = match reason {
        Reason::TooFew => format!("fewer than {REFERENCES_LEAST} references: nothing is advised, it stays as it is"),
        Reason::NothingCame => {
            let (never, day) = (HumanCount(measured.never), show_duration(NOTHING_LEAST));
            format!(
                "not one referent came, though {never} references have waited for {day} or longer: to look them up buys nothing. \
                 Is the stream that provides them among the sources?"
            )
        }
        Reason::NothingYet => {
            let day = show_duration(NOTHING_LEAST);
            format!(
                "not one referent came, and the sample is too short to tell whether one will: only where {REFERENCES_LEAST} references have waited \
                 for {day}, and longer than the target, does that tell. Nothing is advised, it stays as it is. \
                 Is the stream that provides them among the sources?"
            )
        }
        Reason::Within if measured.own.is_none() => {
            format!("of {} 100 % had them when they arrived", whose(None))
        }
        Reason::Within => {
            let others = match whole < own {
                true => format!("; with all else that they refer to, {whole} % are complete by then"),
                false => String::new(),
            };
            format!("of {} {own} % have them within {target}{others}", whose(measured.own))
        }
        Reason::MostlyWithin => format!("of {} {whole} % are complete within {target}: {then}", whose(measured.whole)),
        Reason::Beyond => {
            let alone = match whole < own {
                true => format!(" ({own} % of them by this alone)"),
                false => String::new(),
            };
            format!("of {} only {whole} % are complete within {target}{alone}: {then}", whose(measured.whole))
        }
        Reason::NoTime if measured.later == 0 => format!(
            "{} references still waited when the sample ended, and without time it is not known how long: say with --rate how many records come a second",
            HumanCount(measured.never + measured.undecided)
        ),
        Reason::NoTime => {
            let p99 = subject.counts.records.quantiles().p99;
            let rate = (p99 as f64 / options.latency.as_secs_f64()).ceil() as u64;
            let (p99, rate) = (HumanCount(p99), HumanCount(rate));
            format!(
                "of those that came later 99 % came within {p99} records, which is within {target} where {rate} records or more come a second; \
                 say how many do with --rate"
            )
        }
        Reason::Memory => "its referents do not fit into [streaming] memory with the others".to_owned(),
        Reason::Restart => format!(
            "in memory, a restart would read its input again for longer than {} (--restart)",
            show_duration(options.restart)
        ),
    };
    if reason.keeps() {
        return text;
    }
    let never = measured.never_percent();
    if never >= NEVER_USUAL && measured.came() > 0 && measured.own.is_some() {
        return format!(
            "{text}; {never:.1} % never come, which is usual here: such events go on without when their wait is over"
        );
    }
    if measured.undecided_percent() > UNDECIDED_MOST {
        return format!("{text}; {:.1} % were still waiting when the sample ended", measured.undecided_percent());
    }
    text
}

/// A percentage with one decimal, never rounded up to all.
fn floor_percent(percent: f64) -> f64 {
    (percent * 10.0).floor() / 10.0
}

/// How many events of each stream that depends on something are complete, and when.
fn streams(job: &Job, sample: &Sample, options: &Options) -> Vec<StreamReport> {
    let found = job.rules.streams().iter().zip(sample.found.events.iter().flatten());
    found
        .filter(|(stream, _)| !stream.depends_on.is_empty())
        .map(|(stream, of)| {
            let within = of.complete.within(micros(options.latency));
            StreamReport {
                stream: job.shown(&stream.name).to_owned(),
                events: of.events,
                within,
                later: of.complete.count() - within,
                never: of.never,
                undecided: of.undecided,
            }
        })
        .collect()
}

fn entities(job: &Job, sample: &Sample, costs: &[Cost]) -> Vec<EntityReport> {
    let named = |entity: &usize| {
        let mut dependencies = job.rules.streams().iter().flat_map(|stream| &stream.depends_on);
        dependencies.any(|dependency| usize::from(dependency.entity.0) == *entity)
    };
    let all = job.rules.entities().iter().zip(&sample.found.referents).zip(costs).enumerate();
    all.filter(|(at, _)| named(at))
        .map(|(_, ((entity, referents), cost))| EntityReport {
            entity: job.shown(&entity.name).to_owned(),
            resolved: entity.resolved_of.is_some(),
            keys: referents.keys,
            memory_bytes: referents.memory,
            state_bytes: referents.stored,
            retained: entity.retained,
            restart_seconds: cost.restart.as_secs_f64(),
        })
        .collect()
}

fn clock(sample: &Sample) -> ClockReport {
    let clock = sample.arrivals.clock();
    ClockReport {
        kind: clock.as_str(),
        unit: if clock.has_time() { "us" } else { "records" },
        description: clock.describe(),
        behind: sample.arrivals.behind().quantiles(),
    }
}

fn sample_report(job: &Job, sample: &Sample) -> SampleReport {
    let partitions = sample.partitions().map(|(id, partition)| PartitionReport {
        name: job.shown(&sample.partitions.name(id)).to_owned(),
        records: partition.records,
        timed: partition.timed,
        older: partition.older,
    });
    SampleReport {
        records: sample.arrivals.records(),
        events: sample.events,
        rejected: sample.rejected,
        bytes: sample.bytes(),
        span: sample.arrivals.span(),
        end: match sample.end {
            End::Present => "present_end",
            End::Sample => "sample",
            End::Memory => "memory",
        },
        seconds: sample.elapsed.as_secs_f64(),
        partitions: partitions.collect(),
    }
}

/// The lines to paste.
fn lines(job: &Job, dependencies: &[DependencyReport]) -> String {
    let mut all = dependencies.iter().map(|dependency| dependency.toml.clone());
    let streams = job.rules.streams().iter().filter(|stream| !stream.depends_on.is_empty());
    let blocks = streams.map(|stream| {
        let own: Vec<String> = all.by_ref().take(stream.depends_on.len()).collect();
        toml::depends_on(job, stream, &own)
    });
    blocks.collect::<Vec<_>>().join("\n")
}
