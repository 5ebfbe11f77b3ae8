//! Tells a torn write-ahead log from a damaged one, before RocksDB touches either.
//!
//! RocksDB offers two answers to a log with a bad record: refuse to open, also after a plain power loss that left a hole in
//! the last write; or open without the bad record and all that follow, also when they were durable. This look beforehand
//! tells the two apart. Every batch is one record, and no write is begun before the one before it is durable; so
//! a bad record with an intact one after it was once whole, and is damage. A bad record with nothing after it is the last
//! write, torn.
//!
//! The layout (RocksDB's `db/log_format.h`): blocks of 32 KiB, in them fragments of a header (checksum, length, type) and
//! data. A record is one `FULL` fragment, or `FIRST`, any number of `MIDDLE`, `LAST`. No fragment crosses a block; fewer
//! than 7 bytes at the end of a block are unused.

const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// After a whole record, or empty.
    Whole,
    /// In a record that is bad, whose first byte is here; none follows it.
    Torn(usize),
    /// The record at this byte is bad, and an intact one begins after it.
    Damaged(usize),
}

/// Reads a whole log and says how it ends.
pub(crate) fn tail(log: &[u8]) -> Tail {
    let mut at = 0;
    let mut record = None;
    while at < log.len() {
        let block_end = (at / BLOCK + 1) * BLOCK;
        if block_end - at < HEADER {
            at = block_end;
            continue;
        }
        let fragment = fragment(log, at);
        let start = record.unwrap_or(at);
        record = match (fragment, record) {
            (Some((FIRST, _)), None) | (Some((MIDDLE, _)), Some(_)) => Some(start),
            (Some((FULL, _)), None) | (Some((LAST, _)), Some(_)) => None,
            _ => return if begins_after(log, at) { Tail::Damaged(start) } else { Tail::Torn(start) },
        };
        at += fragment.map_or(HEADER, |(_, length)| HEADER + length);
    }
    record.map_or(Tail::Whole, Tail::Torn)
}

/// Whether an intact fragment that begins a record lies anywhere after the fragment at `bad`, whose length is in doubt.
fn begins_after(log: &[u8], bad: usize) -> bool {
    (bad + 1..log.len()).any(|at| {
        // The type first: it is cheap, and rules out most places.
        matches!(log.get(at + 6), Some(&(FULL | FIRST))) && fragment(log, at).is_some()
    })
}

/// Type and length of the data of an intact fragment.
fn fragment(log: &[u8], at: usize) -> Option<(u8, usize)> {
    let block = log.get(at..((at / BLOCK + 1) * BLOCK).min(log.len()))?;
    let (header, rest) = block.split_first_chunk::<HEADER>()?;
    let &[c0, c1, c2, c3, l0, l1, kind] = header;
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let data = rest.get(..length)?;
    let intact = (FULL..=LAST).contains(&kind)
        && crc32c::crc32c_append(crc32c::crc32c(&[kind]), data) == unmask(u32::from_le_bytes([c0, c1, c2, c3]));
    intact.then_some((kind, length))
}

/// Checksums are stored rotated and offset (RocksDB's `util/crc32c.h`).
fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_left(15)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A log of records with these lengths, and where each begins.
    fn log(lengths: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let (mut log, mut starts) = (Vec::new(), Vec::new());
        for (number, &length) in lengths.iter().enumerate() {
            let data = vec![number as u8; length];
            let mut rest = data.as_slice();
            let mut first = true;
            loop {
                let room = BLOCK - log.len() % BLOCK;
                if room < HEADER {
                    log.resize(log.len() + room, 0);
                    continue;
                }
                let (part, after) = rest.split_at(rest.len().min(room - HEADER));
                if first {
                    starts.push(log.len());
                }
                let kind = match (first, after.is_empty()) {
                    (true, true) => FULL,
                    (true, false) => FIRST,
                    (false, false) => MIDDLE,
                    (false, true) => LAST,
                };
                let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), part);
                log.extend(crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
                log.extend((part.len() as u16).to_le_bytes());
                log.push(kind);
                log.extend(part);
                (rest, first) = (after, false);
                if rest.is_empty() {
                    break;
                }
            }
        }
        (log, starts)
    }

    fn lengths() -> impl Strategy<Value = Vec<usize>> {
        vec(prop_oneof![1usize..200, 30_000usize..34_000, 60_000usize..150_000], 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_cut_log_is_torn_or_whole(lengths in lengths(), at in any::<proptest::sample::Index>()) {
            let (log, _) = log(&lengths);
            prop_assert_eq!(tail(&log), Tail::Whole);
            prop_assert!(!matches!(tail(&log[..at.index(log.len())]), Tail::Damaged(_)));
        }

        #[test]
        fn a_flipped_byte_is_damage_but_in_the_last_record(
            lengths in lengths(), at in any::<proptest::sample::Index>(), flip in 1u8..,
        ) {
            let (mut log, starts) = log(&lengths);
            let at = at.index(log.len());
            log[at] ^= flip;
            let record = starts.iter().rposition(|&start| start <= at).unwrap();
            match tail(&log) {
                // The unused end of a block.
                Tail::Whole => prop_assert!(at % BLOCK > BLOCK - HEADER),
                Tail::Torn(start) => prop_assert!(record + 1 == starts.len() && start == starts[record]),
                Tail::Damaged(start) => prop_assert!(record + 1 < starts.len() && start == starts[record]),
            }
        }

        #[test]
        fn a_hole_in_the_last_record_is_torn(last in 70_000usize..200_000, hole in 1usize..3) {
            let (mut log, starts) = log(&[100, last]);
            let from = (hole - 1) * BLOCK + starts[1] % BLOCK;
            let to = (from + BLOCK).min(log.len());
            log[from..to].fill(0);
            prop_assert_eq!(tail(&log), Tail::Torn(starts[1]));
        }
    }
}
