//! What an epoch has changed in the state.

use resolvent_state::{Batch, Table};

use crate::dependency::Rules;
use crate::event::{Dependent, Epoch};

use crate::mode::restore::LogEpoch;
use crate::mode::{codec, deadline};

/// What an epoch has changed in the state.
#[derive(Debug, Default)]
pub struct Changes {
    /// Referents, and waiting events that left memory or came back.
    pub batch: Batch,
    /// The log of those that are in memory: values of this epoch, under keys that no other epoch has.
    pub logged: Batch,
    /// What they are.
    pub log: LogEpoch,
    /// The list of those that are in neither, and that a start [reads again](crate::mode::read_listed): it takes the place of that of the epoch before. Empty for
    /// none.
    pub listed: Vec<u8>,
    /// For each event in the log that has left it or is written anew: the epoch that wrote it.
    pub obsolete: Vec<Epoch>,
    /// Waiting events in the state and not in memory: how many more than before.
    pub waiting_in_state: i64,
    /// Referents that moved from memory to the state because memory is bounded.
    pub referents_moved: u64,
    /// Waiting events that did.
    pub waiting_moved: u64,
}

impl Changes {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.logged.is_empty() && self.listed.is_empty()
    }

    /// Takes an event out of the table of waiting events.
    pub(in crate::mode) fn delete_waiting(&mut self, key: &[u8], dependent: &Dependent) {
        self.batch.delete(Table::Waiting, key);
        self.waiting_in_state -= 1;
        if let Some(due) = deadline::next(dependent) {
            let mut deadline = Vec::new();
            codec::put_deadline_key(due, key, &mut deadline);
            self.batch.delete(Table::Deadline, &deadline);
        }
    }

    /// Notes that an event ended unresolved where that must be known when its stream is replayed.
    pub(in crate::mode) fn note_unresolved(&mut self, rules: &Rules, dependent: &Dependent) {
        let header = &dependent.event.header.header;
        if rules.stream(header.stream).provides_resolved.is_some_and(|twin| !rules.entity(twin).deferred) {
            let mut key = Vec::new();
            codec::put_id(header.id, &mut key);
            self.batch.put(Table::Ended, &key, &[]);
        }
    }
}
