//! The commits of a job whose positions are kept by a consumer group: its state is in memory, and lasts as long as the process.

use super::CheckpointError;
use super::rows::Committed;
use super::topics::{Ending, Topics, moved};
use crate::event::Positions;
use crate::kafka::Membership;

/// A consumer group that has the positions of a job.
#[derive(Debug)]
pub struct Group {
    /// What this process is in it.
    pub membership: Membership,
    /// The topics that the job reads.
    pub topics: Vec<String>,
}

impl Group {
    /// Commits an epoch: with its outcomes in one transaction, or after them. `before` are the positions that the group has of this process already; those of
    /// partitions that it has no more do not move.
    pub(super) fn commit(
        &self,
        topics: Option<&mut Topics>,
        committed: &Committed,
        before: &Positions,
    ) -> Result<(), CheckpointError> {
        let offsets = moved(&self.topics, committed, before);
        match topics {
            Some(topics) if topics.ending == Ending::Grouped => return Ok(topics.broker.commit(None, &offsets)?),
            Some(topics) => topics.broker.flush()?,
            None => {}
        }
        let offsets = offsets.iter().map(|(place, offset)| ((place.topic.as_str(), place.partition), *offset));
        Ok(self.membership.commit(offsets)?)
    }
}
