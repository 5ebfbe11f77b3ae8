//! What the commit protocol asks of a broker of topics: records that become visible together with the number of their epoch, or not at all.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SinkError;
use crate::event::Epoch;

/// A partition of a topic. The job's group has an offset for it, and the offset a text: a [`Marker`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.topic, self.partition)
    }
}

/// What the broker holds of a job: the last epoch that it has committed, and the process that did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The epoch.
    pub epoch: Epoch,
    /// A text that no other process has.
    pub instance: String,
}

impl Marker {
    /// Reads a marker; `None` for any other text.
    pub fn parse(text: &str) -> Option<Marker> {
        let (epoch, instance) = text.strip_prefix("epoch=")?.split_once(" instance=")?;
        let is_name = !instance.is_empty() && instance.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_name.then_some(Marker { epoch: Epoch(epoch.parse().ok()?), instance: instance.to_owned() })
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch={} instance={}", self.epoch.0, self.instance)
    }
}

/// What to take for true where the broker no longer knows the job's last epoch: `lost_epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostEpoch {
    /// It was committed.
    Committed,
    /// It was aborted.
    Aborted,
}

/// A broker with the one producer of this process.
///
/// An error that [is undecided](SinkError::is_undecided) leaves open what became of the last call; after any error the broker is dropped and made anew.
pub trait Broker: Send {
    /// The marker with the greatest epoch at these places, after [`Broker::fence`]: nobody has a transaction open then. It waits a while for one that has not
    /// ended all the same, and then fails.
    fn marker(&mut self, places: &[Place]) -> Result<Option<Marker>, SinkError>;

    /// The same without waiting: what is in an open transaction is passed over, and may become true afterwards.
    fn decided_marker(&mut self, places: &[Place]) -> Result<Option<Marker>, SinkError>;

    /// Fences every other producer of the job: what it had open is committed or aborted for good when this returns, and it can commit nothing more.
    fn fence(&mut self) -> Result<(), SinkError>;

    /// Takes [records](super::records) for a topic. They become visible with the next commit; without transactions as soon as the broker has them.
    fn produce(&mut self, topic: &str, records: &[u8]) -> Result<(), SinkError>;

    /// Sends on what was held back, if it is time for that. Returns whether something is still held back: then this wants to be called every millisecond or so.
    fn tend(&mut self) -> Result<bool, SinkError>;

    /// Makes all that was produced visible, in one transaction with offsets of the job's group, the first of which carries the marker, where there is one.
    /// Returns once the broker says so.
    fn commit(&mut self, marker: Option<&Marker>, offsets: &[(Place, u64)]) -> Result<(), SinkError>;

    /// Without transactions: returns once the broker has acknowledged all that was produced.
    fn flush(&mut self) -> Result<(), SinkError>;

    /// Bytes of records produced since it was made.
    fn bytes_written(&self) -> u64;

    /// Bytes of the largest batch of records that a topic takes; `None` where the brokers did not say when this was made.
    fn batch_bytes_max(&self, topic: &str) -> Option<usize>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_and_nothing_else_is_one() {
        let marker = Marker { epoch: Epoch(17), instance: "0aF".to_owned() };
        assert_eq!(Marker::parse(&marker.to_string()), Some(marker));
        for text in
            ["", "epoch=17", "epoch= instance=a", "epoch=17 instance=", "epoch=-1 instance=a", "x epoch=1 instance=a"]
        {
            assert_eq!(Marker::parse(text), None, "{text}");
        }
    }
}
