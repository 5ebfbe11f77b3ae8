//! Who waits for one key.

use smallvec::SmallVec;

/// The place of one that has left.
const LEFT: u32 = u32::MAX;

/// Places of events that wait for one key, in the order in which they came.
///
/// They are not linked from one to the next: where all of them are is known before the first is looked at, so that memory is asked for many at once. One that
/// leaves from the middle leaves a gap; once most are gaps the rest moves together.
#[derive(Debug, Default)]
pub(in crate::mode) struct Chain {
    places: SmallVec<[u32; 4]>,
    /// All before this one have left.
    first: usize,
    len: usize,
}

impl Chain {
    pub(in crate::mode) fn len(&self) -> usize {
        self.len
    }

    pub(in crate::mode) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds one at the end. Returns its number.
    pub(super) fn push(&mut self, place: u32) -> u32 {
        self.places.push(place);
        self.len += 1;
        narrow(self.places.len() - 1)
    }

    /// The place that has a number.
    pub(super) fn place(&self, number: u32) -> Option<u32> {
        self.places.get(number as usize).copied().filter(|place| *place != LEFT)
    }

    /// Lets one leave.
    pub(super) fn remove(&mut self, number: u32) {
        let Some(place) = self.places.get_mut(number as usize).filter(|place| **place != LEFT) else { return };
        *place = LEFT;
        self.len -= 1;
        self.skip();
    }

    /// Takes the first out.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let place = self.places.get_mut(self.first).map(|place| std::mem::replace(place, LEFT))?;
        self.len -= 1;
        self.skip();
        Some(place)
    }

    fn skip(&mut self) {
        let gaps = self.places.iter().skip(self.first).take_while(|place| **place == LEFT);
        self.first += gaps.count();
    }

    /// Those that have not left.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> {
        self.places.iter().skip(self.first).copied().filter(|place| *place != LEFT)
    }

    /// The one that came last: something to look at.
    pub(super) fn last(&self) -> usize {
        self.places.last().map_or(0, |place| *place as usize)
    }

    /// Whether most are gaps.
    pub(super) fn is_sparse(&self) -> bool {
        self.places.len() > 2 * self.len + self.places.inline_size()
    }

    /// Closes the gaps: each that is left has another number, which is that of its turn.
    pub(super) fn close_gaps(&mut self) {
        self.places.retain(|place| *place != LEFT);
        self.first = 0;
    }
}

/// There are fewer than 2³² waiting events, and a chain that has as many gaps moves together.
pub(super) fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(LEFT)
}
