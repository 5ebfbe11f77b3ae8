//! Counts and checksums of outcome lines, whatever their order.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use memchr::memmem;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::Result;

/// The streams of Nexmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Person,
    Auction,
    Bid,
}

impl Stream {
    /// By the first letter of its name.
    fn of(letter: u8) -> Option<Stream> {
        match letter {
            b'p' => Some(Stream::Person),
            b'a' => Some(Stream::Auction),
            b'b' => Some(Stream::Bid),
            _ => None,
        }
    }

    fn name(self) -> &'static [u8] {
        match self {
            Stream::Person => b"person",
            Stream::Auction => b"auction",
            Stream::Bid => b"bid",
        }
    }
}

/// How many lines of a stream there were, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) lines: u64,
    pub(crate) checksum: u64,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.lines += other.lines;
        self.checksum = self.checksum.wrapping_add(other.checksum);
    }
}

/// The resolved events, by stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) person: Count,
    pub(crate) auction: Count,
    pub(crate) bid: Count,
}

impl Tally {
    /// Counts a line by its part before `,"position":`: the stream, the event and its dependencies.
    pub(crate) fn count(&mut self, stream: Stream, part: &[u8]) {
        let count = match stream {
            Stream::Person => &mut self.person,
            Stream::Auction => &mut self.auction,
            Stream::Bid => &mut self.bid,
        };
        count.add(Count { lines: 1, checksum: xxh3_64(part) });
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.person.add(other.person);
        self.auction.add(other.auction);
        self.bid.add(other.bid);
    }

    /// All lines.
    pub(crate) fn lines(&self) -> u64 {
        self.person.lines + self.auction.lines + self.bid.lines
    }
}

/// Tallies the lines that a job writes. Any that is not a resolved event of Nexmark is an error.
pub(crate) fn of_outcomes(lines: impl Read) -> Result<Tally> {
    const BEGIN: &[u8] = b"{\"outcome\":\"resolved\",\"stream\":\"";
    let position = memmem::FinderRev::new(b",\"position\":\"");
    let mut tally = Tally::default();
    each_line(lines, |line| {
        let stream = line.strip_prefix(BEGIN).and_then(|rest| Stream::of(*rest.first()?));
        let part = position.rfind(line).and_then(|end| line.get(..end));
        let (Some(stream), Some(part)) = (stream, part) else {
            return Err(format!("not a line of a resolved event: {}", String::from_utf8_lossy(line)).into());
        };
        tally.count(stream, part);
        Ok(())
    })?;
    Ok(tally)
}

/// Tallies the lines that are right where nothing is joined: every event of the input with no dependencies.
pub(crate) fn of_input(path: &Path) -> Result<Tally> {
    const TYPE: &[u8] = b"{\"type\":\"";
    let mut tally = Tally::default();
    let mut outcome = Vec::new();
    each_line(std::fs::File::open(path)?, |line| {
        let Some(stream) = line.strip_prefix(TYPE).and_then(|rest| Stream::of(*rest.first()?)) else {
            return Err("the input is not as it was made: delete it".into());
        };
        outcome.clear();
        for part in [b"{\"outcome\":\"resolved\",\"stream\":\"", stream.name(), b"\",\"event\":", line] {
            outcome.extend_from_slice(part);
        }
        outcome.extend_from_slice(b",\"dependencies\":{}");
        tally.count(stream, &outcome);
        Ok(())
    })?;
    Ok(tally)
}

/// Calls `each` with every line, without its line break.
pub(crate) fn each_line(lines: impl Read, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut lines = BufReader::with_capacity(1 << 20, lines);
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        each(line.strip_suffix(b"\n").unwrap_or(&line))?;
    }
}
