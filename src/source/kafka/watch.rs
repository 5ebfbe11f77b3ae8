//! Looks for partitions that are added to topics while they are read, and for topics that are deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::offsets::TopicPartition;
use crate::kafka::Cluster;

/// How often topics are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// What is found.
pub(super) enum Finding {
    /// A partition that was added.
    Added(TopicPartition),
    /// A topic is not there.
    Missing,
}

/// A thread that looks at topics until this is dropped.
pub(super) struct Watch {
    found: Receiver<Finding>,
    /// Dropped to stop the thread.
    _going: Sender<()>,
}

impl Watch {
    /// Watches topics, of which these partitions are known.
    pub(super) fn start(cluster: Cluster, mut known: BTreeMap<String, BTreeSet<i32>>) -> io::Result<Watch> {
        let (going, is_going) = bounded(0);
        let (find, found) = bounded(64);
        thread::Builder::new().name("kafka-watch".to_owned()).spawn(move || {
            // Nobody sends: it is over when the sender is gone.
            while is_going.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                for (topic, known) in &mut known {
                    let Some(there) = cluster.partitions(topic) else { continue };
                    if there.is_empty() && find.send(Finding::Missing).is_err() {
                        return;
                    }
                    for partition in there {
                        if known.insert(partition) && find.send(Finding::Added((topic.clone(), partition))).is_err() {
                            return;
                        }
                    }
                }
            }
        })?;
        Ok(Watch { found, _going: going })
    }

    /// What was found since.
    pub(super) fn found(&self) -> impl Iterator<Item = Finding> {
        self.found.try_iter()
    }
}
