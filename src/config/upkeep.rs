//! What `emit = "changes"` asks of streams: how their records change what is there, and that nothing waits in the state.

use super::section::{Section, quoted};
use super::settings::Emit;
use crate::dependency::{DependencyDraft, Mode, OnExpiry, RecordFormat, StreamDraft, Updates, Upkeep};

/// Reads how a stream's records change what is there. What is written needs a job that maintains its results.
pub(super) fn read(section: &Section<'_>, emit: Emit, has_key: bool) -> Upkeep {
    let updates = section.choice("updates", &[Updates::Replace, Updates::Append].map(|u| (u.as_str(), u)));
    let deleted = section.pointer("deleted");
    let format = section
        .choice("format", &[RecordFormat::Plain, RecordFormat::Debezium].map(|format| (format.as_str(), format)));
    for key in ["updates", "deleted", "format"] {
        if section.has(key) && emit == Emit::Once {
            let right = "write emit = \"changes\" under [job], or leave it out";
            section.problem(key, "it is about results that are maintained, and those of this job are told once", right);
        }
    }
    let needs_key = [
        ("updates", updates == Some(Updates::Replace)),
        ("deleted", deleted.is_some()),
        ("format", format == Some(RecordFormat::Debezium)),
    ];
    for (key, _) in needs_key.into_iter().filter(|(_, needs_key)| *needs_key && !has_key && emit == Emit::Changes) {
        let right = format!("give the stream a `key`, or leave `{key}` out");
        section.problem(key, "it changes the event of a key, and this stream has no `key`", right);
    }
    let by_default = if has_key { Updates::Replace } else { Updates::Append };
    Upkeep { updates: updates.unwrap_or(by_default), deleted, format: format.unwrap_or(RecordFormat::Plain) }
}

/// Refuses what results that are maintained cannot have; `sections` are those of the drafts.
pub(super) fn check(drafts: &[StreamDraft], sections: &[(Section<'_>, Vec<Section<'_>>)]) {
    for (draft, (section, parts)) in drafts.iter().zip(sections) {
        if draft.ordered_by.is_some() {
            let right = "leave it out, or write emit = \"once\" under [job]";
            section.problem(
                "ordered_by",
                "results that are maintained are told by epochs, and have no order in them",
                right,
            );
        }
        if draft.retain.is_some() {
            check_retain(draft, drafts, section);
        }
        for (dependency, part) in draft.depends_on.iter().zip(parts) {
            check_dependency(dependency, part);
        }
    }
}

fn check_dependency(dependency: &DependencyDraft, part: &Section<'_>) {
    let right = "write emit = \"once\" under [job], or let it wait in memory";
    if dependency.mode == Mode::Deferred && part.has("mode") {
        part.problem("mode", "a deferred dependency is kept in the state, and maintained results in memory", right);
    }
    if matches!(dependency.on_expiry, OnExpiry::Defer { .. }) && dependency.mode != Mode::Deferred {
        part.problem("on_expiry", "there is no second wait in the state: maintained results are kept in memory", right);
    }
}

/// What is forgotten may be part of no result that can still be revised.
fn check_retain(draft: &StreamDraft, drafts: &[StreamDraft], section: &Section<'_>) {
    let entity = draft.provides.as_deref().unwrap_or(&draft.name);
    let waits_on =
        |d: &&DependencyDraft| d.mode != Mode::Independent && (d.wait.is_none() || d.on_expiry == OnExpiry::Keep);
    let refers = |stream: &&StreamDraft| stream.depends_on.iter().any(|d| d.entity == entity);
    let endless =
        drafts.iter().filter(refers).find_map(|stream| Some((stream, stream.depends_on.iter().find(waits_on)?)));
    if let Some((stream, dependency)) = endless {
        let name = dependency.name.as_deref().unwrap_or(&dependency.entity);
        let found = format!(
            "what {} refers to would be forgotten while its results can still be revised: its dependency {} waits for ever",
            quoted(&stream.name),
            quoted(name)
        );
        let right = format!(
            "give every dependency of {} a `wait` that does not end in \"keep\": after it a result stands, and needs nothing any more; or leave `retain` out",
            quoted(&stream.name)
        );
        section.problem("retain", found, right);
    }
}
