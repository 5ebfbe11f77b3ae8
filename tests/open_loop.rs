//! What the comparison of the modes stands on: latency from when a record was due, and checksums of what is discarded.

use std::path::Path;
use std::thread;
use std::time::Duration;

use resolvent::metrics::Checksum;
use resolvent::sink::Checksummer;
use serde_json::Value;

use crate::support::{Program, Workspace};

/// Items that refer to items, all of them there in the end.
fn items(source: &str, resolved: &str) -> String {
    format!(
        r#"
[job]
name = "items"
workers = 2
[[stream]]
name = "item"
key = "/id"
[[stream]]
name = "use"
key = "/id"
provides = "item"
depends_on = [ {{ name = "items", entity = "item", by = "/items" }} ]
[source.synthetic]
workload = "items"
disorder = 500
{source}
[sink.resolved]
{resolved}
[sink.dead_letter]
null = true
[state]
path = "state"
"#
    )
}

fn summary(workspace: &Workspace) -> Value {
    serde_json::from_slice(&workspace.read("summary.json")).unwrap()
}

fn number(summary: &Value, pointer: &str) -> f64 {
    summary.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {summary}"))
}

const ARGUMENTS: [&str; 2] = ["--summary-json", "summary.json"];

/// A job that stands still for two of four seconds: of the records that were due meanwhile half had to wait for a second and more, though none had been
/// read before.
#[test]
fn a_stall_shows_in_every_record_that_was_due_in_it() {
    for program in Program::ALL {
        let job = items("rate = 1000\nevents = 4000", "null = true");
        let workspace = Workspace::with(&job, "");
        let running = workspace.start(program, &ARGUMENTS);
        thread::sleep(Duration::from_secs(1));
        running.suspend();
        thread::sleep(Duration::from_secs(2));
        running.proceed();
        running.wait().succeeded();
        let summary = summary(&workspace);
        for latency in ["resolve", "completion", "visible"] {
            let at = |quantile: &str| number(&summary, &format!("/latency/{latency}/{quantile}"));
            assert!(at("max_us") >= 1_900_000.0, "{program:?} {latency}: {summary}");
            assert!(at("p90_us") >= 1_000_000.0, "{program:?} {latency}: {summary}");
        }
        // It went on at its own schedule, and nobody else took that for the generator's slowness.
        assert!(number(&summary, "/busy_seconds") >= 3.9, "{summary}");
        assert_eq!(number(&summary, "/totals/resolved"), 4000.0);
    }
}

#[test]
fn the_checksum_of_what_is_discarded_is_that_of_the_lines() {
    let source = "events = 20000\nlate = 0.05\nlate_by = 3000\nreferences = 2";
    let mut joined = Vec::new();
    for program in Program::ALL {
        let kept = Workspace::with(&items(source, "file = \"resolved.jsonl\""), "");
        kept.run(program, &ARGUMENTS).succeeded();
        let expected = checksum(&kept.path("resolved.jsonl"));
        assert_eq!(expected.lines, 20_000);
        assert_eq!(summary(&kept)["checksums"], serde_json::json!({}), "nobody asked for one");

        let discarded = Workspace::with(&items(source, "null = true\nchecksum = true"), "");
        discarded.run(program, &ARGUMENTS).succeeded();
        let sum = format!("{:016x}", expected.sum);
        assert_eq!(
            summary(&discarded)["checksums"],
            serde_json::json!({ "resolved": { "lines": 20_000, "sum": sum } })
        );
        joined.extend((program != Program::Independent).then_some(sum));
    }
    assert_eq!(joined[0], joined[1], "modes that join agree");
}

fn checksum(path: &Path) -> Checksum {
    let (checksummer, mut sum) = (Checksummer::default(), Checksum::default());
    let text = std::fs::read(path).unwrap();
    text.split_inclusive(|byte| *byte == b'\n').for_each(|line| checksummer.add(line, &mut sum));
    sum
}
