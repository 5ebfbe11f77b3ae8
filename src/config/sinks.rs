//! `[sink.*]`: where each kind of outcome goes.

use std::path::{Path, PathBuf};

use super::kafka::read_producer;
use super::places::{inputs, real};
use super::section::{Section, meant, quoted};
use super::settings::General;
use super::sources::Source;
use crate::dependency::Rules;
use crate::sink::{KafkaSettings, KeyRule, Settings, Target, TopicSettings};

/// Bytes of the largest record that librdkafka sends unless its property `message.max.bytes` says otherwise.
const RECORD_BYTES_MAX: usize = 1_000_000;

/// A sink's file with its place in the configuration.
struct Output {
    key: String,
    span: std::ops::Range<usize>,
    path: PathBuf,
}

/// What a target is checked against.
struct Known<'k> {
    rules: Option<&'k Rules>,
    /// Topics that the job reads.
    sources: Vec<String>,
}

/// Reads the sinks, and how topics among them are written to; `None` where one that must be there is not.
pub(super) fn read(
    root: &Section<'_>,
    source: Option<&Source>,
    rules: Option<&Rules>,
    general: &General,
) -> Option<(Settings, Option<KafkaSettings>)> {
    if !root.has("sink") {
        root.missing("sink", "say where outcomes go: [sink.resolved] and [sink.dead_letter]");
    }
    let section = root.section("sink")?;
    let mut outputs = Vec::new();
    let known = Known { rules, sources: source.map(|source| source.settings.topics()).unwrap_or_default() };
    let mut target = |key| section.section(key).and_then(|sink| read_target(&sink, key, &known, &mut outputs));
    let mut resolved = target("resolved");
    let mut dead_letter = target("dead_letter");
    let mut accepted = target("accepted");
    let kafka = section.section("kafka");
    let targets = [&resolved, &dead_letter, &accepted];
    let to_topics = targets.into_iter().any(|target| matches!(target, Some(Target::Topic(_))));
    let client = source.and_then(|source| source.client.as_ref());
    let producer = (to_topics || kafka.is_some()).then(|| read_producer(&section, kafka.as_ref(), client, general));
    kafka.iter().for_each(Section::finish);
    section.finish();
    if !section.has("resolved") {
        section.missing(
            "resolved",
            "say where resolved events go: [sink.resolved] with file = \"…\", topic = \"…\", stdout = true or null = true",
        );
    }
    if !section.has("dead_letter") {
        let right = "add [sink.dead_letter] with file = \"…\", topic = \"…\", stdout = true or null = true: any record can be rejected, \
                     for instance where it lacks a field that this configuration names, and an event can expire";
        section.missing("dead_letter", right);
    }
    check_outputs(root, &outputs, source, &general.state.path);
    let producer = producer.flatten().filter(|_| to_topics);
    let largest =
        producer.as_ref().and_then(|producer| producer.client.properties.get("message.max.bytes")?.parse().ok());
    for target in [&mut resolved, &mut dead_letter, &mut accepted] {
        if let (Some(Target::Topic(topic)), Some(largest)) = (target, largest) {
            topic.record_bytes_max = largest;
        }
    }
    Some((Settings { resolved: resolved?, dead_letter: Some(dead_letter?), accepted }, producer))
}

fn read_target(sink: &Section<'_>, kind: &str, known: &Known<'_>, outputs: &mut Vec<Output>) -> Option<Target> {
    let file = sink.text("file", "a path in quotes");
    let topic = sink.text("topic", "the name of a topic in quotes");
    let key = read_key(sink, known.rules);
    let stdout = sink.flag("stdout");
    let null = sink.flag("null");
    let upserts = kind == "resolved" && read_style(sink, known);
    let checksum = sink.flag("checksum");
    sink.finish();
    let right = "write exactly one of file = \"…\", topic = \"…\", stdout = true and null = true";
    for (key, flag) in [("stdout", stdout), ("null", null)] {
        if flag == Some(false) {
            sink.problem(key, "false says where outcomes do not go", right);
        }
    }
    let named: Vec<&'static str> =
        ["file", "topic", "stdout", "null"].into_iter().filter(|key| sink.has(key)).collect();
    match named.as_slice() {
        [] if !sink.has_unknown() => {
            sink.reader.problem(sink.name.clone(), Some(sink.span.clone()), "it says nowhere to write", right);
        }
        [] | [_] => {}
        [_, second, ..] => {
            sink.problem(second, format!("there is more than one place to write: {}", named.join(", ")), right)
        }
    }
    if key.is_some() && topic.is_none() && !sink.has("topic") {
        sink.problem("key", "only a record of a topic has a key", "leave it out, or write topic = \"…\"");
    }
    if checksum.is_some() && !sink.has("null") {
        sink.problem("checksum", "it is of lines that are discarded", "leave it out, or write null = true");
    }
    if let Some(topic) = topic {
        check_topic(sink, &topic.value, known);
        return Some(Target::Topic(TopicSettings {
            topic: topic.value,
            key: key.unwrap_or_default(),
            record_bytes_max: RECORD_BYTES_MAX,
            upserts,
        }));
    }
    match file {
        Some(file) => {
            if file.value.is_empty() || file.value.chars().any(char::is_control) {
                sink.problem("file", format!("{} is no path", quoted(&file.value)), "name a file");
            } else if Path::new(&file.value).is_dir() {
                sink.problem("file", format!("{} is a directory", quoted(&file.value)), "name a file");
            } else if !directory_of(Path::new(&file.value)).is_dir() {
                let directory = quoted(&directory_of(Path::new(&file.value)).display().to_string());
                sink.problem("file", format!("there is no directory {directory}"), "make it, or name a file elsewhere");
            }
            let path = PathBuf::from(file.value);
            outputs.push(Output { key: sink.key("file"), span: file.span, path: path.clone() });
            Some(Target::File(path))
        }
        None if stdout.is_some() => Some(Target::Stdout),
        None => null.map(|_| Target::Null { checksum: checksum.unwrap_or(false) }),
    }
}

/// Whether the records of a topic are the present results, and not their changes.
fn read_style(sink: &Section<'_>, known: &Known<'_>) -> bool {
    let upserts = sink.choice("style", &[("changes", false), ("upsert", true)]);
    if upserts.is_some() && known.rules.is_some_and(|rules| !rules.is_maintained()) {
        let right = "write emit = \"changes\" under [job], or leave it out";
        sink.problem("style", "it is about results that are maintained, and those of this job are told once", right);
    }
    let upserts = upserts == Some(true);
    if upserts && !sink.has("topic") {
        sink.problem(
            "style",
            "only a record of a topic can take the place of another",
            "write topic = \"…\", or leave it out",
        );
    }
    if upserts && sink.has("key") {
        sink.problem(
            "key",
            "with style = \"upsert\" records are keyed by the identity of their result",
            "leave it out",
        );
    }
    upserts
}

fn check_topic(sink: &Section<'_>, topic: &str, known: &Known<'_>) {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || topic.len() > 249 || matches!(topic, "." | "..") || !topic.chars().all(fits) {
        let right = "1 to 249 letters (a to z), digits, `.`, `_` and `-`";
        sink.problem("topic", format!("{} is no name of a topic", quoted(topic)), right);
    }
    if known.sources.iter().any(|source| source == topic) {
        let found = format!("{} is also read by the source: the job would read what it writes", quoted(topic));
        sink.problem("topic", found, "write to another topic");
    }
}

/// What the records of a topic are keyed by.
fn read_key(sink: &Section<'_>, rules: Option<&Rules>) -> Option<KeyRule> {
    let text = sink.text("key", "\"event\", \"/FIELD\" or \"dependency:NAME\"")?.value;
    if text == "event" {
        return Some(KeyRule::Event);
    }
    if text.starts_with('/') {
        return sink.pointer("key").map(KeyRule::Field);
    }
    let Some(name) = text.strip_prefix("dependency:") else {
        let right =
            "write \"event\" (the event's own key), \"/FIELD\", or \"dependency:NAME\" (the key that it refers to)";
        sink.problem("key", format!("{} is no key of an outcome", quoted(&text)), right);
        return None;
    };
    let names: Vec<&str> = rules
        .into_iter()
        .flat_map(|rules| rules.streams().iter().flat_map(|stream| stream.depends_on.iter().map(|d| d.name.as_str())))
        .collect();
    if rules.is_some() && !names.contains(&name) {
        let hint = meant(name, names.iter().copied());
        sink.problem("key", format!("no stream has a dependency {}{hint}", quoted(name)), "name one that is declared");
    }
    Some(KeyRule::Dependency(name.to_owned()))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses files that something else of the job writes or reads.
fn check_outputs(root: &Section<'_>, outputs: &[Output], source: Option<&Source>, state: &Path) {
    let inputs = source.map_or_else(Vec::new, |source| inputs(&source.settings));
    let state = real(state);
    for (at, output) in outputs.iter().enumerate() {
        let path = real(&output.path);
        let report = |found: &str, right: &str| {
            let found = format!("{} {found}", quoted(&output.path.display().to_string()));
            root.reader.problem(output.key.clone(), Some(output.span.clone()), found, right);
        };
        if let Some(other) = outputs.iter().take(at).find(|other| real(&other.path) == path) {
            report(&format!("is also the file of {}", other.key), "give each sink a file of its own");
        }
        if inputs.contains(&path) {
            report("is also read by the source: the job would read what it writes", "write to another file");
        }
        if !state.as_os_str().is_empty() && path.starts_with(&state) {
            report("is in the directory of the state, which `--fresh` deletes", "write to a file outside it");
        }
    }
}
