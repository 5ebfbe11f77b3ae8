//! Changes of maintained results, as lines and records; and as the present results that a topic keeps by key.

use super::keyed::Head;
use super::{
    Format, Missing, Renderer, has_line_breaks_in, write_all, write_dependencies, write_integer, write_missing,
    write_string,
};
use crate::event::{Change, ResultIdentity, Timestamp};

impl Renderer {
    /// Appends a change that is written at `now`, as a line with its line break or as a record. Where a topic has the present results, one that another takes
    /// the place of is not written.
    pub fn render_change(&mut self, change: &Change, now: Timestamp, out: &mut Vec<u8>) {
        self.know(change.dependent.event.header.header.id.partition);
        let [resolved, ..] = &self.formats;
        match resolved {
            Format::Lines => {
                let start = out.len();
                if self.write_change(change, now, None, out).is_none() {
                    return;
                }
                if has_line_breaks_in(&change.dependent) {
                    let written = out.iter_mut().skip(start);
                    written.filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
                }
                out.push(b'\n');
            }
            Format::Records { key, limits } => {
                let of = Head::of_change(change);
                self.write_record(*limits, out, |extent, head, out| {
                    self.write_change(change, now, extent.size(), out)?;
                    self.end_record(&of, key, extent, head, out);
                    Some(())
                });
            }
            Format::Upserts { .. } if change.revised => {}
            Format::Upserts { limits } => {
                self.write_record(*limits, out, |extent, head, out| {
                    if change.added {
                        self.write_change(change, now, extent.size(), out)?;
                    }
                    self.end_upsert(change, extent, head, out);
                    Some(())
                });
            }
        }
    }

    /// Writes the result that has changed; where it is cut, without its event and what that took, and with the size that it would have had. A stream of other
    /// rules has no parts, and nothing is written for it.
    fn write_change(&self, change: &Change, now: Timestamp, cut: Option<usize>, line: &mut Vec<u8>) -> Option<()> {
        let dependent = &change.dependent;
        match cut {
            None => {
                let parts = self.begin(dependent, |parts| &parts.resolved, line)?;
                write_dependencies(parts, dependent, line);
                write_missing(parts, dependent, Missing::GivenUp, line);
            }
            Some(size) => {
                let parts = self.streams.get(usize::from(dependent.event.header.header.stream.0))?;
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
        Some(())
    }

    /// `ENTITY/KEY`, the key as JSON, or the position of the event.
    pub(super) fn identity(&self, change: &Change) -> String {
        match &change.identity {
            ResultIdentity::Key(entity, key) => format!("{}/{key}", self.rules.entity(*entity).name),
            ResultIdentity::Position => self.partitions.position(change.dependent.event.header.header.id),
        }
    }
}
