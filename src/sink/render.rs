//! Builds the line, or the record of a topic, of an outcome (DESIGN.md, "Outcomes").
//!
//! Events and referents are copied byte for byte. All that is the same for every event of a stream is written once, when the renderer is made.

mod keyed;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::include::{self, Include};
use super::{KeyRule, RecordLimits, SinkKind, record};
use crate::dependency::{Dependency, Rules, Stream};
use crate::event::{Dependent, EventId, Found, Key, Outcome, PartitionId, Partitions, Reference, Rejection, Timestamp};

/// What stands before the event in a line.
const EVENT_MEMBER: &[u8] = b",\"event\":";

/// How outcomes of a kind are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As lines.
    #[default]
    Lines,
    /// As [records](super::records) of a topic: the value has no line break at its end.
    Records {
        /// What they are keyed by.
        key: KeyRule,
        /// How large they may be: see [`TopicSettings`](super::TopicSettings).
        limits: RecordLimits,
    },
}

/// Renders outcomes as lines or records. One for each worker.
#[derive(Debug)]
pub struct Renderer {
    rules: Arc<Rules>,
    /// By kind of sink.
    formats: [Format; 3],
    streams: Vec<StreamParts>,
    partitions: Partitions,
    /// `,"position":"name:` of each partition.
    positions: Vec<Vec<u8>>,
    /// `name:` of each.
    names: Vec<Vec<u8>>,
}

/// What lines of one stream begin with.
#[derive(Debug)]
struct StreamParts {
    resolved: Vec<u8>,
    accepted: Vec<u8>,
    expired: Vec<u8>,
    dependencies: Vec<DependencyParts>,
}

#[derive(Debug)]
struct DependencyParts {
    /// `"name":`
    member: Vec<u8>,
    /// `{"dependency":"name","entity":"entity","key":`
    missing: Vec<u8>,
    include: Option<Include>,
}

/// How much of an outcome its record has: a topic may not take all of it. A cut one has the size of the value that it would have had.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    /// Without the event, and what that took; or without the record that was rejected.
    WithoutEvent(usize),
    /// Also without the key and the headers of the record that was read.
    Bare(usize),
}

/// Which references an outcome lists as missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// Those that were given up: what a resolved event can lack.
    GivenUp,
    /// All without a referent.
    All,
}

impl Renderer {
    /// A renderer by `rules` for records of `partitions`, which writes each kind in its format.
    pub fn new(rules: Arc<Rules>, partitions: &Partitions, formats: [Format; 3]) -> Self {
        let streams = rules.streams().iter().map(|stream| StreamParts::new(stream, &rules)).collect();
        Renderer { rules, formats, streams, partitions: partitions.clone(), positions: Vec::new(), names: Vec::new() }
    }

    /// Sees to it that the name of a partition is known, which may have come since the last outcome.
    #[inline]
    fn know(&mut self, partition: PartitionId) {
        if self.positions.len() <= partition.0 as usize {
            let names = self.partitions.names();
            self.positions = names.iter().map(|name| position_part(name)).collect();
            self.names = names.iter().map(|name| format!("{name}:").into_bytes()).collect();
        }
    }

    /// Appends an outcome that is written at `now`, as a line with its line break or as a record. Returns where it goes; `None`, and nothing, for `dropped`.
    pub fn render(&mut self, outcome: &Outcome, now: Timestamp, out: &mut Vec<u8>) -> Option<SinkKind> {
        let kind = SinkKind::of(outcome)?;
        self.know(partition_of(outcome));
        let [resolved, dead_letter, accepted] = &self.formats;
        let format = match kind {
            SinkKind::Resolved => resolved,
            SinkKind::DeadLetter => dead_letter,
            SinkKind::Accepted => accepted,
        };
        match format {
            Format::Lines => {
                let start = out.len();
                self.write(outcome, now, out)?;
                if has_line_breaks(outcome) {
                    let written = out.iter_mut().skip(start);
                    written.filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
                }
                out.push(b'\n');
            }
            Format::Records { key, limits } => {
                let head = record::begin(out);
                self.write(outcome, now, out)?;
                let size = out.len() - head - record::HEAD_BYTES;
                self.end_record(outcome, key, Extent::Whole, head, out);
                for extent in [Extent::WithoutEvent(size), Extent::Bare(size)] {
                    if limits.admit(out.get(head..).unwrap_or_default()) {
                        break;
                    }
                    out.truncate(head);
                    record::begin(out);
                    self.write_cut(outcome, now, size, out)?;
                    self.end_record(outcome, key, extent, head, out);
                }
            }
        }
        Some(kind)
    }

    /// Writes the outcome. A stream of other rules has no parts, and nothing is written for it.
    #[inline]
    fn write(&self, outcome: &Outcome, now: Timestamp, line: &mut Vec<u8>) -> Option<()> {
        match outcome {
            Outcome::Resolved(dependent) => {
                let parts = self.begin(dependent, |parts| &parts.resolved, line)?;
                write_dependencies(parts, dependent, line);
                write_missing(parts, dependent, Missing::GivenUp, line);
                self.end(dependent, now, line);
            }
            Outcome::Accepted(dependent) => {
                let parts = self.begin(dependent, |parts| &parts.accepted, line)?;
                write_dependencies(parts, dependent, line);
                write_missing(parts, dependent, Missing::All, line);
                self.end(dependent, now, line);
            }
            Outcome::Expired(dependent, reason) => {
                let parts = self.begin(dependent, |parts| &parts.expired, line)?;
                write_dependencies(parts, dependent, line);
                write_missing(parts, dependent, Missing::All, line);
                write_all(line, &[b",\"reason\":\"", reason.as_str().as_bytes(), b"\""]);
                self.end(dependent, now, line);
            }
            Outcome::Rejected(rejection) => self.write_rejection(rejection, line),
            Outcome::Dropped(..) => return None,
        }
        Some(())
    }

    /// Writes an outcome that is too large for its topic: without its event and what that took, or without the record that was rejected. `size` is what it
    /// would have had, in bytes.
    fn write_cut(&self, outcome: &Outcome, now: Timestamp, size: usize, line: &mut Vec<u8>) -> Option<()> {
        let (dependent, reason) = match outcome {
            Outcome::Resolved(dependent) | Outcome::Accepted(dependent) => (dependent, None),
            Outcome::Expired(dependent, reason) => (dependent, Some(reason)),
            Outcome::Rejected(rejection) => {
                let size = Some(size as u64);
                let rejection = Rejection { record: Vec::new(), size, carried: None, ..(**rejection).clone() };
                self.write_rejection(&rejection, line);
                return Some(());
            }
            Outcome::Dropped(..) => return None,
        };
        let parts = self.streams.get(usize::from(dependent.event.header.header.stream.0))?;
        let prefix = match outcome {
            Outcome::Resolved(_) => &parts.resolved,
            Outcome::Accepted(_) => &parts.accepted,
            _ => &parts.expired,
        };
        line.extend_from_slice(prefix.strip_suffix(EVENT_MEMBER).unwrap_or(prefix));
        line.extend_from_slice(b",\"size\":");
        write_integer(size, line);
        if let Some(reason) = reason {
            write_all(line, &[b",\"reason\":\"", reason.as_str().as_bytes(), b"\""]);
        }
        self.end(dependent, now, line);
        Some(())
    }

    /// Writes up to and with the event. A stream of other rules has no parts.
    #[inline]
    fn begin(
        &self,
        dependent: &Dependent,
        prefix: impl FnOnce(&StreamParts) -> &Vec<u8>,
        line: &mut Vec<u8>,
    ) -> Option<&StreamParts> {
        let parts = self.streams.get(usize::from(dependent.event.header.header.stream.0))?;
        line.reserve(dependent.event.slice.len() + 256);
        line.extend_from_slice(prefix(parts));
        line.extend_from_slice(&dependent.event.slice);
        Some(parts)
    }

    /// Writes what follows the references.
    #[inline]
    fn end(&self, dependent: &Dependent, now: Timestamp, line: &mut Vec<u8>) {
        let header = &dependent.event.header.header;
        self.write_position(header.id, line);
        line.extend_from_slice(b",\"waited_us\":");
        write_integer(now.micros_since(header.arrival), line);
        line.push(b'}');
    }

    #[inline]
    fn write_position(&self, id: EventId, line: &mut Vec<u8>) {
        match self.positions.get(id.partition.0 as usize) {
            Some(part) => line.extend_from_slice(part),
            None => line.extend_from_slice(b",\"position\":\"?:"),
        }
        write_integer(id.offset, line);
        line.push(b'"');
    }

    fn write_rejection(&self, rejection: &Rejection, line: &mut Vec<u8>) {
        write_all(
            line,
            &[b"{\"outcome\":\"rejected\",\"reason\":\"", rejection.reason.as_str().as_bytes(), b"\",\"detail\":"],
        );
        write_string(&rejection.detail, line);
        self.write_position(rejection.id, line);
        match str::from_utf8(&rejection.record) {
            Ok(text) => {
                line.extend_from_slice(b",\"record\":");
                write_string(text, line);
            }
            Err(_) => {
                let encoded = STANDARD.encode(&rejection.record);
                write_all(line, &[b",\"record_base64\":\"", encoded.as_bytes(), b"\""]);
            }
        }
        if let Some(size) = rejection.size {
            line.extend_from_slice(b",\"size\":");
            write_integer(size, line);
        }
        line.push(b'}');
    }
}

fn partition_of(outcome: &Outcome) -> PartitionId {
    match outcome {
        Outcome::Resolved(dependent)
        | Outcome::Accepted(dependent)
        | Outcome::Expired(dependent, _)
        | Outcome::Dropped(dependent, _) => dependent.event.header.header.id.partition,
        Outcome::Rejected(rejection) => rejection.id.partition,
    }
}

impl StreamParts {
    fn new(stream: &Stream, rules: &Rules) -> Self {
        let prefix = |outcome: &str| {
            let mut part = format!("{{\"outcome\":\"{outcome}\",\"stream\":").into_bytes();
            write_string(&stream.name, &mut part);
            part.extend_from_slice(EVENT_MEMBER);
            part
        };
        StreamParts {
            resolved: prefix("resolved"),
            accepted: prefix("accepted"),
            expired: prefix("expired"),
            dependencies: stream.depends_on.iter().map(|dependency| DependencyParts::new(dependency, rules)).collect(),
        }
    }
}

impl DependencyParts {
    fn new(dependency: &Dependency, rules: &Rules) -> Self {
        let mut member = Vec::new();
        write_string(&dependency.name, &mut member);
        let mut missing = [b"{\"dependency\":", &member[..], b",\"entity\":"].concat();
        // A resolved twin bears the name of its entity.
        write_string(&rules.entity(dependency.entity).name, &mut missing);
        missing.extend_from_slice(b",\"key\":");
        member.push(b':');
        DependencyParts { member, missing, include: dependency.include.as_deref().map(Include::new) }
    }

    #[inline]
    fn write_referent(&self, found: &Found, line: &mut Vec<u8>) {
        match (found, &self.include) {
            (Found::Present(referent), None) => line.extend_from_slice(&referent.slice),
            (Found::Present(referent), Some(include)) => include.write(&referent.slice, line),
            _ => line.extend_from_slice(b"null"),
        }
    }
}

#[inline]
fn write_dependencies(parts: &StreamParts, dependent: &Dependent, line: &mut Vec<u8>) {
    line.extend_from_slice(b",\"dependencies\":{");
    let mut separator = None;
    let mut rest = dependent.references.as_slice();
    for (index, dependency) in parts.dependencies.iter().enumerate() {
        let of_this = rest.iter().take_while(|reference| usize::from(reference.dependency) == index).count();
        let (references, others) = rest.split_at_checked(of_this).unwrap_or((rest, &[]));
        rest = others;
        let is_array = dependent.arrays & 1 << index != 0;
        if is_array {
            line.extend(separator.replace(b','));
            line.extend_from_slice(&dependency.member);
            write_array(dependency, references, line);
        } else if let Some(Reference { found: found @ Found::Present(_), .. }) = references.first() {
            line.extend(separator.replace(b','));
            line.extend_from_slice(&dependency.member);
            dependency.write_referent(found, line);
        }
    }
    line.push(b'}');
}

fn write_array(dependency: &DependencyParts, references: &[Reference], line: &mut Vec<u8>) {
    line.push(b'[');
    let mut separator = None;
    for reference in references {
        line.extend(separator.replace(b','));
        dependency.write_referent(&reference.found, line);
    }
    line.push(b']');
}

/// Writes the `missing` member. A resolved event has one only if it lacks something; the others always.
#[inline]
fn write_missing(parts: &StreamParts, dependent: &Dependent, which: Missing, line: &mut Vec<u8>) {
    let lacks = |reference: &&Reference| match reference.found {
        Found::Present(_) | Found::Kept => false,
        Found::GivenUp => true,
        Found::Missing | Found::Unknown => which == Missing::All,
    };
    let mut missing = dependent.references.iter().filter(lacks).peekable();
    if which == Missing::GivenUp && missing.peek().is_none() {
        return;
    }
    line.extend_from_slice(b",\"missing\":[");
    let mut separator = None;
    for reference in missing {
        let Some(dependency) = parts.dependencies.get(usize::from(reference.dependency)) else { continue };
        line.extend(separator.replace(b','));
        line.extend_from_slice(&dependency.missing);
        write_key(&reference.key, line);
        line.push(b'}');
    }
    line.push(b']');
}

fn write_key(key: &Key, line: &mut Vec<u8>) {
    match key {
        Key::Int(int) => write_integer(*int, line),
        Key::Big(int) => write_integer(*int, line),
        Key::Text(text) => write_string(&String::from_utf8_lossy(&text.slice), line),
    }
}

#[inline]
fn write_integer(int: impl itoa::Integer, line: &mut Vec<u8>) {
    line.extend_from_slice(itoa::Buffer::new().format(int).as_bytes());
}

fn write_all(line: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| line.extend_from_slice(part));
}

/// Writes a text as a JSON string.
fn write_string(text: &str, line: &mut Vec<u8>) {
    let written = serde_json::to_writer(&mut *line, text);
    debug_assert!(written.is_ok(), "a string can always be written into memory");
}

fn position_part(name: &str) -> Vec<u8> {
    let mut part = b",\"position\":".to_vec();
    write_string(name, &mut part);
    // The offset follows within the string.
    part.pop();
    part.push(b':');
    part
}

/// Whether the event of an outcome or a referent that it has taken has line breaks between its tokens. A line must have none.
#[inline]
fn has_line_breaks(outcome: &Outcome) -> bool {
    let (Outcome::Resolved(dependent) | Outcome::Accepted(dependent) | Outcome::Expired(dependent, _)) = outcome else {
        return false;
    };
    let referents = dependent.references.iter().filter_map(|reference| match &reference.found {
        Found::Present(referent) => Some(referent),
        _ => None,
    });
    [&dependent.event].into_iter().chain(referents).any(|event| event.header.header.line_breaks)
}
