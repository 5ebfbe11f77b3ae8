//! What is refused and how it is told, what is understood, and that no text panics.

use miette::{GraphicalReportHandler, GraphicalTheme};
use proptest::prelude::*;

use super::*;
use crate::dependency::OnExpiry;

const DESIGN: &str = include_str!("cases/design.toml");
const REFUSALS: &str = include_str!("cases/refusals.txt");

/// What a case that is not about them need not write: each is added where no line of the case begins with what stands
/// before it.
const REST: [(&str, &str); 5] = [
    ("[job]", "[job]\nname = \"case\"\n"),
    ("[[stream]]", "[[stream]]\nname = \"person\"\nkey = \"/id\"\n"),
    ("[source.", "[source.file]\npath = \"in.jsonl\"\nstream = \"/type\"\n"),
    ("[sink.resolved]", "[sink.resolved]\nnull = true\n"),
    ("[sink.dead_letter]", "[sink.dead_letter]\nnull = true\n"),
];

const LAUNCHERS: [Mode; 3] = [Mode::Independent, Mode::Streaming, Mode::Deferred];

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some("hunter2".to_owned()),
        "DIRECTORY" => Some("src".to_owned()),
        "LISTEN" => Some("127.0.0.1:1234".to_owned()),
        _ => None,
    }
}

fn checked(text: &str, launcher: Mode) -> Result<Job, ConfigError> {
    check(Path::new("job.toml"), text, launcher, &Overrides::default(), &environment)
}

fn completed(case: &str) -> String {
    let mut text = case.to_owned();
    if !case.starts_with("# complete") {
        for (header, rest) in REST {
            if !case.lines().any(|line| line.starts_with(header)) {
                text.push_str(rest);
            }
        }
    }
    text
}

fn rendered(error: &ConfigError) -> String {
    let mut out = String::new();
    let handler =
        GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100).with_links(false);
    handler.render_report(&mut out, error).unwrap();
    out
}

/// A case is a title, a text, and a line for each problem: its place, its key, and phrases of what was found and of
/// what would be right.
#[test]
fn every_refusal_names_its_place_and_what_would_be_right() {
    let mut failures = Vec::new();
    let mut cases = 0;
    for case in REFUSALS.split("=== ").skip(1) {
        cases += 1;
        let (title, body) = case.split_once('\n').unwrap();
        let text: String = body.lines().filter(|l| !l.starts_with("--- ")).map(|l| format!("{l}\n")).collect();
        let expected: Vec<&str> = body.lines().filter_map(|l| l.strip_prefix("--- ")).collect();
        let problems = match checked(&completed(&text), Mode::Streaming) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems().to_vec(),
        };
        let told = |problem: &Problem, expected: &str| {
            let (line, column) = problem.location().unwrap_or_default();
            let (place, phrases) = expected.split_once(' ').unwrap();
            let told = format!("{problem:?}");
            place == format!("{line}:{column}") && phrases.split(" | ").all(|phrase| told.contains(phrase))
        };
        let same = problems.len() == expected.len() && problems.iter().zip(&expected).all(|(p, e)| told(p, e));
        if !same || expected.is_empty() {
            let found: String = problems.iter().map(|p| format!("    {p:?}\n")).collect();
            failures.push(format!("{title}\n  expected {expected:#?}\n  found\n{found}"));
        }
    }
    assert!(failures.is_empty(), "{} of {cases} cases:\n{}", failures.len(), failures.join("\n"));
    assert!(cases > 60, "{cases} cases");
}

#[test]
fn problems_are_shown_with_their_lines() {
    let text = completed(
        "[job]\nname = \"shop\"\nworkres = 4\nepoch = \"soon\"\n\n[[stream]]\nname = \"payment\"\n\
         depends_on = [ { entity = \"ordr\", by = \"order\" } ]\n\n[[stream]]\nname = \"order\"\nkey = \"/id\"\n",
    );
    assert_eq!(rendered(&checked(&text, Mode::Streaming).unwrap_err()), include_str!("cases/rendered.txt"));
}

#[test]
fn the_example_of_the_design_is_described() {
    let job = checked(DESIGN, Mode::Streaming).unwrap();
    assert_eq!(describe(&job), include_str!("cases/described.txt"));
}

#[test]
fn what_a_launcher_or_a_source_makes_void_is_said() {
    let notes = |text: &str, launcher| checked(text, launcher).unwrap().notes();
    let absent = ["snapshot.jsonl", "updates.jsonl"]
        .map(|path| format!("{path} is not there now: the job does not start without it"));
    assert_eq!(notes(DESIGN, Mode::Streaming), absent);
    let [first, second] = &absent;
    assert_eq!(
        notes(&DESIGN.replace("delivery = \"exactly_once\"", "delivery = \"at_least_once\""), Mode::Independent),
        [
            "ignored in independent mode: wait, on_expiry, include of like.message",
            "ignored: ordered_by of like, whose events never wait",
            first,
            second,
            "delivery makes no difference: into files exactly once costs nothing more",
        ]
    );
    let text = completed(
        "[[stream]]\nname = \"person\"\n[[stream]]\nname = \"bid\"\n[source.file]\n\
         streams = { bid = \"-\" }\n[sink.resolved]\nstdout = true\n",
    );
    assert_eq!(
        notes(&text, Mode::Streaming),
        [
            "stream person has no file or topic: nothing is read for it",
            "at least once: standard input cannot be read again after a crash",
            "at least once: standard output cannot be cut after a crash",
        ]
    );
}

#[test]
fn topics_are_read_and_described_without_their_secrets() {
    let text = completed(
        "[[stream]]\nname = \"post\"\nkey = \"@key\"\ntime = \"@timestamp\"\n[[stream]]\nname = \"like\"\nkey = \"@key:text\"\n\
         [source.kafka]\nbrokers = [\"a:1\", \"b:2\"]\ntopics = { posts = \"post\", likes = \"like\" }\n\
         start = \"2026-01-31T09:30:00Z\"\ncreate_topics = true\n\
         properties = { \"security.protocol\" = \"SASL_SSL\", \"sasl.password\" = \"hunter2\" }\n",
    );
    let job = checked(&text, Mode::Streaming).unwrap();
    let source::Settings::Kafka(settings) = &job.source else { panic!("{:?}", job.source) };
    assert_eq!((settings.client.brokers.as_str(), settings.start), ("a:1,b:2", source::Start::Time(1_769_851_800_000)));
    assert_eq!((settings.group.as_str(), settings.client_id.as_str()), ("resolvent-case", "resolvent-case"));
    assert_eq!(
        job.rules.streams().iter().map(|s| s.key.clone()).collect::<Vec<_>>(),
        [Some(Place::KeyText), Some(Place::Key)]
    );
    let described = "source\n  brokers a:1,b:2, group resolvent-case\n  topic likes: stream like\n  topic posts: stream post\n  \
                     a partition that the state does not know begins at the first record from 2026-01-31T09:30:00Z on; \
                     missing topics are created\n  properties sasl.password, security.protocol\n";
    assert!(describe(&job).contains(described), "{}", describe(&job));
    assert!(!format!("{job:?} {}", describe(&job)).contains("hunter2"));
}

#[test]
fn starts_are_words_times_or_milliseconds() {
    for (written, start) in [
        ("\"earliest\"", source::Start::Earliest),
        ("\"latest\"", source::Start::Latest),
        ("\"committed\"", source::Start::Committed),
        ("\"1970-01-01T00:00:01.5Z\"", source::Start::Time(1_500)),
        ("\"1500\"", source::Start::Time(1_500)),
        ("1_500", source::Start::Time(1_500)),
    ] {
        let text = completed(&format!(
            "[source.kafka]\nbrokers = \"a:1\"\ntopics = [\"all\"]\nstream = \"@header:type\"\nstart = {written}\n"
        ));
        let job = checked(&text, Mode::Streaming).unwrap();
        let source::Settings::Kafka(settings) = &job.source else { panic!("{:?}", job.source) };
        assert_eq!((settings.start, &job.stream_field), (start, &Some(Place::Header("type".to_owned()))), "{written}");
    }
}

#[test]
fn a_workload_is_read_and_described() {
    let text = completed(
        "[source.synthetic]\nworkload = \"social\"\nevents = 1_000\nseed = 7\nrate = 50\narrivals = \"poisson\"\n\
         disorder = 10\nduplicates = 0.1\nlate = 1\nlate_by = 5\nnever = 0.25\n",
    );
    let job = checked(&text, Mode::Streaming).unwrap();
    let source::Settings::Synthetic(settings) = &job.source else { panic!("{:?}", job.source) };
    let expected = source::SyntheticSettings {
        workload: source::Workload::Social,
        items: source::ItemSettings::default(),
        events: 1_000,
        seed: 7,
        rate: 50,
        arrivals: source::Arrivals::Poisson,
        disorder: 10,
        duplicates: 0.1,
        late: 1.0,
        late_by: 5,
        never: 0.25,
    };
    assert_eq!(*settings, expected);
    assert_eq!(job.stream_field, Place::parse("/type").ok());
    let described = "source\n  synthetic social: 1000 events, seed 7\n  50 events/s, as a Poisson process\n  \
                     disorder within 10 events; shares: duplicates 0.1, late 1 (by 5 events), never 0.25\n";
    assert!(describe(&job).contains(described), "{}", describe(&job));

    let text = completed("[source.synthetic]\nworkload = \"items\"\ndependents = 0.25\nreferences = 3\nskew = 1\n");
    let described = describe(&checked(&text, Mode::Streaming).unwrap());
    let items = "  dependents 0.25, each of 3 of the latest 10000 items, skew 1; payload 100 bytes\n";
    assert!(described.contains(items), "{described}");
    let text = completed("[source.synthetic]\nworkload = \"social\"\nskew = 1\n");
    assert!(checked(&text, Mode::Streaming).is_err(), "`skew` is of items");
}

#[test]
fn topics_are_described_without_secrets_and_presets_give_way_to_what_is_written() {
    let sinks = "[sink.resolved]\ntopic = \"out\"\nkey = \"/id\"\n[sink.dead_letter]\ntopic = \"dead\"\n[sink.kafka]\n\
                 brokers = [\"a:1\", \"b:2\"]\nproperties = { \"sasl.password\" = \"${SECRET}\", \"batch.size\" = \"9\" }\n";
    let job = checked(&completed(sinks), Mode::Streaming).unwrap();
    let described = "sinks\n  resolved: topic out, keyed by /id\n  dead_letter: topic dead, keyed by the event's own key\n  \
                     accepted: none\n  brokers a:1,b:2: compression lz4, linger 5ms, transactions of at most 1m\n  \
                     with batch.size, sasl.password\n";
    assert!(describe(&job).contains(described), "{}", describe(&job));
    assert!(!describe(&job).contains("hunter2") && !format!("{job:?}").contains("hunter2\"}"));

    let fast = "[job]\nname = \"case\"\npreset = \"fast\"\ndelivery = \"at_least_once\"\n";
    let job = checked(&completed(&format!("{fast}{sinks}")), Mode::Streaming).unwrap();
    let (producer, epoch) = (job.producer.as_ref().unwrap(), job.epoch);
    assert_eq!((producer.compression, producer.acks, producer.idempotence), ("lz4", sink::Acks::Leader, false));
    assert_eq!((producer.linger, epoch), (Duration::from_millis(50), Duration::from_secs(1)));
    let written =
        format!("{}{sinks}linger = \"1ms\"\nidempotence = true\n", fast.replace("preset", "epoch = \"20ms\"\npreset"));
    let job = checked(&completed(&written), Mode::Streaming).unwrap();
    let (producer, epoch) = (job.producer.as_ref().unwrap(), job.epoch);
    assert_eq!((producer.acks, producer.idempotence), (sink::Acks::All, true));
    assert_eq!((producer.linger, epoch), (Duration::from_millis(1), Duration::from_millis(20)));
}

#[test]
fn one_file_serves_all_launchers() {
    for (launcher, expected) in [
        (Mode::Independent, [Mode::Independent, Mode::Independent]),
        (Mode::Streaming, [Mode::Streaming, Mode::Streaming]),
        (Mode::Deferred, [Mode::Deferred, Mode::Deferred]),
    ] {
        let job = checked(DESIGN, launcher).unwrap();
        let modes = |stream: &str| -> Vec<Mode> {
            let stream = job.rules.stream(job.rules.stream_named(stream).unwrap());
            stream.depends_on.iter().map(|d| d.mode).collect()
        };
        assert_eq!(modes("like"), expected);
        // The dependency on `forum` names its mode, and keeps it.
        assert_eq!(modes("post"), [Mode::Deferred, launcher]);
    }
}

/// The dependency of stream `b` on `a`, with these settings.
fn dependency(settings: &str, launcher: Mode) -> (Option<Duration>, OnExpiry) {
    let streams = format!(
        "[[stream]]\nname = \"a\"\nkey = \"/id\"\n[[stream]]\nname = \"b\"\n\
         depends_on = [ {{ entity = \"a\", by = \"/a\"{settings} }} ]\n"
    );
    let job = checked(&completed(&streams), launcher).unwrap();
    let dependency = &job.rules.stream(job.rules.stream_named("b").unwrap()).depends_on[0];
    (dependency.wait, dependency.on_expiry)
}

#[test]
fn waits_and_what_their_deadlines_do() {
    use crate::dependency::SecondExpiry::{DeadLetter, Drop};
    let minutes = |n: u64| Some(Duration::from_secs(60 * n));
    let defer = |wait, then| OnExpiry::Defer { wait, then };
    for (settings, streaming, deferred) in [
        ("", (None, OnExpiry::DeadLetter), (None, OnExpiry::DeadLetter)),
        (r#", wait = "1m""#, (minutes(1), OnExpiry::DeadLetter), (minutes(1), OnExpiry::DeadLetter)),
        (r#", wait = "1m", on_expiry = "keep""#, (minutes(1), OnExpiry::Keep), (minutes(1), OnExpiry::Keep)),
        (r#", wait = "1m", on_expiry = "defer""#, (minutes(1), defer(None, DeadLetter)), (None, OnExpiry::DeadLetter)),
        (
            r#", wait = "1m", on_expiry = "defer", deferred_wait = "2m", deferred_on_expiry = "drop""#,
            (minutes(1), defer(minutes(2), Drop)),
            (minutes(3), OnExpiry::Drop),
        ),
    ] {
        assert_eq!(dependency(settings, Mode::Streaming), streaming, "{settings}");
        assert_eq!(dependency(settings, Mode::Deferred), deferred, "{settings}");
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let job = checked(&completed(""), Mode::Streaming).unwrap();
    assert_eq!((job.epoch, job.epoch_size, job.max_record), (Duration::from_millis(100), 64 << 20, 1 << 20));
    assert_eq!((job.streaming_memory, job.state.memory, job.state.direct_io), (1 << 30, 256 << 20, false));
    assert_eq!(job.state.path, Path::new("state"));
    assert_eq!(job.metrics_listen, "127.0.0.1:9464".parse().ok());
    assert_eq!(job.delivery, Delivery::ExactlyOnce);
    assert_eq!(job.workers, std::thread::available_parallelism().unwrap().get().min(256));
}

#[test]
fn the_command_line_comes_first() {
    let text = completed(
        "[job]\nname = \"x\"\nworkers = 3\n[metrics]\nlisten = \"127.0.0.1:1\"\n[state]\npath = \"elsewhere\"\n",
    );
    let with = |overrides: Overrides| check(Path::new("job.toml"), &text, Mode::Streaming, &overrides, &environment);
    let job =
        with(Overrides { workers: Some(7), state_dir: Some("here".into()), metrics: Some("off".to_owned()) }).unwrap();
    assert_eq!((job.workers, job.metrics_listen, job.state.path.as_path()), (7, None, Path::new("here")));
    let overrides =
        Overrides { workers: Some(0), state_dir: Some("Cargo.toml/state".into()), metrics: Some("nowhere".to_owned()) };
    let error = with(overrides).unwrap_err();
    let found: Vec<_> = error.problems().iter().map(|p| (p.key(), p.location())).collect();
    assert_eq!(found, [("--workers", None), ("--state", None), ("--metrics", None)]);
}

#[test]
fn the_state_directory_is_looked_at_and_left_alone() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("file"), "").unwrap();
    let with = |path: &str| {
        let overrides = Overrides { state_dir: Some(place.path().join(path)), ..Overrides::default() };
        check(Path::new("job.toml"), &completed(""), Mode::Streaming, &overrides, &environment)
    };
    assert!(with("new/below").is_ok());
    assert!(with("").is_ok());
    let error = with("file/below").unwrap_err();
    assert!(error.problems()[0].to_string().contains("a part of it is no directory"), "{error:?}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn a_state_directory_is_refused_if_it_could_not_be_made() {
    let place = tempfile::tempdir().unwrap();
    for mode in [0o700, 0o500, 0o600, 0o000] {
        let parent = place.path().join(format!("{mode:o}"));
        std::fs::create_dir(&parent).unwrap();
        std::fs::set_permissions(&parent, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let overrides = Overrides { state_dir: Some(parent.join("state")), ..Overrides::default() };
        let accepted = check(Path::new("job.toml"), &completed(""), Mode::Streaming, &overrides, &environment).is_ok();
        // Whoever runs as root may write everywhere.
        assert_eq!(accepted, std::fs::create_dir(parent.join("state")).is_ok(), "{mode:o}");
    }
}

#[test]
fn links_do_not_hide_that_two_names_are_one_file() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("in"), "").unwrap();
    std::os::unix::fs::symlink(place.path().join("in"), place.path().join("link")).unwrap();
    let at = place.path().display();
    let text = completed(&format!(
        "[source.file]\npath = \"{at}/in\"\nstream = \"/type\"\n[sink.resolved]\nfile = \"{at}/link\"\n\
         [sink.dead_letter]\nfile = \"{at}/new/../out\"\n[sink.accepted]\nfile = \"{at}/out\"\n"
    ));
    let error = checked(&text, Mode::Streaming).unwrap_err();
    let found: Vec<_> = error.problems().iter().map(|p| p.key()).collect();
    // Of the second the directory is not there.
    assert_eq!(found, ["sink.resolved.file", "sink.dead_letter.file", "sink.accepted.file"]);
}

#[test]
fn what_came_from_the_environment_is_never_shown() {
    let text = completed(
        "[job]\nname = \"${SECRET}\"\n[[stream]]\nname = \"${SECRET}\"\nkey = \"/${SECRET}\"\n\
         ordered_by = \"/${SECRET}\"\n\
         depends_on = [ { entity = \"${SECRET}\", by = \"/b\", include = [\"/${SECRET}\"] } ]\n\
         [source.file]\nstreams = { hunter2 = \"${SECRET}.jsonl\" }\n[sink.resolved]\nfile = \"${SECRET}\"\n\
         [state]\npath = \"${SECRET}-state\"\n[metrics]\nlisten = \"${LISTEN}\"\n",
    );
    let job = checked(&text, Mode::Streaming).unwrap();
    let described = describe(&job);
    assert_eq!(job.name, "hunter2");
    assert!(!described.contains("hunter2") && !described.contains("1234"), "{described}");
    assert!(described.contains("${SECRET}.jsonl") && described.contains("http://${LISTEN}/metrics"), "{described}");

    for (wrong, right) in [
        ("name = \"${SECRET}\"\nkey", "name = \"${SECRET}\"\nretain = \"${SECRET}\"\nkey"),
        ("by = \"/b\"", "by = \"${SECRET}\""),
    ] {
        let error = checked(&text.replace(wrong, right), Mode::Streaming).unwrap_err();
        let told = format!("{error:?}{}", rendered(&error));
        assert!(told.contains("\"${SECRET}\"") && !told.contains("\"hunter2\""), "{told}");
    }
}

#[test]
fn files_that_are_no_configuration_are_told_apart() {
    let place = tempfile::tempdir().unwrap();
    let missing = load(&place.path().join("none.toml"), Mode::Streaming, &Overrides::default()).unwrap_err();
    assert!(missing.problems()[0].to_string().contains("cannot be read"), "{missing:?}");
    let path = place.path().join("latin.toml");
    std::fs::write(&path, b"[job]\nname = \"\xe9\"\n").unwrap();
    let latin = load(&path, Mode::Streaming, &Overrides::default()).unwrap_err();
    assert!(latin.problems()[0].to_string().contains("byte 14 is not UTF-8"), "{latin:?}");
    assert!(rendered(&missing).contains("none.toml") && rendered(&latin).contains("latin.toml"));
}

#[test]
fn the_examples_load_under_every_launcher() {
    for example in ["first", "nexmark", "nexmark-kafka", "social"] {
        let path = PathBuf::from(format!("jobs/examples/{example}.toml"));
        for launcher in LAUNCHERS {
            let job = load(&path, launcher, &Overrides::default()).unwrap();
            assert_eq!(job.name, example);
            assert!(describe(&job).starts_with(&format!("job {example}: ")));
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    for open in ["[", "{a=", "a."] {
        let text = format!("job = {}", open.repeat(100_000));
        assert!(checked(&text, Mode::Streaming).is_err());
        assert!(checked(&open.repeat(100_000), Mode::Streaming).is_err());
    }
}

/// Texts near a valid one: pieces cut out, doubled, moved, or replaced by what means something in TOML or here.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (
        any::<prop::sample::Index>(),
        0usize..40,
        prop::sample::select(vec![
            "",
            "\"",
            "[",
            "]",
            "{",
            "}",
            "[[",
            "\n",
            "=",
            ",",
            "#",
            "'''",
            "\\u0000",
            "\u{fffd}é",
            "${",
            "${SECRET}",
            "-1",
            "0",
            "1e400",
            "nan",
            "99999999999999999999",
            "0xffff",
            "true",
            "\"/~\"",
            "\"@key\"",
            "\"defer\"",
            "\"resolved\"",
            "1979-05-27",
            "\"9999999w\"",
            "[[stream]]\n",
            "[source.kafka]\n",
            "need = \"resolved\", ",
            "mode = \"deferred\", ",
            "provides = \"person\"\n",
            "\"changes\"",
        ]),
    );
    prop::collection::vec(edit, 1..6).prop_map(|edits| {
        let mut text: Vec<char> = DESIGN.chars().collect();
        for (at, length, insert) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, insert.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in mutated(), launcher in prop::sample::select(LAUNCHERS.to_vec())) {
        match checked(&text, launcher) {
            Ok(job) => prop_assert!(describe(&job).contains("\nstreams\n")),
            Err(error) => {
                prop_assert!(!error.problems().is_empty());
                let placed = error.problems().iter().all(|problem| problem.location().is_some());
                prop_assert!(placed, "{:?}", error);
                prop_assert!(!rendered(&error).is_empty());
            }
        }
    }
}
