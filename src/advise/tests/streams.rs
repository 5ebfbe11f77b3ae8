//! Streams in, measurements out; held against a slow look at all pairs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use crate::advise::report::DependencyReport;
use crate::advise::{AdviseError, Options, Report, advise};
use crate::config::{Overrides, load, parse_duration};
use crate::dependency::Mode;

const STREAMS: &str = r#"
[[stream]]
name = "order"
key = "/id"
time = "/at"

[[stream]]
name = "payment"
depends_on = [ { entity = "order", by = "/order" } ]
"#;

pub(super) const OPTIONS: Options = Options {
    latency: Duration::from_millis(50),
    restart: Duration::from_secs(60),
    rate: None,
    sample: None,
    memory: 64 << 20,
};

/// A job whose files are these, and the report on it.
pub(super) fn report(streams: &str, files: &[&str], options: Options) -> Report {
    let directory = TempDir::new().unwrap();
    let mut paths = Vec::new();
    for (at, content) in files.iter().enumerate() {
        let path = directory.path().join(format!("{at}.jsonl"));
        fs::write(&path, content).unwrap();
        paths.push(path.display().to_string());
    }
    let source = format!("[source.file]\npath = {paths:?}\nstream = \"/type\"\n");
    run(&directory, &format!("{streams}{source}"), options).unwrap()
}

fn run(directory: &TempDir, job: &str, options: Options) -> Result<Report, AdviseError> {
    let sinks = "[sink.resolved]\nnull = true\n[sink.dead_letter]\nnull = true\n";
    let path = directory.path().join("job.toml");
    let state = directory.path().join("state").display().to_string();
    fs::write(&path, format!("[job]\nname = \"test\"\n{job}{sinks}[state]\npath = {state:?}\n")).unwrap();
    let job = |launcher| load(&path, launcher, &Overrides::default()).unwrap_or_else(|error| panic!("{error:?}"));
    let streaming = job(Mode::Streaming);
    let deferred = (!streaming.rules.is_maintained()).then(|| job(Mode::Deferred));
    let report = advise(&streaming, deferred.as_ref(), &options, Arc::new(|_| {}));
    assert!(!directory.path().join("state").exists(), "advise made a state");
    report
}

pub(super) fn order(id: u64, at: u64) -> String {
    format!("{{\"type\":\"order\",\"id\":{id},\"at\":{at}}}\n")
}

fn payment(order: u64) -> String {
    format!("{{\"type\":\"payment\",\"order\":{order}}}\n")
}

/// `there later never untold`.
fn shares(d: &DependencyReport) -> [u64; 4] {
    [d.there_before, d.later, d.never, d.undecided]
}

#[test]
fn lags_are_measured_on_the_clock_of_event_time() {
    // Time goes by in orders that nobody refers to; 7 comes 30 ms after its payment, which came 20 ms after order 1.
    let lines = [order(1, 100), payment(1), order(100, 120), payment(1), payment(7), order(101, 150), order(7, 140)];
    let report = report(STREAMS, &[&lines.concat()], OPTIONS);
    let d = &report.dependencies[0];
    assert_eq!((report.clock.kind, report.clock.unit, report.sample.span), ("event_time", "us", 50_000));
    assert_eq!((d.references, shares(d)), (3, [2, 1, 0, 0]));
    assert_eq!((d.lag.max, d.lag_records.max, d.age.max), (30_000, 2, 20_000));
    assert_eq!(report.clock.behind.max, 10_000);
}

#[test]
fn without_time_records_are_counted_unless_a_rate_makes_time_of_them() {
    let streams = STREAMS.replace("time = \"/at\"\n", "");
    let lines = [payment(1), payment(2), order(2, 0), payment(2), order(1, 0)];
    let counted = report(&streams, &[&lines.concat()], OPTIONS);
    let timed = report(&streams, &[&lines.concat()], Options { rate: Some(100), ..OPTIONS });
    let lags = |report: &Report| (report.clock.kind, report.dependencies[0].lag.max, report.dependencies[0].age.max);
    assert_eq!((lags(&counted), lags(&timed)), (("records", 4, 1), ("rate", 40_000, 10_000)));
    assert_eq!((counted.dependencies[0].within_percent, timed.dependencies[0].within_percent), (None, Some(100.0)));
}

#[test]
fn without_time_what_only_waits_is_told_as_that() {
    let streams = STREAMS.replace("time = \"/at\"\n", "");
    let lines: String = (0..200).map(|id| order(id, 0) + &payment(id)).collect::<String>() + &payment(5000);
    let d = &report(&streams, &[&lines], OPTIONS).dependencies[0];
    assert_eq!((d.reason, d.there_before, d.undecided), ("no_time", 200, 1));
    assert!(d.because.starts_with("1 references still waited") && d.advice == d.now, "{}", d.because);
}

#[test]
fn each_file_has_a_clock_of_its_own() {
    // By reading, the payments of the second file come after all orders; by the clock, the first came 40 ms before its order.
    let first = [order(1, 100), order(2, 200)].concat();
    let second = [order(50, 160), payment(2), order(51, 250), payment(1)].concat();
    let report = report(STREAMS, &[&first, &second], OPTIONS);
    let d = &report.dependencies[0];
    assert_eq!((shares(d), d.lag.max, d.age.max), ([1, 1, 0, 0], 40_000, 150_000));
}

#[test]
fn it_is_the_same_whichever_file_is_read_first() {
    // The second file begins with a payment, which has no time; it is that of the order after it.
    let first = [order(1, 100), order(2, 200)].concat();
    let second = [payment(2), order(50, 160), payment(2), order(51, 250), payment(1)].concat();
    let of = |files: &[&str]| {
        let report = report(STREAMS, files, OPTIONS);
        (shares(&report.dependencies[0]), report.dependencies[0].lag, report.sample.span)
    };
    let (there, span) = (of(&[&second, &first]), 150_000);
    assert_eq!((there.0, there.1.max, there.2), ([1, 2, 0, 0], 40_000, span));
    assert_eq!(of(&[&first, &second]).2, span);
}

#[test]
fn who_has_waited_long_enough_never_gets_it_and_who_has_not_may() {
    // The longest lag of a hundred is 100 ms: after twice that nothing is expected any more.
    let late = |payments: u64| payment(2).repeat(payments as usize);
    let mut lines =
        vec![order(1, 1000), late(100), payment(8), order(2, 1100), order(3, 1150), payment(9), order(4, 1301)];
    assert_eq!(shares(&report(STREAMS, &[&lines.concat()], OPTIONS).dependencies[0]), [0, 100, 1, 1]);
    lines.push(order(5, 1352));
    assert_eq!(shares(&report(STREAMS, &[&lines.concat()], OPTIONS).dependencies[0]), [0, 100, 2, 0]);
    // Of fewer the lag is not known.
    lines[1] = late(99);
    assert_eq!(shares(&report(STREAMS, &[&lines.concat()], OPTIONS).dependencies[0]), [0, 99, 0, 2]);
}

/// So many payments an hour, each of an order of its own that does not come.
fn in_vain(hours: u64, an_hour: u64) -> String {
    let ids = 0..hours * an_hour;
    ids.map(|id| order(1_000_000 + id, id * 3_600_000 / an_hour) + &payment(id)).collect()
}

#[test]
fn a_join_is_dropped_only_where_a_referent_should_have_come() {
    for latency in ["1ms", "50ms", "1h"] {
        let options = Options { latency: parse_duration(latency).unwrap(), ..OPTIONS };
        for (hours, an_hour, mode, reason, note) in [
            (1, 20_000, "streaming", "nothing_yet", true),
            (24, 1_000, "streaming", "nothing_yet", true),
            // A hundred have waited for a day, and two hundred.
            (25, 99, "streaming", "nothing_yet", true),
            (25, 200, "independent", "nothing_came", true),
            (2500, 10, "independent", "nothing_came", false),
        ] {
            let report = report(STREAMS, &[&in_vain(hours, an_hour)], options);
            let d = &report.dependencies[0];
            assert_eq!((d.advice.mode, d.reason), (mode, reason), "{hours} h, {latency}");
            assert_eq!(
                report.notes.iter().any(|note| note.contains("the sample is short")),
                note,
                "{:?}",
                report.notes
            );
            assert_eq!(report.toml.contains("independent"), mode == "independent", "{}", report.toml);
        }
    }
}

#[test]
fn who_goes_on_without_waits_for_a_minute_and_it_is_said_why() {
    // Of a thousand orders a second every tenth does not come, and every fifth is 1 ms late.
    let lines: String = (0..20_000)
        .map(|id| match id % 10 {
            0 => payment(id) + &order(1_000_000 + id, id),
            1 | 2 => payment(id) + &order(id, id),
            _ => order(id, id) + &payment(id),
        })
        .collect();
    for latency in ["1ms", "50ms"] {
        let report = report(STREAMS, &[&lines], Options { latency: parse_duration(latency).unwrap(), ..OPTIONS });
        let d = &report.dependencies[0];
        assert!(d.never > 1_900, "{d:?}");
        assert_eq!((d.advice.wait.as_deref(), d.advice.on_expiry), (Some("1m"), Some("partial")), "{latency}");
        let why = format!("after 1m, not within {latency}");
        assert!(report.notes.iter().any(|note| note.contains(&why)), "{:?}", report.notes);
    }
}

#[test]
fn those_that_were_there_do_not_tell_how_late_the_others_come() {
    // A thousand find their order; as many wait for a minute, which is far longer than any of the former.
    let mut lines: String = (0..1000).map(|id| order(id, 0) + &payment(id)).collect();
    lines += &(1000..2000).map(payment).collect::<String>();
    lines += &order(5000, 60_000);
    let d = &report(STREAMS, &[&lines], OPTIONS).dependencies[0];
    assert_eq!((shares(d), d.advice.mode, d.advice.on_expiry), ([1000, 0, 0, 1000], "deferred", Some("dead_letter")));
}

#[test]
fn what_is_retained_no_longer_has_to_come_again() {
    let streams = STREAMS.replace("time = \"/at\"", "time = \"/at\"\nretain = \"100ms\"");
    let lines = [order(1, 0), order(2, 100), payment(1), order(3, 101), payment(1), order(4, 150), order(1, 150)];
    let retained = report(&streams, &[&lines.concat()], OPTIONS);
    assert_eq!(shares(&retained.dependencies[0]), [1, 1, 0, 0]);
    assert_eq!(retained.dependencies[0].lag.max, 49_000);
    assert_eq!(retained.entities[0].keys, 4);
    let kept = report(STREAMS, &[&lines.concat()], OPTIONS);
    assert_eq!(shares(&kept.dependencies[0]), [2, 0, 0, 0]);
}

#[test]
fn arrays_optional_fields_and_duplicates_are_what_the_decoder_says() {
    let streams = r#"
[[stream]]
name = "person"
key = "/id"
[[stream]]
name = "friendship"
depends_on = [
  { name = "friends", entity = "person", by = "/persons" },
  { name = "witness", entity = "person", by = "/witness", required = false, mode = "independent" },
]
"#;
    let lines = "{\"type\":\"person\",\"id\":1}\n{\"type\":\"person\",\"id\":1}\n\
        {\"type\":\"friendship\",\"persons\":[1,2,1]}\n{\"type\":\"friendship\",\"persons\":[],\"witness\":2}\n\
        {\"type\":\"friendship\"}\nno json\n{\"type\":\"person\",\"id\":2}\n";
    let report = report(streams, &[lines], OPTIONS);
    let [friends, witness] = &report.dependencies[..] else { panic!("{:?}", report.dependencies) };
    assert_eq!((shares(friends), friends.lag.max), ([2, 1, 0, 0], 4));
    assert_eq!((shares(witness), witness.lag.max), ([0, 1, 0, 0], 3), "independent ones are measured, too");
    assert_eq!((report.sample.records, report.sample.events, report.sample.rejected), (7, 5, 2));
}

#[test]
fn a_referent_that_has_to_be_resolved_is_there_when_all_that_it_waits_for_is() {
    let streams = r#"
[[stream]]
name = "order"
key = "/id"
[[stream]]
name = "payment"
key = "/id"
depends_on = [ { entity = "order", by = "/order" } ]
[[stream]]
name = "receipt"
depends_on = [ { entity = "payment", by = "/payment", need = "resolved" } ]
"#;
    let receipt = |payment: u64| format!("{{\"type\":\"receipt\",\"payment\":{payment}}}\n");
    let payment = |id: u64, order: u64| format!("{{\"type\":\"payment\",\"id\":{id},\"order\":{order}}}\n");
    // Receipt 1 waits until order 5 has come, 4 records later; receipt 2 finds its payment resolved; 3 waits for one that never is.
    let lines =
        [payment(1, 5), receipt(1), order(6, 0), payment(2, 6), receipt(2), order(5, 0), payment(3, 9), receipt(3)];
    let report = report(streams, &[&lines.concat()], OPTIONS);
    let receipt = report.dependencies.iter().find(|d| d.stream == "receipt").unwrap();
    assert_eq!((shares(receipt), receipt.lag.max, receipt.need), ([1, 1, 0, 1], 4, "resolved"));
    assert!(receipt.toml.contains("need = \"resolved\""), "{}", receipt.toml);
}

#[test]
fn a_sample_ends_where_it_is_told_to() {
    let lines: String = (0..1000).map(|id| order(id, id) + &payment(id)).collect();
    let report = report(STREAMS, &[&lines], Options { sample: Some(501), ..OPTIONS });
    assert_eq!((report.sample.records, report.sample.end, report.dependencies[0].references), (501, "sample", 250));
}

#[test]
fn of_nothing_nothing_is_advised() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("empty");
    for (content, is_empty) in [("", true), ("no json\n", false)] {
        fs::write(&path, content.repeat(4728)).unwrap();
        let job = format!("{STREAMS}[source.file]\npath = {:?}\nstream = \"/type\"\n", path.display().to_string());
        match run(&directory, &job, OPTIONS) {
            Err(AdviseError::Empty) => assert!(is_empty),
            Err(error) => panic!("{error}"),
            Ok(report) => {
                assert!(!is_empty && report.toml.is_empty(), "{}", report.toml);
                assert!(report.notes[0].starts_with("4,728 records are no events"), "{:?}", report.notes);
            }
        }
    }
}

#[test]
fn an_endless_source_wants_an_end() {
    let directory = TempDir::new().unwrap();
    let streams = "[[stream]]\nname = \"item\"\nkey = \"/id\"\n[[stream]]\nname = \"use\"\nkey = \"/id\"\nprovides = \"item\"\ndepends_on = [ { entity = \"item\", by = \"/items\" } ]\n";
    let job = format!("{streams}[source.synthetic]\nworkload = \"items\"\nrate = 1000\n");
    assert!(matches!(run(&directory, &job, OPTIONS), Err(AdviseError::Endless)));
    let report = run(&directory, &job, Options { sample: Some(10_000), ..OPTIONS }).unwrap();
    // Every second item refers to one before it, at the rate that the source has.
    assert_eq!((report.clock.kind, shares(&report.dependencies[0])), ("rate", [5_000, 0, 0, 0]));
}

/// A tenth of the payments come 20 orders too early, and a fiftieth of the orders never.
fn many(orders: u64) -> String {
    let mut lines = String::new();
    for id in 0..orders {
        let is_early = |id: u64| id.is_multiple_of(10);
        lines += &if id % 50 == 49 { order(1_000_000 + id, id) } else { order(id, id) };
        if is_early(id + 20) && id + 20 < orders {
            lines += &payment(id + 20);
        }
        if !is_early(id) {
            lines += &payment(id);
        }
    }
    lines
}

#[test]
fn where_not_all_keys_fit_the_shares_are_off_by_no_more_than_is_said() {
    let lines = many(60_000);
    let exact = report(STREAMS, &[&lines], OPTIONS);
    let sampled = report(STREAMS, &[&lines], Options { memory: 1 << 20, ..OPTIONS });
    let [exact_one, sampled_one] = [&exact, &sampled].map(|report| &report.dependencies[0]);
    assert_eq!((exact.keys.one_in, exact_one.error_percent), (1, 0.0));
    assert_eq!(shares(exact_one), [52_800, 5_998, 1_198, 2]);
    assert!(sampled.keys.one_in >= 8 && sampled.keys.looked_at < 10_000, "{:?}", sampled.keys);
    assert!((0.5..5.0).contains(&sampled_one.error_percent), "{}", sampled_one.error_percent);
    for (exact, sampled) in shares(exact_one).into_iter().zip(shares(sampled_one)) {
        let percent = |part: u64, d: &DependencyReport| 100.0 * part as f64 / d.references as f64;
        let off = (percent(exact, exact_one) - percent(sampled, sampled_one)).abs();
        assert!(off <= sampled_one.error_percent, "{exact} and {sampled} differ by {off} %");
    }
    assert_eq!(exact_one.advice, sampled_one.advice);
    let memory = [&exact, &sampled].map(|report| report.entities[0].memory_bytes as f64);
    assert!((memory[1] / memory[0] - 1.0).abs() < 0.05, "{memory:?}");
}

#[test]
fn who_waits_for_one_key_alone_does_not_take_more_memory_than_there_is() {
    let lines: String = (0..40_000).map(|_| payment(1)).collect();
    let report = report(STREAMS, &[&lines], Options { memory: 1 << 20, ..OPTIONS });
    // Either the key is among those that are looked at, and the sample ends; or it is not.
    assert!(report.sample.end == "memory" && report.sample.records < 40_000 || report.keys.looked_at == 0);
    assert!(report.keys.one_in > 1 && report.notes.iter().any(|note| note.contains("--memory")), "{:?}", report.notes);
}

/// Orders in one file, over a second, and their payments in another.
fn shop_of_two_files(directory: &TempDir, streams: &str, more: &str, options: Options) -> Report {
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (orders, payments): (Vec<String>, Vec<String>) = (0..1001).map(|id| (order(id, id), payment(id))).unzip();
    fs::write(path("orders"), orders.concat()).unwrap();
    fs::write(path("payments"), payments.concat()).unwrap();
    let files = format!("streams = {{ order = {:?}, payment = {:?} }}", path("orders"), path("payments"));
    run(directory, &format!("{streams}[source.file]\n{files}\n{more}"), options).unwrap()
}

#[test]
fn of_several_copies_the_earliest_that_was_read_answers_or_the_first_that_comes_then() {
    let waits = order(9, 0) + &payment(1);
    let (early, late) = (order(1, 50), order(1, 100));
    let (waits, early, late) = (waits.as_str(), early.as_str(), late.as_str());
    for (files, lag) in [
        ([waits, early, late], 50_000),
        ([early, waits, late], 50_000),
        ([early, late, waits], 50_000),
        ([late, early, waits], 50_000),
        // It is not known that there will be an earlier one: the README says so.
        ([waits, late, early], 100_000),
        ([late, waits, early], 100_000),
    ] {
        let d = &report(STREAMS, &files, OPTIONS).dependencies[0];
        assert_eq!((shares(d), d.lag.max), ([0, 1, 0, 0], lag), "{files:?}");
    }
}

#[test]
fn a_restart_reads_again_what_can_hold_a_referent_as_far_as_it_is_retained() {
    let directory = TempDir::new().unwrap();
    let retained = STREAMS.replace("time = \"/at\"", "time = \"/at\"\nretain = \"250ms\"");
    for (streams, share) in [(STREAMS, 1.0), (&retained, 0.25)] {
        let report = shop_of_two_files(&directory, streams, "", OPTIONS);
        let length = |name: &str| fs::metadata(directory.path().join(name)).unwrap().len() as f64 - 1001.0;
        let expected = share * report.sample.seconds * length("orders") / (length("orders") + length("payments"));
        let found = report.entities[0].restart_seconds;
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} s instead of {expected} s");
        assert_eq!(report.dependencies[0].advice.mode, "streaming");
    }
    let report = shop_of_two_files(&directory, STREAMS, "", Options { restart: Duration::from_nanos(1), ..OPTIONS });
    assert_eq!((report.dependencies[0].reason, report.dependencies[0].advice.mode), ("restart", "deferred"));
}

#[test]
fn what_does_not_fit_into_the_memory_of_the_job_is_deferred() {
    let directory = TempDir::new().unwrap();
    let report = shop_of_two_files(&directory, STREAMS, "[streaming]\nmemory = \"64KiB\"\n", OPTIONS);
    let d = &report.dependencies[0];
    assert!(report.entities[0].memory_bytes > 64 << 10, "{report:?}");
    assert_eq!((d.reason, d.advice.mode), ("memory", "deferred"));
    assert_eq!((report.memory.streaming_bytes, report.memory.state_bytes), (0, report.entities[0].state_bytes));
}

/// Ten payments a second, each tenth of an order that never comes.
fn a_tenth_in_vain(seconds: u64) -> String {
    let ids = 0..seconds * 10;
    ids.map(|id| order(if id % 10 == 0 { 1_000_000 + id } else { id }, id * 100) + &payment(id)).collect()
}

#[test]
fn what_waits_is_as_much_as_there_will_be_however_long_the_sample_is() {
    // Always one a second waits until its time is over.
    let streams = STREAMS
        .replace("by = \"/order\"", "by = \"/order\", mode = \"streaming\", wait = \"5m\", on_expiry = \"drop\"");
    let options = Options { latency: Duration::from_secs(300), ..OPTIONS };
    let sizes: Vec<f64> = [40, 400, 4000]
        .map(|seconds| report(&streams, &[&a_tenth_in_vain(seconds)], options).dependencies[0].clone())
        .iter()
        .map(|d| {
            assert_eq!((d.advice.mode, d.advice.wait.as_deref()), ("streaming", Some("5m")), "{d:?}");
            d.waiting_memory_bytes as f64
        })
        .collect();
    // 300 events and as many keys.
    assert!((300.0 * 200.0..300.0 * 700.0).contains(&sizes[2]), "{sizes:?}");
    assert!((sizes[0] / sizes[2] - 1.0).abs() < 0.05 && (sizes[1] / sizes[2] - 1.0).abs() < 0.05, "{sizes:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Order(u64),
    Payment(u64),
}

/// Every pair is looked at: where the first order of a key lies after its payment, the lag is the difference of their clocks.
fn slowly(steps: &[(Step, u64)]) -> [u64; 4] {
    let mut clock = 0;
    let mut arrivals = Vec::new();
    for (step, forward) in steps {
        // The first record is an order, so that there is a time from the beginning.
        if matches!(step, Step::Order(_)) {
            clock += forward;
        }
        arrivals.push(clock);
    }
    let mut orders: BTreeMap<u64, usize> = BTreeMap::new();
    for (at, (step, _)) in steps.iter().enumerate() {
        if let Step::Order(id) = step {
            orders.entry(*id).or_insert(at);
        }
    }
    let (mut there, mut later, mut missing, mut sum) = (0, 0, 0, 0);
    for (at, (step, _)) in steps.iter().enumerate() {
        let Step::Payment(id) = step else { continue };
        match orders.get(id) {
            Some(order) if *order < at => there += 1,
            Some(order) => (later, sum) = (later + 1, sum + (arrivals[*order] - arrivals[at])),
            None => missing += 1,
        }
    }
    [there, later, missing, sum]
}

proptest! {
    #[test]
    fn a_slow_look_at_all_pairs_says_the_same(
        steps in prop::collection::vec((prop_oneof![
            (0..20_u64).prop_map(Step::Order),
            (0..20_u64).prop_map(Step::Payment),
        ], 0..5_u64), 1..80),
    ) {
        let mut all = vec![(Step::Order(99), 0)];
        all.extend(steps);
        let (mut lines, mut clock) = (String::new(), 1000);
        for (step, forward) in &all {
            match step {
                Step::Order(id) => {
                    clock += forward;
                    write!(lines, "{}", order(*id, clock)).unwrap();
                }
                Step::Payment(id) => write!(lines, "{}", payment(*id)).unwrap(),
            }
        }
        let report = report(STREAMS, &[&lines], OPTIONS);
        let d = &report.dependencies[0];
        let [there, later, missing, sum] = slowly(&all);
        prop_assert_eq!((d.there_before, d.later, d.never + d.undecided), (there, later, missing));
        let shown: u64 = d.histogram.iter().map(|bar| bar.count).sum();
        prop_assert_eq!(shown, there + later);
        prop_assert_eq!(d.lag.max == 0, sum == 0);
    }
}
