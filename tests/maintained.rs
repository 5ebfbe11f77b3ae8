//! Results that are maintained: what is told sums up to what stands, whatever is corrected, deleted, killed and started again.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::{
    Outcome, Program, Random, Running, Summary, Workspace, each_outcome, eventually, is_longer_than, is_soak, skip,
};

const SEED: u64 = 20_261_127;

/// How often each result stands, by all that a reader sees of it.
type Standing = BTreeMap<String, i64>;

fn result(outcome: &Outcome) -> String {
    let line = &outcome.line;
    format!("{} {} {} {} {}", line["identity"], outcome.stream, outcome.event, outcome.dependencies, outcome.missing)
}

/// Adds the changes of a file up. Each result is there once or not at all, and epochs follow each other.
fn accumulated(path: &Path) -> Standing {
    let (mut standing, mut epoch) = (Standing::new(), 0);
    each_outcome(path, |outcome| {
        let of_epoch = outcome.line["epoch"].as_u64().expect("an epoch");
        assert!(of_epoch >= epoch, "epoch {of_epoch} after {epoch}");
        epoch = of_epoch;
        let count = standing.entry(result(&outcome)).or_default();
        *count += outcome.line["change"].as_i64().expect("a change");
        assert!((0..=1).contains(count), "{count} times: {}", outcome.line);
    });
    standing.retain(|_, count| *count > 0);
    standing
}

/// What the job says that stands in the end, read from the beginning by a process of its own.
fn compacted(workspace: &Workspace, arguments: &[&str]) -> Standing {
    let ended =
        workspace.run(Program::Sedd, &[&["--compact", "--until-end", "--quiet"], arguments].concat()).succeeded();
    let mut standing = Standing::new();
    for outcome in ended.stdout.lines().map(Outcome::parse) {
        assert_eq!(outcome.line["change"], 1);
        let count = standing.entry(result(&outcome)).or_default();
        *count += 1;
        assert_eq!(*count, 1, "twice: {}", outcome.line);
    }
    standing
}

#[test]
fn the_example_of_corrected_customers_and_cancelled_products() {
    let workspace = Workspace::new();
    workspace.write("job.toml", include_str!("../jobs/examples/orders.toml"));
    workspace.write("customers.jsonl", "{\"id\":1,\"name\":\"Ana\"}\n{\"id\":2,\"name\":\"Bo\"}\n");
    workspace.write(
        "products.jsonl",
        "{\"id\":\"kettle\",\"title\":\"Kettle\",\"price\":25.00}\n{\"id\":\"lamp\",\"title\":\"Lamp\",\"price\":13.50}\n",
    );
    workspace.write(
        "orders.jsonl",
        "{\"id\":10,\"customer\":1,\"products\":[\"kettle\",\"lamp\"]}\n{\"id\":11,\"customer\":2,\"products\":[\"lamp\"]}\n",
    );
    let orders = |standing: &Standing| -> Vec<String> {
        standing.keys().filter(|result| result.starts_with("\"order/")).cloned().collect()
    };
    workspace.run(Program::Sedd, &[]).succeeded();
    let before = accumulated(&workspace.path("orders-resolved.jsonl"));
    assert_eq!(before.len(), 6);
    assert_eq!(
        orders(&before)[1],
        r#""order/11" order {"customer":2,"id":11,"products":["lamp"]} {"customer":{"/name":"Bo"},"products":[{"/price":13.5,"/title":"Lamp"}]} null"#
    );

    workspace.append("customers.jsonl", "{\"id\":2,\"name\":\"Bob\"}\n");
    workspace.append("products.jsonl", "{\"id\":\"kettle\",\"deleted\":true}\n");
    let ended = workspace.run(Program::Sedd, &[]).succeeded();
    let after = accumulated(&workspace.path("orders-resolved.jsonl"));
    assert_eq!(
        orders(&after),
        [
            r#""order/11" order {"customer":2,"id":11,"products":["lamp"]} {"customer":{"/name":"Bob"},"products":[{"/price":13.5,"/title":"Lamp"}]} null"#
        ]
    );
    // The bytes are those of the input.
    let text = String::from_utf8(workspace.read("orders-resolved.jsonl")).unwrap();
    assert!(text.contains(r#""products":[{"/title":"Lamp","/price":13.50}]"#), "{text}");
    let summary = Summary::parse(&ended.stderr);
    assert_eq!((summary.read, summary.waiting, summary.dropped), (8, 1, 3), "{}", ended.stderr);
    assert_eq!(compacted(&workspace, &[]), after);
    // Asking touched nothing.
    assert_eq!(accumulated(&workspace.path("orders-resolved.jsonl")), after);
    let again = workspace.run(Program::Sedd, &[]).succeeded();
    assert_eq!(Summary::parse(&again.stderr), summary);
}

const STREAMS: &str = r#"
[[stream]]
name = "person"
key = "/id"
deleted = "/gone"

[[stream]]
name = "post"
key = "/id"
provides = "message"
deleted = "/gone"
depends_on = [ { entity = "person", by = "/author" } ]

[[stream]]
name = "reply"
key = "/id"
provides = "message"
deleted = "/gone"
depends_on = [
  { entity = "person", by = "/author", include = ["/name"] },
  { entity = "message", name = "to", by = "/to", need = "resolved" },
]

[[stream]]
name = "like"
depends_on = [ { entity = "person", by = "/person" }, { entity = "message", by = "/message", need = "resolved" } ]
"#;

fn job(more: &str) -> String {
    format!(
        "[job]\nname = \"maintained\"\nemit = \"changes\"\nepoch = \"20ms\"\nepoch_size = \"64KiB\"\n{STREAMS}{more}\
         [source.file]\npath = \"events.jsonl\"\nstream = \"/type\"\nfollow = true\n\
         [sink.resolved]\nfile = \"resolved.jsonl\"\n[sink.dead_letter]\nfile = \"dead.jsonl\"\n"
    )
}

/// Events that come, are corrected, and go; replies to posts and to replies, and so chains and cycles.
fn events(random: &mut Random, count: usize) -> String {
    let mut lines = String::new();
    for _ in 0..count {
        let (person, message) = (random.below(50), random.below(400));
        let (id, gone) = (random.below(400), random.below(12) == 0);
        let version = random.below(1000);
        let line = match random.below(10) {
            0 if gone => json!({"type": "person", "id": person, "gone": true}),
            0 => json!({"type": "person", "id": person, "name": format!("person {version}")}),
            1..=3 if gone => json!({"type": "post", "id": id, "gone": true}),
            1..=3 => json!({"type": "post", "id": id, "author": person, "text": version}),
            4..=7 => json!({"type": "reply", "id": id, "author": person, "to": message, "text": version}),
            _ => json!({"type": "like", "person": person, "message": message}),
        };
        lines += &format!("{line}\n");
    }
    lines
}

/// The points of a commit in their order: see the tests of the other modes.
const POINTS: [&str; 5] = ["before_sinks", "between_sinks", "before_state", "after_state", "sinks_opened"];

#[test]
fn results_survive_kills() {
    let (rounds, workers) = (if is_soak() { 100 } else { 8 }, ["2", "1", "3"]);
    let workspace = Workspace::with(&job(""), "");
    let mut random = Random::new(SEED);
    println!("seed {SEED}");
    for round in 0..rounds {
        let length = workspace.length("resolved.jsonl");
        let running = workspace.start(Program::Sedd, &["--workers", workers[round % workers.len()]]);
        workspace.append("events.jsonl", events(&mut random, 1500));
        if round % 4 == 3 {
            // While it reads what it has, or a little later.
            thread::sleep(Duration::from_millis(random.below(150) as u64));
        } else {
            eventually("the output grows", || is_longer_than(&workspace.path("resolved.jsonl"), length).then_some(()));
            thread::sleep(Duration::from_micros(random.below(30_000) as u64));
        }
        running.kill();
    }
    if cfg!(debug_assertions) {
        for (turn, point) in POINTS.into_iter().enumerate() {
            workspace.append("events.jsonl", events(&mut random, 1500));
            let mut command = workspace.command(Program::Sedd, &["--workers", workers[turn % workers.len()]]);
            let ended = Running::start(command.env("RESOLVENT_FAILPOINT", format!("{point}:1"))).wait();
            assert_eq!(ended.status.signal(), Some(9), "at {point}: {}\n{}", ended.status, ended.stderr);
        }
    } else {
        skip("kills at named points of a commit", "only builds with debug assertions, as of make test, have them");
    }
    let ended = workspace.run(Program::Sedd, &["--until-end", "--workers", "2"]).succeeded();
    Summary::parse(&ended.stderr);
    let told = accumulated(&workspace.path("resolved.jsonl"));
    assert!(told.len() > 1000, "only {} results", told.len());
    assert!(
        told == compacted(&workspace, &["--workers", "1"]),
        "other results than those of one run from the beginning"
    );
}

#[test]
fn what_waits_is_ended_and_results_that_stand_are_not_revised() {
    let streams = r#"
[[stream]]
name = "parcel"
key = "/id"
retain = "1h"

[[stream]]
name = "scan"
depends_on = [ { entity = "parcel", by = "/parcel", wait = "1s" } ]
"#;
    let job = job(streams).replace(STREAMS, "");
    let line = |event: serde_json::Value| format!("{event}\n");
    let scan = |parcel: u64, n: u64| line(json!({"type": "scan", "parcel": parcel, "n": n}));
    let parcel = |version: u64| line(json!({"type": "parcel", "id": 1, "version": version}));
    let workspace = Workspace::with(&job, &(parcel(1) + &scan(1, 1) + &scan(2, 2)));
    let running = workspace.start(Program::Sedd, &[]);
    eventually("the second scan expires", || is_longer_than(&workspace.path("dead.jsonl"), 0).then_some(()));
    thread::sleep(Duration::from_millis(200));
    // The first scan has left with its result by now.
    workspace.append("events.jsonl", parcel(2) + &scan(1, 3));
    eventually("the third scan is resolved", || {
        let mut found = false;
        each_outcome(&workspace.path("resolved.jsonl"), |outcome| found |= outcome.event["n"] == 3);
        found.then_some(())
    });
    running.terminate();
    let summary = Summary::parse(&running.wait().succeeded().stderr);
    assert_eq!((summary.read, summary.expired, summary.waiting), (5, 1, 0));
    let mut scans = Vec::new();
    each_outcome(&workspace.path("resolved.jsonl"), |outcome| {
        if outcome.stream == "scan" {
            let line = &outcome.line;
            scans.push(format!(
                "{} {} {}",
                line["event"]["n"], line["change"], line["dependencies"]["parcel"]["version"]
            ));
        }
    });
    assert_eq!(scans, ["1 1 1", "3 1 2"]);
    let mut dead = Vec::new();
    each_outcome(&workspace.path("dead.jsonl"), |outcome| {
        dead.push((outcome.reason.clone(), outcome.event["n"].clone()))
    });
    assert_eq!(dead, [("deadline".to_owned(), json!(2))]);
}

#[test]
fn a_database_is_followed_by_its_change_events() {
    let job = r#"
[job]
name = "rows"
emit = "changes"
[[stream]]
name = "customer"
key = "/id"
format = "debezium"
[[stream]]
name = "order"
key = "/id"
format = "debezium"
depends_on = [ { entity = "customer", by = "/customer" } ]
[source.file]
streams = { customer = "customers.jsonl", order = "orders.jsonl" }
[sink.resolved]
file = "resolved.jsonl"
[sink.dead_letter]
file = "dead.jsonl"
"#;
    let workspace = Workspace::new();
    workspace.write("job.toml", job);
    workspace.write(
        "customers.jsonl",
        concat!(
            "{\"op\":\"r\",\"before\":null,\"after\":{\"id\":1,\"name\":\"Ana\"}}\n",
            "{\"schema\":{},\"payload\":{\"op\":\"c\",\"before\":null,\"after\":{\"id\":2,\"name\":\"Bo\"}}}\n",
            "{\"op\":\"u\",\"before\":{\"id\":1,\"name\":\"Ana\"},\"after\":{\"id\":1,\"name\":\"Anna\"}}\n",
            "{\"op\":\"d\",\"before\":{\"id\":2},\"after\":null}\n",
            "{\"op\":\"t\"}\n",
        ),
    );
    workspace.write(
        "orders.jsonl",
        "{\"op\":\"c\",\"after\":{\"id\":7,\"customer\":1}}\n{\"op\":\"c\",\"after\":{\"id\":8,\"customer\":2}}\n",
    );
    workspace.run(Program::Sedd, &[]).succeeded();
    let told = accumulated(&workspace.path("resolved.jsonl"));
    let results: Vec<&str> = told.keys().map(String::as_str).collect();
    assert_eq!(
        results,
        [
            r#""customer/1" customer {"id":1,"name":"Anna"} {} null"#,
            r#""order/7" order {"customer":1,"id":7} {"customer":{"id":1,"name":"Anna"}} null"#,
        ]
    );
    let mut rejected = Vec::new();
    each_outcome(&workspace.path("dead.jsonl"), |outcome| rejected.push(outcome.reason));
    assert_eq!(rejected, ["invalid_change"]);
}

/// What was replaced is gone from memory and from the disk: ten times the updates of the same keys take about as much.
#[test]
fn memory_is_that_of_what_is_here_and_not_of_what_was() {
    let run = |updates: usize| {
        let mut random = Random::new(SEED);
        let workspace = Workspace::with(&job("").replace("follow = true\n", "").replace("64KiB", "1MiB"), "");
        let mut text = String::new();
        for at in 0..updates {
            // All keys first, then any of them again.
            let of = |count: usize, random: &mut Random| if at < 2 * count { at % count } else { random.below(count) };
            let line = match at % 2 {
                0 => json!({"type": "person", "id": of(500, &mut random), "name": at}),
                _ => {
                    json!({"type": "post", "id": of(2000, &mut random), "author": random.below(500), "text": "x".repeat(100)})
                }
            };
            text += &format!("{line}\n");
        }
        workspace.append("events.jsonl", text);
        let ended = workspace.run(Program::Sedd, &["--summary-json", "summary.json", "--workers", "1"]).succeeded();
        let summary = Summary::parse(&ended.stderr);
        let measured: serde_json::Value = serde_json::from_slice(&workspace.read("summary.json")).unwrap();
        assert_eq!(summary.read, updates as u64);
        let number = |name: &str| measured[name].as_f64().unwrap_or_default();
        println!(
            "{updates} updates: {} bytes of memory at most, {} of state",
            number("memory_peak_bytes"),
            number("state_bytes")
        );
        number("memory_peak_bytes")
    };
    let (few, many) = (run(20_000), run(200_000));
    // What is in flight within an epoch is not counted: some tens of megabytes.
    assert!(many < 1.5 * few + f64::from(64 << 20), "{few} bytes became {many}");
}

#[test]
fn what_does_not_fit_in_memory_is_said() {
    let workspace = Workspace::with(
        &(job("").replace("follow = true\n", "") + "[streaming]\nmemory = \"1MiB\"\n"),
        &events(&mut Random::new(SEED), 20_000),
    );
    workspace.run(Program::Sedd, &["--workers", "1"]).failed(1, &["`[streaming] memory`", "raise it"]);
    // So is what comes later, for nothing of it will ever leave.
    let live = Workspace::with(&(job("") + "[streaming]\nmemory = \"1MiB\"\n"), "");
    let running = live.start(Program::Sedd, &["--workers", "2"]);
    live.append("events.jsonl", events(&mut Random::new(SEED), 20_000));
    running.wait().failed(1, &["`[streaming] memory`", "nothing of it is about to leave"]);
    // What was committed is whole, and with more memory it goes on.
    workspace.write("job.toml", job("").replace("follow = true\n", ""));
    let summary = Summary::parse(&workspace.run(Program::Sedd, &[]).succeeded().stderr);
    assert_eq!(summary.read, 20_000);
    assert!(accumulated(&workspace.path("resolved.jsonl")) == compacted(&workspace, &[]));
}

/// Waits of events that need each other, and of such that only need them: the reasons are there once each, whatever is killed.
#[test]
fn waits_that_end_in_a_cycle_are_told_so_once_whatever_is_killed() {
    let streams = r#"
[[stream]]
name = "step"
key = "/id"
deleted = "/gone"
depends_on = [
  { name = "after", entity = "step", by = "/after", need = "resolved", required = false, wait = "300ms" },
]
"#;
    let workspace = Workspace::with(&job(streams).replace(STREAMS, ""), "");
    let mut random = Random::new(SEED);
    println!("seed {SEED}");
    let (rounds, cycles) = (if is_soak() { 40 } else { 6 }, 40_u64);
    // Of each round: cycles of one to five steps more than one, a step that needs one of them, and one that needs what never comes.
    let mut expected = BTreeMap::new();
    for round in 0..rounds {
        let mut lines = Vec::new();
        for cycle in 0..cycles {
            let first = (round * cycles + cycle) * 10;
            let length = 2 + random.below(4) as u64;
            let step = |id: u64, after: u64| format!("{}\n", json!({"type": "step", "id": id, "after": after}));
            lines.extend((0..length).map(|at| step(first + at, first + (at + 1) % length)));
            lines.extend([step(first + 8, first), step(first + 9, 1_000_000)]);
            expected.extend((0..length).map(|at| (first + at, "cycle")));
            expected.extend([(first + 8, "deadline"), (first + 9, "deadline")]);
        }
        // All of a round are read at once, and so their waits end at once.
        workspace.append("events.jsonl", lines.concat());
        let running = workspace.start(Program::Sedd, &["--workers", ["2", "1", "3"][round as usize % 3]]);
        thread::sleep(Duration::from_millis(random.below(800) as u64));
        running.kill();
    }
    let summary = workspace.run(Program::Sedd, &["--until-end=deadlines", "--workers", "2"]).succeeded();
    let summary = Summary::parse(&summary.stderr);
    assert_eq!((summary.expired, summary.waiting), (expected.len() as u64, 0));
    let mut told = BTreeMap::new();
    each_outcome(&workspace.path("dead.jsonl"), |outcome| {
        let id = outcome.event["id"].as_u64().expect("an id");
        assert_eq!(told.insert(id, outcome.reason.clone()), None, "{id} has ended twice");
    });
    for (id, reason) in expected {
        assert_eq!(told[&id], reason, "step {id}");
    }
}

/// A cycle that a correction breaks resolves; one that stays ends with the input.
#[test]
fn a_cycle_may_be_broken_before_the_input_ends() {
    let streams = "[[stream]]\nname = \"step\"\nkey = \"/id\"\ndepends_on = [ { name = \"after\", entity = \"step\", by = \"/after\", \
                   need = \"resolved\", required = false } ]\n";
    let step = |id: u64, after: Option<u64>| match after {
        Some(after) => format!("{}\n", json!({"type": "step", "id": id, "after": after})),
        None => format!("{}\n", json!({"type": "step", "id": id})),
    };
    let lines = [(1, Some(2)), (2, Some(1)), (3, Some(4)), (4, Some(3)), (5, Some(4))];
    let lines: String = lines.into_iter().map(|(id, after)| step(id, after)).collect();
    let workspace = Workspace::with(&job(streams).replace(STREAMS, ""), &lines);
    let waiting = Summary::parse(&workspace.run(Program::Sedd, &["--until-end"]).succeeded().stderr);
    assert_eq!((waiting.waiting, waiting.expired), (5, 0));
    workspace.append("events.jsonl", step(2, None));
    let ended = workspace.run(Program::Sedd, &["--until-end=expire"]).succeeded();
    let summary = Summary::parse(&ended.stderr);
    assert_eq!((summary.resolved, summary.expired, summary.dropped, summary.waiting), (2, 3, 1, 0), "{}", ended.stderr);
    let mut dead = Vec::new();
    each_outcome(&workspace.path("dead.jsonl"), |outcome| dead.push((outcome.event["id"].as_u64(), outcome.reason)));
    dead.sort();
    let [cycle, end] = ["cycle", "end_of_input"].map(str::to_owned);
    assert_eq!(dead, [(Some(3), cycle.clone()), (Some(4), cycle), (Some(5), end)]);
}

/// More than fits comes at once, and leaves when its waits are over: the source is held back meanwhile.
#[test]
fn a_source_is_held_back_while_memory_is_full_and_some_of_it_is_about_to_leave() {
    let streams = r#"
[[stream]]
name = "parcel"
key = "/id"

[[stream]]
name = "scan"
depends_on = [ { entity = "parcel", by = "/parcel", wait = "200ms" } ]
"#;
    let job = job(streams).replace(STREAMS, "") + "[streaming]\nmemory = \"2MiB\"\n";
    let workspace = Workspace::with(&job, "{\"type\":\"parcel\",\"id\":1}\n");
    let running = workspace.start(Program::Sedd, &["--workers", "2"]);
    eventually("it has caught up", || is_longer_than(&workspace.path("resolved.jsonl"), 0).then_some(()));
    let scans = 100_000;
    let scan = |n: usize| format!("{}\n", json!({"type": "scan", "parcel": 1 + n % 50, "n": n}));
    workspace.append("events.jsonl", (0..scans).map(scan).collect::<String>());
    let lines =
        |name: &str| std::fs::read(workspace.path(name)).unwrap_or_default().split(|byte| *byte == b'\n').count();
    eventually("all scans have ended", || {
        thread::sleep(Duration::from_millis(50));
        // Behind each last line is one more that is empty.
        (lines("resolved.jsonl") + lines("dead.jsonl") >= 1 + scans + 2).then_some(())
    });
    running.terminate();
    let ended = running.wait().succeeded();
    let summary = Summary::parse(&ended.stderr);
    assert_eq!((summary.read, summary.waiting), (1 + scans as u64, 0), "{}", ended.stderr);
    assert!(ended.stderr.contains("the source is held back until waits end"), "{}", ended.stderr);
    assert!(ended.stderr.contains("held back by memory"), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let workspace = Workspace::with(&job(""), &events(&mut Random::new(SEED), 10));
    for program in [Program::Dedd, Program::Independent] {
        workspace.run(program, &[]).failed(2, &["job.emit", "run the job with `sedd`"]);
    }
    workspace.run(Program::Sedd, &["--compact"]).failed(2, &["--until-end"]);
    let once = job("").replace("emit = \"changes\"\n", "").replace("deleted = \"/gone\"\n", "");
    workspace.write("job.toml", &once);
    workspace.run(Program::Sedd, &["--compact", "--until-end"]).failed(2, &["emit = \"changes\""]);
    workspace.run(Program::Sedd, &["--until-end"]).succeeded();
    // The state of a job that tells its results once is none of one that maintains them.
    workspace.write("job.toml", job(""));
    workspace.run(Program::Sedd, &["--until-end"]).failed(1, &["--fresh"]);
}
