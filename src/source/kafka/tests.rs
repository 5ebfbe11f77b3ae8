//! Reading from librdkafka's mock cluster; what it cannot do (transactions, retention, permissions) is tested on a real broker.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

use super::*;
use crate::event::{Block, Content, Timestamp, headers};
use crate::kafka::ClientError;
use crate::source::{Settings, open};

const LIMITS: Limits = Limits { block_bytes: 2_000, record_bytes_max: 1_000 };

/// Topics `posts` with two partitions and `likes` with one.
struct Topics {
    mock: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    partitions: Partitions,
    settings: KafkaSettings,
}

impl Topics {
    fn new() -> Topics {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("posts", 2, 1).unwrap();
        mock.create_topic("likes", 1, 1).unwrap();
        let brokers = mock.bootstrap_servers();
        let producer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let topic = |name: &str, stream| KafkaTopic { name: name.to_owned(), stream: Some(StreamId(stream)) };
        let settings = KafkaSettings {
            client: ClientSettings { brokers, properties: BTreeMap::new() },
            client_id: "test".to_owned(),
            group: "group".to_owned(),
            topics: vec![topic("posts", 1), topic("likes", 0)],
            start: Start::Earliest,
            create_topics: false,
            fetch_min_bytes: 1,
            check_crcs: false,
            until_end: true,
            joins_group: false,
        };
        Topics { mock, producer, partitions: Partitions::default(), settings }
    }

    fn send(&self, topic: &str, partition: i32, value: &str) {
        let record = BaseRecord::to(topic).partition(partition).key("k").payload(value);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(Duration::from_secs(10)).unwrap();
    }

    fn positions(&self, positions: &[(&str, u64)]) -> Positions {
        Positions(positions.iter().map(|(name, at)| (self.partitions.id(name), *at)).collect())
    }

    fn open(&self, from: &Positions, to: Option<&Positions>) -> Result<Box<dyn Source>, SourceError> {
        let (settings, clock) = (Settings::Kafka(self.settings.clone()), Clock::manual(Timestamp(7)));
        open(&settings, LIMITS, &self.partitions, from, to, &clock, &Host::patient())
    }

    /// All that a source hands out until it ends.
    fn read(&self, source: &mut dyn Source) -> Read {
        let mut read = Read::default();
        loop {
            match source.next(Duration::from_millis(50)).unwrap() {
                Next::Partition(id, start) => _ = read.starts.insert(self.partitions.name(id).to_string(), start),
                Next::Block(block) => read.take(&self.partitions.name(block.partition), block),
                Next::CaughtUp => read.caught_up = true,
                Next::Idle => {}
                Next::Revoked => panic!("it is in no group"),
                Next::End => return read,
            }
        }
    }
}

/// What was read: where partitions begin, and their records.
#[derive(Debug, Default)]
struct Read {
    starts: BTreeMap<String, u64>,
    records: BTreeMap<String, Vec<(u64, String)>>,
    streams: BTreeMap<String, Option<StreamId>>,
    caught_up: bool,
}

impl Read {
    fn take(&mut self, partition: &str, block: Block) {
        assert_eq!(block.arrival, Timestamp(7));
        self.streams.insert(partition.to_owned(), block.stream);
        let mine = self.records.entry(partition.to_owned()).or_default();
        match block.content {
            Content::Records { records, bytes } => {
                for record in records {
                    assert_eq!(record.key.map(|key| bytes[key].to_vec()), Some(b"k".to_vec()));
                    mine.push((record.offset, String::from_utf8(bytes[record.value.unwrap()].to_vec()).unwrap()));
                }
            }
            Content::Oversized { offset, head, size } => mine.push((offset, format!("{} of {size} bytes", head.len()))),
            Content::Lines { .. } => panic!("lines"),
        }
        assert_eq!(mine.last().map(|(offset, _)| offset + 1), Some(block.next_offset));
    }

    fn of(&self, partition: &str) -> Vec<(u64, &str)> {
        self.records.get(partition).into_iter().flatten().map(|(offset, value)| (*offset, value.as_str())).collect()
    }
}

#[test]
fn every_partition_is_read_in_order_to_its_end() {
    let topics = Topics::new();
    for n in 0..50 {
        topics.send("posts", n % 2, &format!("post {n} {}", "x".repeat(90)));
    }
    topics.send("likes", 0, "like");
    topics.send("likes", 0, &"y".repeat(1_001));
    topics.send("likes", 0, "another");
    let mut source = topics.open(&Positions::default(), None).unwrap();
    // What comes after it was opened is not read.
    topics.send("likes", 0, "late");
    let read = topics.read(&mut *source);
    assert!(read.caught_up);
    assert_eq!(read.starts, [("likes:0", 0), ("posts:0", 0), ("posts:1", 0)].map(|(p, at)| (p.to_owned(), at)).into());
    assert_eq!(read.of("likes:0"), [(0, "like"), (1, "1000 of 1001 bytes"), (2, "another")]);
    for half in 0..2 {
        let read = read.of(&format!("posts:{half}"));
        assert_eq!(read.len(), 25);
        for ((offset, value), n) in read.iter().zip((half..50).step_by(2)) {
            assert!(value.starts_with(&format!("post {n} ")) && *offset == n / 2, "{offset} {value}");
        }
    }
    assert_eq!(read.streams.get("posts:0"), Some(&Some(StreamId(1))));
    assert_eq!(read.streams.get("likes:0"), Some(&Some(StreamId(0))));
}

#[test]
fn key_timestamp_and_headers_are_read_and_null_is_not_empty() {
    let topics = Topics::new();
    let all = OwnedHeaders::new()
        .insert(Header { key: "type", value: Some("like") })
        .insert(Header::<&str> { key: "none", value: None });
    let full = BaseRecord::to("likes").key("").payload("{}").timestamp(1_234).headers(all);
    topics.producer.send(full).map_err(|(error, _)| error).unwrap();
    topics.producer.send(BaseRecord::<str, str>::to("likes").key("gone")).map_err(|(error, _)| error).unwrap();
    topics.producer.send(BaseRecord::<str, str>::to("likes").payload("")).map_err(|(error, _)| error).unwrap();
    topics.producer.flush(Duration::from_secs(10)).unwrap();
    let mut source = topics.open(&Positions::default(), None).unwrap();
    let mut seen = Vec::new();
    loop {
        match source.next(Duration::from_millis(50)).unwrap() {
            Next::Block(Block { content: Content::Records { records, bytes }, .. }) => {
                for record in records {
                    let part = |range: Option<std::ops::Range<usize>>| range.map(|r| bytes[r].to_vec());
                    let named =
                        headers(&bytes[record.headers.clone()]).map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec)));
                    seen.push((part(record.key), part(record.value), record.timestamp, named.collect::<Vec<_>>()));
                }
            }
            Next::End => break,
            _ => {}
        }
    }
    let [first, second, third] = seen.as_slice() else { panic!("{seen:?}") };
    let named = vec![("type".to_owned(), Some(b"like".to_vec())), ("none".to_owned(), None)];
    assert_eq!(*first, (Some(Vec::new()), Some(b"{}".to_vec()), Some(1_234), named));
    assert_eq!((&second.0, &second.1), (&Some(b"gone".to_vec()), &None));
    assert_eq!((&third.0, &third.1), (&None, &Some(Vec::new())));
}

#[test]
fn reading_goes_on_where_it_stopped_and_is_replayed_up_to_there() {
    let topics = Topics::new();
    for n in 0..6 {
        topics.send("posts", 0, &format!("{n}"));
    }
    let positions = topics.positions(&[("posts:0", 4)]);
    let read = topics.read(&mut *topics.open(&positions, None).unwrap());
    assert_eq!(read.of("posts:0"), [(4, "4"), (5, "5")]);
    assert_eq!(read.starts.get("posts:0"), Some(&4));
    let from = topics.positions(&[("posts:0", 1)]);
    let replayed = topics.read(&mut *topics.open(&from, Some(&positions)).unwrap());
    assert_eq!(replayed.of("posts:0"), [(1, "1"), (2, "2"), (3, "3")]);
    assert_eq!(replayed.records.len(), 1);
}

#[test]
fn start_says_where_an_unknown_topic_begins_and_not_where_an_added_partition_does() {
    let mut topics = Topics::new();
    topics.settings.start = Start::Latest;
    topics.send("likes", 0, "old");
    topics.send("posts", 0, "known");
    topics.send("posts", 1, "added");
    let positions = topics.positions(&[("posts:0", 1)]);
    let read = topics.read(&mut *topics.open(&positions, None).unwrap());
    assert_eq!((read.of("likes:0"), read.of("posts:1")), (vec![], vec![(0, "added")]));
    assert_eq!(read.starts, [("likes:0", 1), ("posts:0", 1), ("posts:1", 0)].map(|(p, at)| (p.to_owned(), at)).into());
}

#[test]
fn a_position_beyond_the_end_is_refused() {
    let topics = Topics::new();
    topics.send("posts", 0, "only");
    match topics.open(&topics.positions(&[("posts:0", 5)]), None) {
        Err(SourceError::BeyondTheEnd { partition, offset: 5, end: 1 }) => assert_eq!(partition, "posts:0"),
        other => panic!("{:?}", other.err()),
    }
    match topics.open(&topics.positions(&[("posts:7", 5)]), None) {
        Err(SourceError::PartitionGone { partition }) => assert_eq!(partition, "posts:7"),
        other => panic!("{:?}", other.err()),
    }
    match topics.open(&Positions::default(), Some(&topics.positions(&[("gone:0", 1)]))) {
        Err(SourceError::NotConfigured { partition }) => assert_eq!(partition, "gone:0"),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_stop_while_the_end_of_a_partition_is_in_doubt_is_a_stop() {
    let topics = Topics::new();
    let host = Host { give_up: std::sync::Arc::new(|| true), ..Host::patient() };
    let (settings, clock) = (Settings::Kafka(topics.settings.clone()), Clock::manual(Timestamp(7)));
    let from = topics.positions(&[("posts:0", 5)]);
    match open(&settings, LIMITS, &topics.partitions, &from, None, &clock, &host) {
        Err(SourceError::Kafka(ClientError::Stopped { .. })) => {}
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_topic_that_was_made_anew_is_not_taken_for_the_one_that_was_read() {
    let topics = Topics::new();
    for n in 0..3 {
        topics.send("posts", 0, &format!("{n}"));
        topics.send("posts", 1, &format!("{n}"));
    }
    let mut source = topics.open(&Positions::default(), None).unwrap();
    let mut fingerprints = source.fingerprints(&BTreeMap::new()).unwrap();
    topics.read(&mut *source);
    let positions = topics.positions(&[("posts:0", 3), ("posts:1", 3)]);
    let known = fingerprints.take(&positions).unwrap();
    assert_eq!(known.len(), 2);
    assert!(fingerprints.take(&positions).unwrap().is_empty());
    topics.open(&positions, None).unwrap().fingerprints(&known).unwrap();

    // Another cluster has other records at the same positions.
    let others = Topics { partitions: topics.partitions.clone(), ..Topics::new() };
    for n in 0..3 {
        others.send("posts", 0, &format!("other {n}"));
        others.send("posts", 1, &format!("{n}"));
    }
    match others.open(&positions, None).unwrap().fingerprints(&known) {
        Err(SourceError::OtherTopic { offset: 2, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_source_that_is_held_loses_nothing() {
    let mut topics = Topics::new();
    topics.settings.until_end = false;
    topics.send("likes", 0, "0");
    let mut source = topics.open(&Positions::default(), None).unwrap();
    let mut read = Read::default();
    let next = |source: &mut dyn Source, read: &mut Read| match source.next(Duration::from_millis(20)).unwrap() {
        Next::Block(block) => read.take(&topics.partitions.name(block.partition), block),
        Next::CaughtUp => read.caught_up = true,
        Next::Partition(..) | Next::Idle => {}
        Next::Revoked => panic!("it is in no group"),
        Next::End => panic!("it has no end"),
    };
    while !read.caught_up {
        next(&mut *source, &mut read);
    }
    let held_until = Instant::now() + PAUSE_AFTER + Duration::from_millis(300);
    for n in 1..=200 {
        topics.send("likes", 0, &n.to_string());
    }
    while Instant::now() < held_until {
        source.held().unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    while read.of("likes:0").len() < 201 {
        next(&mut *source, &mut read);
    }
    assert!(read.of("likes:0").iter().zip(0..).all(|((offset, value), n)| *offset == n && *value == n.to_string()));
}

#[test]
fn the_group_is_told_how_far_the_state_is() {
    let mut topics = Topics::new();
    for n in 0..4 {
        topics.send("posts", 1, &n.to_string());
    }
    let mut source = topics.open(&Positions::default(), None).unwrap();
    topics.read(&mut *source);
    let offsets = source.group_offsets().unwrap();
    offsets.finish(&topics.positions(&[("posts:1", 3), ("likes:0", 0)]), &topics.partitions);
    // What was sent is there when the last of the consumer's owners is gone.
    drop(source);
    topics.settings.start = Start::Committed;
    let read = topics.read(&mut *topics.open(&Positions::default(), None).unwrap());
    assert_eq!(read.of("posts:1"), [(3, "3")]);
    assert_eq!(read.starts.get("posts:0"), Some(&0));
    drop(topics.mock);
}
