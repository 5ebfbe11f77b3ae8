//! The log of waiting events: what each epoch writes of those that are in memory.

use resolvent_state::{Batch, Table};
use rustc_hash::FxHashMap;

use crate::dependency::Rules;
use crate::event::{Dependent, Epoch, EventId, Stored, WorkerIndex};

use crate::mode::codec;
use crate::mode::engine::Engine;
use crate::mode::held::Held;
use crate::mode::restore::{self, LogEpoch, Logged};
use crate::mode::table::WaiterId;

/// Bytes at which a value of the log is closed and another begun. Few in tests, so that small cases have several values.
const LOG_VALUE_BYTES: usize = if cfg!(test) { 512 } else { 1 << 20 };

pub(super) fn write_to_log(engine: &mut Engine, waiter: WaiterId, ticket: Option<u64>, log: &mut LogWriter) {
    let Some(w) = engine.table.waiter_mut(waiter).filter(|w| ticket.is_none_or(|t| w.ticket == t)) else { return };
    if let Stored::Log(epoch) = w.held.stored() {
        engine.residency.changes.obsolete.push(epoch);
    }
    w.held.set_stored(Stored::Log(engine.epoch));
    log.add(&engine.rules, &w.held, &mut engine.residency.changes.logged);
}

/// Builds the log's values, one after the other in one buffer. A referent that events have taken is written once in a value, before the first of them: most are
/// taken by many.
#[derive(Debug)]
pub(super) struct LogWriter {
    epoch: Epoch,
    worker: WorkerIndex,
    value: Vec<u8>,
    /// The numbers of the referents in the value.
    numbers: FxHashMap<EventId, u32>,
    written: LogEpoch,
}

impl LogWriter {
    pub(super) fn new(engine: &mut Engine) -> Self {
        let value = std::mem::take(&mut engine.residency.log_value);
        let (epoch, worker) = (engine.epoch, engine.me);
        LogWriter { epoch, worker, value, numbers: FxHashMap::default(), written: LogEpoch::default() }
    }

    fn add(&mut self, rules: &Rules, held: &Held, batch: &mut Batch) {
        if self.value.is_empty() {
            restore::begin_log_value(&[], &mut self.value);
        }
        match held {
            Held::Whole(dependent) => self.add_whole(rules, dependent),
            // It carries no referent.
            Held::Packed(packed) => {
                restore::put_in_log(Logged::Event, &mut self.value, |value| value.extend_from_slice(packed.value()));
            }
        }
        self.written.written += 1;
        self.written.live += 1;
        if self.value.len() >= LOG_VALUE_BYTES {
            self.close(batch);
        }
    }

    fn add_whole(&mut self, rules: &Rules, dependent: &Dependent) {
        for referent in codec::carried(rules, dependent) {
            // A value is closed long before it has as many.
            let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
            self.numbers.entry(referent.header.header.id).or_insert_with(|| {
                restore::put_in_log(Logged::Referent, &mut self.value, |value| codec::put_event(referent, value));
                next
            });
        }
        restore::put_in_log(Logged::Event, &mut self.value, |value| {
            codec::put_logged(
                rules,
                dependent,
                |referent| self.numbers.get(&referent.header.header.id).copied(),
                value,
            );
        });
    }

    fn close(&mut self, batch: &mut Batch) {
        if self.value.is_empty() {
            return;
        }
        let key = restore::log_key(self.epoch, self.worker, self.written.keys.len());
        batch.put(Table::Log, &key, &self.value);
        self.written.bytes += self.value.len() as u64;
        self.written.keys.push(key);
        self.value.clear();
        self.numbers.clear();
    }

    /// Writes what is left, and the events that left the log. Gives the buffer back.
    pub(super) fn finish(mut self, removed: &[EventId], batch: &mut Batch) -> (LogEpoch, Vec<u8>) {
        self.close(batch);
        if !removed.is_empty() {
            restore::begin_log_value(removed, &mut self.value);
            self.close(batch);
        }
        (self.written, self.value)
    }
}
