//! How large a batch each topic takes, by its `max.message.bytes`: asked for when the job starts, and again where a topic refuses one.

use std::collections::BTreeMap;
use std::sync::Once;
use std::thread;
use std::time::Duration;

use super::KafkaBroker;
use crate::kafka::{ClientError, Cluster, Waiting};
use crate::sink::SinkError;

/// How often a limit is asked for again that must have been lowered: a broker may learn it after the one that has refused the batch.
const ASK_AGAIN: usize = 5;

/// How long is waited between.
const ASK_AFTER: Duration = Duration::from_millis(400);

/// The limits of topics. Those that the brokers do not tell are left out, and named once in the log.
pub(super) fn ask(
    cluster: &Cluster,
    topics: &[&str],
    waiting: Waiting<'_>,
) -> Result<BTreeMap<String, usize>, ClientError> {
    static TOLD: Once = Once::new();
    let limits = cluster.batch_limits(topics.iter().copied(), waiting)?;
    let silent: Vec<&str> = topics.iter().copied().filter(|topic| !limits.contains_key(*topic)).collect();
    if !silent.is_empty() {
        TOLD.call_once(|| {
            tracing::info!(
                topics = silent.join(", "),
                "the brokers do not say how large a record these topics take (max.message.bytes): where that is less than message.max.bytes of [sink.kafka], \
                 a larger outcome ends the job. An ACL that allows DescribeConfigs on them to this user would let it know"
            );
        });
    }
    Ok(limits)
}

impl KafkaBroker {
    /// What follows where a topic has refused a batch for its size. Where it takes less than it did, the job begins again with what it takes now.
    pub(super) fn too_large(&self, topic: &str) -> SinkError {
        let known = self.batch_limits.get(topic).copied();
        let mut found = None;
        for again in 0..ASK_AGAIN {
            if again > 0 {
                thread::sleep(ASK_AFTER);
            }
            found = self.ask_again(topic);
            match found {
                Some(now) if known.is_none_or(|known| now < known) => {
                    return SinkError::Undecided(format!(
                        "topic {topic} takes {now} bytes at most now (its max.message.bytes)"
                    ));
                }
                Some(_) => {}
                None => break,
            }
        }
        SinkError::Refused(match found {
            Some(now) => format!(
                "topic {topic} takes {now} bytes at most (its max.message.bytes), and has refused a batch that is no larger before the topic compresses it, \
                 or an outcome that cannot be cut to that: raise its max.message.bytes"
            ),
            None => format!(
                "topic {topic} does not take a record of this size, and the brokers do not say which it takes: allow DescribeConfigs on it to this user, raise its \
                 max.message.bytes, or set message.max.bytes among the properties of [sink.kafka] to what it takes: outcomes that are larger are then written \
                 without their event"
            ),
        })
    }

    fn ask_again(&self, topic: &str) -> Option<usize> {
        let cluster = Cluster::new(&self.asking, "resolvent-sink", &self.observer).ok()?;
        let waiting = Waiting { give_up: &*self.give_up, say: &|_| () };
        cluster.batch_limits([topic], waiting).ok()?.remove(topic)
    }
}
