//! A social network: people, what they post, comment, like, and whom they follow.
//!
//! Everything refers to what came before it, so that only disorder, delay and what never arrives make an event wait. A
//! few people and messages draw most of the attention, as in Zipf's law: the oldest people, the newest messages.

use std::io;

use serde::Serialize;

use super::random::{Purpose, Random};
use super::{Entity, Made, Referent, Stream};

/// The kinds of events.
#[derive(Clone, Copy)]
enum Kind {
    Person,
    Post,
    Comment,
    Like,
    Follow,
}

/// Which kind comes when, over and over: of 50, 2 are people, 6 posts, 13 comments, 21 likes and 8 follows. It starts
/// with what everything else needs.
const PATTERN: [Kind; 50] = {
    use Kind::{Comment as C, Follow as F, Like as L, Person, Post};
    [
        Person, Person, Post, L, C, L, F, L, C, L, Post, L, C, L, F, L, C, L, Post, L, F, C, L, L, F, //
        C, L, L, Post, C, L, F, L, C, L, C, F, Post, C, L, L, C, F, L, C, Post, L, F, L, C,
    ]
};

/// How many events of [`PATTERN`] come before each place in it, for the two kinds of ids.
const BEFORE: [(u64, u64); PATTERN.len() + 1] = count_before();

/// Time of the first event in epoch milliseconds: the start of 2012, as in LDBC's Social Network Benchmark.
const BASE_TIME_MS: u64 = 1_325_376_000_000;

/// Milliseconds between two events.
const STEP_MS: u64 = 10;

/// Words of the longest message.
const WORDS_MAX: u64 = 160;

const NAMES: [&str; 16] = [
    "Ada", "Björn", "Chen", "Dilnoza", "Edsger", "Fatima", "Grace", "Hedy", "Ines", "Jürgen", "Kofi", "Léa", "Mei",
    "Nadia", "Olu", "Zoë",
];

const WORDS: [&str; 48] = [
    "about", "again", "always", "and", "because", "before", "book", "café", "city", "day", "early", "every", "film",
    "for", "friends", "from", "good", "great", "here", "\"home\"", "if", "just", "late", "light", "long", "maybe",
    "more", "morning", "music", "naïve", "never", "night", "no", "of", "photo", "rain", "right", "said:", "slow",
    "the", "then", "thanks!", "to", "train", "we", "with", "yes", "日本",
];

#[expect(clippy::indexing_slicing, reason = "evaluated when compiled")]
const fn count_before() -> [(u64, u64); PATTERN.len() + 1] {
    let mut before = [(0, 0); PATTERN.len() + 1];
    let mut at = 0;
    while at < PATTERN.len() {
        let (people, messages) = before[at];
        before[at + 1] = match PATTERN[at] {
            Kind::Person => (people + 1, messages),
            Kind::Post | Kind::Comment => (people, messages + 1),
            Kind::Like | Kind::Follow => (people, messages),
        };
        at += 1;
    }
    before
}

/// Makes the events of one seed, each from its number alone.
#[derive(Debug)]
pub(super) struct Social {
    seed: u64,
}

/// One JSON line; the type comes first.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Person { id: u64, name: &'a str, created: u64 },
    Post { id: u64, author: u64, created: u64, content: &'a str },
    Comment { id: u64, author: u64, reply_to: u64, created: u64, content: &'a str },
    Like { person: u64, message: u64, created: u64 },
    Follow { from: u64, to: u64, created: u64 },
}

impl Social {
    pub(super) fn new(seed: u64) -> Social {
        Social { seed }
    }

    /// Whether event `number` provides an entity.
    pub(super) fn is_referent(&self, number: u64) -> bool {
        matches!(kind(number), Kind::Person | Kind::Post | Kind::Comment)
    }

    /// Appends event `number` to `line`, with its line break.
    pub(super) fn make(&mut self, number: u64, line: &mut Vec<u8>) -> io::Result<Made> {
        let mut random = Random::new(self.seed, Purpose::Content, number);
        let created = BASE_TIME_MS + number * STEP_MS;
        let (people, messages) = counts_before(number);
        let content;
        let (event, made) = match kind(number) {
            Kind::Person => {
                let (id, name) = (people + 1, pick(&mut random, &NAMES));
                (Line::Person { id, name, created }, Made::new(Stream::Person, Some(person(id)), &[]))
            }
            Kind::Post => {
                let (id, author) = (messages + 1, anybody(&mut random, people));
                content = text(&mut random);
                let event = Line::Post { id, author, created, content: &content };
                (event, Made::new(Stream::Post, Some(message(id)), &[person(author)]))
            }
            Kind::Comment => {
                let (id, author, reply_to) =
                    (messages + 1, anybody(&mut random, people), recent(&mut random, messages));
                content = text(&mut random);
                let event = Line::Comment { id, author, reply_to, created, content: &content };
                let refers_to = [person(author), message(reply_to)];
                (event, Made::new(Stream::Comment, Some(message(id)), &refers_to))
            }
            Kind::Like => {
                let (by, liked) = (anybody(&mut random, people), recent(&mut random, messages));
                let event = Line::Like { person: by, message: liked, created };
                (event, Made::new(Stream::Like, None, &[person(by), message(liked)]))
            }
            Kind::Follow => {
                let (from, to) = follower(&mut random, people);
                let event = Line::Follow { from, to, created };
                (event, Made::new(Stream::Follow, None, &[person(from), person(to)]))
            }
        };
        serde_json::to_writer(&mut *line, &event)?;
        line.push(b'\n');
        Ok(made)
    }
}

fn person(id: u64) -> Referent {
    Referent { entity: Entity::Person, id }
}

fn message(id: u64) -> Referent {
    Referent { entity: Entity::Message, id }
}

fn place_in_pattern(number: u64) -> usize {
    (number % PATTERN.len() as u64) as usize
}

#[expect(clippy::indexing_slicing, reason = "a remainder of the length")]
fn kind(number: u64) -> Kind {
    PATTERN[place_in_pattern(number)]
}

/// How many people and how many messages come before event `number`: the index of the next one of each.
#[expect(clippy::indexing_slicing, reason = "one entry more than the pattern, and a remainder of its length")]
fn counts_before(number: u64) -> (u64, u64) {
    let cycles = number / PATTERN.len() as u64;
    let (people, messages) = BEFORE[place_in_pattern(number)];
    let (people_a_cycle, messages_a_cycle) = BEFORE[PATTERN.len()];
    (cycles * people_a_cycle + people, cycles * messages_a_cycle + messages)
}

/// The id of one of `people`, all equally likely.
fn anybody(random: &mut Random, people: u64) -> u64 {
    random.below(people) + 1
}

/// The id of one of `messages`, the newest the likeliest.
fn recent(random: &mut Random, messages: u64) -> u64 {
    messages - random.zipf_below(messages)
}

/// Somebody, and whom they follow: somebody else, the oldest the likeliest.
fn follower(random: &mut Random, people: u64) -> (u64, u64) {
    let from = anybody(random, people);
    let to = random.zipf_below(people) + 1;
    if to == from { (from, to % people + 1) } else { (from, to) }
}

/// Short texts mostly, long ones now and then.
fn text(random: &mut Random) -> String {
    let words = 1 + random.zipf_below(WORDS_MAX);
    let mut text = String::with_capacity(words as usize * 8);
    for _ in 0..words {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(pick(random, &WORDS));
    }
    text
}

#[expect(clippy::indexing_slicing, reason = "a number below the length")]
fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}
