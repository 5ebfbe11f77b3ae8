//! LDBC's social network on four topics of four partitions, which come at different speeds: every event ends resolved.

use std::thread;
use std::time::Duration;

use crate::real_data::{EVENTS, JOB, World};
use crate::support::{
    Kafka, Program, Random, Sent, Summary, Workspace, assert_unique_positions, eventually, result_set, unique,
};

const PARTITIONS: usize = 4;

/// The topics, and which streams they have.
const TOPICS: [(&str, &[&str]); 4] = [
    ("people", &["person", "friendship"]),
    ("forums", &["forum", "membership"]),
    ("messages", &["post", "comment"]),
    ("likes", &["like"]),
];

/// How many records of a topic come in the time of one of the slowest.
const SPEEDS: [usize; TOPICS.len()] = [1, 4, 16, 64];

#[test]
fn streaming_resolves_all_of_the_social_network() {
    resolves_all(Program::Sedd);
}

#[test]
fn deferred_resolves_all_of_the_social_network() {
    resolves_all(Program::Dedd);
}

fn resolves_all(program: Program) {
    let Some(world) = World::read() else { return };
    for (seed, workers) in (0..).zip(["1", "2", "4"]) {
        let kafka = Kafka::shared();
        let topics = TOPICS.map(|(name, _)| kafka.topic(name, PARTITIONS as i32));
        let resolved = kafka.topic("resolved", 3);
        let workspace = Workspace::new();
        workspace.write("job.toml", job(kafka, &topics, &resolved));
        let running = workspace.start(program, &["--workers", workers]);
        let follower = kafka.follow(&resolved);
        feed(kafka, &world, &topics, seed);
        eventually("every event is resolved", || (follower.stdout_lines() as u64 >= EVENTS).then_some(()));
        running.terminate();
        let ended = running.wait().succeeded();
        check(kafka, &world, &resolved, &ended.stderr);
    }
}

fn job(kafka: &Kafka, topics: &[String], resolved: &str) -> String {
    let (streams, _) = JOB.split_once("[source.file]").unwrap();
    let streams = streams.replace("name = \"social\"", &format!("name = \"{}\"", unique("social")));
    format!(
        "{streams}
[source.kafka]
brokers = {:?}
topics = {topics:?}
stream = \"/type\"
[sink.resolved]
topic = {resolved:?}
[sink.dead_letter]
file = \"dead.jsonl\"
",
        kafka.address()
    )
}

/// Puts each topic's records into it at its speed, in the order of the files, on random partitions.
fn feed(kafka: &Kafka, world: &World, topics: &[String], seed: u64) {
    let mut random = Random::new(seed);
    let mut speeds = SPEEDS;
    random.shuffle(&mut speeds);
    let lines: Vec<&str> = world.snapshot.lines().chain(world.updates.lines()).collect();
    let of = |streams: &[&str]| -> Vec<&str> {
        let is_one = |line: &str| streams.iter().any(|stream| line.starts_with(&format!("{{\"type\":\"{stream}\"")));
        lines.iter().copied().filter(|line| is_one(line)).collect()
    };
    let records = TOPICS.map(|(_, streams)| of(streams));
    assert_eq!(records.iter().map(Vec::len).sum::<usize>() as u64, EVENTS);
    let mut at = [0; TOPICS.len()];
    while at.iter().zip(&records).any(|(at, records)| *at < records.len()) {
        for (topic, name) in topics.iter().enumerate() {
            let end = records[topic].len().min(at[topic] + 50 * speeds[topic]);
            let part = &records[topic][at[topic]..end];
            kafka.send(name, part.iter().map(|line| Sent::value(random.below(PARTITIONS) as i32, line)));
            at[topic] = end;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn check(kafka: &Kafka, world: &World, resolved: &str, stderr: &str) {
    let outcomes = kafka.outcomes(resolved);
    assert!(result_set(&outcomes) == world.expected, "other outcomes than those of a plain resolve");
    assert_unique_positions(&outcomes);
    let Summary { read, resolved, waiting, .. } = Summary::parse(stderr);
    assert_eq!((read, resolved, waiting), (EVENTS, EVENTS, 0));
}
