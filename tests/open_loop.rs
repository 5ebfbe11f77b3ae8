//! What the comparison of the modes stands on, shown with its own jobs: latency from when a record was due, and checksums of what is discarded.

use std::path::Path;
use std::thread;
use std::time::Duration;

use resolvent::metrics::Checksum;
use resolvent::sink::Checksummer;
use serde_json::{Value, json};

use crate::modes::pure::job::{Common, Ends, configuration};
use crate::modes::pure::setting::{BASE, Mode, Setting};
use crate::support::{Program, Scrape, Workspace, eventually};

const SUMMARY: [&str; 2] = ["--summary-json", "summary.json"];

const DISCARDED: &str = "[sink.resolved]\nnull = true\nchecksum = true\n";

fn program(mode: Mode) -> Program {
    match mode {
        Mode::Independent => Program::Independent,
        Mode::Streaming | Mode::StreamingDefer | Mode::StreamingChanges => Program::Sedd,
        Mode::Deferred => Program::Dedd,
    }
}

fn job(mode: Mode, records: u64, rate: u64) -> String {
    let setting = Setting { disorder: 500, late: 0.05, late_by: 1_000, references: 2, ..BASE };
    let common = Common { seed: 1, reach: 1_000, wait: "100ms".to_owned() };
    configuration(mode, &setting, &common, Ends::Synthetic { records, rate })
}

fn summary(workspace: &Workspace) -> Value {
    serde_json::from_slice(&workspace.read("summary.json")).unwrap()
}

/// A job that stands still for one of three seconds: of the records that were due meanwhile half had to wait for half of it and more, though none had been
/// read before.
#[test]
fn a_stall_shows_in_every_record_that_was_due_in_it() {
    let stalled = |mode: Mode| {
        let workspace = Workspace::with(&job(mode, 3_000, 1_000), "");
        let mut running = workspace.start(program(mode), &[&SUMMARY[..], &["--metrics", "127.0.0.1:0"]].concat());
        let address = running.metrics_address();
        eventually("the schedule has begun", || {
            (Scrape::of(&address)?.value("resolvent_records_read_total", "")? > 0.0).then_some(())
        });
        running.suspend();
        thread::sleep(Duration::from_secs(1));
        running.proceed();
        running.wait().succeeded();
        (mode, summary(&workspace))
    };
    let summaries = thread::scope(|scope| {
        let running = Mode::ALL.map(|mode| scope.spawn(move || stalled(mode)));
        running.map(|thread| thread.join().unwrap())
    });
    for (mode, summary) in summaries {
        let number = |pointer: &str| summary.pointer(pointer).and_then(Value::as_f64).unwrap();
        for latency in ["resolve", "completion", "visible"] {
            let at = |quantile: &str| number(&format!("/latency/{latency}/{quantile}"));
            assert!(at("max_us") >= 900_000.0, "{mode} {latency}: {summary}");
            assert!(at("p90_us") >= 500_000.0, "{mode} {latency}: {summary}");
        }
        // What was due in the meantime came at once, and the rest on schedule.
        assert!(number("/busy_seconds") >= 2.9, "{summary}");
        assert_eq!(number("/totals/resolved"), 3000.0);
    }
}

#[test]
fn the_checksum_of_what_is_discarded_is_that_of_the_lines() {
    let sums = Mode::ALL.map(|mode| {
        let text = job(mode, 20_000, 0);
        assert!(text.contains(DISCARDED));
        let kept = Workspace::with(&text.replace(DISCARDED, "[sink.resolved]\nfile = \"resolved.jsonl\"\n"), "");
        kept.run(program(mode), &SUMMARY).succeeded();
        let expected = checksum(&kept.path("resolved.jsonl"));
        assert_eq!(expected.lines, 20_000);
        assert_eq!(summary(&kept)["checksums"], json!({}), "nobody asked for one, and nothing is dead");

        let discarded = Workspace::with(&text, "");
        discarded.run(program(mode), &SUMMARY).succeeded();
        let sum = format!("{:016x}", expected.sum);
        assert_eq!(summary(&discarded)["checksums"], json!({ "resolved": { "lines": 20_000, "sum": sum } }));
        expected.sum
    });
    let [independent, joined @ ..] = sums;
    assert!(joined.iter().all(|sum| *sum == joined[0]), "modes that join agree");
    assert_ne!(independent, joined[0]);
}

fn checksum(path: &Path) -> Checksum {
    let (checksummer, mut sum) = (Checksummer::default(), Checksum::default());
    let text = std::fs::read(path).unwrap();
    text.split_inclusive(|byte| *byte == b'\n').for_each(|line| checksummer.add(line, &mut sum));
    sum
}
