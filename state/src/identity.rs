//! Whose state it is, and the file that says so.

use std::fmt::Write as _;

/// The format version that this program writes, and the latest that it reads.
pub const FORMAT_VERSION: u32 = 1;

const TITLE: &str = "resolvent state, format ";

/// Whose state it is: written at its creation, compared at every later start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The job's name.
    pub job: String,
    /// The rules that the state depends on; opaque, compared byte for byte.
    pub fingerprint: Vec<u8>,
    /// The same for people, a rule a line: a refusal shows the lines that differ.
    pub fingerprint_text: String,
}

/// What the `FORMAT` file of a directory says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Known(Identity),
    Newer(u32),
    /// Not a `FORMAT` file of ours, or no longer.
    Unreadable,
}

impl Identity {
    /// The `FORMAT` file: readable, with lengths so that any name and text can be read back, and a checksum at its end.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = format!("{TITLE}{FORMAT_VERSION}\njob {} {}\nfingerprint ", self.job.len(), self.job);
        for byte in &self.fingerprint {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        let _ = write!(text, "\nrules {}\n{}\n", self.fingerprint_text.len(), self.fingerprint_text);
        let checksum = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "checksum {checksum:08x}");
        text.into_bytes()
    }

    /// Reads [`Identity::encode`]. The first line alone tells a newer format, whatever follows in it.
    pub(crate) fn decode(bytes: &[u8]) -> Format {
        let Some(version) = version(bytes) else { return Format::Unreadable };
        if version > FORMAT_VERSION {
            return Format::Newer(version);
        }
        match std::str::from_utf8(bytes).ok().and_then(parse) {
            Some(identity) => Format::Known(identity),
            None => Format::Unreadable,
        }
    }

    /// Lines of the text that only one of the two has: `- ` only `self`, `+ ` only `other`.
    pub(crate) fn differences(&self, other: &Identity) -> String {
        let only = |sign: &str, of: &Identity, than: &Identity| {
            let lines = of.fingerprint_text.lines().filter(|line| !than.fingerprint_text.lines().any(|l| l == *line));
            lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
        };
        let mut lines = only("-", self, other) + &only("+", other, self);
        if lines.is_empty() {
            lines.push_str("only the order of the rules, or how they are encoded\n");
        }
        lines.truncate(lines.trim_end().len());
        lines
    }
}

fn version(bytes: &[u8]) -> Option<u32> {
    let line = bytes.split(|&b| b == b'\n').next()?;
    std::str::from_utf8(line.strip_prefix(TITLE.as_bytes())?).ok()?.parse().ok()
}

fn parse(text: &str) -> Option<Identity> {
    let body = text.len().checked_sub("checksum 00000000\n".len())?;
    let (content, checksum) = text.split_at_checked(body)?;
    let checksum = checksum.strip_prefix("checksum ")?.strip_suffix('\n')?;
    if u32::from_str_radix(checksum, 16).ok()? != crc32c::crc32c(content.as_bytes()) {
        return None;
    }
    let (_, rest) = content.split_once('\n')?;
    let (job, rest) = sized(rest.strip_prefix("job ")?, ' ')?;
    let (fingerprint, rest) = rest.strip_prefix("\nfingerprint ")?.split_once('\n')?;
    let (fingerprint_text, _) = sized(rest.strip_prefix("rules ")?, '\n')?;
    let fingerprint = fingerprint
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<_>>()?;
    Some(Identity { job: job.to_owned(), fingerprint, fingerprint_text: fingerprint_text.to_owned() })
}

/// `LENGTH separator text`: the text, and what follows it.
fn sized(text: &str, separator: char) -> Option<(&str, &str)> {
    let (length, rest) = text.split_once(separator)?;
    rest.split_at_checked(length.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_read_back(job in any::<String>(), fingerprint in any::<Vec<u8>>(), fingerprint_text in any::<String>()) {
            let identity = Identity { job, fingerprint, fingerprint_text };
            prop_assert_eq!(Identity::decode(&identity.encode()), Format::Known(identity));
        }

        #[test]
        fn a_flipped_bit_is_never_another_identity(at in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let identity = Identity { job: "social".into(), fingerprint: vec![1, 2], fingerprint_text: "a\nb".into() };
            let mut bytes = identity.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            match Identity::decode(&bytes) {
                // The case of a digit of the checksum.
                Format::Known(read) => prop_assert_eq!(read, identity),
                Format::Newer(_) | Format::Unreadable => {}
            }
        }
    }

    #[test]
    fn differences_are_lines() {
        let text = |text: &str| Identity { fingerprint_text: text.into(), ..Identity::default() };
        for (then, now, expected) in [
            ("a\nb\nc", "a\nc\nd", "- b\n+ d"),
            ("a", "a\nb", "+ b"),
            ("a\nb", "b\na", "only the order of the rules, or how they are encoded"),
        ] {
            assert_eq!(text(then).differences(&text(now)), expected);
        }
    }

    #[test]
    fn a_newer_format_is_told_by_its_first_line() {
        assert_eq!(Identity::decode(b"resolvent state, format 2\nanything"), Format::Newer(2));
        assert_eq!(Identity::decode(b"something else"), Format::Unreadable);
    }
}
