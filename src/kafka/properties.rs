//! Properties of librdkafka that a user may not set, because a promise of the job hangs on them.

use rdkafka::ClientConfig;

use super::ClientError;

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It reads: `[source.kafka]`.
    Consumer,
    /// It writes: `[sink.kafka]`.
    Producer,
}

/// Why a property is not taken, and what would be right; `None` where it is. Names are librdkafka's, of which some have an older alias.
pub fn refused(role: Role, name: &str) -> Option<&'static str> {
    match name {
        "bootstrap.servers" | "metadata.broker.list" => Some("write it as `brokers`"),
        "statistics.interval.ms" => Some("lag and throttling are measured with it; leave it out"),
        _ => match role {
            Role::Consumer => refused_of_consumer(name),
            Role::Producer => refused_of_producer(name),
        },
    }
}

/// What is wrong with a property, by librdkafka itself; without its value, which may be a secret.
///
/// # Errors
///
/// It has no property of this name, or does not take the value.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(error) => Err(match ClientError::of_settings(&error) {
            ClientError::Property { detail, .. } => detail,
            other => other.to_string(),
        }),
    }
}

fn refused_of_consumer(name: &str) -> Option<&'static str> {
    Some(match name {
        "group.id" => "write it as `group`",
        "auto.offset.reset" | "topic.auto.offset.reset" => {
            "write `start`; a position that the broker no longer has is refused and never skipped"
        }
        "isolation.level" => "aborted records are never read; leave it out",
        "enable.auto.commit" | "auto.commit.enable" | "auto.commit.interval.ms" | "enable.auto.offset.store" => {
            "offsets are committed with the state and never before; leave it out"
        }
        "offset.store.method" | "offset.store.path" | "offset.store.sync.interval.ms" => {
            "positions are kept with the state; leave it out"
        }
        "group.protocol" | "group.remote.assignor" | "partition.assignment.strategy" => {
            "partitions are given up only after a commit, which hangs on the protocol; leave it out"
        }
        "enable.partition.eof" => "the end of a partition is found without it; leave it out",
        "allow.auto.create.topics" => "write `create_topics = true` to create missing topics",
        _ => return None,
    })
}

fn refused_of_producer(name: &str) -> Option<&'static str> {
    Some(match name {
        "transactional.id" => "it is made of the job's name, so that a second instance is fenced; leave it out",
        "transaction.timeout.ms" => "write it as `transaction_timeout`",
        "enable.idempotence" => "write it as `idempotence`",
        "acks" | "request.required.acks" => "write it as `acks`",
        "compression.codec" | "compression.type" => "write it as `compression`",
        "linger.ms" | "queue.buffering.max.ms" => "write it as `linger`",
        "partitioner" | "partitioner_cb" => "write it as `partitioner` under the sink",
        "delivery.report.only.error" => "every delivery is checked; leave it out",
        _ => return None,
    })
}
