//! The table at the end of a run, with the law of conservation spelled out.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use resolvent::metrics::{Quantiles, Snapshot, Totals, cpu_seconds, resident_memory};
use resolvent::pipeline::Summary;

/// A generator that fell behind its schedule by less is not worth a line: any thread is late by that now and then.
const BEHIND_SHOWN: Duration = Duration::from_millis(20);

/// What became of everything, over all runs, and what this run measured.
pub(crate) fn table(title: &str, summary: &Summary, measured: &Snapshot) -> String {
    let this_run = summary.totals.since(&summary.before);
    let seconds = summary.elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { this_run.read as f64 / seconds } else { 0.0 };
    let (records, rate) = (HumanCount(this_run.read), HumanCount(rate.round() as u64));
    let plural = if this_run.read == 1 { "" } else { "s" };
    let mut text = format!("\n{title}: {records} record{plural} in {}, {rate} records/s\n\n", time(summary.elapsed));
    let resumed = summary.before != Totals::default();
    text += &counts(&summary.totals, summary.waiting, resumed.then_some(&this_run));
    text += &latencies(measured);
    text += &resources(summary, measured);
    text
}

/// The law: each block is an equation. `this_run` is a second column where the job has run before.
fn counts(totals: &Totals, waiting: u64, this_run: Option<&Totals>) -> String {
    let of_run = |count: fn(&Totals) -> u64| this_run.map(count);
    let mut rows = vec![
        ("  read", totals.read, of_run(|t| t.read)),
        ("= rejected", totals.rejected, of_run(|t| t.rejected)),
        ("+ accepted", totals.accepted, of_run(|t| t.accepted)),
        ("", 0, None),
        ("  accepted", totals.accepted, of_run(|t| t.accepted)),
        ("= resolved", totals.resolved, of_run(|t| t.resolved)),
        ("+ expired", totals.expired, of_run(|t| t.expired)),
        ("+ dropped", totals.dropped, of_run(|t| t.dropped)),
        ("+ waiting", waiting, None),
    ];
    if totals.retracted > 0 {
        // Maintained results: what was taken away again is waiting, replaced, or was added once more.
        rows.insert(5, ("+ retracted", totals.retracted, of_run(|t| t.retracted)));
    }
    let mut text = String::new();
    if this_run.is_some() {
        text += &format!("  {:<12}{:>18}{:>18}\n", "", "all runs", "this run");
    }
    for (name, count, of_run) in rows {
        if name.is_empty() {
            text.push('\n');
            continue;
        }
        let of_run = of_run.map(|count| HumanCount(count).to_string()).unwrap_or_default();
        let row = format!("  {name:<12}{:>18}{of_run:>18}", HumanCount(count).to_string());
        text += row.trim_end();
        text.push('\n');
    }
    text
}

/// The latencies of which there were any.
fn latencies(measured: &Snapshot) -> String {
    let rows = [
        ("accept", measured.accept),
        ("resolve", measured.resolve),
        ("completion", measured.completion),
        ("visible", measured.visible),
        ("epoch commit", measured.epoch_commit),
    ];
    let mut text = String::new();
    for (name, Quantiles { p50, p99, p999, max, .. }) in rows.into_iter().filter(|(_, latency)| latency.count > 0) {
        if text.is_empty() {
            text += &format!("\n  {:<14}{:>12}{:>12}{:>12}{:>12}\n", "latency", "p50", "p99", "p99.9", "max");
        }
        let [p50, p99, p999, max] = [p50, p99, p999, max].map(time);
        text += &format!("  {name:<14}{p50:>12}{p99:>12}{p999:>12}{max:>12}\n");
    }
    text
}

fn resources(summary: &Summary, measured: &Snapshot) -> String {
    let mut rows = Vec::new();
    if let Some(memory) = resident_memory() {
        rows.push(("peak resident memory".to_owned(), HumanBytes(memory.peak).to_string()));
    }
    if let Some(seconds) = cpu_seconds() {
        rows.push(("CPU time".to_owned(), time(Duration::try_from_secs_f64(seconds).unwrap_or_default())));
    }
    rows.push(("state on disk".to_owned(), HumanBytes(summary.state_bytes).to_string()));
    rows.push(("outcomes written".to_owned(), HumanBytes(summary.bytes_written).to_string()));
    rows.push(("most waiting at once".to_owned(), HumanCount(measured.waiting_peak).to_string()));
    if measured.source_behind >= BEHIND_SHOWN {
        rows.push(("generator fell behind".to_owned(), time(measured.source_behind)));
    }
    for (cause, held) in measured.backpressure.iter().filter(|(_, held)| !held.is_zero()) {
        rows.push((format!("held back by {}", cause.as_str()), time(*held)));
    }
    rows.iter().fold("\n".to_owned(), |mut text, (name, value)| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<22}{value:>12}");
        text
    })
}

/// A duration as people read it: `1.25ms`, `12.3s`, `4m 05s`, `27h 03m`.
fn time(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{duration:.2?}"),
        1..60 => format!("{duration:.1?}"),
        seconds @ 60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        seconds => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use resolvent::metrics::{Backpressure, Metrics};

    use super::*;

    const TOTALS: Totals = Totals {
        read: 3_000_000,
        rejected: 36,
        accepted: 2_999_964,
        resolved: 2_998_000,
        expired: 700,
        dropped: 30,
        retracted: 0,
    };

    #[test]
    fn the_law_is_spelled_out() {
        let expected = "
    read               3,000,000
  = rejected                  36
  + accepted           2,999,964

    accepted           2,999,964
  = resolved           2,998,000
  + expired                  700
  + dropped                   30
  + waiting                1,234
";
        assert_eq!(format!("\n{}", counts(&TOTALS, 1234, None)), expected);
    }

    #[test]
    fn a_job_that_ran_before_has_a_column_for_this_run() {
        let this_run =
            Totals { read: 10, rejected: 0, accepted: 10, resolved: 9, expired: 1, dropped: 0, retracted: 0 };
        let expected = "
                        all runs          this run
    read               3,000,000                10
  = rejected                  36                 0
  + accepted           2,999,964                10

    accepted           2,999,964                10
  = resolved           2,998,000                 9
  + expired                  700                 1
  + dropped                   30                 0
  + waiting                1,234
";
        assert_eq!(format!("\n{}", counts(&TOTALS, 1234, Some(&this_run))), expected);
    }

    #[test]
    fn results_that_were_taken_away_again_are_part_of_the_law() {
        let text = counts(&Totals { retracted: 5, ..TOTALS }, 1239, None);
        let (_, law) = text.split_once("\n\n").unwrap();
        assert!(
            law.starts_with("    accepted           2,999,964\n  + retracted                  5\n  = resolved "),
            "{text}"
        );
    }

    #[test]
    fn only_latencies_that_there_were_are_shown() {
        let metrics = Metrics::new("social");
        assert_eq!(latencies(&metrics.snapshot()), "");
        metrics.resolve_latency([(250, 99), (1500, 1)]);
        let expected = "
  latency                p50         p99       p99.9         max
  resolve           250.00µs    250.00µs      1.50ms      1.50ms
";
        assert_eq!(latencies(&metrics.snapshot()), expected);
    }

    #[test]
    fn what_held_the_source_back_is_named() {
        let metrics = Metrics::new("social");
        metrics.backpressure(Backpressure::Commit, Duration::from_millis(1500));
        let summary = Summary {
            totals: TOTALS,
            before: Totals { read: 2_999_000, ..TOTALS },
            waiting: 1234,
            elapsed: Duration::from_secs(10),
            bytes_written: 5 << 20,
            state_bytes: 0,
            state_io: Default::default(),
        };
        let text = table("social (sedd)", &summary, &metrics.snapshot());
        assert!(text.starts_with("\nsocial (sedd): 1,000 records in 10.0s, 100 records/s\n"), "{text}");
        assert!(text.contains("  held back by commit           1.5s\n"), "{text}");
        assert!(text.contains("  outcomes written          5.00 MiB\n"), "{text}");
        assert!(!text.contains("held back by memory"));
        assert!(!text.contains("generator"));
        metrics.source_behind(Duration::from_millis(350));
        let text = table("social (sedd)", &summary, &metrics.snapshot());
        assert!(text.contains("  generator fell behind     350.00ms\n"), "{text}");
    }

    #[test]
    fn durations_read_well() {
        let cases = [
            (250, "250.00µs"),
            (1_250, "1.25ms"),
            (12_340_000, "12.3s"),
            (245_000_000, "4m 05s"),
            (97_380_000_000, "27h 03m"),
        ];
        for (micros, expected) in cases {
            assert_eq!(time(Duration::from_micros(micros)), expected);
        }
    }
}
