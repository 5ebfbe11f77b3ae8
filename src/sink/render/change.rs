//! Changes of maintained results, as lines and records; and as the present results that a topic keeps by key.

use super::keyed::Head;
use super::{
    Format, Missing, Renderer, has_line_breaks_in, write_all, write_dependencies, write_integer, write_missing,
    write_string,
};
use crate::event::{Change, ResultIdentity, Timestamp};
use crate::sink::record;

impl Renderer {
    /// Appends a change that is written at `now`, as a line with its line break or as a record. Where a topic has the present results, one that another takes
    /// the place of is not written.
    pub fn render_change(&mut self, change: &Change, now: Timestamp, out: &mut Vec<u8>) {
        self.know(change.dependent.event.header.header.id.partition);
        let [resolved, ..] = &self.formats;
        match resolved {
            Format::Lines => {
                let start = out.len();
                self.write_change(change, now, None, out);
                if has_line_breaks_in(&change.dependent) {
                    let written = out.iter_mut().skip(start);
                    written.filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
                }
                out.push(b'\n');
            }
            Format::Records { key, bytes_max } => {
                let head = Head::of_change(change);
                self.write_record(*bytes_max, out, |cut, start, out| {
                    self.write_change(change, now, cut, out);
                    self.end_record(&head, Some(key), cut, start, out);
                });
            }
            Format::Upserts { .. } if change.revised => {}
            Format::Upserts { bytes_max } => self.write_record(*bytes_max, out, |cut, start, out| {
                if change.added {
                    self.write_change(change, now, cut, out);
                }
                self.end_upsert(change, cut, start, out);
            }),
        }
    }

    /// Writes a record, and where it is too large once more: with the size that its value would have had.
    fn write_record(&self, bytes_max: usize, out: &mut Vec<u8>, write: impl Fn(Option<usize>, usize, &mut Vec<u8>)) {
        let start = record::begin(out);
        write(None, start, out);
        if let Some(size) = record::too_large(out, start, bytes_max) {
            out.truncate(start);
            record::begin(out);
            write(Some(size), start, out);
        }
    }

    /// Writes the result that has changed; one that is too large without its event and what that took.
    fn write_change(&self, change: &Change, now: Timestamp, cut: Option<usize>, line: &mut Vec<u8>) {
        let dependent = &change.dependent;
        match cut {
            None => {
                let Some(parts) = self.begin(dependent, |parts| &parts.resolved, line) else { return };
                write_dependencies(parts, dependent, line);
                write_missing(parts, dependent, Missing::GivenUp, line);
            }
            Some(size) => {
                let Some(parts) = self.streams.get(usize::from(dependent.event.header.header.stream.0)) else { return };
                line.extend_from_slice(parts.resolved.strip_suffix(super::EVENT_MEMBER).unwrap_or(&parts.resolved));
                line.extend_from_slice(b",\"size\":");
                write_integer(size, line);
            }
        }
        self.end(dependent, now, line);
        // More members follow.
        line.pop();
        write_all(line, &[b",\"change\":", if change.added { b"1" } else { b"-1" }, b",\"epoch\":"]);
        write_integer(change.epoch.0, line);
        line.extend_from_slice(b",\"identity\":");
        write_string(&self.identity(change), line);
        line.push(b'}');
    }

    /// `ENTITY/KEY`, the key as JSON, or the position of the event.
    pub(super) fn identity(&self, change: &Change) -> String {
        match &change.identity {
            ResultIdentity::Key(entity, key) => format!("{}/{key}", self.rules.entity(*entity).name),
            ResultIdentity::Position => self.partitions.position(change.dependent.event.header.header.id),
        }
    }
}
