//! When records are given to the client: in bursts.
//!
//! An idempotent producer has one request of a partition under way. Where more of its records have lingered meanwhile, librdkafka (2.12) polls without a timeout
//! until the broker has answered: a third of a busy job's time was spent on that. So what comes is given to the client for half as long as records linger,
//! so that those of a partition share a request, and then held back until the broker has acknowledged all. Little leaves later for it: what misses a
//! partition's request would have waited in the client.
//!
//! A burst is not large either: what the client allocates for it is still in the processor's caches when it is freed, and all of it is given before what came
//! first has lingered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes of a burst, and at most one piece more.
const BURST: usize = 512 << 10;

/// Bytes up to which records are held back as one piece.
const PIECE: usize = 128 << 10;

/// Bytes that are held back at most.
const HELD_MAX: usize = 8 << 20;

/// Records that are held back, and the burst that they wait for.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// How long records linger; `None` where they are never held back.
    linger: Option<Duration>,
    /// When the burst began.
    began: Option<Instant>,
    /// Bytes that were let through in it.
    let_through: usize,
    /// In the order in which they came, each of one topic.
    pieces: VecDeque<(String, Vec<u8>)>,
    bytes: usize,
    /// Buffers of pieces that were sent.
    spare: Vec<Vec<u8>>,
}

impl Held {
    /// Where `linger` is how long records linger with a producer whose requests wait for each other, and nothing for any other.
    pub(super) fn new(linger: Option<Duration>) -> Held {
        Held { linger, ..Held::default() }
    }

    /// Whether records may go to the client now, which has others `under_way` or not.
    pub(super) fn lets_through(&mut self, under_way: bool, now: Instant) -> bool {
        let Some(linger) = self.linger else { return true };
        if !under_way || self.bytes >= HELD_MAX {
            (self.began, self.let_through) = (Some(now), 0);
            return true;
        }
        self.let_through < BURST && self.began.is_some_and(|began| now.saturating_duration_since(began) < linger / 2)
    }

    /// Notes that so many bytes of records go to the client.
    pub(super) fn goes(&mut self, bytes: usize) {
        self.let_through += bytes;
    }

    /// Whether nothing is held back.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Holds records back.
    pub(super) fn add(&mut self, topic: &str, records: &[u8]) {
        self.bytes += records.len();
        match self.pieces.back_mut() {
            Some((name, held)) if name == topic && held.len() + records.len() <= PIECE => {
                held.extend_from_slice(records);
            }
            _ => {
                let mut piece = self.spare.pop().unwrap_or_default();
                piece.extend_from_slice(records);
                self.pieces.push_back((topic.to_owned(), piece));
            }
        }
    }

    /// Takes the first records that are held back, with their topic, to be sent and then [given back](Held::give_back).
    pub(super) fn take(&mut self) -> Option<(String, Vec<u8>)> {
        let (topic, records) = self.pieces.pop_front()?;
        self.bytes -= records.len();
        Some((topic, records))
    }

    /// Takes a buffer back; what is in it has been sent.
    pub(super) fn give_back(&mut self, mut sent: Vec<u8>) {
        self.goes(sent.len());
        sent.clear();
        if self.spare.len() < BURST / PIECE {
            self.spare.push(sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_millis(5);

    #[test]
    fn a_burst_lasts_half_as_long_as_records_linger_and_the_next_begins_when_all_is_acknowledged() {
        let (mut held, start) = (Held::new(Some(LINGER)), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        for (millis, under_way, lets_through) in [
            (0, false, true),
            (1, true, true),
            (2, true, true),
            (3, true, false),
            (30, true, false),
            (31, false, true),
            (33, true, true),
            (34, true, false),
        ] {
            assert_eq!(held.lets_through(under_way, after(millis)), lets_through, "after {millis} ms");
        }
    }

    #[test]
    fn a_burst_is_over_when_it_is_large() {
        let (mut held, now) = (Held::new(Some(LINGER)), Instant::now());
        assert!(held.lets_through(false, now));
        held.goes(BURST - 1);
        assert!(held.lets_through(true, now));
        held.give_back(vec![0]);
        assert!(!held.lets_through(true, now));
        assert!(held.lets_through(false, now) && held.lets_through(true, now));
    }

    #[test]
    fn a_producer_that_is_not_idempotent_is_given_all_at_once() {
        let mut held = Held::new(None);
        held.goes(2 * BURST);
        assert!(held.lets_through(true, Instant::now()));
    }

    #[test]
    fn what_is_held_keeps_its_order_and_is_bounded() {
        let (mut held, now) = (Held::new(Some(LINGER)), Instant::now());
        assert!(held.is_empty() && held.lets_through(false, now));
        for (topic, records) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")] {
            held.add(topic, records.as_bytes());
        }
        held.add("a", &vec![0; PIECE]);
        assert!(!held.is_empty() && !held.lets_through(true, now + LINGER));
        for (topic, records) in [("a", "12"), ("b", "3"), ("a", "4")] {
            let taken = held.take().unwrap();
            assert_eq!(taken, (topic.to_owned(), records.as_bytes().to_vec()));
            held.give_back(taken.1);
        }
        assert_eq!(held.take().unwrap().1.len(), PIECE);
        assert!(held.is_empty() && held.take().is_none());
        held.add("b", &vec![0; HELD_MAX]);
        assert!(held.lets_through(true, now + LINGER));
        held.take();
        assert!(!held.lets_through(true, now + LINGER + LINGER));
    }
}
