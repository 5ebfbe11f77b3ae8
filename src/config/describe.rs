//! A job as it was understood, for `--check`.

use std::fmt::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::units::{show_duration, show_size};
use super::{Delivery, Job};
use crate::dependency::{Dependency, Mode, Need, OnExpiry, Place, RecordFormat, SecondExpiry, Stream, Updates, Upkeep};
use crate::event::StreamId;
use crate::sink::{Acks, KafkaSettings, KeyRule, Target};
use crate::source::{
    self, Arrivals, FileInput, FileSettings, Follow, ItemSettings, Settings, Start, SyntheticSettings, Workload,
};

/// The job in words: what it depends on, how it waits, where it reads and writes, its limits, and what has no effect.
///
/// A value that came from the environment is shown as the `${NAME}` that the file has in its place.
pub fn describe(job: &Job) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    _ = Description { job, out: &mut out }.write();
    out
}

struct Description<'a> {
    job: &'a Job,
    out: &'a mut String,
}

impl Description<'_> {
    fn write(&mut self) -> fmt::Result {
        let job = self.job;
        let delivery = job.delivery.as_str();
        let plural = if job.workers == 1 { "" } else { "s" };
        writeln!(self.out, "job {}: {} worker{plural}, delivery {delivery}", job.shown(&job.name), job.workers)?;
        writeln!(self.out, "  a dependency that names no mode is {}", job.launcher.as_str())?;
        if job.rules.is_maintained() {
            writeln!(self.out, "  results are maintained: each change of one is told (emit = \"changes\")")?;
        }
        writeln!(self.out, "\nstreams")?;
        for stream in job.rules.streams() {
            self.stream(stream)?;
        }
        writeln!(self.out, "\nsource")?;
        match &job.source {
            Settings::File(files) => self.files(files)?,
            Settings::Kafka(kafka) => self.kafka(kafka)?,
            Settings::Synthetic(synthetic) => self.synthetic(synthetic)?,
        }
        self.sinks()?;
        self.limits()?;
        self.notes()
    }

    fn stream(&mut self, stream: &Stream) -> fmt::Result {
        let job = self.job;
        write!(self.out, "  {}", job.shown(&stream.name))?;
        match (&stream.key, stream.provides) {
            (Some(key), Some(entity)) => {
                let entity = job.shown(&job.rules.entity(entity).name);
                write!(self.out, ": provides {entity} by {}", job.shown(&key.to_string()))?;
            }
            _ => write!(self.out, ": has no key, nothing refers to it")?,
        }
        if let Some(time) = &stream.time {
            write!(self.out, ", event time {}", job.shown(&time.to_string()))?;
        }
        if let Some(retain) = stream.retain {
            write!(self.out, ", forgotten after {}", show_duration(retain))?;
        }
        if let Some((by, _)) = &stream.ordered_by {
            write!(self.out, ", ordered by {}", job.shown(by.as_str()))?;
        }
        if let Some(upkeep) = &stream.upkeep {
            self.upkeep(upkeep)?;
        }
        if stream.cyclic {
            write!(self.out, ", its events may wait for each other in a cycle")?;
        }
        writeln!(self.out)?;
        stream.depends_on.iter().try_for_each(|dependency| self.dependency(dependency))
    }

    fn upkeep(&mut self, upkeep: &Upkeep) -> fmt::Result {
        match upkeep.updates {
            Updates::Replace => write!(self.out, ", of which the latest counts")?,
            Updates::Append => write!(self.out, ", all of which count")?,
        }
        if let Some(deleted) = &upkeep.deleted {
            write!(self.out, ", deleted where {} is true", self.job.shown(deleted.as_str()))?;
        }
        match upkeep.format {
            RecordFormat::Plain => Ok(()),
            RecordFormat::Debezium => write!(self.out, ", read from Debezium's change events"),
        }
    }

    fn dependency(&mut self, dependency: &Dependency) -> fmt::Result {
        let job = self.job;
        let entity = job.shown(&job.rules.entity(dependency.entity).name);
        let (name, by) = (job.shown(&dependency.name), job.shown(dependency.by.as_str()));
        write!(self.out, "    {name}: {by} refers to {entity}; {}", dependency.mode.as_str())?;
        if !dependency.required {
            write!(self.out, "; optional")?;
        }
        if dependency.mode == Mode::Independent {
            return writeln!(self.out, "; validated, not looked up");
        }
        if dependency.need == Need::Resolved {
            write!(self.out, "; needs it resolved")?;
        }
        write!(self.out, "; {}", fate(dependency.wait, dependency.on_expiry))?;
        if let Some(include) = &dependency.include {
            let fields: Vec<&str> = include.iter().map(|pointer| job.shown(pointer.as_str())).collect();
            let fields = if fields.is_empty() { "no field".to_owned() } else { fields.join(", ") };
            write!(self.out, "; carries {fields}")?;
        }
        writeln!(self.out)
    }

    fn files(&mut self, files: &FileSettings) -> fmt::Result {
        let job = self.job;
        for input in &files.inputs {
            let path = if input.path == "-" { "standard input" } else { job.shown(&input.path) };
            match input.stream {
                Some(stream) => writeln!(self.out, "  {path}: stream {}", job.shown(&job.rules.stream(stream).name))?,
                None => writeln!(self.out, "  {path}")?,
            }
        }
        self.stream_field()?;
        let (order, follow) = (
            if files.interleave { "read by turns" } else { "read in this order" },
            if files.follow == Follow::Yes { "; then what is appended" } else { "" },
        );
        writeln!(self.out, "  {order}{follow}")
    }

    fn stream_field(&mut self) -> fmt::Result {
        let Some(field) = self.job.stream_field.as_ref().map(Place::to_string) else { return Ok(()) };
        writeln!(self.out, "  stream named by {}", self.job.shown(&field))
    }

    fn kafka(&mut self, kafka: &source::KafkaSettings) -> fmt::Result {
        let job = self.job;
        writeln!(self.out, "  brokers {}, group {}", job.shown(&kafka.client.brokers), job.shown(&kafka.group))?;
        for topic in &kafka.topics {
            let name = job.shown(&topic.name);
            match topic.stream {
                Some(stream) => {
                    writeln!(self.out, "  topic {name}: stream {}", job.shown(&job.rules.stream(stream).name))?
                }
                None => writeln!(self.out, "  topic {name}")?,
            }
        }
        self.stream_field()?;
        let start = match kafka.start {
            Start::Earliest => "at its first record".to_owned(),
            Start::Latest => "at its end".to_owned(),
            Start::Committed => "where the group stands".to_owned(),
            Start::Time(ms) => format!("at the first record from {} on", show_time(ms)),
        };
        let create = if kafka.create_topics { "; missing topics are created" } else { "" };
        let knows = if kafka.joins_group { "group" } else { "state" };
        if kafka.joins_group {
            writeln!(self.out, "  joins the group: its members share the partitions")?;
        }
        writeln!(self.out, "  a partition that the {knows} does not know begins {start}{create}")?;
        // Values may be secrets.
        let properties: Vec<&str> = kafka.client.properties.keys().map(String::as_str).collect();
        if properties.is_empty() { Ok(()) } else { writeln!(self.out, "  properties {}", properties.join(", ")) }
    }

    fn synthetic(&mut self, settings: &SyntheticSettings) -> fmt::Result {
        let workload = match settings.workload {
            Workload::Nexmark => "nexmark",
            Workload::Social => "social",
            Workload::Items => "items",
        };
        let arrivals = match settings.arrivals {
            Arrivals::Constant => "",
            Arrivals::Poisson => ", as a Poisson process",
            Arrivals::Bursts => ", in the first tenth of each second",
        };
        let events =
            if settings.events == 0 { "without end".to_owned() } else { format!("{} events", settings.events) };
        writeln!(self.out, "  synthetic {workload}: {events}, seed {}", settings.seed)?;
        match settings.rate {
            0 => writeln!(self.out, "  as fast as possible")?,
            rate => writeln!(self.out, "  {rate} events/s{arrivals}")?,
        }
        if settings.workload == Workload::Items {
            let ItemSettings { dependents, references, reach, skew, payload } = settings.items;
            writeln!(
                self.out,
                "  dependents {dependents}, each of {references} of the latest {reach} items, skew {skew}; payload {payload} bytes"
            )?;
        }
        let SyntheticSettings { disorder, duplicates, late, late_by, never, .. } = settings;
        writeln!(
            self.out,
            "  disorder within {disorder} events; \
             shares: duplicates {duplicates}, late {late} (by {late_by} events), never {never}"
        )
    }

    fn sinks(&mut self) -> fmt::Result {
        let sinks = &self.job.sinks;
        writeln!(self.out, "\nsinks")?;
        for (name, target) in [
            ("resolved", Some(&sinks.resolved)),
            ("dead_letter", sinks.dead_letter.as_ref()),
            ("accepted", sinks.accepted.as_ref()),
        ] {
            let target = match target {
                Some(Target::File(path)) => format!("file {}", self.path(path)),
                Some(Target::Topic(topic)) if topic.upserts => {
                    let topic = self.job.shown(&topic.topic);
                    format!("topic {topic}, the present results, keyed by their identity; null where one is gone")
                }
                Some(Target::Topic(topic)) => {
                    let key = match &topic.key {
                        KeyRule::Event => "the event's own key".to_owned(),
                        KeyRule::Field(pointer) => self.job.shown(pointer.as_str()).to_owned(),
                        KeyRule::Dependency(name) => format!("the key of its {}", self.job.shown(name)),
                    };
                    format!("topic {}, keyed by {key}", self.job.shown(&topic.topic))
                }
                Some(Target::Stdout) => "standard output".to_owned(),
                Some(Target::Null { checksum: false }) => "counted and discarded".to_owned(),
                Some(Target::Null { checksum: true }) => "counted, with a checksum, and discarded".to_owned(),
                None => "none".to_owned(),
            };
            writeln!(self.out, "  {name}: {target}")?;
        }
        self.job.producer.as_ref().map_or(Ok(()), |producer| self.producer(producer))
    }

    /// How topics are written to. Of properties only the names are shown: values may be secrets.
    fn producer(&mut self, producer: &KafkaSettings) -> fmt::Result {
        let job = self.job;
        let brokers: Vec<&str> = producer.client.brokers.split(',').map(|broker| job.shown(broker)).collect();
        let (compression, linger) = (producer.compression, show_duration(producer.linger));
        write!(self.out, "  brokers {}: compression {compression}, linger {linger}, ", brokers.join(","))?;
        match job.delivery {
            Delivery::ExactlyOnce => {
                writeln!(self.out, "transactions of at most {}", show_duration(producer.transaction_timeout))?;
            }
            Delivery::AtLeastOnce => {
                let acks = if producer.acks == Acks::All { "all replicas" } else { "the leader" };
                let idempotent = if producer.idempotence { ", idempotent" } else { "" };
                writeln!(self.out, "acknowledged by {acks}{idempotent}")?;
            }
        }
        let names: Vec<&str> = producer.client.properties.keys().map(String::as_str).collect();
        if !names.is_empty() {
            writeln!(self.out, "  with {}", names.join(", "))?;
        }
        Ok(())
    }

    fn limits(&mut self) -> fmt::Result {
        let job = self.job;
        writeln!(self.out, "\nlimits")?;
        writeln!(self.out, "  epoch: {} or {}", show_duration(job.epoch), show_size(job.epoch_size))?;
        writeln!(self.out, "  record: {}", show_size(job.max_record as u64))?;
        writeln!(self.out, "  streaming memory: {}", show_size(job.streaming_memory))?;
        writeln!(self.out, "  state memory: {}", show_size(job.state.memory))?;
        let direct = if job.state.direct_io { ", direct I/O" } else { "" };
        match job.source.joins_group() {
            true => writeln!(self.out, "\nstate\n  none: the group has the positions")?,
            false => writeln!(self.out, "\nstate\n  {}{direct}", self.path(&job.state.path))?,
        }
        match job.metrics_listen {
            Some(address) => {
                let address = address.to_string();
                writeln!(self.out, "\nmetrics\n  http://{}/metrics", job.shown(&address))
            }
            None => writeln!(self.out, "\nmetrics\n  off"),
        }
    }

    fn path(&self, path: &Path) -> String {
        let path = path.display().to_string();
        self.job.shown(&path).to_owned()
    }

    /// What is ignored or weaker than it may look; nothing where there is nothing to say.
    fn notes(&mut self) -> fmt::Result {
        let notes = self.job.notes();
        if !notes.is_empty() {
            writeln!(self.out, "\nnotes")?;
        }
        notes.iter().try_for_each(|note| writeln!(self.out, "  {note}"))
    }
}

impl Job {
    /// What of the configuration has no effect, or promises less than the rest.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for stream in self.rules.streams() {
            let name = self.shown(&stream.name);
            for dependency in stream.depends_on.iter().filter(|d| d.mode == Mode::Independent) {
                let set = [
                    ("need", dependency.need == Need::Resolved),
                    ("wait", dependency.wait.is_some()),
                    ("on_expiry", dependency.wait.is_some()),
                    ("include", dependency.include.is_some()),
                ];
                let set: Vec<&str> = set.iter().filter(|(_, set)| *set).map(|(key, _)| *key).collect();
                if !set.is_empty() {
                    let dependency = self.shown(&dependency.name);
                    notes.push(format!("ignored in independent mode: {} of {name}.{dependency}", set.join(", ")));
                }
            }
            let waits = stream.depends_on.iter().any(|d| d.mode != Mode::Independent);
            if stream.ordered_by.is_some() && !waits {
                notes.push(format!("ignored: ordered_by of {name}, whose events never wait"));
            }
        }
        notes.extend(
            self.unread()
                .into_iter()
                .map(|name| format!("stream {} has no file or topic: nothing is read for it", self.shown(name))),
        );
        if let Settings::File(files) = &self.source {
            self.input_notes(files, &mut notes);
        }
        if self.rules.is_maintained() && self.sinks.accepted.is_some() {
            notes.push("ignored: the sink accepted, as nothing is deferred".to_owned());
        }
        let sinks = [Some(&self.sinks.resolved), self.sinks.dead_letter.as_ref(), self.sinks.accepted.as_ref()];
        if sinks.into_iter().flatten().any(|target| *target == Target::Stdout) {
            notes.push("at least once: standard output cannot be cut after a crash".to_owned());
        }
        if self.delivery == Delivery::AtLeastOnce && self.producer.is_none() {
            notes.push("delivery makes no difference: into files exactly once costs nothing more".to_owned());
        }
        notes
    }

    fn input_notes(&self, files: &FileSettings, notes: &mut Vec<String>) {
        for FileInput { path, .. } in &files.inputs {
            let shown = self.shown(path);
            if path == "-" {
                notes.push("at least once: standard input cannot be read again after a crash".to_owned());
            } else if source::is_pipe(path) {
                notes.push(format!("at least once: {shown} is a pipe, which cannot be read again after a crash"));
            } else if !Path::new(path).exists() {
                notes.push(format!("{shown} is not there now: the job does not start without it"));
            }
        }
    }

    /// The streams that no file or topic is named for, where each stream has its own.
    fn unread(&self) -> Vec<&str> {
        let read: Vec<StreamId> = match &self.source {
            Settings::File(files) => files.inputs.iter().filter_map(|input| input.stream).collect(),
            Settings::Kafka(kafka) => kafka.topics.iter().filter_map(|topic| topic.stream).collect(),
            Settings::Synthetic(_) => Vec::new(),
        };
        let unread = self
            .rules
            .streams()
            .iter()
            .filter(|s| self.rules.stream_named(&s.name).is_none_or(|id| !read.contains(&id)));
        if read.is_empty() { Vec::new() } else { unread.map(|stream| stream.name.as_str()).collect() }
    }
}

/// A time in milliseconds since 1970, as RFC 3339 has it.
fn show_time(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds).map_or_else(|_| milliseconds.to_string(), |time| time.to_string())
}

/// How long a dependency waits and what comes then.
fn fate(wait: Option<Duration>, on_expiry: OnExpiry) -> String {
    let Some(wait) = wait else { return "waits for ever".to_owned() };
    let wait = show_duration(wait);
    match on_expiry {
        OnExpiry::DeadLetter => format!("waits {wait}, then expires"),
        OnExpiry::Drop => format!("waits {wait}, then is dropped"),
        OnExpiry::Partial => format!("waits {wait}, then goes on without it"),
        OnExpiry::Keep => format!("waits {wait}, then is overdue and waits on"),
        OnExpiry::Defer { wait: None, .. } => format!("waits {wait}, then for ever in the state"),
        OnExpiry::Defer { wait: Some(second), then } => {
            let then = match then {
                SecondExpiry::DeadLetter => "expires",
                SecondExpiry::Drop => "is dropped",
                SecondExpiry::Partial => "goes on without it",
                SecondExpiry::Keep => "is overdue and waits on",
            };
            format!("waits {wait}, then {} in the state, then {then}", show_duration(second))
        }
    }
}
