//! Looks for partitions that are added to topics while they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::kafka::Cluster;

/// How often topics are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// A thread that looks for new partitions until this is dropped.
pub(super) struct Watch {
    found: Receiver<(String, i32)>,
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
                    for partition in cluster.partitions(topic).unwrap_or_default() {
                        if known.insert(partition) && find.send((topic.clone(), partition)).is_err() {
                            return;
                        }
                    }
                }
            }
        })?;
        Ok(Watch { found, _going: going })
    }

    /// Partitions that were found since.
    pub(super) fn found(&self) -> impl Iterator<Item = (String, i32)> {
        self.found.try_iter()
    }
}
