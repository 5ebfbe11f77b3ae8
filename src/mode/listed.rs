//! Events that began to wait in this epoch, by their positions alone.
//!
//! Where most waits are short, an event that waits at the end of an epoch has left by the end of the next, and to write all of it down took a tenth of the time of
//! a job. Where every record can be read again, an epoch tells no more of the events that began to wait in it than where they are and what they
//! have taken; of those that wait still at the end of the next epoch, all. A start that finds such a list reads their records once more. What waits for a
//! deferred referent is not listed: it is kept in the state from the beginning.

use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::dependency::{Rules, Stream};
use crate::event::{Dependent, Event, EventId, Found, PartitionId, Stored, StreamId, Timestamp};

use super::codec::{self, StoredError};

/// Where a record is, when it arrived, and what it is known again by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    partition: u32,
    offset: u64,
    arrival: i64,
    stream: u16,
    length: u32,
}

impl Position {
    fn of(event: &Event) -> Position {
        let header = &event.header.header;
        Position {
            partition: header.id.partition.0,
            offset: header.id.offset,
            arrival: header.arrival.0,
            stream: header.stream.0,
            length: u32::try_from(event.slice.len()).unwrap_or(u32::MAX),
        }
    }

    /// Where it is.
    pub fn id(&self) -> EventId {
        EventId { partition: PartitionId(self.partition), offset: self.offset }
    }

    /// When it arrived.
    pub fn arrival(&self) -> Timestamp {
        Timestamp(self.arrival)
    }
}

/// An event that is listed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listed {
    /// Its record.
    event: Position,
    /// What all that it refers to is known again by.
    references: u64,
    /// When the last of the referents that it has taken arrived.
    completed_at: i64,
    /// What it has taken, each with the number of the reference.
    taken: SmallVec<[(u32, Taken); 1]>,
}

/// A referent that an event has taken.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Taken {
    /// It is in the state.
    Kept,
    /// Its record.
    Record(Position),
}

impl Listed {
    /// What is to be written of an event that waits, if that is enough to have it again.
    pub(super) fn of(rules: &Rules, dependent: &Dependent) -> Option<Listed> {
        let header = &dependent.event.header.header;
        // Its place in a queue, and that a notice was given of it, is nowhere else.
        let has_more = dependent.order.is_some() || dependent.accepted || header.carried.is_some();
        if has_more || dependent.stored != Stored::No {
            return None;
        }
        let mut taken = SmallVec::new();
        for (number, reference) in (0..).zip(&dependent.references) {
            let wait = rules.stream(header.stream).depends_on.get(usize::from(reference.dependency))?.wait;
            let deadline = wait.map_or(Timestamp::MAX, |wait| header.arrival.after(wait));
            if reference.overdue || reference.deadline != deadline {
                return None;
            }
            match &reference.found {
                Found::Missing | Found::Unknown => {}
                Found::Kept => taken.push((number, Taken::Kept)),
                Found::Present(_) if rules.entity(reference.entity).is_lasting() => taken.push((number, Taken::Kept)),
                Found::Present(event) if event.header.header.carried.is_none() => {
                    taken.push((number, Taken::Record(Position::of(event))));
                }
                Found::Present(_) | Found::GivenUp => return None,
            }
        }
        let (event, completed_at) = (Position::of(&dependent.event), dependent.completed_at.0);
        Some(Listed { event, references: references(dependent), completed_at, taken })
    }

    /// The records of the referents that it has taken.
    fn records(&self) -> impl Iterator<Item = Position> {
        self.taken.iter().filter_map(|(_, taken)| match taken {
            Taken::Record(position) => Some(*position),
            Taken::Kept => None,
        })
    }

    /// The event as it waited, of what its record becomes when it is decoded again. `referents` are what became of the other records. `None` where it is not what it
    /// was.
    fn restore(
        &self,
        mut decoded: Box<Dependent>,
        waits: &Waits,
        referents: &FxHashMap<Position, Event>,
    ) -> Option<Box<Dependent>> {
        if references(&decoded) != self.references {
            return None;
        }
        let (stream, arrival) = (decoded.event.header.header.stream, self.event.arrival());
        for reference in &mut decoded.references {
            let wait = waits.of(stream, reference.dependency);
            reference.deadline = wait.map_or(Timestamp::MAX, |wait| arrival.after(wait));
        }
        for (number, taken) in &self.taken {
            let reference = decoded.references.get_mut(*number as usize)?;
            reference.found = match taken {
                Taken::Kept => Found::Kept,
                Taken::Record(position) => {
                    let referent = referents.get(position)?;
                    if referent.header.header.key.as_ref() != Some(&reference.key) {
                        return None;
                    }
                    Found::Present(referent.clone())
                }
            };
        }
        decoded.completed_at = Timestamp(self.completed_at);
        // It had no place in a queue, whatever is configured now.
        decoded.order = None;
        Some(decoded)
    }
}

/// What all that an event refers to is known again by, in this order.
fn references(dependent: &Dependent) -> u64 {
    dependent.references.iter().fold(0, |seen: u64, reference| seen.rotate_left(1) ^ reference.hash.0)
}

/// For how long each dependency of each stream is waited for, when events were listed: what is configured now holds for later ones.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Waits(Vec<Vec<Option<Duration>>>);

impl Waits {
    fn new(rules: &Rules) -> Waits {
        let of = |stream: &Stream| stream.depends_on.iter().map(|dependency| dependency.wait).collect();
        Waits(rules.streams().iter().map(of).collect())
    }

    fn of(&self, stream: StreamId, dependency: u16) -> Option<Duration> {
        *self.0.get(usize::from(stream.0))?.get(usize::from(dependency))?
    }
}

/// What one worker lists at the end of an epoch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct List {
    waits: Waits,
    pub(super) events: Vec<Listed>,
}

impl List {
    pub(super) fn new(rules: &Rules) -> List {
        List { waits: Waits::new(rules), events: Vec::new() }
    }

    /// As it is written; nothing where nothing is listed.
    pub(super) fn to_value(&self) -> Vec<u8> {
        let mut value = Vec::new();
        if !self.events.is_empty() {
            codec::write(self, &mut value);
        }
        value
    }
}

/// The events of lists as they waited, in the order of their positions. `read` reads the record of a position once more and decodes it; `changed` is what is told
/// where that gives something else than was listed.
///
/// # Errors
///
/// A list is damaged or of another version, `read` fails, or a record is not what it was.
pub fn read_listed<E: From<StoredError>>(
    lists: &[impl AsRef<[u8]>],
    mut read: impl FnMut(Position) -> Result<Box<Dependent>, E>,
    changed: impl Fn(Position) -> E,
) -> Result<Vec<Box<Dependent>>, E> {
    let mut read = |position: Position| {
        let decoded = read(position)?;
        if Position::of(&decoded.event) == position { Ok(decoded) } else { Err(changed(position)) }
    };
    let mut waiting = Vec::new();
    for list in lists {
        let List { waits, mut events } = codec::read(list.as_ref())?;
        events.sort_unstable_by_key(|listed| listed.event);
        let mut positions: Vec<Position> = events.iter().flat_map(Listed::records).collect();
        positions.sort_unstable();
        positions.dedup();
        let mut referents = FxHashMap::default();
        for position in positions {
            referents.insert(position, read(position)?.event.clone());
        }
        for listed in events {
            let restored = listed.restore(read(listed.event)?, &waits, &referents);
            waiting.push(restored.ok_or_else(|| changed(listed.event))?);
        }
    }
    waiting.sort_by_key(|dependent| dependent.event.header.header.id);
    Ok(waiting)
}
