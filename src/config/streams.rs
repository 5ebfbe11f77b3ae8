//! `[[stream]]` and `depends_on`: what depends on what, and how each dependency waits.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::section::{Reader, Section, meant, quoted};
use super::settings::Emit;
use super::upkeep;
use crate::dependency::{
    DependencyDraft, Mode, Need, OnExpiry, RecordFormat, RuleError, RuleProblem, Rules, SecondExpiry, StreamDraft,
    Updates, Upkeep,
};

/// A wait: at least what a clock of milliseconds tells, at most a hundred years.
const WAITS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(36_500 * 86_400);

/// The streams of a file as declared, and beside each draft the sections it came from.
struct Declared<'r> {
    drafts: Vec<StreamDraft>,
    sections: Vec<(Section<'r>, Vec<Section<'r>>)>,
    /// By stream: how its records change what is there.
    upkeep: BTreeMap<String, Upkeep>,
}

/// Reads all streams; `None` where no rules can be made of them. `launcher` is the mode of every dependency that names
/// none.
pub(super) fn read(root: &Section<'_>, launcher: Mode, emit: Emit) -> Option<Rules> {
    let has_parts = root.names_kafka_source();
    let mut declared = Declared { drafts: Vec::new(), sections: Vec::new(), upkeep: BTreeMap::new() };
    let form = "sections [[stream]], one for each stream";
    let declare = "declare each kind of event as a section [[stream]] with a `name`";
    for section in root.sections("stream", form, |at| format!("stream[{at}]")) {
        read_stream(section, launcher, has_parts, emit, &mut declared);
    }
    if !root.has("stream") {
        root.missing("stream", declare);
    } else if root.is_empty("stream") {
        root.problem("stream", "there is no stream", declare);
    }
    let drafts = if emit == Emit::Changes { declared.drafts.clone() } else { Vec::new() };
    let rules = match Rules::build(declared.drafts) {
        Ok(rules) => Some(rules),
        Err(errors) => {
            errors.into_iter().for_each(|error| report(root.reader, &declared.sections, error));
            None
        }
    };
    match emit {
        Emit::Once => return rules,
        Emit::Unclear => return None,
        Emit::Changes => {}
    }
    upkeep::check(&drafts, &declared.sections);
    let mut of_stream = declared.upkeep;
    // Every stream of the rules was declared.
    Some(rules?.maintained(|name| of_stream.remove(name).unwrap_or(NO_UPKEEP)))
}

/// Of a stream that was not declared.
const NO_UPKEEP: Upkeep = Upkeep { updates: Updates::Append, deleted: None, format: RecordFormat::Plain };

fn read_stream<'r>(mut section: Section<'r>, launcher: Mode, has_parts: bool, emit: Emit, declared: &mut Declared<'r>) {
    let name = section.name_text("name");
    match &name {
        Some(name) => section.name = format!("stream {}", quoted(name)),
        None if !section.has("name") => {
            section.missing("name", "give the stream the name that its records carry: name = \"…\"")
        }
        None => {}
    }
    let form = "an array of tables, such as [ { entity = \"person\", by = \"/author\" } ]";
    let dependencies = section.sections("depends_on", form, |at| format!("{}.depends_on[{at}]", section.name));
    let (depends_on, parts) = dependencies.into_iter().filter_map(|part| read_dependency(part, launcher)).unzip();
    let draft = StreamDraft {
        name: name.unwrap_or_else(|| section.name.clone()),
        key: section.place("key", has_parts, &["@key", "@key:text"]),
        provides: section.name_text("provides"),
        time: section.place("time", has_parts, &["@timestamp"]),
        retain: section.duration("retain", WAITS),
        ordered_by: section.pointer("ordered_by"),
        depends_on,
    };
    let upkeep = upkeep::read(&section, emit, draft.key.is_some());
    section.finish();
    declared.upkeep.insert(draft.name.clone(), upkeep);
    declared.drafts.push(draft);
    declared.sections.push((section, parts));
}

/// A dependency with the section it came from; `None` where it lacks what names its referents.
fn read_dependency(mut section: Section<'_>, launcher: Mode) -> Option<(DependencyDraft, Section<'_>)> {
    let (name, entity) = (section.name_text("name"), section.name_text("entity"));
    if let Some(called) = name.as_ref().or(entity.as_ref()) {
        let stream = section.name.rsplit_once('[').map_or("", |(before, _)| before);
        section.name = format!("{stream} {}", quoted(called));
    }
    let by = section.pointer("by");
    if !section.has("entity") {
        section.missing("entity", "name the entity referred to: entity = \"…\"");
    }
    if by.is_none() {
        section.missing("by", "name the field that carries the reference: by = \"/…\"");
    }
    let written =
        section.choice("mode", &[Mode::Independent, Mode::Streaming, Mode::Deferred].map(|m| (m.as_str(), m)));
    let mode = written.unwrap_or(launcher);
    let (wait, on_expiry) = read_expiry(&section, written, mode);
    let required = section.flag("required").unwrap_or(true);
    let need = section.choice("need", &[Need::Arrived, Need::Resolved].map(|n| (n.as_str(), n)));
    let include = section.pointers("include");
    section.finish();
    let (entity, by, need) = (entity?, by?, need.unwrap_or(Need::Arrived));
    Some((DependencyDraft { name, entity, by, mode, required, need, wait, on_expiry, include }, section))
}

/// What `on_expiry` can say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expiry {
    End(SecondExpiry),
    Defer,
}

const DEAD_LETTER: (&str, Expiry) = ("dead_letter", Expiry::End(SecondExpiry::DeadLetter));
const DROP: (&str, Expiry) = ("drop", Expiry::End(SecondExpiry::Drop));
const PARTIAL: (&str, Expiry) = ("partial", Expiry::End(SecondExpiry::Partial));
const KEEP: (&str, Expiry) = ("keep", Expiry::End(SecondExpiry::Keep));

/// How long a dependency waits, and what its deadline does.
fn read_expiry(section: &Section<'_>, written: Option<Mode>, mode: Mode) -> (Option<Duration>, OnExpiry) {
    let wait = section.duration("wait", WAITS);
    let expiry = section.choice("on_expiry", &[DEAD_LETTER, DROP, PARTIAL, KEEP, ("defer", Expiry::Defer)]);
    let deferred_wait = section.duration("deferred_wait", WAITS);
    let then = section.choice("deferred_on_expiry", &[DEAD_LETTER, DROP, PARTIAL, KEEP]);
    if section.has("on_expiry") && !section.has("wait") {
        let right = "give the dependency a `wait`, such as wait = \"10m\", or leave `on_expiry` out";
        section.problem("on_expiry", "there is no `wait`, so nothing ever expires", right);
    }
    let defers = expiry == Some(Expiry::Defer);
    for key in ["deferred_wait", "deferred_on_expiry"] {
        if section.has(key) && !defers {
            let right = "write on_expiry = \"defer\" beside it, or leave it out";
            section.problem(key, "it is about a wait that `on_expiry` has deferred", right);
        }
    }
    if defers && written == Some(Mode::Deferred) {
        let right =
            "leave `mode` out (or \"streaming\") to wait in memory first; otherwise give one `wait` for the whole";
        section.problem(
            "on_expiry",
            "a deferred dependency waits in the state from the start: there is nothing to defer",
            right,
        );
    }
    let Some(Expiry::End(then)) = then.or(Some(DEAD_LETTER.1)) else { return (wait, OnExpiry::DeadLetter) };
    match expiry.unwrap_or(DEAD_LETTER.1) {
        Expiry::End(end) => (wait, at_once(end)),
        // Deferred by the launcher: the two waits are one, all of it in the state.
        Expiry::Defer if mode == Mode::Deferred => {
            (wait.zip(deferred_wait).map(|(first, second)| first.saturating_add(second)), at_once(then))
        }
        Expiry::Defer => (wait, OnExpiry::Defer { wait: deferred_wait, then }),
    }
}

fn at_once(end: SecondExpiry) -> OnExpiry {
    match end {
        SecondExpiry::DeadLetter => OnExpiry::DeadLetter,
        SecondExpiry::Drop => OnExpiry::Drop,
        SecondExpiry::Partial => OnExpiry::Partial,
        SecondExpiry::Keep => OnExpiry::Keep,
    }
}

/// Puts a contradiction among the streams at its place in the file.
fn report(reader: &Reader<'_>, sections: &[(Section<'_>, Vec<Section<'_>>)], error: RuleError) {
    let Some((stream, parts)) = sections.get(error.stream) else { return };
    let part = error.dependency.and_then(|at| parts.get(at)).unwrap_or(stream);
    let found = error.problem.to_string();
    match error.problem {
        RuleProblem::TooManyStreams(_) => stream.problem("name", found, "split the job"),
        RuleProblem::DuplicateStream(_) => stream.problem("name", found, "give each stream a name of its own"),
        RuleProblem::NeedsKey(setting) => {
            stream.problem(setting, found, format!("give the stream a `key`, or leave `{setting}` out"));
        }
        RuleProblem::TooManyDependencies(_) => stream.problem("depends_on", found, "split the stream"),
        RuleProblem::DuplicateDependency(_) => {
            let at = if part.has("name") { "name" } else { "entity" };
            part.problem(at, found, "give one of them a `name` of its own: name = \"…\"");
        }
        RuleProblem::UnknownEntity { found: entity, known } => {
            let hint = meant(&entity, known.iter().map(String::as_str));
            let listed: Vec<String> = known.iter().map(|name| quoted(name)).collect();
            let right = match listed.is_empty() {
                true => "no stream provides any: give the stream that is referred to a `key`".to_owned(),
                false => format!("the entities are {}; a stream with a `key` provides one", listed.join(", ")),
            };
            part.problem("entity", format!("{found}{hint}"), right);
        }
        RuleProblem::NeverResolves { .. } => {
            let right = "break the cycle: `required = false` where the field may be absent or an empty array, or need = \"arrived\"";
            reader.problem(part.key("need"), Some(part.span_of("need")), found, right);
        }
    }
}
