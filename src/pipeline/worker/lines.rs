//! Lines of one worker: built from outcomes, gathered, and passed on to the committer.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::clock::Clock;
use crate::event::{Dependent, Event, Outcome, Spare, StreamId, Timestamp};
use crate::metrics::Checksum;
use crate::pipeline::committer::{Chunk, Happening, Told};
use crate::pipeline::intake::Intake;
use crate::sink::{Checksummer, Renderer, SinkKind};

use super::Setup;

/// Lines are passed on at this size, and whenever the worker has nothing more to add.
const CHUNK_BYTES: usize = 256 << 10;

/// Lines that go nowhere are forgotten at this size: the next are built in memory that is in the caches still.
const DISCARD_BYTES: usize = 8 << 10;

/// Looks at the bytes that lines are about to be made of: most events have waited, and so have left the caches. In a loop that does nothing else these
/// loads do not wait for each other.
fn preload(outcomes: &[Outcome]) {
    let seen = outcomes.iter().map(|outcome| match outcome {
        Outcome::Resolved(dependent) => look(&dependent.event),
        _ => 0,
    });
    black_box(seen.fold(0, |all, seen| all ^ seen));
}

/// Touches every cache line of an event's bytes: something that means nothing.
pub(super) fn look(event: &Event) -> u8 {
    const CACHE_LINE: usize = 64;
    event.slice.iter().step_by(CACHE_LINE).fold(0, |seen, byte| seen ^ byte)
}

/// Outcomes of one worker on their way to the committer.
pub(super) struct Lines {
    renderer: Renderer,
    /// Where the boxes of events that have ended go.
    pub(super) spare: Spare,
    pub(super) chunk: Chunk,
    discards: [bool; 3],
    checksums: [bool; 3],
    checksummer: Checksummer,
    pub(super) now: Timestamp,
    pub(super) clock: Clock,
    intake: Arc<Intake>,
    pub(super) tell: Sender<Told>,
}

impl Lines {
    pub(super) fn new(setup: &Setup, spare: Spare) -> Self {
        Lines {
            spare,
            renderer: Renderer::new(Arc::clone(&setup.rules), &setup.partitions, setup.formats.clone()),
            chunk: Chunk::default(),
            discards: setup.discards,
            checksums: setup.checksums,
            checksummer: Checksummer::default(),
            now: setup.clock.now(),
            clock: setup.clock.clone(),
            intake: Arc::clone(&setup.intake),
            tell: setup.reader.tell.clone(),
        }
    }

    /// Takes the outcomes out of a buffer.
    pub(super) fn add(&mut self, outcomes: &mut Vec<Outcome>) {
        preload(outcomes);
        for outcome in outcomes.drain(..) {
            self.add_one(outcome);
        }
    }

    pub(super) fn add_one(&mut self, outcome: Outcome) {
        self.count(&outcome);
        self.write(&outcome);
        if let Outcome::Resolved(dependent) = outcome {
            self.spare.give(dependent);
        }
    }

    fn write(&mut self, outcome: &Outcome) {
        let Some(kind) = SinkKind::of(outcome) else { return };
        let now = self.now;
        self.append(kind, Checksummer::add, |renderer, lines| _ = renderer.render(outcome, now, lines));
    }

    #[inline]
    pub(super) fn append(
        &mut self,
        kind: SinkKind,
        count: impl FnOnce(&Checksummer, &[u8], &mut Checksum),
        render: impl FnOnce(&mut Renderer, &mut Vec<u8>),
    ) {
        let at = match kind {
            SinkKind::Resolved => 0,
            SinkKind::DeadLetter => 1,
            SinkKind::Accepted => 2,
        };
        let Chunk { lines, checksums, .. } = &mut self.chunk;
        let (Some(lines), Some(checksum)) = (lines.get_mut(at), checksums.get_mut(at)) else { return };
        if lines.capacity() == 0 {
            *lines = self.intake.lines.take().unwrap_or_else(|| Vec::with_capacity(2 * CHUNK_BYTES));
        }
        let start = lines.len();
        render(&mut self.renderer, lines);
        if self.checksums.get(at) == Some(&true) {
            count(&self.checksummer, lines.get(start..).unwrap_or_default(), checksum);
        }
        if lines.len() >= CHUNK_BYTES {
            self.flush();
        } else if lines.len() >= DISCARD_BYTES && self.discards.get(at) == Some(&true) {
            self.discard();
        }
    }

    /// Counts and empties the lines that go nowhere.
    fn discard(&mut self) {
        let kinds = self.chunk.lines.iter_mut().zip(&mut self.chunk.discarded).zip(self.discards);
        for ((lines, discarded), _) in kinds.filter(|(_, discards)| *discards) {
            *discarded += lines.len() as u64;
            lines.clear();
        }
    }

    fn count(&mut self, outcome: &Outcome) {
        let stream = |dependent: &Dependent| -> StreamId { dependent.event.header.header.stream };
        let (happening, arrival) = match outcome {
            Outcome::Resolved(d) => {
                self.chunk.completions.add(d.completed_at);
                (Happening::Resolved(stream(d)), d.event.header.header.arrival)
            }
            Outcome::Expired(d, reason) => (Happening::Expired(stream(d), *reason), d.event.header.header.arrival),
            Outcome::Dropped(d, reason) => (Happening::Dropped(stream(d), *reason), d.event.header.header.arrival),
            Outcome::Rejected(rejection) => (Happening::Rejected(rejection.reason), rejection.arrival),
            Outcome::Accepted(_) => return self.chunk.count(Happening::Accepted),
        };
        self.chunk.arrivals.add(arrival);
        self.chunk.count(happening);
    }

    pub(super) fn flush(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        self.discard();
        let mut chunk = std::mem::take(&mut self.chunk);
        // A buffer with nothing to pass on stays here.
        for (kept, lines) in self.chunk.lines.iter_mut().zip(&mut chunk.lines) {
            if lines.is_empty() {
                std::mem::swap(kept, lines);
            }
        }
        self.intake.lines_sent(chunk.bytes());
        let _ = self.tell.send(Told::Chunk(chunk));
    }
}
