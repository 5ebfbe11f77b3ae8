//! The log of waiting events: what each epoch writes of those that are in memory.

use resolvent_state::{Batch, OpenValue, Table};
use rustc_hash::FxHashMap;

use crate::dependency::Rules;
use crate::event::{Dependent, Epoch, EventId, Stored, WorkerIndex};

use crate::mode::codec;
use crate::mode::engine::Engine;
use crate::mode::held::Held;
use crate::mode::restore::{self, LogEpoch, Logged};
use crate::mode::table::{Waiter, WaiterId};

/// Bytes at which a value of the log is closed and another begun. Few in tests, so that small cases have several values.
const LOG_VALUE_BYTES: usize = if cfg!(test) { 512 } else { 1 << 20 };

/// Writes an event to the log: one that has a ticket only if it is still to be written.
pub(super) fn write_to_log(engine: &mut Engine, waiter: WaiterId, ticket: Option<u64>, log: &mut LogWriter) {
    let is_due = |w: &Waiter| ticket.is_none_or(|t| w.ticket == t && w.is_unlogged());
    let Some(w) = engine.table.waiter_mut(waiter).filter(|w| is_due(w)) else { return };
    if let Stored::Log(epoch) = w.held.stored() {
        engine.residency.changes.obsolete.push(epoch);
    }
    w.held.set_stored(Stored::Log(engine.epoch));
    log.add(&engine.rules, &w.held);
    engine.table.logged(waiter);
}

/// What the log would have of events that an epoch has only listed: values beside those of all workers.
pub fn log_waiting(rules: &Rules, epoch: Epoch, waiting: &[Box<Dependent>]) -> Batch {
    let mut log = LogWriter::of(epoch, WorkerIndex(usize::from(u16::MAX)), Batch::default());
    waiting.iter().for_each(|dependent| log.add_whole(rules, dependent));
    log.finish(&[]).1
}

/// Builds the log's values, each where it stays, in the batch: there are many megabytes of them. A referent that events have taken is written once in a value,
/// before the first of them: most are taken by many.
#[derive(Debug)]
pub(super) struct LogWriter {
    epoch: Epoch,
    worker: WorkerIndex,
    batch: Batch,
    /// The value that is being built, and its key.
    open: Option<(OpenValue, Vec<u8>)>,
    /// The numbers of the referents in the value.
    numbers: FxHashMap<EventId, u32>,
    written: LogEpoch,
}

impl LogWriter {
    /// For about so many bytes.
    pub(super) fn new(engine: &mut Engine, bytes: usize) -> Self {
        let mut batch = std::mem::take(&mut engine.residency.changes.logged);
        batch.reserve(bytes);
        LogWriter::of(engine.epoch, engine.me, batch)
    }

    fn of(epoch: Epoch, worker: WorkerIndex, batch: Batch) -> Self {
        LogWriter { epoch, worker, batch, open: None, numbers: FxHashMap::default(), written: LogEpoch::default() }
    }

    fn add(&mut self, rules: &Rules, held: &Held) {
        match held {
            Held::Whole(dependent) => self.add_whole(rules, dependent),
            // It carries no referent.
            Held::Packed(packed) => {
                self.begin_if_closed();
                restore::put_in_log(Logged::Event, self.batch.end(), |value| value.extend_from_slice(packed.value()));
                self.added();
            }
        }
    }

    fn begin_if_closed(&mut self) {
        if self.open.is_none() {
            self.begin(&[]);
        }
    }

    fn added(&mut self) {
        self.written.written += 1;
        self.written.live += 1;
        if self.open.as_ref().is_some_and(|(open, _)| self.batch.open_bytes(open) >= LOG_VALUE_BYTES) {
            self.close();
        }
    }

    fn add_whole(&mut self, rules: &Rules, dependent: &Dependent) {
        self.begin_if_closed();
        for referent in codec::carried(rules, dependent) {
            // A value is closed long before it has as many.
            let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
            self.numbers.entry(referent.header.header.id).or_insert_with(|| {
                restore::put_in_log(Logged::Referent, self.batch.end(), |value| codec::put_event(referent, value));
                next
            });
        }
        restore::put_in_log(Logged::Event, self.batch.end(), |value| {
            codec::put_logged(
                rules,
                dependent,
                |referent| self.numbers.get(&referent.header.header.id).copied(),
                value,
            );
        });
        self.added();
    }

    fn begin(&mut self, removed: &[EventId]) {
        let key = restore::log_key(self.epoch, self.worker, self.written.keys.len());
        let open = self.batch.open(Table::Log, &key);
        restore::begin_log_value(removed, self.batch.end());
        self.open = Some((open, key));
    }

    fn close(&mut self) {
        let Some((open, key)) = self.open.take() else { return };
        self.written.bytes += self.batch.close(open) as u64;
        self.written.keys.push(key);
        self.numbers.clear();
    }

    /// Writes what is left, and the events that left the log.
    pub(super) fn finish(mut self, removed: &[EventId]) -> (LogEpoch, Batch) {
        self.close();
        if !removed.is_empty() {
            self.begin(removed);
            self.close();
        }
        (self.written, self.batch)
    }
}
