//! Whether each partition is the one that was read: at a start by its last committed record, later by its last.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::{Message, TopicPartitionList};

use super::block::Record;
use super::consumer::Consumer;
use super::fingerprint::RecordFingerprint;
use super::offsets::TopicPartition;
use super::{KafkaSource, SourceError, name_of, offset};
use crate::event::PartitionId;
use crate::kafka::{ClientError, Observer};
use crate::source::Fingerprint;

/// How long is waited for a record before it is looked whether to give up.
const WAIT: Duration = Duration::from_millis(100);

/// What is looked for in one partition.
struct Sought {
    known: RecordFingerprint,
    /// How often the client had fetched beyond it, and nothing had come.
    passed: u32,
}

impl KafkaSource {
    /// Refuses partitions whose last known record is another now. One that was compacted away since says nothing.
    pub(super) fn verify(&self, known: &BTreeMap<PartitionId, Fingerprint>) -> Result<(), SourceError> {
        let mut sought = BTreeMap::new();
        for lane in self.lanes.iter() {
            let Some(Fingerprint::Record(known)) = known.get(&lane.id).copied() else { continue };
            if known.offset < lane.position {
                sought.insert((lane.topic.clone(), lane.number), Sought { known, passed: 0 });
            }
        }
        if sought.is_empty() {
            return Ok(());
        }
        // A consumer of its own: nothing of what it fetches is mistaken for what is read on.
        let observer = Observer::new("consumer", self.host.metrics.clone());
        let consumer = Consumer::for_single_records(&self.settings, &observer)?;
        let list: TopicPartitionList =
            sought.iter().map(|(at, sought)| (at.clone(), offset(sought.known.offset))).collect();
        consumer.assign(&list).map_err(|error| self.explain(&error))?;
        let mut counted = 0;
        // Those whose record has come. They are given up together, so that brokers answer with what the others have.
        let mut found = TopicPartitionList::new();
        while !sought.is_empty() {
            if (self.host.give_up)() {
                return Err(ClientError::Stopped { brokers: self.settings.client.brokers.clone() }.into());
            }
            match consumer.poll(if found.count() == 0 { WAIT } else { Duration::ZERO }) {
                Some(Ok(message)) => {
                    let at = (message.topic().to_owned(), message.partition());
                    if let Some(sought) = sought.remove(&at) {
                        compare(&at, sought.known, &message)?;
                        found.add_partition(&at.0, at.1);
                    }
                }
                // What lies before the beginning now says nothing, and was refused where it is needed.
                Some(Err(error)) => self.asking().judge(&error, &self.lanes)?,
                None if found.count() > 0 => {
                    let given_up = std::mem::take(&mut found);
                    consumer.incremental_unassign(&given_up).map_err(|error| self.explain(&error))?;
                }
                None => {}
            }
            if observer.counted() != counted {
                counted = observer.counted();
                sought.retain(|at, sought| !is_gone(at, sought, &observer));
            }
        }
        Ok(())
    }
}

fn compare(at: &TopicPartition, known: RecordFingerprint, message: &impl Message) -> Result<(), SourceError> {
    let record = Record {
        offset: u64::try_from(message.offset()).unwrap_or(0),
        timestamp: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
    };
    if record.offset == known.offset && RecordFingerprint::of(&record) != known {
        return Err(SourceError::OtherTopic { partition: name_of(at), offset: known.offset });
    }
    Ok(())
}

/// Whether a partition has no record any more at the offset that is looked for, nor after it.
fn is_gone(at: &TopicPartition, sought: &mut Sought, observer: &Observer) -> bool {
    let Some(statistics) = observer.partition(&at.0, at.1) else { return false };
    let passed = u64::try_from(statistics.next_offset).is_ok_and(|next| next > sought.known.offset);
    sought.passed = if passed && statistics.fetchq_cnt == 0 { sought.passed + 1 } else { 0 };
    sought.passed >= 2
}
