//! As whom transactions are made, and what of the group's offsets is in them.

use std::sync::Arc;

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::Membership;
use crate::sink::{Marker, Place};

/// Under which name transactions are made, and for which group.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Of the one process of a job, with this name and for the group of this name: a second one fences it.
    Sole(String),
    /// Of one of any number of processes.
    Member {
        /// A name that no other process has.
        id: String,
        /// What makes it one of them: a transaction of a process that is none any more is refused.
        membership: Membership,
    },
}

/// How the producer stands with its transactions.
pub(super) struct Transactions {
    pub(super) id: String,
    pub(super) group: String,
    pub(super) by: By,
    /// Whether one is open.
    pub(super) open: bool,
}

/// As whom offsets are committed.
pub(super) enum By {
    /// As nobody in particular: fenced by the transactional id.
    Sole(Arc<ConsumerGroupMetadata>),
    /// As a member of the group: fenced by its generation.
    Member(Membership),
}

/// The marker with the greatest epoch among offsets.
pub(super) fn latest_marker(offsets: &TopicPartitionList) -> Option<Marker> {
    let elements = offsets.elements();
    let markers = elements.iter().filter_map(|element| Marker::parse(element.metadata()));
    markers.max_by_key(|marker| marker.epoch)
}

/// Offsets for the group; the first carries the marker.
pub(super) fn offset_list(offsets: &[(Place, u64)], marker: Option<&str>) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (at, (place, offset)) in offsets.iter().enumerate() {
        let mut element = list.add_partition(&place.topic, place.partition);
        element.set_offset(Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX)))?;
        if let (0, Some(marker)) = (at, marker) {
            element.set_metadata(marker);
        }
    }
    Ok(list)
}
