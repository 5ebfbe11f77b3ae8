//! When waits end, and what their end does. Pure functions of an event, its rules and the time; and the queue of deadlines.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::dependency::{Dependency, Mode, OnExpiry, Rules, SecondExpiry, Stream};
use crate::event::{Dependent, DroppedReason, Found, Reference, Timestamp};

use super::table::{Table, WaiterId};

/// What the passing of time has done to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It waits on.
    Waits,
    /// It ends `expired`.
    Expires,
    /// It ends `dropped`.
    Drops(DroppedReason),
}

/// What one passed deadline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    DeadLetter,
    Drop,
    Partial,
    WaitOn,
}

/// The dependency that a reference is one of. References are made from their stream's rules, so there is one.
fn rule<'a>(stream: &'a Stream, reference: &Reference) -> Option<&'a Dependency> {
    stream.depends_on.get(usize::from(reference.dependency))
}

/// The earliest deadline among what an event lacks.
pub fn next(dependent: &Dependent) -> Option<Timestamp> {
    dependent.missing().map(|r| r.deadline).min().filter(|due| *due < Timestamp::MAX)
}

/// Whether an event waits for a deferred reference: one whose mode is that, or whose streaming wait has ended with `defer`.
pub fn lacks_deferred(rules: &Rules, dependent: &Dependent) -> bool {
    let stream = rules.stream(dependent.event.header.header.stream);
    dependent.missing().any(|r| {
        rule(stream, r)
            .is_some_and(|d| d.mode == Mode::Deferred || (r.overdue && matches!(d.on_expiry, OnExpiry::Defer { .. })))
    })
}

/// What a deadline that has passed does, in the first or the second wait.
fn act(rule: &Dependency, overdue: bool) -> Act {
    match rule.on_expiry {
        OnExpiry::DeadLetter => Act::DeadLetter,
        OnExpiry::Drop => Act::Drop,
        OnExpiry::Partial => Act::Partial,
        OnExpiry::Keep => Act::WaitOn,
        OnExpiry::Defer { .. } if !overdue => Act::WaitOn,
        OnExpiry::Defer { then, .. } => match then {
            SecondExpiry::DeadLetter => Act::DeadLetter,
            SecondExpiry::Drop => Act::Drop,
            SecondExpiry::Partial => Act::Partial,
            SecondExpiry::Keep => Act::WaitOn,
        },
    }
}

/// Lets every deadline up to `now` do what it does, the earliest first; where two pass at one time a dead letter comes before a drop.
pub(super) fn judge(rules: &Rules, dependent: &mut Dependent, now: Timestamp) -> Verdict {
    let stream = rules.stream(dependent.event.header.header.stream);
    while let Some((_, act, at)) = first_due(stream, dependent, now) {
        let Some(reference) = dependent.references.get_mut(at) else { break };
        match act {
            Act::DeadLetter => return Verdict::Expires,
            Act::Drop => return Verdict::Drops(DroppedReason::Deadline),
            Act::Partial => reference.found = Found::GivenUp,
            Act::WaitOn => {
                let second = rule(stream, reference).and_then(|rule| match rule.on_expiry {
                    OnExpiry::Defer { wait, then } if then != SecondExpiry::Keep => wait,
                    _ => None,
                });
                reference.deadline = second.map_or(Timestamp::MAX, |wait| reference.deadline.after(wait));
                reference.overdue = true;
            }
        }
    }
    Verdict::Waits
}

fn first_due(stream: &Stream, dependent: &Dependent, now: Timestamp) -> Option<(Timestamp, Act, usize)> {
    let missing = dependent.references.iter().enumerate().filter(|(_, r)| is_missing(r) && r.deadline <= now);
    let acts = missing.filter_map(|(at, r)| Some((r.deadline, act(rule(stream, r)?, r.overdue), at)));
    acts.min()
}

fn is_missing(reference: &Reference) -> bool {
    matches!(reference.found, Found::Missing | Found::Unknown)
}

/// What the end of the input does to an event that still waits (`--until-end=expire`): each missing reference ends as its `on_expiry` says, `defer` and
/// `keep` as a dead letter, and one without a `wait` too.
pub(super) fn judge_at_end(rules: &Rules, dependent: &mut Dependent) -> Verdict {
    let stream = rules.stream(dependent.event.header.header.stream);
    let mut worst = Act::Partial;
    for reference in dependent.missing() {
        let act = match rule(stream, reference) {
            Some(rule) if rule.wait.is_some() => match act(rule, reference.overdue) {
                Act::WaitOn => Act::DeadLetter,
                act => act,
            },
            _ => Act::DeadLetter,
        };
        worst = worst.min(act);
    }
    match worst {
        Act::DeadLetter => Verdict::Expires,
        Act::Drop => Verdict::Drops(DroppedReason::Deadline),
        Act::Partial | Act::WaitOn => {
            for reference in &mut dependent.references {
                if matches!(reference.found, Found::Missing | Found::Unknown) {
                    reference.found = Found::GivenUp;
                }
            }
            Verdict::Waits
        }
    }
}

/// Memory that a deadline takes: the heap of them grows by doubling, and so is three quarters full on average.
pub const DEADLINE_BYTES: usize = size_of::<Reverse<(Timestamp, WaiterId, u64)>>() * 4 / 3;

/// The deadlines of the events in memory, the earliest first.
///
/// An event that leaves early stays in the heap until its deadline or until half of the heap is such remains, so that leaving costs nothing.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Timestamp, WaiterId, u64)>>,
}

impl Deadlines {
    pub(super) fn add(&mut self, at: Timestamp, waiter: WaiterId, ticket: u64) {
        self.heap.push(Reverse((at, waiter, ticket)));
    }

    /// The next event whose deadline is not after `now`, and that still waits.
    pub(super) fn pop_due(&mut self, now: Timestamp, table: &Table) -> Option<WaiterId> {
        while let Some(Reverse((at, waiter, ticket))) = self.heap.peek().copied() {
            if at > now {
                return None;
            }
            self.heap.pop();
            if is_live(table, waiter, ticket) {
                return Some(waiter);
            }
        }
        None
    }

    /// The earliest of the events that still wait.
    pub(super) fn first(&mut self, table: &Table) -> Option<Timestamp> {
        while let Some(Reverse((at, waiter, ticket))) = self.heap.peek().copied() {
            if is_live(table, waiter, ticket) {
                return Some(at);
            }
            self.heap.pop();
        }
        None
    }

    /// Drops the remains of events that have left, once they are the greater part.
    pub(super) fn compact(&mut self, table: &Table) {
        if self.heap.len() > 2 * table.waiters_len() + 1024 {
            self.heap.retain(|Reverse((_, waiter, ticket))| is_live(table, *waiter, *ticket));
        }
    }

    /// Entries, with those of events that have left.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Bytes of the heap.
    pub(super) fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Reverse<(Timestamp, WaiterId, u64)>>()
    }
}

fn is_live(table: &Table, waiter: WaiterId, ticket: u64) -> bool {
    table.waiter(waiter).is_some_and(|w| w.ticket == ticket)
}
