//! Changes to be written together.

use std::hint::black_box;

use crate::error::StateError;
use crate::table::Table;

/// The expiry of an entry that never expires.
pub(crate) const NEVER: i64 = i64::MAX;
/// Bytes of the expiry in front of every value of [`Table::Referent`]: microseconds, big-endian.
pub(crate) const EXPIRY_BYTES: usize = size_of::<i64>();
/// Bytes of the length of a value that is written before it is known: LEB128 with zeros at its end, for up to 32 GiB.
const OPEN_LENGTH_BYTES: usize = 5;
/// Set in an operation's first byte, beside the table's number, where it deletes.
const DELETE: u8 = 0x80;
/// Changes that are looked at together before they are handed over.
const AT_A_TIME: usize = 16;

/// Changes to be written together: plain data in one growing buffer, and a list of where each is.
///
/// Later changes win over earlier ones to the same key. The bytes of a batch may be kept as a value and read back
/// ([`Batch::as_bytes`], [`Batch::from_bytes`]): their layout belongs to the format version of the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Operations, one after the other: first byte, length of the key, key, and where it puts, length of the value, value.
    /// Lengths are LEB128.
    buffer: Vec<u8>,
    /// Where each operation is. Whoever puts them in order then need not follow them through the buffer, which is in no cache of his.
    places: Vec<Place>,
}

/// Where an operation is in its batch, and what to order it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    head: Head,
    at: usize,
}

/// The table of an operation, and the first bytes of its key, with zeros behind a shorter one: what differs here is in this order.
type Head = [u64; 2];

/// A value of a batch that is being appended: see [`Batch::open`].
#[derive(Debug)]
#[must_use = "a value that is not closed is read as if it were empty"]
pub struct OpenValue {
    length_at: usize,
}

/// One change of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op<'a> {
    pub(crate) table: Table,
    pub(crate) key: &'a [u8],
    /// What to put, with its expiry in front in [`Table::Referent`]; `None` deletes.
    pub(crate) value: Option<&'a [u8]>,
}

impl Batch {
    /// Puts a value; in [`Table::Referent`] one that never expires. See [`Table`] for where a key may be put twice.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        match table {
            Table::Referent => self.put_until(key, value, NEVER),
            _ => self.push_parts(table, key, &[value]),
        }
    }

    /// Puts a value that is made of several parts into any table but [`Table::Referent`].
    pub fn put_parts(&mut self, table: Table, key: &[u8], parts: &[&[u8]]) {
        debug_assert_ne!(table, Table::Referent, "its values have an expiry");
        self.push_parts(table, key, parts);
    }

    /// Puts a value into [`Table::Referent`] that is gone once [`State::advance`](crate::State::advance) has reached
    /// `expires_micros` (microseconds since the Unix epoch; `i64::MAX`: never).
    pub fn put_until(&mut self, key: &[u8], value: &[u8], expires_micros: i64) {
        self.push_parts(Table::Referent, key, &[&expires_micros.to_be_bytes(), value]);
    }

    /// Begins to put a value, into any table but [`Table::Referent`], that is appended to the [end](Batch::end) bit by bit. Nothing else may be changed before
    /// it is [closed](Batch::close).
    pub fn open(&mut self, table: Table, key: &[u8]) -> OpenValue {
        debug_assert_ne!(table, Table::Referent, "its values have an expiry");
        self.begin(table, 0, key);
        let length_at = self.buffer.len();
        self.buffer.extend_from_slice(&[0; OPEN_LENGTH_BYTES]);
        OpenValue { length_at }
    }

    /// Where a value that is open is appended to: nothing that is there already may be changed.
    pub fn end(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Bytes of a value so far.
    pub fn open_bytes(&self, open: &OpenValue) -> usize {
        self.buffer.len().saturating_sub(open.length_at + OPEN_LENGTH_BYTES)
    }

    /// Ends a value that was begun. Returns its bytes.
    pub fn close(&mut self, open: OpenValue) -> usize {
        let bytes = self.open_bytes(&open);
        let length = self.buffer.iter_mut().skip(open.length_at).take(OPEN_LENGTH_BYTES);
        for (at, byte) in length.enumerate() {
            let more = if at + 1 < OPEN_LENGTH_BYTES { 0x80 } else { 0 };
            *byte = (bytes >> (7 * at)) as u8 & 0x7f | more;
        }
        bytes
    }

    /// Makes room for so many bytes of changes more.
    pub fn reserve(&mut self, bytes: usize) {
        self.buffer.reserve(bytes);
    }

    /// Deletes a key, whether it is there or not.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        self.begin(table, DELETE, key);
    }

    /// Adds the changes of another batch after those of this one.
    pub fn append(&mut self, other: &Batch) {
        let end = self.buffer.len();
        self.buffer.extend_from_slice(&other.buffer);
        self.places.extend(other.places.iter().map(|place| Place { at: end + place.at, ..*place }));
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no change.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Size of the changes in bytes: keys, values and a few bytes each.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of changes that there is memory for.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Removes all changes and keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.places.clear();
    }

    /// The changes as bytes, to be kept as a value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The batch of [`Batch::as_bytes`]; [`StateError::Malformed`] for any other bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Batch, StateError> {
        let mut places = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let malformed = StateError::Malformed { bytes: bytes.len(), changes: places.len() };
            let op = read_op(&mut rest).ok_or(malformed)?;
            places.push(Place { head: head(op.table, op.key), at });
        }
        Ok(Batch { buffer: bytes, places })
    }

    /// The changes of a table in order: each key, and what is put there; `None` deletes. Values of [`Table::Referent`] have their expiry in front.
    pub fn changes_of(&self, table: Table) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.ops().filter(move |op| op.table == table).map(|op| (op.key, op.value))
    }

    /// The changes in order.
    pub(crate) fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        let mut rest = self.buffer.as_slice();
        std::iter::from_fn(move || read_op(&mut rest))
    }

    #[inline]
    fn push_parts(&mut self, table: Table, key: &[u8], parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum();
        self.buffer.reserve(key.len() + length + 8);
        self.begin(table, 0, key);
        push_length(&mut self.buffer, length);
        parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
    }

    /// What every operation begins with.
    #[inline]
    fn begin(&mut self, table: Table, flags: u8, key: &[u8]) {
        self.places.push(Place { head: head(table, key), at: self.buffer.len() });
        self.buffer.push(table as u8 | flags);
        push_length(&mut self.buffer, key.len());
        self.buffer.extend_from_slice(key);
    }
}

/// Hands over all changes of some batches in the order of their tables and keys; those of one key stay in their order.
pub(crate) fn each_in_order<'a>(batches: &[&'a Batch], mut handle: impl FnMut(Op<'a>)) {
    let op = |mut bytes: &'a [u8]| read_op(&mut bytes);
    let from = |batch: &'a Batch, at| batch.buffer.get(at..).unwrap_or_default();
    let places = batches.iter().flat_map(|batch| batch.places.iter().map(|place| (place.head, from(batch, place.at))));
    let mut ordered: Vec<(Head, &'a [u8])> = places.collect();
    ordered.sort_by(|(a, a_bytes), (b, b_bytes)| {
        a.cmp(b).then_with(|| op(a_bytes).map(|op| op.key).cmp(&op(b_bytes).map(|op| op.key)))
    });
    for some in ordered.chunks(AT_A_TIME) {
        // In this order they are all over memory that other threads have written. In a loop that does nothing else these loads do not wait for each other.
        black_box(some.iter().filter_map(|(_, bytes)| op(bytes)).fold(0, |seen, op| seen ^ look_at(&op)));
        some.iter().filter_map(|(_, bytes)| op(bytes)).for_each(&mut handle);
    }
}

/// Touches every cache line of a change: something that means nothing.
fn look_at(op: &Op<'_>) -> u8 {
    const CACHE_LINE: usize = 64;
    let look = |bytes: &[u8]| bytes.iter().step_by(CACHE_LINE).fold(0, |seen, byte| seen ^ byte);
    look(op.key) ^ op.value.map_or(0, look)
}

fn head(table: Table, key: &[u8]) -> Head {
    let mut bytes = [0; size_of::<Head>()];
    let values = std::iter::once(table as u8).chain(key.iter().copied());
    bytes.iter_mut().zip(values).for_each(|(to, byte)| *to = byte);
    let whole = u128::from_be_bytes(bytes);
    [(whole >> 64) as u64, whole as u64]
}

/// The value behind the expiry of an entry of [`Table::Referent`], and the expiry; `None` where there is no room for one.
pub(crate) fn split_expiry(stored: &[u8]) -> Option<(i64, &[u8])> {
    let (expiry, value) = stored.split_first_chunk::<EXPIRY_BYTES>()?;
    Some((i64::from_be_bytes(*expiry), value))
}

fn push_length(buffer: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        buffer.push(length as u8 | 0x80);
        length >>= 7;
    }
    buffer.push(length as u8);
}

fn read_op<'a>(rest: &mut &'a [u8]) -> Option<Op<'a>> {
    let (&first, after) = rest.split_first()?;
    *rest = after;
    let table = Table::from_number(first & !DELETE)?;
    let key = read_bytes(rest)?;
    let value = if first & DELETE == 0 { Some(read_bytes(rest)?) } else { None };
    if table == Table::Referent && value.is_some_and(|v| v.len() < EXPIRY_BYTES) {
        return None;
    }
    Some(Op { table, key, value })
}

fn read_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length = 0usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            return Some(bytes);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = (usize, Vec<u8>, Option<Vec<u8>>, Option<i64>)> {
        (0..6usize, vec(any::<u8>(), 0..300), proptest::option::of(vec(any::<u8>(), 0..300)), any::<Option<i64>>())
    }

    proptest! {
        #[test]
        fn changes_are_read_back_in_order(changes in vec(change(), 0..20), cut in 0usize..20) {
            let (mut first, mut second) = (Batch::default(), Batch::default());
            for (at, (table, key, value, expiry)) in changes.iter().enumerate() {
                let batch = if at < cut { &mut first } else { &mut second };
                match (value, expiry) {
                    (Some(value), Some(expiry)) if Table::ALL[*table] == Table::Referent => batch.put_until(key, value, *expiry),
                    (Some(value), _) => batch.put(Table::ALL[*table], key, value),
                    (None, _) => batch.delete(Table::ALL[*table], key),
                }
            }
            first.append(&second);
            prop_assert_eq!(first.len(), changes.len());
            let meta = changes.iter().filter(|change| Table::ALL[change.0] == Table::Meta);
            let meta: Vec<_> = meta.map(|(_, key, value, _)| (key.as_slice(), value.as_deref())).collect();
            prop_assert_eq!(first.changes_of(Table::Meta).collect::<Vec<_>>(), meta);
            prop_assert_eq!(&Batch::from_bytes(first.as_bytes().to_vec()).unwrap(), &first);
            for (op, (table, key, value, expiry)) in first.ops().zip(&changes) {
                prop_assert_eq!(op.table, Table::ALL[*table]);
                prop_assert_eq!(op.key, key);
                match (op.table, op.value) {
                    (Table::Referent, Some(stored)) => prop_assert_eq!(
                        split_expiry(stored).map(|(at, v)| (at, Some(v.to_vec()))),
                        Some((expiry.unwrap_or(NEVER), value.clone()))
                    ),
                    (_, stored) => prop_assert_eq!(stored, value.as_deref()),
                }
            }
        }

        /// Most keys of these begin alike, over more bytes than are at hand, or with zeros; some are there several times.
        #[test]
        fn changes_are_handed_over_in_order(
            changes in vec((0..6usize, 0..18usize, vec(0..2u8, 0..4), any::<bool>()), 0..60),
            cut in 0usize..60,
        ) {
            let (mut first, mut second) = (Batch::default(), Batch::default());
            for (at, (table, prefix, end, puts)) in changes.iter().enumerate() {
                let batch = if at < cut { &mut first } else { &mut second };
                let key = [vec![0; *prefix], end.clone()].concat();
                match puts {
                    true => batch.put(Table::ALL[*table], &key, &at.to_be_bytes()),
                    false => batch.delete(Table::ALL[*table], &key),
                }
            }
            let mut expected: Vec<Op<'_>> = first.ops().chain(second.ops()).collect();
            expected.sort_by_key(|op| (op.table, op.key));
            let mut found = Vec::new();
            each_in_order(&[&first, &second], |op| found.push(op));
            prop_assert_eq!(found, expected);
        }

        /// A value that is appended bit by bit is what it is when it is put at once.
        #[test]
        fn a_value_that_is_appended_is_read_whole(parts in vec(vec(any::<u8>(), 0..90), 0..4), around in any::<bool>()) {
            let mut batch = Batch::default();
            if around {
                batch.put(Table::Meta, b"before", b"1");
            }
            let open = batch.open(Table::Log, b"key");
            for part in &parts {
                batch.end().extend_from_slice(part);
            }
            let whole = parts.concat();
            prop_assert_eq!(batch.open_bytes(&open), whole.len());
            prop_assert_eq!(batch.close(open), whole.len());
            if around {
                batch.delete(Table::Meta, b"before");
            }
            let read = Batch::from_bytes(batch.as_bytes().to_vec()).unwrap();
            prop_assert_eq!(read.len(), if around { 3 } else { 1 });
            let logged: Vec<_> = read.changes_of(Table::Log).collect();
            prop_assert_eq!(logged, vec![(b"key".as_slice(), Some(whole.as_slice()))]);
            prop_assert_eq!(&read, &batch);
        }

        #[test]
        fn other_bytes_are_refused_or_read_whole(bytes in vec(any::<u8>(), 0..40)) {
            if let Ok(batch) = Batch::from_bytes(bytes) {
                prop_assert_eq!(batch.ops().count(), batch.len());
            }
        }
    }
}
