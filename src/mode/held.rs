//! How memory holds a waiting event: as it works, or packed where memory is short.

use crate::dependency::Rules;
use crate::event::{self, Dependent, EntityId, Epoch, Event, Key, KeyHash, Stored};

use super::codec;

/// A waiting event in memory.
#[derive(Debug)]
pub(super) enum Held {
    /// As it works.
    Whole(Box<Dependent>),
    /// As the state would hold it, in little more than half of the memory. It lets go of the referents that it has found and the state keeps, and takes them
    /// again when it goes on.
    Packed(Packed),
}

/// A packed event.
#[derive(Debug)]
pub(super) struct Packed {
    value: Box<[u8]>,
    /// The epoch that wrote it to the log; 0 where none has.
    logged: Epoch,
}

impl Packed {
    /// Packs an event. `None` where that would not save memory: it holds referents that are nowhere else, or may itself be a referent that memory has.
    pub(super) fn new(rules: &Rules, dependent: &Dependent, value: &mut Vec<u8>) -> Option<Packed> {
        let is_shared = dependent.event.header.header.key.is_some() && Event::strong_count(&dependent.event) > 1;
        if is_shared || codec::carried(rules, dependent).next().is_some() {
            return None;
        }
        value.clear();
        codec::put_dependent(rules, dependent, value);
        let mut packed = Packed { value: value.as_slice().into(), logged: Epoch(0) };
        packed.set_stored(dependent.stored);
        Some(packed)
    }

    /// The event as [`codec::put_dependent`] gives it, with no referent in it.
    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }

    /// Bytes of memory that it takes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.value.len()
    }

    #[expect(clippy::expect_used, reason = "`new` has written the value, by the same rules, and nothing changes it")]
    pub(super) fn unpack(&self, rules: &Rules) -> Box<Dependent> {
        codec::get_dependent(rules, &self.value, self.stored()).expect("a value that was just written")
    }

    fn stored(&self) -> Stored {
        if self.logged == Epoch(0) { Stored::No } else { Stored::Log(self.logged) }
    }

    fn set_stored(&mut self, stored: Stored) {
        self.logged = match stored {
            Stored::No => Epoch(0),
            Stored::Log(epoch) => epoch,
        };
    }
}

impl Held {
    /// The event as it works.
    pub(super) fn whole(self, rules: &Rules) -> Box<Dependent> {
        match self {
            Held::Whole(dependent) => dependent,
            Held::Packed(packed) => packed.unpack(rules),
        }
    }

    /// What one of its references names.
    pub(super) fn name(&self, rules: &Rules, reference: u32) -> Option<(EntityId, KeyHash, Key)> {
        let name = |dependent: &Dependent| {
            dependent.references.get(reference as usize).map(|r| (r.entity, r.hash, r.key.clone()))
        };
        match self {
            Held::Whole(dependent) => name(dependent),
            Held::Packed(packed) => name(&packed.unpack(rules)),
        }
    }

    /// Where the state holds it.
    pub(super) fn stored(&self) -> Stored {
        match self {
            Held::Whole(dependent) => dependent.stored,
            Held::Packed(packed) => packed.stored(),
        }
    }

    /// Notes where the state holds it.
    pub(super) fn set_stored(&mut self, stored: Stored) {
        match self {
            Held::Whole(dependent) => dependent.stored = stored,
            Held::Packed(packed) => packed.set_stored(stored),
        }
    }

    /// Touches all of it but the bytes of its record: something that means nothing.
    pub(super) fn look_at(&self) -> usize {
        match self {
            Held::Whole(dependent) => look_at(dependent),
            Held::Packed(packed) => packed.value.first().map_or(0, |byte| usize::from(*byte)),
        }
    }

    /// Its bytes, as they will be written.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Held::Whole(dependent) => &dependent.event.slice,
            Held::Packed(packed) => &packed.value,
        }
    }
}

/// Touches all of an event that waits but the bytes of its record: something that means nothing.
pub(super) fn look_at(dependent: &Dependent) -> usize {
    let seen = event::look_at(&dependent.event) ^ dependent.completed_at.0 as usize;
    dependent.references.iter().fold(seen, |seen, reference| seen ^ reference.hash.0 as usize)
}
