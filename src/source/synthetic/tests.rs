//! A synthetic workload is read as a file would be: repeatable, from any position, to any position.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::source::workload::Workload;
use crate::source::{Host, Settings, SettingsError, open};

const LIMITS: Limits = Limits { block_bytes: 10_000, record_bytes_max: 1 << 20 };
const ONLY: PartitionId = PartitionId(0);

fn source(
    settings: &SyntheticSettings,
    limits: Limits,
    from: u64,
    to: Option<u64>,
    clock: &Clock,
) -> Result<Box<dyn Source>, SourceError> {
    let from = Positions([(ONLY, from)].into());
    let to = to.map(|to| Positions([(ONLY, to)].into()));
    open(
        &Settings::Synthetic(settings.clone()),
        limits,
        &Partitions::default(),
        &from,
        to.as_ref(),
        clock,
        &Host::patient(),
    )
}

/// Every record with its position, and every position between blocks.
type Seen = (Vec<(u64, String)>, Vec<u64>);

fn read(settings: &SyntheticSettings, limits: Limits, from: u64, to: Option<u64>) -> Result<Seen, SourceError> {
    let mut source = source(settings, limits, from, to, &Clock::manual(Timestamp(0)))?;
    let (mut records, mut positions, mut caught_up) = (Vec::new(), Vec::new(), 0);
    loop {
        match source.next(Duration::ZERO)? {
            Next::Block(block) => {
                let Content::Lines { base, bytes } = block.content else { panic!("no record is too long") };
                let mut offset = base;
                for line in String::from_utf8(bytes).unwrap().split_inclusive('\n') {
                    records.push((offset, line.to_owned()));
                    offset += line.len() as u64;
                }
                assert_eq!(block.next_offset, offset);
                positions.push(offset);
            }
            Next::Partition(..) | Next::Revoked => panic!("a workload begins at its start, and is never taken away"),
            Next::CaughtUp => caught_up += 1,
            Next::Idle => panic!("there is no schedule to wait for"),
            Next::End => break,
        }
    }
    assert_eq!(caught_up, 1);
    Ok((records, positions))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_position_resumes(
        workload in prop_oneof![Just(Workload::Nexmark), Just(Workload::Social), Just(Workload::Items)],
        seed: u64,
        disorder in prop_oneof![Just(0_u64), 2_u64..12_000],
        (duplicates, late, never) in (0.0_f64..0.2, 0.0_f64..0.2, 0.0_f64..0.2),
        late_by in 1_u64..6_000,
        block_bytes in 2_000_usize..900_000,
        cut: prop::sample::Index,
    ) {
        let settings = SyntheticSettings {
            workload, events: 10_000, seed, rate: 0, disorder, duplicates, late, late_by, never,
                    ..SyntheticSettings::new(workload)
        };
        let (all, _) = read(&settings, LIMITS, 0, None).unwrap();
        prop_assert!(all.is_sorted_by(|(a, _), (b, _)| a < b));
        let limits = Limits { block_bytes, ..LIMITS };
        let (others, positions) = read(&settings, limits, 0, None).unwrap();
        prop_assert_eq!(&others, &all);
        let position = *cut.get(&positions);
        let (before, _) = read(&settings, limits, 0, Some(position)).unwrap();
        let (after, _) = read(&settings, limits, position, None).unwrap();
        prop_assert_eq!([before, after].concat(), all);
    }
}

#[test]
fn an_offset_that_is_no_position_is_refused() {
    let settings = SyntheticSettings { events: 10_000, ..SyntheticSettings::new(Workload::Nexmark) };
    let beyond = 1 << 40;
    for (from, to) in [(1, None), (beyond, None), (beyond + 1, None), (0, Some(1)), (0, Some(beyond))] {
        assert!(matches!(read(&settings, LIMITS, from, to), Err(SourceError::NotARecord { .. })), "{from} {to:?}");
    }
}

#[test]
fn records_come_when_they_are_due_and_bear_that_time() {
    let settings = SyntheticSettings { rate: 1_000, events: 100, ..SyntheticSettings::new(Workload::Social) };
    let clock = Clock::manual(Timestamp(5_000_000));
    let mut source = source(&settings, LIMITS, 0, None, &clock).unwrap();
    assert!(matches!(source.next(Duration::ZERO), Ok(Next::CaughtUp)), "nothing is due yet");
    let mut arrivals = Vec::new();
    let mut take = |source: &mut dyn Source| {
        let mut records = 0;
        while let Next::Block(block) = source.next(Duration::ZERO).unwrap() {
            let Content::Lines { bytes, .. } = &block.content else { panic!("no record is too long") };
            arrivals.push(block.arrival.0);
            records += bytes.iter().filter(|byte| **byte == b'\n').count();
        }
        records
    };
    assert_eq!(take(&mut *source), 1);
    clock.set(Timestamp(5_010_000));
    assert_eq!(source.lag().records, Some(10));
    assert_eq!(take(&mut *source), 10);
    clock.set(Timestamp(6_000_000));
    assert_eq!(take(&mut *source), 89);
    assert!(matches!(source.next(Duration::ZERO), Ok(Next::End)));
    assert!(arrivals.is_sorted());
    assert!(arrivals.iter().all(|at| (5_000_000..5_100_000).contains(at)));
}

/// Takes everything, and returns how far the source was behind by itself.
fn behind(source: &mut dyn Source, mut between: impl FnMut()) -> Duration {
    loop {
        match source.next(Duration::from_secs(1)).unwrap() {
            Next::End => return source.lag().behind,
            _ => between(),
        }
    }
}

#[test]
fn a_source_knows_whose_fault_it_is_that_records_come_late() {
    // So many in a thousandth of a second cannot be made.
    let settings = SyntheticSettings { rate: 1 << 40, events: 20_000, ..SyntheticSettings::new(Workload::Items) };
    let mut slow = source(&settings, LIMITS, 0, None, &Clock::start()).unwrap();
    assert!(behind(&mut *slow, || ()) > Duration::from_millis(1));
    // Time that passes between the calls is somebody else's.
    let settings = SyntheticSettings { rate: 1_000, events: 2_000, ..settings };
    let clock = Clock::manual(Timestamp(0));
    let mut held = source(&settings, LIMITS, 0, None, &clock).unwrap();
    assert_eq!(behind(&mut *held, || clock.set(clock.now().after(Duration::from_millis(50)))), Duration::ZERO);
}

#[test]
fn an_endless_workload_is_caught_up_at_once() {
    let settings = SyntheticSettings::new(Workload::Nexmark);
    let mut source = source(&settings, LIMITS, 0, None, &Clock::manual(Timestamp(0))).unwrap();
    assert!(matches!(source.next(Duration::ZERO), Ok(Next::CaughtUp)));
    assert!(matches!(source.next(Duration::ZERO), Ok(Next::Block(_))));
    assert_eq!(source.lag().records, None);
}

#[test]
fn settings_are_checked() {
    let settings = SyntheticSettings { never: 2.0, ..SyntheticSettings::new(Workload::Nexmark) };
    let opened = source(&settings, LIMITS, 0, None, &Clock::manual(Timestamp(0)));
    assert!(matches!(opened, Err(SourceError::Settings(SettingsError::Share { key: "never", .. }))));
}
