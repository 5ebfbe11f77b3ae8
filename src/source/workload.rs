//! Seeded workloads, made up on the way: what the synthetic source and `generate` have in common.
//!
//! The same settings make the same records on every machine, and a workload can be taken up at any of its records
//! without making those before it.

mod items;
mod nexmark;
mod order;
mod random;
mod social;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

pub use self::items::{ItemSettings, PAYLOAD_MAX, REACH_MAX};

use self::items::Items;
use self::nexmark::Nexmark;
use self::order::Order;
pub(super) use self::random::{Purpose, Random};
use self::social::Social;
use super::SettingsError;

/// Which events are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// People, auctions and bids, by the `nexmark` crate. A few references point at somebody who comes a little later,
    /// as Nexmark has it.
    Nexmark,
    /// People, posts, comments, likes and follows. Posts and comments share one id space, the message.
    Social,
    /// Items that refer to items, as [`ItemSettings`] say.
    Items,
}

impl Workload {
    /// All of them, with their names.
    pub const NAMED: [(&str, Workload); 3] =
        [("nexmark", Workload::Nexmark), ("social", Workload::Social), ("items", Workload::Items)];
}

/// How records come at a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Constant,
    /// As a Poisson process: independent of each other.
    Poisson,
    /// Those of a second at equal distances in its first tenth.
    Bursts,
}

impl Arrivals {
    /// All of them, with their names.
    pub const NAMED: [(&str, Arrivals); 3] =
        [("constant", Arrivals::Constant), ("poisson", Arrivals::Poisson), ("bursts", Arrivals::Bursts)];
}

/// A workload and what is done to its order.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntheticSettings {
    /// Which events are made.
    pub workload: Workload,
    /// What of [`Workload::Items`] can be set.
    pub items: ItemSettings,
    /// How many of them; 0 is without end. Repeated records come on top, those that never come are taken off.
    pub events: u64,
    /// Another seed makes other events, in another order.
    pub seed: u64,
    /// Records a second, each due at its time whatever became of those before; 0 is as fast as they are taken.
    pub rate: u64,
    /// How they come, where there is a rate.
    pub arrivals: Arrivals,
    /// Events are shuffled within windows of this many; 0 and 1 leave them in order.
    pub disorder: u64,
    /// Share of records that come once more, byte for byte, up to 1,000 events later.
    pub duplicates: f64,
    /// Share of events that come late.
    pub late: f64,
    /// By how many events those are late.
    pub late_by: u64,
    /// Share of the events that others may refer to that never come.
    pub never: f64,
}

/// The largest window: its order takes 24 bytes an event.
pub const DISORDER_MAX: u64 = 1 << 24;

/// The largest number of events, lateness or rate: a hundred days at a million a second.
pub const EVENTS_MAX: u64 = 1 << 43;

impl SyntheticSettings {
    /// All the events of a workload, in order and as fast as they are taken.
    pub fn new(workload: Workload) -> SyntheticSettings {
        SyntheticSettings {
            workload,
            items: ItemSettings::default(),
            events: 0,
            seed: 0,
            rate: 0,
            arrivals: Arrivals::Constant,
            disorder: 0,
            duplicates: 0.0,
            late: 0.0,
            late_by: 0,
            never: 0.0,
        }
    }

    /// Whether these settings can be meant.
    pub fn check(&self) -> Result<(), SettingsError> {
        for (key, found) in [("duplicates", self.duplicates), ("late", self.late), ("never", self.never)] {
            if !(0.0..=1.0).contains(&found) {
                return Err(SettingsError::Share { key, found });
            }
        }
        let numbers = [
            ("events", self.events, EVENTS_MAX),
            ("rate", self.rate, EVENTS_MAX),
            ("disorder", self.disorder, DISORDER_MAX),
            ("late_by", self.late_by, EVENTS_MAX),
        ];
        for (key, found, max) in numbers {
            if found > max {
                return Err(SettingsError::TooLarge { key, found, max });
            }
        }
        if self.late > 0.0 && self.late_by == 0 {
            return Err(SettingsError::LateByNothing { found: self.late });
        }
        self.items.check()
    }
}

/// The streams of the workloads, as their records name them in `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Of both workloads.
    Person,
    /// Of Nexmark.
    Auction,
    /// Of Nexmark.
    Bid,
    /// Of the social network.
    Post,
    /// Of the social network.
    Comment,
    /// Of the social network.
    Like,
    /// Of the social network.
    Follow,
    /// Of the items: one that refers to nothing.
    Item,
    /// Of the items: one that refers to others.
    Use,
}

impl Stream {
    /// As records name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Person => "person",
            Stream::Auction => "auction",
            Stream::Bid => "bid",
            Stream::Post => "post",
            Stream::Comment => "comment",
            Stream::Like => "like",
            Stream::Follow => "follow",
            Stream::Item => "item",
            Stream::Use => "use",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What events refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// Provided by people.
    Person,
    /// Provided by auctions.
    Auction,
    /// Provided by posts and comments.
    Message,
    /// Provided by items, those too that refer to others.
    Item,
}

/// One that events refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Referent {
    /// Its name space.
    pub entity: Entity,
    /// Its id.
    pub id: u64,
}

/// No record refers to more others.
pub const REFERENCES_MAX: usize = 8;

/// What a record that was made is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its stream.
    pub stream: Stream,
    /// What it provides.
    pub provides: Option<Referent>,
    /// What it refers to.
    pub refers_to: [Option<Referent>; REFERENCES_MAX],
}

impl Made {
    /// A record that refers to at most [`REFERENCES_MAX`] others.
    pub fn new(stream: Stream, provides: Option<Referent>, refers_to: &[Referent]) -> Made {
        let mut made = Made { stream, provides, refers_to: [None; REFERENCES_MAX] };
        made.refers_to.iter_mut().zip(refers_to).for_each(|(place, referent)| *place = Some(*referent));
        made
    }
}

#[derive(Debug)]
enum Maker {
    Nexmark(Box<Nexmark>),
    Social(Social),
    Items(Items),
}

impl Maker {
    fn is_referent(&self, number: u64) -> bool {
        match self {
            Maker::Nexmark(nexmark) => nexmark.is_referent(number),
            Maker::Social(social) => social.is_referent(number),
            Maker::Items(_) => true,
        }
    }
}

/// Records that are counted together, so that a position far on is found without making all records before it.
pub(super) const GROUP_RECORDS: usize = 4096;

/// Makes the records of a workload, one after the other.
#[derive(Debug)]
pub struct Generator {
    order: Order,
    maker: Maker,
    windows: u64,
    groups_per_window: u64,
    /// The window in `numbers`.
    window: u64,
    /// The events of the window, in their order.
    numbers: Vec<u64>,
    /// The index in `numbers` of the next record.
    next: usize,
}

impl Generator {
    /// At the start of the workload.
    ///
    /// # Errors
    /// If the settings cannot be meant.
    pub fn new(settings: &SyntheticSettings) -> Result<Generator, SettingsError> {
        settings.check()?;
        let order = Order::new(settings);
        let maker = match settings.workload {
            Workload::Nexmark => Maker::Nexmark(Box::new(Nexmark::new(settings.seed))),
            Workload::Social => Maker::Social(Social::new(settings.seed)),
            Workload::Items => Maker::Items(Items::new(settings.seed, &settings.items)),
        };
        let (windows, groups_per_window) = (order.windows(), order.records_max().div_ceil(GROUP_RECORDS as u64));
        let mut generator =
            Generator { order, maker, windows, groups_per_window, window: 0, numbers: Vec::new(), next: 0 };
        generator.enter(0);
        Ok(generator)
    }

    /// Appends the next record to `line`, with its line break, and says what it is; nothing at the end of the workload.
    ///
    /// # Errors
    /// If the crate that makes an event or the one that writes JSON fails, for which no cause is known.
    pub fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Option<Made>> {
        let Some(number) = self.peek() else { return Ok(None) };
        self.next += 1;
        match &mut self.maker {
            Maker::Nexmark(nexmark) => nexmark.make(number, line),
            Maker::Social(social) => social.make(number, line),
            Maker::Items(items) => items.make(number, line),
        }
        .map(Some)
    }

    /// The group of the next record: a run of at most [`GROUP_RECORDS`] records, numbered in their order, not without
    /// gaps.
    pub(super) fn group(&mut self) -> Option<u64> {
        self.peek().map(|_| self.window * self.groups_per_window + (self.next / GROUP_RECORDS) as u64)
    }

    /// Goes to the first record that is in `group` or after it.
    pub(super) fn go_to(&mut self, group: u64) {
        self.enter(group / self.groups_per_window);
        let group_in_window = (group % self.groups_per_window) as usize;
        self.next = self.numbers.len().min(group_in_window * GROUP_RECORDS);
    }

    /// Events whose turn has not come, about: what repeats, is late or never comes is counted as if it did not. `None`
    /// without end.
    pub(super) fn events_left(&self) -> Option<u64> {
        self.order.events().map(|events| events.saturating_sub(self.order.first_of(self.window) + self.next as u64))
    }

    /// The number of the next record's event.
    fn peek(&mut self) -> Option<u64> {
        loop {
            match self.numbers.get(self.next) {
                Some(number) => return Some(*number),
                None if self.window.saturating_add(1) < self.windows => self.enter(self.window + 1),
                None => return None,
            }
        }
    }

    /// Goes to the start of a window.
    fn enter(&mut self, window: u64) {
        self.window = window;
        self.next = 0;
        self.numbers.clear();
        if window < self.windows {
            self.order.fill(window, |number| self.maker.is_referent(number), &mut self.numbers);
        }
    }
}
