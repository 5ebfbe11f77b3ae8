//! `inspect` on states that jobs have made: stopped, killed and running ones, and one wait ended by hand.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::binary;

/// How long a job may take to commit what it has read: far longer than it does.
const PATIENCE: Duration = Duration::from_secs(60);

const STREAMS: &str = r#"
[[stream]]
name = "person"
key = "/id"
[[stream]]
name = "post"
key = "/id"
provides = "message"
depends_on = [{ entity = "person", by = "/author" }]
[[stream]]
name = "reply"
key = "/id"
provides = "message"
depends_on = [{ entity = "message", by = "/to", need = "resolved" }]
[[stream]]
name = "like"
ordered_by = "/person"
depends_on = [{ entity = "message", by = "/message", wait = "1h" }]
[source.file]
path = "in.jsonl"
stream = "/type"
[sink.resolved]
file = "resolved.jsonl"
[sink.dead_letter]
file = "dead.jsonl"
[metrics]
listen = "off"
[state]
path = "state"
"#;

/// A directory with a job, its input, and what it leaves.
struct Job {
    directory: TempDir,
    launcher: &'static str,
}

impl Job {
    /// A job of one worker with these settings besides.
    fn new(launcher: &'static str, settings: &str) -> Job {
        let job = Job { directory: tempfile::tempdir().unwrap(), launcher };
        fs::write(job.path("job.toml"), format!("[job]\nname = \"social\"\nworkers = 1\n{STREAMS}{settings}")).unwrap();
        fs::write(job.path("in.jsonl"), "").unwrap();
        job
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Appends an event to the input and returns its position.
    fn append(&self, event: &str) -> String {
        let path = self.path("in.jsonl");
        let position = format!("in.jsonl:{}", fs::metadata(&path).unwrap().len());
        writeln!(OpenOptions::new().append(true).open(path).unwrap(), "{event}").unwrap();
        position
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(binary(program));
        command.current_dir(self.directory.path()).args(["--config", "job.toml"]);
        command
    }

    /// Runs to the end of the input.
    fn run(&self) {
        let output = self.command(self.launcher).args(["--quiet", "--until-end"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn inspect(&self, arguments: &[&str]) -> Output {
        self.command("inspect").args(arguments).output().unwrap()
    }

    /// The answer as JSON, where the exit status is as expected.
    fn answer(&self, status: i32, arguments: &[&str]) -> Value {
        let output = self.inspect(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What is said where there is no answer.
    fn refusal(&self, status: i32, arguments: &[&str]) -> String {
        let output = self.inspect(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        // Without the line breaks and the margin that a terminal of this width asks for.
        let text = String::from_utf8(output.stderr).unwrap();
        text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
    }

    fn dead(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("dead.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A job that runs until this is dropped, killed as if the power had gone.
struct Running(Child);

impl Running {
    fn start(job: &Job) -> Running {
        let mut command = job.command(job.launcher);
        Running(command.arg("--quiet").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Waits until the state says that so many records were read.
    fn has_read(&mut self, job: &Job, records: u64) -> Value {
        let began = Instant::now();
        loop {
            let output = job.inspect(&["--json"]);
            let found: Option<Value> = serde_json::from_slice(&output.stdout).ok();
            match found {
                Some(overview) if overview["totals"]["read"] == records => return overview,
                other => assert!(began.elapsed() < PATIENCE, "{other:?} {output:?}"),
            }
            assert_eq!(self.0.try_wait().unwrap(), None, "the job has ended");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed, and need not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_running_job_is_shown_and_left_alone() {
    for (launcher, emit) in [("sedd", "once"), ("dedd", "once"), ("sedd", "changes")] {
        let job = Job::new(launcher, "");
        let config = fs::read_to_string(job.path("job.toml")).unwrap();
        let config = config.replace("workers = 1", &format!("workers = 1\nemit = \"{emit}\""));
        let config = if emit == "once" { config } else { config.replace("ordered_by = \"/person\"\n", "") };
        fs::write(job.path("job.toml"), config.replace("[source.file]", "[source.file]\nfollow = true")).unwrap();
        job.append(r#"{"type":"person","id":1}"#);
        let post = job.append(r#"{"type":"post","id":7,"author":2}"#);
        let mut running = Running::start(&job);
        let overview = running.has_read(&job, 2);
        assert_eq!(overview["job"], "social");
        assert_eq!((&overview["waiting"], &overview["conservation_broken"]), (&1.into(), &Value::Null));
        assert_eq!(overview["keys"][0]["key"], 2);

        let event = job.answer(0, &["--event", &post]);
        assert_eq!((&event["status"], &event["references"][0]["found"]), (&"waiting".into(), &"missing".into()));
        assert_eq!(job.answer(0, &["--key", "person/2"])["first"][0]["position"], post.as_str());
        let refusal = job.refusal(1, &["--expire", &post]);
        assert!(
            refusal.contains("in use by another process") && refusal.contains("while its job is stopped"),
            "{refusal}"
        );

        // It goes on as if nobody had looked.
        job.append(r#"{"type":"person","id":2}"#);
        assert_eq!(running.has_read(&job, 3)["totals"]["resolved"], 3);
        assert_eq!(job.answer(1, &["--event", &post])["status"], "ended");
        let beyond = format!("in.jsonl:{}", fs::metadata(job.path("in.jsonl")).unwrap().len());
        assert_eq!(job.answer(1, &["--event", &beyond])["status"], "not_read");
    }
}

#[test]
fn a_wait_ended_by_hand_ends_once_and_does_not_come_back() {
    for launcher in ["sedd", "dedd"] {
        let job = Job::new(launcher, "");
        let post = job.append(r#"{"type":"post","id":7,"author":2}"#);
        let reply = job.append(r#"{"type":"reply","id":8,"to":7}"#);
        let like = job.append(r#"{"type":"like","person":5,"message":9}"#);
        let behind = job.append(r#"{"type":"like","person":5,"message":7}"#);
        job.run();
        assert_eq!(job.answer(0, &[])["waiting_for_turn"], 1);

        let refusal = job.refusal(1, &["--expire", &behind]);
        assert!(refusal.contains("waits for its turn"), "{refusal}");
        for (position, expired) in [(&post, 1), (&like, 2)] {
            let ended = job.answer(0, &["--expire", position]);
            assert_eq!((&ended["status"], &ended["reason"]), (&"expired".into(), &"operator".into()));
            assert_eq!(ended["totals"]["expired"], expired);
            // A second time there is nothing to end.
            assert_eq!(job.answer(1, &["--expire", position])["status"], "ended");
        }
        let dead = job.dead();
        assert_eq!(dead.iter().map(|line| line["position"].as_str().unwrap()).collect::<Vec<_>>(), [&post, &like]);
        assert!(dead.iter().all(|line| line["outcome"] == "expired" && line["reason"] == "operator"));
        assert_eq!(dead[0]["missing"][0]["key"], 2);

        // Their referents come, and twice it is started: both stay ended, the like behind goes, and the reply waits for a post that is not resolved.
        job.append(r#"{"type":"person","id":2}"#);
        job.append(r#"{"type":"post","id":9,"author":2}"#);
        for _ in 0..2 {
            job.run();
            let overview = job.answer(0, &[]);
            assert_eq!(
                (&overview["waiting"], &overview["conservation_broken"]),
                (&1.into(), &Value::Null),
                "{overview}"
            );
            assert_eq!(overview["totals"]["expired"], 2);
            assert_eq!(overview["totals"]["resolved"], 3);
        }
        assert_eq!(job.answer(0, &["--event", &reply])["references"][0]["found"], "missing");
        assert_eq!(job.dead(), dead);
    }
}

#[test]
fn an_event_that_has_left_memory_is_found_and_ended_too() {
    // Far more waits than fit the memory of the job.
    const POSTS: usize = 20_000;
    let job = Job::new("sedd", "[streaming]\nmemory = \"1MiB\"\n");
    let mut lines = String::new();
    let mut positions = Vec::new();
    for id in 0..POSTS {
        positions.push(format!("in.jsonl:{}", lines.len()));
        lines += &format!("{{\"type\":\"post\",\"id\":{id},\"author\":{id}}}\n");
    }
    fs::write(job.path("in.jsonl"), lines).unwrap();
    job.run();
    let overview = job.answer(0, &["--limit", "3"]);
    assert_eq!((&overview["waiting"], &overview["conservation_broken"]), (&POSTS.into(), &Value::Null));
    let in_state = overview["waiting_in_state"].as_u64().unwrap();
    assert!(in_state > 0, "{overview}");
    assert_eq!(overview["keys"].as_array().unwrap().len(), 3);

    let waits_in_state = |position: &&String| job.answer(0, &["--event", position])["waits_in"] == "state";
    let position = positions.iter().step_by(97).find(waits_in_state).unwrap();
    job.answer(0, &["--expire", position]);
    assert_eq!(job.answer(1, &["--event", position])["status"], "ended");
    assert_eq!(job.answer(0, &[])["waiting_in_state"], in_state - 1);

    for id in 0..POSTS {
        lines_of_people(&job, id);
    }
    job.run();
    let overview = job.answer(0, &[]);
    assert_eq!((&overview["waiting"], &overview["totals"]["resolved"]), (&0.into(), &(2 * POSTS - 1).into()));
    let dead = job.dead();
    assert_eq!((dead.len(), dead[0]["position"].as_str()), (1, Some(position.as_str())));
}

fn lines_of_people(job: &Job, id: usize) {
    job.append(&format!("{{\"type\":\"person\",\"id\":{id}}}"));
}

#[test]
fn the_launcher_is_told_by_the_state() {
    let job = Job::new("independent", "");
    job.append(r#"{"type":"post","id":7,"author":2}"#);
    job.run();
    let overview = job.answer(0, &[]);
    assert_eq!((&overview["waiting"], &overview["totals"]["resolved"]), (&0.into(), &1.into()));
    assert_eq!(job.answer(0, &["--key", "person/2"])["arrived"]["is"], "not_kept");

    let config = fs::read_to_string(job.path("job.toml")).unwrap();
    fs::write(job.path("job.toml"), config.replace("by = \"/author\"", "by = \"/writer\"")).unwrap();
    let refusal = job.refusal(2, &[]);
    assert!(
        refusal.contains("other rules") && refusal.contains("by \"/writer\" need arrived mode independent"),
        "{refusal}"
    );
}

#[test]
fn what_cannot_be_answered_is_told() {
    let job = Job::new("sedd", "");
    assert!(job.refusal(1, &[]).contains("no job has been started"));
    assert!(!job.path("state").exists());
    job.append(r#"{"type":"person","id":1}"#);
    job.run();
    for (status, arguments, expected) in [
        (2, ["--event", "in.jsonl"], "is no position"),
        (1, ["--event", "other.jsonl:0"], "it has read `in.jsonl`"),
        (2, ["--key", "ship/1"], "the entities are message, person"),
        (2, ["--key", "person/"], "is no key"),
        (2, ["--key", "person"], "such as person/17"),
        (2, ["--limit", "many"], "invalid value"),
    ] {
        let refusal = job.refusal(status, &arguments);
        assert!(refusal.contains(expected), "{arguments:?}: {refusal}");
    }
}

#[test]
fn people_are_told_in_words() {
    let job = Job::new("sedd", "");
    let post = job.append(r#"{"type":"post","id":7,"author":2}"#);
    job.run();
    let text = |arguments: &[&str]| String::from_utf8(job.inspect(arguments).stdout).unwrap();
    let overview = text(&[]);
    for expected in ["social: what waits", "person/2", "waits longest"] {
        assert!(overview.contains(expected), "{expected} in {overview}");
    }
    let event = text(&["--event", &post]);
    for expected in ["a post that waits (streaming)", "for ever", "person/2", "missing"] {
        assert!(event.contains(expected), "{expected} in {event}");
    }
    let key = text(&["--key", "person/2"]);
    assert!(key.starts_with("person/2: 1 event waiting\n") && key.contains(&post), "{key}");
    assert!(text(&["--expire", &post]).contains("ended as expired, reason operator"));
}

/// Results that are maintained: what they follow from is in the state, and so what waits.
#[test]
fn what_waits_for_maintained_results_is_shown_and_ended() {
    let job = Job::new("sedd", "");
    let config = fs::read_to_string(job.path("job.toml")).unwrap();
    let config =
        config.replace("workers = 1", "workers = 2\nemit = \"changes\"").replace("ordered_by = \"/person\"\n", "");
    fs::write(
        job.path("job.toml"),
        config.replace("name = \"like\"", "name = \"like\"\nkey = \"/id\"\nupdates = \"append\""),
    )
    .unwrap();
    let person = job.append(r#"{"type":"person","id":1}"#);
    let first = job.append(r#"{"type":"post","id":7,"author":1}"#);
    let reply = job.append(r#"{"type":"reply","id":8,"to":7}"#);
    let like = job.append(r#"{"type":"like","id":1,"message":8}"#);
    job.run();
    let overview = job.answer(0, &[]);
    assert_eq!((&overview["waiting"], &overview["conservation_broken"]), (&0.into(), &Value::Null));
    let resolved = job.answer(0, &["--key", "message/8"]);
    assert_eq!(
        (&resolved["arrived"]["position"], &resolved["resolved"]["is"]),
        (&reply.as_str().into(), &"here".into())
    );

    // The post is corrected: its author has not come, and so there is nothing any more to reply to.
    let post = job.append(r#"{"type":"post","id":7,"author":2}"#);
    let lost = job.append(r#"{"type":"like","id":2,"message":9}"#);
    job.run();
    let overview = job.answer(0, &[]);
    assert_eq!((&overview["waiting"], &overview["conservation_broken"]), (&3.into(), &Value::Null), "{overview}");
    assert_eq!((&overview["waiting_in_memory"], &overview["waiting_in_state"]), (&3.into(), &0.into()));
    assert_eq!((&overview["retracted"], &overview["deadlines"][0]["position"]), (&2.into(), &lost.as_str().into()));
    let event = job.answer(0, &["--event", &reply]);
    assert_eq!((&event["status"], &event["waits_in"]), (&"waiting".into(), &"memory".into()));
    assert_eq!(
        (&event["references"][0]["found"], &event["references"][0]["referent"]["is"]),
        (&"missing".into(), &"absent".into())
    );
    // A like needs no more than that the reply has arrived.
    assert_eq!(job.answer(1, &["--event", &like])["status"], "ended");
    assert_eq!(job.answer(1, &["--event", &first])["status"], "ended");
    let key = job.answer(0, &["--key", "message/7"]);
    assert_eq!(
        (&key["waiting"], &key["arrived"]["position"], &key["resolved"]["is"]),
        (&1.into(), &post.as_str().into(), &"absent".into())
    );
    assert_eq!(
        (&key["first"][0]["position"], &key["provided_by"][0]["position"]),
        (&reply.as_str().into(), &post.as_str().into())
    );
    assert_eq!(job.answer(0, &["--key", "person/1"])["arrived"]["position"], person.as_str());
    assert_eq!(job.answer(0, &["--key", "person/3"])["arrived"]["is"], "absent");
    let text = String::from_utf8(job.inspect(&[]).stdout).unwrap();
    for expected in ["+ retracted", "in the job's memory", "person/2", "message/7"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }

    // Two waits are ended by hand: of an event that others refer to, and of one that they do not.
    for position in [&post, &lost] {
        let ended = job.answer(0, &["--expire", position]);
        assert_eq!((&ended["status"], &ended["reason"]), (&"expired".into(), &"operator".into()));
        assert_eq!(job.answer(1, &["--expire", position])["status"], "ended");
    }
    let dead = job.dead();
    assert_eq!(dead.iter().map(|line| line["position"].as_str().unwrap()).collect::<Vec<_>>(), [&post, &lost]);
    assert!(dead.iter().all(|line| line["outcome"] == "expired" && line["reason"] == "operator"), "{dead:?}");
    assert_eq!(dead[0]["missing"][0]["key"], 2);
    // What they lacked comes: they stay ended, and the reply waits for a post that is resolved.
    job.append(r#"{"type":"person","id":2}"#);
    job.append(r#"{"type":"post","id":9,"author":2}"#);
    for _ in 0..2 {
        job.run();
        let overview = job.answer(0, &[]);
        assert_eq!((&overview["waiting"], &overview["conservation_broken"]), (&1.into(), &Value::Null), "{overview}");
        assert_eq!(overview["totals"]["expired"], 2);
    }
    assert_eq!(job.answer(0, &["--event", &reply])["references"][0]["key"], 7);
    job.append(r#"{"type":"post","id":7,"author":1}"#);
    job.run();
    assert_eq!(job.answer(0, &[])["waiting"], 0);
    assert_eq!(job.dead(), dead);
}

const LAST_EPOCH: &str = r#"
[job]
name = "social"
workers = 2
epoch = "2s"
[[stream]]
name = "person"
key = "/id"
[[stream]]
name = "post"
key = "/id"
[[stream]]
name = "like"
depends_on = [
  { entity = "person", by = "/person" },
  { entity = "post", by = "/post", wait = "1h" },
  { name = "friends", entity = "person", by = "/friends", required = false },
]
[source.file]
path = "in.jsonl"
stream = "/type"
follow = true
[sink.resolved]
file = "resolved.jsonl"
[sink.dead_letter]
file = "dead.jsonl"
[metrics]
listen = "off"
[state]
path = "state"
"#;

/// A job that is killed has no more than the positions of what began to wait in its last epoch.
#[test]
fn what_the_last_epoch_only_listed_is_read_again_as_it_was() {
    let job = Job::new("sedd", "");
    fs::write(job.path("job.toml"), LAST_EPOCH).unwrap();
    let person = job.append(r#"{"type":"person","id":1}"#);
    let like = job.append(r#"{"type":"like","person":1,"post":7,"friends":[1,3]}"#);
    let other = job.append(r#"{"type":"like","person":1,"post":8}"#);
    let mut running = Running::start(&job);
    let overview = running.has_read(&job, 3);
    let shown = job.answer(0, &["--event", &like]);
    drop(running);
    assert_eq!((&overview["waiting"], &overview["waiting_in_memory"]), (&2.into(), &2.into()));
    assert_eq!(overview["conservation_broken"], Value::Null);

    // It is shown as it was, with what it had found and until when it waits: after the kill, and once more when a job has gone on with it.
    let check = |event: &Value| {
        let found = |at: usize| (&event["references"][at]["found"], &event["references"][at]["position"]);
        assert_eq!((&event["status"], &event["waits_in"]), (&"waiting".into(), &"memory".into()), "{event}");
        let names: Vec<&str> = (0..4).map(|at| event["references"][at]["dependency"].as_str().unwrap()).collect();
        for (at, name) in names.into_iter().enumerate() {
            match (name, event["references"][at]["key"].as_i64().unwrap()) {
                ("person", 1) | ("friends", 1) => assert_eq!(found(at), (&"present".into(), &person.as_str().into())),
                _ => assert_eq!(found(at).0, "missing", "{event}"),
            }
        }
        assert_eq!((&event["since"], &event["until"]), (&shown["since"], &shown["until"]));
    };
    check(&shown);
    check(&job.answer(0, &["--event", &like]));

    // What it is read from has to be there, and to be what it was.
    fs::rename(job.path("in.jsonl"), job.path("gone.jsonl")).unwrap();
    let refusal = job.refusal(1, &[]);
    assert!(refusal.contains("is to be read again") && refusal.contains("cannot open `in.jsonl`"), "{refusal}");
    fs::rename(job.path("gone.jsonl"), job.path("in.jsonl")).unwrap();
    fs::write(job.path("job.toml"), LAST_EPOCH.replace(", required = false", "")).unwrap();
    let refusal = job.refusal(1, &[]);
    assert!(refusal.contains(&format!("the record at {other} belongs to what waits")), "{refusal}");
    let output = job.command("sedd").args(["--quiet", "--until-end"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && stderr.contains("belongs to what waits"), "{stderr}");

    // Another file with lines of the same length is not taken for it.
    let input = fs::read(job.path("in.jsonl")).unwrap();
    let text = String::from_utf8(input.clone()).unwrap();
    fs::write(job.path("job.toml"), LAST_EPOCH).unwrap();
    for (old, new) in
        [("\"post\":8", "\"post\":9"), ("\"id\":1", "\"id\":4"), ("\"type\":\"person\"", "\"kind\":\"person\"")]
    {
        fs::write(job.path("in.jsonl"), text.replace(old, new)).unwrap();
        for arguments in [&[][..], &["--expire", &other]] {
            let refusal = job.refusal(1, arguments);
            assert!(refusal.contains("is not the file that was read"), "{refusal}");
        }
    }
    fs::write(job.path("in.jsonl"), input).unwrap();

    // One is ended by hand, and has what it had found.
    fs::write(job.path("job.toml"), LAST_EPOCH).unwrap();
    job.answer(0, &["--expire", &other]);
    let dead = job.dead();
    assert_eq!((&dead[0]["position"], &dead[0]["reason"]), (&other.as_str().into(), &"operator".into()));
    assert_eq!(dead[0]["dependencies"]["person"]["id"], 1);
    assert_eq!(dead[0]["missing"].as_array().unwrap().len(), 1);

    // A longer wait is for those that come later.
    fs::write(job.path("job.toml"), LAST_EPOCH.replace("1h", "2h")).unwrap();
    job.run();
    check(&job.answer(0, &["--event", &like]));
    job.append(r#"{"type":"post","id":7}"#);
    job.append(r#"{"type":"person","id":3}"#);
    job.run();
    let overview = job.answer(0, &[]);
    assert_eq!((&overview["waiting"], &overview["totals"]["resolved"]), (&0.into(), &4.into()));
    let lines = fs::read_to_string(job.path("resolved.jsonl")).unwrap();
    let likes: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let likes: Vec<&Value> = likes.iter().filter(|line| line["stream"] == "like").collect();
    assert_eq!(likes.len(), 1);
    assert_eq!(likes[0]["dependencies"]["friends"][1]["id"], 3);
    assert_eq!(job.dead(), dead);
}

/// What is configured anew holds for later events: a deadline stays, and who had no turn to wait for is not given one that nobody lets go by.
#[test]
fn what_was_listed_keeps_its_deadline_and_has_no_turn() {
    let job = Job::new("sedd", "");
    fs::write(job.path("job.toml"), LAST_EPOCH).unwrap();
    job.append(r#"{"type":"person","id":1}"#);
    job.append(r#"{"type":"like","person":1,"post":7}"#);
    let waits = job.append(r#"{"type":"like","person":2,"post":8}"#);
    let mut running = Running::start(&job);
    running.has_read(&job, 3);
    let until = job.answer(0, &["--event", &waits])["until"].clone();
    drop(running);
    assert!(until.is_string(), "{until}");
    let changed = LAST_EPOCH.replace("1h", "2h");
    let changed = changed.replace("name = \"like\"", "name = \"like\"\nordered_by = \"/person\"");
    fs::write(job.path("job.toml"), changed).unwrap();
    job.append(r#"{"type":"post","id":7}"#);
    job.run();
    let overview = job.answer(0, &[]);
    assert_eq!((&overview["waiting"], &overview["totals"]["resolved"]), (&1.into(), &3.into()), "{overview}");
    assert_eq!(job.answer(0, &["--event", &waits])["until"], until);
}
