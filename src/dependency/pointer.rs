//! JSON Pointers (RFC 6901): how a configuration names a field of a record.

use std::fmt;

/// A checked JSON Pointer to a field: never the empty pointer, which would be the whole record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    text: String,
    tokens: Vec<String>,
}

/// Why a text is no pointer to a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// The empty pointer.
    #[error("the empty pointer names the whole record, not a field")]
    Whole,
    /// A name that starts with `@`: no field of the record's value.
    #[error("`@` names a part of a Kafka record besides its value, and there is none of this name here")]
    RecordPart,
    /// It does not start with `/`.
    #[error("a JSON Pointer starts with `/`")]
    NoSlash,
    /// A `~` that is followed by neither `0` nor `1`.
    #[error("`~` stands alone: a JSON Pointer writes `~0` for `~` and `~1` for `/`")]
    Escape,
}

impl Pointer {
    /// Reads a pointer such as `/author/id`. Fails where it does not name a field by RFC 6901.
    pub fn parse(text: &str) -> Result<Pointer, PointerError> {
        if text.is_empty() {
            return Err(PointerError::Whole);
        }
        if text.starts_with('@') {
            return Err(PointerError::RecordPart);
        }
        let inner = text.strip_prefix('/').ok_or(PointerError::NoSlash)?;
        let tokens = inner.split('/').map(unescape).collect::<Result<_, _>>()?;
        Ok(Pointer { text: text.to_owned(), tokens })
    }

    /// The pointer as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its reference tokens without their escapes, outermost first; at least one. A token is a member's name, or an
    /// index where it meets an array.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }
}

fn unescape(token: &str) -> Result<String, PointerError> {
    let mut parts = token.split('~');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, rest) = match part.as_bytes().first() {
            Some(b'0') => ('~', part.get(1..)),
            Some(b'1') => ('/', part.get(1..)),
            _ => return Err(PointerError::Escape),
        };
        plain.push(escaped);
        plain.push_str(rest.unwrap_or_default());
    }
    Ok(plain)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pointers_of_the_rfc() {
        for (text, tokens) in [
            ("/foo", vec!["foo"]),
            ("/foo/0", vec!["foo", "0"]),
            ("/", vec![""]),
            ("/a~1b", vec!["a/b"]),
            ("/c%d", vec!["c%d"]),
            ("/i\\j", vec!["i\\j"]),
            ("/ ", vec![" "]),
            ("/m~0n", vec!["m~n"]),
            ("/~01", vec!["~1"]),
            ("/a//b", vec!["a", "", "b"]),
        ] {
            let pointer = Pointer::parse(text).unwrap();
            assert_eq!(pointer.tokens(), tokens, "{text}");
            assert_eq!(pointer.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_pointer() {
        for (text, error) in [
            ("", PointerError::Whole),
            ("@key", PointerError::RecordPart),
            ("author", PointerError::NoSlash),
            ("#/author", PointerError::NoSlash),
            ("/~", PointerError::Escape),
            ("/a~2b", PointerError::Escape),
        ] {
            assert_eq!(Pointer::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn escaped_tokens_come_back(tokens in prop::collection::vec(".{0,8}", 1..5)) {
            let text: String =
                tokens.iter().map(|t| format!("/{}", t.replace('~', "~0").replace('/', "~1"))).collect();
            let pointer = Pointer::parse(&text).unwrap();
            prop_assert_eq!(pointer.tokens(), tokens);
        }
    }
}
