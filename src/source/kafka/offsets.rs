//! Where each partition begins, where it ended when it was opened, and whether it still has what is to be read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;

use super::{KafkaSettings, SourceError, Start, name_of};
use crate::kafka::{About, ClientError, Cluster, Context, Waiting};

/// How long is listened for what a consumer has to tell.
const TOLD_WITHIN: Duration = Duration::from_millis(20);

/// How long a partition ends before a position that was committed until that is believed: a broker that is starting up may still be finding its end.
const BEYOND_FOR: Duration = Duration::from_secs(5);

/// A partition of a topic.
pub(super) type TopicPartition = (String, i32);

/// Asks the brokers for offsets of many partitions at once.
pub(super) struct Asking<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) settings: &'a KafkaSettings,
    pub(super) waiting: Waiting<'a>,
}

/// The first offset that a partition has, and the one after its last committed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) beginning: u64,
    pub(super) end: u64,
}

/// The ranges of partitions.
pub(super) type Ranges = BTreeMap<TopicPartition, Range>;

impl Asking<'_> {
    /// The ranges that partitions have now.
    pub(super) fn ranges(&self, of: &[TopicPartition]) -> Result<Ranges, SourceError> {
        let beginnings = self.offsets_at(of, Offset::Beginning)?;
        let ends = self.offsets_at(of, Offset::End)?;
        let range = |(at, beginning): (TopicPartition, Option<u64>)| {
            let beginning = beginning.unwrap_or(0);
            let end = ends.get(&at).copied().flatten().unwrap_or(beginning);
            (at, Range { beginning, end })
        };
        Ok(beginnings.into_iter().map(range).collect())
    }

    /// Where partitions that nobody knows yet begin, by `start`.
    pub(super) fn starts(
        &self,
        consumer: &BaseConsumer<Context>,
        ranges: &BTreeMap<TopicPartition, Range>,
    ) -> Result<BTreeMap<TopicPartition, u64>, SourceError> {
        let all: Vec<TopicPartition> = ranges.keys().cloned().collect();
        let by_brokers = match self.settings.start {
            _ if all.is_empty() => BTreeMap::new(),
            Start::Earliest | Start::Latest => BTreeMap::new(),
            Start::Committed => self.committed(consumer, &all)?,
            Start::Time(milliseconds) => self.offsets_at(&all, Offset::Offset(milliseconds))?,
        };
        let known_topics = topics_of(&by_brokers);
        let start = |(at, range): (&TopicPartition, &Range)| {
            let known = by_brokers.get(at).copied().flatten();
            let start = match self.settings.start {
                Start::Earliest => range.beginning,
                Start::Latest => range.end,
                Start::Committed => match known {
                    Some(known) => known,
                    // It was added since.
                    None if known_topics.contains(&at.0) => range.beginning,
                    None => return Err(self.unknown_to_group(at)),
                },
                // No record is as late as that.
                Start::Time(_) => known.unwrap_or(range.end),
            };
            Ok((at.clone(), start))
        };
        ranges.iter().map(start).collect()
    }

    fn unknown_to_group(&self, at: &TopicPartition) -> SourceError {
        SourceError::UnknownToGroup { partition: name_of(at), group: self.settings.group.clone() }
    }

    /// What the group has committed, without what is in a transaction that is still open: that is waited for.
    pub(super) fn committed(
        &self,
        consumer: &BaseConsumer<Context>,
        of: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Option<u64>>, SourceError> {
        let doing = format!("asking for the offsets of group `{}`", self.settings.group);
        let about = About { doing: &doing, group: &self.settings.group, ..self.cluster.about() };
        let list = list(of, Offset::Invalid);
        let ask = |_: &BaseConsumer<Context>, timeout| {
            let found = consumer.committed_offsets(list.clone(), timeout);
            // That the group may not be used is told to who polls, and to nobody who waits for its offsets. Nothing is read that could be taken by that.
            if found.is_err() && consumer.assignment().is_ok_and(|assigned| assigned.count() == 0) {
                let _ = consumer.poll(TOLD_WITHIN);
            }
            checked(found?)
        };
        Ok(numbers(&self.cluster.insist(about, self.waiting, ask)?))
    }

    /// The first offset at a time in milliseconds, or at an end.
    fn offsets_at(
        &self,
        of: &[TopicPartition],
        at: Offset,
    ) -> Result<BTreeMap<TopicPartition, Option<u64>>, SourceError> {
        if of.is_empty() {
            return Ok(BTreeMap::new());
        }
        let topics = self.settings.topic_names();
        let doing = format!("asking for offsets of {topics}");
        let about = About { doing: &doing, topic: &topics, ..self.cluster.about() };
        let list = list(of, at);
        let offsets = self
            .cluster
            .insist(about, self.waiting, |client, timeout| checked(client.offsets_for_times(list.clone(), timeout)?))?;
        Ok(numbers(&offsets))
    }

    /// Has the clients look at a topic now.
    pub(super) fn refresh(&self, consumer: &BaseConsumer<Context>, topic: &str) -> Result<(), SourceError> {
        let doing = format!("asking for topic `{topic}`");
        let about = About { doing: &doing, topic, ..self.cluster.about() };
        let look = |client: &BaseConsumer<Context>, timeout| {
            client.fetch_metadata(Some(topic), timeout)?;
            consumer.fetch_metadata(Some(topic), timeout).map(drop)
        };
        Ok(self.cluster.insist(about, self.waiting, look)?)
    }

    /// Refuses positions that their partitions no longer have, or do not have.
    pub(super) fn check(
        &self,
        positions: &BTreeMap<TopicPartition, u64>,
        ranges: &BTreeMap<TopicPartition, Range>,
    ) -> Result<(), SourceError> {
        let began = Instant::now();
        let mut ranges = ranges.clone();
        loop {
            match positions.iter().find_map(|(at, position)| refusal(at, *position, *ranges.get(at)?)) {
                None => return Ok(()),
                Some(SourceError::BeyondTheEnd { .. }) if began.elapsed() < BEYOND_FOR => {
                    if (self.waiting.give_up)() {
                        let brokers = self.settings.client.brokers.clone();
                        return Err(ClientError::Stopped { brokers }.into());
                    }
                    std::thread::sleep(Duration::from_millis(200));
                    let all: Vec<TopicPartition> = positions.keys().cloned().collect();
                    ranges = self.ranges(&all)?;
                }
                Some(refusal) => return Err(refusal),
            }
        }
    }
}

/// Why a partition cannot be read on from a position.
pub(super) fn refusal((topic, number): &TopicPartition, position: u64, range: Range) -> Option<SourceError> {
    let partition = format!("{topic}:{number}");
    if position < range.beginning {
        return Some(SourceError::BeforeTheBeginning { partition, offset: position, beginning: range.beginning });
    }
    (position > range.end).then_some(SourceError::BeyondTheEnd { partition, offset: position, end: range.end })
}

/// The topics of which some partition has an offset.
pub(super) fn topics_of(offsets: &BTreeMap<TopicPartition, Option<u64>>) -> BTreeSet<String> {
    offsets.iter().filter(|(_, offset)| offset.is_some()).map(|((topic, _), _)| topic.clone()).collect()
}

/// Partitions with one offset for all.
pub(super) fn list(of: &[TopicPartition], offset: Offset) -> TopicPartitionList {
    // An offset that cannot be said is none of those here: they are logical, or not negative.
    of.iter().map(|at| (at.clone(), offset)).collect()
}

/// Refuses an answer that has an error for some partition.
fn checked(answer: TopicPartitionList) -> Result<TopicPartitionList, KafkaError> {
    let failed = answer.elements().iter().find_map(|element| element.error().err());
    match failed.map(|error| (error.rdkafka_error_code(), error)) {
        None => Ok(answer),
        // The client has not heard of the topic yet.
        Some((Some(RDKafkaErrorCode::UnknownPartition), _)) => {
            Err(KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable))
        }
        Some((_, error)) => Err(error),
    }
}

/// Offsets by partition; `None` where there is none.
fn numbers(list: &TopicPartitionList) -> BTreeMap<TopicPartition, Option<u64>> {
    let number = |offset| match offset {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
    };
    list.to_topic_map().into_iter().map(|(at, offset)| (at, number(offset))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_refused_where_its_partition_does_not_have_it() {
        let range = Range { beginning: 5, end: 9 };
        for (position, refused) in [(4, Some("before")), (5, None), (7, None), (9, None), (10, Some("beyond"))] {
            let said = match refusal(&("posts".to_owned(), 3), position, range) {
                None => None,
                Some(SourceError::BeforeTheBeginning { partition, offset, beginning: 5 }) => {
                    assert_eq!((partition.as_str(), offset), ("posts:3", position));
                    Some("before")
                }
                Some(SourceError::BeyondTheEnd { partition, offset, end: 9 }) => {
                    assert_eq!((partition.as_str(), offset), ("posts:3", position));
                    Some("beyond")
                }
                Some(other) => panic!("{other}"),
            };
            assert_eq!(said, refused, "{position}");
        }
    }
}
