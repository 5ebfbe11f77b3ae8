//! Topics of Kafka. All their partitions are read by one consumer that is in no group: positions are the state's, and offsets are committed to the group only so
//! that lag tools see them. Or the consumer is a member of the group, which shares the partitions out and has their positions (`group`).

mod block;
mod consumer;
mod fingerprint;
mod group;
mod judge;
mod lanes;
mod offsets;
#[cfg(test)]
mod tests;
mod verify;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;
use tracing::info;

use self::consumer::Consumer;
pub use self::consumer::GroupOffsets;
pub(super) use self::fingerprint::Marks;
pub use self::fingerprint::RecordFingerprint;
pub(super) use self::group::GroupSource;
use self::judge::is_missing;
use self::lanes::{Lane, Lanes};
use self::offsets::{Asking, Range, Ranges, TopicPartition};
use self::watch::{Finding, Watch};
use super::{Fingerprint, Fingerprints, Host, Lag, Limits, Next, SettingsError, Source, SourceError, check_configured};
use crate::clock::Clock;
use crate::event::{PartitionId, Partitions, Positions, StreamId};
use crate::kafka::{ClientSettings, Cluster, Observer};

/// How often it is looked at what the client has counted, and whether there are new partitions.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How many records are taken before the time is looked at for that.
const RECORDS_A_LOOK: u32 = 64;

/// How long nothing is taken before fetching is paused.
const PAUSE_AFTER: Duration = Duration::from_secs(1);

/// Topics to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// How to reach the brokers.
    pub client: ClientSettings,
    /// How the client names itself, where the properties do not.
    pub client_id: String,
    /// The consumer group that offsets are committed to.
    pub group: String,
    /// The topics.
    pub topics: Vec<KafkaTopic>,
    /// Where partitions begin that the state, or the group that is joined, does not know.
    pub start: Start,
    /// Whether missing topics are created, with the brokers' defaults.
    pub create_topics: bool,
    /// Bytes that a broker gathers before it answers a fetch.
    pub fetch_min_bytes: u32,
    /// Whether the checksums of what is read are compared.
    pub check_crcs: bool,
    /// Whether reading stops at the end that each partition had when it was opened.
    pub until_end: bool,
    /// Whether partitions are shared with the other members of the group, which then has the positions. Otherwise all are read.
    pub joins_group: bool,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaTopic {
    /// Its name.
    pub name: String,
    /// The stream of all its records, where nothing in a record says it.
    pub stream: Option<StreamId>,
}

/// Where a partition begins that has not been read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At its first record.
    Earliest,
    /// At its end.
    Latest,
    /// Where the group stands. Refused where the group does not know it, nor another partition of its topic: then it was added since.
    Committed,
    /// At the first record of this time (milliseconds since the Unix epoch) or later.
    Time(i64),
}

impl KafkaSettings {
    /// See [`super::Settings::check`].
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        if self.topics.is_empty() {
            return Err(SettingsError::NoTopic);
        }
        let mut names = HashSet::new();
        match self.topics.iter().find(|topic| !names.insert(&topic.name)) {
            Some(topic) => Err(SettingsError::NamedTwice { path: topic.name.clone() }),
            None => Ok(()),
        }
    }

    /// The topics in words.
    fn topic_names(&self) -> String {
        let names: Vec<&str> = self.topics.iter().map(|topic| topic.name.as_str()).collect();
        names.join(", ")
    }

    pub(super) fn stream_of(&self, topic: &str) -> Option<StreamId> {
        self.topics.iter().find(|known| known.name == topic).and_then(|known| known.stream)
    }
}

/// The topic and the number in the name of a partition.
pub(crate) fn split_name(name: &str) -> Option<(&str, i32)> {
    let (topic, number) = name.rsplit_once(':')?;
    Some((topic, number.parse().ok()?))
}

fn name_of((topic, number): &TopicPartition) -> String {
    format!("{topic}:{number}")
}

/// Reads the partitions of topics.
pub(super) struct KafkaSource {
    settings: KafkaSettings,
    host: Host,
    partitions: Partitions,
    cluster: Cluster,
    consumer: Consumer,
    observer: Observer,
    lanes: Lanes,
    /// Partitions that were not announced yet.
    unannounced: VecDeque<(PartitionId, u64)>,
    watch: Option<Watch>,
    /// Whether reading stops at the ends.
    bounded: bool,
    assigned: bool,
    caught_up_told: bool,
    held_since: Option<Instant>,
    paused: bool,
    /// When it was last looked at all that is no record, and whether there is something to say of it.
    looked: Instant,
    look: bool,
    /// Records until the time is looked at again.
    until_look: u32,
    /// The statistics that were looked at last.
    counted: u64,
    lag: Option<u64>,
}

impl KafkaSource {
    /// See [`super::open`].
    pub(super) fn open(
        settings: &KafkaSettings,
        limits: Limits,
        partitions: &Partitions,
        from: &Positions,
        to: Option<&Positions>,
        clock: Clock,
        host: &Host,
    ) -> Result<KafkaSource, SourceError> {
        let observer = Observer::new("consumer", host.metrics.clone());
        let cluster = Cluster::new(&settings.client, &settings.client_id, &observer)?;
        let consumer = Consumer::new(settings, &observer)?;
        let bounded = settings.until_end || to.is_some();
        let mut source = KafkaSource {
            settings: settings.clone(),
            host: host.clone(),
            partitions: partitions.clone(),
            cluster,
            consumer,
            observer,
            lanes: Lanes::new(limits, clock, bounded),
            unannounced: VecDeque::new(),
            watch: None,
            bounded,
            assigned: false,
            caught_up_told: false,
            held_since: None,
            paused: false,
            looked: Instant::now(),
            look: true,
            until_look: 0,
            counted: 0,
            lag: None,
        };
        source.find_partitions(from, to)?;
        Ok(source)
    }

    /// Finds the partitions, and where each begins and ends.
    fn find_partitions(&mut self, from: &Positions, to: Option<&Positions>) -> Result<(), SourceError> {
        let names = self.settings.topics.iter().map(|topic| topic.name.as_str());
        let topics = self.cluster.topics(names, self.settings.create_topics, self.host.waiting())?;
        let there: BTreeMap<TopicPartition, PartitionId> = topics
            .into_iter()
            .flat_map(|(topic, numbers)| numbers.into_iter().map(move |number| (topic.clone(), number)))
            .map(|at| {
                let id = self.partitions.id(&name_of(&at));
                (at, id)
            })
            .collect();
        if let Some(to) = to {
            check_configured(to, &there.values().copied().collect::<Vec<_>>(), &self.partitions)?;
        }
        self.refuse_partitions_that_are_gone(from, &there)?;
        let wanted = |id: &PartitionId| to.is_none_or(|to| to.0.contains_key(id));
        let all: Vec<TopicPartition> = there.iter().filter(|(_, id)| wanted(id)).map(|(at, _)| at.clone()).collect();
        let (ranges, starts) = self.find_starts(&all, from, &there)?;
        for at in all {
            let (Some(id), Some(range), Some(start)) = (there.get(&at), ranges.get(&at), starts.get(&at)) else {
                continue;
            };
            let end = to.map_or(Some(range.end), |to| to.0.get(id).copied()).unwrap_or(range.end);
            self.unannounced.push_back((*id, *start));
            self.lanes.add(Lane::new(&at.0, at.1, *id, self.settings.stream_of(&at.0), *start, end));
        }
        Ok(())
    }

    /// The ranges of partitions, and where each is read from.
    fn find_starts(
        &self,
        all: &[TopicPartition],
        from: &Positions,
        ids: &BTreeMap<TopicPartition, PartitionId>,
    ) -> Result<(Ranges, BTreeMap<TopicPartition, u64>), SourceError> {
        let asking = self.asking();
        let ranges = asking.ranges(all)?;
        let position = |at: &TopicPartition| ids.get(at).and_then(|id| from.0.get(id)).copied();
        let mut starts: BTreeMap<TopicPartition, u64> =
            all.iter().filter_map(|at| Some((at.clone(), position(at)?))).collect();
        let known: BTreeSet<String> = starts.keys().map(|(topic, _)| topic.clone()).collect();
        let mut unknown = BTreeMap::new();
        for (at, range) in &ranges {
            if starts.contains_key(at) {
                continue;
            }
            if known.contains(&at.0) {
                // It was added to a topic that has been read.
                starts.insert(at.clone(), range.beginning);
            } else {
                unknown.insert(at.clone(), *range);
            }
        }
        starts.extend(asking.starts(&self.consumer, &unknown)?);
        asking.check(&starts, &ranges)?;
        Ok((ranges, starts))
    }

    /// Refuses topics that have fewer partitions than they had.
    fn refuse_partitions_that_are_gone(
        &self,
        from: &Positions,
        there: &BTreeMap<TopicPartition, PartitionId>,
    ) -> Result<(), SourceError> {
        for id in from.0.keys() {
            let name = self.partitions.name(*id);
            let Some((topic, _)) = split_name(&name) else { continue };
            let configured = self.settings.topics.iter().any(|known| known.name == topic);
            if configured && !there.values().any(|known| known == id) {
                return Err(SourceError::PartitionGone { partition: name.to_string() });
            }
        }
        Ok(())
    }

    fn assign(&mut self) -> Result<(), SourceError> {
        let list: TopicPartitionList =
            self.lanes.iter().map(|lane| ((lane.topic.clone(), lane.number), offset(lane.position))).collect();
        self.consumer.assign(&list).map_err(|error| self.explain(&error))?;
        self.assigned = true;
        if !self.bounded {
            let cluster = Cluster::new(&self.settings.client, &self.settings.client_id, &self.observer)?;
            let mut known: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
            for lane in self.lanes.iter() {
                known.entry(lane.topic.clone()).or_default().insert(lane.number);
            }
            let watch = Watch::start(cluster, known);
            self.watch =
                Some(watch.map_err(|source| SourceError::Thread { path: self.settings.topic_names(), source })?);
        }
        Ok(())
    }

    /// Does what the watch asks for: new partitions are read, and a topic that is missing must come back as it was.
    fn heed_watch(&mut self) -> Result<(), SourceError> {
        let (mut found, mut is_missing) = (Vec::new(), false);
        for finding in self.watch.iter().flat_map(Watch::found) {
            match finding {
                Finding::Added(partition) => found.push(partition),
                Finding::Missing => is_missing = true,
            }
        }
        if is_missing {
            self.asking().look_for_topics(&self.lanes)?;
            self.verify(&self.lanes.last())?;
        }
        if found.is_empty() { Ok(()) } else { self.add(&found) }
    }

    /// Reads partitions that were added to topics, from their beginning on.
    fn add(&mut self, found: &[TopicPartition]) -> Result<(), SourceError> {
        let asking = self.asking();
        for topic in found.iter().map(|(topic, _)| topic).collect::<BTreeSet<_>>() {
            // Clients look at topics every few minutes only, and know nothing of a partition that they have not heard of.
            asking.refresh(&self.consumer, topic)?;
        }
        let ranges = asking.ranges(found)?;
        let mut list = TopicPartitionList::new();
        for (at, Range { beginning, .. }) in ranges {
            info!(topic = at.0, partition = at.1, "a partition was added, it is read from its beginning on");
            let id = self.partitions.id(&name_of(&at));
            if list.add_partition_offset(&at.0, at.1, offset(beginning)).is_ok() {
                self.unannounced.push_back((id, beginning));
                // It had no end when the source was opened.
                self.lanes.add(Lane::new(&at.0, at.1, id, self.settings.stream_of(&at.0), beginning, beginning));
            }
        }
        self.consumer.incremental_assign(&list).map_err(|error| self.explain(&error))
    }

    /// Looks at what the client has counted since.
    fn look_at_statistics(&mut self) {
        let counted = self.observer.counted();
        if counted != self.counted {
            self.counted = counted;
            self.lag = Some(self.lanes.note(&self.observer));
        }
    }

    fn resume(&mut self) -> Result<(), SourceError> {
        self.held_since = None;
        if std::mem::take(&mut self.paused) {
            let assignment = self.consumer.assignment().map_err(|error| self.explain(&error))?;
            self.consumer.resume(&assignment).map_err(|error| self.explain(&error))?;
        }
        Ok(())
    }

    /// Looks at all that is no record, where it is time for that. What there is to say of it comes after the records that are there.
    fn look_around(&mut self) -> Result<(), SourceError> {
        if self.until_look > 0 {
            return Ok(());
        }
        self.until_look = RECORDS_A_LOOK;
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            self.look_at_statistics();
            self.heed_watch()?;
            self.lanes.close_all();
            self.look = true;
        }
        Ok(())
    }

    /// What comes next that is no record; all records that were taken have been handed out.
    fn between(&mut self) -> Option<Next> {
        self.look = false;
        if let Some((partition, start)) = self.unannounced.pop_front() {
            return Some(Next::Partition(partition, start));
        }
        if !self.caught_up_told && self.lanes.caught_up() {
            (self.caught_up_told, self.look) = (true, true);
            return Some(Next::CaughtUp);
        }
        (self.caught_up_told && self.bounded).then_some(Next::End)
    }

    fn asking(&self) -> Asking<'_> {
        Asking { cluster: &self.cluster, settings: &self.settings, waiting: self.host.waiting() }
    }

    /// See [`Asking::judge`]. A topic that was missing for a while and is there again must be the one that was read.
    fn judge(&self, error: &KafkaError) -> Result<(), SourceError> {
        self.asking().judge(error, &self.lanes)?;
        if is_missing(error) { self.verify(&self.lanes.last()) } else { Ok(()) }
    }

    fn explain(&self, error: &KafkaError) -> SourceError {
        self.asking().explain(error)
    }
}

impl Source for KafkaSource {
    fn next(&mut self, wait: Duration) -> Result<Next, SourceError> {
        if let Some((partition, start)) = self.unannounced.pop_front() {
            return Ok(Next::Partition(partition, start));
        }
        if !self.assigned {
            self.assign()?;
        }
        self.resume()?;
        let deadline = Instant::now() + wait;
        loop {
            self.look_around()?;
            if let Some(block) = self.lanes.next_block() {
                return Ok(Next::Block(block));
            }
            let told = if self.look && !self.lanes.has_open() { self.between() } else { None };
            if let Some(next) = told {
                return Ok(next);
            }
            let patience = match self.lanes.has_open() {
                true => Duration::ZERO,
                false => until(deadline),
            };
            let polled = self.consumer.poll(patience);
            self.until_look = if let Some(Ok(_)) = polled { self.until_look - 1 } else { 0 };
            match polled {
                Some(Ok(message)) => self.lanes.take(&message),
                Some(Err(error)) => self.judge(&error)?,
                None if self.lanes.has_open() => self.lanes.close_all(),
                None if Instant::now() >= deadline => return Ok(Next::Idle),
                None => {}
            }
        }
    }

    fn lag(&self) -> Lag {
        Lag { records: self.lag, ..Lag::default() }
    }

    fn fingerprints(&mut self, known: &BTreeMap<PartitionId, Fingerprint>) -> Result<Fingerprints, SourceError> {
        self.verify(known)?;
        self.lanes.remember(known);
        Ok(Fingerprints { records: self.lanes.marks(), ..Fingerprints::default() })
    }

    fn group_offsets(&self) -> Option<GroupOffsets> {
        Some(GroupOffsets::new(self.consumer.clone()))
    }

    fn held(&mut self) -> Result<(), SourceError> {
        if !self.assigned {
            return Ok(());
        }
        let held = self.held_since.get_or_insert_with(Instant::now).elapsed();
        if held < PAUSE_AFTER {
            return Ok(());
        }
        if !self.paused {
            let assignment = self.consumer.assignment().map_err(|error| self.explain(&error))?;
            self.consumer.pause(&assignment).map_err(|error| self.explain(&error))?;
            self.paused = true;
        }
        // Records that come all the same are kept; what matters is that the client can speak.
        match self.consumer.poll(Duration::ZERO) {
            Some(Ok(message)) => self.lanes.take(&message),
            Some(Err(error)) => self.judge(&error)?,
            None => {}
        }
        self.look_at_statistics();
        Ok(())
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        self.lanes.recycle(buffer);
    }
}

/// How long to poll until a time, in whole milliseconds: the client spins through what is left of one.
fn until(deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    Duration::from_millis(u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
}

fn offset(position: u64) -> Offset {
    Offset::Offset(i64::try_from(position).unwrap_or(i64::MAX))
}
