//! Records that are no events: each ends `rejected`, with the right reason and position, and harms nothing around it.

use crate::support::{FILES, Outcome, Program, SHOP, Summary, Workspace, assert_unique_positions, orders, payments};

const JOB: &str = r#"[job]
name = "corpus"
max_record = "1KiB"
[[stream]]
name = "order"
key = "/id"
[[stream]]
name = "payment"
depends_on = [ { entity = "order", by = "/order" } ]
[[stream]]
name = "visit"
key = "/id"
time = "/at"
[[stream]]
name = "turn"
ordered_by = "/queue"
[[stream]]
name = "step"
key = "/id"
depends_on = [ { entity = "step", by = "/after", need = "resolved", required = false } ]
"#;

/// Every reason, and what has it.
fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let nested = format!(r#"{{"type":"order","id":1,"x":{}{}}}"#, "[".repeat(400), "]".repeat(400));
    let large = format!(r#"{{"type":"order","id":1,"x":"{}"}}"#, "x".repeat(2000));
    let huge = format!(r#"{{"type":"order","id":1,"x":"{}"}}"#, "ü".repeat(3_000_000));
    let text = [
        ("invalid_json", r#"{"type":"order","id":1"#),
        ("invalid_json", r#"{"type":"order","id":01}"#),
        ("invalid_json", r#"{"type":"order","id":1}}"#),
        ("invalid_json", "order 1"),
        ("invalid_json", "\u{0}"),
        ("invalid_json", nested.as_str()),
        ("not_an_object", "[1]"),
        ("not_an_object", "17"),
        ("not_an_object", "null"),
        ("not_an_object", r#""order""#),
        ("unknown_stream", r#"{"id":1}"#),
        ("unknown_stream", r#"{"type":"refund","id":1}"#),
        ("unknown_stream", r#"{"type":7,"id":1}"#),
        ("invalid_key", r#"{"type":"order"}"#),
        ("invalid_key", r#"{"type":"order","id":null}"#),
        ("invalid_key", r#"{"type":"order","id":1.5}"#),
        ("invalid_key", r#"{"type":"order","id":[1]}"#),
        ("invalid_reference", r#"{"type":"payment"}"#),
        ("invalid_reference", r#"{"type":"payment","order":null}"#),
        ("invalid_reference", r#"{"type":"payment","order":{"id":1}}"#),
        ("invalid_reference", r#"{"type":"payment","order":[1,true]}"#),
        ("invalid_time", r#"{"type":"visit","id":1}"#),
        ("invalid_time", r#"{"type":"visit","id":1,"at":"yesterday"}"#),
        ("invalid_order", r#"{"type":"turn"}"#),
        ("invalid_order", r#"{"type":"turn","queue":[1]}"#),
        ("too_large", large.as_str()),
        ("too_large", huge.as_str()),
        ("self_reference", r#"{"type":"step","id":1,"after":1}"#),
    ];
    let mut corpus: Vec<_> = text.map(|(reason, record)| (reason, record.as_bytes().to_vec())).to_vec();
    corpus.push(("invalid_utf8", b"{\"type\":\"order\",\"id\":\"\xff\xfe\"}".to_vec()));
    corpus.push(("invalid_utf8", b"\xc3".to_vec()));
    corpus
}

fn offset(outcome: &Outcome) -> usize {
    outcome.position.strip_prefix("events.jsonl:").unwrap().parse().unwrap()
}

#[test]
fn every_reason_between_good_records() {
    for program in Program::ALL {
        let (mut input, mut expected, mut good) = (Vec::new(), Vec::new(), 0);
        for (n, (reason, record)) in corpus().into_iter().enumerate() {
            let n = n as u64;
            input.extend_from_slice((payments(n + 100..n + 101) + "\n \t\r\n").as_bytes());
            expected.push((input.len(), reason));
            input.extend_from_slice(&record);
            input.extend_from_slice(if n.is_multiple_of(2) { b"\n" } else { b"\r\n" });
            input.extend_from_slice(orders(n + 100..n + 101).as_bytes());
            good += 2;
        }
        let workspace = Workspace::with(&(JOB.to_owned() + FILES), "");
        workspace.write("events.jsonl", &input);
        let ended = workspace.run(program, &[]).succeeded();

        let outcomes = workspace.outcomes();
        assert_unique_positions(&outcomes);
        let (resolved, rejected): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|o| o.outcome == "resolved");
        assert_eq!(resolved.len(), good);
        for outcome in &resolved {
            let record = input[offset(outcome)..].split(|byte| *byte == b'\n').next().unwrap();
            let event: serde_json::Value = serde_json::from_slice(record).unwrap();
            assert_eq!(event, outcome.event, "at {}", outcome.position);
        }
        let mut found: Vec<(usize, &str)> = rejected.iter().map(|o| (offset(o), o.reason.as_str())).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{program:?}");
        rejected.iter().for_each(|outcome| holds_the_record(outcome, &input));
        let summary = Summary::parse(&ended.stderr);
        assert_eq!((summary.rejected, summary.resolved), (expected.len() as u64, good as u64));
    }
}

/// What was read can be had back from its outcome: all of it, or its head and its size.
fn holds_the_record(outcome: &Outcome, input: &[u8]) {
    use base64::Engine as _;
    let line = input[offset(outcome)..].split(|byte| *byte == b'\n').next().unwrap();
    let record = line.strip_suffix(b"\r").unwrap_or(line);
    assert!(!outcome.line["detail"].as_str().unwrap().is_empty(), "{}", outcome.line);
    let held = match (&outcome.line["record"], &outcome.line["record_base64"]) {
        (serde_json::Value::String(text), _) => text.as_bytes().to_vec(),
        (_, serde_json::Value::String(encoded)) => base64::prelude::BASE64_STANDARD.decode(encoded).unwrap(),
        _ => panic!("no record: {}", outcome.line),
    };
    match outcome.line["size"].as_u64() {
        Some(size) => {
            assert!(size as usize == line.len() && held.len() > 1000, "{size}: {}", line.len());
            assert!(record.starts_with(&held));
        }
        None => assert_eq!(held, record, "{}", outcome.line),
    }
}

#[test]
fn input_without_records() {
    for program in Program::ALL {
        for input in ["", "\n", "\n\n \r\n\t\n", "   ", "\u{feff}", "\u{feff}\n\n"] {
            let workspace = Workspace::with(SHOP, input);
            let ended = workspace.run(program, &[]).succeeded();
            assert_eq!(Summary::parse(&ended.stderr).read, 0, "{input:?}");
            assert!(workspace.outcomes().is_empty(), "{input:?}");
        }
    }
}

#[test]
fn a_last_line_without_its_end_is_a_record() {
    for program in Program::ALL {
        let input = "\u{feff}".to_owned() + orders(0..10).trim_end();
        let workspace = Workspace::with(SHOP, &input);
        workspace.run(program, &[]).succeeded();
        assert_eq!(workspace.outcomes().len(), 10);
        // Its line end, which comes later, is no record.
        workspace.append("events.jsonl", "\n");
        workspace.append("events.jsonl", orders(10..20));
        workspace.run(program, &[]).succeeded();
        assert_eq!(workspace.outcomes().len(), 20);
    }
}
