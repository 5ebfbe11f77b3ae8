//! Opens all that a job needs, in an order in which nothing is touched before everything that can be refused has been.

use resolvent_state::{Identity, OpenError, Options, State};
use rustc_hash::FxHashSet;
use tracing::info;

use crate::checkpoint::{Checkpoint, Committed, Timeline};
use crate::clock::Clock;
use crate::config::Job;
use crate::event::{Dependent, EventId, KeyHash, Partitions, Timestamp};
use crate::mode::{self, Referent, Visit};
use crate::sink::Target;
use crate::source::{self, Fingerprints, Limits, Settings, Source};

use super::replay;
use super::{RunError, RunOptions, UntilEnd, engine_settings};

/// Bytes that a block of records aims at: some milliseconds of work for a worker.
const BLOCK_BYTES: usize = 256 << 10;

/// A job with all that it needs.
pub(super) struct Opened {
    pub(super) state: State,
    pub(super) checkpoint: Checkpoint,
    pub(super) source: Box<dyn Source>,
    pub(super) fingerprints: Fingerprints,
    /// The committed input, to be read again.
    pub(super) replay: Option<Box<dyn Source>>,
    /// When that was read first, where some of it is only retained for a time.
    pub(super) timeline: Option<Timeline>,
    pub(super) partitions: Partitions,
    pub(super) waiting: Vec<Box<Dependent>>,
    pub(super) drains: Vec<Referent>,
    pub(super) reminders: Vec<Visit>,
    pub(super) unresolved: FxHashSet<EventId>,
    pub(super) waited_for: Vec<KeyHash>,
    pub(super) next_due: Option<Timestamp>,
    pub(super) engine: mode::Settings,
    pub(super) until_end: Option<UntilEnd>,
}

/// What is found before anything is touched: the last commit, and the input behind it.
struct Found {
    committed: Committed,
    partitions: Partitions,
    source: Box<dyn Source>,
    fingerprints: Fingerprints,
    replay: Option<Box<dyn Source>>,
    timeline: Option<Timeline>,
}

impl Found {
    /// Refuses input and output that do not go with the state, `None` being a new one.
    fn look(job: &Job, settings: &Settings, state: Option<&State>, clock: &Clock) -> Result<Found, RunError> {
        let committed = state.map(Committed::read).transpose()?.unwrap_or_default();
        committed.check_sinks(&job.sinks)?;
        let partitions = committed.partitions.clone();
        let limits = Limits { block_bytes: BLOCK_BYTES, record_bytes_max: job.max_record };
        let source = source::open(settings, limits, &partitions, &committed.positions, None, clock)?;
        let fingerprints = source.fingerprints(&committed.fingerprints)?;
        let timeline = state.zip(replay::arrivals_kept(&job.rules)).map(|(state, keep)| Timeline::read(state, keep));
        let timeline = timeline.transpose()?;
        let range = replay::range(&job.rules, settings, &committed, timeline.as_ref(), clock.now());
        let replay = match &range {
            Some((from, to)) => {
                for (partition, begin) in &from.0 {
                    let (partition, end) = (partitions.name(*partition), to.0.get(partition));
                    info!(%partition, begin, end, "reading again to rebuild referents");
                }
                Some(source::open(settings, limits, &partitions, from, Some(to), clock)?)
            }
            None => None,
        };
        Ok(Found { committed, partitions, source, fingerprints, replay, timeline })
    }
}

pub(super) fn open(job: &Job, options: RunOptions, clock: &Clock) -> Result<Opened, RunError> {
    let settings = until_end_of(&job.source, options);
    if options.fresh {
        source::check_readable(&settings)?;
        start_over(job)?;
    }
    let (state, found) = open_state(job, |state| Found::look(job, &settings, state, clock))?;
    let Found { committed, partitions, source, fingerprints, replay, timeline } = found;
    let restored = mode::restore(&state, &job.rules)?;
    if replay::is_needed(&job.rules) {
        mode::forget_overflow(&state, &job.rules)?;
    }
    let until_end = options.until_end.or_else(|| source_ends(&settings).then_some(UntilEnd::Keep));
    let timeline = match (timeline, replay::arrivals_kept(&job.rules)) {
        (None, Some(keep)) => Some(Timeline::read(&state, keep)?),
        (known, _) => known,
    };
    let mut checkpoint = Checkpoint::open(state.clone(), committed, restored.log, &job.sinks)?;
    if let Some(timeline) = &timeline {
        checkpoint.keep_timeline(timeline.clone());
    }
    Ok(Opened {
        state,
        checkpoint,
        source,
        fingerprints,
        replay,
        timeline,
        partitions,
        waiting: restored.waiting,
        drains: restored.drains,
        reminders: restored.reminders,
        unresolved: restored.unresolved,
        waited_for: restored.waited_for,
        next_due: restored.next_due,
        engine: engine_settings(job, restored.has_referents),
        until_end,
    })
}

/// Opens the state of a job to write, after a look at it while nothing is modified.
pub(super) fn open_state<T, E: From<OpenError>>(
    job: &Job,
    look: impl FnOnce(Option<&State>) -> Result<T, E>,
) -> Result<(State, T), E> {
    let options = Options { path: job.state.path.clone(), memory: store_memory(job), direct_io: job.state.direct_io };
    State::open_checked(&options, &identity(job), look)
}

/// RocksDB's share of the state's memory: all of it, or half where the other half is a cache of deferred referents and waiting events.
pub(super) fn store_memory(job: &Job) -> u64 {
    if job.rules.entities().iter().any(|entity| entity.deferred) { job.state.memory / 2 } else { job.state.memory }
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
    if let (Settings::File(files), Some(_)) = (&mut settings, options.until_end) {
        files.follow = false;
    }
    settings
}

fn source_ends(settings: &Settings) -> bool {
    match settings {
        Settings::File(files) => !files.follow,
        Settings::Synthetic(synthetic) => synthetic.events > 0,
    }
}
