//! The topics of a job, and what its commits say to their broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::CheckpointError;
use super::rows::Committed;
use crate::event::{PartitionId, Positions};
use crate::sink::{Broker, LostEpoch, Marker, Place};

/// How old the marker of a job gets that has nothing to commit. Brokers drop offsets that are not committed again for long (a week, unless told otherwise);
/// and a process that was taken over while it had nothing to do learns it here.
const REFRESH: Duration = Duration::from_secs(30);

/// This process, as markers name it. All copies are the same one.
#[derive(Clone, Debug)]
pub struct Instance {
    id: Arc<str>,
    committed: Arc<AtomicBool>,
}

impl Instance {
    /// An instance of a name that no other process has: letters and digits.
    pub fn new(id: &str) -> Instance {
        Instance { id: id.into(), committed: Arc::default() }
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a marker of it has been committed: one of another process then came later.
    pub fn has_committed(&self) -> bool {
        self.committed.load(Ordering::SeqCst)
    }
}

/// What ends an epoch in topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A transaction with its marker, which says to the next start whether the epoch counts.
    Marked,
    /// A transaction with how far the members of a [`Group`](super::Group) have read: nothing else needs to be known.
    Grouped,
    /// The acknowledgement of what was produced.
    Acknowledged,
}

/// The topics of a job, and how epochs are committed to them.
pub struct Topics {
    /// Their broker.
    pub broker: Box<dyn Broker>,
    /// What ends an epoch.
    pub ending: Ending,
    /// The job's name.
    pub job: String,
    /// The group that has the marker.
    pub group: String,
    /// This process.
    pub instance: Instance,
    /// Where the marker of a job is that does not read topics.
    pub place: Place,
    /// The topics that the job reads: how far goes into the same group.
    pub sources: Vec<String>,
    /// What to take for true where the broker has no marker.
    pub lost_epoch: Option<LostEpoch>,
    /// Whether the job was told to start over, whatever the broker has of it.
    pub fresh: bool,
    /// When the marker was committed last; before that, when this was made.
    pub refreshed: Instant,
}

impl Topics {
    /// Where the marker of a job goes that has none: beside the position of the first partition that is known to be read, so that tools that show a group's
    /// lag show nothing else; otherwise to its own place.
    pub(super) fn place_for(&self, committed: &Committed) -> Place {
        self.positions(committed, &Positions::default())
            .into_iter()
            .next()
            .map_or(self.place.clone(), |(place, _)| place)
    }

    /// How far partitions of topics have been read that had not been read so far before.
    fn positions(&self, committed: &Committed, before: &Positions) -> Vec<(Place, u64)> {
        moved(&self.sources, committed, before)
    }

    /// Puts the marker of this process in place of that of the one before: at the same place, for there another process looks that was taken over.
    pub(super) fn begin(&mut self, committed: &mut Committed) -> Result<(), CheckpointError> {
        let before = committed.place.take();
        if self.ending != Ending::Marked {
            return Ok(());
        }
        let kept = before.filter(|place| *place == self.place || self.sources.contains(&place.topic));
        committed.place = Some(kept.unwrap_or_else(|| self.place_for(committed)));
        self.commit(committed, &Positions::default())
    }

    /// Commits the transaction of an epoch; `before` are the positions that the group has already.
    pub(super) fn commit(&mut self, committed: &Committed, before: &Positions) -> Result<(), CheckpointError> {
        let place = committed.place.clone().unwrap_or_else(|| self.place.clone());
        let marker = Marker { epoch: committed.epoch, instance: self.instance.id().to_owned() };
        let mut offsets = self.positions(committed, before);
        let id = committed.partitions.names().iter().position(|name| **name == place.to_string());
        let id = id.and_then(|id| u32::try_from(id).ok()).map(PartitionId);
        let at = id.and_then(|id| committed.positions.0.get(&id)).copied().unwrap_or(committed.epoch.0);
        // The marker's place goes first, moved or not.
        offsets.retain(|(position, _)| *position != place);
        offsets.insert(0, (place, at));
        self.broker.commit(Some(&marker), &offsets)?;
        self.instance.committed.store(true, Ordering::SeqCst);
        self.refreshed = Instant::now();
        Ok(())
    }

    /// Commits the marker of an epoch once more when it is old.
    pub(super) fn refresh(&mut self, committed: &Committed) -> Result<(), CheckpointError> {
        if self.ending == Ending::Marked && self.refreshed.elapsed() >= REFRESH {
            self.commit(committed, &Positions::default())?;
        }
        Ok(())
    }
}

/// How far partitions of these topics have been read that had not been read so far before.
pub(super) fn moved(topics: &[String], committed: &Committed, before: &Positions) -> Vec<(Place, u64)> {
    let names = committed.partitions.names();
    let place = |partition: &PartitionId| {
        let (topic, partition) = names.get(partition.0 as usize)?.rsplit_once(':')?;
        let place = Place { topic: topic.to_owned(), partition: partition.parse().ok()? };
        topics.contains(&place.topic).then_some(place)
    };
    let moved = committed.positions.0.iter().filter(|(partition, offset)| before.0.get(partition) != Some(offset));
    moved.filter_map(|(partition, offset)| Some((place(partition)?, *offset))).collect()
}
