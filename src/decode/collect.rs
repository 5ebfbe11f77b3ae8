//! One pass over a record's JSON: keeps the values of the wanted fields.

use memchr::memchr;

use super::fields::{FieldId, Fields};
use super::scan::{self, NotJson, Rest, Strings};
use crate::event::{Key, has_line_breaks};

/// What a record has at a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'b> {
    /// Nothing.
    Absent,
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    /// A number with a fraction, an exponent or beyond 64 bits.
    Float(f64),
    /// A string without escapes.
    Text(&'b [u8]),
    /// A string that had escapes: a range of [`Values::unescaped`].
    Unescaped(usize, usize),
    Array,
    Object,
}

/// The values of all wanted fields of one record of a block. Used again for the next one.
pub(super) struct Values<'b> {
    values: Vec<Value<'b>>,
    /// The elements of each field that is an array.
    elements: Vec<Vec<Value<'b>>>,
    strings: Strings,
    /// Whether the block has carriage returns. Line feeds are between records.
    carriage_returns: bool,
}

impl<'b> Values<'b> {
    /// For the records of `block`.
    pub(super) fn new(fields: &Fields, block: &'b [u8]) -> Self {
        Values {
            values: vec![Value::Absent; fields.len()],
            elements: vec![Vec::new(); fields.len()],
            strings: Strings::new(block),
            carriage_returns: memchr(b'\r', block).is_some(),
        }
    }

    /// Reads the record that ends at `end` in the block. On an error the values mean nothing.
    pub(super) fn read(&mut self, fields: &Fields, record: &'b str, end: usize) -> Result<(), NotJson> {
        self.values.fill(Value::Absent);
        self.strings.begin(end);
        let rest = self.value(record.as_bytes(), fields, FieldId::ROOT, 0)?;
        scan::end(rest)
    }

    /// Whether a record of the block has line breaks.
    pub(super) fn has_line_breaks(&self, record: &[u8]) -> bool {
        self.carriage_returns && has_line_breaks(record)
    }

    /// The value at a field; `Absent` for no field.
    pub(super) fn get(&self, field: FieldId) -> Value<'b> {
        self.values.get(field.index()).copied().unwrap_or(Value::Absent)
    }

    /// The elements of the array at a field.
    pub(super) fn elements(&self, field: FieldId) -> &[Value<'b>] {
        self.elements.get(field.index()).map_or(&[], Vec::as_slice)
    }

    /// The string that a value is, in UTF-8.
    pub(super) fn text<'v>(&'v self, value: Value<'b>) -> Option<&'v [u8]> {
        match value {
            Value::Text(text) => Some(text),
            Value::Unescaped(from, to) => self.strings.unescaped.get(from..to),
            _ => None,
        }
    }

    /// The key that a value is.
    pub(super) fn key(&self, value: Value<'b>) -> Option<Key> {
        match value {
            Value::Signed(int) => Some(Key::Int(int)),
            Value::Unsigned(int) => Some(Key::unsigned(int)),
            value => self.text(value).map(Key::bytes),
        }
    }

    /// What a value is, for a person.
    pub(super) fn describe(&self, value: Value<'b>) -> String {
        match value {
            Value::Absent => "missing".to_owned(),
            Value::Null => "null".to_owned(),
            Value::Bool(bool) => bool.to_string(),
            Value::Signed(int) => int.to_string(),
            Value::Unsigned(int) => int.to_string(),
            Value::Float(float) => format!("the number {float:?}"),
            Value::Array => "an array".to_owned(),
            Value::Object => "an object".to_owned(),
            text => {
                let text = String::from_utf8_lossy(self.text(text).unwrap_or_default());
                format!("the string {:?}", cut(&text, 40))
            }
        }
    }
}

/// At most `chars` characters of a text.
pub(super) fn cut(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// Where the value at a field goes. Of members with the same name the last counts, with all that is below it: what an earlier one had is forgotten.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "there is a value for each of the fields, by its index")]
fn place<'v, 'b>(values: &'v mut [Value<'b>], fields: &Fields, field: FieldId) -> &'v mut Value<'b> {
    if let Some(below) = fields.below(field).and_then(|below| values.get_mut(below)) {
        below.fill(Value::Absent);
    }
    &mut values[field.index()]
}

/// Reading: every function takes what is left of the record and gives back what is left after it, as those of [`scan`] do.
impl<'b> Values<'b> {
    /// Reads what is at a field, `depth` levels deep.
    fn value(&mut self, rest: &'b [u8], fields: &Fields, field: FieldId, depth: usize) -> Rest<'b> {
        let (first, rest) = scan::next_token(rest);
        match first {
            b'{' => {
                *place(&mut self.values, fields, field) = Value::Object;
                self.object(rest, fields, field, depth)
            }
            b'[' => {
                *place(&mut self.values, fields, field) = Value::Array;
                self.array(rest, fields, field, depth)
            }
            _ => scan::scalar(rest, first, &mut self.strings, place(&mut self.values, fields, field)),
        }
    }

    fn object(&mut self, rest: &'b [u8], fields: &Fields, field: FieldId, depth: usize) -> Rest<'b> {
        let depth = scan::deeper(depth)?;
        let mut rest = scan::expect(rest, b'{')?;
        if let (b'}', rest) = scan::next_token(rest) {
            return scan::expect(rest, b'}');
        }
        loop {
            let (member, after) = self.member(rest, fields, field)?;
            let after = scan::expect(after, b':')?;
            rest = match member {
                Some(member) => self.value(after, fields, member, depth)?,
                None => scan::skip(after, depth, &mut self.strings)?,
            };
            match scan::another(rest, b'}')? {
                (true, rest) => return Ok(rest),
                (false, after) => rest = after,
            }
        }
    }

    /// Reads a member's name. Gives back the field it stands for, if that is wanted.
    #[inline(always)]
    fn member(&mut self, rest: &'b [u8], fields: &Fields, of: FieldId) -> Result<(Option<FieldId>, &'b [u8]), NotJson> {
        let (_, rest) = scan::next_token(rest);
        if let Some((name, rest)) = scan::plain_string(rest, &self.strings) {
            return Ok((fields.member(of, name), rest));
        }
        let from = self.strings.unescaped.len();
        let rest = scan::string_with_escapes(rest, &mut self.strings)?;
        let member = self.strings.unescaped.get(from..).and_then(|name| fields.member(of, name));
        self.strings.unescaped.truncate(from);
        Ok((member, rest))
    }

    fn array(&mut self, rest: &'b [u8], fields: &Fields, field: FieldId, depth: usize) -> Rest<'b> {
        let depth = scan::deeper(depth)?;
        // Taken out while they are read, for reading an element may fill the arrays of fields below.
        let mut elements = self.elements.get_mut(field.index()).map(std::mem::take).unwrap_or_default();
        elements.clear();
        let rest = self.elements_into(&mut elements, scan::expect(rest, b'[')?, fields, field, depth)?;
        if let Some(place) = self.elements.get_mut(field.index()) {
            *place = elements;
        }
        Ok(rest)
    }

    fn elements_into(
        &mut self,
        elements: &mut Vec<Value<'b>>,
        mut rest: &'b [u8],
        fields: &Fields,
        of: FieldId,
        depth: usize,
    ) -> Rest<'b> {
        if let (b']', rest) = scan::next_token(rest) {
            return scan::expect(rest, b']');
        }
        loop {
            let (element, after) = self.element(rest, fields, of, elements.len(), depth)?;
            elements.push(element);
            match scan::another(after, b']')? {
                (true, rest) => return Ok(rest),
                (false, after) => rest = after,
            }
        }
    }

    #[inline]
    fn element(
        &mut self,
        rest: &'b [u8],
        fields: &Fields,
        of: FieldId,
        position: usize,
        depth: usize,
    ) -> Result<(Value<'b>, &'b [u8]), NotJson> {
        if let Some(field) = fields.element(of, position) {
            let rest = self.value(rest, fields, field, depth)?;
            return Ok((self.get(field), rest));
        }
        let (first, rest) = scan::next_token(rest);
        match first {
            b'{' => Ok((Value::Object, scan::skip(rest, depth, &mut self.strings)?)),
            b'[' => Ok((Value::Array, scan::skip(rest, depth, &mut self.strings)?)),
            _ => {
                let mut value = Value::Absent;
                let rest = scan::scalar(rest, first, &mut self.strings, &mut value)?;
                Ok((value, rest))
            }
        }
    }
}
