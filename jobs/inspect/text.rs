//! Answers as people read them.

use std::fmt::Write;

use resolvent::inspect::{
    Count, EventReport, EventStatus, KeyReport, Overview, ReferenceReport, ReferenceStatus, ReferentStatus, Residence,
    Time, Waiter, WaitingEvent,
};

use crate::columns::Align::{Left, Right};
use crate::columns::{count, table};

pub(crate) fn overview(o: &Overview) -> String {
    let mut text = format!("{}: what waits, as of epoch {}\n", o.job, o.epoch);
    text += &law(o);
    if let Some(broken) = &o.conservation_broken {
        text += &format!("\n  {broken}: a defect of Resolvent, please report it\n");
    }
    let positions = o.positions.iter().map(|p| vec![p.partition.clone(), count(p.read_to)]);
    text += &table(["read", "up to"], [Left, Right], positions);
    if o.waiting > 0 {
        let mut rows = vec![
            ("in the job's memory", o.waiting_in_memory),
            ("in the state alone", o.waiting_in_state),
            ("for their turn (ordered_by)", o.waiting_for_turn),
            ("overdue, and waiting on", o.overdue),
            ("deadline passed", o.due),
            ("for ever", o.without_deadline),
        ];
        rows.retain(|(_, events)| *events > 0);
        let rows = rows.into_iter().map(|(name, events)| vec![name.to_owned(), count(events)]);
        text += &table(["waiting", "events"], [Left, Right], rows);
        text += &counts("stream", &o.streams);
        text += &counts("missing entity", &o.missing);
    }
    let keys = o.keys.iter().map(|k| vec![format!("{}/{}", k.entity, k.key), count(k.waiting)]);
    text += &table(["key that most wait for", "events"], [Left, Right], keys);
    text += &waiters("waits longest", o.oldest.as_slice(), o.at);
    text += &waiters("next deadline", &o.deadlines, o.at);
    text
}

/// The law of conservation, each block an equation.
fn law(o: &Overview) -> String {
    let t = &o.totals;
    let records = [("  read", t.read), ("= rejected", t.rejected), ("+ accepted", t.accepted)];
    let mut events = vec![
        ("  accepted", t.accepted),
        ("= resolved", t.resolved),
        ("+ expired", t.expired),
        ("+ dropped", t.dropped),
        ("+ waiting", o.waiting),
    ];
    if o.retracted > 0 {
        // Maintained results: what was taken away again is waiting, replaced, or was added once more.
        events.insert(1, ("+ retracted", o.retracted));
    }
    let mut text = String::new();
    for block in [records.as_slice(), &events] {
        text.push('\n');
        for (name, number) in block {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(text, "  {name:<12}{:>18}", count(*number));
        }
    }
    text
}

pub(crate) fn event(report: &EventReport) -> String {
    match &report.status {
        EventStatus::Waiting(event) => waiting(&report.position, event, report.at),
        EventStatus::Ended => format!(
            "{}: does not wait. This position has been read: if a record begins there, its outcome is written\n",
            report.position
        ),
        EventStatus::NotRead { read_to } => {
            format!("{}: has not been read. The job has read up to {read_to}\n", report.position)
        }
    }
}

fn waiting(position: &str, event: &WaitingEvent, now: Time) -> String {
    let mut text = format!("{position}: a {} that waits ({})\n\n", event.stream, event.mode);
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10}{value}");
    };
    if let Some(key) = &event.key {
        row("key", key.to_string());
    }
    row("since", format!("{}, {} ago", seconds(event.since), span(between(event.since, now))));
    row("until", event.until.map_or("for ever".to_owned(), |at| format!("{}, {}", seconds(at), distance(at, now))));
    let place = match event.waits_in {
        Residence::Memory => "in the job's memory",
        Residence::State => "in the state alone",
    };
    row("where", format!("{place}{}", if event.accepted { ", accepted" } else { "" }));
    if let Some(turn) = &event.turn {
        let value = match &turn.first {
            Some(first) => format!("behind {} of {}, the first at {first}", count(turn.ahead), turn.value),
            None => format!("first of {}", turn.value),
        };
        row("turn", value);
    }
    let references = event.references.iter().map(|reference| {
        let ReferenceReport { dependency, entity, key, mode, need, status } = reference;
        let need = if *need == "resolved" { ", resolved" } else { "" };
        vec![dependency.clone(), format!("{entity}/{key}{need}"), (*mode).to_owned(), found(status, now)]
    });
    text += &table(["dependency", "refers to", "mode", "found"], [Left; 4], references);
    if let Some(event) = &event.event {
        let _ = writeln!(text, "\n  {}", event.get());
    }
    text
}

fn found(status: &ReferenceStatus, now: Time) -> String {
    let (until, then, overdue, referent) = match status {
        ReferenceStatus::Present { position } => return format!("yes, at {position}"),
        ReferenceStatus::GivenUp => return "given up".to_owned(),
        ReferenceStatus::Missing { until, then, overdue, referent } => (until, then, overdue, referent),
    };
    let mut text = "missing".to_owned();
    if let ReferentStatus::Here { position, .. } = referent {
        text += &format!(" when last asked for; since come at {position}");
    }
    text += &match (until, then) {
        (Some(until), Some(then)) => format!(", {} {then}", distance(*until, now)),
        _ => ", for ever".to_owned(),
    };
    if *overdue {
        text += ", overdue";
    }
    text
}

pub(crate) fn key(report: &KeyReport) -> String {
    let mut text = format!("{}/{}: {} waiting\n\n", report.entity, report.key, events(report.waiting));
    let mut row = |name: &str, status: &ReferentStatus| {
        let value = match status {
            ReferentStatus::Here { position, since } => {
                format!("yes, at {position}, {} ago", span(between(*since, report.at)))
            }
            ReferentStatus::Absent => "no".to_owned(),
            ReferentStatus::InMemory => "not known: the job keeps it in its memory".to_owned(),
            ReferentStatus::NotKept => "not known: nothing looks for it".to_owned(),
        };
        let _ = writeln!(text, "  {name:<10}{value}");
    };
    row("arrived", &report.arrived);
    if let Some(resolved) = &report.resolved {
        row("resolved", resolved);
    }
    text += &waiters("waits for it", &report.first, report.at);
    let shown = report.first.len() as u64;
    if report.waiting > shown {
        let _ = writeln!(text, "  and {} more (--limit)", count(report.waiting - shown));
    }
    text += &waiters("provides it, and waits itself", &report.provided_by, report.at);
    text
}

fn counts(title: &str, counts: &[Count]) -> String {
    table([title, "events"], [Left, Right], counts.iter().map(|c| vec![c.name.clone(), count(c.waiting)]))
}

fn waiters(title: &str, waiters: &[Waiter], now: Time) -> String {
    let rows = waiters.iter().map(|waiter| {
        let since = format!("{}, {} ago", seconds(waiter.since), span(between(waiter.since, now)));
        let until = waiter.until.map_or("for ever".to_owned(), |at| distance(at, now));
        vec![waiter.position.clone(), waiter.stream.clone(), since, until]
    });
    table([title, "stream", "since", "until"], [Left; 4], rows)
}

fn events(number: u64) -> String {
    if number == 1 { "1 event".to_owned() } else { format!("{} events", count(number)) }
}

/// A time to the second.
fn seconds(time: Time) -> String {
    let text = time.to_string();
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

fn between(earlier: Time, later: Time) -> u64 {
    later.0.micros_since(earlier.0)
}

/// Where a deadline is from now: `in 4m 05s`, `4m 05s ago`.
fn distance(at: Time, now: Time) -> String {
    if at > now { format!("in {}", span(between(now, at))) } else { format!("{} ago", span(between(at, now))) }
}

/// A span of microseconds in its two largest units, to the millisecond: `12ms`, `1.234s`, `4m 05s`, `27h 03m`, `12d 03h`.
pub(crate) fn span(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        0 => format!("{}ms", micros / 1000),
        1..60 => format!("{seconds}.{:03}s", micros / 1000 % 1000),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        let cases = [
            (0, "0ms"),
            (12_345, "12ms"),
            (1_234_567, "1.234s"),
            (245_000_000, "4m 05s"),
            (97_380_000_000, "27h 03m"),
            (1_047_600_000_000, "12d 03h"),
        ];
        for (micros, expected) in cases {
            assert_eq!(span(micros), expected);
        }
    }
}
