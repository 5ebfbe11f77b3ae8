//! The yardstick: a loop on the bare client. It reads a record, writes it within a JSON object as an outcome has it, with bytes of earlier records where an
//! outcome has referents, with the same key and headers, and commits every epoch.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::common::Watch;
use crate::contestant::{CONSUMER, Contestant, Delivery, EPOCH, Measured, PRODUCER};
use crate::{INPUT, PARTITIONS, Result};

/// What stands before and behind the record in an outcome without referents.
const BEFORE: &[u8] = br#"{"outcome":"resolved","stream":"bid","event":"#;
const BEHIND: &[u8] = br#","dependencies":{}"#;

/// What a sink counts of a record beside its value, its key and its position: the lengths of all that, and the headers but for the position.
const COUNTED: usize = 12 + (8 + "resolvent-outcome".len() + "resolved".len()) + (8 + "resolvent-position".len());

/// Bytes of earlier records that stand for referents: more than a compressor looks back.
const EARLIER: usize = 1 << 20;

/// Every so many records those bytes are the same ones, as many refer to what is popular: the broker's files are then as large as after a job.
const POPULAR: u64 = 3;

/// Copies the input to `output`. Bytes that it wrote are counted as the jobs' sinks do.
pub(crate) fn copy(contestant: &Contestant, name: &str, output: &str) -> Result<Measured> {
    let exactly_once = contestant.delivery == Delivery::ExactlyOnce;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &contestant.brokers).set("group.id", name);
    CONSUMER.iter().for_each(|(property, value)| _ = config.set(*property, *value));
    let consumer: BaseConsumer = config.create()?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &contestant.brokers);
    PRODUCER.iter().for_each(|(property, value)| _ = config.set(*property, *value));
    if exactly_once {
        config.set("transactional.id", name);
    }
    let producer: BaseProducer = config.create()?;
    let mut next = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        next.add_partition_offset(INPUT, partition, Offset::Offset(0))?;
    }
    consumer.assign(&next)?;
    if exactly_once {
        producer.init_transactions(None)?;
    }
    let mut outcome = Outcome { bytes_wanted: contestant.record_bytes, ..Outcome::default() };
    let (mut read, mut bytes, mut watch) = (0, 0, None);
    while read < contestant.events {
        if exactly_once {
            producer.begin_transaction()?;
        }
        let began = Instant::now();
        while read < contestant.events && began.elapsed() < EPOCH {
            let Some(message) = consumer.poll(EPOCH.saturating_sub(began.elapsed())) else { continue };
            let message = message?;
            if watch.is_none() {
                watch = Some(Watch::start()?);
            }
            let position = format!("{INPUT}:{}:{}", message.partition(), message.offset());
            outcome.write(message.payload().unwrap_or_default(), message.key_len(), &position);
            send(&producer, output, &message, &position, &outcome.value)?;
            next.set_partition_offset(INPUT, message.partition(), Offset::Offset(message.offset() + 1))?;
            (read, bytes) = (read + 1, bytes + outcome.bytes);
        }
        acknowledged(&producer);
        if exactly_once {
            let group = consumer.group_metadata().ok_or("the consumer has no group")?;
            producer.send_offsets_to_transaction(&next, &group, None)?;
            producer.commit_transaction(None)?;
        } else {
            producer.flush(None)?;
            consumer.commit(&next, rdkafka::consumer::CommitMode::Sync)?;
        }
    }
    let (seconds, cpu_seconds) = watch.ok_or("there was nothing to read")?.read()?;
    Ok(Measured { seconds, cpu_seconds, bytes_written: bytes, broker_cpu_seconds: 0.0 })
}

/// Waits for the broker as the jobs do: the client's own `flush`, which its `commit_transaction` begins with, sleeps a tenth of a second at a time.
fn acknowledged(producer: &BaseProducer) {
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::ZERO);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Makes values of the size that a job's have.
#[derive(Default)]
struct Outcome {
    /// Of a record, with all that a sink counts.
    bytes_wanted: u64,
    value: Vec<u8>,
    /// Of the record that was written last, counted in the same way.
    bytes: u64,
    earlier: Vec<u8>,
    /// Where the next bytes of `earlier` are taken from, and new ones put.
    at: usize,
    written: u64,
}

impl Outcome {
    fn write(&mut self, record: &[u8], key_bytes: usize, position: &str) {
        let Outcome { bytes_wanted, value, bytes, earlier, at, written } = self;
        *written += 1;
        value.clear();
        [BEFORE, record, BEHIND].iter().for_each(|part| value.extend_from_slice(part));
        value.extend_from_slice(format!(",\"position\":\"{position}\",\"waited_us\":100000}}").as_bytes());
        let counted = COUNTED + key_bytes + position.len();
        let lacking = (*bytes_wanted as usize).saturating_sub(value.len() + counted);
        if earlier.len() < EARLIER {
            earlier.extend_from_slice(record);
            value.resize(value.len() + lacking, b' ');
        } else if written.is_multiple_of(POPULAR) {
            value.extend_from_slice(earlier.get(..lacking).unwrap_or_default());
        } else {
            *at = if *at + lacking.max(record.len()) > earlier.len() { 0 } else { *at };
            value.extend_from_slice(earlier.get(*at..*at + lacking).unwrap_or_default());
            earlier.iter_mut().skip(*at).zip(record).for_each(|(old, new)| *old = *new);
            *at += lacking.max(record.len());
        }
        *bytes = (value.len() + counted) as u64;
    }
}

fn send(producer: &BaseProducer, output: &str, message: &impl Message, position: &str, value: &[u8]) -> Result<()> {
    let headers = OwnedHeaders::new_with_capacity(2)
        .insert(Header { key: "resolvent-outcome", value: Some("resolved") })
        .insert(Header { key: "resolvent-position", value: Some(position) });
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(output).payload(value).headers(headers);
    record.key = message.key();
    while let Err((error, back)) = producer.send(record) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
            return Err(error.into());
        }
        record = back;
        producer.poll(Duration::from_millis(10));
    }
    producer.poll(Duration::ZERO);
    Ok(())
}
