//! What the Kafka source and the Kafka sinks share of the client: settings, log and errors, waiting for brokers, topics.
//!
//! rdkafka is named here, in `source/kafka` and in `sink/kafka` only.

mod cluster;
mod context;
mod error;
pub mod load;
mod membership;
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

pub(crate) use cluster::{Cluster, Waiting};
pub(crate) use context::{Context, Observer, PartitionStatistics, Rebalance};
pub use error::ClientError;
pub(crate) use error::{About, explain};
pub use membership::{Membership, MembershipError};
pub use properties::{Role, check, refused};

/// How often librdkafka counts up, in milliseconds: lag and throttling are as old as this.
pub(crate) const STATISTICS_MS: u32 = 500;

/// The longest pause before a broker that cannot be reached is tried again, in milliseconds. librdkafka's own, 10 s, is what a job would lose after a broker
/// has come back.
const RECONNECT_MAX_MS: &str = "1000";

/// How to reach the brokers.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// `host:port` of some of them, with commas between.
    pub brokers: String,
    /// Properties for librdkafka as the user wrote them; none of them is [`refused`]. Values may be secrets.
    pub properties: BTreeMap<String, String>,
}

impl ClientSettings {
    /// A configuration with these settings, which names the client `client_id` where the user has not.
    pub(crate) fn config(&self, client_id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", client_id);
        if !self.properties.contains_key("reconnect.backoff.ms") {
            config.set("reconnect.backoff.max.ms", RECONNECT_MAX_MS);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        config.set("statistics.interval.ms", STATISTICS_MS.to_string());
        // What becomes of its lines is decided where they arrive.
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }
}

impl fmt::Debug for ClientSettings {
    /// Without the values of the properties, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.properties.keys().collect();
        f.debug_struct("ClientSettings").field("brokers", &self.brokers).field("properties", &names).finish()
    }
}
