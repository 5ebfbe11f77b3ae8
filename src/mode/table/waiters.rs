//! The slab of waiting events.

use super::chain::narrow;
use super::{Waiter, WaiterId};

/// Waiting events, each in a place that is used again when it has left.
///
/// What the crate `slab` does, but the free places are known without looking into them: they were left long ago and are in no cache, and a burst of events
/// comes to wait faster when memory is asked for all their places at once.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    places: Vec<Option<Waiter>>,
    free: Vec<u32>,
}

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, waiter: Waiter) -> WaiterId {
        if let Some(free) = self.free.pop()
            && let Some(place) = self.places.get_mut(free as usize)
        {
            *place = Some(waiter);
            return WaiterId(free);
        }
        self.places.push(Some(waiter));
        WaiterId(narrow(self.places.len() - 1))
    }

    pub(super) fn get(&self, place: u32) -> Option<&Waiter> {
        self.places.get(place as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut Waiter> {
        self.places.get_mut(place as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<Waiter> {
        let waiter = self.places.get_mut(place as usize)?.take()?;
        self.free.push(place);
        Some(waiter)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (WaiterId, &Waiter)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(at, place)| Some((WaiterId(narrow(at)), place.as_ref()?)))
    }

    /// Looks at the places of the next `count` that come: something that means nothing.
    pub(super) fn look_at_free(&self, count: usize) -> usize {
        let next = self.free.iter().rev().take(count);
        next.filter(|place| self.get(**place).is_some()).count()
    }
}
