//! How topics are written to.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::kafka::ClientSettings;
use crate::sink::LostEpoch;

/// Bytes, in KiB, and records that wait in the client for the broker; beyond that the job is held back. librdkafka's own bound is 1 GiB.
const QUEUE_KIB: &str = "65536";
const QUEUE_RECORDS: &str = "200000";

/// What librdkafka takes as `batch.size` where nobody says otherwise.
const BATCH_BYTES: usize = 1_000_000;

/// Who has to have a record before it counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// All replicas that are in sync.
    All,
    /// The leader of the partition alone: what it has not passed on is lost when it fails.
    Leader,
}

/// How topics are written to. One producer does it for all of a job's sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// How to reach the brokers.
    pub client: ClientSettings,
    /// How batches are compressed: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub compression: &'static str,
    /// Who acknowledges.
    pub acks: Acks,
    /// How long a record waits for others to share a request with.
    pub linger: Duration,
    /// Whether the broker drops what the client sends twice.
    pub idempotence: bool,
    /// How long a transaction may be open before the broker aborts it.
    pub transaction_timeout: Duration,
    /// Which partition a key goes to: the name of one of librdkafka's partitioners.
    pub partitioner: &'static str,
    /// Whether topics that are missing are created.
    pub create_topics: bool,
    /// What to take for true where the broker no longer knows the job's last epoch; `None`: refuse to start.
    pub lost_epoch: Option<LostEpoch>,
}

impl KafkaSettings {
    /// The configuration of the producer; with a transactional id it has transactions. `batch_bytes_max` is what each of its topics takes.
    pub(super) fn producer_config(
        &self,
        transactional_id: Option<&str>,
        batch_bytes_max: Option<usize>,
    ) -> ClientConfig {
        let mut config = self.client.config("resolvent-sink");
        let mut unless_written = |names: &[&str], value: &str| {
            if let ([name, ..], false) = (names, names.iter().any(|name| self.client.properties.contains_key(*name))) {
                config.set(*name, value);
            }
        };
        unless_written(&["queue.buffering.max.kbytes"], QUEUE_KIB);
        unless_written(&["queue.buffering.max.messages"], QUEUE_RECORDS);
        if transactional_id.is_some() {
            // Below the transaction's: a record that cannot be delivered ends the transaction, and not the other way round.
            let timeout = self.transaction_timeout.as_millis() * 9 / 10;
            unless_written(&["message.timeout.ms", "delivery.timeout.ms"], &timeout.to_string());
        }
        if let Some(bytes_max) = batch_bytes_max {
            // The client does not take apart a batch that its topic refuses.
            let written = self.client.properties.get("batch.size").and_then(|bytes| bytes.parse().ok());
            config.set("batch.size", bytes_max.min(written.unwrap_or(BATCH_BYTES)).to_string());
        }
        config.set("compression.codec", self.compression);
        config.set("linger.ms", (self.linger.as_micros() as f64 / 1000.0).to_string());
        config.set("partitioner", self.partitioner);
        config.set("delivery.report.only.error", "true");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
            config.set("transaction.timeout.ms", self.transaction_timeout.as_millis().to_string());
        } else {
            config.set("enable.idempotence", self.idempotence.to_string());
            config.set("acks", if self.acks == Acks::All { "all" } else { "1" });
        }
        config
    }
}
