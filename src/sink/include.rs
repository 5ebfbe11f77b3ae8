//! `include`: the fields of a referent that an outcome carries, as they are written in it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::dependency::Pointer;

/// The fields to carry, with their names written as JSON once.
#[derive(Debug)]
pub(super) struct Include {
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    tokens: Vec<String>,
    /// `"/author":`
    name: Vec<u8>,
}

impl Include {
    pub(super) fn new(pointers: &[Pointer]) -> Self {
        let field = |pointer: &Pointer| {
            let mut name = serde_json::Value::from(pointer.to_string()).to_string().into_bytes();
            name.push(b':');
            Field { tokens: pointer.tokens().to_vec(), name }
        };
        Include { fields: pointers.iter().map(field).collect() }
    }

    /// Writes the object of a referent's fields. One that the referent does not have is left out: `null` says that it is there and null.
    pub(super) fn write(&self, referent: &[u8], line: &mut Vec<u8>) {
        line.push(b'{');
        let mut separator = None;
        for field in &self.fields {
            let Some(raw) = find(referent, &field.tokens) else { continue };
            line.extend(separator.replace(b','));
            line.extend_from_slice(&field.name);
            line.extend_from_slice(raw);
        }
        line.push(b'}');
    }
}

/// The bytes of the value that a pointer leads to in an event, which is known to be JSON. Of members with the same name the last counts.
pub(super) fn find<'j>(json: &'j [u8], tokens: &[String]) -> Option<&'j [u8]> {
    tokens.iter().try_fold(json, |json, token| {
        let found = serde_json::Deserializer::from_slice(json).deserialize_any(Child(token));
        Some(found.ok()??.get().as_bytes())
    })
}

/// Finds the member, or the element, that a token names; anything else has neither, which is an error.
struct Child<'t>(&'t str);

impl<'j> Visitor<'j> for Child<'_> {
    type Value = Option<&'j RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = object.next_key::<Cow<'j, str>>()? {
            if name == self.0 {
                found = Some(object.next_value()?);
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let canonical = self.0 == "0" || !self.0.starts_with(['0', '+']);
        let Some(position) = self.0.parse::<usize>().ok().filter(|_| canonical) else { return Ok(None) };
        for _ in 0..position {
            if array.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        array.next_element()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_carried_as_they_are_written() {
        let referent = br#"{"a":1.0,"b":{"c":[1, {"d":"\u0041"}],"c/d":-0},"n":null,"\u0065":"esc","a":1e3}"#;
        let cases = [
            (vec!["/a"], r#"{"/a":1e3}"#),
            (vec!["/b"], r#"{"/b":{"c":[1, {"d":"\u0041"}],"c/d":-0}}"#),
            (vec!["/b/c/1/d", "/b/c~1d"], r#"{"/b/c/1/d":"\u0041","/b/c~1d":-0}"#),
            (vec!["/n", "/missing", "/e"], r#"{"/n":null,"/e":"esc"}"#),
            (vec!["/b/c/2", "/b/c/01", "/a/b", "/b/c/-"], "{}"),
        ];
        for (pointers, expected) in cases {
            let pointers: Vec<Pointer> = pointers.iter().map(|p| Pointer::parse(p).expect("a pointer")).collect();
            let mut line = Vec::new();
            Include::new(&pointers).write(referent, &mut line);
            assert_eq!(String::from_utf8_lossy(&line), expected);
        }
    }
}
