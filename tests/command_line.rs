//! Flags, exit statuses and messages of the launchers.

use std::fs::{self, File};
use std::io::{self, Read};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{FILES, Program, SHOP, Summary, Workspace, binary, eventually, followed_shop, orders, payments};

#[test]
fn help_says_all_there_is() {
    let flags = [
        "--config",
        "--workers",
        "--state",
        "--metrics",
        "--fresh",
        "--until-end",
        "--check",
        "--quiet",
        "--log-format",
        "--help",
        "--version",
    ];
    for program in Program::ALL {
        let workspace = Workspace::with(SHOP, "");
        let ended = workspace.run(program, &["--help"]).succeeded();
        for said in flags.into_iter().chain(["Exit status", "Examples", "keep", "expire", "deadlines"]) {
            assert!(ended.stdout.contains(said), "{program:?} --help says nothing of {said}: {}", ended.stdout);
        }
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn mistakes_end_with_status_2_and_change_nothing() {
    let mistakes: [(&[&str], &str); 6] = [
        (&["--no-such-flag"], "--no-such-flag"),
        (&["--workers", "many"], "many"),
        (&["--workers", "0"], "0 is out of range"),
        (&["--until-end=never"], "never"),
        (&["--metrics", "everywhere"], "is no address to listen on"),
        (&["--log-format", "xml"], "xml"),
    ];
    for program in Program::ALL {
        let workspace = Workspace::with(SHOP, &orders(0..10));
        let before = workspace.snapshot(".");
        for (arguments, phrase) in mistakes {
            workspace.run(program, arguments).failed(2, &[phrase]);
        }
        workspace.write("job.toml", "[job");
        workspace.run(program, &[]).failed(2, &["job.toml", "not TOML"]);
        workspace.write("job.toml", SHOP);
        assert!(workspace.snapshot(".") == before);
    }
}

/// The file of the summary is emptied before the job runs.
#[test]
fn a_summary_is_written_over_nothing_of_the_job() {
    let workspace = Workspace::with(SHOP, &(orders(0..10) + &payments(0..10)));
    std::os::unix::fs::symlink("events.jsonl", workspace.path("link")).unwrap();
    workspace.run(Program::Sedd, &[]).succeeded();
    let before = workspace.snapshot(".");
    for (path, part) in [
        ("job.toml", "is the configuration of the job"),
        ("events.jsonl", "is read by the source"),
        ("link", "is read by the source"),
        ("./state/../events.jsonl", "is read by the source"),
        ("resolved.jsonl", "is the file of a sink"),
        ("dead.jsonl", "is the file of a sink"),
        ("state/summary.json", "is in the directory of the state"),
    ] {
        for flags in [&["--summary-json", path][..], &["--fresh", "--summary-json", path]] {
            workspace.run(Program::Sedd, flags).failed(2, &[part, "name another file"]);
        }
    }
    assert!(workspace.snapshot(".") == before);
    workspace.run(Program::Sedd, &["--summary-json", "summary.json"]).succeeded();
}

#[test]
fn a_bad_configuration_is_shown_where_it_is_bad() {
    let job =
        SHOP.replace("entity = \"order\"", "entity = \"ordre\"").replace("[sink.dead_letter]", "[sink.dead_letters]");
    let workspace = Workspace::with(&job, "");
    let ended = workspace.run(Program::Sedd, &[]).failed(2, &[]);
    assert_eq!(ended.stderr, BAD_CONFIGURATION);
    assert_eq!(ended.stdout, "");
}

const BAD_CONFIGURATION: &str = r#"  × stream "payment".depends_on "ordre".entity: no stream provides entity
  │ "ordre"; did you mean "order"?
    ╭─[job.toml:10:27]
  9 │ name = "payment"
 10 │ depends_on = [ { entity = "ordre", by = "/order" } ]
    ·                           ───────
 11 │ 
    ╰────
  help: the entities are "order"; a stream with a `key` provides one

  × sink.dead_letters: unknown key; did you mean "dead_letter"?
    ╭─[job.toml:18:7]
 17 │ file = "resolved.jsonl"
 18 │ [sink.dead_letters]
    ·       ────────────
 19 │ file = "dead.jsonl"
    ╰────
  help: the keys of sink are accepted, dead_letter, kafka, resolved

  the configuration job.toml cannot be used: 2 problems
"#;

#[test]
fn check_prints_the_job_and_changes_nothing() {
    for program in Program::ALL {
        let workspace = Workspace::with(SHOP, &orders(0..10));
        let before = workspace.snapshot(".");
        let ended = workspace.run(program, &["--check", "--workers", "3", "--state", "over/there"]).succeeded();
        for said in ["shop", "order", "payment", "events.jsonl", "resolved.jsonl", "dead.jsonl", "over/there", "3"] {
            assert!(ended.stdout.contains(said), "no {said}: {}", ended.stdout);
        }
        assert!(workspace.snapshot(".") == before);
    }
}

#[test]
fn independent_check_says_what_is_ignored() {
    let workspace = Workspace::with(SHOP, "");
    let ended = workspace.run(Program::Independent, &["--check"]).succeeded();
    assert!(ended.stdout.contains("ignored") || ended.stdout.contains("not looked up"), "{}", ended.stdout);
}

#[test]
fn flags_replace_what_the_file_says() {
    for program in Program::ALL {
        let workspace = Workspace::with(&(SHOP.to_owned() + "[state]\npath = \"unused\"\n"), &orders(0..10));
        workspace.run(program, &["--state", "used", "--workers", "1"]).succeeded();
        assert!(workspace.path("used/FORMAT").exists() && !workspace.path("unused").exists());
    }
}

#[test]
fn quiet_says_nothing_and_json_logs_are_json() {
    for program in Program::ALL {
        let workspace = Workspace::with(SHOP, &orders(0..10));
        let ended = workspace.run(program, &["--quiet"]).succeeded();
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));

        let arguments = ["--fresh", "--log-format", "json", "--metrics", "127.0.0.1:0"];
        let ended = workspace.run(program, &arguments).succeeded();
        let (logs, _) = ended.stderr.split_once("\nshop").unwrap();
        let logs: Vec<Value> = logs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(logs.iter().any(|line| line["message"].as_str().unwrap().contains("metrics at http://")), "{logs:?}");

        workspace.write("resolved.jsonl", "");
        let ended = workspace.run(program, &["--quiet", "--log-format", "json"]).failed(1, &[]);
        let error: Value = serde_json::from_str(&ended.stderr).unwrap();
        assert_eq!((error["level"].as_str(), error["status"].as_u64()), (Some("ERROR"), Some(1)));
        assert!(error["message"].as_str().unwrap().contains("resolved.jsonl"), "{error}");
    }
}

/// Payments without an order, one for each thing that the end of a wait can do.
const WAITS: &str = r#"[job]
name = "waits"
[[stream]]
name = "order"
key = "/id"
[[stream]]
name = "dead_letter"
depends_on = [ { entity = "order", by = "/order", wait = "WAIT" } ]
[[stream]]
name = "drop"
depends_on = [ { entity = "order", by = "/order", wait = "WAIT", on_expiry = "drop" } ]
[[stream]]
name = "partial"
depends_on = [ { entity = "order", by = "/order", wait = "WAIT", on_expiry = "partial" } ]
[[stream]]
name = "keep"
depends_on = [ { entity = "order", by = "/order", wait = "WAIT", on_expiry = "keep" } ]
[[stream]]
name = "defer"
depends_on = [ { entity = "order", by = "/order", mode = "streaming", wait = "WAIT", on_expiry = "defer", deferred_wait = "WAIT" } ]
[[stream]]
name = "for_ever"
depends_on = [ { entity = "order", by = "/order" } ]
"#;

const ENDS: [&str; 6] = ["dead_letter", "drop", "partial", "keep", "defer", "for_ever"];

/// By stream, what is left of each event: its outcome with its reason; nothing where it was dropped or waits.
fn ends(program: Program, wait: &str, until_end: &str) -> (Vec<String>, Summary) {
    let events: String = ENDS.map(|stream| format!("{{\"type\":\"{stream}\",\"order\":1}}\n")).concat();
    let workspace = Workspace::with(&(WAITS.replace("WAIT", wait) + FILES), &events);
    let ended = workspace.run(program, &[until_end]).succeeded();
    let outcomes = workspace.outcomes();
    let end = |stream: &&str| {
        let outcome = outcomes.iter().find(|outcome| outcome.stream == **stream);
        outcome.map_or("-".to_owned(), |outcome| format!("{} {}", outcome.outcome, outcome.reason).trim().to_owned())
    };
    (ENDS.iter().map(end).collect(), Summary::parse(&ended.stderr))
}

#[test]
fn the_end_of_the_input_does_what_until_end_says() {
    for program in Program::JOINING {
        let (left, summary) = ends(program, "1h", "--until-end=keep");
        assert_eq!(left, ["-", "-", "-", "-", "-", "-"]);
        assert_eq!((summary.waiting, summary.dropped), (6, 0));

        let (left, summary) = ends(program, "1h", "--until-end=expire");
        let end_of_input = "expired end_of_input";
        assert_eq!(left, [end_of_input, "-", "resolved", end_of_input, end_of_input, end_of_input]);
        assert_eq!((summary.waiting, summary.dropped), (0, 1));

        let (left, summary) = ends(program, "200ms", "--until-end=deadlines");
        assert_eq!(left, ["expired deadline", "-", "resolved", "-", "expired deadline", "-"]);
        assert_eq!((summary.waiting, summary.dropped), (2, 1));
    }
}

#[test]
fn every_wait_ends_at_the_end_of_the_input_however_short_epochs_are() {
    let shop = SHOP.replace("[job]", "[job]\nepoch = \"1ms\"");
    assert_ne!(shop, SHOP, "the job has short epochs");
    for program in Program::JOINING {
        let workspace = Workspace::with(&shop, &payments(0..200));
        // An epoch may be over before a worker comes to it: with this many, that one has more workers than processors.
        for _ in 0..10 {
            let ended = workspace.run(program, &["--workers", "8", "--until-end=expire", "--fresh"]).succeeded();
            let summary = Summary::parse(&ended.stderr);
            assert_eq!((summary.expired, summary.waiting), (200, 0));
        }
    }
}

#[test]
fn what_the_end_of_the_input_ends_is_told_in_the_order_in_which_it_came() {
    for program in Program::JOINING {
        let workspace = Workspace::with(SHOP, &payments(0..500));
        workspace.run(program, &["--workers", "1", "--until-end=expire"]).succeeded();
        let orders: Vec<u64> = workspace.outcomes().iter().map(|o| o.event["order"].as_u64().unwrap()).collect();
        assert!(orders.iter().copied().eq(0..500), "{program:?}: {orders:?}");
    }
}

#[test]
fn what_was_kept_goes_on_in_the_next_run() {
    for program in Program::JOINING {
        let workspace = Workspace::with(SHOP, &payments(0..10));
        let ended = workspace.run(program, &[]).succeeded();
        assert_eq!(Summary::parse(&ended.stderr).waiting, 10);
        workspace.append("events.jsonl", orders(0..5));
        let ended = workspace.run(program, &["--until-end=expire"]).succeeded();
        let summary = Summary::parse(&ended.stderr);
        assert_eq!((summary.resolved, summary.expired, summary.waiting), (10, 5, 0));
    }
}

/// Half a line that another process is writing is no record, and the next run does not miss its other half.
#[test]
fn a_line_that_is_being_appended_is_left_at_the_present_end() {
    for program in [Program::Independent, Program::Sedd, Program::Dedd] {
        let text = orders(0..100) + &payments(0..100);
        let (before, after) = text.split_at(text.len() - 10);
        let workspace = Workspace::with(&followed_shop(), before);
        for added in ["", after] {
            workspace.append("events.jsonl", added);
            let summary = Summary::parse(&workspace.run(program, &["--until-end"]).succeeded().stderr);
            let read = if added.is_empty() { 199 } else { 200 };
            assert_eq!((summary.read, summary.resolved, summary.rejected), (read, read, 0), "{program:?}");
        }
    }
}

/// As `head` does which has read enough; of standard error, too, where that is sent the same way.
#[test]
fn who_reads_no_further_is_no_error() {
    let workspace = Workspace::with(SHOP, &(orders(0..10) + &payments(0..20)));
    let job = ["--config", "job.toml"];
    let none = ["--config", "none.toml"];
    let runs: [(&str, &[&[&str]], i32); 10] = [
        ("generate", &[&["items", "--events", "100000"]], 0),
        ("generate", &[&["items", "--events", "10", "--output", "items.jsonl"]], 0),
        ("generate", &[&["items", "--events", "10", "--output", "/dev/null/here"]], 1),
        ("advise", &[&job, &["--latency", "50ms"]], 0),
        ("advise", &[&none, &["--latency", "50ms"]], 2),
        ("sedd", &[&job, &["--check"]], 0),
        // Log lines as it runs, and a table in the end.
        ("sedd", &[&job, &["--metrics", "127.0.0.1:0"]], 0),
        ("sedd", &[&none], 2),
        ("inspect", &[&job], 0),
        ("inspect", &[&none], 2),
    ];
    for (program, arguments, status) in runs {
        for closes_both in [false, true] {
            let (reader, writer) = io::pipe().unwrap();
            drop(reader);
            let mut command = Command::new(binary(program));
            command.current_dir(workspace.root()).args(arguments.concat()).env_remove("RUST_LOG");
            command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap());
            command.stderr(if closes_both { Stdio::from(writer) } else { Stdio::piped() });
            let ended = command.output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(status), "{command:?}, standard error closed: {closes_both}\n{said}");
        }
    }
    assert_eq!(workspace.outcomes().len(), 20);
}

/// A first signal asks a job to stop, which it cannot here: nobody reads what it writes. The second ends it as it is.
#[test]
fn a_second_signal_ends_a_job_that_cannot_stop() {
    let job = SHOP.replace("file = \"resolved.jsonl\"", "stdout = true");
    let workspace = Workspace::with(&job, &(orders(0..20_000) + &payments(0..20_000)));
    for program in Program::ALL {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut command = workspace.command(program, &["--fresh"]);
        let log = workspace.path("log");
        command.stdin(Stdio::null()).stdout(writer).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        // This end of the pipe would keep it open.
        drop(command);
        reader.read_exact(&mut [0]).unwrap();
        // The shell's own: not every machine has a program of that name.
        let terminate = || Command::new("sh").args(["-c", &format!("kill {}", child.id())]).status().unwrap();
        assert!(terminate().success());
        eventually("it says that it stops", || fs::read_to_string(&log).unwrap().contains("stopping").then_some(()));
        assert!(terminate().success());
        let status = child.wait().unwrap();
        let said = fs::read_to_string(&log).unwrap();
        assert_eq!(status.code(), Some(1), "{program:?}: {status}: {said}");
        assert!(said.contains("stopped at once"), "{said}");
        workspace.run(program, &[]).succeeded();
    }
}
