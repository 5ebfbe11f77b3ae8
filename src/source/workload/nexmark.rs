//! Nexmark: people, the auctions they open, and the bids on them, as the `nexmark` crate makes them.

use std::io;

use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::{Auction, Bid, Event, Person};
use serde::Serialize;

use super::random::{Purpose, Random};
use super::{Entity, Made, Referent, Stream};

/// Time of the first event in epoch milliseconds (2015-07-15, as in Apache Beam), so that a workload does not depend on
/// the day it is made.
const BASE_TIME_MS: u64 = 1_436_918_400_000;

/// The crate repeats its pattern of people, auctions and bids every 50 events, and picks favourites among the last 100
/// of each. A start at a multiple of this has the same pattern and the same favourites as the very first event.
const ALIGNMENT: u64 = 50 * 100;

/// Events between two seeds: more than any workload is long.
const EVENTS_BETWEEN_SEEDS: u64 = ALIGNMENT << 20;

/// Makes the events of one seed, each from its number alone.
///
/// The crate draws everything from an event's number and has no seed, so a seed is a place far on in its sequence. Ids
/// count from there, and references to what came before it are turned to somebody who came after. Seed 0 is the
/// sequence of the crate itself.
#[derive(Debug)]
pub(super) struct Nexmark {
    start: u64,
    config: NexmarkConfig,
    /// Taken out to be moved to another event and put back: it is moved by value only, and costly to make.
    generator: Option<EventGenerator>,
}

/// One JSON line; the type comes first.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Person(&'a Person),
    Auction(&'a Auction),
    Bid(&'a Bid),
}

impl Nexmark {
    pub(super) fn new(seed: u64) -> Nexmark {
        let start = match seed {
            0 => 0,
            _ => (1 + Random::new(seed, Purpose::Start, 0).below(1 << 24)) * EVENTS_BETWEEN_SEEDS,
        };
        let config =
            NexmarkConfig { first_event_id: start as usize, base_time: BASE_TIME_MS, ..NexmarkConfig::default() };
        Nexmark { start, config, generator: None }
    }

    /// Whether event `number` provides an entity.
    pub(super) fn is_referent(&self, number: u64) -> bool {
        number % self.cycle() < (self.config.person_proportion + self.config.auction_proportion) as u64
    }

    /// Appends event `number` to `line`, with its line break.
    pub(super) fn make(&mut self, number: u64, line: &mut Vec<u8>) -> io::Result<Made> {
        let generator = self.generator.take().unwrap_or_else(|| EventGenerator::new(self.config.clone()));
        let mut generator = generator.with_offset(number);
        let event = generator.next();
        self.generator = Some(generator);
        let made = match event {
            Some(Event::Person(person)) => self.person(person, line)?,
            Some(Event::Auction(auction)) => self.auction(number, auction, line)?,
            Some(Event::Bid(bid)) => self.bid(number, bid, line)?,
            None => return Err(io::Error::other("the Nexmark generator has ended")),
        };
        line.push(b'\n');
        Ok(made)
    }

    fn person(&self, mut person: Person, line: &mut Vec<u8>) -> io::Result<Made> {
        person.id -= self.people_before();
        serde_json::to_writer(line, &Line::Person(&person))?;
        let provides = Some(Referent { entity: Entity::Person, id: person.id as u64 });
        Ok(Made::new(Stream::Person, provides, &[]))
    }

    fn auction(&self, number: u64, mut auction: Auction, line: &mut Vec<u8>) -> io::Result<Made> {
        auction.id -= self.auctions_before();
        auction.seller = self.person_id(number, auction.seller);
        serde_json::to_writer(line, &Line::Auction(&auction))?;
        let provides = Some(Referent { entity: Entity::Auction, id: auction.id as u64 });
        let seller = Referent { entity: Entity::Person, id: auction.seller as u64 };
        Ok(Made::new(Stream::Auction, provides, &[seller]))
    }

    fn bid(&self, number: u64, mut bid: Bid, line: &mut Vec<u8>) -> io::Result<Made> {
        bid.auction = self.auction_id(number, bid.auction);
        bid.bidder = self.person_id(number, bid.bidder);
        serde_json::to_writer(line, &Line::Bid(&bid))?;
        let auction = Referent { entity: Entity::Auction, id: bid.auction as u64 };
        let bidder = Referent { entity: Entity::Person, id: bid.bidder as u64 };
        Ok(Made::new(Stream::Bid, None, &[auction, bidder]))
    }

    fn cycle(&self) -> u64 {
        (self.config.person_proportion + self.config.auction_proportion + self.config.bid_proportion) as u64
    }

    fn people_before(&self) -> usize {
        (self.start / self.cycle()) as usize * self.config.person_proportion
    }

    fn auctions_before(&self) -> usize {
        (self.start / self.cycle()) as usize * self.config.auction_proportion
    }

    fn person_id(&self, number: u64, id: usize) -> usize {
        let cycles = (number / self.cycle() + 1) as usize;
        counted_from(id, self.config.first_person_id, self.people_before(), cycles * self.config.person_proportion)
    }

    fn auction_id(&self, number: u64, id: usize) -> usize {
        let cycles = (number / self.cycle() + 1) as usize;
        counted_from(id, self.config.first_auction_id, self.auctions_before(), cycles * self.config.auction_proportion)
    }
}

/// The crate's `id` without the ids `before` the start; one from before is turned to one of the `present` ones.
fn counted_from(id: usize, first: usize, before: usize, present: usize) -> usize {
    match id.checked_sub(before + first) {
        Some(index) => first + index,
        None => first + id % present,
    }
}
