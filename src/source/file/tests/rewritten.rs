//! A file that was rewritten since it was read is known from the one that was.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::{Files, LIMITS, ONLY, encoded};
use crate::event::{PartitionId, Positions};
use crate::source::{Fingerprint, Next, SourceError};

/// The fingerprints when at least `read` was read.
fn fingerprints_at(
    files: &Files,
    read: u64,
    known: &BTreeMap<PartitionId, Fingerprint>,
) -> BTreeMap<PartitionId, Fingerprint> {
    let mut source = files.open(LIMITS, 0, None).unwrap();
    let mut fingerprints = source.fingerprints(known).unwrap();
    let mut offset = 0;
    while offset < read {
        let Ok(Next::Block(block)) = source.next(Duration::ZERO) else { panic!("it ends before {read}") };
        offset = block.next_offset;
    }
    fingerprints.take(&Positions([(ONLY, offset)].into())).unwrap()
}

/// What is said of a file of which at least `read` was read when it held `before`, and that holds `after` now.
fn known_again(name: &str, before: &[u8], read: u64, after: &[u8]) -> Result<(), String> {
    let files = Files::new(&[(name, before)]);
    let known = fingerprints_at(&files, read, &BTreeMap::new());
    assert_eq!(known.len(), 1);
    fs::write(files.path(0), after).unwrap();
    let mut source = files.open(LIMITS, read, None).map_err(|error| error.to_string())?;
    source.fingerprints(&known).map(drop).map_err(|error| error.to_string())
}

#[test]
fn a_file_that_was_rewritten_is_not_taken_for_the_one_that_was_read() {
    let lines = |count: usize| (0..count).map(|n| format!("{n:09}\n")).collect::<String>().into_bytes();
    let with = |at: usize, content: Vec<u8>| [&content[..at], b"x", &content[at + 1..]].concat();
    let (first, tail) =
        ("its first 4096 bytes are others", "the 4096 bytes before byte 9000, to which it was read, are");
    let cases = [
        (9000, lines(1000), Ok(())),
        (9000, lines(1200), Ok(())),
        (9000, lines(900), Ok(())),
        (9000, lines(899), Err("was read to byte 9000 and now ends at byte 8990")),
        (9000, with(0, lines(1200)), Err(first)),
        (9000, with(4095, lines(1000)), Err(first)),
        // What lies between the two ends is not looked at, nor what had not been read.
        (9000, with(4096, lines(1000)), Ok(())),
        (9000, with(9000, lines(1000)), Ok(())),
        (9000, with(9000 - 4096, lines(1000)), Err(tail)),
        (9000, with(8998, lines(1000)), Err(tail)),
        (20, with(18, lines(3)), Err("its first 20 bytes are others")),
        (20, with(20, lines(3)), Ok(())),
        (0, b"anything".to_vec(), Ok(())),
    ];
    for (read, after, expected) in cases {
        let before = lines(if read == 20 { 2 } else { read / 10 });
        let (said, at) = (known_again("input.jsonl", &before, read as u64, &after), after.len());
        match expected {
            Ok(()) => assert_eq!(said, Ok(()), "{read} {at}"),
            Err(phrase) => assert!(said.as_ref().is_err_and(|error| error.contains(phrase)), "{read} {at}: {said:?}"),
        }
    }
}

#[test]
fn a_compressed_file_that_was_rewritten_is_not_taken_for_the_one_that_was_read() {
    // Numbers in which a compressor finds nothing.
    let number = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let content: Vec<u8> = (0..100_000).flat_map(|n| format!("{}\n", number(n)).into_bytes()).collect();
    let all = content.len() as u64;
    for ending in ["gz", "zst"] {
        let (name, whole) = (format!("input.{ending}"), encoded(ending, &content, 2));
        assert!(whole.len() > 600_000);
        let flipped = |at: usize| [&whole[..at], &[!whole[at]], &whole[at + 1..]].concat();
        let longer = [&*whole, &*encoded(ending, b"1\n", 1)].concat();
        for after in [whole.clone(), longer] {
            assert_eq!(known_again(&name, &whole, all, &after), Ok(()), "{ending}");
        }
        let others = [whole[..whole.len() - 1].to_vec(), flipped(whole.len() - 1), encoded(ending, &content[21..], 2)];
        for after in others {
            let error = known_again(&name, &whole, all, &after).unwrap_err();
            assert!(error.contains("is not the file that was read"), "{error}");
        }
        // What is known of it is not forgotten while it is decompressed from its start again.
        let files = Files::new(&[(&name, &whole)]);
        let known = fingerprints_at(&files, all, &BTreeMap::new());
        assert_eq!(fingerprints_at(&files, 0, &known), known);
        // A file that is repaired where it had not been read is read on.
        assert_eq!(known_again(&name, &flipped(whole.len() - 1), all / 2, &whole), Ok(()), "{ending}");
        assert_eq!(known_again(&name, &whole[..whole.len() / 2], all / 4, &whole), Ok(()), "{ending}");
    }
}

#[test]
fn fingerprints_are_taken_of_what_was_read_since() {
    let mut files = Files::new(&[("a.jsonl", b"1\n2\n"), ("b.jsonl", b"3\n")]).followed();
    files.settings.interleave = true;
    let mut fingerprints = files.open(LIMITS, 0, None).unwrap().fingerprints(&BTreeMap::new()).unwrap();
    let mut taken = |positions: &[(u32, u64)]| {
        let positions = Positions(positions.iter().map(|(p, offset)| (PartitionId(*p), *offset)).collect());
        fingerprints.take(&positions).map(|taken| taken.into_keys().map(|p| p.0).collect::<Vec<_>>())
    };
    assert_eq!(taken(&[]).unwrap(), [0; 0]);
    assert_eq!(taken(&[(0, 2)]).unwrap(), [0]);
    assert_eq!(taken(&[(0, 2), (1, 2)]).unwrap(), [1]);
    files.append(0, b"4\n");
    assert_eq!(taken(&[(0, 6), (1, 2)]).unwrap(), [0]);
    assert_eq!(taken(&[(0, 6), (1, 2)]).unwrap(), [0; 0]);
    assert!(matches!(taken(&[(0, 8)]), Err(SourceError::Truncated { offset: 8, length: 6, .. })));
}
