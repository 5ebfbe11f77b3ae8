//! Questions to a state that an engine has made, in memory: the same answers wherever its events wait.

use std::collections::BTreeMap;
use std::time::Duration;

use resolvent_state::{Batch, Durability};

use super::*;
use crate::checkpoint::{Checkpoint, EpochEnd};
use crate::decode::{Decoded, Decoder};
use crate::dependency::{DependencyDraft, Mode, Need, OnExpiry, Place, Pointer, StreamDraft};
use crate::event::{Block, Content, Epoch, Key, Outcome, PartitionId, Partitions, Positions, WorkerIndex};
use crate::metrics::Totals;
use crate::mode::{Effects, Engine, Phase, Settings, Visit};
use crate::sink::{self, Target};

const PARTITION: PartitionId = PartitionId(0);
const SECOND: i64 = 1_000_000;
/// When the questions are asked.
const NOW: Timestamp = Timestamp(10 * SECOND);

/// Line by line, what waits in the end: see each line.
const FIRST: [&str; 4] = [
    r#"{"type":"person","id":1}"#,
    // Resolved.
    r#"{"type":"post","id":10,"author":1}"#,
    // Lacks person 2.
    r#"{"type":"post","id":11,"author":2}"#,
    // Lacks message 11, resolved.
    r#"{"type":"like","person":1,"message":11}"#,
];
const SECOND_EPOCH: [&str; 4] = [
    // Lacks person 3 and message 11.
    r#"{"type":"like","person":3,"message":11}"#,
    // Lacks person 3, named twice.
    r#"{"type":"follow","by":"ann","persons":[1,3,3]}"#,
    // Lacks nothing, and is behind the one before.
    r#"{"type":"follow","by":"ann","persons":[1]}"#,
    "no event",
];

fn dependency(name: &str, entity: &str, mode: Mode) -> DependencyDraft {
    DependencyDraft {
        name: None,
        entity: entity.to_owned(),
        by: Pointer::parse(&format!("/{name}")).unwrap(),
        mode,
        required: true,
        need: Need::Arrived,
        wait: None,
        on_expiry: OnExpiry::DeadLetter,
        include: None,
    }
}

fn stream(name: &str, keyed: bool, depends_on: Vec<DependencyDraft>) -> StreamDraft {
    StreamDraft {
        name: name.to_owned(),
        key: keyed.then(|| Place::parse("/id").unwrap()),
        provides: None,
        time: None,
        retain: None,
        ordered_by: None,
        depends_on,
    }
}

/// Persons are kept in the state, for likes wait for them deferred; messages that are resolved are in memory only.
fn rules() -> Arc<Rules> {
    let minute = Some(Duration::from_secs(60));
    let author = DependencyDraft { wait: minute, ..dependency("author", "person", Mode::Streaming) };
    let person = DependencyDraft {
        wait: minute.map(|minute| 60 * minute),
        on_expiry: OnExpiry::Keep,
        ..dependency("person", "person", Mode::Deferred)
    };
    let message = DependencyDraft { need: Need::Resolved, ..dependency("message", "message", Mode::Streaming) };
    let friends =
        DependencyDraft { name: Some("friends".to_owned()), ..dependency("persons", "person", Mode::Streaming) };
    let by = Some(Pointer::parse("/by").unwrap());
    let streams = vec![
        StreamDraft { retain: Some(Duration::from_secs(3600)), ..stream("person", true, Vec::new()) },
        StreamDraft { provides: Some("message".to_owned()), ..stream("post", true, vec![author]) },
        stream("like", false, vec![person, message]),
        StreamDraft { ordered_by: by, ..stream("follow", false, vec![friends]) },
    ];
    Arc::new(Rules::build(streams).unwrap())
}

/// A job of one worker that reads one file.
struct Job {
    rules: Arc<Rules>,
    state: State,
    checkpoint: Checkpoint,
    engine: Engine,
    epoch: Epoch,
    read_to: u64,
    /// The positions of all lines.
    lines: Vec<String>,
}

impl Job {
    /// With so much memory: with none all waiting events move to the state, but those that are behind another.
    fn new(bytes: usize) -> Job {
        let (rules, state) = (rules(), State::in_memory());
        let settings = Settings {
            streaming_bytes: bytes,
            deferred_bytes: bytes,
            changes_bytes: 1 << 20,
            accepted: true,
            state_has_referents: false,
            rereads: false,
        };
        let sinks = sink::Settings { resolved: Target::Null { checksum: false }, dead_letter: None, accepted: None };
        Job {
            checkpoint: Checkpoint::open(state.clone(), Committed::default(), BTreeMap::new(), &sinks, None).unwrap(),
            engine: Engine::new(Arc::clone(&rules), WorkerIndex(0), 1, settings),
            rules,
            state,
            epoch: Epoch(0),
            read_to: 0,
            lines: Vec::new(),
        }
    }

    /// Reads lines in an epoch of their own, at this time, and commits it.
    fn read(&mut self, at: i64, lines: &[&str]) {
        let mut bytes = Vec::new();
        for line in lines {
            self.lines.push(format!("in.jsonl:{}", self.read_to + bytes.len() as u64));
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        let base = self.read_to;
        self.read_to += bytes.len() as u64;
        let arrival = Timestamp(at * SECOND);
        let content = Content::Lines { base, bytes };
        let block = Block { partition: PARTITION, stream: None, arrival, content, next_offset: self.read_to };
        self.epoch = self.epoch.next();
        self.engine.begin(self.epoch, Phase::Live);
        let (mut effects, mut totals) = (Effects::default(), Totals::default());
        self.engine.handle(Visit::Tick(arrival), &mut effects);
        let mut decoder = Decoder::new(Arc::clone(&self.rules), Place::parse("/type").ok().as_ref());
        decoder.decode(&block, &mut |decoded| {
            totals.read += 1;
            let Decoded::Event(event) = decoded else { return totals.rejected += 1 };
            totals.accepted += 1;
            let mut messages = Vec::new();
            effects.outcomes.extend(mode::accept(&self.rules, event, 1, |message| messages.push(message)));
            for message in messages {
                self.engine.handle(message.visit, &mut effects);
            }
        });
        self.settle(&mut effects);
        for outcome in &effects.outcomes {
            match outcome {
                Outcome::Resolved(_) => totals.resolved += 1,
                Outcome::Expired(..) => totals.expired += 1,
                Outcome::Dropped(..) => totals.dropped += 1,
                Outcome::Accepted(_) | Outcome::Rejected(_) => {}
            }
        }
        let changes = self.engine.end_epoch(&mut Effects::default());
        self.commit(totals, changes);
    }

    /// Answers queries and goes on with what is done in slices, until nothing is left.
    fn settle(&mut self, effects: &mut Effects) {
        loop {
            self.engine.drain(usize::MAX, effects);
            let queries = std::mem::take(&mut effects.queries);
            if queries.is_empty() {
                return;
            }
            for answer in mode::answer(&self.state, &self.rules, WorkerIndex(0), 1, queries).unwrap() {
                self.engine.answer(answer, effects);
            }
        }
    }

    fn commit(&mut self, totals: Totals, changes: mode::Changes) {
        let positions = Positions([(PARTITION, self.read_to)].into());
        let partitions = Partitions::new(["in.jsonl".into()]);
        let changes = vec![(WorkerIndex(0), changes)];
        let end = EpochEnd { positions, partitions, totals, now: NOW, changes, ..EpochEnd::default() };
        self.checkpoint.commit(self.epoch, end).unwrap();
    }

    fn inspector(&self) -> Inspector {
        Inspector::new(self.state.clone(), Arc::clone(&self.rules), NOW).unwrap()
    }

    fn id(&self, line: usize) -> EventId {
        self.inspector().event_id(&self.lines[line]).unwrap()
    }

    fn waiting(&self, line: usize) -> Box<WaitingEvent> {
        match self.inspector().event(self.id(line)).unwrap().status {
            EventStatus::Waiting(event) => event,
            other => panic!("line {line} does not wait: {other:?}"),
        }
    }
}

/// The job of both epochs, with all in memory and with all in the state.
fn both() -> [Job; 2] {
    [1 << 30, 0].map(|bytes| {
        let mut job = Job::new(bytes);
        job.read(1, &FIRST);
        job.read(2, &SECOND_EPOCH);
        // What an epoch has touched is moved at the end of the next one.
        job.read(2, &[]);
        job
    })
}

fn count(name: &str, waiting: u64) -> Count {
    Count { name: name.to_owned(), waiting }
}

fn key_count(entity: &str, key: i64, waiting: u64) -> KeyCount {
    KeyCount { entity: entity.to_owned(), key: JsonKey(Key::Int(key)), waiting }
}

fn second(at: i64) -> Time {
    Time(Timestamp(at * SECOND))
}

#[test]
fn the_overview_counts_what_waits_and_for_what() {
    for (job, in_state) in both().into_iter().zip([0, 4]) {
        let overview = job.inspector().overview(2).unwrap();
        let waiter = |line: usize, stream: &str, since, until| Waiter {
            position: job.lines[line].clone(),
            stream: stream.to_owned(),
            since: second(since),
            until: Some(second(until)),
        };
        let mut keys = overview.keys.clone();
        keys.sort_by_key(|key| key.entity.clone());
        assert_eq!(keys, [key_count("message", 11, 2), key_count("person", 3, 2)]);
        let expected = Overview {
            job: String::new(),
            at: Time(NOW),
            epoch: job.checkpoint.committed().epoch.0,
            positions: vec![ReadTo { partition: "in.jsonl".to_owned(), read_to: job.read_to }],
            totals: Totals { read: 8, rejected: 1, accepted: 7, resolved: 2, expired: 0, dropped: 0, retracted: 0 },
            retracted: 0,
            waiting: 5,
            conservation_broken: None,
            waiting_in_memory: 5 - in_state,
            waiting_in_state: in_state,
            waiting_for_turn: 1,
            overdue: 0,
            due: 0,
            without_deadline: 3,
            oldest: Some(waiter(2, "post", 1, 61)),
            streams: vec![count("follow", 2), count("like", 2), count("post", 1)],
            missing: vec![count("person", 3), count("message", 2)],
            keys: overview.keys.clone(),
            deadlines: vec![waiter(2, "post", 1, 61), waiter(4, "like", 2, 3602)],
        };
        assert_eq!(overview, expected);
    }
}

#[test]
fn lists_are_as_long_as_wanted() {
    let [job, _] = both();
    let lengths = |limit| {
        let overview = job.inspector().overview(limit).unwrap();
        let key = job.inspector().key(&KeyRequest::parse(&job.rules, "person/3").unwrap(), limit).unwrap();
        (overview.keys.len(), overview.deadlines.len(), key.first.len(), key.waiting)
    };
    assert_eq!(lengths(0), (0, 0, 0, 2));
    assert_eq!(lengths(1), (1, 1, 1, 2));
    assert_eq!(lengths(9), (3, 2, 2, 2));
}

#[test]
fn an_event_tells_what_it_lacks_and_what_it_has() {
    for (job, residence) in both().into_iter().zip([Residence::Memory, Residence::State]) {
        let like = job.waiting(4);
        assert_eq!((like.since, like.until, like.waits_in), (second(2), Some(second(3602)), residence));
        assert_eq!((like.mode, like.accepted, like.stream.as_str()), ("deferred", true, "like"));
        assert_eq!(like.event.as_ref().unwrap().get(), SECOND_EPOCH[0]);
        let status: Vec<_> =
            like.references.iter().map(|r| (r.dependency.as_str(), r.need, r.status.clone())).collect();
        let missing =
            |until: Option<Time>, then, referent| ReferenceStatus::Missing { until, then, overdue: false, referent };
        let expected = [
            ("message", "resolved", missing(None, None, ReferentStatus::InMemory)),
            ("person", "arrived", missing(Some(second(3602)), Some("keep"), ReferentStatus::Absent)),
        ];
        assert_eq!(status, expected);

        // Its person is there, so what it waits for is streaming.
        let like = job.waiting(3);
        assert_eq!((like.mode, like.accepted, like.until), ("streaming", false, None));
        let person = like.references.iter().find(|r| r.entity == "person").unwrap();
        assert_eq!(person.status, ReferenceStatus::Present { position: job.lines[0].clone() });
    }
}

#[test]
fn an_ordered_event_tells_who_is_ahead() {
    for job in both() {
        let value = JsonKey(Key::text("ann"));
        let turn = |ahead, first| Some(Turn { value: value.clone(), ahead, first });
        assert_eq!(job.waiting(5).turn, turn(0, None));
        assert_eq!(job.waiting(6).turn, turn(1, Some(job.lines[5].clone())));
        assert_eq!(job.waiting(2).turn, None);
    }
}

#[test]
fn what_does_not_wait_was_read_or_not() {
    for job in both() {
        let inspector = job.inspector();
        assert!(matches!(inspector.event(job.id(1)).unwrap().status, EventStatus::Ended));
        let beyond = EventId { partition: PARTITION, offset: job.read_to };
        let status = inspector.event(beyond).unwrap().status;
        assert!(matches!(status, EventStatus::NotRead { read_to } if read_to == job.read_to), "{status:?}");
    }
}

#[test]
fn a_key_tells_who_waits_for_it() {
    for job in both() {
        let key = |text: &str| job.inspector().key(&KeyRequest::parse(&job.rules, text).unwrap(), 10).unwrap();
        let positions = |waiters: &[Waiter]| waiters.iter().map(|w| w.position.clone()).collect::<Vec<_>>();
        let person = key("person/3");
        assert_eq!(positions(&person.first), job.lines[4..6]);
        assert_eq!((person.arrived, person.resolved), (ReferentStatus::Absent, None));
        let here = ReferentStatus::Here { position: job.lines[0].clone(), since: second(1) };
        assert_eq!((key("person/1").arrived, key("person/1").waiting), (here, 0));
        let message = key("message/11");
        assert_eq!(positions(&message.first), job.lines[3..5]);
        assert_eq!(positions(&message.provided_by), job.lines[2..3]);
        assert_eq!(message.resolved, Some(ReferentStatus::InMemory));
        // That a message has arrived nobody needs: it is not looked for.
        assert_eq!(message.arrived, ReferentStatus::NotKept);
    }
}

#[test]
fn a_referent_over_its_retain_is_absent() {
    let [job, _] = both();
    let late = Timestamp(3601 * SECOND);
    let inspector = Inspector::new(job.state.clone(), Arc::clone(&job.rules), late).unwrap();
    let person = inspector.key(&KeyRequest::parse(&job.rules, "person/1").unwrap(), 1).unwrap();
    assert_eq!(person.arrived, ReferentStatus::Absent);
    assert_eq!(inspector.overview(1).unwrap().due, 1);
}

#[test]
fn what_was_woken_waits_no_more_or_for_the_rest() {
    for mut job in both() {
        job.read(3, &[r#"{"type":"person","id":3}"#]);
        let overview = job.inspector().overview(10).unwrap();
        assert_eq!((overview.waiting, overview.conservation_broken), (3, None));
        assert_eq!(overview.streams, [count("like", 2), count("post", 1)]);
        assert!(matches!(job.waiting(4).references[1].status, ReferenceStatus::Present { .. }));
        job.read(4, &[r#"{"type":"person","id":2}"#]);
        assert_eq!(job.inspector().overview(10).unwrap().waiting, 0);
    }
}

#[test]
fn what_an_epoch_has_logged_counts_when_it_is_committed_and_goes_when_it_is_discarded() {
    for job in both() {
        let (id, before) = (job.id(2), job.inspector().overview(10).unwrap().waiting);
        let log = Log::read(&job.state, job.epoch).unwrap();
        let (dependent, row) = mode::find_waiting(&job.state, &job.rules, &log, id).unwrap().unwrap();
        let next = job.epoch.next();
        let changes = mode::end_waiting(&job.rules, &dependent, row.as_deref(), next);
        let logged = changes.logged.len();
        job.state.write(&changes.logged, Durability::Synced).unwrap();
        assert_eq!(job.inspector().overview(10).unwrap().waiting, before, "not committed");
        assert_eq!(Log::read(&job.state, next).unwrap().waiting(), log.waiting() - logged as u64, "committed");
        let mut discarded = Batch::default();
        mode::discard_log(&job.state, job.epoch, &mut discarded).unwrap();
        assert_eq!(discarded.len(), logged);
        job.state.write(&discarded, Durability::Synced).unwrap();
        assert_eq!(Log::read(&job.state, next).unwrap().waiting(), log.waiting());
    }
}

#[test]
fn a_wait_ended_by_hand_is_gone_and_known_to_be_unresolved() {
    for mut job in both() {
        for line in [2, 4] {
            let log = Log::read(&job.state, job.epoch).unwrap();
            let id = job.id(line);
            let (dependent, row) = mode::find_waiting(&job.state, &job.rules, &log, id).unwrap().unwrap();
            job.epoch = job.epoch.next();
            let changes = mode::end_waiting(&job.rules, &dependent, row.as_deref(), job.epoch);
            job.commit(Totals { expired: 1, ..Totals::default() }, changes);
            assert!(matches!(job.inspector().event(id).unwrap().status, EventStatus::Ended));
        }
        let overview = job.inspector().overview(10).unwrap();
        assert_eq!((overview.waiting, overview.conservation_broken), (3, None));
        assert_eq!(job.checkpoint.committed().waiting_in_state, overview.waiting_in_state);
        assert_eq!(overview.deadlines, []);
        let restored = mode::restore(&job.state, &job.rules, job.epoch).unwrap();
        assert!(restored.unresolved.contains(&job.id(2)), "needed resolved by likes");
        assert!(!restored.unresolved.contains(&job.id(4)), "nothing refers to a like");
        assert_eq!(restored.next_due, None);
    }
}

#[test]
fn keys_are_read_as_people_write_them() {
    let rules = rules();
    let cases = [
        ("person/17", Some(Key::Int(17))),
        ("person/-3", Some(Key::Int(-3))),
        ("person/18446744073709551615", Some(Key::unsigned(u64::MAX))),
        ("person/\"17\"", Some(Key::text("17"))),
        ("person/\"a \\u0062\"", Some(Key::text("a b"))),
        ("person/ada", Some(Key::text("ada"))),
        ("person/a b/c", Some(Key::text("a b/c"))),
        ("person/007", Some(Key::text("007"))),
        ("person/\"\"", Some(Key::text(""))),
        ("person/", None),
        ("person/\"a", None),
        ("person/1.5", None),
        ("person", None),
        ("ship/1", None),
        ("follow/1", None),
    ];
    for (text, expected) in cases {
        assert_eq!(KeyRequest::parse(&rules, text).ok().map(|request| request.key), expected, "{text}");
    }
    let error = KeyRequest::parse(&rules, "ship/1").unwrap_err().to_string();
    assert!(error.ends_with("the entities are message, person"), "{error}");
}

#[test]
fn positions_are_read_as_outcomes_have_them() {
    let [job, _] = both();
    let id = |text: &str| job.inspector().event_id(text).map(|id| id.offset).map_err(|error| error.to_string());
    assert_eq!(id("in.jsonl:25"), Ok(25));
    for (text, expected) in [
        ("in.jsonl", "is no position"),
        ("in.jsonl:", "is no position"),
        ("in.jsonl:-1", "is no position"),
        ("out.jsonl:1", "it has read `in.jsonl`"),
    ] {
        assert!(id(text).unwrap_err().contains(expected), "{text}");
    }
}

#[test]
fn answers_are_json_too() {
    let [job, _] = both();
    let json = |report: &EventReport| serde_json::to_value(report).unwrap();
    let event = json(&job.inspector().event(job.id(4)).unwrap());
    assert_eq!(event["status"], "waiting");
    assert_eq!(event["since"], "1970-01-01T00:00:02.000000Z");
    assert_eq!(event["references"][1]["found"], "missing");
    assert_eq!(event["references"][1]["key"], 3);
    assert_eq!(event["references"][1]["referent"]["is"], "absent");
    assert_eq!(event["event"]["message"], 11);
    assert_eq!(json(&job.inspector().event(job.id(1)).unwrap())["status"], "ended");
    assert_eq!(Time(Timestamp::MAX).to_string(), "9223372036854775807 microseconds after 1970");
}
