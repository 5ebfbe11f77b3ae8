//! What a record of a topic has besides its value: its key and its headers.

use smallvec::SmallVec;

use super::{Extent, KeyRule, Renderer, include, record, write_integer};
use crate::event::{Carried, Dependent, EventId, Key, Outcome, push_header};

impl Renderer {
    /// Appends key and headers of the outcome whose value has been written behind the head at `head`.
    pub(super) fn end_record(&self, outcome: &Outcome, rule: &KeyRule, extent: Extent, head: usize, out: &mut Vec<u8>) {
        let (dependent, carried, id) = match outcome {
            Outcome::Rejected(rejection) => (None, rejection.carried.as_deref(), rejection.id),
            Outcome::Resolved(dependent)
            | Outcome::Accepted(dependent)
            | Outcome::Expired(dependent, _)
            | Outcome::Dropped(dependent, _) => {
                let header = &dependent.event.header.header;
                (Some(dependent), header.carried.as_deref(), header.id)
            }
        };
        let (carried, dependent) = if matches!(extent, Extent::Bare(_)) { (None, None) } else { (carried, dependent) };
        let start = out.len();
        let has_key = dependent.is_some_and(|dependent| self.write_key(dependent, rule, out))
            || carried.and_then(|carried| carried.key.as_ref()).map(|key| out.extend_from_slice(key)).is_some();
        let key = start..out.len();
        self.write_headers(outcome, carried, id, out);
        if let Extent::WithoutEvent(size) | Extent::Bare(size) = extent {
            push_header(out, "resolvent-size", Some(itoa::Buffer::new().format(size).as_bytes()));
        }
        record::finish(out, head, key, has_key);
    }

    /// Writes what the rule gives as the key. Returns whether it gives one.
    fn write_key(&self, dependent: &Dependent, rule: &KeyRule, out: &mut Vec<u8>) -> bool {
        let header = &dependent.event.header.header;
        let key = match rule {
            KeyRule::Event => header.key.as_ref(),
            KeyRule::Field(pointer) => return write_field(&dependent.event.slice, pointer.tokens(), out),
            KeyRule::Dependency(name) => {
                let stream = self.rules.streams().get(usize::from(header.stream.0));
                let at = stream.and_then(|stream| stream.depends_on.iter().position(|d| d.name == *name));
                at.and_then(|at| dependent.references_of(at).next()).map(|reference| &reference.key)
            }
        };
        match key {
            Some(Key::Int(int)) => write_integer(*int, out),
            Some(Key::Big(int)) => write_integer(*int, out),
            Some(Key::Text(text)) => out.extend_from_slice(&text.slice),
            None => return false,
        }
        true
    }

    fn write_headers(&self, outcome: &Outcome, carried: Option<&Carried>, id: EventId, out: &mut Vec<u8>) {
        out.extend_from_slice(carried.map_or(&[], |carried| carried.headers.as_bytes()));
        let (name, reason) = match outcome {
            Outcome::Resolved(_) => ("resolved", None),
            Outcome::Accepted(_) => ("accepted", None),
            Outcome::Expired(_, reason) => ("expired", Some(reason.as_str())),
            Outcome::Rejected(rejection) => ("rejected", Some(rejection.reason.as_str())),
            Outcome::Dropped(_, reason) => ("dropped", Some(reason.as_str())),
        };
        push_header(out, "resolvent-outcome", Some(name.as_bytes()));
        if let Some(reason) = reason {
            push_header(out, "resolvent-reason", Some(reason.as_bytes()));
        }
        let mut position: SmallVec<[u8; 128]> = SmallVec::new();
        position.extend_from_slice(self.names.get(id.partition.0 as usize).map_or(b"?:", |name| name));
        position.extend_from_slice(itoa::Buffer::new().format(id.offset).as_bytes());
        push_header(out, "resolvent-position", Some(&position));
    }
}

/// Writes a field of an event as a key: a string without its quotation marks and escapes, anything else as it is written. Returns whether there is one; null is
/// none.
fn write_field(event: &[u8], tokens: &[String], out: &mut Vec<u8>) -> bool {
    let Some(raw) = include::find(event, tokens).filter(|raw| *raw != b"null") else { return false };
    if raw.first() == Some(&b'"') {
        let Ok(text) = serde_json::from_slice::<std::borrow::Cow<'_, str>>(raw) else { return false };
        out.extend_from_slice(text.as_bytes());
    } else {
        out.extend_from_slice(raw);
    }
    true
}
