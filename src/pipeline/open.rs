//! Opens all that a job needs, in an order in which nothing is touched before everything that can be refused has been.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Instant;

use resolvent_state::{Identity, OpenError, Options, State};
use rustc_hash::FxHashSet;
use tracing::info;

use crate::checkpoint::{Checkpoint, Ending, Group, Instance, Recovery, Timeline, Topics};
use crate::clock::Clock;
use crate::config::{Delivery, Job};
use crate::event::{Dependent, EventId, KeyHash, Partitions, Positions, Timestamp};
use crate::kafka::Membership;
use crate::metrics::{Metrics, Totals};
use crate::mode::maintained::{self, StoredRow};
use crate::mode::{self, Referent, Visit};
use crate::sink::{self, Format, Place, SinkError, Target};
use crate::source::{self, Fingerprints, GroupOffsets, Host, Limits, Settings, Source};

use super::{RunError, RunOptions, StopFlag, UntilEnd, engine_settings};
use super::{listed, replay};

/// Bytes that a block of records aims at: some milliseconds of work for a worker.
const BLOCK_BYTES: usize = 256 << 10;

/// What a job keeps when it begins again.
pub(super) struct Start {
    pub(super) options: RunOptions,
    pub(super) metrics: Metrics,
    pub(super) stop: StopFlag,
    /// The state, once it is open.
    pub(super) state: Option<State>,
    /// The totals when the job was started.
    pub(super) before: Option<Totals>,
    instance: Instance,
    /// Whether what the job had has been deleted, where it starts over.
    is_fresh: bool,
}

impl Start {
    pub(super) fn new(options: RunOptions, metrics: Metrics, stop: StopFlag) -> Start {
        let instance = new_instance();
        Start { options, metrics, stop, state: None, before: None, instance, is_fresh: false }
    }

    /// What the source needs of the job.
    fn host(&self) -> Host {
        let (stop, health) = (self.stop.clone(), self.metrics.health().clone());
        let (give_up, say) = (move || stop.is_raised(), move |text: &str| health.not_ready(text.to_owned()));
        Host { metrics: self.metrics.clone(), give_up: Arc::new(give_up), say: Arc::new(say) }
    }

    fn topics(&self, job: &Job, member: Option<&Membership>) -> Result<Option<Topics>, SinkError> {
        let stop = self.stop.clone();
        let give_up = Arc::new(move || stop.is_raised());
        connect(job, self.instance.clone(), member, self.options.fresh, &self.metrics, give_up)
    }
}

/// An instance of a name that comes from the system's random numbers.
pub(super) fn new_instance() -> Instance {
    let random = || RandomState::new().hash_one(std::process::id());
    Instance::new(&format!("{:016x}{:016x}", random(), random()))
}

/// The topics of a job that writes to some, once their broker is there. As the member of a group it is one process of any number.
pub(super) fn connect(
    job: &Job,
    instance: Instance,
    member: Option<&Membership>,
    fresh: bool,
    metrics: &Metrics,
    give_up: sink::GiveUp,
) -> Result<Option<Topics>, SinkError> {
    let (Some(settings), Some(first)) = (&job.producer, job.sinks.topics().next()) else { return Ok(None) };
    let (ending, identity) = match (job.delivery, member) {
        (Delivery::AtLeastOnce, _) => (Ending::Acknowledged, None),
        (Delivery::ExactlyOnce, None) => {
            (Ending::Marked, Some(sink::Identity::Sole(format!("resolvent-{}", job.name))))
        }
        (Delivery::ExactlyOnce, Some(membership)) => {
            let id = format!("resolvent-{}-{}", job.name, instance.id());
            (Ending::Grouped, Some(sink::Identity::Member { id, membership: membership.clone() }))
        }
    };
    let group = format!("resolvent-{}", job.name);
    let topics: Vec<&str> = job.sinks.topics().collect();
    let broker = sink::connect(settings, &topics, identity, metrics, give_up)?;
    Ok(Some(Topics {
        broker,
        ending,
        job: job.name.clone(),
        group,
        instance,
        place: Place { topic: first.to_owned(), partition: 0 },
        sources: job.source.topics(),
        lost_epoch: settings.lost_epoch,
        fresh,
        refreshed: Instant::now(),
    }))
}

/// A job with all that it needs.
pub(super) struct Opened {
    pub(super) state: State,
    pub(super) checkpoint: Checkpoint,
    pub(super) source: Box<dyn Source>,
    pub(super) fingerprints: Fingerprints,
    pub(super) group_offsets: Option<GroupOffsets>,
    /// The committed input, to be read again.
    pub(super) replay: Option<Box<dyn Source>>,
    /// When that was read first, where some of it is only retained for a time.
    pub(super) timeline: Option<Timeline>,
    pub(super) partitions: Partitions,
    pub(super) waiting: Vec<Box<Dependent>>,
    pub(super) drains: Vec<Referent>,
    pub(super) reminders: Vec<Visit>,
    pub(super) unresolved: FxHashSet<EventId>,
    /// What maintained results follow from.
    pub(super) rows: Vec<StoredRow>,
    pub(super) waited_for: Vec<KeyHash>,
    pub(super) next_due: Option<Timestamp>,
    pub(super) engine: mode::Settings,
    pub(super) formats: [Format; 3],
    pub(super) until_end: Option<UntilEnd>,
}

/// What is found before anything is touched: the last commit, and the input behind it.
struct Found {
    recovery: Recovery,
    topics: Option<Topics>,
    partitions: Partitions,
    source: Box<dyn Source>,
    fingerprints: Fingerprints,
    replay: Option<Box<dyn Source>>,
    /// What waits besides what is in the state.
    listed: Vec<Box<Dependent>>,
}

impl Found {
    /// Refuses input and output that do not go with the state, `None` being a new one.
    fn look(
        job: &Job,
        settings: &Settings,
        state: Option<&State>,
        start: &Start,
        clock: &Clock,
    ) -> Result<Found, RunError> {
        let mut topics = start.topics(job, None)?;
        let recovery = Recovery::find(state, topics.as_mut())?;
        let committed = recovery.committed();
        committed.check_sinks(&job.sinks)?;
        let partitions = committed.partitions.clone();
        let limits = Limits { block_bytes: BLOCK_BYTES, record_bytes_max: job.max_record };
        let host = start.host();
        let mut source = source::open(settings, limits, &partitions, &committed.positions, None, clock, &host)?;
        let fingerprints = source.fingerprints(&committed.fingerprints)?;
        let listed = listed::read(job, committed)?;
        let timeline = state.zip(replay::arrivals_kept(&job.rules)).map(|(state, keep)| Timeline::read(state, keep));
        let timeline = timeline.transpose()?;
        let range = replay::range(&job.rules, settings, committed, timeline.as_ref(), clock.now());
        let replay = match &range {
            Some((from, to)) => {
                for (partition, begin) in &from.0 {
                    let (partition, end) = (partitions.name(*partition), to.0.get(partition));
                    info!(%partition, begin, end, "reading again to rebuild referents");
                }
                Some(source::open(settings, limits, &partitions, from, Some(to), clock, &host)?)
            }
            None => None,
        };
        Ok(Found { recovery, topics, partitions, source, fingerprints, replay, listed })
    }
}

pub(super) fn open(job: &Job, start: &mut Start, clock: &Clock) -> Result<Opened, RunError> {
    let options = start.options;
    let settings = until_end_of(&job.source, options);
    if settings.joins_group() {
        return open_member(job, &settings, start, clock);
    }
    if options.fresh && !start.is_fresh && !options.compact {
        source::check_readable(&settings)?;
        start_over(job)?;
        start.is_fresh = true;
    }
    let shown = (options.compact && start.state.is_none()).then(State::in_memory);
    let (state, found) = match start.state.as_ref().or(shown.as_ref()) {
        Some(state) => (state.clone(), Found::look(job, &settings, Some(state), start, clock)?),
        None => open_state(job, |state| Found::look(job, &settings, state, start, clock))?,
    };
    let Found { recovery, topics, partitions, source, fingerprints, replay, listed } = found;
    let mut committed = recovery.settle(&state)?;
    listed::log(job, &state, &mut committed, &listed)?;
    let restored = mode::restore(&state, &job.rules, committed.epoch)?;
    let rows = if job.rules.is_maintained() { maintained::restore(&state, &job.rules)? } else { Vec::new() };
    if replay::is_needed(&job.rules) {
        mode::forget_overflow(&state, &job.rules)?;
    }
    let until_end = options.until_end.or_else(|| source_ends(&settings).then_some(UntilEnd::Keep));
    let timeline = replay::arrivals_kept(&job.rules).map(|keep| Timeline::read(&state, keep)).transpose()?;
    let commits_offsets = topics
        .as_ref()
        .is_some_and(|topics| topics.ending == Ending::Marked && settings.group() == Some(topics.group.as_str()));
    let formats = job.sinks.formats(topics.as_ref().map(|topics| &*topics.broker));
    let mut checkpoint = Checkpoint::open(state.clone(), committed, restored.log, &job.sinks, topics)?;
    if let Some(timeline) = &timeline {
        checkpoint.keep_timeline(timeline.clone());
    }
    let engine = engine_settings(job, &partitions, restored.has_referents);
    let group_offsets = source.group_offsets().filter(|_| !commits_offsets && !options.compact);
    Ok(Opened {
        state,
        checkpoint,
        source,
        fingerprints,
        group_offsets,
        replay,
        timeline,
        partitions,
        waiting: restored.waiting,
        drains: restored.drains,
        reminders: restored.reminders,
        unresolved: restored.unresolved,
        rows,
        waited_for: restored.waited_for,
        next_due: restored.next_due,
        engine,
        formats,
        until_end,
    })
}

/// Opens a job that is a member of a group, which has its positions. Its state is in memory, where totals outlive that it begins again.
fn open_member(job: &Job, settings: &Settings, start: &Start, clock: &Clock) -> Result<Opened, RunError> {
    if start.options.fresh {
        return Err(RunError::FreshGroup { group: settings.group().unwrap_or_default().to_owned() });
    }
    let state = start.state.clone().unwrap_or_else(State::in_memory);
    let partitions = Recovery::find(Some(&state), None)?.committed().partitions.clone();
    let limits = Limits { block_bytes: BLOCK_BYTES, record_bytes_max: job.max_record };
    let (nothing, host) = (Positions::default(), start.host());
    let mut source = source::open(settings, limits, &partitions, &nothing, None, clock, &host)?;
    let membership = source.membership();
    let mut topics = start.topics(job, membership.as_ref())?;
    let committed = Recovery::find(Some(&state), topics.as_mut())?.settle(&state)?;
    let fingerprints = source.fingerprints(&committed.fingerprints)?;
    let restored = mode::restore(&state, &job.rules, committed.epoch)?;
    let formats = job.sinks.formats(topics.as_ref().map(|topics| &*topics.broker));
    let engine = engine_settings(job, &partitions, restored.has_referents);
    let mut checkpoint = Checkpoint::open(state.clone(), committed, restored.log, &job.sinks, topics)?;
    if let Some(membership) = membership {
        checkpoint.commit_to(Group { membership, topics: settings.topics() });
    }
    Ok(Opened {
        state,
        checkpoint,
        source,
        fingerprints,
        group_offsets: None,
        replay: None,
        timeline: None,
        partitions,
        waiting: restored.waiting,
        drains: restored.drains,
        reminders: restored.reminders,
        unresolved: restored.unresolved,
        rows: Vec::new(),
        waited_for: restored.waited_for,
        next_due: restored.next_due,
        engine,
        formats,
        until_end: start.options.until_end,
    })
}

/// Opens the state of a job to write, after a look at it while nothing is modified.
pub(super) fn open_state<T, E: From<OpenError>>(
    job: &Job,
    look: impl FnOnce(Option<&State>) -> Result<T, E>,
) -> Result<(State, T), E> {
    let (memory, memtables) = store_memory(job);
    let options = Options { path: job.state.path.clone(), memory, memtables, direct_io: job.state.direct_io };
    State::open_checked(&options, &identity(job), look)
}

/// RocksDB's share of the state's memory, and that of its memtables in it: all of it, or a quarter where the rest is a cache of deferred referents and waiting
/// events, which finds more in the same memory than a cache of blocks does.
pub(super) fn store_memory(job: &Job) -> (u64, u64) {
    let memory = job.state.memory;
    let is_deferred = job.rules.entities().iter().any(|entity| entity.deferred);
    if is_deferred { (memory / 4, memory / 8) } else { (memory, memory / 4) }
}

/// What tells this job's state from another's.
pub fn identity(job: &Job) -> Identity {
    let text = job.rules.fingerprint_text();
    Identity { job: job.name.clone(), fingerprint: text.clone().into_bytes(), fingerprint_text: text }
}

fn start_over(job: &Job) -> Result<(), RunError> {
    let destroyed = State::destroy(&job.state.path, &job.name)?;
    if destroyed.files > 0 {
        let (path, files, bytes) = (job.state.path.display(), destroyed.files, destroyed.bytes);
        info!(%path, files, bytes, "--fresh: deleted the state");
    }
    let sinks = [Some(&job.sinks.resolved), job.sinks.dead_letter.as_ref(), job.sinks.accepted.as_ref()];
    for target in sinks.into_iter().flatten() {
        let Target::File(path) = target else { continue };
        match std::fs::remove_file(path) {
            Ok(()) => info!(path = %path.display(), "--fresh: deleted the output"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(RunError::Fresh { path: path.display().to_string(), error }),
        }
    }
    Ok(())
}

/// The source as it is to be read: one that is to stop at its end is not followed.
fn until_end_of(settings: &Settings, options: RunOptions) -> Settings {
    let mut settings = settings.clone();
    if options.until_end.is_some() {
        match &mut settings {
            Settings::File(files) => files.follow = files.follow.until_end(),
            Settings::Kafka(kafka) => kafka.until_end = true,
            Settings::Synthetic(_) => {}
        }
    }
    settings
}

fn source_ends(settings: &Settings) -> bool {
    match settings {
        Settings::File(files) => files.follow.ends(),
        Settings::Kafka(kafka) => kafka.until_end,
        Settings::Synthetic(synthetic) => synthetic.events > 0,
    }
}
