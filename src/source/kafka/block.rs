//! Records of one partition, gathered into a block.

use std::ops::Range;

use crate::event::{Block, Content, PartitionId, StreamId, Timestamp, TopicRecord, push_header};

/// A record as the client gives it.
pub(super) struct Record<'m> {
    pub(super) offset: u64,
    /// Milliseconds since the Unix epoch.
    pub(super) timestamp: Option<i64>,
    pub(super) key: Option<&'m [u8]>,
    pub(super) value: Option<&'m [u8]>,
}

/// A block that records are still added to.
#[derive(Debug)]
pub(super) struct OpenBlock {
    /// When its first record was read.
    pub(super) arrival: Timestamp,
    records: Vec<TopicRecord>,
    bytes: Vec<u8>,
}

impl OpenBlock {
    /// An empty one, which fills `bytes`.
    pub(super) fn new(arrival: Timestamp, bytes: Vec<u8>) -> OpenBlock {
        OpenBlock { arrival, records: Vec::new(), bytes }
    }

    /// Adds a record with its headers.
    pub(super) fn push<'h>(&mut self, record: &Record<'_>, headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>) {
        let key = record.key.map(|key| self.append(key));
        let value = record.value.map(|value| self.append(value));
        let start = self.bytes.len();
        for (name, value) in headers {
            push_header(&mut self.bytes, name, value);
        }
        let headers = start..self.bytes.len();
        let (offset, timestamp) = (record.offset, record.timestamp);
        self.records.push(TopicRecord { offset, timestamp, key, value, headers });
    }

    fn append(&mut self, part: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part);
        start..self.bytes.len()
    }

    /// Bytes that it holds.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.records.len() * size_of::<TopicRecord>()
    }

    /// The block, and its last record.
    pub(super) fn close(self, partition: PartitionId, stream: Option<StreamId>) -> Option<Block> {
        let next_offset = self.records.last()?.offset + 1;
        let content = Content::Records { records: self.records, bytes: self.bytes };
        Some(Block { partition, stream, arrival: self.arrival, content, next_offset })
    }

    /// The record added last.
    pub(super) fn last(&self) -> Option<Record<'_>> {
        let TopicRecord { offset, timestamp, key, value, .. } = self.records.last()?;
        let part = |range: &Option<Range<usize>>| self.bytes.get(range.clone()?);
        Some(Record { offset: *offset, timestamp: *timestamp, key: part(key), value: part(value) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::headers;

    #[test]
    fn a_block_holds_what_was_added_in_order() {
        let mut block = OpenBlock::new(Timestamp(7), Vec::new());
        assert!(block.last().is_none());
        let record = |offset, key, value| Record { offset, timestamp: Some(5), key, value };
        let type_header: [(&str, Option<&[u8]>); 2] = [("type", Some(b"like")), ("none", None)];
        block.push(&record(3, Some(b"k"), Some(b"{}")), type_header.into_iter());
        block.push(&record(5, Some(b""), None), std::iter::empty());
        let last = block.last().unwrap();
        assert_eq!((last.offset, last.timestamp, last.key, last.value), (5, Some(5), Some(&b""[..]), None));
        let block = block.close(PartitionId(2), Some(StreamId(1))).unwrap();
        assert_eq!((block.partition, block.stream, block.arrival), (PartitionId(2), Some(StreamId(1)), Timestamp(7)));
        assert_eq!(block.next_offset, 6);
        let Content::Records { records, bytes } = block.content else { panic!("records") };
        let [first, second] = records.as_slice() else { panic!("two records") };
        assert_eq!((first.offset, bytes.get(first.value.clone().unwrap())), (3, Some(&b"{}"[..])));
        assert_eq!(headers(&bytes[first.headers.clone()]).collect::<Vec<_>>(), type_header);
        assert_eq!((second.key.as_ref().map(Range::len), second.value.as_ref()), (Some(0), None));
        assert!(second.headers.is_empty());
    }

    #[test]
    fn nothing_comes_of_an_empty_block() {
        assert!(OpenBlock::new(Timestamp(0), Vec::new()).close(PartitionId(0), None).is_none());
    }
}
