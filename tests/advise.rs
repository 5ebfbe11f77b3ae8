//! `advise`: what it says of streams whose lags are known, and that what it prints is right for the job.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::real_data::{EVENTS, JOB, STREAMS, World};
use crate::support::{
    Ended, FILES, Program, Running, SHOP, Scrape, Summary, Workspace, eventually, followed_shop, orders, payments,
};

/// Runs `advise` in a workspace.
pub(crate) fn advise(workspace: &Workspace, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_advise"));
    command.current_dir(workspace.root()).stdin(Stdio::null()).env("NO_COLOR", "1");
    Running::start(command.args(["--config", "job.toml"]).args(arguments)).wait()
}

/// Its answer for programs.
pub(crate) fn report(workspace: &Workspace, arguments: &[&str]) -> Value {
    let ended = advise(workspace, &[arguments, &["--json"]].concat()).succeeded();
    assert_eq!(ended.stderr, "");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// `there later never untold` of a dependency.
pub(crate) fn shares(dependency: &Value) -> [u64; 4] {
    ["there_before", "later", "never", "undecided"].map(|key| dependency[key].as_u64().unwrap())
}

/// What is advised for a dependency, in a line.
fn advised(dependency: &Value) -> String {
    let advice = &dependency["advice"];
    let keys = ["mode", "wait", "on_expiry", "deferred_wait", "deferred_on_expiry"];
    keys.iter().filter_map(|key| advice[key].as_str()).collect::<Vec<_>>().join(" ")
}

/// Puts the lines that were printed into the job, each in place of its stream's `depends_on`.
fn paste(job: &str, lines: &str) -> String {
    let mut job: toml::Table = job.parse().unwrap();
    let mut pasted = 0;
    for block in lines.split("# [[stream]] ").skip(1) {
        let (name, lines) = block.split_once('\n').unwrap();
        let mut lines: toml::Table = lines.parse().unwrap();
        let streams = job["stream"].as_array_mut().unwrap();
        let stream = streams.iter_mut().find(|stream| stream["name"].as_str() == Some(name)).unwrap();
        let old = stream.as_table_mut().unwrap().insert("depends_on".to_owned(), lines.remove("depends_on").unwrap());
        assert!(old.is_some() && lines.is_empty(), "{block}");
        pasted += 1;
    }
    assert!(pasted > 0, "{lines}");
    job.to_string()
}

/// Takes the advice as the text has it, and checks that every launcher takes the job.
fn take_advice(workspace: &Workspace, arguments: &[&str]) {
    let text = advise(workspace, arguments).succeeded().stdout;
    let (_, lines) = text.split_once("in place of each stream's depends_on:\n").unwrap();
    let job = fs::read_to_string(workspace.path("job.toml")).unwrap();
    workspace.write("job.toml", paste(&job, lines));
    for program in Program::ALL {
        workspace.run(program, &["--check"]).succeeded();
    }
}

fn timed_shop() -> String {
    SHOP.replace("key = \"/id\"", "key = \"/id\"\ntime = \"/at\"")
}

/// Ten payments of each of a thousand orders, which come a millisecond apart. Of each ten, `early` come so many milliseconds before their order, the others
/// right after it; of every hundredth order, `never` are of orders that do not come.
fn known(early: usize, by: u64, never: usize) -> String {
    let mut records: Vec<(u64, String)> = Vec::new();
    for id in 0..1000 {
        let at = 1_000_000 + id;
        records.push((at * 2, format!(r#"{{"type":"order","id":{id},"at":{at}}}"#)));
        for payment in 0..10 {
            let is_never = id % 100 == 0 && payment < never;
            let order = if is_never { 1_000_000 + id } else { id };
            // Between its own millisecond's order and the next one.
            let due = if payment >= 10 - early { (at - by) * 2 + 1 } else { at * 2 + 1 };
            records.push((due, format!(r#"{{"type":"payment","order":{order}}}"#)));
        }
    }
    // Time goes by before the first and after the last.
    for (id, at) in (955_000..1_000_000).chain(1_001_000..1_005_000).enumerate() {
        records.push((at * 2, format!(r#"{{"type":"order","id":{},"at":{at}}}"#, 10_000_000 + id)));
    }
    records.sort_by_key(|(at, _)| *at);
    records.iter().fold(String::new(), |mut text, (_, line)| {
        writeln!(text, "{line}").unwrap();
        text
    })
}

#[test]
fn a_known_lag_is_measured_and_advice_follows_from_the_target() {
    for (early, by, never, latency, counts, lag, expected) in [
        (0, 0, 0, "50ms", [10_000, 0, 0, 0], 0, "streaming 1m dead_letter"),
        (1, 20, 0, "50ms", [9_000, 1_000, 0, 0], 20, "streaming 1m dead_letter"),
        (1, 20, 5, "50ms", [8_950, 1_000, 50, 0], 20, "streaming 1m dead_letter"),
        (1, 20, 0, "10ms", [9_000, 1_000, 0, 0], 20, "streaming 10ms defer 1m dead_letter"),
        (6, 40_000, 0, "1s", [4_000, 6_000, 0, 0], 40_000, "deferred 2m dead_letter"),
    ] {
        let workspace = Workspace::with(&timed_shop(), &known(early, by, never));
        let report = report(&workspace, &["--latency", latency]);
        let dependency = &report["dependencies"][0];
        let what = format!("{early} early by {by} ms, {never} never, target {latency}: {dependency}");
        assert_eq!(shares(dependency), counts, "{what}");
        assert_eq!(dependency["lag"]["max"], lag * 1000, "{what}");
        assert_eq!(advised(dependency), expected, "{what}");
        assert_eq!(report["clock"]["kind"], "event_time");

        take_advice(&workspace, &["--latency", latency]);
        let ended = workspace.run(Program::Sedd, &[]).succeeded();
        let Summary { resolved, waiting, .. } = Summary::parse(&ended.stderr);
        assert_eq!(
            (waiting, resolved),
            (counts[2], report["sample"]["records"].as_u64().unwrap() - counts[2]),
            "{what}"
        );
    }
}

#[test]
fn what_often_never_comes_is_given_up() {
    let early = orders(0..700) + &payments(0..900) + &orders(700..900);
    let workspace = Workspace::with(SHOP, &(early + &payments(5000..5100) + &payments(0..900)));
    let report = report(&workspace, &["--latency", "500ms", "--rate", "1000"]);
    let dependency = &report["dependencies"][0];
    assert_eq!((shares(dependency), report["clock"]["kind"].as_str()), ([1600, 200, 100, 0], Some("rate")));
    assert_eq!(advised(dependency), "streaming 1m partial");
}

/// For each dependency, by reading the lines once: how many referents were there, how many came later, and by how many records at most.
fn by_hand(lines: &[&str]) -> BTreeMap<(String, String), [u64; 3]> {
    let mut read: HashMap<(String, String), usize> = HashMap::new();
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rules = |event: &Value| STREAMS.iter().find(|(name, ..)| event["type"] == *name).unwrap();
    for (at, event) in events.iter().enumerate() {
        if let (_, Some(entity), _) = rules(event) {
            read.entry(((*entity).to_owned(), event["id"].to_string())).or_insert(at);
        }
    }
    let mut counts: BTreeMap<(String, String), [u64; 3]> = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        let (stream, _, dependencies) = rules(event);
        for (name, entity, field) in *dependencies {
            let [there, later, longest] = counts.entry(((*stream).to_owned(), (*name).to_owned())).or_default();
            let keys = event[*field].as_array().cloned().unwrap_or_else(|| vec![event[*field].clone()]);
            for key in keys {
                let referent = read[&((*entity).to_owned(), key.to_string())];
                if referent <= at {
                    *there += 1;
                } else {
                    *later += 1;
                    *longest = (*longest).max((referent - at) as u64);
                }
            }
        }
    }
    counts
}

#[test]
fn what_it_says_of_the_social_network_is_what_is_counted_by_hand() {
    let Some(world) = World::read() else { return };
    for (first, second) in [(&world.snapshot, &world.updates), (&world.updates, &world.snapshot)] {
        let workspace = Workspace::with(JOB, "");
        workspace.write("snapshot.jsonl", first);
        workspace.write("updates.jsonl", second);
        let report = report(&workspace, &["--latency", "1s"]);
        let lines: Vec<&str> = first.lines().chain(second.lines()).collect();
        let expected = by_hand(&lines);
        let dependencies = report["dependencies"].as_array().unwrap();
        assert_eq!((dependencies.len(), report["sample"]["events"].as_u64()), (expected.len(), Some(EVENTS)));
        for d in dependencies {
            let name = |key: &str| d[key].as_str().unwrap().to_owned();
            let [there, later, longest] = expected[&(name("stream"), name("dependency"))];
            assert_eq!(shares(d), [there, later, 0, 0], "{d}");
            assert_eq!(d["lag_records"]["max"], longest, "{d}");
            // Without a rate there is no time: only where nothing is late is there something to advise.
            assert_eq!(d["reason"], if later == 0 { "within" } else { "no_time" }, "{d}");
        }
        take_advice(&workspace, &["--latency", "1s", "--rate", "1000"]);
        let ended = workspace.run(Program::Sedd, &[]).succeeded();
        let Summary { resolved, waiting, .. } = Summary::parse(&ended.stderr);
        assert_eq!((resolved, waiting), (EVENTS, 0));
    }
}

/// To the byte: it counts a referent as the tables do.
#[test]
fn the_memory_that_it_expects_is_what_the_job_takes() {
    let workspace = Workspace::with(&followed_shop(), &(payments(0..1000) + &orders(0..2000) + &payments(1000..2000)));
    let report = report(&workspace, &["--latency", "50ms"]);
    let expected = report["entities"][0]["memory_bytes"].as_f64().unwrap();
    assert!(expected > 2000.0 * 100.0, "{report}");
    let mut running = workspace.start(Program::Sedd, &["--metrics", "127.0.0.1:0"]);
    let address = running.metrics_address();
    eventually("the job has what was expected", || {
        let scrape = Scrape::of(&address)?;
        let all = scrape.value("resolvent_records_read_total", "")? == 4000.0;
        let referents = scrape.value("resolvent_memory_bytes", "part=\"referents\"")?;
        (all && referents == expected).then_some(())
    });
}

#[test]
fn results_that_are_maintained_wait_in_memory() {
    let job = timed_shop().replace("[job]\n", "[job]\nemit = \"changes\"\n");
    let workspace = Workspace::with(&job, &known(6, 40_000, 0));
    let ended = advise(&workspace, &["--latency", "1s"]).succeeded();
    assert!(ended.stdout.contains("no `deferred` and no `defer`"), "{}", ended.stdout);
    assert_eq!(advised(&report(&workspace, &["--latency", "1s"])["dependencies"][0]), "streaming 2m dead_letter");
    let (_, lines) = ended.stdout.split_once("in place of each stream's depends_on:\n").unwrap();
    workspace.write("job.toml", paste(&job, lines));
    workspace.run(Program::Sedd, &["--check"]).succeeded();
}

#[test]
fn nothing_is_written() {
    let workspace = Workspace::with(&timed_shop(), &known(1, 20, 0));
    let before = workspace.snapshot("");
    advise(&workspace, &["--latency", "50ms"]).succeeded();
    assert_eq!(workspace.snapshot(""), before);
    assert!(!workspace.path("state").exists());
}

#[test]
fn the_text_has_the_evidence_and_the_lines() {
    let workspace = Workspace::with(&timed_shop(), &known(1, 20, 0));
    let text = advise(&workspace, &["--latency", "50ms"]).succeeded().stdout;
    for phrase in [
        "complete within 50ms",
        "event time: a record arrives at the greatest `time`",
        "payment.order (refers to order): streaming, waits 1m, then dead_letter",
        "90.00 %  9,000",
        "10.00 %  1,000",
        "now     streaming, waits for ever",
        r#"{ entity = "order", by = "/order", mode = "streaming", wait = "1m", on_expiry = "dead_letter" },"#,
    ] {
        assert!(text.contains(phrase), "no {phrase:?} in:\n{text}");
    }
}

#[test]
fn no_span_is_told_of_what_has_no_time() {
    let broken = Workspace::with(&timed_shop(), &"no json\n".repeat(300));
    let text = advise(&broken, &["--latency", "50ms"]).succeeded().stdout;
    assert!(text.contains("no record had a time") && text.contains("300 rejected"), "{text}");
    assert!(!text.contains("from first to last"), "{text}");
    assert_eq!(report(&broken, &["--latency", "50ms"])["sample"]["span"], 0);
    // What comes all at once says nothing of how much comes a day.
    let at_once = (0..300)
        .map(|id| format!("{{\"type\":\"order\",\"id\":{id},\"at\":5}}\n{{\"type\":\"payment\",\"order\":{id}}}\n"));
    let at_once = Workspace::with(&timed_shop(), &at_once.collect::<String>());
    let text = advise(&at_once, &["--latency", "50ms"]).succeeded().stdout;
    assert!(!text.contains("from first to last") && !text.contains("a day"), "{text}");
}

/// Nothing is told of how old referents were where none was referred to, and of records that are a little out of order not that they come at once.
#[test]
fn notes_are_of_what_was_found() {
    let timed = timed_shop();
    let told = |events: &str| {
        let workspace = Workspace::with(&timed, events);
        advise(&workspace, &["--latency", "50ms"]).succeeded().stdout
    };
    let order = |id: u64, at: u64| format!("{{\"type\":\"order\",\"id\":{id},\"at\":{at}}}\n");
    let alone = told(&(0..300).map(|id| order(id, id * 1_000)).collect::<String>());
    assert!(alone.contains("a day") && !alone.contains("999 of"), "{alone}");

    let shuffled = |within: u64| {
        let place = move |id: u64| id / within * within + (within - 1 - id % within);
        told(&(0..300).map(|id| order(id, place(id) * 1_000)).collect::<String>())
    };
    let (little, all) = (shuffled(10), shuffled(300));
    assert!(!little.contains("arrive all at once"), "{little}");
    assert!(all.contains("they arrive all at once"), "{all}");
}

#[test]
fn it_ends_as_the_other_programs_do() {
    let workspace = Workspace::with(SHOP, "");
    let empty = advise(&workspace, &["--latency", "50ms"]).failed(1, &["nothing was read"]);
    assert_eq!(empty.stdout, "");
    advise(&workspace, &[]).failed(2, &["--latency"]);
    advise(&workspace, &["--latency", "soon"]).failed(2, &["50ms"]);
    let job = format!("[job]\nname = \"odd\"\n[[stream]]\nname = \"order\"\nkeys = \"/id\"\n{FILES}");
    workspace.write("job.toml", job);
    advise(&workspace, &["--latency", "50ms"]).failed(2, &["keys"]);
    workspace.write("job.toml", SHOP.replace("events.jsonl", "nowhere.jsonl"));
    advise(&workspace, &["--latency", "50ms"]).failed(1, &["nowhere.jsonl"]);
}
