//! Files, named pipes and standard input, a line a record.
//!
//! Blocks are read straight into the memory they travel in and cut at the last line break; nothing looks at single
//! lines. A `\r` before a line break stays in its record, where it is white space of JSON.

mod fingerprint;
mod input;
mod lines;
mod origin;
mod records;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use crossbeam_channel::Select;

pub use self::fingerprint::FileFingerprint;
pub(super) use self::fingerprint::FileFingerprints;
use self::input::{Input, Polled};
use self::lines::Piece;
pub use self::origin::is_pipe;
use self::origin::{Encoding, Origin};
pub(super) use self::records::FileRecords;
use super::{
    FileSettings, Fingerprint, Fingerprints, Follow, Lag, Limits, Next, SettingsError, Source, SourceError,
    check_configured,
};
use crate::clock::Clock;
use crate::event::{Block, Content, PartitionId, Partitions, Positions};

/// How often files that are followed are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

impl FileSettings {
    /// See [`super::Settings::check`].
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        if self.inputs.is_empty() {
            return Err(SettingsError::NoFile);
        }
        let mut paths = HashSet::new();
        for input in &self.inputs {
            let path = input.path.clone();
            if !paths.insert(&input.path) {
                return Err(SettingsError::NamedTwice { path });
            }
            if self.follow != Follow::No && Encoding::of(&input.path) != Encoding::Plain {
                return Err(SettingsError::FollowCompressed { path });
            }
        }
        Ok(())
    }

    /// See [`super::Settings::rereads`]: what is compressed would have to be read from its start, and what was read before and is not configured any more, nobody
    /// can find.
    pub(super) fn rereads(&self, partitions: &Partitions) -> bool {
        let is_known = |name: &str| self.inputs.iter().any(|input| input.path == name);
        self.inputs.iter().all(|input| is_plain(&input.path)) && partitions.names().iter().all(|name| is_known(name))
    }

    /// Leaves out what is not plain, or not wanted.
    pub(super) fn only_plain(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.inputs.retain(|input| is_plain(&input.path) && is_wanted(&input.path));
    }

    /// See [`super::check_readable`].
    pub(super) fn check_readable(&self) -> Result<(), SourceError> {
        let mut files = self.inputs.iter().filter(|input| !origin::is_pipe(&input.path));
        files.try_for_each(|input| Origin::open(&input.path).map(drop))
    }
}

/// Whether any record of a file can be found by its position.
fn is_plain(path: &str) -> bool {
    Encoding::of(path) == Encoding::Plain && !origin::is_pipe(path)
}

/// Reads the files of a job: up to the end that each had in the order that was asked for, then, where they are
/// followed, whichever has something.
pub(super) struct FileSource {
    inputs: Vec<Input>,
    interleave: bool,
    clock: Clock,
    /// The input to ask first, where they are read in turn.
    turn: usize,
    caught_up_told: bool,
}

impl FileSource {
    /// See [`super::open`].
    pub(super) fn open(
        settings: &FileSettings,
        limits: Limits,
        partitions: &Partitions,
        from: &Positions,
        to: Option<&Positions>,
        clock: Clock,
    ) -> Result<FileSource, SourceError> {
        let configured: Vec<PartitionId> = settings.inputs.iter().map(|input| partitions.id(&input.path)).collect();
        if let Some(to) = to {
            check_configured(to, &configured, partitions)?;
        }
        let mut inputs = Vec::with_capacity(configured.len());
        for (input, partition) in settings.inputs.iter().zip(configured) {
            let start = from.0.get(&partition).copied().unwrap_or(0);
            let bound = match to {
                Some(to) => match to.0.get(&partition) {
                    Some(bound) if !origin::is_pipe(&input.path) => Some(*bound),
                    _ => continue,
                },
                None => None,
            };
            inputs.push(Input::open(input, partition, limits, start, bound, settings.follow)?);
        }
        Ok(FileSource { inputs, interleave: settings.interleave, clock, turn: 0, caught_up_told: false })
    }

    /// The next block of any input whose turn it is.
    fn poll(&mut self) -> Result<Step, SourceError> {
        let in_turn = self.interleave || self.caught_up_told;
        let count = self.inputs.len();
        for step in 0..count {
            let index = if in_turn { (self.turn + step) % count } else { step };
            let Some(input) = self.inputs.get_mut(index) else { continue };
            if !in_turn && input.caught_up() {
                continue;
            }
            match input.poll()? {
                Polled::Piece(piece, next_offset) => {
                    self.turn = index + 1;
                    let (partition, stream) = (input.partition, input.stream);
                    let arrival = self.clock.now();
                    return Ok(Step::Block(Block { partition, stream, arrival, content: content(piece), next_offset }));
                }
                Polled::Progress => return Ok(Step::Progress),
                Polled::Nothing if !in_turn && !input.caught_up() => return Ok(Step::Nothing),
                Polled::Nothing | Polled::Ended => {}
            }
        }
        Ok(Step::Nothing)
    }

    /// Waits until a pipe has something, at most `wait`.
    fn pause(&self, wait: Duration) {
        let mut pipes = Select::new();
        for pipe in self.inputs.iter().filter_map(Input::pipe) {
            pipes.recv(pipe);
        }
        // Which pipe it is, if any, shows when they are polled.
        let _ = pipes.ready_timeout(wait);
    }
}

/// What asking the inputs once gave.
enum Step {
    Block(Block),
    /// Bytes that complete no record yet.
    Progress,
    Nothing,
}

impl Source for FileSource {
    fn next(&mut self, wait: Duration) -> Result<Next, SourceError> {
        let deadline = Instant::now() + wait;
        loop {
            let progress = match self.poll()? {
                Step::Block(block) => return Ok(Next::Block(block)),
                Step::Progress => true,
                Step::Nothing => false,
            };
            if !self.caught_up_told && self.inputs.iter().all(Input::caught_up) {
                self.caught_up_told = true;
                return Ok(Next::CaughtUp);
            }
            if self.inputs.iter().all(Input::ended) {
                return Ok(Next::End);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Next::Idle);
            }
            if !progress {
                self.pause(left.min(POLL_INTERVAL));
            }
        }
    }

    fn lag(&self) -> Lag {
        let bytes = self.inputs.iter().map(Input::lag).sum();
        Lag { bytes, ..Lag::default() }
    }

    fn fingerprints(&mut self, known: &BTreeMap<PartitionId, Fingerprint>) -> Result<Fingerprints, SourceError> {
        let files = FileFingerprints::of(self.inputs.iter().filter_map(Input::witness), known)?;
        Ok(Fingerprints { files, ..Fingerprints::default() })
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        if let Some(input) = self.inputs.iter_mut().find(|input| !input.ended()) {
            input.recycle(buffer);
        }
    }
}

fn content(piece: Piece) -> Content {
    match piece {
        Piece::Lines { base, bytes } => Content::Lines { base, bytes },
        Piece::Oversized { offset, head, size } => Content::Oversized { offset, head, size },
    }
}
