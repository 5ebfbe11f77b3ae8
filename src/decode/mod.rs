//! Records become events: JSON is checked, the fields that the rules name are taken, and what is no event is rejected with its reason.
//!
//! A malformed record is data on its way to a sink, never an error, and never harms the records around it. Nothing is looked up here.
//!
//! JSON is what RFC 8259 says, in UTF-8, with these decisions: a byte order mark at the start of a file is skipped; of members with the same name
//! the last counts; an unpaired surrogate (`"\ud800"`) and a number beyond the range of a double (`1e999`) are invalid, as `serde_json` has it;
//! nesting is limited. The event keeps its bytes as they were read, without the white space around them.

mod build;
mod collect;
mod debezium;
mod fields;
mod number;
mod scan;
#[cfg(test)]
mod tests;
mod topic;

use std::ops::Range;
use std::str::Utf8Error;
use std::sync::Arc;

use memchr::memchr;

use crate::dependency::{Place, Rules};
use crate::event::{Block, Content, Dependent, EventId, RejectedReason, Rejection, Spare, TopicRecord};
use build::{Origin, Plan};
use collect::{Value, Values};
use fields::FieldId;
use scan::NotJson;
use topic::Envelope;

/// What a record became.
#[derive(Clone, Debug)]
pub enum Decoded {
    /// An event; none of its references has been looked up.
    Event(Box<Dependent>),
    /// No event.
    Rejected(Box<Rejection>),
}

/// Decodes the records of blocks. One for each worker.
#[derive(Debug)]
pub struct Decoder {
    plan: Plan,
}

/// The bytes of a block.
#[derive(Clone, Copy)]
struct Bytes<'b> {
    bytes: &'b [u8],
    /// The same, where they are known to be UTF-8.
    text: Option<&'b str>,
}

/// Why a record is no event, before its bytes are copied.
#[derive(Debug)]
struct Fault {
    reason: RejectedReason,
    detail: String,
}

impl Fault {
    fn new(reason: RejectedReason, detail: impl Into<String>) -> Self {
        Fault { reason, detail: detail.into() }
    }
}

impl Decoder {
    /// A decoder by `rules`. `stream_field` is what of a record names its stream; where a block says that itself, it is not looked at.
    pub fn new(rules: Arc<Rules>, stream_field: Option<&Place>) -> Self {
        Decoder { plan: Plan::new(&rules, stream_field) }
    }

    /// The same; with `carries` events and rejections keep key and headers of their records, for sinks that pass them on.
    pub fn carrying(mut self, carries: bool) -> Self {
        self.plan.carries = carries;
        self
    }

    /// Where it takes boxes for events from, to be given those that have ended.
    pub fn spare(&self) -> Spare {
        self.plan.spare.clone()
    }

    /// Decodes every record of a block, in order.
    pub fn decode(&mut self, block: &Block, out: &mut impl FnMut(Decoded)) {
        match &block.content {
            Content::Lines { base, bytes } => self.decode_lines(block, *base, bytes, out),
            Content::Records { records, bytes } => self.decode_records(block, records, bytes, out),
            Content::Oversized { offset, head, size } => out(oversized(block, *offset, head, *size)),
        }
    }

    fn decode_records(&self, block: &Block, records: &[TopicRecord], bytes: &[u8], out: &mut impl FnMut(Decoded)) {
        // As for lines; keys and the lengths of headers may be the reason why a block is not valid.
        let all = Bytes { bytes, text: simdutf8::basic::from_utf8(bytes).ok() };
        let mut values = Values::new(self.plan.fields(), bytes);
        for record in records {
            let id = EventId { partition: block.partition, offset: record.offset };
            let part = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
            let key = record.key.as_ref().map(part);
            let envelope = Envelope { key, timestamp: record.timestamp, headers: part(&record.headers) };
            let origin = Origin { block, id, envelope: &envelope };
            let Some(value) = &record.value else {
                out(self.decoded(&origin, &[], self.plan.tombstone(&origin)));
                continue;
            };
            let inner = without_white_space(part(value));
            let range = value.start + inner.start..value.start + inner.end;
            out(self.decode_record(&origin, all, range, &mut values));
        }
    }

    fn decode_lines(&self, block: &Block, base: u64, bytes: &[u8], out: &mut impl FnMut(Decoded)) {
        // Checked once for the block: records of a valid block need no check of their own.
        let all = Bytes { bytes, text: simdutf8::basic::from_utf8(bytes).ok() };
        let mut values = Values::new(self.plan.fields(), bytes);
        let mut start = if base == 0 && bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let mut offset = base;
        while let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) {
            let line = rest.get(..memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
            let record = without_white_space(line);
            if !record.is_empty() {
                let id = EventId { partition: block.partition, offset };
                let origin = Origin { block, id, envelope: &NO_ENVELOPE };
                let from = start + record.start;
                out(self.decode_record(&origin, all, from..start + record.end, &mut values));
            }
            start += line.len() + 1;
            offset = base + start as u64;
        }
    }

    fn decode_record<'b>(
        &self,
        origin: &Origin<'_>,
        all: Bytes<'b>,
        range: Range<usize>,
        values: &mut Values<'b>,
    ) -> Decoded {
        let end = range.end;
        let bytes = all.bytes.get(range.clone()).unwrap_or_default();
        let record = match all.text.and_then(|text| text.get(range.clone())) {
            Some(record) => Ok(record),
            None => str::from_utf8(bytes).map_err(|error| invalid_utf8(bytes, error)),
        };
        if self.plan.has_row_changes {
            let dependent = record.and_then(|record| self.read_change(origin, record, range.start, values));
            return self.decoded(origin, bytes, dependent);
        }
        let read = record.and_then(|record| self.read(record, end, values));
        let dependent = read.and_then(|()| self.plan.dependent(origin, bytes, values));
        self.decoded(origin, bytes, dependent)
    }

    #[inline]
    fn decoded(&self, origin: &Origin<'_>, record: &[u8], dependent: Result<Box<Dependent>, Fault>) -> Decoded {
        match dependent {
            Ok(dependent) => Decoded::Event(dependent),
            Err(Fault { reason, detail }) => Decoded::Rejected(Box::new(Rejection {
                id: origin.id,
                arrival: origin.block.arrival,
                reason,
                detail,
                record: record.to_vec(),
                size: None,
                carried: self.plan.carried(origin.envelope),
            })),
        }
    }

    /// The event of a record at `start` of its block that may be a change of a row: of the row, then, and not of what is around it.
    fn read_change<'b>(
        &self,
        origin: &Origin<'_>,
        record: &'b str,
        start: usize,
        values: &mut Values<'b>,
    ) -> Result<Box<Dependent>, Fault> {
        let of_block = origin.block.stream.filter(|stream| self.plan.is_row_change(*stream));
        let stream = match of_block {
            Some(stream) => stream,
            None => {
                self.read(record, start + record.len(), values)?;
                let (stream, _) = self.plan.stream_of(origin, Some(values))?;
                if !self.plan.is_row_change(stream) {
                    return self.plan.dependent(origin, record.as_bytes(), values);
                }
                stream
            }
        };
        let change = debezium::read(record)?;
        let row = record.get(change.row.clone()).unwrap_or_default();
        self.read(row, start + change.row.end, values)?;
        self.plan.row(origin, stream, row.as_bytes(), values, change.deletes)
    }

    fn read<'b>(&self, record: &'b str, end: usize, values: &mut Values<'b>) -> Result<(), Fault> {
        values.read(self.plan.fields(), record, end).map_err(|NotJson| invalid_json(record))?;
        match values.get(FieldId::ROOT) {
            Value::Object => Ok(()),
            other => {
                let detail = format!("expected an object, found {}", values.describe(other));
                Err(Fault::new(RejectedReason::NotAnObject, detail))
            }
        }
    }
}

/// That of a line of a file.
const NO_ENVELOPE: Envelope<'_> = Envelope { key: None, timestamp: None, headers: &[] };

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The range of a line that is left without the white space of JSON at both ends.
#[inline]
fn without_white_space(line: &[u8]) -> Range<usize> {
    let is_white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    match (line.first(), line.last()) {
        (Some(first), Some(last)) if !is_white(first) && !is_white(last) => 0..line.len(),
        _ => {
            let end = line.iter().rposition(|byte| !is_white(byte)).map_or(0, |last| last + 1);
            line.iter().position(|byte| !is_white(byte)).unwrap_or(end)..end
        }
    }
}

#[cold]
fn invalid_utf8(record: &[u8], error: Utf8Error) -> Fault {
    let at = error.valid_up_to();
    let detail = match record.get(at) {
        Some(byte) => format!("byte 0x{byte:02x} at column {} is not UTF-8", at + 1),
        None => error.to_string(),
    };
    Fault::new(RejectedReason::InvalidUtf8, detail)
}

/// Why a record is not JSON, as `serde_json` says it, which accepts the same.
#[cold]
fn invalid_json(record: &str) -> Fault {
    let detail = match serde_json::from_str::<serde_json::Value>(record) {
        Err(error) => {
            let said = error.to_string().replace(" at line 1 column ", " at column ");
            said.replace("expected ident", "expected `true`, `false` or `null`")
        }
        Ok(_) => "not JSON".to_owned(),
    };
    Fault::new(RejectedReason::InvalidJson, detail)
}

#[cold]
fn oversized(block: &Block, offset: u64, head: &[u8], size: u64) -> Decoded {
    let id = EventId { partition: block.partition, offset };
    let detail = format!("{size} bytes are more than the job's `max_record`; the first {} are kept", head.len());
    // The cut may have gone through a character, which is no reason to call the record something else than text.
    let whole = match str::from_utf8(head) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => head.len(),
    };
    let record = head.get(..whole).unwrap_or(head).to_vec();
    let reason = RejectedReason::TooLarge;
    Decoded::Rejected(Box::new(Rejection {
        id,
        arrival: block.arrival,
        reason,
        detail,
        record,
        size: Some(size),
        carried: None,
    }))
}
