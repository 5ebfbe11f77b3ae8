//! What goes into files comes out as blocks: every byte once, at its offset, however it is cut, compressed and resumed.

mod rewritten;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::event::{Block, Content, EventId, PartitionId, Partitions, Positions, StreamId, Timestamp};
use crate::source::{
    FileInput, FileSettings, Follow, Host, Limits, Next, Records, Settings, SettingsError, Source, SourceError, open,
};

const LIMITS: Limits = Limits { block_bytes: 64, record_bytes_max: 1000 };
const ONLY: PartitionId = PartitionId(0);

/// A directory with files, and a source over them.
struct Files {
    directory: TempDir,
    settings: FileSettings,
}

impl Files {
    fn new(files: &[(&str, &[u8])]) -> Files {
        let directory = tempfile::tempdir().unwrap();
        let inputs = files.iter().map(|(name, content)| {
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            FileInput { path: path.to_str().unwrap().to_owned(), stream: None }
        });
        let settings = FileSettings { inputs: inputs.collect(), interleave: false, follow: Follow::No };
        Files { directory, settings }
    }

    fn followed(mut self) -> Files {
        self.settings.follow = Follow::Yes;
        self
    }

    fn path(&self, index: usize) -> PathBuf {
        PathBuf::from(&self.settings.inputs[index].path)
    }

    fn append(&self, index: usize, bytes: &[u8]) {
        OpenOptions::new().append(true).open(self.path(index)).unwrap().write_all(bytes).unwrap();
    }

    fn open(&self, limits: Limits, from: u64, to: Option<u64>) -> Result<Box<dyn Source>, SourceError> {
        let from = Positions([(ONLY, from)].into());
        let to = to.map(|to| Positions([(ONLY, to)].into()));
        let clock = Clock::manual(Timestamp(7));
        let settings = Settings::File(self.settings.clone());
        open(&settings, limits, &Partitions::default(), &from, to.as_ref(), &clock, &Host::patient())
    }

    /// All blocks of an input that ends.
    fn read(&self, limits: Limits, from: u64, to: Option<u64>) -> Result<Vec<Block>, SourceError> {
        read_all(&mut *self.open(limits, from, to)?)
    }
}

fn read_all(source: &mut dyn Source) -> Result<Vec<Block>, SourceError> {
    let (mut blocks, mut caught_up) = (Vec::new(), 0);
    loop {
        match source.next(Duration::from_secs(60))? {
            Next::Block(block) => blocks.push(block),
            Next::Partition(..) | Next::Revoked => panic!("a file begins at its start, and is never taken away"),
            Next::CaughtUp => caught_up += 1,
            Next::Idle => panic!("a file that is not followed has nothing to wait for"),
            Next::End => break,
        }
    }
    assert_eq!(caught_up, 1);
    Ok(blocks)
}

/// What is there now.
fn read_present(source: &mut dyn Source) -> (Vec<Block>, bool) {
    let (mut blocks, mut caught_up) = (Vec::new(), false);
    loop {
        match source.next(Duration::ZERO).unwrap() {
            Next::Block(block) => blocks.push(block),
            Next::Partition(..) | Next::Revoked => panic!("a file begins at its start, and is never taken away"),
            Next::CaughtUp => caught_up = true,
            Next::Idle => return (blocks, caught_up),
            Next::End => panic!("a followed file has no end"),
        }
    }
}

/// A record as a worker would see it: offset, and its bytes (the head of an oversized one, with its size).
type Record = (u64, Vec<u8>, Option<u64>);

fn records(blocks: &[Block]) -> Vec<Record> {
    let mut records = Vec::new();
    for block in blocks {
        match &block.content {
            Content::Oversized { offset, head, size } => records.push((*offset, head.clone(), Some(*size))),
            Content::Records { .. } => panic!("a file has lines"),
            Content::Lines { base, bytes } => {
                let mut offset = *base;
                for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                    let record = line.strip_suffix(b"\n").unwrap_or(line);
                    if !record.is_empty() {
                        records.push((offset, record.to_vec(), None));
                    }
                    offset += line.len() as u64;
                }
            }
        }
    }
    records
}

/// The same, the plain way.
fn expected(content: &[u8], record_bytes_max: usize) -> Vec<Record> {
    let mut offset = 0;
    let mut records = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let record = line.strip_suffix(b"\n").unwrap_or(line);
        if record.len() > record_bytes_max {
            records.push((offset, record[..record_bytes_max].to_vec(), Some(record.len() as u64)));
        } else if !record.is_empty() {
            records.push((offset, record.to_vec(), None));
        }
        offset += line.len() as u64;
    }
    records
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).unwrap()
}

/// The file that holds `content`, in as many members or frames as there are parts.
fn encoded(ending: &str, content: &[u8], parts: usize) -> Vec<u8> {
    let part = content.len().div_ceil(parts).max(1);
    match ending {
        "gz" if content.is_empty() => gzip(content),
        "zst" if content.is_empty() => zstd(content),
        "gz" => content.chunks(part).flat_map(gzip).collect(),
        "zst" => content.chunks(part).flat_map(zstd).collect(),
        _ => content.to_vec(),
    }
}

fn arbitrary_content() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![8 => 0_usize..40, 1 => 40_usize..300];
    let line = (length, prop_oneof![Just("\n"), Just("\r\n")])
        .prop_map(|(length, line_break)| [&vec![b'x'; length], line_break.as_bytes()].concat());
    (prop::collection::vec(line, 0..60), any::<bool>()).prop_map(|(lines, broken_off)| {
        let mut content = lines.concat();
        if broken_off {
            content.extend_from_slice(b"the rest");
        }
        // Bytes that tell where they are.
        for (index, byte) in content.iter_mut().enumerate().filter(|(_, byte)| **byte == b'x') {
            *byte = b'a' + (index % 23) as u8;
        }
        content
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_record_comes_once_at_its_offset_and_every_position_resumes(
        content in arbitrary_content(),
        ending in prop_oneof![Just("jsonl"), Just("gz"), Just("zst")],
        parts in 1_usize..4,
        block_bytes in 1_usize..500,
        record_bytes_max in 1_usize..200,
    ) {
        let name = format!("input.{ending}");
        let files = Files::new(&[(&name, &encoded(ending, &content, parts))]);
        let limits = Limits { block_bytes, record_bytes_max };
        let all = expected(&content, record_bytes_max);
        let blocks = files.read(limits, 0, None).unwrap();
        prop_assert_eq!(records(&blocks), all.clone());

        let mut position = 0;
        for block in &blocks {
            prop_assert!(block.next_offset > position);
            position = block.next_offset;
        }
        prop_assert_eq!(position, content.len() as u64);

        for cut in blocks.iter().map(|block| block.next_offset) {
            let (before, after) = (files.read(limits, 0, Some(cut)).unwrap(), files.read(limits, cut, None).unwrap());
            prop_assert!(before.iter().all(|block| block.next_offset <= cut));
            prop_assert_eq!([records(&before), records(&after)].concat(), all.clone());
        }
    }

    #[test]
    fn what_is_appended_comes_line_by_line(
        content in arbitrary_content(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        record_bytes_max in 1_usize..200,
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(content.len() + 1)).collect();
        cuts.extend([0, content.len()]);
        cuts.sort_unstable();
        let files = Files::new(&[("input.jsonl", b"")]).followed();
        let mut source = files.open(Limits { block_bytes: 1 << 16, record_bytes_max }, 0, None).unwrap();
        let mut blocks = Vec::new();
        for cut in cuts.windows(2) {
            files.append(0, &content[cut[0]..cut[1]]);
            blocks.extend(read_present(&mut *source).0);
        }
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        prop_assert_eq!(records(&blocks), expected(&content[..whole], record_bytes_max));
        files.append(0, b"\n");
        blocks.extend(read_present(&mut *source).0);
        prop_assert_eq!(records(&blocks), expected(&content, record_bytes_max));
    }
}

#[test]
fn a_line_of_any_length_is_kept_by_its_head_only() {
    let content = [&b"first\n"[..], &vec![b'y'; 5_000_000], b"\nlast"].concat();
    let files = Files::new(&[("input.jsonl", &content)]);
    let blocks = files.read(Limits { block_bytes: 4096, record_bytes_max: 100 }, 0, None).unwrap();
    let sizes: Vec<_> = records(&blocks).into_iter().map(|(at, record, size)| (at, record.len(), size)).collect();
    assert_eq!(sizes, [(0, 5, None), (6, 100, Some(5_000_000)), (5_000_007, 4, None)]);
}

#[test]
fn files_come_in_order_or_in_turn() {
    let content: Vec<Vec<u8>> = (0..3).map(|file| format!("{file}\n").repeat(100).into_bytes()).collect();
    let mut files = Files::new(&[("a.jsonl", &content[0]), ("b.jsonl", &content[1]), ("c.jsonl", &content[2])]);
    let order = |files: &Files| -> Vec<u32> {
        let blocks = files.read(LIMITS, 0, None).unwrap();
        assert_eq!(records(&blocks).len(), 300);
        blocks.iter().map(|block| block.partition.0).collect()
    };
    let in_order = order(&files);
    assert!(in_order.is_sorted());
    files.settings.interleave = true;
    assert_eq!(order(&files)[..6], [0, 1, 2, 0, 1, 2]);
}

#[test]
fn followed_files_are_caught_up_once_and_then_read_as_they_grow() {
    let files = Files::new(&[("a.jsonl", b"a1\na2\n"), ("b.jsonl", b"b1\nb2 has no end")]).followed();
    let mut source = files.open(LIMITS, 0, None).unwrap();
    let (blocks, caught_up) = read_present(&mut *source);
    assert_eq!(records(&blocks).len(), 3);
    assert!(caught_up);
    assert_eq!(source.lag().bytes, Some(13));
    files.append(1, b" yet\n");
    files.append(0, b"a3\n");
    let (blocks, caught_up) = read_present(&mut *source);
    let mut lines: Vec<_> =
        records(&blocks).into_iter().map(|(at, line, _)| (at, String::from_utf8(line).unwrap())).collect();
    lines.sort_unstable();
    assert_eq!(lines, [(3, "b2 has no end yet".to_owned()), (6, "a3".to_owned())]);
    assert!(!caught_up);
}

#[test]
fn what_is_appended_after_the_opening_is_left_for_the_next_run() {
    let files = Files::new(&[("input.jsonl", b"1\n2\n")]);
    let mut source = files.open(LIMITS, 0, None).unwrap();
    files.append(0, b"3\n");
    let blocks = read_all(&mut *source).unwrap();
    assert_eq!(records(&blocks), expected(b"1\n2\n", 10));
    assert_eq!(source.lag().bytes, Some(2));
    assert_eq!(records(&files.read(LIMITS, 4, None).unwrap()), [(4, b"3".to_vec(), None)]);
}

/// Who appends to a file may be in the middle of a line: half of it is no record, and the next run goes on at its start.
#[test]
fn a_line_that_is_being_appended_is_left_for_the_next_run() {
    let mut files = Files::new(&[("input.jsonl", b"")]);
    files.settings.follow = Follow::UntilEnd;
    for (content, from, read, left) in [
        (&b""[..], 0, &[][..], 0),
        (b"half", 0, &[], 4),
        (b"1\n", 0, &[(0, "1")], 0),
        (b"1\n\n", 0, &[(0, "1")], 0),
        (b"1\n2\nhalf a line", 0, &[(0, "1"), (2, "2")], 11),
        (b"1\nhalf a line", 2, &[], 11),
        (b"1\n2\nhalf", 2, &[(2, "2")], 4),
        (b"1\n2", 3, &[], 0),
        (b"1\n2\nhalf", 3, &[], 4),
    ] {
        fs::write(files.path(0), content).unwrap();
        let mut source = files.open(LIMITS, from, None).unwrap();
        let blocks = read_all(&mut *source).unwrap();
        let expected: Vec<_> = read.iter().map(|(at, line)| (*at, line.as_bytes().to_vec(), None)).collect();
        let case = String::from_utf8_lossy(content);
        assert_eq!((records(&blocks), source.lag().bytes), (expected, Some(left)), "{case:?} from {from}");
    }
}

#[test]
fn a_last_line_that_was_taken_without_its_line_break_may_only_get_that() {
    let files = Files::new(&[("input.jsonl", b"1\n2")]);
    assert_eq!(records(&files.read(LIMITS, 0, None).unwrap()).len(), 2);
    assert!(files.read(LIMITS, 3, None).unwrap().is_empty());
    files.append(0, b"\n3\n");
    assert_eq!(records(&files.read(LIMITS, 3, None).unwrap()), [(4, b"3".to_vec(), None)]);
    fs::write(files.path(0), "1\n222\n").unwrap();
    assert!(matches!(files.read(LIMITS, 3, None), Err(SourceError::InsideALine { offset: 3, .. })));
}

#[test]
fn a_range_that_is_gone_is_refused() {
    for (ending, parts) in [("jsonl", 1), ("gz", 2), ("zst", 2)] {
        let name = format!("input.{ending}");
        let files = Files::new(&[(&name, &encoded(ending, b"1\n22\n3", parts))]);
        for (from, to, asked) in [(8, None, 8), (0, Some(7), 7), (2, Some(100), 100)] {
            match files.read(LIMITS, from, to) {
                Err(SourceError::NoLongerHeld { offset, length: 6, .. }) => assert_eq!(offset, asked),
                other => panic!("{ending} from {from} to {to:?}: {other:?}"),
            }
        }
        assert!(matches!(files.read(LIMITS, 3, None), Err(SourceError::InsideALine { offset: 3, .. })));
    }
}

#[test]
fn a_file_that_is_cut_while_it_is_read_is_an_error() {
    let files = Files::new(&[("input.jsonl", "some line\n".repeat(100).as_bytes())]);
    let mut source = files.open(LIMITS, 0, None).unwrap();
    assert!(matches!(source.next(Duration::ZERO), Ok(Next::Block(_))));
    OpenOptions::new().write(true).open(files.path(0)).unwrap().set_len(500).unwrap();
    assert!(matches!(read_all(&mut *source), Err(SourceError::Truncated { length: 500, .. })));
}

#[test]
fn a_followed_file_that_is_cut_or_replaced_is_an_error() {
    let files = Files::new(&[("input.jsonl", b"1\n2\n")]).followed();
    let mut source = files.open(LIMITS, 0, None).unwrap();
    assert_eq!(records(&read_present(&mut *source).0).len(), 2);
    OpenOptions::new().write(true).open(files.path(0)).unwrap().set_len(2).unwrap();
    assert!(matches!(source.next(Duration::ZERO), Err(SourceError::Truncated { offset: 4, length: 2, .. })));

    let files = Files::new(&[("input.jsonl", b"1\n")]).followed();
    let mut source = files.open(LIMITS, 0, None).unwrap();
    assert_eq!(records(&read_present(&mut *source).0).len(), 1);
    files.append(0, b"2\n");
    fs::rename(files.path(0), files.directory.path().join("input.jsonl.1")).unwrap();
    assert_eq!(records(&read_present(&mut *source).0).len(), 1);
    fs::write(files.path(0), "another\n").unwrap();
    assert!(matches!(source.next(Duration::ZERO), Err(SourceError::Replaced { offset: 4, .. })));
}

#[test]
fn a_damaged_file_is_named_with_the_offset() {
    let content: Vec<u8> = (0..20_000).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
    for ending in ["gz", "zst"] {
        let whole = encoded(ending, &content, 1);
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x55;
        flipped[whole.len() / 2 + 1] ^= 0x55;
        for damaged in [&whole[..whole.len() / 2], &flipped] {
            let name = format!("input.{ending}");
            let files = Files::new(&[(&name, damaged)]);
            match files.read(Limits { block_bytes: 1000, record_bytes_max: 100 }, 0, None) {
                Err(SourceError::Damaged { path, offset, .. }) => {
                    assert!(path.ends_with(&name));
                    assert!(offset <= content.len() as u64);
                }
                other => panic!("{ending}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_pipe_is_read_as_it_comes_and_counts_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let input = FileInput { path: path.to_str().unwrap().to_owned(), stream: None };
    let settings = FileSettings { inputs: vec![input], interleave: false, follow: Follow::Yes };
    let files = Files { directory, settings };

    assert!(read_all(&mut *files.open(LIMITS, 0, Some(100)).unwrap()).unwrap().is_empty(), "it is not replayed");

    let mut source = files.open(LIMITS, 100, None).unwrap();
    assert!(matches!(source.next(Duration::ZERO), Ok(Next::Idle)));
    let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"1\n2").unwrap();
    let Ok(Next::Block(block)) = source.next(Duration::from_secs(60)) else { panic!("a line has come") };
    assert_eq!((records(&[block]), source.lag().bytes), (vec![(100, b"1".to_vec(), None)], None));
    drop(writer);
    assert_eq!(records(&read_all(&mut *source).unwrap()), [(102, b"2".to_vec(), None)]);
}

#[test]
fn blocks_carry_arrival_and_stream() {
    let mut files = Files::new(&[("input.jsonl", b"1\n")]);
    files.settings.inputs[0].stream = Some(crate::event::StreamId(3));
    let blocks = files.read(LIMITS, 0, None).unwrap();
    assert_eq!((blocks[0].arrival, blocks[0].stream), (Timestamp(7), Some(crate::event::StreamId(3))));
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let input = |path: &str| FileInput { path: path.to_owned(), stream: None };
    let cases = [
        (vec![], Follow::No, SettingsError::NoFile),
        (vec![input("a"), input("b"), input("a")], Follow::No, SettingsError::NamedTwice { path: "a".to_owned() }),
        (vec![input("a.zst")], Follow::Yes, SettingsError::FollowCompressed { path: "a.zst".to_owned() }),
        (vec![input("a.zst")], Follow::UntilEnd, SettingsError::FollowCompressed { path: "a.zst".to_owned() }),
    ];
    for (inputs, follow, error) in cases {
        let settings = Settings::File(FileSettings { inputs, interleave: false, follow });
        assert_eq!(settings.check(), Err(error));
    }
}

#[test]
fn what_cannot_be_opened_is_an_error() {
    let mut files = Files::new(&[("input.jsonl", b"")]);
    files.settings.inputs[0].path.push_str(".not");
    assert!(matches!(files.open(LIMITS, 0, None), Err(SourceError::Open { .. })));
    files.settings.inputs[0].path = files.directory.path().to_str().unwrap().to_owned();
    assert!(matches!(files.open(LIMITS, 0, None), Err(SourceError::Directory { .. })));
}

#[test]
fn a_partition_that_is_not_configured_any_more_cannot_be_replayed() {
    let files = Files::new(&[("input.jsonl", b"1\n")]);
    let partitions = Partitions::new(["gone.jsonl".into()]);
    let to = Positions([(PartitionId(0), 10)].into());
    let clock = Clock::manual(Timestamp(0));
    let settings = Settings::File(files.settings.clone());
    match open(&settings, LIMITS, &partitions, &Positions::default(), Some(&to), &clock, &Host::patient()) {
        Err(SourceError::NotConfigured { partition }) => assert_eq!(partition, "gone.jsonl"),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

/// A record by its position is the line that the source had there, whole and with its stream, whichever file was read before.
#[test]
fn any_record_is_read_again() {
    let long = "x".repeat(10_000);
    let contents = [format!("a\n\n{long}\nlast"), "b\r\n c \n".to_owned()];
    let mut files = Files::new(&[("one", contents[0].as_bytes()), ("two", contents[1].as_bytes())]);
    files.settings.inputs[1].stream = Some(StreamId(3));
    let settings = Settings::File(files.settings.clone());
    let partitions = Partitions::new(files.settings.inputs.iter().map(|input| input.path.as_str().into()));
    assert!(settings.rereads(&partitions));
    let known = BTreeMap::new();
    let mut positions = Positions([(PartitionId(0), 3), (PartitionId(1), 3)].into());
    let mut records = Records::open(&settings, &partitions, &positions, &known).unwrap();
    let last = contents[0].len() as u64 - 4;
    let cases = [(0, 0, "a\n"), (1, 3, " c \n"), (0, 3, &format!("{long}\n")), (0, last, "last"), (1, 0, "b\r\n")];
    for (partition, offset, line) in cases {
        let id = EventId { partition: PartitionId(partition), offset };
        let block = records.read(id, Timestamp(5)).unwrap();
        let Content::Lines { base, bytes } = &block.content else { panic!("{block:?}") };
        assert_eq!((*base, bytes.as_slice()), (offset, line.as_bytes()));
        assert_eq!((block.partition, block.arrival), (id.partition, Timestamp(5)));
        assert_eq!(block.stream, (partition == 1).then_some(StreamId(3)));
        assert_eq!(block.next_offset, offset + line.len() as u64);
    }
    let unknown = EventId { partition: partitions.id("gone"), offset: 0 };
    assert!(
        matches!(records.read(unknown, Timestamp(5)), Err(SourceError::NotConfigured { partition }) if partition == "gone")
    );
    assert!(!settings.rereads(&partitions), "it was read, and is not there any more");
    let refused = |positions: &Positions, known| Records::open(&settings, &partitions, positions, known).unwrap_err();
    positions.0.insert(PartitionId(1), 100);
    assert!(matches!(refused(&positions, &known), SourceError::NoLongerHeld { offset: 100, .. }));
    fs::remove_file(files.path(1)).unwrap();
    assert!(matches!(refused(&positions, &known), SourceError::Open { .. }));
}

#[test]
fn what_is_compressed_or_piped_is_not_read_again_by_its_position() {
    for (path, rereads) in
        [("a.jsonl", true), ("a.jsonl.gz", false), ("a.jsonl.zst", false), ("-", false), ("/dev/null", false)]
    {
        let other = FileInput { path: "other".to_owned(), stream: None };
        let inputs = vec![other, FileInput { path: path.to_owned(), stream: None }];
        let settings = Settings::File(FileSettings { inputs, interleave: false, follow: Follow::No });
        assert_eq!(settings.rereads(&Partitions::default()), rereads, "{path}");
    }
}
