//! Which waits lead back to themselves, in streams whose events may need each other in a cycle.
//!
//! One worker keeps the graph of all such events that wait. At the beginning of an epoch, before anything else happens in it, every worker tells it what
//! has changed of its own since the one before, and then which waits end. So all waits that end in an epoch are judged by one graph, the one as of the end
//! of the epoch before, in whatever order they come.
//!
//! An edge leads from an event to the version of a key that it lacks and needs resolved, where that waits too. None leads to what it has found: of such a key
//! an earlier version may have ended not long ago, and once the event itself has ended, what it had found may come to wait. Nothing of this is in the state:
//! it follows from what is here.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::judge::missing;
use super::table::Table;
use crate::dependency::{OnExpiry, Rules, Stream};
use crate::event::{Dependent, Epoch, EventId, ExpiredReason, Outcome, StreamId};
use crate::mode::engine::EPOCHS_LATE;
use crate::mode::{Link, Phase, cycle};

/// What the worker that keeps the graph is told of an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Note {
    /// It waits, for this.
    Waits(EventId, Link),
    /// It waits no longer: it has a result, or another version has taken its place.
    Left(EventId),
    /// Its wait has ended, and has no line.
    Ended(EventId),
    /// Its wait has ended for this reason, unless what it lacks leads back to it.
    Judge(Box<Dependent>, ExpiredReason),
}

/// What a worker has told of its events.
#[derive(Debug)]
pub(super) struct Told {
    /// Whether the graph follows what waits. Where no deadline asks for it, it is made when the input ends.
    follows: bool,
    /// The events in the graph.
    known: FxHashSet<EventId>,
    /// Those of which it may have changed since the epoch began whether they wait, and for what.
    changed: FxHashSet<EventId>,
    notes: Vec<Note>,
}

impl Told {
    pub(super) fn new(rules: &Rules) -> Told {
        let is_judged =
            |stream: &Stream| stream.depends_on.iter().any(|d| d.wait.is_some() && d.on_expiry == OnExpiry::DeadLetter);
        Told {
            follows: rules.streams().iter().any(|stream| stream.cyclic && is_judged(stream)),
            known: FxHashSet::default(),
            changed: FxHashSet::default(),
            notes: Vec::new(),
        }
    }

    pub(super) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// About how much memory it holds.
    pub(super) fn bytes(&self) -> usize {
        // A hash table is between half and seven eighths full.
        2 * (self.known.len() + self.changed.len()) * size_of::<EventId>()
    }
}

impl Table {
    /// By stream, whether it has to be known what its events have found as long as they lack something, also of those whose waits do not end: what they have
    /// found decides which waits lead through them.
    pub(super) fn tells_partial(&self) -> Arc<[bool]> {
        let tells = |stream: &Stream| self.limits.tells_partial || (self.told.follows && stream.cyclic);
        self.rules.streams().iter().map(tells).collect()
    }

    /// Notes that an event may have begun or ceased to wait or to provide its key, or that it may lack more or less than before.
    pub(super) fn note_wait(&mut self, id: EventId, stream: StreamId) {
        if self.told.follows && self.rules.stream(stream).cyclic {
            self.told.changed.insert(id);
        }
    }

    /// Tells what has changed since the epoch before began.
    pub(super) fn tell_waits(&mut self) {
        if self.phase == Phase::Ending && !self.told.follows {
            self.told.follows = true;
            self.told.changed.extend(self.entries.keys());
        }
        for id in std::mem::take(&mut self.told.changed) {
            // An earlier version that stays (`append`) is nobody's referent, so nothing leads back to it.
            let entry = self.entries.get(&id).filter(|entry| entry.waits() && entry.is_current);
            match entry.and_then(|entry| self.link(entry)) {
                Some(link) => {
                    self.told.known.insert(id);
                    self.told.notes.push(Note::Waits(id, link));
                }
                None if self.told.known.remove(&id) => self.told.notes.push(Note::Left(id)),
                None => {}
            }
        }
    }

    /// What a waiting event provides and lacks, by what results there were at the end of the epoch before.
    fn link(&self, entry: &Entry) -> Option<Link> {
        cycle::link_over(&self.rules, entry.event(), missing(entry).map(|(_, reference)| reference))
    }

    /// The wait of an event has ended, with a line.
    pub(super) fn end_expired(&mut self, dependent: Box<Dependent>, reason: ExpiredReason) {
        if self.told.known.remove(&dependent.event.header.header.id) {
            self.told.notes.push(Note::Judge(dependent, reason));
        } else {
            self.effects.expired.push(Outcome::Expired(dependent, reason));
        }
    }

    /// The wait of an event has ended, without a line.
    pub(super) fn end_dropped(&mut self, id: EventId) {
        if self.told.known.remove(&id) {
            self.told.notes.push(Note::Ended(id));
        }
    }

    /// Judges the waits that end in an epoch. These are the notes of all workers.
    pub(super) fn judge_waits(&mut self, epoch: Epoch, notes: impl Iterator<Item = Note>) {
        // As in the engine: deadlines may be two epochs late, and at the end of the input all waits end together.
        let late = if self.phase == Phase::Ending { 0 } else { EPOCHS_LATE };
        self.graph.forget_before(Epoch(epoch.0.saturating_sub(late)));
        let (mut ended, mut to_judge) = (Vec::new(), Vec::new());
        for note in notes {
            match note {
                Note::Waits(id, link) => self.graph.set(id, link),
                Note::Left(id) => self.graph.remove(id),
                Note::Ended(id) => ended.push(id),
                Note::Judge(dependent, reason) => to_judge.push((dependent, reason)),
            }
        }
        for (dependent, reason) in to_judge {
            let id = dependent.event.header.header.id;
            let lacks = cycle::link(&self.rules, &dependent).map(|link| link.lacks).unwrap_or_default();
            let reason = if self.graph.leads_back_over(id, &lacks) { ExpiredReason::Cycle } else { reason };
            self.effects.expired.push(Outcome::Expired(dependent, reason));
            ended.push(id);
        }
        ended.into_iter().for_each(|id| self.graph.end(id, epoch, false));
        self.graph.forget_walks();
    }
}
