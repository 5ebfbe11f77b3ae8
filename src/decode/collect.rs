//! One pass over a record's JSON: keeps the values of the wanted fields.

use super::fields::{FieldId, Fields};
use super::scan::{NotJson, Scanner};
use crate::event::Key;

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

/// The values of all wanted fields of one record. Used again for the next record of a block.
pub(super) struct Values<'b> {
    values: Vec<Value<'b>>,
    /// The elements of each field that is an array.
    elements: Vec<Vec<Value<'b>>>,
    unescaped: Vec<u8>,
}

impl<'b> Values<'b> {
    pub(super) fn new(fields: &Fields) -> Self {
        Values {
            values: vec![Value::Absent; fields.len()],
            elements: vec![Vec::new(); fields.len()],
            unescaped: Vec::new(),
        }
    }

    /// Reads a record. On an error the values mean nothing.
    pub(super) fn read(&mut self, fields: &Fields, record: &'b str) -> Result<(), NotJson> {
        self.values.fill(Value::Absent);
        self.unescaped.clear();
        let mut reading = Reading {
            scanner: Scanner::new(record, &mut self.unescaped),
            fields,
            values: &mut self.values,
            elements: &mut self.elements,
        };
        reading.value(FieldId::ROOT, 0)?;
        reading.scanner.end()
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
            Value::Unescaped(from, to) => self.unescaped.get(from..to),
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
fn cut(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// A record being read.
struct Reading<'b, 'v, 'f> {
    scanner: Scanner<'b, 'v>,
    fields: &'f Fields,
    values: &'v mut [Value<'b>],
    elements: &'v mut [Vec<Value<'b>>],
}

impl<'b> Reading<'b, '_, '_> {
    /// Reads what is at a field, `depth` levels deep.
    fn value(&mut self, field: FieldId, depth: usize) -> Result<(), NotJson> {
        let value = match self.scanner.next_token() {
            b'{' => Value::Object,
            b'[' => Value::Array,
            _ => self.scanner.scalar()?,
        };
        // Of members with the same name the last counts, with all that is below it.
        if let Some(below) = self.values.get_mut(self.fields.below(field)) {
            below.fill(Value::Absent);
        }
        if let Some(place) = self.values.get_mut(field.index()) {
            *place = value;
        }
        match value {
            Value::Object => self.object(field, depth),
            Value::Array => self.array(field, depth),
            _ => Ok(()),
        }
    }

    fn object(&mut self, field: FieldId, depth: usize) -> Result<(), NotJson> {
        let depth = self.scanner.enter(b'{', depth)?;
        if self.scanner.passes(b'}') {
            return Ok(());
        }
        loop {
            let member = self.member(field)?;
            self.scanner.expect(b':')?;
            match member {
                Some(member) => self.value(member, depth)?,
                None => self.scanner.skip(depth)?,
            }
            if !self.scanner.another(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads a member's name. Returns the field it stands for, if that is wanted.
    #[inline]
    fn member(&mut self, of: FieldId) -> Result<Option<FieldId>, NotJson> {
        self.scanner.expect(b'"')?;
        if let Some(name) = self.scanner.plain_string() {
            return Ok(self.fields.member(of, name));
        }
        let from = self.scanner.unescaped.len();
        self.scanner.string_with_escapes()?;
        let member = self.scanner.unescaped.get(from..).and_then(|name| self.fields.member(of, name));
        self.scanner.unescaped.truncate(from);
        Ok(member)
    }

    fn array(&mut self, field: FieldId, depth: usize) -> Result<(), NotJson> {
        let depth = self.scanner.enter(b'[', depth)?;
        // Taken out while they are read, for reading an element may fill the arrays of fields below.
        let mut elements = self.elements.get_mut(field.index()).map(std::mem::take).unwrap_or_default();
        elements.clear();
        if !self.scanner.passes(b']') {
            loop {
                elements.push(self.element(field, elements.len(), depth)?);
                if !self.scanner.another(b']')? {
                    break;
                }
            }
        }
        if let Some(place) = self.elements.get_mut(field.index()) {
            *place = elements;
        }
        Ok(())
    }

    #[inline]
    fn element(&mut self, of: FieldId, position: usize, depth: usize) -> Result<Value<'b>, NotJson> {
        if let Some(field) = self.fields.element(of, position) {
            self.value(field, depth)?;
            return Ok(self.values.get(field.index()).copied().unwrap_or(Value::Absent));
        }
        match self.scanner.next_token() {
            b'{' => self.scanner.skip(depth).map(|()| Value::Object),
            b'[' => self.scanner.skip(depth).map(|()| Value::Array),
            _ => self.scanner.scalar(),
        }
    }
}
