//! What a record of a topic has besides its value: key, timestamp and headers, as rules ask for them.

use super::Fault;
use crate::event::{Carried, Headers, Key, RejectedReason, headers};

/// A record of a topic besides its value; of a line of a file nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct Envelope<'b> {
    pub(super) key: Option<&'b [u8]>,
    /// Milliseconds since the Unix epoch.
    pub(super) timestamp: Option<i64>,
    /// Its [`Headers`].
    pub(super) headers: &'b [u8],
}

impl<'b> Envelope<'b> {
    /// The record's key as the key of an event: an integer where it is written as one, unless `text` asks for a text in any case.
    pub(super) fn key(&self, text: bool) -> Result<Key, Fault> {
        let fault = |detail: &str| Fault::new(RejectedReason::InvalidKey, detail);
        let key = self.key.ok_or_else(|| fault("the record has no key"))?;
        let written = simdutf8::basic::from_utf8(key).map_err(|_| fault("the record's key is not UTF-8"))?;
        let integer = if text { None } else { integer(written) };
        Ok(integer.unwrap_or_else(|| Key::text(written)))
    }

    /// The record's timestamp.
    pub(super) fn time(&self) -> Result<i64, Fault> {
        self.timestamp.ok_or_else(|| Fault::new(RejectedReason::InvalidTime, "the record has no timestamp"))
    }

    /// The last header of a name; `None` where there is none, or it has no value.
    pub(super) fn header(&self, name: &str) -> Option<&'b [u8]> {
        headers(self.headers).filter(|(n, _)| *n == name).last().and_then(|(_, value)| value)
    }

    /// Key and headers, to be passed on; `None` where there are none.
    pub(super) fn carried(&self) -> Option<Box<Carried>> {
        if self.key.is_none() && self.headers.is_empty() {
            return None;
        }
        Some(Box::new(Carried { key: self.key.map(<[u8]>::to_vec), headers: Headers::from_bytes(self.headers) }))
    }
}

/// The integer that a text is, written as JSON writes one and within the range of keys.
fn integer(text: &str) -> Option<Key> {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let is_plain = match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !is_plain {
        return None;
    }
    text.parse().map(Key::Int).or_else(|_| text.parse().map(Key::unsigned)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_key_that_is_written_as_an_integer_is_one() {
        let key = |bytes: &[u8], text| Envelope { key: Some(bytes), ..Envelope::default() }.key(text);
        for (written, expected) in [
            ("0", Key::Int(0)),
            ("-0", Key::Int(0)),
            ("17", Key::Int(17)),
            ("-17", Key::Int(-17)),
            ("9223372036854775807", Key::Int(i64::MAX)),
            ("-9223372036854775808", Key::Int(i64::MIN)),
            ("9223372036854775808", Key::Big(1 << 63)),
            ("18446744073709551615", Key::Big(u64::MAX)),
            ("18446744073709551616", Key::text("18446744073709551616")),
            ("-9223372036854775809", Key::text("-9223372036854775809")),
            ("007", Key::text("007")),
            ("+1", Key::text("+1")),
            ("1.0", Key::text("1.0")),
            ("-", Key::text("-")),
            ("", Key::text("")),
            ("é", Key::text("é")),
        ] {
            assert_eq!(key(written.as_bytes(), false).unwrap(), expected, "{written}");
            assert_eq!(key(written.as_bytes(), true).unwrap(), Key::text(written), "{written}");
        }
        assert_eq!(key(&[0xff], false).unwrap_err().reason, RejectedReason::InvalidKey);
        assert_eq!(Envelope::default().key(false).unwrap_err().reason, RejectedReason::InvalidKey);
    }

    #[test]
    fn the_last_header_of_a_name_counts() {
        let mut all = Headers::default();
        [("a", Some(&b"1"[..])), ("b", None), ("a", Some(b"2"))].iter().for_each(|(n, v)| all.push(n, *v));
        let envelope = Envelope { headers: all.as_bytes(), ..Envelope::default() };
        assert_eq!((envelope.header("a"), envelope.header("b"), envelope.header("c")), (Some(&b"2"[..]), None, None));
        assert_eq!(envelope.carried().unwrap().headers, all);
        assert!(Envelope::default().carried().is_none());
    }
}
