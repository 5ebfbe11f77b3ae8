//! When records are given to the client: in bursts.
//!
//! An idempotent producer has one request of a partition under way. Where more of its records have lingered meanwhile, librdkafka (2.12) polls without a timeout
//! until the broker has answered: a third of a busy job's time was spent on that. So what comes is given to the client for half as long as records linger,
//! so that those of a partition share a request, and then held back until the broker has acknowledged all. Little leaves later for it: what misses a
//! partition's request would have waited in the client.

use std::time::{Duration, Instant};

/// Bytes that are held back at most.
const HELD_MAX: usize = 8 << 20;

/// Records that are held back, and when they were last let through.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// How long records linger; `None` where they are never held back.
    linger: Option<Duration>,
    /// When the burst began.
    began: Option<Instant>,
    /// By topic. Buffers that are empty keep their memory.
    topics: Vec<(String, Vec<u8>)>,
}

impl Held {
    /// Where `linger` is how long records linger with a producer whose requests wait for each other, and nothing for any other.
    pub(super) fn new(linger: Option<Duration>) -> Held {
        Held { linger, ..Held::default() }
    }

    /// Whether records may go to the client now, which has others `under_way` or not.
    pub(super) fn lets_through(&mut self, under_way: bool, now: Instant) -> bool {
        let Some(linger) = self.linger else { return true };
        if !under_way || self.bytes() >= HELD_MAX {
            self.began = Some(now);
            return true;
        }
        self.began.is_some_and(|began| now.saturating_duration_since(began) < linger / 2)
    }

    /// Whether nothing is held back.
    pub(super) fn is_empty(&self) -> bool {
        self.topics.iter().all(|(_, records)| records.is_empty())
    }

    fn bytes(&self) -> usize {
        self.topics.iter().map(|(_, records)| records.len()).sum()
    }

    /// Holds records back.
    pub(super) fn add(&mut self, topic: &str, records: &[u8]) {
        match self.topics.iter_mut().find(|(name, _)| name == topic) {
            Some((_, held)) => held.extend_from_slice(records),
            None => self.topics.push((topic.to_owned(), records.to_vec())),
        }
    }

    /// Takes all that is held back, by topic; the buffers want to be [given back](Held::give_back).
    pub(super) fn take(&mut self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.topics)
    }

    /// Takes buffers back; what is in them has been sent.
    pub(super) fn give_back(&mut self, mut topics: Vec<(String, Vec<u8>)>) {
        topics.iter_mut().for_each(|(_, records)| records.clear());
        self.topics = topics;
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
    fn a_producer_that_is_not_idempotent_is_given_all_at_once() {
        assert!(Held::new(None).lets_through(true, Instant::now()));
    }

    #[test]
    fn what_is_held_keeps_its_order_by_topic_and_is_bounded() {
        let (mut held, now) = (Held::new(Some(LINGER)), Instant::now());
        assert!(held.is_empty() && held.lets_through(false, now));
        held.add("a", b"1");
        held.add("b", b"2");
        held.add("a", b"3");
        assert!(!held.is_empty() && !held.lets_through(true, now + LINGER));
        let taken = held.take();
        assert_eq!(taken, [("a".to_owned(), b"13".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        held.give_back(taken);
        assert!(held.is_empty());
        held.add("b", &vec![0; HELD_MAX]);
        assert!(held.lets_through(true, now + LINGER));
    }
}
