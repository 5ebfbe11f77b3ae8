//! What limits the evidence, or follows from the advice.

use std::time::Duration;

use indicatif::HumanCount;

use super::build::Subject;
use super::decide::{self, Considered, Reason, Settings, UNDECIDED_MOST, micros};
use super::report::MemoryReport;
use super::{ArrivalClock, End, Options, Sample};
use crate::config::{Job, show_duration, show_size};
use crate::dependency::{Mode, Need, OnExpiry};
use crate::source;

const DAY: Duration = Duration::from_secs(86_400);

/// Records of which half are further behind their clock than this part of all the time that it tells come at once by it.
const AT_ONCE: u64 = 4;

pub(super) fn notes(
    job: &Job,
    options: &Options,
    sample: &Sample,
    subjects: &[Subject<'_>],
    considered: &[Considered],
    memory: &MemoryReport,
) -> Vec<String> {
    let mut notes = Vec::new();
    of_the_sample(sample, considered, &mut notes);
    of_the_clock(job, options, sample, &mut notes);
    of_needs(sample, subjects, &mut notes);
    of_memory(job, sample, subjects, considered, memory, &mut notes);
    of_modes(job, options, subjects, considered, &mut notes);
    notes
}

fn of_the_sample(sample: &Sample, considered: &[Considered], notes: &mut Vec<String>) {
    if sample.rejected > 0 {
        notes.push(format!("{} records are no events: a job rejects them, and says why", HumanCount(sample.rejected)));
    }
    if sample.end == End::Memory {
        notes.push(
            "the sample ends early: more references wait for single keys than fit in the memory of advise (--memory)"
                .to_owned(),
        );
    }
    let mut undecided = considered.iter().filter(|d| d.measured.undecided_percent() > UNDECIDED_MOST).peekable();
    if undecided.peek().is_some() {
        let longer = match sample.end {
            End::Sample => "raise --sample",
            End::Present | End::Memory => "ask again when there is more input",
        };
        let waits = match undecided.any(|d| waits_in_the_state(d.advice.settings)) {
            true => ". Waits in the state for what could not be told are advised to be twice as long as the sample",
            false => "",
        };
        notes.push(format!(
            "the sample is short beside the lags, as far as they are known: what still waited at its end may come later; {longer}{waits}"
        ));
    }
    if sample.found.one_in > 1 {
        notes.push(format!(
            "one key in {} was looked at, for all do not fit in the memory of advise (--memory): counts are scaled up, shares are off by at most what is said, \
             19 times of 20",
            sample.found.one_in
        ));
        if sample.has_time() {
            notes.push(
                "whole events could not be followed, for not all keys were: percentages are of references, and where events have several, fewer events are \
                 complete. Raise --memory, or read less with --sample"
                    .to_owned(),
            );
        }
    }
}

fn waits_in_the_state(settings: Settings) -> bool {
    settings.mode == Mode::Deferred || matches!(settings.on_expiry, OnExpiry::Defer { .. })
}

fn of_the_clock(job: &Job, options: &Options, sample: &Sample, notes: &mut Vec<String>) {
    let clock = sample.arrivals.clock();
    match clock {
        ArrivalClock::EventTime | ArrivalClock::RecordTime if sample.has_time() => {
            let behind = sample.arrivals.behind().quantiles().p50;
            let are_far_behind = behind > micros(options.latency).max(sample.arrivals.span() / AT_ONCE);
            for (id, partition) in sample.partitions() {
                let name = sample.partitions.name(id);
                let name = job.shown(&name);
                if partition.timed == 0 && partition.records > 0 {
                    notes.push(format!(
                        "{name}: its records have no time; they are taken to arrive at the latest time that had been read from the others"
                    ));
                } else if are_far_behind && partition.older > partition.timed / 2 {
                    notes.push(format!(
                        "{name}: most of its records are older than one before them, as in a snapshot that was not written in the order of time: \
                         by this clock they arrive all at once"
                    ));
                }
            }
        }
        ArrivalClock::EventTime | ArrivalClock::RecordTime => {
            notes.push("no record had a time: nothing can be said of lags; give a rate with --rate".to_owned());
        }
        ArrivalClock::Rate(_) | ArrivalClock::Records => {
            if matches!(&job.source, source::Settings::File(files) if files.interleave && files.inputs.len() > 1) {
                notes.push(
                    "files are read by turns, a block of each: the order between records of two files is that of reading, not that of their arrival".to_owned(),
                );
            }
            if !clock.has_time() {
                notes.push("there is no time: no `wait` is advised, they stay as they are; say with --rate how many records come a second".to_owned());
            }
            if !clock.has_time() && job.rules.streams().iter().any(|stream| stream.retain.is_some()) {
                notes.push("there is no time: `retain` was not applied".to_owned());
            }
        }
    }
}

fn of_needs(sample: &Sample, subjects: &[Subject<'_>], notes: &mut Vec<String>) {
    let needs_resolved = subjects.iter().any(|subject| subject.dependency.need == Need::Resolved);
    if needs_resolved && sample.found.one_in > 1 {
        notes.push(
            "need = \"resolved\": where not all keys are looked at, a referent counts as resolved when what is looked at of its own references is there: \
             the true lags are longer"
                .to_owned(),
        );
    }
}

fn of_memory(
    job: &Job,
    sample: &Sample,
    subjects: &[Subject<'_>],
    considered: &[Considered],
    memory: &MemoryReport,
    notes: &mut Vec<String>,
) {
    if memory.streaming_bytes > memory.streaming_limit {
        let over = match job.rules.is_maintained() {
            true => {
                "what is over is held back in the source while something is about to leave, and otherwise the job stops: raise it"
            }
            false => "what is over moves to the state while the job runs",
        };
        notes.push(format!(
            "what stays in memory, {}, is more than [streaming] memory, {}: {over}",
            show_bytes(memory.streaming_bytes),
            show_size(memory.streaming_limit)
        ));
    }
    let mut told = Vec::new();
    for (subject, dependency) in subjects.iter().zip(considered) {
        let entity = job.rules.entity(subject.dependency.entity);
        let in_memory = dependency.advice.settings.mode == Mode::Streaming;
        if !in_memory || entity.retained || told.contains(&dependency.entity) {
            continue;
        }
        told.push(dependency.entity);
        let referents = sample.found.referents.get(dependency.entity).map_or(0, |referents| referents.memory);
        let span = Duration::from_micros(sample.arrivals.span());
        // Of what came all at once it is not known how much comes a day.
        if referents == 0 || !sample.has_time() || span.is_zero() {
            continue;
        }
        let a_day = (referents as f64 / span.as_secs_f64() * DAY.as_secs_f64()) as u64;
        let ages = oldest(subjects, dependency.entity).map_or(String::new(), |age| {
            let age = show_duration(decide::round_up(Duration::from_micros(age)));
            format!("; 999 of 1,000 that were there when they were referred to were no older than {age}")
        });
        notes.push(format!(
            "{}: no `retain`, so its referents are kept for ever, and a restart reads all input again. In the sample they came to {} in {}, {} a day{ages}",
            job.shown(&entity.name),
            show_bytes(referents),
            show_span(span),
            show_bytes(a_day),
        ));
    }
}

/// The age that 999 of 1,000 referents of an entity did not exceed when they were referred to: the greatest of all dependencies on it. `None` where none was
/// there.
fn oldest(subjects: &[Subject<'_>], entity: usize) -> Option<u64> {
    let of_entity = subjects.iter().filter(|subject| usize::from(subject.dependency.entity.0) == entity);
    of_entity.filter(|subject| subject.counts.before > 0).map(|subject| subject.counts.ages.quantiles().p999).max()
}

fn of_modes(
    job: &Job,
    options: &Options,
    subjects: &[Subject<'_>],
    considered: &[Considered],
    notes: &mut Vec<String>,
) {
    if job.rules.is_maintained() {
        notes.push(
            "results are maintained (emit = \"changes\"), and kept in memory: there are only `wait` and what it ends in to advise, no `deferred` and no `defer`; what results that stand take in memory is not counted here"
                .to_owned(),
        );
    }
    let defers = considered.iter().any(|d| d.advice.settings.mode == Mode::Deferred);
    if defers && options.latency < job.epoch {
        notes.push(format!(
            "deferred events are accepted with the commit of their epoch: [job] epoch is {}, the target {}",
            show_duration(job.epoch),
            show_duration(options.latency)
        ));
    }
    for (subject, dependency) in subjects.iter().zip(considered) {
        if dependency.advice.reason == Reason::NothingCame {
            notes.push(format!(
                "{}.{}: nothing that it refers to came; with `independent` its outcomes have no referents, whatever comes; records without the field are still rejected",
                job.shown(&subject.stream.name),
                job.shown(&subject.dependency.name)
            ));
        }
        notes.extend(of_a_short_wait(job, options, subject, dependency));
    }
    notes.push(
        "modes are fixed for the life of a state: where one changes, start the job over with --fresh; waits may change between runs".to_owned(),
    );
}

/// What never comes keeps its event waiting for longer than the target: why the wait is not shorter, and what a shorter one would cost.
fn of_a_short_wait(job: &Job, options: &Options, subject: &Subject<'_>, dependency: &Considered) -> Option<String> {
    let settings = dependency.advice.settings;
    let wait = settings.wait.filter(|wait| *wait > options.latency && settings.on_expiry == OnExpiry::Partial)?;
    if dependency.advice.reason != Reason::Within {
        return None;
    }
    let least = micros(options.latency).max(dependency.measured.lag.p999.saturating_mul(2));
    Some(format!(
        "{}.{}: where the referent never comes, the event goes on without it after {}, not within {}. A `wait` of {} would do for this sample, but a \
         producer or broker that stands still for longer would have events resolved for good without referents that do come",
        job.shown(&subject.stream.name),
        job.shown(&subject.dependency.name),
        show_duration(wait),
        show_duration(options.latency),
        show_duration(decide::round_up(Duration::from_micros(least)))
    ))
}

/// Bytes as people read them.
pub(super) fn show_bytes(bytes: u64) -> String {
    const UNITS: [(&str, f64); 4] =
        [("TiB", (1_u64 << 40) as f64), ("GiB", (1 << 30) as f64), ("MiB", (1 << 20) as f64), ("KiB", 1024.0)];
    let unit = UNITS.into_iter().find(|(_, scale)| bytes as f64 >= *scale);
    unit.map_or_else(|| format!("{bytes} B"), |(name, scale)| format!("{:.1} {name}", bytes as f64 / scale))
}

/// A span in its largest unit, to one decimal.
pub(super) fn show_span(span: Duration) -> String {
    const UNITS: [(&str, f64); 4] = [("d", 86_400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
    let seconds = span.as_secs_f64();
    let unit = UNITS.into_iter().find(|(_, scale)| seconds >= *scale);
    unit.map_or_else(|| format!("{:.1}ms", seconds * 1000.0), |(name, scale)| format!("{:.1}{name}", seconds / scale))
}
