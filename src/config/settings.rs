//! `[job]`, `[streaming]`, `[state]` and `[metrics]`: how a job runs, and what the command line says instead.

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Access;

use super::section::{Section, quoted};
use super::{Delivery, Overrides, Preset, StateSettings};
use crate::dependency::Mode;
use crate::event::SHARDS;

const EPOCHS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(600);
const EPOCH_SIZES: RangeInclusive<u64> = 1 << 10..=16 << 30;
const RECORDS: RangeInclusive<u64> = 16..=1 << 30;
const STREAMING_MEMORY: RangeInclusive<u64> = 64 << 10..=16 << 40;
const STATE_MEMORY: RangeInclusive<u64> = 16 << 20..=16 << 40;
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

/// The settings of a job that are about neither its streams nor its sources and sinks.
pub(super) struct General {
    pub(super) name: String,
    pub(super) workers: usize,
    pub(super) epoch: Duration,
    pub(super) epoch_size: u64,
    pub(super) max_record: usize,
    pub(super) delivery: Delivery,
    pub(super) preset: Preset,
    pub(super) emit: Emit,
    /// Where the length of an epoch is written.
    pub(super) epoch_span: Option<Range<usize>>,
    pub(super) streaming_memory: u64,
    pub(super) state: StateSettings,
    pub(super) metrics_listen: Option<SocketAddr>,
}

pub(super) fn read(root: &Section<'_>, launcher: Mode, overrides: &Overrides) -> General {
    let job = root.section("job");
    let streaming = root.section("streaming");
    let state = root.section("state");
    let metrics = root.section("metrics");
    if !root.has("job") {
        root.missing("job", "begin with a section [job] that gives the job its `name`");
    }
    let job = job.as_ref();
    let presets = Preset::ALL.map(|preset| (preset.as_str(), preset));
    let preset = job.and_then(|job| job.choice("preset", &presets)).unwrap_or_default();
    let size = |section: Option<&Section<'_>>, key, range| section.and_then(|s| s.size(key, range));
    let general = General {
        name: job.and_then(read_name).unwrap_or_default(),
        workers: read_workers(root, job, overrides.workers),
        epoch: job.and_then(|j| j.duration("epoch", EPOCHS)).unwrap_or(preset.epoch()),
        epoch_size: size(job, "epoch_size", EPOCH_SIZES).unwrap_or(64 << 20),
        max_record: size(job, "max_record", RECORDS).and_then(|n| usize::try_from(n).ok()).unwrap_or(1 << 20),
        preset,
        emit: job.and_then(|job| read_emit(job, launcher)).unwrap_or_default(),
        epoch_span: job.filter(|job| job.has("epoch")).map(|job| job.span_of("epoch")),
        delivery: job.and_then(read_delivery).unwrap_or(Delivery::ExactlyOnce),
        streaming_memory: size(streaming.as_ref(), "memory", STREAMING_MEMORY).unwrap_or(1 << 30),
        state: read_state(root, state.as_ref(), overrides.state_dir.as_deref()),
        metrics_listen: read_listen(root, metrics.as_ref(), overrides.metrics.as_deref()),
    };
    job.into_iter().chain(&streaming).chain(&state).chain(&metrics).for_each(Section::finish);
    general
}

fn read_name(job: &Section<'_>) -> Option<String> {
    if !job.has("name") {
        job.missing("name", "give the job a name: name = \"…\"");
    }
    let name = job.text("name", "a name in quotes")?.value;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 200 || !name.chars().all(fits) {
        let right = "1 to 200 letters (a to z), digits, `.`, `_` and `-`: it becomes part of names outside this job";
        job.problem("name", format!("{} is no name of a job", quoted(&name)), right);
    }
    Some(name)
}

/// The number of workers: at most one for each shard.
fn read_workers(root: &Section<'_>, job: Option<&Section<'_>>, argument: Option<usize>) -> usize {
    let written = job.and_then(|job| job.integer("workers", 1..=SHARDS as u64));
    if let Some(workers) = argument {
        if !(1..=SHARDS).contains(&workers) {
            root.reader.problem("--workers", None, format!("{workers} is out of range"), format!("from 1 to {SHARDS}"));
        }
        return workers;
    }
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get().min(SHARDS));
    written.and_then(|workers| usize::try_from(workers).ok()).unwrap_or_else(cores)
}

fn read_delivery(job: &Section<'_>) -> Option<Delivery> {
    job.choice("delivery", &[Delivery::ExactlyOnce, Delivery::AtLeastOnce].map(|d| (d.as_str(), d)))
}

/// What `emit` can say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Emit {
    /// An outcome is told once.
    #[default]
    Once,
    /// Results are maintained, and each change is told.
    Changes,
    /// What is written is neither: of that its user is told, and of nothing that hangs on it.
    Unclear,
}

fn read_emit(job: &Section<'_>, launcher: Mode) -> Option<Emit> {
    if !job.has("emit") {
        return None;
    }
    let emit = job.choice("emit", &[("once", Emit::Once), ("changes", Emit::Changes)]).unwrap_or(Emit::Unclear);
    let program = match launcher {
        Mode::Streaming => return Some(emit),
        Mode::Independent => "independent",
        Mode::Deferred => "dedd",
    };
    if emit == Emit::Changes {
        let found =
            format!("\"changes\" is for `sedd`, which keeps in memory what results follow from; this is `{program}`");
        job.problem("emit", found, "run the job with `sedd`, or write emit = \"once\"");
    }
    Some(emit)
}

fn read_state(root: &Section<'_>, state: Option<&Section<'_>>, argument: Option<&Path>) -> StateSettings {
    let written = state.and_then(|state| state.text("path", "a path in quotes"));
    let path = match (argument, &written) {
        (Some(argument), _) => argument.to_path_buf(),
        (None, Some(text)) => PathBuf::from(&text.value),
        (None, None) => PathBuf::from("state"),
    };
    if let Err((found, right)) = check_directory(&path) {
        let (key, span) = match argument {
            Some(_) => ("--state", None),
            None => ("state.path", Some(state.map_or(root.span.clone(), |state| state.span_of("path")))),
        };
        root.reader.problem(key, span, found, right);
    }
    StateSettings {
        path,
        memory: state.and_then(|state| state.size("memory", STATE_MEMORY)).unwrap_or(256 << 20),
        direct_io: state.and_then(|state| state.flag("direct_io")).unwrap_or(false),
    }
}

/// Whether a directory is there and writable, or could be made; makes nothing. The error is what was found, and what
/// would be right.
fn check_directory(path: &Path) -> Result<(), (String, String)> {
    let shown = quoted(&path.display().to_string());
    if path.as_os_str().is_empty() {
        return Err((format!("{shown} is no path"), "name a directory".to_owned()));
    }
    let here = Path::new(".");
    let mut places = path.ancestors().map(|parent| if parent.as_os_str().is_empty() { here } else { parent });
    // A link that leads nowhere is there for whoever would make a directory in its place.
    let Some(place) = places.find(|place| place.exists() || place.is_symlink()) else {
        return Err((format!("{shown} is nowhere"), "name a directory that can be made".to_owned()));
    };
    if !place.is_dir() {
        let found = if place == path { "is no directory" } else { "cannot be made: a part of it is no directory" };
        return Err((format!("{shown} {found}"), "name another path".to_owned()));
    }
    rustix::fs::access(place, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let found = if place == path { "cannot be written" } else { "cannot be made" };
        (format!("{shown} {found}: {error}"), "make it writable for this user, or name another path".to_owned())
    })
}

/// What `listen` says: an address, or `off`.
fn read_listen(root: &Section<'_>, metrics: Option<&Section<'_>>, argument: Option<&str>) -> Option<SocketAddr> {
    let right = "write an IP address and a port, such as 127.0.0.1:9464, or off";
    let written = metrics
        .and_then(|metrics| metrics.text("listen", "an address in quotes, such as \"127.0.0.1:9464\", or \"off\""));
    let written = written.map(|text| {
        parse_listen(&text.value).unwrap_or_else(|| {
            let found = format!("{} is no address to listen on", quoted(&text.value));
            root.reader.problem("metrics.listen", Some(text.span), found, right);
            None
        })
    });
    match argument {
        Some(text) => parse_listen(text).unwrap_or_else(|| {
            root.reader.problem("--metrics", None, format!("{} is no address to listen on", quoted(text)), right);
            None
        }),
        None => written.unwrap_or(Some(METRICS)),
    }
}

fn parse_listen(text: &str) -> Option<Option<SocketAddr>> {
    if text == "off" { Some(None) } else { text.parse().ok().map(Some) }
}
