//! Records of topics on their way from the workers to the sink: each is a head of three lengths, then its value, its key and its headers.

use std::ops::Range;

use crate::event::headers;

/// Bytes of a record's head: the length of its value, that of its key plus one (0: it has no key), and that of its headers, 32 bits little-endian each.
pub(super) const HEAD_BYTES: usize = 12;

/// A record to be written to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'b> {
    /// The outcome.
    pub value: &'b [u8],
    /// Its key, where it has one.
    pub key: Option<&'b [u8]>,
    /// Its headers, as [`crate::event::headers`] reads them.
    pub headers: &'b [u8],
}

/// How large a record of a topic may be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLimits {
    /// What the client takes: key, value and headers as they are sent, and the most that can be around them. Its `message.max.bytes`.
    pub client: usize,
    /// The batch that a topic takes, its `max.message.bytes`; the record may be alone in one. What compression saves is not counted on.
    pub topic: usize,
}

/// What a batch has before its records.
const BATCH_HEAD_BYTES: usize = 61;

/// What librdkafka counts around a record's key, value and headers: all numbers at their longest (`RD_KAFKAP_MESSAGE_V2_MAX_OVERHEAD`).
const CLIENT_OVERHEAD: usize = 36;

/// More than a batch with one record has beside that record as it is held here.
const BATCH_OVERHEAD: usize = BATCH_HEAD_BYTES + CLIENT_OVERHEAD;

impl RecordLimits {
    /// Whether `record`, which has been [finished](finish), is small enough.
    pub(super) fn admit(self, record: &[u8]) -> bool {
        // A header's lengths take 8 bytes here, and no more in a batch: what is surely small enough is not looked at.
        record.len() + BATCH_OVERHEAD <= self.client.min(self.topic)
            || records(record).all(|record| self.admits(&record))
    }

    fn admits(self, record: &Record<'_>) -> bool {
        let (mut count, mut bytes) = (0, record.value.len() + record.key.map_or(0, <[u8]>::len));
        for (name, value) in headers(record.headers) {
            let value = value.map_or(0, <[u8]>::len);
            bytes += varint_bytes(name.len()) + name.len() + varint_bytes(value) + value;
            count += 1;
        }
        let lengths = record.key.map_or(1, |key| varint_bytes(key.len()))
            + varint_bytes(record.value.len())
            + varint_bytes(count);
        // Attributes, and the distances to the time and the offset of the batch, which are its own.
        let body = 3 + lengths + bytes;
        CLIENT_OVERHEAD + bytes <= self.client && BATCH_HEAD_BYTES + varint_bytes(body) + body <= self.topic
    }
}

/// Bytes of a length as Kafka writes it: seven bits a byte, behind a bit for the sign.
fn varint_bytes(length: usize) -> usize {
    let bits = usize::BITS - length.leading_zeros() + 1;
    bits.div_ceil(7) as usize
}

/// The records that were put into `bytes` by a [`Renderer`](super::Renderer), in order.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let (lengths, _) = head.as_chunks::<4>();
        let [value, key, headers] = lengths else { return None };
        let length = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).ok();
        let (value, rest) = rest.split_at_checked(length(value)?)?;
        let keyed = length(key)?;
        let (key, rest) = rest.split_at_checked(keyed.saturating_sub(1))?;
        let (headers, rest) = rest.split_at_checked(length(headers)?)?;
        bytes = rest;
        Some(Record { value, key: (keyed > 0).then_some(key), headers })
    })
}

/// Makes room for the head of a record at the end of `bytes`; its value is appended next.
pub(super) fn begin(bytes: &mut Vec<u8>) -> usize {
    let head = bytes.len();
    bytes.extend_from_slice(&[0; HEAD_BYTES]);
    head
}

/// Writes the head of the record at `head`, all of which has been appended: its key, where it has one, lies at `key`, and its headers follow.
pub(super) fn finish(bytes: &mut [u8], head: usize, key: Range<usize>, has_key: bool) {
    // A record is below 2 GiB.
    let length = |from: usize, to: usize| u32::try_from(to - from).unwrap_or(u32::MAX);
    let lengths = [
        length(head + HEAD_BYTES, key.start),
        length(key.start, key.end) + u32::from(has_key),
        length(key.end, bytes.len()),
    ];
    for (slot, length) in bytes.iter_mut().skip(head).zip(lengths.into_iter().flat_map(u32::to_le_bytes)) {
        *slot = length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let all = [
            Record { value: b"{}", key: None, headers: b"" },
            Record { value: b"", key: Some(b""), headers: b"h" },
            Record { value: b"{\"a\":\n1}", key: Some(b"key"), headers: b"hh" },
        ];
        let mut bytes = Vec::new();
        for record in all {
            let head = begin(&mut bytes);
            bytes.extend_from_slice(record.value);
            let start = bytes.len();
            bytes.extend_from_slice(record.key.unwrap_or_default());
            let key = start..bytes.len();
            bytes.extend_from_slice(record.headers);
            finish(&mut bytes, head, key, record.key.is_some());
        }
        assert_eq!(records(&bytes).collect::<Vec<_>>(), all);
        assert_eq!(records(&bytes[..bytes.len() - 1]).count(), 2);
    }
}
