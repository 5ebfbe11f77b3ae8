//! A job's configuration: TOML read raw, then checked into a [`Job`], a type that cannot be wrong.
//!
//! [`load`] reports everything that is wrong with a file at once, each with its place; a job never starts from a wrong
//! one.

mod describe;
mod environment;
mod kafka;
mod places;
mod preset;
mod problem;
mod section;
mod settings;
mod sinks;
mod sources;
mod streams;
mod units;
mod upkeep;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use crate::dependency::{Dependency, Mode, Place, Rules};
use crate::{sink, source};

pub use describe::describe;
pub use preset::Preset;
pub use problem::{ConfigError, Problem};
pub use units::{parse_duration, parse_size, show_duration, show_size};

use environment::Environment;
use section::{Reader, Section};

/// What a crash may do to outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Each is visible once.
    ExactlyOnce,
    /// Some may be visible more than once.
    AtLeastOnce,
}

impl Delivery {
    /// As it is written in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Delivery::ExactlyOnce => "exactly_once",
            Delivery::AtLeastOnce => "at_least_once",
        }
    }
}

/// Where a job keeps what must outlive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSettings {
    /// The directory, as given.
    pub path: PathBuf,
    /// Bytes of memory that the state may take: block cache, memtables and our own caches.
    pub memory: u64,
    /// Whether files are read and written past the page cache.
    pub direct_io: bool,
}

/// A checked job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The mode of every dependency that names none.
    pub launcher: Mode,
    /// Workers, 1 to 256.
    pub workers: usize,
    /// How long an epoch is at most.
    pub epoch: Duration,
    /// Bytes of records after which an epoch ends early.
    pub epoch_size: u64,
    /// Bytes of the longest record that is an event.
    pub max_record: usize,
    /// What a crash may do to outcomes.
    pub delivery: Delivery,
    /// What depends on what.
    pub rules: Arc<Rules>,
    /// What of a record names its stream; `None` where its file or topic does.
    pub stream_field: Option<Place>,
    /// Where records come from.
    pub source: source::Settings,
    /// Where outcomes go. `dead_letter` is always there.
    pub sinks: sink::Settings,
    /// How topics are written to; `None` where no sink is one.
    pub producer: Option<sink::KafkaSettings>,
    /// Bytes that the tables of streaming dependencies may take in memory.
    pub streaming_memory: u64,
    /// Where the state is.
    pub state: StateSettings,
    /// Where metrics are served; `None` is nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Values that came from the environment, with the text to show in their place.
    written: BTreeMap<String, String>,
}

impl Job {
    /// A configured text as the file has it: `${NAME}` where the value came from the environment. For logs and
    /// messages.
    pub fn shown<'t>(&'t self, text: &'t str) -> &'t str {
        self.written.get(text).map_or(text, String::as_str)
    }
}

/// What the command line says instead of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--workers`.
    pub workers: Option<usize>,
    /// `--state`.
    pub state_dir: Option<PathBuf>,
    /// `--metrics`: an address as in the file, or `off`.
    pub metrics: Option<String>,
}

/// Reads and checks a configuration. `launcher` gives the mode of every dependency that names none.
///
/// Fails with everything that is wrong with it. Looks at the directories it names, and changes nothing.
pub fn load(path: &Path, launcher: Mode, overrides: &Overrides) -> Result<Job, ConfigError> {
    let environment = |name: &str| std::env::var(name).ok();
    let unreadable = |found: String, right: &str| {
        let reader = Reader::new(path, "", &environment);
        reader.problem("", None, format!("{}: {found}", path.display()), right);
        reader.into_error()
    };
    let bytes = std::fs::read(path)
        .map_err(|error| unreadable(format!("cannot be read: {error}"), "give a readable file with --config FILE"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        unreadable(format!("byte {at} is not UTF-8"), "save the file as UTF-8: TOML is UTF-8 only")
    })?;
    check(path, &text, launcher, overrides, &environment)
}

/// Checks the text of a configuration.
fn check(
    path: &Path,
    text: &str,
    launcher: Mode,
    overrides: &Overrides,
    environment: Environment<'_>,
) -> Result<Job, ConfigError> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let reader = Reader::new(path, &without_secrets(text, document.get_ref()), environment);
    for error in &errors {
        reader.problem(
            "",
            error.span(),
            format!("this is not TOML: {}", error.message()),
            right_toml(error.span().and_then(|span| text.get(span))),
        );
    }
    if !errors.is_empty() {
        return Err(reader.into_error());
    }
    let root = Section::new(&reader, document.get_ref(), String::new(), 0..0);
    let general = settings::read(&root, launcher, overrides);
    let rules = streams::read(&root, launcher, general.emit);
    let source = sources::read(&root, rules.as_ref(), &general);
    let sinks = sinks::read(&root, source.as_ref(), rules.as_ref(), &general);
    root.finish();
    let (Some(rules), Some(source), Some((sinks, producer))) = (rules, source, sinks) else {
        return Err(reader.into_error());
    };
    let written = reader.finish()?;
    let has_tombstones = matches!(source.settings, source::Settings::Kafka(_));
    let mut source = source;
    if let source::Settings::Kafka(kafka) = &mut source.settings {
        kafka.joins_group = launcher == Mode::Independent && is_stateless(&rules, &sinks);
    }
    Ok(Job {
        name: general.name,
        launcher,
        workers: general.workers,
        epoch: general.epoch,
        epoch_size: general.epoch_size,
        max_record: general.max_record,
        delivery: general.delivery,
        rules: Arc::new(if has_tombstones { rules.with_tombstones() } else { rules }),
        stream_field: source.stream_field,
        source: source.settings,
        sinks,
        producer,
        streaming_memory: general.streaming_memory,
        state: general.state,
        metrics_listen: general.metrics_listen,
        written,
    })
}

/// Whether a job has nothing to keep beside its positions: no event waits, and no file has a length.
fn is_stateless(rules: &Rules, sinks: &sink::Settings) -> bool {
    let is_independent = |d: &Dependency| d.mode == Mode::Independent;
    let targets = sink::SinkKind::ALL.into_iter().filter_map(|kind| sinks.target(kind));
    rules.streams().iter().all(|stream| stream.depends_on.iter().all(is_independent))
        && targets.into_iter().all(|target| matches!(target, sink::Target::Topic(_) | sink::Target::Null { .. }))
}

/// The text of a configuration as it may be shown: properties of the Kafka client, which may be secrets, are stars.
fn without_secrets(text: &str, document: &DeTable<'_>) -> String {
    fn table<'t, 'd>(of: &'t DeTable<'d>, name: &str) -> Option<&'t DeTable<'d>> {
        of.iter().find(|(key, _)| key.get_ref() == name).and_then(|(_, value)| value.get_ref().as_table())
    }
    let of_client = |section| table(table(table(document, section)?, "kafka")?, "properties");
    let mut shown = text.to_owned();
    for properties in ["source", "sink"].into_iter().filter_map(of_client) {
        for span in properties.values().map(Spanned::span) {
            // A value is whole characters of the text, and stars have a byte each: all other places stay where they are.
            if shown.get(span.clone()).is_some() {
                shown.replace_range(span.clone(), &"*".repeat(span.len()));
            }
        }
    }
    shown
}

/// What to write instead of something that is not TOML.
fn right_toml(found: Option<&str>) -> String {
    match found {
        // A word without quotation marks, or a number with a unit: what is mostly forgotten.
        Some(word) if !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "._-/".contains(c)) => {
            format!("text, durations and sizes stand in quotation marks: \"{word}\"")
        }
        _ => "see the TOML specification, toml.io".to_owned(),
    }
}
