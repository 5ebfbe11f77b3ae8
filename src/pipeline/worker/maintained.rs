//! What a worker does where results are maintained: a table and a differential dataflow stand in the place of the engine.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};

use timely::dataflow::Stream;
use timely::dataflow::operators::core::Probe;
use timely::dataflow::operators::probe::Handle;

use super::lines::{Lines, look};
use super::{Setup, Shared, WorkerEnd};
use crate::event::{Change, Epoch, Found, WorkerIndex};
use crate::mode::maintained::{self, Effects, Limits, Room, Table};
use crate::mode::{Backlog, Changes, Message};
use crate::pipeline::RunError;
use crate::pipeline::committer::{Happening, Told};
use crate::sink::{Checksummer, Format, SinkKind};

/// The table of a worker, with what an earlier run left of its share.
pub(super) fn table(setup: &Setup, me: WorkerIndex) -> Table {
    let rows =
        setup.rows.get(me.0).map(|rows| std::mem::take(&mut *rows.lock().unwrap_or_else(PoisonError::into_inner)));
    let limits = Limits {
        changes_bytes: setup.settings.changes_bytes,
        memory_bytes: setup.settings.streaming_bytes,
        tells_partial: setup.ends_waits,
        compact: setup.compact,
        upserts: setup.formats.iter().any(|format| matches!(format, Format::Upserts { .. })),
    };
    Table::new(Arc::clone(&setup.rules), limits, rows.unwrap_or_default())
}

/// The dataflow behind the source.
pub(super) fn dataflow<'scope>(
    events: Stream<'scope, u64, Vec<Message>>,
    table: &Rc<RefCell<Table>>,
    setup: &Setup,
) -> Handle<u64> {
    let intake = Arc::clone(&setup.intake);
    let clock = setup.clock.clone();
    maintained::maintain(events, Rc::clone(table), move || clock.now(), move || intake.current()).probe().0
}

/// So many changes are written between looks at what is needed next.
const AT_A_TIME: usize = 128;

/// Looks at the bytes that lines are about to be made of, as is done with other outcomes.
fn preload(changes: &[Change]) {
    let of = |change: &Change| {
        let found = change.dependent.references.iter().map(|reference| match &reference.found {
            Found::Present(event) => look(event),
            _ => 0,
        });
        found.fold(look(&change.dependent.event), |seen, event| seen ^ event)
    };
    black_box(changes.iter().map(of).fold(0, |all, seen| all ^ seen));
}

/// Writes what a table has to tell.
pub(super) fn tell(table: &mut Table, lines: &mut Lines) {
    let Effects { changes, mut expired, dropped } = table.take_effects();
    if changes.is_empty() && expired.is_empty() && dropped.is_empty() {
        return;
    }
    lines.now = lines.clock.now();
    let mut changes = changes.into_iter();
    while !changes.as_slice().is_empty() {
        preload(changes.as_slice().get(..AT_A_TIME).unwrap_or(changes.as_slice()));
        changes.by_ref().take(AT_A_TIME).for_each(|change| lines.add_change(change));
    }
    lines.add(&mut expired);
    for (stream, reason) in dropped {
        lines.chunk.count(Happening::Dropped(stream, reason));
    }
}

pub(super) fn end_epoch(
    epoch: Epoch,
    worker: WorkerIndex,
    table: &mut Table,
    shared: &Shared,
    lines: &mut Lines,
    setup: &Setup,
) -> WorkerEnd {
    tell(table, lines);
    lines.flush();
    let (batch, waiting_in_state) = table.end_epoch();
    if let Some(batch) = setup.intake.batches.take_large() {
        table.recycle(batch);
    }
    let facts = table.facts();
    setup.intake.tell_room(worker.0, facts.room);
    if facts.room == Room::Soon && !shared.was_full.replace(true) {
        tracing::warn!(
            "what worker {} keeps for maintained results fills its share of `[streaming] memory`, {} MiB: the source is held back until waits end. This is said \
             once; resolvent_backpressure_seconds_total{{cause=\"memory\"}} counts the time",
            worker.0,
            table.limit() >> 20
        );
    }
    WorkerEnd {
        worker,
        epoch,
        read: shared.read.take(),
        replayed: shared.replayed.take(),
        accepted_at: shared.accepted_at.take(),
        changes: Changes { batch, waiting_in_state, ..Changes::default() },
        memory: facts.memory,
        // The state has them all, and they are counted there.
        waiting: 0,
        oldest: facts.oldest,
        has_deadline: facts.has_deadline,
        draining: 0,
        backlog: Backlog::None,
    }
}

/// Ends the job, since more has come than there will be room for.
pub(super) fn give_up(table: &Table, lines: &Lines) {
    let (bytes, limit) = (table.memory().streaming() as u64, table.limit() as u64);
    // Where the committer is gone the job is ending.
    let _ = lines.tell.send(Told::Failed(RunError::CollectionsFull { bytes, limit }));
}

impl Lines {
    fn add_change(&mut self, change: Change) {
        let header = &change.dependent.event.header.header;
        if change.added {
            self.chunk.count(Happening::Resolved(header.stream));
            self.chunk.completions.add(change.dependent.completed_at);
            self.chunk.arrivals.add(header.arrival);
        } else {
            self.chunk.count(Happening::Retracted(header.stream));
        }
        let now = self.now;
        let count = if change.added { Checksummer::add } else { Checksummer::take };
        self.append(SinkKind::Resolved, count, |renderer, lines| renderer.render_change(&change, now, lines));
        self.spare.give(change.dependent);
    }
}
