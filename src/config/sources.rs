//! `[source.*]`: where records come from, and how each finds its stream.

use std::collections::HashSet;

use super::section::{Found, Section, meant, quoted};
use crate::dependency::{Pointer, Rules};
use crate::event::StreamId;
use crate::kafka::ClientSettings;
use crate::source::workload::{DISORDER_MAX, EVENTS_MAX};
use crate::source::{FileInput, FileSettings, Settings, SyntheticSettings, Workload};

/// The source of a job, and the field of its records that names their stream.
pub(super) struct Source {
    pub(super) settings: Settings,
    pub(super) stream_field: Option<Pointer>,
    /// How to reach the brokers that it reads from.
    pub(super) client: Option<ClientSettings>,
}

/// Reads the one source of a job; `None` where there is none to be had. `rules` is `None` where they are wrong.
pub(super) fn read(root: &Section<'_>, rules: Option<&Rules>) -> Option<Source> {
    let right = "say where records come from: [source.file] with `path` and `stream`, or [source.synthetic]";
    if !root.has("source") {
        root.missing("source", right);
    }
    let section = root.section("source")?;
    section.refuse_kafka("kafka", "[source.file]");
    let file = section.section("file");
    let synthetic = section.section("synthetic");
    section.finish();
    match (file, synthetic) {
        (Some(_), Some(synthetic)) => {
            let right = "keep one of [source.file] and [source.synthetic]";
            root.reader.problem("source", Some(synthetic.span), "a job has one source, and here are two", right);
            None
        }
        (Some(file), None) => read_file(&file, rules),
        (None, Some(synthetic)) => Some(read_synthetic(&synthetic)),
        (None, None) => {
            // A section with another name has been refused, and that is enough.
            if !["file", "synthetic", "kafka"].iter().any(|key| section.has(key)) && !section.has_unknown() {
                root.problem("source", "it names no source", right);
            }
            None
        }
    }
}

fn read_file(file: &Section<'_>, rules: Option<&Rules>) -> Option<Source> {
    file.refuse_kafka("topic", "`path`");
    let paths = file.texts("path", "a path in quotes, or an array of them");
    let streams = file.text_table("streams", "a table, such as { bid = \"bid.jsonl\" }");
    let stream_field = file.pointer("stream");
    let follow = file.flag("follow").unwrap_or(false);
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
        let stream = rules.and_then(|rules| rules.stream_named(&name));
        if let (None, Some(rules)) = (stream, rules) {
            let hint = meant(&name, rules.streams().iter().map(|s| s.name.as_str()));
            let found = format!("there is no stream {}{hint}", quoted(&name));
            file.reader.problem(
                file.key("streams"),
                Some(path.span.clone()),
                found,
                "name a stream that is declared as [[stream]]",
            );
        }
        inputs.push((path, stream));
    }
    let interleave = !inputs.is_empty();
    inputs.extend(paths.into_iter().flatten().map(|path| (path, None)));
    check_inputs(file, &inputs, follow);
    let inputs = inputs.into_iter().map(|(path, stream)| FileInput { path: path.value, stream }).collect();
    Some(Source { settings: Settings::File(FileSettings { inputs, interleave, follow }), stream_field, client: None })
}

fn check_inputs(file: &Section<'_>, inputs: &[(Found<String>, Option<StreamId>)], follow: bool) {
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
        if follow && [".gz", ".zst"].iter().any(|end| path.value.ends_with(end)) {
            report("is compressed and cannot be followed", "leave `follow` out, or name a file that is not compressed");
        }
    }
}

fn read_synthetic(section: &Section<'_>) -> Source {
    let workload = section.choice("workload", &[("nexmark", Workload::Nexmark), ("social", Workload::Social)]);
    if !section.has("workload") {
        section.missing("workload", "name one: workload = \"nexmark\", or \"social\"");
    }
    let settings = SyntheticSettings {
        workload: workload.unwrap_or(Workload::Nexmark),
        events: section.integer("events", 0..=EVENTS_MAX).unwrap_or(0),
        seed: section.integer("seed", 0..=u64::MAX).unwrap_or(0),
        rate: section.integer("rate", 0..=EVENTS_MAX).unwrap_or(0),
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
    Source { settings: Settings::Synthetic(settings), stream_field: Pointer::parse("/type").ok(), client: None }
}
