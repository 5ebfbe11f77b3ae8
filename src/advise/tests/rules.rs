//! The rules, as a table: what was measured, and what follows.

use std::time::Duration;

use crate::advise::Quantiles;
use crate::advise::decide::{
    Advice, Considered, Cost, Measured, Reason, Settings, Target, Within, alone, horizon, memory, micros, round_up,
    together,
};
use crate::config::{parse_duration, show_duration};
use crate::dependency::{Mode, OnExpiry, SecondExpiry};

const NOW: Settings = Settings { mode: Mode::Streaming, wait: None, on_expiry: OnExpiry::DeadLetter };

/// For a target of 50ms, in a sample of an hour. `within` counts those that came; `beyond` the untold that have waited longer than the target already.
const TABLE: &str = "
 before  later  never  untold | within  beyond | p99.9  longest | advice
 # Nothing to go by: it stays as it is, here for ever in memory.
     50     40      0       0 |     90       0 |   1ms      1ms | streaming (too_few)
      0      0    100       0 |      0       0 |     -        - | independent (nothing_came)
      0      0   9000      50 |      0      50 |     -        - | independent (nothing_came)
 # Hardly any has waited long enough to tell.
      0      0      0    5000 |      0    5000 |     -        - | streaming (nothing_yet)
      0      0     99    5000 |      0    5000 |     -        - | streaming (nothing_yet)
      0      0      0    5000 |      -       0 |     -        - | streaming (nothing_yet)
 # In time: the least wait, twice the 99.9th percentile, or the target, whichever is longest.
  10000      0      0       0 |  10000       0 |     -        - | streaming 1m dead_letter (within)
   9000   1000      0       0 |  10000       0 |  10ms     20ms | streaming 1m dead_letter (within)
   9000   1000      0       0 |   9910       0 |  40s      70s  | streaming 2m dead_letter (within)
 # What came even later waits on in the state, twice as long as the longest.
   9000   1000      0       0 |   9950       0 |   1s       3h  | streaming 1m defer 6h dead_letter (within)
 # 99 % and not less.
   9000   1000      0       0 |   9900       0 |   1s       5s  | streaming 1m dead_letter (within)
   9000   1000      0       0 |   9899       0 |   1s       5s  | streaming 50ms defer 1m dead_letter (mostly_within)
   9000   1000      0       0 |   9000       0 |  20m       2h  | streaming 50ms defer 6h dead_letter (mostly_within)
   9000   1000      0       0 |   8999       0 |  20m       2h  | deferred 6h dead_letter (beyond)
     10   9990      0       0 |     10       0 |  20h       3d  | deferred 7d dead_letter (beyond)
 # An accident, and what is usual: of those that are told, 5 % and more.
   9000    501    499       0 |   9501       0 |  10ms     20ms | streaming 1m dead_letter (within)
   9000    500    500       0 |   9500       0 |  10ms     20ms | streaming 1m partial (within)
   9000    500    500       0 |   9500       0 |  40ms     70s  | streaming 1m defer 5m partial (within)
   9000    500  14000       0 |   9500       0 |   1us      1us | streaming 1m partial (within)
   1000   8500    500       0 |   1000       0 |  10m      20m  | deferred 1h partial (beyond)
 # Those that still wait, and longer than the target, are not within it.
   9000    900      0     100 |   9900     100 |  10ms     20ms | streaming 1m dead_letter (within)
   9000    900      0     101 |   9900     101 |  10ms     20ms | streaming 50ms defer 2h dead_letter (mostly_within)
   9000    900      0     101 |   9900       0 |  10ms     20ms | streaming 1m dead_letter (within)
 # Where more than 1 % cannot be told, what waits on disk waits twice as long as the sample.
   5000   4000      0    1000 |   5000    1000 |  10m      20m  | deferred 2h dead_letter (beyond)
   5000   4990      0      10 |   5000      10 |  10m      20m  | deferred 1h dead_letter (beyond)
 # Without time there is only what needs none.
  10000      0      0       0 |      -       0 |     -        - | streaming (within)
   9000      0   1000       0 |      -       0 |     -        - | streaming (within)
   9999      1      0       0 |      -       0 |     -        - | streaming (no_time)
   9999      0      0       1 |      -       0 |     -        - | streaming (no_time)
";

#[test]
fn what_is_measured_decides() {
    let target = target("50ms", 1 << 30);
    let mut rows = 0;
    for line in TABLE.lines().skip(2).filter(|line| !line.trim_start().starts_with('#')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [counts, within, lags, expected] = cells.as_slice() else { panic!("{line}") };
        let [before, later, never, undecided] = numbers(counts)[..] else { panic!("{line}") };
        let (within, undecided_beyond) = within.split_once(' ').unwrap();
        let (p999, max) = lags.split_once(' ').unwrap();
        let lag = |text: &str| parse_duration(text.trim()).map_or(0, micros);
        let complete = before + later;
        let share = within.parse().ok().map(|within| Within {
            within,
            complete,
            beyond: undecided_beyond.trim().parse().unwrap(),
        });
        let measured = Measured {
            before,
            later,
            never,
            undecided,
            own: share,
            whole: share,
            lag: Quantiles { p999: lag(p999), max: lag(max), ..Quantiles::default() },
            span: micros(Duration::from_secs(3600)),
        };
        assert_eq!(shown(&alone(&measured, &target, NOW)), *expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 29);
}

#[test]
fn who_never_gets_it_is_told_by_the_lag_of_those_that_came_late_or_by_a_day() {
    let lag = |p999: &str| Quantiles { p999: micros(parse_duration(p999).unwrap()), ..Quantiles::default() };
    for (later, p999, latency, expected) in [
        (100, "1s", "50ms", "2s"),
        (100, "10ms", "50ms", "50ms"),
        // However many were there before: that says nothing of the others.
        (99, "1s", "50ms", "1d"),
        (0, "1us", "2d", "2d"),
        (99, "20h", "50ms", "40h"),
    ] {
        let horizon = horizon(later, lag(p999), parse_duration(latency));
        assert_eq!(horizon, micros(parse_duration(expected).unwrap()), "{later} {p999} {latency}");
    }
    assert_eq!((horizon(100, lag("7us"), None), horizon(99, lag("7us"), None)), (14, u64::MAX), "in records");
}

#[test]
fn a_target_longer_than_the_least_wait_is_the_least() {
    let measured = all_there(1000);
    assert_eq!(shown(&alone(&measured, &target("7m", 1 << 30), NOW)), "streaming 10m dead_letter (within)");
}

#[test]
fn waits_are_rounded_up_to_what_people_write() {
    for (exact, expected) in [
        ("1us", "1ms"),
        ("1ms", "1ms"),
        ("51ms", "100ms"),
        ("501ms", "1s"),
        ("16s", "30s"),
        ("31s", "1m"),
        ("61m", "2h"),
        ("25h", "2d"),
        ("8d", "14d"),
        ("366d", "730d"),
        ("36499d", "36500d"),
        ("36500d", "36500d"),
    ] {
        assert_eq!(show_duration(round_up(parse_duration(exact).unwrap())), expected, "{exact}");
    }
    assert_eq!(show_duration(round_up(Duration::MAX)), "36500d");
}

/// Dependencies as `entity waiting lag`, all of them in time; entities as `memory restart`.
#[test]
fn what_does_not_fit_into_memory_is_deferred_the_largest_first() {
    type Case<'a> = (u64, &'a [&'a str], &'a [&'a str], &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        (1000, &["0 10", "1 10"], &["500 0s", "400 0s"], &["streaming within", "streaming within"]),
        (900, &["0 10", "1 10"], &["500 0s", "400 0s"], &["deferred memory", "streaming within"]),
        // What waits counts, too.
        (900, &["0 10", "1 200"], &["500 0s", "400 0s"], &["streaming within", "deferred memory"]),
        // Both on one entity: its referents are gone only when neither is in memory.
        (
            500,
            &["0 1", "0 1", "1 1"],
            &["400 0s", "300 0s"],
            &["deferred memory", "deferred memory", "streaming within"],
        ),
        (10, &["0 10", "1 10"], &["500 0s", "400 0s"], &["deferred memory", "deferred memory"]),
        // What a restart would read for too long.
        (9000, &["0 10", "1 10"], &["5 61s", "5 60s"], &["deferred restart", "streaming within"]),
    ];
    for (limit, dependencies, costs, expected) in cases {
        let costs: Vec<Cost> = costs
            .iter()
            .map(|cost| {
                let (memory, restart) = cost.split_once(' ').unwrap();
                Cost { memory: memory.parse().unwrap(), restart: parse_duration(restart).unwrap() }
            })
            .collect();
        let mut considered: Vec<Considered> = dependencies
            .iter()
            .map(|dependency| {
                let [entity, waiting_bytes] = numbers(dependency)[..] else { panic!("{dependency}") };
                let measured = all_there(1000);
                let advice = alone(&measured, &target("50ms", limit), NOW);
                Considered { measured, entity: entity as usize, waiting_bytes, advice }
            })
            .collect();
        together(&mut considered, &costs, &target("50ms", limit));
        let advice: Vec<String> = considered.iter().map(|d| mode_and_reason(&d.advice)).collect();
        assert_eq!(advice, expected, "{limit} {dependencies:?}");
        let deferred = considered.iter().filter(|d| d.advice.settings.mode == Mode::Deferred);
        assert!(deferred.into_iter().all(|d| d.advice.settings.wait == Some(Duration::from_secs(60))));
        assert!(memory(&considered, &costs) <= limit);
    }
}

#[test]
fn what_there_is_no_evidence_about_is_not_moved() {
    let measured = all_there(10);
    let advice = alone(&measured, &target("50ms", 100), NOW);
    let mut considered = [Considered { measured, entity: 0, waiting_bytes: 0, advice }];
    let costs = [Cost { memory: 1000, restart: Duration::from_secs(600) }];
    together(&mut considered, &costs, &target("50ms", 100));
    assert_eq!(mode_and_reason(&considered[0].advice), "streaming too_few");
}

#[test]
fn without_time_the_waits_stay_as_they_are() {
    let measured = Measured { before: 1000, ..Measured::default() };
    let (first, second) = (Duration::from_secs(600), Some(Duration::from_secs(3000)));
    let defer = OnExpiry::Defer { wait: second, then: SecondExpiry::Drop };
    for (on_expiry, restart, expected) in [
        (OnExpiry::Partial, 60, "streaming 10m partial (within)"),
        (defer, 60, "streaming 10m defer 50m drop (within)"),
        (OnExpiry::Partial, 61, "deferred 10m partial (restart)"),
        (defer, 61, "deferred 1h drop (restart)"),
    ] {
        let now = Settings { wait: Some(first), on_expiry, ..NOW };
        let advice = alone(&measured, &target("50ms", 1 << 30), now);
        let mut considered = [Considered { measured, entity: 0, waiting_bytes: 0, advice }];
        let costs = [Cost { memory: 1000, restart: Duration::from_secs(restart) }];
        together(&mut considered, &costs, &target("50ms", 1 << 30));
        assert_eq!(shown(&considered[0].advice), expected);
    }
}

#[test]
fn where_results_are_maintained_nothing_leaves_the_memory() {
    let target = Target { maintained: true, ..target("50ms", 10) };
    for (within, max, expected) in [
        (10_000, "0", "streaming 1m dead_letter (within)"),
        (9950, "3h", "streaming 6h dead_letter (within)"),
        (9500, "3h", "streaming 6h dead_letter (mostly_within)"),
        (5000, "3h", "streaming 6h dead_letter (beyond)"),
    ] {
        let share = Some(Within { within, complete: 10_000, beyond: 0 });
        let lag = Quantiles { max: parse_duration(max).map_or(0, micros), ..Quantiles::default() };
        let measured = Measured { before: 5000, later: 5000, own: share, whole: share, lag, ..Measured::default() };
        let advice = alone(&measured, &target, NOW);
        let mut considered = [Considered { measured, entity: 0, waiting_bytes: 100, advice }];
        together(&mut considered, &[Cost { memory: 1000, restart: Duration::from_secs(600) }], &target);
        assert_eq!(shown(&considered[0].advice), expected, "{within}");
    }
}

/// What is advised goes by events, and not by references.
#[test]
fn a_dependency_that_is_nearly_always_in_time_is_not_to_blame_for_what_its_events_lack_besides() {
    for (own, whole, expected) in [
        (9930, 7500, "streaming 1m dead_letter (within)"),
        (9300, 9000, "streaming 50ms defer 1m dead_letter (mostly_within)"),
        (9300, 8999, "deferred 1m dead_letter (beyond)"),
        (9300, 7500, "deferred 1m dead_letter (beyond)"),
    ] {
        let share = |within| Some(Within { within, complete: 10_000, beyond: 0 });
        let measured =
            Measured { before: 9000, later: 1000, own: share(own), whole: share(whole), ..Measured::default() };
        assert_eq!(shown(&alone(&measured, &target("50ms", 1 << 30), NOW)), expected, "{own} {whole}");
    }
}

/// References that all find their referent, each of an event of its own.
fn all_there(references: u64) -> Measured {
    let share = Within { within: references, complete: references, beyond: 0 };
    Measured { before: references, own: Some(share), whole: Some(share), ..Measured::default() }
}

fn target(latency: &str, streaming_memory: u64) -> Target {
    Target {
        latency: parse_duration(latency).unwrap(),
        streaming_memory,
        restart: Duration::from_secs(60),
        maintained: false,
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

fn shown(advice: &Advice) -> String {
    let Settings { mode, wait, on_expiry } = advice.settings;
    let mut text = mode.as_str().to_owned();
    if let Some(wait) = wait {
        text += &format!(" {} {}", show_duration(wait), on_expiry.as_str());
        if let OnExpiry::Defer { wait, then } = on_expiry {
            text += &format!(" {} {}", show_duration(wait.unwrap()), then.as_str());
        }
    }
    format!("{text} ({})", advice.reason.as_str())
}

fn mode_and_reason(advice: &Advice) -> String {
    let Advice { settings, reason } = advice;
    assert!(*reason != Reason::Beyond);
    format!("{} {}", settings.mode.as_str(), reason.as_str())
}
