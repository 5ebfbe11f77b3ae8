//! Items that refer to items: how many do, to how many, how unevenly, and how large they are, are knobs.
//!
//! Every event is an item, with an id of its own, so that what there is to remember is the same whatever the knobs say.
//! An item refers to items before it, among the latest [`ItemSettings::reach`] of them. One of any that many items in a
//! row is as popular as the one that came that many before it: an item takes over the part of an earlier one.

use std::io::{self, Write as _};

use super::random::{Purpose, Random, Share};
use super::{Entity, Made, REFERENCES_MAX, Referent, SettingsError, Stream};

/// What of the workload of items can be set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ItemSettings {
    /// Share of items that refer to others. They come at equal distances.
    pub dependents: f64,
    /// To how many each of these refers; the very first to fewer.
    pub references: u64,
    /// Among how many of the latest items those are.
    pub reach: u64,
    /// Share of the references by Zipf's law (its exponent about 1); the others are uniform.
    pub skew: f64,
    /// Bytes of text in each item.
    pub payload: u64,
}

impl Default for ItemSettings {
    fn default() -> Self {
        ItemSettings { dependents: 0.5, references: 1, reach: 10_000, skew: 0.0, payload: 100 }
    }
}

/// The largest [`ItemSettings::reach`].
pub const REACH_MAX: u64 = 1 << 30;

/// The largest [`ItemSettings::payload`]: a record stays below what a position of the workload has room for.
pub const PAYLOAD_MAX: u64 = 3_500;

/// A prime beyond [`REACH_MAX`]: what it multiplies is scattered over any number of places, none of which is taken twice.
const SCATTER: u64 = 2_654_435_761;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl ItemSettings {
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        for (key, found) in [("dependents", self.dependents), ("skew", self.skew)] {
            if !(0.0..=1.0).contains(&found) {
                return Err(SettingsError::Share { key, found });
            }
        }
        let numbers = [
            ("references", self.references, REFERENCES_MAX as u64),
            ("reach", self.reach, REACH_MAX),
            ("payload", self.payload, PAYLOAD_MAX),
        ];
        for (key, found, max) in numbers {
            if found > max {
                return Err(SettingsError::TooLarge { key, found, max });
            }
        }
        for (key, found) in [("references", self.references), ("reach", self.reach)] {
            if found == 0 {
                return Err(SettingsError::Zero { key });
            }
        }
        Ok(())
    }
}

/// Makes the items of one seed, each from its number alone.
#[derive(Debug)]
pub(super) struct Items {
    seed: u64,
    /// Of 2^32 items, so many refer to others.
    dependents: u64,
    references: usize,
    reach: u64,
    skew: Share,
    payload: usize,
}

impl Items {
    pub(super) fn new(seed: u64, settings: &ItemSettings) -> Items {
        Items {
            seed,
            dependents: (settings.dependents * (1_u64 << 32) as f64) as u64,
            references: settings.references as usize,
            reach: settings.reach,
            skew: Share::new(settings.skew),
            payload: settings.payload as usize,
        }
    }

    /// Appends item `number` to `line`, with its line break.
    pub(super) fn make(&mut self, number: u64, line: &mut Vec<u8>) -> io::Result<Made> {
        let mut random = Random::new(self.seed, Purpose::Content, number);
        let item = |number| Referent { entity: Entity::Item, id: number + 1 };
        let mut made = Made::new(Stream::Item, Some(item(number)), &[]);
        if self.is_dependent(number) && number > 0 {
            made.stream = Stream::Use;
            for place in made.refers_to.iter_mut().take(self.references) {
                *place = Some(item(self.referred_to(&mut random, number)));
            }
        }
        write!(line, "{{\"type\":\"{}\",\"id\":{}", made.stream, number + 1)?;
        let mut separator = ",\"items\":[";
        for referent in made.refers_to.iter().flatten() {
            write!(line, "{separator}{}", referent.id)?;
            separator = ",";
        }
        line.extend_from_slice(if made.stream == Stream::Use { b"],\"text\":\"" } else { b",\"text\":\"" });
        self.put_text(&mut random, line);
        line.extend_from_slice(b"\"}\n");
        Ok(made)
    }

    /// Dependents are spread evenly: with every item their number grows by the share, and one comes where it passes a whole.
    fn is_dependent(&self, number: u64) -> bool {
        let before = |number: u64| (u128::from(number) * u128::from(self.dependents)) >> 32;
        before(number + 1) > before(number)
    }

    /// The number of an item before `number`.
    fn referred_to(&self, random: &mut Random, number: u64) -> u64 {
        let places = self.reach.min(number);
        if places < self.reach {
            // Not all places are taken yet.
            return random.below(places);
        }
        let rank = if random.chance(self.skew) { random.zipf_below(places) } else { random.below(places) };
        let place = (u128::from(rank) * u128::from(SCATTER) % u128::from(places)) as u64;
        // The latest item before this one that is in the place.
        let back = (number - 1 + places - place) % places;
        number - 1 - back
    }

    /// Text that compresses to three quarters: six random bits a byte.
    fn put_text(&self, random: &mut Random, line: &mut Vec<u8>) {
        let mut left = self.payload;
        while left > 0 {
            let mut bits = random.bits();
            let now = left.min(10);
            for _ in 0..now {
                #[expect(clippy::indexing_slicing, reason = "six bits are below 64")]
                line.push(LETTERS[(bits & 63) as usize]);
                bits >>= 6;
            }
            left -= now;
        }
    }
}
