//! `[source.*]`: where records come from, and how each finds its stream.

use std::collections::HashSet;

use super::kafka::read_client;
use super::section::{Found, Section, meant, quoted};
use super::settings::General;
use crate::dependency::{Place, Pointer, Rules};
use crate::event::StreamId;
use crate::kafka::{ClientSettings, Role};
use crate::source::workload::{DISORDER_MAX, EVENTS_MAX, PAYLOAD_MAX, REACH_MAX, REFERENCES_MAX};
use crate::source::{
    Arrivals, FileInput, FileSettings, Follow, ItemSettings, KafkaSettings, KafkaTopic, Settings, Start,
    SyntheticSettings, Workload,
};

/// The source of a job, and what of its records names their stream.
pub(super) struct Source {
    pub(super) settings: Settings,
    pub(super) stream_field: Option<Place>,
    /// How to reach the brokers that it reads from.
    pub(super) client: Option<ClientSettings>,
}

/// Reads the one source of a job; `None` where there is none to be had. `rules` is `None` where they are wrong.
pub(super) fn read(root: &Section<'_>, rules: Option<&Rules>, general: &General) -> Option<Source> {
    let right = "say where records come from: [source.file] with `path` and `stream`, [source.kafka] with `brokers` and `topics`, \
                 or [source.synthetic]";
    if !root.has("source") {
        root.missing("source", right);
    }
    let section = root.section("source")?;
    let file = section.section("file");
    let kafka = section.section("kafka");
    let synthetic = section.section("synthetic");
    section.finish();
    if let [_, second, ..] = [&file, &kafka, &synthetic].into_iter().flatten().collect::<Vec<_>>().as_slice() {
        let right = "keep one of [source.file], [source.kafka] and [source.synthetic]";
        root.reader.problem("source", Some(second.span.clone()), "a job has one source, and here are two", right);
        return None;
    }
    match (file, kafka, synthetic) {
        (Some(file), ..) => read_file(&file, rules),
        (_, Some(kafka), _) => read_kafka(&kafka, rules, general),
        (.., Some(synthetic)) => Some(read_synthetic(&synthetic)),
        (None, None, None) => {
            // A section with another name has been refused, and that is enough.
            if !["file", "synthetic", "kafka"].iter().any(|key| section.has(key)) && !section.has_unknown() {
                root.problem("source", "it names no source", right);
            }
            None
        }
    }
}

/// The stream of a name that something of a source is given to.
fn stream_named(
    section: &Section<'_>,
    key: &'static str,
    name: &Found<String>,
    rules: Option<&Rules>,
) -> Option<StreamId> {
    let rules = rules?;
    let stream = rules.stream_named(&name.value);
    if stream.is_none() {
        let hint = meant(&name.value, rules.streams().iter().map(|s| s.name.as_str()));
        let found = format!("there is no stream {}{hint}", quoted(&name.value));
        let right = "name a stream that is declared as [[stream]]";
        section.reader.problem(section.key(key), Some(name.span.clone()), found, right);
    }
    stream
}

fn read_kafka(kafka: &Section<'_>, rules: Option<&Rules>, general: &General) -> Option<Source> {
    let client = read_client(kafka, Role::Consumer, None);
    let group = kafka.name_text("group").unwrap_or_else(|| format!("resolvent-{}", general.name));
    let topics = read_topics(kafka, rules);
    let stream_field = kafka.place("stream", true, &["@header:"]);
    let start = read_start(kafka);
    let create_topics = kafka.flag("create_topics").unwrap_or(false);
    kafka.finish();
    let (preset, client) = (general.preset, client?);
    let settings = KafkaSettings {
        client: client.clone(),
        client_id: format!("resolvent-{}", general.name),
        group,
        topics,
        start,
        create_topics,
        fetch_min_bytes: preset.fetch_min_bytes(),
        check_crcs: preset.check_crcs(),
        until_end: false,
        joins_group: false,
    };
    Some(Source { settings: Settings::Kafka(settings), stream_field, client: Some(client) })
}

fn read_topics(kafka: &Section<'_>, rules: Option<&Rules>) -> Vec<KafkaTopic> {
    let form = "a table, such as { posts = \"post\" }, or an array of topics";
    if !kafka.has("topics") {
        kafka.missing(
            "topics",
            "name the topics: topics = { TOPIC = \"STREAM\" }, or topics = [\"…\"] with stream = \"/type\"",
        );
        return Vec::new();
    }
    let mut topics: Vec<(Found<String>, Option<StreamId>)> = Vec::new();
    if kafka.is_table("topics") {
        if kafka.has("stream") {
            kafka.problem(
                "stream",
                "with a table of `topics` the topic says the stream",
                "write topics = [\"…\"], or leave `stream` out",
            );
        }
        for (topic, stream) in kafka.text_table("topics", form).into_iter().flatten() {
            let id = stream_named(kafka, "topics", &stream, rules);
            topics.push((Found { value: topic, span: stream.span }, id));
        }
    } else {
        if !kafka.has("stream") {
            let right = "say what names a record's stream: stream = \"/type\" or \"@header:type\"; or give each topic its stream: \
                         topics = { TOPIC = \"STREAM\" }";
            kafka.missing("stream", right);
        }
        topics.extend(kafka.texts("topics", form).into_iter().flatten().map(|topic| (topic, None)));
    }
    if kafka.is_empty("topics") {
        kafka.problem("topics", "it names no topic", "name at least one topic");
    }
    let mut seen = HashSet::new();
    for (topic, _) in &topics {
        let report = |found: &str, right: &str| {
            let found = format!("{} {found}", quoted(&topic.value));
            kafka.reader.problem(kafka.key("topics"), Some(topic.span.clone()), found, right);
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if topic.value.is_empty() || topic.value.len() > 249 || !topic.value.chars().all(fits) {
            report("is no name of a topic", "1 to 249 letters (a to z), digits, `.`, `_` and `-`");
        }
        if !seen.insert(&topic.value) {
            report("is named twice", "name each topic once: its records would be read twice");
        }
    }
    topics.iter().map(|(topic, stream)| KafkaTopic { name: topic.value.clone(), stream: *stream }).collect()
}

fn read_start(kafka: &Section<'_>) -> Start {
    if kafka.is_integer("start") {
        let milliseconds = kafka.integer("start", 0..=i64::MAX as u64);
        return milliseconds.and_then(|ms| i64::try_from(ms).ok()).map_or(Start::Earliest, Start::Time);
    }
    let right = "write \"earliest\", \"latest\", \"committed\", an RFC 3339 time such as \"2026-01-31T09:30:00Z\", or milliseconds since 1970";
    let Some(text) = kafka.text("start", "a word or a time in quotes, or milliseconds since 1970") else {
        return Start::Earliest;
    };
    parse_start(&text.value).unwrap_or_else(|| {
        kafka.problem("start", format!("{} is no start", quoted(&text.value)), right);
        Start::Earliest
    })
}

fn parse_start(text: &str) -> Option<Start> {
    match text {
        "earliest" => Some(Start::Earliest),
        "latest" => Some(Start::Latest),
        "committed" => Some(Start::Committed),
        _ => {
            let milliseconds = text.parse::<u64>().ok().and_then(|ms| i64::try_from(ms).ok());
            let milliseconds = milliseconds.or_else(|| text.parse().ok().map(jiff::Timestamp::as_millisecond));
            // Before 1970 there is no record.
            milliseconds.map(|ms| Start::Time(ms.max(0)))
        }
    }
}

fn read_file(file: &Section<'_>, rules: Option<&Rules>) -> Option<Source> {
    let paths = file.texts("path", "a path in quotes, or an array of them");
    let streams = file.text_table("streams", "a table, such as { bid = \"bid.jsonl\" }");
    let stream_field = file.pointer("stream");
    let follow = if file.flag("follow").unwrap_or(false) { Follow::Yes } else { Follow::No };
    file.finish();
    let mut inputs: Vec<(Found<String>, Option<StreamId>)> = Vec::new();
    match (file.has("path"), file.has("streams")) {
        (true, true) => file.problem("streams", "`path` and `streams` both name the files", "keep one of them"),
        (false, false) => {
            file.missing("path", "name the files: path = \"…\", stream = \"/…\", or streams = { NAME = \"…\" }")
        }
        _ => {}
    }
    if file.has("path") && !file.has("stream") && !file.has("streams") {
        let right =
            "name the field that says a record's stream: stream = \"/type\", or give each stream its file by `streams`";
        file.missing("stream", right);
    }
    if file.has("stream") && file.has("streams") {
        file.problem("stream", "with `streams` the file says the stream", "keep one of `stream` and `streams`");
    }
    for (name, path) in streams.into_iter().flatten() {
        let stream = stream_named(file, "streams", &Found { value: name, span: path.span.clone() }, rules);
        inputs.push((path, stream));
    }
    let interleave = !inputs.is_empty();
    inputs.extend(paths.into_iter().flatten().map(|path| (path, None)));
    check_inputs(file, &inputs, follow);
    let inputs = inputs.into_iter().map(|(path, stream)| FileInput { path: path.value, stream }).collect();
    Some(Source {
        settings: Settings::File(FileSettings { inputs, interleave, follow }),
        stream_field: stream_field.map(Place::Field),
        client: None,
    })
}

fn check_inputs(file: &Section<'_>, inputs: &[(Found<String>, Option<StreamId>)], follow: Follow) {
    let key = if file.has("streams") { "streams" } else { "path" };
    if file.is_empty(key) {
        file.problem(key, "it names no file", "name at least one file");
    }
    let mut seen = HashSet::new();
    for (path, _) in inputs {
        let report = |found: &str, right: &str| {
            let found = format!("{} {found}", quoted(&path.value));
            file.reader.problem(file.key(key), Some(path.span.clone()), found, right);
        };
        if path.value.is_empty() || path.value.chars().any(char::is_control) {
            report("is no path", "name a file, or \"-\" for standard input");
        }
        if !seen.insert(&path.value) {
            report("is named twice", "name each file once: its records would be read twice");
        }
        if follow == Follow::Yes && [".gz", ".zst"].iter().any(|end| path.value.ends_with(end)) {
            report("is compressed and cannot be followed", "leave `follow` out, or name a file that is not compressed");
        }
    }
}

fn read_synthetic(section: &Section<'_>) -> Source {
    let workload = section.choice("workload", &Workload::NAMED);
    if !section.has("workload") {
        section.missing("workload", "name one: workload = \"nexmark\", \"social\" or \"items\"");
    }
    let settings = SyntheticSettings {
        workload: workload.unwrap_or(Workload::Nexmark),
        items: read_items(section, workload),
        events: section.integer("events", 0..=EVENTS_MAX).unwrap_or(0),
        seed: section.integer("seed", 0..=u64::MAX).unwrap_or(0),
        rate: section.integer("rate", 0..=EVENTS_MAX).unwrap_or(0),
        arrivals: section.choice("arrivals", &Arrivals::NAMED).unwrap_or_default(),
        disorder: section.integer("disorder", 0..=DISORDER_MAX).unwrap_or(0),
        duplicates: section.share("duplicates").unwrap_or(0.0),
        late: section.share("late").unwrap_or(0.0),
        late_by: section.integer("late_by", 0..=EVENTS_MAX).unwrap_or(0),
        never: section.share("never").unwrap_or(0.0),
    };
    if settings.late > 0.0 && settings.late_by == 0 {
        section.problem(
            "late",
            "it is a share of events that come late by nothing",
            "say by how many events: late_by = 1000",
        );
    }
    section.finish();
    Source {
        settings: Settings::Synthetic(settings),
        stream_field: Pointer::parse("/type").ok().map(Place::Field),
        client: None,
    }
}

fn read_items(section: &Section<'_>, workload: Option<Workload>) -> ItemSettings {
    let default = ItemSettings::default();
    let items = ItemSettings {
        dependents: section.share("dependents").unwrap_or(default.dependents),
        references: section.integer("references", 1..=REFERENCES_MAX as u64).unwrap_or(default.references),
        reach: section.integer("reach", 1..=REACH_MAX).unwrap_or(default.reach),
        skew: section.share("skew").unwrap_or(default.skew),
        payload: section.integer("payload", 0..=PAYLOAD_MAX).unwrap_or(default.payload),
    };
    if workload != Some(Workload::Items) {
        for key in ["dependents", "references", "reach", "skew", "payload"].into_iter().filter(|key| section.has(key)) {
            let right = "leave it out, or set workload = \"items\"";
            section.problem(key, "it is a setting of the workload \"items\"", right);
        }
    }
    items
}
