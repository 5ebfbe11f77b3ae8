//! One input: its bytes from where reading starts to where it ends, checked and cut into pieces.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memrchr;

use super::super::{FileInput, Follow, Limits, SourceError};
use super::fingerprint::Witness;
use super::lines::{LineCutter, Piece};
use super::origin::{self, Encoding, Filled, Origin};
use crate::event::{PartitionId, StreamId};

/// How long a length that was looked up holds.
const LENGTH_KEEPS: Duration = Duration::from_millis(100);

/// Bytes that are searched at once for the last line break. Few in tests, so that small files have more.
const SEARCHED_AT_ONCE: usize = if cfg!(test) { 3 } else { 16 << 10 };

/// What an input has next.
pub(super) enum Polled {
    /// Records, and the position after them.
    Piece(Piece, u64),
    /// Bytes were read, and no record is complete yet.
    Progress,
    /// Nothing new at present.
    Nothing,
    /// There will never be more.
    Ended,
}

/// One file or pipe.
pub(super) struct Input {
    path: String,
    pub(super) partition: PartitionId,
    pub(super) stream: Option<StreamId>,
    origin: Origin,
    cutter: LineCutter,
    read_bytes: usize,
    /// Where reading starts.
    from: u64,
    /// Bytes of a compressed file before `from` that have to be passed over.
    skip: u64,
    /// `from` is preceded by something else than a line break, so a line break has to follow.
    in_line: bool,
    /// Where reading ends; open where the input is followed, or ends when it says so.
    to: Option<u64>,
    /// The length at the time of opening, of a plain file.
    length_at_open: Option<u64>,
    caught_up: bool,
    ended: bool,
    length_seen: Cell<Option<(Instant, u64)>>,
}

impl Input {
    /// Opens an input to be read from `from` to `to`; without `to`: as far as `follow` says.
    pub(super) fn open(
        input: &FileInput,
        partition: PartitionId,
        limits: Limits,
        from: u64,
        to: Option<u64>,
        follow: Follow,
    ) -> Result<Input, SourceError> {
        let mut opened = Input {
            path: input.path.clone(),
            partition,
            stream: input.stream,
            origin: Origin::open(&input.path)?,
            cutter: LineCutter::new(from, limits.record_bytes_max),
            read_bytes: limits.block_bytes.max(1),
            from,
            skip: 0,
            in_line: false,
            to,
            length_at_open: None,
            caught_up: false,
            ended: false,
            length_seen: Cell::new(None),
        };
        match &opened.origin {
            Origin::Plain(file) => {
                let length = origin::length(file).map_err(|source| opened.read_error(source))?;
                let reach = from.max(to.unwrap_or(0));
                if reach > length {
                    return Err(SourceError::NoLongerHeld { path: opened.path, offset: reach, length });
                }
                origin::seek(file, from).map_err(|source| opened.read_error(source))?;
                opened.in_line = match line_start(file, from).map_err(|source| opened.read_error(source))? {
                    LineStart::Inside => return Err(SourceError::InsideALine { path: opened.path, offset: from }),
                    LineStart::Unended => true,
                    LineStart::Here => false,
                };
                opened.length_at_open = Some(length);
                if to.is_none() {
                    opened.to = match follow {
                        Follow::No => Some(length),
                        Follow::UntilEnd => {
                            Some(whole_lines(file, from, length).map_err(|source| opened.read_error(source))?)
                        }
                        Follow::Yes => None,
                    };
                }
            }
            Origin::Compressed(..) => opened.skip = from,
            Origin::Pipe(_) => {}
        }
        Ok(opened)
    }

    /// The pipe to wait on, if this is one with more to come.
    pub(super) fn pipe(&self) -> Option<&crossbeam_channel::Receiver<io::Result<Vec<u8>>>> {
        match &self.origin {
            Origin::Pipe(reads) if !self.ended => Some(reads),
            _ => None,
        }
    }

    /// What its fingerprint can be taken of; a pipe has none.
    pub(super) fn witness(&self) -> Option<Witness> {
        let (file, used) = match &self.origin {
            Origin::Plain(file) => (file, None),
            Origin::Compressed(_, stored) => (&stored.file, Some(Arc::clone(&stored.used))),
            Origin::Pipe(_) => return None,
        };
        Some(Witness { path: self.path.clone(), partition: self.partition, file: Arc::clone(file), used })
    }

    /// Whether everything up to the end that it had at the time of opening was handed out (a partial last line of a
    /// followed file excepted).
    pub(super) fn caught_up(&self) -> bool {
        self.caught_up
    }

    /// Whether there will never be more.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Bytes between what was handed out and the present end, where that is known.
    pub(super) fn lag(&self) -> Option<u64> {
        match &self.origin {
            Origin::Plain(file) => Some(self.present_length(file)?.saturating_sub(self.cutter.handed_out())),
            Origin::Compressed(..) | Origin::Pipe(_) => self.ended.then_some(0),
        }
    }

    /// What comes next. Reads at most once.
    pub(super) fn poll(&mut self) -> Result<Polled, SourceError> {
        if self.ended {
            return Ok(Polled::Ended);
        }
        if let Some(piece) = self.cutter.next() {
            return Ok(Polled::Piece(piece, self.cutter.handed_out()));
        }
        let filled = if self.skip > 0 { self.skip_some()? } else { self.fill()? };
        match filled {
            Filled::Some => match self.cutter.next() {
                Some(piece) => Ok(Polled::Piece(piece, self.cutter.handed_out())),
                None => Ok(Polled::Progress),
            },
            Filled::Nothing => {
                self.caught_up = self.caught_up || self.length_at_open.is_some_and(|end| self.cutter.read_to() >= end);
                Ok(Polled::Nothing)
            }
            Filled::End => match self.cutter.finish() {
                Some(piece) => Ok(Polled::Piece(piece, self.cutter.read_to())),
                None => {
                    self.caught_up = true;
                    self.ended = true;
                    Ok(Polled::Ended)
                }
            },
        }
    }

    /// Takes back an empty buffer.
    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        self.cutter.recycle(buffer);
    }

    /// Puts more bytes into the cutter, up to the bound.
    fn fill(&mut self) -> Result<Filled, SourceError> {
        let read_to = self.cutter.read_to();
        let left = self.to.map_or(u64::MAX, |to| to.saturating_sub(read_to));
        if left == 0 {
            return Ok(Filled::End);
        }
        let max = usize::try_from(left).unwrap_or(usize::MAX).min(self.read_bytes);
        let filled = self.origin.fill(self.cutter.room(max), max).map_err(|source| self.read_error(source))?;
        match filled {
            Filled::Some => self.check_line_start(),
            Filled::Nothing => self.check_at_end(),
            Filled::End => match self.to {
                Some(to) => Err(SourceError::NoLongerHeld { path: self.path.clone(), offset: to, length: read_to }),
                None => Ok(Filled::End),
            },
        }
    }

    /// Passes over bytes before `from`.
    fn skip_some(&mut self) -> Result<Filled, SourceError> {
        let max = usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.read_bytes);
        let mut passed = Vec::with_capacity(max);
        self.origin.fill(&mut passed, max).map_err(|source| self.read_error(source))?;
        let Some(last) = passed.last() else {
            let length = self.from - self.skip;
            return Err(SourceError::NoLongerHeld { path: self.path.clone(), offset: self.from, length });
        };
        self.skip -= passed.len() as u64;
        self.in_line = self.skip == 0 && *last != b'\n';
        Ok(Filled::Some)
    }

    /// Where the last record read in an earlier run had no line break, only that line break may have come since.
    fn check_line_start(&mut self) -> Result<Filled, SourceError> {
        if self.in_line && !matches!(self.cutter.rest().first(), Some(b'\n' | b'\r')) {
            return Err(SourceError::InsideALine { path: self.path.clone(), offset: self.from });
        }
        self.in_line = false;
        Ok(Filled::Some)
    }

    /// A plain file gave nothing: right only at the end of a followed one that is still the same.
    fn check_at_end(&self) -> Result<Filled, SourceError> {
        let Origin::Plain(file) = &self.origin else {
            return Ok(Filled::Nothing);
        };
        let offset = self.cutter.read_to();
        let length = origin::length(file).map_err(|source| self.read_error(source))?;
        if self.to.is_some() || length < offset.max(self.length_at_open.unwrap_or(0)) {
            return Err(SourceError::Truncated { path: self.path.clone(), offset, length });
        }
        if length == offset && origin::is_replaced(file, &self.path).map_err(|source| self.read_error(source))? {
            return Err(SourceError::Replaced { path: self.path.clone(), offset });
        }
        Ok(Filled::Nothing)
    }

    fn present_length(&self, file: &File) -> Option<u64> {
        let now = Instant::now();
        if let Some((at, length)) = self.length_seen.get()
            && now.duration_since(at) < LENGTH_KEEPS
        {
            return Some(length);
        }
        let length = origin::length(file).ok()?;
        self.length_seen.set(Some((now, length)));
        Some(length)
    }

    fn read_error(&self, source: io::Error) -> SourceError {
        let path = self.path.clone();
        let offset = if self.skip > 0 { self.from - self.skip } else { self.cutter.read_to() };
        match (&self.origin, Encoding::of(&self.path)) {
            (Origin::Plain(_), _) | (_, Encoding::Plain) => SourceError::Read { path, offset, source },
            (_, Encoding::Gzip | Encoding::Zstd) => SourceError::Damaged { path, offset, source },
        }
    }
}

/// Where the last line break before `to` ends, and nowhere before `from`.
fn whole_lines(file: &File, from: u64, to: u64) -> io::Result<u64> {
    let mut end = to;
    let mut bytes = [0; SEARCHED_AT_ONCE];
    while end > from {
        let start = end.saturating_sub(SEARCHED_AT_ONCE as u64).max(from);
        let part = usize::try_from(end - start).ok().and_then(|length| bytes.get_mut(..length)).unwrap_or_default();
        file.read_exact_at(part, start)?;
        if let Some(at) = memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(from)
}

/// What a place in a plain file is to the lines around it.
enum LineStart {
    /// A line starts here.
    Here,
    /// The line before has no line break, and may still get it.
    Unended,
    /// It is inside a line.
    Inside,
}

fn line_start(file: &File, at: u64) -> io::Result<LineStart> {
    if at == 0 {
        return Ok(LineStart::Here);
    }
    let mut around = [0; 2];
    let read = file.read_at(&mut around, at - 1)?;
    Ok(match around.get(..read) {
        Some([b'\n', ..]) => LineStart::Here,
        Some([_, b'\n' | b'\r'] | [_]) => LineStart::Unended,
        _ => LineStart::Inside,
    })
}
