//! Where a value is: a field of the record, or a part of a Kafka record besides its value.

use std::fmt;

use super::{Pointer, PointerError};

/// A place that a configuration names.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// A field of the record.
    Field(Pointer),
    /// `@key`: the record's key, an integer where it is written as one.
    Key,
    /// `@key:text`: the record's key, always a text.
    KeyText,
    /// `@timestamp`: the record's timestamp.
    Timestamp,
    /// `@header:NAME`: the last of the record's headers of that name.
    Header(String),
}

/// What each part is called.
const KEY: &str = "@key";
const KEY_TEXT: &str = "@key:text";
const TIMESTAMP: &str = "@timestamp";
const HEADER: &str = "@header:";

impl Place {
    /// Reads a JSON Pointer, or the name of a part. Fails where it is neither.
    pub fn parse(text: &str) -> Result<Place, PointerError> {
        Ok(match text {
            KEY => Place::Key,
            KEY_TEXT => Place::KeyText,
            TIMESTAMP => Place::Timestamp,
            _ => match text.strip_prefix(HEADER) {
                Some(name) if !name.is_empty() => Place::Header(name.to_owned()),
                _ => Place::Field(Pointer::parse(text)?),
            },
        })
    }

    /// The field, where it is one.
    pub fn field(&self) -> Option<&Pointer> {
        match self {
            Place::Field(pointer) => Some(pointer),
            Place::Key | Place::KeyText | Place::Timestamp | Place::Header(_) => None,
        }
    }
}

impl From<Pointer> for Place {
    fn from(pointer: Pointer) -> Place {
        Place::Field(pointer)
    }
}

impl fmt::Display for Place {
    /// As it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Field(pointer) => write!(f, "{pointer}"),
            Place::Key => f.write_str(KEY),
            Place::KeyText => f.write_str(KEY_TEXT),
            Place::Timestamp => f.write_str(TIMESTAMP),
            Place::Header(name) => write!(f, "{HEADER}{name}"),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for (text, place) in [
            ("@key", Place::Key),
            ("@key:text", Place::KeyText),
            ("@timestamp", Place::Timestamp),
            ("@header:type", Place::Header("type".to_owned())),
            ("@header:a:b", Place::Header("a:b".to_owned())),
            ("/key", Place::Field(Pointer::parse("/key").unwrap())),
        ] {
            assert_eq!(Place::parse(text), Ok(place.clone()), "{text}");
            assert_eq!(place.to_string(), text);
        }
        for (text, error) in [
            ("@header:", PointerError::RecordPart),
            ("@Key", PointerError::RecordPart),
            ("@key:int", PointerError::RecordPart),
            ("key", PointerError::NoSlash),
            ("", PointerError::Whole),
        ] {
            assert_eq!(Place::parse(text), Err(error), "{text}");
        }
    }
}
