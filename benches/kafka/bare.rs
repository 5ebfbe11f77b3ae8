//! The yardstick: a loop on the bare client. It reads a record and writes its bytes, with as many more as an outcome has, and commits every epoch.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::contestant::{Contestant, Delivery, EPOCH, PRODUCER};
use crate::{INPUT, PARTITIONS, Result};

/// Copies the input to `output`. Returns how many bytes of values it wrote.
pub(crate) fn copy(contestant: &Contestant, name: &str, output: &str) -> Result<u64> {
    let exactly_once = contestant.delivery == Delivery::ExactlyOnce;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &contestant.brokers)
        .set("group.id", name)
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .create()?;
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
    let (mut read, mut bytes, mut value) = (0, 0, Vec::new());
    while read < contestant.events {
        if exactly_once {
            producer.begin_transaction()?;
        }
        let began = Instant::now();
        while read < contestant.events && began.elapsed() < EPOCH {
            let Some(message) = consumer.poll(EPOCH.saturating_sub(began.elapsed())) else { continue };
            let message = message?;
            let payload = message.payload().unwrap_or_default();
            value.clear();
            value.extend_from_slice(payload);
            value.resize(payload.len().max(usize::try_from(contestant.value_bytes)?), b' ');
            send(&producer, output, &message, &value)?;
            next.set_partition_offset(INPUT, message.partition(), Offset::Offset(message.offset() + 1))?;
            (read, bytes) = (read + 1, bytes + value.len() as u64);
        }
        if exactly_once {
            let group = consumer.group_metadata().ok_or("the consumer has no group")?;
            producer.send_offsets_to_transaction(&next, &group, None)?;
            producer.commit_transaction(None)?;
        } else {
            producer.flush(None)?;
            consumer.commit(&next, rdkafka::consumer::CommitMode::Sync)?;
        }
    }
    Ok(bytes)
}

fn send(producer: &BaseProducer, output: &str, message: &impl Message, value: &[u8]) -> Result<()> {
    let position = format!("{INPUT}:{}:{}", message.partition(), message.offset());
    let headers = OwnedHeaders::new_with_capacity(2)
        .insert(Header { key: "resolvent-outcome", value: Some("resolved") })
        .insert(Header { key: "resolvent-position", value: Some(&position) });
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
