//! Changes of rows as Debezium writes them: which row there is now, or which is gone.
//!
//! `{"op":"u","before":{…},"after":{…},…}`, or the same as `payload` beside a `schema`, as Kafka Connect writes it where schemas are enabled.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::collect::cut;
use super::{Fault, invalid_json};
use crate::event::RejectedReason;

/// What a record says of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowChange {
    /// Where the row is in the record.
    pub(super) row: Range<usize>,
    /// Whether the row is gone.
    pub(super) deletes: bool,
}

#[derive(Deserialize)]
struct Envelope<'r> {
    #[serde(borrow)]
    op: Option<Cow<'r, str>>,
    #[serde(borrow)]
    before: Option<&'r RawValue>,
    #[serde(borrow)]
    after: Option<&'r RawValue>,
    #[serde(borrow)]
    payload: Option<&'r RawValue>,
}

/// Reads the change that a record is.
pub(super) fn read(record: &str) -> Result<RowChange, Fault> {
    let outer = parse(record, record)?;
    let inner = match outer.payload.filter(|_| outer.op.is_none()) {
        Some(payload) => parse(payload.get(), record)?,
        None => outer,
    };
    let Some(op) = inner.op else { return Err(invalid("`op` is missing: this is no change event of Debezium")) };
    let (row, name, deletes) = match op.as_ref() {
        "c" | "r" | "u" => (inner.after, "after", false),
        "d" => (inner.before, "before", true),
        other => return Err(invalid(format!("`op` is {:?}, expected c, r, u or d", cut(other, 40)))),
    };
    let Some(row) = row.map(RawValue::get) else {
        return Err(invalid(format!("`op` is {op:?}, and `{name}` has no row")));
    };
    // The row is borrowed from the record.
    let start = (row.as_ptr() as usize).saturating_sub(record.as_ptr() as usize);
    Ok(RowChange { row: start..start + row.len(), deletes })
}

fn parse<'r>(text: &'r str, record: &'r str) -> Result<Envelope<'r>, Fault> {
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => invalid(format!("this is no change event of Debezium: {error}")),
        _ => invalid_json(record),
    })
}

fn invalid(detail: impl Into<String>) -> Fault {
    Fault::new(RejectedReason::InvalidChange, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_which_row_there_is_or_is_no_more() {
        let cases = [
            (r#"{"op":"c","before":null,"after":{"id":1}}"#, Ok((r#"{"id":1}"#, false))),
            (r#"{"after": {"id": 1.0} ,"op":"r"}"#, Ok((r#"{"id": 1.0}"#, false))),
            (r#"{"before":{"id":1},"after":{"id":1,"a":2},"op":"u","ts_ms":3}"#, Ok((r#"{"id":1,"a":2}"#, false))),
            (r#"{"before":{"id":1},"after":null,"op":"d"}"#, Ok((r#"{"id":1}"#, true))),
            (r#"{"schema":{"op":1},"payload":{"op":"d","before":{"id":2}}}"#, Ok((r#"{"id":2}"#, true))),
            (r#"{"op":"t"}"#, Err(r#"`op` is "t", expected"#)),
            (r#"{"op":"d","before":null}"#, Err("`before` has no row")),
            (r#"{"op":"u","before":{"id":1}}"#, Err("`after` has no row")),
            (r#"{"id":1}"#, Err("`op` is missing")),
            (r#"{"op":1,"after":{}}"#, Err("no change event")),
            (r#"[1]"#, Err("no change event")),
            (r#"{"op":"c","after":{"#, Err("EOF")),
        ];
        for (record, expected) in cases {
            match (read(record), expected) {
                (Ok(change), Ok((row, deletes))) => assert_eq!((&record[change.row], change.deletes), (row, deletes)),
                (Err(fault), Err(detail)) => assert!(fault.detail.contains(detail), "{record}: {}", fault.detail),
                (found, _) => panic!("{record}: {found:?}"),
            }
        }
    }
}
