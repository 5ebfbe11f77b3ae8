//! Cuts the bytes of one file into runs of whole lines, and keeps only the head of a line that is too long.

use std::mem;

use memchr::{memchr, memrchr};

/// A run of records, as it becomes the content of a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Whole lines, none longer than the limit; the last one of a file may lack its line break.
    Lines { base: u64, bytes: Vec<u8> },
    /// The head of one line over the limit, and its length without the line break.
    Oversized { offset: u64, head: Vec<u8>, size: u64 },
}

/// Bytes go in at [`LineCutter::room`], pieces come out of [`LineCutter::next`]; each byte is copied at most once, and
/// usually never.
///
/// Holds no more than what was put in last and one line up to the limit.
#[derive(Debug)]
pub(super) struct LineCutter {
    record_bytes_max: usize,
    buffer: Vec<u8>,
    /// An empty buffer to go on with when this one has become a block.
    spare: Vec<u8>,
    /// Bytes of `buffer` that are done with.
    start: usize,
    /// Offset in the file of `buffer[start]`.
    base: u64,
    /// Bytes after `start` that are known to hold no line break, so that a long line is searched once.
    searched: usize,
    /// The line over the limit whose line break has not come yet.
    skipping: Option<Skipping>,
}

#[derive(Debug)]
struct Skipping {
    offset: u64,
    head: Vec<u8>,
    size: u64,
}

impl Skipping {
    fn into_piece(self) -> Piece {
        Piece::Oversized { offset: self.offset, head: self.head, size: self.size }
    }
}

impl LineCutter {
    /// A cutter of what follows byte `base`.
    pub(super) fn new(base: u64, record_bytes_max: usize) -> Self {
        LineCutter {
            record_bytes_max,
            buffer: Vec::new(),
            spare: Vec::new(),
            start: 0,
            base,
            searched: 0,
            skipping: None,
        }
    }

    /// The buffer, with room for `bytes` more: they are to be appended.
    pub(super) fn room(&mut self, bytes: usize) -> &mut Vec<u8> {
        let wanted = self.rest().len() + bytes;
        if self.buffer.capacity() < wanted && self.spare.capacity() >= wanted {
            let mut spare = mem::take(&mut self.spare);
            spare.extend_from_slice(self.rest());
            self.buffer = spare;
        } else {
            self.buffer.drain(..self.start);
        }
        self.start = 0;
        self.buffer.reserve(bytes);
        &mut self.buffer
    }

    /// Takes back an empty buffer, to fill it again.
    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > self.spare.capacity() {
            self.spare = buffer;
        }
    }

    /// Where the next piece starts: the position that what came out so far leads to.
    pub(super) fn handed_out(&self) -> u64 {
        self.skipping.as_ref().map_or(self.base, |skipping| skipping.offset)
    }

    /// Where what was put in ends.
    pub(super) fn read_to(&self) -> u64 {
        self.base + self.rest().len() as u64
    }

    /// What was put in and has not come out.
    pub(super) fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// The next piece, or nothing until more is put in.
    pub(super) fn next(&mut self) -> Option<Piece> {
        if self.skipping.is_none() {
            let whole = self.whole_lines();
            if whole > 0 {
                return Some(self.take_lines(whole));
            }
            let head =
                self.rest().get(..=self.record_bytes_max).map(|over| over.split_at(self.record_bytes_max).0.to_vec());
            let Some(head) = head else {
                self.searched = self.rest().len();
                return None;
            };
            let (offset, size) = (self.base, head.len() as u64);
            self.advance(head.len());
            self.skipping = Some(Skipping { offset, head, size });
        }
        self.skip_line()
    }

    /// What is left at the end of the file: a line without its line break.
    pub(super) fn finish(&mut self) -> Option<Piece> {
        match self.skipping.take() {
            Some(skipping) => Some(skipping.into_piece()),
            None if self.rest().is_empty() => None,
            None => Some(self.take_lines(self.rest().len())),
        }
    }

    /// The length of the longest run of whole lines in front, none over the limit.
    ///
    /// Looks for the last line break within reach of the longest line allowed, and again from there: whole lines in
    /// between are never looked at.
    fn whole_lines(&self) -> usize {
        let rest = self.rest();
        let mut end = 0_usize;
        loop {
            let within_reach = rest.len().min(end.saturating_add(self.record_bytes_max).saturating_add(1));
            let from = end.max(self.searched);
            match rest.get(from..within_reach).and_then(|window| memrchr(b'\n', window)) {
                Some(at) => end = from + at + 1,
                None => return end,
            }
        }
    }

    fn take_lines(&mut self, length: usize) -> Piece {
        let base = self.base;
        // The buffer itself becomes the block, unless that would take little of it along or move much out of it.
        let bytes = if self.start == 0 && length * 2 >= self.buffer.capacity() {
            let rest = self.buffer.split_off(length);
            self.base += length as u64;
            self.searched = 0;
            mem::replace(&mut self.buffer, rest)
        } else {
            let lines = self.rest().split_at(length).0.to_vec();
            self.advance(length);
            lines
        };
        Piece::Lines { base, bytes }
    }

    /// Drops bytes up to the line break of the line that is too long.
    fn skip_line(&mut self) -> Option<Piece> {
        let line_break = memchr(b'\n', self.rest());
        let dropped = line_break.unwrap_or(self.rest().len());
        if let Some(skipping) = &mut self.skipping {
            skipping.size += dropped as u64;
        }
        self.advance(dropped + usize::from(line_break.is_some()));
        match line_break {
            Some(_) => self.skipping.take().map(Skipping::into_piece),
            None => None,
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.start += bytes;
        self.base += bytes as u64;
        self.searched = 0;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
    }
}
