//! The report as people read it.

use std::fmt::Write;

use resolvent::advise::report::{DependencyReport, SampleReport, SettingsReport};
use resolvent::advise::{Bar, Report};

use crate::columns::Align::{Left, Right};
use crate::columns::{count, table};

/// The longest bar, in characters.
const BAR: u64 = 40;

pub(crate) fn report(report: &Report) -> String {
    let mut text = head(report);
    let lag = |value| lag(value, report.clock.unit);
    let rows = report.dependencies.iter().map(|d| {
        let share = |part| share(part, d.references);
        vec![
            format!("{}.{}", d.stream, d.dependency),
            count(d.references),
            share(d.there_before),
            share(d.later),
            share(d.never),
            share(d.undecided),
            lag(d.lag.p50),
            lag(d.lag.p99),
            lag(d.lag.p999),
            lag(d.lag.max),
        ]
    });
    let titles =
        ["dependency", "references", "there", "later", "never", "not told", "lag p50", "p99", "p99.9", "longest"];
    let align = [Left, Right, Right, Right, Right, Right, Right, Right, Right, Right];
    text += &table(titles, align, rows);
    text += "\n  there: the referent had come before; later: it came after, by the lag; never: it did not come; not told: it had not\n  waited long enough when the sample ended. Lags are of all that came, 0 where the referent was there.\n";
    text += &events(report);
    for dependency in &report.dependencies {
        text += &one(dependency, report.clock.unit);
    }
    text += &memory(report);
    if !report.notes.is_empty() {
        text += "\nnotes\n";
        report.notes.iter().for_each(|note| text += &format!("  - {note}\n"));
    }
    if report.toml.is_empty() {
        text += "\nnothing is advised: there is nothing to paste\n";
    } else {
        text += &format!("\nto paste, in place of each stream's depends_on:\n\n{}", report.toml);
    }
    text
}

fn head(report: &Report) -> String {
    let SampleReport { records, events, rejected, bytes, span, end, seconds, .. } = &report.sample;
    let mut text = format!(
        "{}: advice for events that are to be complete within {}\n\n",
        report.job,
        lag(report.latency_us, "us")
    );
    let mut row = |name: &str, value: String| {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "  {name:<8}{value}");
    };
    let names: Vec<&str> = report.sample.partitions.iter().take(4).map(|partition| partition.name.as_str()).collect();
    let more = report.sample.partitions.len().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    row("read", format!("{}{more}", names.join(", ")));
    let until = match *end {
        "present_end" => "to the present end",
        "sample" => "as many as asked for",
        _ => "as many as fit",
    };
    row(
        "sample",
        format!(
            "{} records ({} events, {} rejected), {}, {until}, in {seconds:.2} s",
            count(*records),
            count(*events),
            count(*rejected),
            size(*bytes)
        ),
    );
    row("clock", report.clock.description.clone());
    let behind = report.clock.behind;
    // Where no record had a time, or all came at once, there is nothing to say of it.
    if report.clock.unit == "us" && (*span, behind.max) != (0, 0) {
        let disorder = match report.clock.kind {
            "rate" => String::new(),
            _ => format!(
                "; records are behind it by {} (p50), {} (p99), {} at most",
                lag(behind.p50, "us"),
                lag(behind.p99, "us"),
                lag(behind.max, "us")
            ),
        };
        row("", format!("it goes from first to last over {}{disorder}", lag(*span, "us")));
    }
    let keys = match report.keys.one_in {
        1 => format!("all {} of entities that are referred to", count(report.keys.looked_at)),
        one_in => {
            format!("one in {} of entities that are referred to, {}", count(one_in), count(report.keys.looked_at))
        }
    };
    row("keys", keys);
    text
}

/// How many events of each stream are complete, and when.
fn events(report: &Report) -> String {
    let rows = report.streams.iter().map(|s| {
        let share = |part| share(part, s.events);
        vec![s.stream.clone(), count(s.events), share(s.within), share(s.later), share(s.never), share(s.undecided)]
    });
    let within = format!("within {}", lag(report.latency_us, "us"));
    let titles = ["events complete, of all", "events", &within, "later", "never", "not told"];
    table(titles, [Left, Right, Right, Right, Right, Right], rows)
}

fn one(d: &DependencyReport, unit: &str) -> String {
    let need = if d.need == "resolved" { ", resolved" } else { "" };
    let mut text = format!("\n{}.{} (refers to {}{need}): {}\n", d.stream, d.dependency, d.entity, settings(&d.advice));
    let _ = writeln!(text, "  because {}", d.because);
    if d.advice != d.now {
        let _ = writeln!(text, "  now     {}", settings(&d.now));
    }
    if d.error_percent > 0.0 {
        let _ = writeln!(text, "  shares  ± {:.1} %, 19 times of 20", d.error_percent);
    }
    if d.later > 0 {
        let r = d.lag_records;
        let _ = writeln!(
            text,
            "  later   by {} records (p50), {} (p99), {} at most",
            count(r.p50),
            count(r.p99),
            count(r.max)
        );
    }
    if d.there_before > 0 {
        let (age, lag) = (d.age, |value| lag(value, unit));
        let _ = writeln!(
            text,
            "  there   for {} (p50), {} (p99), {} (p99.9), {} at most",
            lag(age.p50),
            lag(age.p99),
            lag(age.p999),
            lag(age.max)
        );
    }
    // One bar would only say it again.
    if d.histogram.len() > 1 {
        text += &bars(&d.histogram, unit);
    }
    text
}

/// A small histogram: a bar for each range of lags.
fn bars(histogram: &[Bar], unit: &str) -> String {
    let total: u64 = histogram.iter().map(|bar| bar.count).sum();
    let most = histogram.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
    let mut text = String::new();
    let mut before = String::new();
    for bar in histogram {
        let range = match bar.up_to {
            Some(0) => "there or at once".to_owned(),
            Some(up_to) => format!("up to {}", lag(up_to, unit)),
            None => format!("over {before}"),
        };
        if let Some(up_to) = bar.up_to {
            before = lag(up_to, unit);
        }
        // Whatever is not nothing is seen.
        let length = (bar.count * BAR / most).max(u64::from(bar.count > 0)) as usize;
        let _ = writeln!(
            text,
            "  {range:>18}  {:<BAR_WIDTH$}  {:>7}  {}",
            "█".repeat(length),
            share(bar.count, total),
            count(bar.count)
        );
    }
    text
}

const BAR_WIDTH: usize = BAR as usize;

fn memory(report: &Report) -> String {
    let mut text = "\nwhat referents take, at the end of the sample:\n".to_owned();
    let rows = report.entities.iter().map(|e| {
        let resolved = if e.resolved { " (resolved)" } else { "" };
        vec![
            format!("{}{resolved}", e.entity),
            count(e.keys),
            size(e.memory_bytes),
            size(e.state_bytes),
            format!("{:.1} s", e.restart_seconds),
        ]
    });
    let titles = ["entity", "keys", "in memory (streaming)", "on disk (deferred)", "read again at a restart"];
    text += &table(titles, [Left, Right, Right, Right, Right], rows);
    let rows = report.dependencies.iter().map(|d| {
        vec![format!("{}.{}", d.stream, d.dependency), size(d.waiting_memory_bytes), size(d.waiting_state_bytes)]
    });
    text += &table(["waiting at once, on average, as advised", "in memory", "on disk"], [Left, Right, Right], rows);
    let m = &report.memory;
    let _ = writeln!(
        text,
        "\n  as advised: {} in memory of the {} of [streaming] memory, {} on disk before compression;\n  at most {} references waited at once",
        size(m.streaming_bytes),
        size(m.streaming_limit),
        size(m.state_bytes),
        count(m.waiting_peak)
    );
    text
}

fn settings(settings: &SettingsReport) -> String {
    let mut text = settings.mode.to_owned();
    let Some(wait) = &settings.wait else {
        return if settings.mode == "independent" { text } else { text + ", waits for ever" };
    };
    let _ = write!(text, ", waits {wait}, then {}", settings.on_expiry.unwrap_or("dead_letter"));
    if let Some(then) = settings.deferred_on_expiry {
        let _ = match &settings.deferred_wait {
            Some(wait) => write!(text, ": {wait} more, then {then}"),
            None => write!(text, ": for ever"),
        };
    }
    text
}

fn share(part: u64, whole: u64) -> String {
    match (part, whole) {
        (0, _) => "0 %".to_owned(),
        (part, whole) if part == whole => "100 %".to_owned(),
        (part, whole) => {
            let percent = 100.0 * part as f64 / whole as f64;
            // Neither nothing nor all.
            if percent < 0.01 { "<0.01 %".to_owned() } else { format!("{:.2} %", percent.min(99.99)) }
        }
    }
}

/// A lag: a number of records, or a time in the unit in which it is at least 1.
fn lag(value: u64, unit: &str) -> String {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)];
    if unit == "records" {
        return count(value);
    }
    let unit = UNITS.into_iter().find(|(_, scale)| value >= *scale);
    let Some((name, scale)) = unit else { return if value == 0 { "0".to_owned() } else { format!("{value}us") } };
    match (value / scale, value % scale) {
        (whole, 0) => format!("{whole}{name}"),
        (_, _) => format!("{:.1}{name}", value as f64 / scale as f64),
    }
}

/// Bytes, to one decimal.
fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_read_well() {
        for (value, unit, expected) in [
            (0, "us", "0"),
            (250, "us", "250us"),
            (50_000, "us", "50ms"),
            (1_250_000, "us", "1.2s"),
            (60_000_000, "us", "1m"),
            (12_345, "records", "12,345"),
        ] {
            assert_eq!(lag(value, unit), expected);
        }
    }

    #[test]
    fn a_share_is_nothing_or_all_only_where_it_is() {
        assert_eq!([share(0, 9), share(9, 9), share(1, 2)], ["0 %", "100 %", "50.00 %"]);
        assert_eq!([share(1, 1_000_000), share(999_999, 1_000_000)], ["<0.01 %", "99.99 %"]);
    }

    #[test]
    fn a_histogram_shows_what_is_not_nothing() {
        let bar = |up_to, count| Bar { up_to, count };
        let text = bars(&[bar(Some(0), 800), bar(Some(1000), 1), bar(Some(10_000), 0), bar(None, 199)], "us");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert!(lines[0].starts_with("there or at once  ████") && lines[0].ends_with("80.00 %  800"), "{text}");
        assert!(lines[1].starts_with("up to 1ms  █ ") && lines[3].starts_with("over 10ms  █████████ "), "{text}");
        assert!(lines[2].starts_with("up to 10ms   ") && lines[2].ends_with("0 %  0"), "{text}");
    }
}
