//! A workload that is made up on the way, as fast as it is taken or at a rate of its own.
//!
//! Its one partition is `synthetic`. Records come in groups of at most 4,096; an offset is the number of the group and,
//! in the lower [`GROUP_BITS`], the byte in it. So offsets are unique and in order, and any of them is found by making
//! no more than its own group.

mod pace;
mod schedule;
#[cfg(test)]
mod tests;

use std::io;
use std::thread;
use std::time::Duration;

use self::pace::Pace;
use self::schedule::Schedule;
use super::workload::{Generator, SyntheticSettings};
use super::{Lag, Limits, Next, Source, SourceError, check_configured};
use crate::clock::Clock;
use crate::event::{Block, Content, PartitionId, Partitions, Positions, Timestamp};

/// The name of the partition.
const PARTITION: &str = "synthetic";

/// Bits of an offset that count bytes: a group's records, each below 4 KiB, fit.
const GROUP_BITS: u32 = 24;

/// Bytes of a record, to reserve for.
const RECORD_BYTES_ABOUT: u64 = 300;

/// A block at a rate holds records due within this, for it has one arrival.
const BLOCK_SPAN: Duration = Duration::from_millis(1);

/// Makes the records of a workload.
pub(super) struct SyntheticSource {
    generator: Generator,
    partition: PartitionId,
    limits: Limits,
    clock: Clock,
    /// Where the next block starts, unless that is a new group.
    offset: u64,
    /// Where a replay ends.
    to: Option<u64>,
    schedule: Option<Schedule>,
    pace: Pace,
    caught_up_told: bool,
}

impl SyntheticSource {
    /// See [`super::open`].
    pub(super) fn open(
        settings: &SyntheticSettings,
        limits: Limits,
        partitions: &Partitions,
        from: &Positions,
        to: Option<&Positions>,
        clock: Clock,
    ) -> Result<SyntheticSource, SourceError> {
        let partition = partitions.id(PARTITION);
        if let Some(to) = to {
            check_configured(to, &[partition], partitions)?;
        }
        // Without a bound of its own the partition is not replayed at all.
        let to = to.map(|to| to.0.get(&partition).copied().unwrap_or(0));
        let rate = if to.is_some() { 0 } else { settings.rate };
        let mut source = SyntheticSource {
            generator: Generator::new(settings)?,
            partition,
            limits,
            clock,
            offset: 0,
            to,
            schedule: (rate > 0).then(|| Schedule::new(rate, settings.arrivals, settings.seed)),
            pace: Pace::default(),
            caught_up_told: false,
        };
        source.go_to(from.0.get(&partition).copied().unwrap_or(0))?;
        Ok(source)
    }

    /// Goes to the end of a record (or to the start of the workload): makes those of its group up to there.
    fn go_to(&mut self, offset: u64) -> Result<(), SourceError> {
        let group = offset >> GROUP_BITS;
        let base = group << GROUP_BITS;
        self.generator.go_to(group);
        let mut passed = Vec::new();
        while base + (passed.len() as u64) < offset && self.generator.group() == Some(group) {
            self.make(&mut passed)?;
        }
        self.offset = base + passed.len() as u64;
        let is_position = self.offset == offset && (offset == 0 || offset > base);
        if is_position { Ok(()) } else { Err(SourceError::NotARecord { offset }) }
    }

    fn make(&mut self, bytes: &mut Vec<u8>) -> Result<(), SourceError> {
        let made = self.generator.next(bytes);
        made.map(|_| ()).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> SourceError {
        SourceError::Read { path: PARTITION.to_owned(), offset: self.offset, source }
    }

    /// The next block, of records that are due by `until` and do not end beyond the bound.
    fn block(&mut self, group: u64, arrival: Timestamp, until: Timestamp) -> Result<Block, SourceError> {
        let base = self.offset.max(group << GROUP_BITS);
        let records_about = self.schedule.as_ref().map_or(u64::MAX, Schedule::in_a_millisecond);
        let bytes_about = records_about.saturating_mul(RECORD_BYTES_ABOUT);
        let capacity = usize::try_from(bytes_about).unwrap_or(usize::MAX).min(self.limits.block_bytes);
        let mut bytes = Vec::with_capacity(capacity);
        let mut end = base;
        while bytes.len() < self.limits.block_bytes
            && self.to.is_none_or(|to| end < to)
            && self.generator.group() == Some(group)
            && self.schedule.as_mut().is_none_or(|schedule| schedule.due(until) <= until)
        {
            self.make(&mut bytes)?;
            if let Some(schedule) = &mut self.schedule {
                schedule.advance();
            }
            end = base + bytes.len() as u64;
        }
        if let Some(offset) = self.to.filter(|to| end > *to) {
            return Err(SourceError::NotARecord { offset });
        }
        self.offset = end;
        let content = Content::Lines { base, bytes };
        Ok(Block { partition: self.partition, stream: None, arrival, content, next_offset: end })
    }

    /// When the next record was due, and until when those are due that come with it; `None` if none is within `wait`.
    fn due(&mut self, wait: Duration) -> Option<(Timestamp, Timestamp)> {
        let now = self.clock.now();
        let Some(schedule) = &mut self.schedule else { return Some((now, now)) };
        let due = schedule.due(now);
        let early = due.micros_since(now);
        if early > 0 {
            thread::sleep(Duration::from_micros(early).min(wait));
        }
        let until = self.clock.now().min(due.after(BLOCK_SPAN));
        (due <= until).then_some((due, until))
    }

    /// For how many microseconds the next record has been due; 0 where there is no schedule.
    fn late(&mut self) -> u64 {
        let now = self.clock.now();
        self.schedule.as_mut().map_or(0, |schedule| now.micros_since(schedule.due(now)))
    }

    /// Whether there is something to catch up with: not where records come into being when they are due, nor where
    /// there is no end.
    fn has_backlog(&self) -> bool {
        self.to.is_some() || (self.schedule.is_none() && self.generator.events_left().is_some())
    }

    fn end(&mut self) -> Next {
        if self.caught_up_told {
            return Next::End;
        }
        self.caught_up_told = true;
        Next::CaughtUp
    }
}

impl Source for SyntheticSource {
    fn next(&mut self, wait: Duration) -> Result<Next, SourceError> {
        if !self.caught_up_told && !self.has_backlog() {
            self.caught_up_told = true;
            return Ok(Next::CaughtUp);
        }
        if self.to.is_some_and(|to| self.offset >= to) {
            return Ok(self.end());
        }
        let Some(group) = self.generator.group() else {
            return match self.to {
                Some(offset) => Err(SourceError::NotARecord { offset }),
                None => Ok(self.end()),
            };
        };
        let late_before = self.late();
        let Some((arrival, until)) = self.due(wait) else { return Ok(Next::Idle) };
        let block = self.block(group, arrival, until)?;
        let late_after = self.late();
        self.pace.made(late_before, late_after);
        Ok(Next::Block(block))
    }

    fn lag(&self) -> Lag {
        let records = match &self.schedule {
            Some(schedule) => schedule.lag(self.clock.now()),
            None => self.generator.events_left(),
        };
        Lag { bytes: None, records, behind: Duration::from_micros(self.pace.behind_most()) }
    }
}
