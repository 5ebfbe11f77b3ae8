//! When a record arrived, as far as a sample that lies still can tell.
//!
//! Files keep no arrival times. Where records have a time, a record cannot have arrived before those that lie before it in its partition, and one that is
//! in order arrived when it came about: its arrival is taken to be the greatest time of its partition so far. That is independent of the order in
//! which partitions are read, but for records that lie before the first time of their partition: they are taken to arrive with the latest that was read of the
//! others, and only where none was, with the first time of their own. Without any time, records are counted.

use std::time::Duration;

use super::lags::Lags;
use crate::event::PartitionId;

/// What arrivals are read off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrivalClock {
    /// The greatest event time (`time`) of the partition up to the record.
    EventTime,
    /// The greatest timestamp of the topic's partition up to the record.
    RecordTime,
    /// The number of the record in the order of reading, at so many a second.
    Rate(u64),
    /// The number of the record in the order of reading: no time at all.
    Records,
}

impl ArrivalClock {
    /// Whether its ticks are microseconds; otherwise they are records.
    pub fn has_time(self) -> bool {
        self != ArrivalClock::Records
    }

    /// As programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            ArrivalClock::EventTime => "event_time",
            ArrivalClock::RecordTime => "record_time",
            ArrivalClock::Rate(_) => "rate",
            ArrivalClock::Records => "records",
        }
    }

    /// What is measured, exactly.
    pub fn describe(self) -> String {
        match self {
            ArrivalClock::EventTime => {
                "event time: a record arrives at the greatest `time` of its file or partition up to it".to_owned()
            }
            ArrivalClock::RecordTime => {
                "record time: a record arrives at the greatest timestamp of its topic's partition up to it".to_owned()
            }
            ArrivalClock::Rate(rate) => {
                format!("the order of reading: record N arrives after N/{rate} seconds (--rate {rate})")
            }
            ArrivalClock::Records => "the order of reading: lags are counted in records, there is no time".to_owned(),
        }
    }
}

/// When a record arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Microseconds, or records, by the clock; or [unknown](is_unknown).
    pub(super) tick: i64,
    /// Its number in the order of reading.
    pub(super) record: u64,
}

/// The least of the ticks of records that lie before the first time that is read: there is one for each partition, whose first time tells later what it was.
const UNKNOWN: i64 = i64::MIN;

/// Whether a tick is one of those.
pub(super) fn is_unknown(tick: i64) -> bool {
    tick <= UNKNOWN + i64::from(u32::MAX)
}

/// Tells the arrivals of records as they are read.
#[derive(Debug)]
pub(super) struct Arrivals {
    clock: ArrivalClock,
    records: u64,
    /// The first arrival of all, and the latest.
    first: Option<i64>,
    latest: Option<i64>,
    partitions: Vec<Partition>,
    /// How far records were behind the clock of their partition.
    behind: Lags,
}

/// What is known of the times of a partition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Partition {
    /// The first time, in microseconds, and the greatest so far.
    first: Option<i64>,
    clock: Option<i64>,
    /// Records.
    pub(super) records: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Those that have a time.
    pub(super) timed: u64,
    /// Those whose time is before that of one before them.
    pub(super) older: u64,
}

impl Arrivals {
    pub(super) fn new(clock: ArrivalClock) -> Arrivals {
        Arrivals { clock, records: 0, first: None, latest: None, partitions: Vec::new(), behind: Lags::default() }
    }

    /// The arrival of the next record, of so many bytes and with this time in milliseconds, if it has one.
    pub(super) fn next(&mut self, partition: PartitionId, bytes: usize, time: Option<i64>) -> Moment {
        let record = self.records;
        self.records += 1;
        let at = partition.0 as usize;
        if self.partitions.len() <= at {
            self.partitions.resize(at + 1, Partition::default());
        }
        let unknown = UNKNOWN + i64::from(partition.0);
        let Some(partition) = self.partitions.get_mut(at) else { return Moment { tick: unknown, record } };
        partition.records += 1;
        partition.bytes += bytes as u64;
        let tick = match self.clock {
            ArrivalClock::Records => i64::try_from(record).unwrap_or(i64::MAX),
            ArrivalClock::Rate(rate) => {
                i64::try_from(u128::from(record) * 1_000_000 / u128::from(rate.max(1))).unwrap_or(i64::MAX)
            }
            ArrivalClock::EventTime | ArrivalClock::RecordTime => {
                if let Some(time) = time.map(|milliseconds| milliseconds.saturating_mul(1000)) {
                    let clock = partition.clock.map_or(time, |clock| clock.max(time));
                    partition.clock = Some(clock);
                    partition.first.get_or_insert(time);
                    partition.timed += 1;
                    partition.older += u64::from(time < clock);
                    self.behind.add(clock.saturating_sub(time).unsigned_abs(), 1);
                    // Whichever partition is read first; those after the first of a partition are no earlier.
                    self.first = Some(self.first.map_or(clock, |first| first.min(clock)));
                    self.latest = self.latest.max(Some(clock));
                }
                // A partition without times is read beside others that have some.
                return Moment { tick: partition.clock.or(self.latest).unwrap_or(unknown), record };
            }
        };
        self.first.get_or_insert(tick);
        self.latest = Some(tick);
        Moment { tick, record }
    }

    pub(super) fn clock(&self) -> ArrivalClock {
        self.clock
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    pub(super) fn behind(&self) -> &Lags {
        &self.behind
    }

    /// Whether some record had a time, or they are counted.
    pub(super) fn is_known(&self) -> bool {
        self.first.is_some()
    }

    /// A tick that may be before the first time of its partition, as that time: or, as long as that is not known, as the first of all.
    pub(super) fn known(&self, tick: i64) -> i64 {
        if !is_unknown(tick) {
            return tick;
        }
        let partition = usize::try_from(tick - UNKNOWN).ok().and_then(|at| self.partitions.get(at));
        partition.and_then(|partition| partition.first).or(self.first).unwrap_or(0)
    }

    /// The latest arrival.
    pub(super) fn end(&self) -> Moment {
        Moment { tick: self.latest.unwrap_or(0), record: self.records }
    }

    /// Ticks from the first arrival to the latest; 0 where none is known.
    pub(super) fn span(&self) -> u64 {
        let (first, latest) = (self.first.unwrap_or(0), self.latest.unwrap_or(0));
        u64::try_from(latest.saturating_sub(first)).unwrap_or(0)
    }
}

/// A time of the clock after another, in ticks: for how long a referent is retained, say.
pub(super) fn ticks_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PartitionId = PartitionId(0);
    const B: PartitionId = PartitionId(1);

    fn ticks(clock: ArrivalClock, records: &[(PartitionId, Option<i64>)]) -> Vec<i64> {
        let mut arrivals = Arrivals::new(clock);
        records.iter().map(|(partition, time)| arrivals.next(*partition, 10, *time).tick).collect()
    }

    #[test]
    fn each_partition_has_a_clock_of_its_own_which_never_goes_back() {
        let records = [(A, Some(5)), (B, Some(90)), (A, Some(3)), (A, None), (B, Some(80)), (A, Some(7))];
        for clock in [ArrivalClock::EventTime, ArrivalClock::RecordTime] {
            assert_eq!(ticks(clock, &records), [5_000, 90_000, 5_000, 5_000, 90_000, 7_000], "{clock:?}");
        }
    }

    #[test]
    fn before_the_first_time_nothing_is_known_and_without_one_the_others_tell() {
        let records = [(A, None), (B, Some(9)), (A, None), (A, Some(12))];
        let mut arrivals = Arrivals::new(ArrivalClock::EventTime);
        let ticks: Vec<i64> = records.iter().map(|(p, time)| arrivals.next(*p, 10, *time).tick).collect();
        assert_eq!(ticks, [UNKNOWN, 9_000, 9_000, 12_000]);
        // That of its own partition; one that has none begins with the others.
        assert_eq!([UNKNOWN, UNKNOWN + 7, 9_000].map(|tick| arrivals.known(tick)), [12_000, 9_000, 9_000]);
    }

    #[test]
    fn the_sample_begins_with_the_first_arrival_whichever_partition_is_read_first() {
        let (a, b) = ([(A, Some(50)), (A, Some(40)), (A, Some(70))], [(B, Some(20)), (B, Some(10)), (B, Some(60))]);
        for records in [[a, b].concat(), [b, a].concat()] {
            let mut arrivals = Arrivals::new(ArrivalClock::EventTime);
            records.iter().for_each(|(partition, time)| _ = arrivals.next(*partition, 10, *time));
            assert_eq!((arrivals.span(), arrivals.known(UNKNOWN + 7), arrivals.end().tick), (50_000, 20_000, 70_000));
        }
    }

    #[test]
    fn without_time_records_are_counted() {
        let records = [(A, Some(5)), (B, None), (A, None)];
        assert_eq!(ticks(ArrivalClock::Records, &records), [0, 1, 2]);
        assert_eq!(ticks(ArrivalClock::Rate(4), &records), [0, 250_000, 500_000]);
    }

    #[test]
    fn it_is_told_how_far_records_are_behind_the_clock() {
        let mut arrivals = Arrivals::new(ArrivalClock::EventTime);
        for time in [10, 20, 15, 20, 30] {
            arrivals.next(A, 10, Some(time));
        }
        let partition = arrivals.partitions()[0];
        assert_eq!((partition.records, partition.timed, partition.older, partition.bytes), (5, 5, 1, 50));
        assert_eq!(arrivals.behind().quantiles().max, 5_000);
        assert_eq!((arrivals.span(), arrivals.end()), (20_000, Moment { tick: 30_000, record: 5 }));
    }
}
