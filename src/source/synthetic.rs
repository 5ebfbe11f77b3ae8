//! A workload that is made up on the way, as fast as it is taken or at a rate of its own.
//!
//! Its one partition is `synthetic`. Records come in groups of at most 4,096; an offset is the number of the group and,
//! in the lower [`GROUP_BITS`], the byte in it. So offsets are unique and in order, and any of them is found by making
//! no more than its own group.

#[cfg(test)]
mod tests;

use std::io;
use std::thread;
use std::time::Duration;

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
    caught_up_told: bool,
}

/// When records are due: the first at the first call, the others at their distance from it.
struct Schedule {
    rate: u64,
    start: Option<Timestamp>,
    taken: u64,
}

impl Schedule {
    /// When the record after `count` others is due.
    fn due(&self, start: Timestamp, count: u64) -> Timestamp {
        let micros = u128::from(count) * 1_000_000 / u128::from(self.rate);
        Timestamp(start.0.saturating_add(i64::try_from(micros).unwrap_or(i64::MAX)))
    }

    /// How many records are due by `now`.
    fn due_by(&self, start: Timestamp, now: Timestamp) -> u64 {
        let micros = u128::from(now.micros_since(start));
        u64::try_from(micros * u128::from(self.rate) / 1_000_000).unwrap_or(u64::MAX).saturating_add(1)
    }
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
            schedule: (rate > 0).then_some(Schedule { rate, start: None, taken: 0 }),
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

    /// The next block, of at most `records_max` records, none of which ends beyond the bound.
    fn block(&mut self, group: u64, records_max: u64, arrival: Timestamp) -> Result<Block, SourceError> {
        let base = self.offset.max(group << GROUP_BITS);
        let bytes_about = records_max.saturating_mul(RECORD_BYTES_ABOUT);
        let capacity = usize::try_from(bytes_about).unwrap_or(usize::MAX).min(self.limits.block_bytes);
        let mut bytes = Vec::with_capacity(capacity);
        let mut records = 0;
        let mut end = base;
        while records < records_max
            && bytes.len() < self.limits.block_bytes
            && self.to.is_none_or(|to| end < to)
            && self.generator.group() == Some(group)
        {
            self.make(&mut bytes)?;
            records += 1;
            end = base + bytes.len() as u64;
        }
        if let Some(offset) = self.to.filter(|to| end > *to) {
            return Err(SourceError::NotARecord { offset });
        }
        if let Some(schedule) = &mut self.schedule {
            schedule.taken += records;
        }
        self.offset = end;
        let content = Content::Lines { base, bytes };
        Ok(Block { partition: self.partition, stream: None, arrival, content, next_offset: end })
    }

    /// How many records to take now, and when the first was due; `None` if none is within `wait`.
    fn due(&mut self, wait: Duration) -> Option<(u64, Timestamp)> {
        let Some(schedule) = &mut self.schedule else {
            return Some((u64::MAX, self.clock.now()));
        };
        let start = *schedule.start.get_or_insert_with(|| self.clock.now());
        let due = schedule.due(start, schedule.taken);
        let early = due.micros_since(self.clock.now());
        if early > 0 {
            thread::sleep(Duration::from_micros(early).min(wait));
        }
        let until = self.clock.now().min(due.after(BLOCK_SPAN));
        let count = schedule.due_by(start, until).saturating_sub(schedule.taken);
        (count > 0).then_some((count, due))
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
        match self.due(wait) {
            Some((records, arrival)) => Ok(Next::Block(self.block(group, records, arrival)?)),
            None => Ok(Next::Idle),
        }
    }

    fn lag(&self) -> Lag {
        let records = match &self.schedule {
            Some(schedule) => {
                schedule.start.map(|start| schedule.due_by(start, self.clock.now()).saturating_sub(schedule.taken))
            }
            None => self.generator.events_left(),
        };
        Lag { bytes: None, records }
    }
}
