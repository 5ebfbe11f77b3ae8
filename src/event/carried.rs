//! What a record of a topic carries besides its value, and an outcome passes on: its key and its headers.

use serde::{Deserialize, Serialize};

/// The key and the headers of a record, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Its key, where it has one.
    #[serde(with = "serde_bytes")]
    pub key: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Headers,
}

impl Carried {
    /// Bytes of memory that it holds.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Carried>() + self.key.as_ref().map_or(0, Vec::len) + self.headers.0.len()
    }
}

/// Headers in the order in which they came, in one buffer: for each the length of its name, the name, the length of its value plus one, and the value;
/// 0 for a header without a value. Lengths are 32 bits, little-endian.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers(#[serde(with = "serde_bytes")] Vec<u8>);

impl Headers {
    /// Headers that were taken apart by [`Headers::as_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Headers {
        Headers(bytes.to_vec())
    }

    /// All of them as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one at the end.
    pub fn push(&mut self, name: &str, value: Option<&[u8]>) {
        push_header(&mut self.0, name, value);
    }

    /// Name and value of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        headers(&self.0)
    }
}

/// Appends a header to bytes as [`Headers`] has them.
pub fn push_header(bytes: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    // A record is below 2 GiB, and so is what it carries.
    let length = |of: usize| u32::try_from(of).unwrap_or(u32::MAX).to_le_bytes();
    bytes.extend_from_slice(&length(name.len()));
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&value.map_or([0; 4], |value| length(value.len() + 1)));
    bytes.extend_from_slice(value.unwrap_or_default());
}

/// The headers in bytes as [`Headers`] has them; of other bytes as many as can be read.
pub fn headers(mut bytes: &[u8]) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
    std::iter::from_fn(move || {
        let name = str::from_utf8(take(&mut bytes, 0)?).ok()?;
        let has_value = bytes.first_chunk::<4>()? != &[0; 4];
        let value = take(&mut bytes, usize::from(has_value))?;
        Some((name, has_value.then_some(value)))
    })
}

/// Takes a length, and as many bytes less `excess`.
fn take<'b>(bytes: &mut &'b [u8], excess: usize) -> Option<&'b [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?.checked_sub(excess)?;
    let (taken, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_out_as_they_went_in() {
        let all: [(&str, Option<&[u8]>); 5] =
            [("type", Some(b"bid")), ("", Some(b"")), ("none", None), ("type", Some(&[0xff, 0])), ("é", Some(b"x"))];
        let mut headers = Headers::default();
        assert!(headers.is_empty());
        all.iter().for_each(|(name, value)| headers.push(name, *value));
        assert_eq!(headers.iter().collect::<Vec<_>>(), all);
        assert_eq!(Headers::from_bytes(headers.as_bytes()), headers);
    }

    #[test]
    fn bytes_that_are_no_headers_end_them() {
        let mut headers = Headers::default();
        headers.push("a", Some(b"b"));
        for cut in 0..headers.as_bytes().len() {
            assert_eq!(super::headers(headers.as_bytes().get(..cut).unwrap_or_default()).count(), 0, "cut at {cut}");
        }
        assert_eq!(super::headers(&[1, 0, 0, 0, 0xff, 0, 0, 0, 0]).count(), 0);
    }
}
