//! Whole events: they are complete when the last of what they refer to has come.

use proptest::prelude::*;

use super::streams::{OPTIONS, order, report};
use crate::advise::Options;

const STREAMS: &str = r#"
[[stream]]
name = "order"
key = "/id"
time = "/at"

[[stream]]
name = "payment"
depends_on = [
  { name = "many", entity = "order", by = "/many" },
  { name = "one", entity = "order", by = "/one", required = false },
]
"#;

fn payment(many: &[u64], one: Option<u64>) -> String {
    let one = one.map_or(String::new(), |one| format!(",\"one\":{one}"));
    format!("{{\"type\":\"payment\",\"many\":{many:?}{one}}}\n")
}

#[test]
fn what_is_advised_goes_by_events_and_not_by_references() {
    // Of every hundred payments, seven miss the first of five orders for 200 ms, seven others the second, and so on; seven the order named by itself.
    let mut lines = String::new();
    for id in 0..1000_u64 {
        let at = id * 1000;
        let part = id % 100 / 7;
        let keys: Vec<u64> = (0..5).map(|key| id * 10 + key).collect();
        let (there, late): (Vec<u64>, Vec<u64>) = (0..6).map(|key| id * 10 + key).partition(|key| key % 10 != part);
        lines += &there.iter().map(|key| order(*key, at)).collect::<String>();
        lines += &payment(&keys, Some(id * 10 + 5));
        lines += &late.iter().map(|key| order(*key, at + 200)).collect::<String>();
    }
    let whole = report(STREAMS, &[&lines], OPTIONS);
    let [many, one] = &whole.dependencies[..] else { panic!("{whole:?}") };
    assert_eq!((many.references, many.there_before, one.there_before), (5000, 4650, 930), "93 % of references");
    let of = &whole.streams[0];
    assert_eq!(
        (whole.streams.len(), of.events, of.within, of.later, of.never, of.undecided),
        (1, 1000, 580, 420, 0, 0)
    );
    assert_eq!((many.own_within_percent, one.own_within_percent), (Some(65.0), Some(93.0)));
    assert_eq!((many.within_percent, one.within_percent), (Some(58.0), Some(58.0)));
    assert_eq!((many.advice.mode, one.advice.mode), ("deferred", "deferred"), "{whole:?}");
    assert!(
        one.because.starts_with("of the 1,000 events whose referents came, or still may after 50ms, only 58 %"),
        "{}",
        one.because
    );
    // Where not all keys are looked at, events cannot be followed, and that is said.
    let sampled = report(STREAMS, &[&lines.repeat(2)], Options { memory: 256 << 10, ..OPTIONS });
    assert!(sampled.keys.one_in > 1 && sampled.streams.is_empty(), "{sampled:?}");
    assert!(
        sampled.notes.iter().any(|note| note.contains("whole events could not be followed")),
        "{:?}",
        sampled.notes
    );
}

#[test]
fn who_never_gets_it_counts_in_no_percentage_and_the_percentage_says_of_how_many_it_is() {
    // Six of ten never get their order; the others have it 1 ms later.
    let pay = |id: u64| payment(&[id], None);
    let lines: String =
        (0..2000).map(|id| pay(id) + &order(if id % 10 < 6 { 1_000_000 + id } else { id }, id + 1)).collect();
    let whole = report(STREAMS, &[&lines], OPTIONS);
    let (d, of) = (&whole.dependencies[0], &whole.streams[0]);
    assert_eq!((of.events, of.within), (2000, 800));
    assert_eq!(of.never + of.undecided, 1200);
    assert!(of.undecided < 40 && of.never == d.never, "{of:?} {d:?}");
    assert!(
        d.because.starts_with("of the 800 events") && d.because.contains("100 % have them within 50ms"),
        "{}",
        d.because
    );
}

#[derive(Clone, Debug)]
enum Step {
    Order(u64),
    Payment(Vec<u64>, Option<u64>),
}

/// Events that are complete within the target, and later, and not.
fn slowly(steps: &[(Step, u64)], target: u64) -> [u64; 3] {
    let mut clock = 0;
    let clocks: Vec<u64> = steps
        .iter()
        .map(|(step, forward)| {
            clock += if matches!(step, Step::Order(_)) { *forward } else { 0 };
            clock
        })
        .collect();
    let first = |id: u64| steps.iter().position(|(step, _)| matches!(step, Step::Order(order) if *order == id));
    let mut counts = [0; 3];
    for ((step, _), clock) in steps.iter().zip(&clocks) {
        let Step::Payment(many, one) = step else { continue };
        let lags: Option<Vec<u64>> =
            many.iter().chain(one).map(|id| Some(clocks[first(*id)?].saturating_sub(*clock))).collect();
        match lags.map(|lags| lags.into_iter().max().unwrap_or(0)) {
            Some(lag) if lag <= target => counts[0] += 1,
            Some(_) => counts[1] += 1,
            None => counts[2] += 1,
        }
    }
    counts
}

proptest! {
    #[test]
    fn a_slow_look_at_all_events_says_the_same(
        steps in prop::collection::vec((prop_oneof![
            (0..20_u64).prop_map(Step::Order),
            (prop::collection::vec(0..20_u64, 0..4), prop::option::of(0..20_u64)).prop_map(|(many, one)| Step::Payment(many, one)),
        ], 0..30_u64), 1..80),
    ) {
        let mut all = vec![(Step::Order(99), 0)];
        all.extend(steps);
        let (mut lines, mut clock) = (String::new(), 1000);
        for (step, forward) in &all {
            match step {
                Step::Order(id) => {
                    clock += forward;
                    lines += &order(*id, clock);
                }
                Step::Payment(many, one) => lines += &payment(many, *one),
            }
        }
        let report = report(STREAMS, &[&lines], OPTIONS);
        let of = &report.streams[0];
        prop_assert_eq!([of.within, of.later, of.never + of.undecided], slowly(&all, 50));
    }
}
