//! Which version of a referent may be current, and when.

use crate::dependency::Rules;
use crate::event::{Event, EventHeader, Timestamp, is_tombstone};

/// Arrivals of one key in one step, up to which every order is tried out.
const ORDERS_MAX: usize = 6;

/// The versions of a referent.
#[derive(Default)]
pub(super) struct Versions {
    /// All that ever came: after a restart any order of them is possible.
    pub(super) all: Vec<Event>,
    /// The one that is current if everything happened in the order in which it was told.
    pub(super) current: Option<Event>,
    /// Versions that tombstones hide, each with the arrival of the tombstone: they are there for those who arrived no later.
    pub(super) hidden: Vec<(Event, Timestamp)>,
    /// Where the current one is a tombstone: the arrival of the first tombstone since there was another version.
    pub(super) deleted_at: Timestamp,
    /// Came in this step.
    pub(super) arrived: Vec<Event>,
    /// By step: what was current at some moment of it, and what may be at its end.
    pub(super) eras: Vec<Era>,
}

impl Versions {
    /// The version that is there for an event that arrived at `arrival`.
    pub(super) fn find(&self, rules: &Rules, arrival: Timestamp) -> Option<Event> {
        let current = self.current.iter().filter(|event| !is_tombstone(event));
        let hidden = self.hidden.iter().rev().filter(|(_, at)| arrival <= *at).map(|(event, _)| event);
        current.chain(hidden).find(|event| arrival < until(rules, event)).cloned()
    }

    /// Gives a version that comes its place.
    pub(super) fn take_in(&mut self, rules: &Rules, new: &Event, now: Timestamp) {
        match self.current.take() {
            Some(old) if stays(rules, &old, new, now) => {
                if is_tombstone(&old) && !is_tombstone(new) {
                    self.hidden.push((new.clone(), self.deleted_at));
                }
                self.current = Some(old);
            }
            old => {
                if !old.as_ref().is_some_and(is_tombstone) {
                    self.deleted_at = new.header.header.arrival;
                }
                let hidden = old.filter(|old| is_tombstone(new) && !is_tombstone(old));
                self.hidden.extend(hidden.map(|old| (old, self.deleted_at)));
                self.current = Some(new.clone());
            }
        }
    }
}

pub(super) struct Era {
    pub(super) step: u64,
    pub(super) during: Vec<Event>,
    pub(super) after: Vec<Event>,
}

/// When a referent is forgotten. It is never there for an event that arrives then or later, and always for one that arrived before.
pub(super) fn until(rules: &Rules, event: &Event) -> Timestamp {
    let header = &event.header.header;
    rules.stream(header.stream).retain.map_or(Timestamp::MAX, |retain| header.arrival.after(retain))
}

/// Whether a version stays when another comes: one that is forgotten already when it is resolved is for those who waited before, and replaces nothing
/// that is kept longer.
fn stays(rules: &Rules, old: &Event, new: &Event, now: Timestamp) -> bool {
    if is_tombstone(old) {
        return !replaces(&new.header.header, &old.header.header);
    }
    if until(rules, new) <= now && !is_tombstone(new) {
        return until(rules, new) <= until(rules, old);
    }
    until(rules, old) > now && !replaces(&new.header.header, &old.header.header)
}

/// Within a partition a lower position never replaces a higher one; across them the later arrival decides, or the greater time where both have one.
fn replaces(new: &EventHeader, old: &EventHeader) -> bool {
    if new.id.partition == old.id.partition {
        return new.id.offset > old.id.offset;
    }
    match (new.time, old.time) {
        (Some(new_time), Some(old_time)) if new_time != old_time => new_time > old_time,
        _ => new.arrival >= old.arrival,
    }
}

pub(super) fn include(all: &mut Vec<Event>, event: &Event) {
    if !all.iter().any(|one| one.header.header.id == event.header.header.id) {
        all.push(event.clone());
    }
}

/// Which versions may be current at some moment while these arrive, in any order, and which may be when they all have.
pub(super) fn moments(before: &[Event], arrived: &[Event]) -> (Vec<Event>, Vec<Event>) {
    let mut during = before.to_vec();
    if arrived.len() > ORDERS_MAX {
        arrived.iter().for_each(|event| include(&mut during, event));
        return (during.clone(), during);
    }
    // By the set of those that have arrived, as bits: what may be current then.
    let mut current: Vec<Vec<Option<Event>>> = vec![Vec::new(); 1 << arrived.len()];
    if let Some(first) = current.first_mut() {
        first.extend(before.iter().cloned().map(Some));
        if first.is_empty() {
            first.push(None);
        }
    }
    for set in 0..current.len() {
        for old in current.get(set).cloned().unwrap_or_default() {
            for (at, new) in arrived.iter().enumerate().filter(|(at, _)| set & (1 << at) == 0) {
                let header = &new.header.header;
                let next = match &old {
                    Some(old) if !replaces(header, &old.header.header) => {
                        if is_tombstone(old) {
                            // It is there for those who arrived before the tombstone.
                            include(&mut during, new);
                        }
                        old.clone()
                    }
                    _ => new.clone(),
                };
                include(&mut during, &next);
                if let Some(after) = current.get_mut(set | (1 << at)) {
                    let is_new = !after.iter().flatten().any(|one| one.header.header.id == next.header.header.id);
                    after.extend(is_new.then_some(Some(next)));
                }
            }
        }
    }
    let after = current.pop().into_iter().flatten().flatten().collect();
    (during, after)
}
