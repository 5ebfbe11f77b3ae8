//! What an error of the client means while topics are read.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::warn;

use super::lanes::{Lane, Lanes};
use super::offsets::{Asking, TopicPartition, refusal};
use super::{SourceError, name_of};
use crate::kafka::{About, ClientError, explain};

impl Asking<'_> {
    /// What an error means while reading goes on: most pass by themselves, and were counted.
    pub(super) fn judge(&self, error: &KafkaError, lanes: &Lanes) -> Result<(), SourceError> {
        let Some(code) = error.rdkafka_error_code() else { return Ok(()) };
        match code {
            RDKafkaErrorCode::AutoOffsetReset
            | RDKafkaErrorCode::OffsetOutOfRange
            | RDKafkaErrorCode::LogTruncation => Err(self.out_of_range(error, lanes)),
            _ if is_missing(error) => self.look_for_topics(lanes),
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::Fatal
            | RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::NotImplemented
            | RDKafkaErrorCode::UnsupportedCompressionType => Err(self.explain(error)),
            _ => {
                warn!("kafka: {error}; reading goes on");
                Ok(())
            }
        }
    }

    /// Which partition is no longer where it is read.
    fn out_of_range(&self, error: &KafkaError, lanes: &Lanes) -> SourceError {
        let all: Vec<TopicPartition> = lanes.iter().map(|lane| (lane.topic.clone(), lane.number)).collect();
        let ranges = match self.ranges(&all) {
            Ok(ranges) => ranges,
            Err(error) => return error,
        };
        let refused = lanes.iter().find_map(|lane| {
            let at = (lane.topic.clone(), lane.number);
            refusal(&at, lane.position, *ranges.get(&at)?)
        });
        refused.unwrap_or_else(|| self.explain(error))
    }

    /// Refuses to go on without a topic that is read.
    pub(super) fn look_for_topics(&self, lanes: &Lanes) -> Result<(), SourceError> {
        let names = self.settings.topics.iter().map(|topic| topic.name.as_str());
        let gone = |lane: Option<&Lane>| {
            lane.map(|lane| SourceError::PartitionGone { partition: name_of(&(lane.topic.clone(), lane.number)) })
        };
        let topics = self.cluster.topics(names, false, self.waiting).map_err(|error| {
            let missing = match &error {
                ClientError::TopicMissing { topic, .. } => std::slice::from_ref(topic),
                ClientError::TopicsMissing { topics, .. } => topics,
                _ => &[],
            };
            gone(lanes.iter().find(|lane| missing.contains(&lane.topic))).unwrap_or(error.into())
        })?;
        let is_gone = |lane: &&Lane| !topics.get(&lane.topic).is_some_and(|there| there.contains(&lane.number));
        gone(lanes.iter().find(is_gone)).map_or(Ok(()), Err)
    }

    /// An error of the client that reads.
    pub(super) fn explain(&self, error: &KafkaError) -> SourceError {
        let topics = self.settings.topic_names();
        let doing = format!("reading {topics}");
        let group = &self.settings.group;
        let about = About { doing: &doing, topic: &topics, group, operations: "Read", ..self.cluster.about() };
        SourceError::Kafka(explain(error, about))
    }
}

/// Whether an error says that a topic, or a partition of it, is not there.
pub(super) fn is_missing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
        )
    )
}
