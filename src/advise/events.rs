//! When whole events are complete: when the last of all that they refer to has come.
//!
//! That can be told only where all keys are looked at: an event of which some references are not followed would seem complete too early.

use slab::Slab;
use smallvec::SmallVec;

use super::lags::Lags;
use crate::dependency::Rules;

/// No event.
pub(super) const NONE: u32 = u32::MAX;

/// An event that may lack something.
#[derive(Debug)]
struct Held {
    stream: u16,
    /// Its arrival.
    since: i64,
    parts: SmallVec<[Part; 2]>,
}

/// The references of an event by one dependency.
#[derive(Clone, Copy, Debug)]
struct Part {
    dependency: u16,
    missing: u32,
    /// The longest lag of those whose referent came.
    lag: u64,
}

/// The events of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct OfStream {
    /// All.
    pub(super) events: u64,
    /// Of those that are complete, how long after their arrival.
    pub(super) complete: Lags,
    /// Those that lack what will not come any more.
    pub(super) never: u64,
    /// Those of which that cannot be told.
    pub(super) undecided: u64,
    /// The same of those that refer by one dependency, by dependency.
    pub(super) by: Vec<ByDependency>,
}

/// The events that refer by one dependency.
#[derive(Clone, Debug, Default)]
pub(super) struct ByDependency {
    /// How long after their arrival they had all that this dependency names.
    pub(super) own: Lags,
    /// How long those that lack some of it have waited at the end of the sample.
    pub(super) own_waiting: Lags,
    /// Of these, those that may still get it, and have waited longer than the target.
    pub(super) own_beyond: u64,
    /// How long after their arrival they were complete.
    pub(super) whole: Lags,
    /// Those that may still be, and have waited longer than the target.
    pub(super) whole_beyond: u64,
}

/// Follows the events of a sample.
#[derive(Debug)]
pub(super) struct Events {
    held: Slab<Held>,
    /// `None` where not all keys are looked at, or there is no time.
    streams: Option<Vec<OfStream>>,
}

impl Events {
    /// How many lags are within `bounds` is counted exactly.
    pub(super) fn new(rules: &Rules, has_time: bool, bounds: &[u64]) -> Events {
        let lags = || Lags::new(bounds);
        let by = || ByDependency { own: lags(), whole: lags(), ..ByDependency::default() };
        let of =
            |dependencies: usize| OfStream { complete: lags(), by: vec![by(); dependencies], ..OfStream::default() };
        let streams = rules.streams().iter().map(|stream| of(stream.depends_on.len()));
        Events { held: Slab::new(), streams: has_time.then(|| streams.collect()) }
    }

    /// Bytes of the table.
    pub(super) fn memory(&self) -> usize {
        self.held.len() * size_of::<Held>()
    }

    /// Not all keys are looked at from here on: nothing can be said of whole events.
    pub(super) fn give_up(&mut self) {
        (self.held, self.streams) = (Slab::new(), None);
    }

    /// An event arrives; its references are to be added, and then it is to be [settled](Events::settle).
    pub(super) fn begin(&mut self, stream: u16, since: i64) -> u32 {
        let Some(of) = self.streams.as_mut().and_then(|streams| streams.get_mut(usize::from(stream))) else {
            return NONE;
        };
        of.events += 1;
        self.held.insert(Held { stream, since, parts: SmallVec::new() }) as u32
    }

    /// A reference of an event whose referent is there after so many ticks; `None` where it is missing.
    pub(super) fn add(&mut self, event: u32, dependency: u16, lag: Option<u64>) {
        let Some(held) = self.held.get_mut(event as usize) else { return };
        let (missing, lag) = (u32::from(lag.is_none()), lag.unwrap_or(0));
        match held.parts.iter_mut().find(|part| part.dependency == dependency) {
            Some(part) => (part.missing, part.lag) = (part.missing + missing, part.lag.max(lag)),
            None => held.parts.push(Part { dependency, missing, lag }),
        }
    }

    /// A missing referent of an event has come, so many ticks after the event.
    pub(super) fn found(&mut self, event: u32, dependency: u16, lag: u64) {
        let parts = self.held.get_mut(event as usize).map(|held| held.parts.iter_mut());
        if let Some(part) = parts.and_then(|mut parts| parts.find(|part| part.dependency == dependency)) {
            (part.missing, part.lag) = (part.missing.saturating_sub(1), part.lag.max(lag));
            self.settle(event);
        }
    }

    /// Counts an event that lacks nothing.
    pub(super) fn settle(&mut self, event: u32) {
        if self.held.get(event as usize).is_none_or(|held| held.parts.iter().any(|part| part.missing > 0)) {
            return;
        }
        let Some(Held { stream, parts, .. }) = self.held.try_remove(event as usize) else { return };
        let Some(of) = self.streams.as_mut().and_then(|streams| streams.get_mut(usize::from(stream))) else { return };
        let whole = parts.iter().map(|part| part.lag).max().unwrap_or(0);
        of.complete.add(whole, 1);
        for part in parts {
            if let Some(by) = of.by.get_mut(usize::from(part.dependency)) {
                by.own.add(part.lag, 1);
                by.whole.add(whole, 1);
            }
        }
    }

    /// By stream, when the sample ends. `age` says how long ago a tick was; `horizon`, of a stream and a dependency, after how long a referent does not come any
    /// more; `target` is that of events.
    pub(super) fn finish(
        self,
        age: impl Fn(i64) -> u64,
        horizon: impl Fn(u16, u16) -> u64,
        target: u64,
    ) -> Option<Vec<OfStream>> {
        let mut streams = self.streams?;
        for (_, Held { stream, since, parts }) in self.held {
            let (age, Some(of)) = (age(since), streams.get_mut(usize::from(stream))) else { continue };
            let is_over = |part: &Part| part.missing > 0 && age > horizon(stream, part.dependency);
            let is_never = parts.iter().any(is_over);
            of.never += u64::from(is_never);
            of.undecided += u64::from(!is_never);
            for part in &parts {
                let Some(by) = of.by.get_mut(usize::from(part.dependency)) else { continue };
                by.whole_beyond += u64::from(!is_never && age > target);
                if part.missing == 0 {
                    by.own.add(part.lag, 1);
                } else {
                    by.own_waiting.add(age, 1);
                    by.own_beyond += u64::from(!is_over(part) && age > target);
                }
            }
        }
        Some(streams)
    }
}
