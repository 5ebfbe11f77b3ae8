//! Reads a TOML document key by key: each problem is noted with its place and reading goes on, so that all are told at
//! once.
//!
//! A value that is missing or wrong reads as `None`; that it was wrong is in the problems, and no job is made while
//! there are any.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::{self, Environment};
use super::problem::{ConfigError, Problems};
use super::units::{self, DURATION_FORM, SIZE_FORM};
use crate::dependency::{Place, Pointer, PointerError};

/// What all sections of one file share.
pub(super) struct Reader<'r> {
    environment: Environment<'r>,
    problems: RefCell<Problems>,
    /// Values that came from the environment, with the text that the file has in their place.
    written: RefCell<BTreeMap<String, String>>,
}

/// A value with its place in the file.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'r> Reader<'r> {
    pub(super) fn new(file: &Path, text: &str, environment: Environment<'r>) -> Self {
        let problems = RefCell::new(Problems::new(file, text));
        Reader { environment, problems, written: RefCell::default() }
    }

    /// Notes a problem. Values that came from the environment are shown as the file has them.
    pub(super) fn problem(
        &self,
        key: impl Into<String>,
        span: Option<Range<usize>>,
        found: impl Into<String>,
        right: impl Into<String>,
    ) {
        let mask = |text: String| {
            let written = self.written.borrow();
            written.iter().fold(text, |text, (value, written)| text.replace(&quoted(value), &quoted(written)))
        };
        self.problems.borrow_mut().add(mask(key.into()), span, mask(found.into()), mask(right.into()));
    }

    /// The value of a string of the file, `${NAME}` replaced.
    fn expand(&self, key: &str, text: &str, span: &Range<usize>) -> Option<String> {
        match environment::expand(text, self.environment) {
            Ok(value) => {
                if value != text {
                    self.written.borrow_mut().insert(value.clone(), text.to_owned());
                }
                Some(value)
            }
            Err(error) => {
                self.problem(key, Some(span.clone()), error.to_string(), error.right());
                None
            }
        }
    }

    /// Everything that was wrong: for a caller that knows that something was.
    pub(super) fn into_error(self) -> ConfigError {
        self.problems.into_inner().into_error()
    }

    /// The values from the environment with the texts to show for them, or everything that was wrong.
    pub(super) fn finish(self) -> Result<BTreeMap<String, String>, ConfigError> {
        if self.problems.borrow().is_empty() { Ok(self.written.into_inner()) } else { Err(self.into_error()) }
    }
}

/// A table of the file. Every key that is asked for is a known one; [`Section::finish`] refuses the others.
pub(super) struct Section<'r> {
    pub(super) reader: &'r Reader<'r>,
    table: &'r DeTable<'r>,
    /// How messages name it, such as `sink.resolved`; empty for the whole file.
    pub(super) name: String,
    /// Its header.
    pub(super) span: Range<usize>,
    known: RefCell<Vec<&'static str>>,
}

impl<'r> Section<'r> {
    pub(super) fn new(reader: &'r Reader<'r>, table: &'r DeTable<'r>, name: String, span: Range<usize>) -> Self {
        Section { reader, table, name, span, known: RefCell::default() }
    }

    /// How messages name a key of this section.
    pub(super) fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn value(&self, key: &'static str) -> Option<&'r Spanned<DeValue<'r>>> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        self.table.get(key)
    }

    /// Whether the key is there at all.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Whether the key's value is an array or a table with nothing in it.
    pub(super) fn is_empty(&self, key: &'static str) -> bool {
        self.value(key).is_some_and(|value| match value.get_ref() {
            DeValue::Array(array) => array.is_empty(),
            DeValue::Table(table) => table.is_empty(),
            _ => false,
        })
    }

    /// Where the key's value is, or the section where it has none.
    pub(super) fn span_of(&self, key: &'static str) -> Range<usize> {
        self.value(key).map_or(self.span.clone(), Spanned::span)
    }

    /// Notes a problem of a key, at its value where it has one.
    pub(super) fn problem(&self, key: &'static str, found: impl Into<String>, right: impl Into<String>) {
        self.reader.problem(self.key(key), Some(self.span_of(key)), found, right);
    }

    /// Notes that a key that must be there is not; but where it is there misspelt, that is all there is to say.
    pub(super) fn missing(&self, key: &'static str, right: impl Into<String>) {
        if !self.unknown().any(|unknown| is_near(unknown, key)) {
            self.reader.problem(self.key(key), Some(self.span.clone()), "it is missing", right);
        }
    }

    /// The keys that have not been asked for.
    fn unknown(&self) -> impl Iterator<Item = &str> {
        let known = self.known.borrow().clone();
        let keys = self.table.iter().map(|(key, _)| -> &str { key.get_ref() });
        keys.filter(move |key| !known.contains(key))
    }

    /// Whether there are keys that have not been asked for: once all have been, those that [`Section::finish`] refuses.
    pub(super) fn has_unknown(&self) -> bool {
        self.unknown().next().is_some()
    }

    /// Whether the file has a section [source.kafka], wrong or not.
    pub(super) fn names_kafka_source(&self) -> bool {
        let source = self.table.get("source").and_then(|source| source.get_ref().as_table());
        source.is_some_and(|source| source.contains_key("kafka"))
    }

    /// Whether the key's value is a table.
    pub(super) fn is_table(&self, key: &'static str) -> bool {
        self.value(key).is_some_and(|value| value.get_ref().as_table().is_some())
    }

    /// Whether the key's value is a whole number.
    pub(super) fn is_integer(&self, key: &'static str) -> bool {
        self.value(key).is_some_and(|value| value.get_ref().as_integer().is_some())
    }

    fn wrong_type(&self, key: &'static str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let found = format!("found {}", describe(value.get_ref()));
        self.reader.problem(self.key(key), Some(value.span()), found, format!("write {expected}"));
    }

    /// A string, `${NAME}` replaced.
    pub(super) fn text(&self, key: &'static str, expected: &str) -> Option<Found<String>> {
        let value = self.value(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, expected);
            return None;
        };
        let span = value.span();
        self.reader.expand(&self.key(key), text, &span).map(|value| Found { value, span })
    }

    /// A name: a string that is not empty and has no control characters.
    pub(super) fn name_text(&self, key: &'static str) -> Option<String> {
        let name = self.text(key, "a name in quotes")?.value;
        if name.is_empty() || name.chars().any(char::is_control) {
            self.problem(
                key,
                format!("{} is no name", quoted(&name)),
                "a name has at least one character, and no control characters",
            );
        }
        Some(name)
    }

    /// A string or an array of strings, in order.
    pub(super) fn texts(&self, key: &'static str, expected: &str) -> Option<Vec<Found<String>>> {
        let value = self.value(key)?;
        let Some(array) = value.get_ref().as_array() else {
            return self.text(key, expected).map(|text| vec![text]);
        };
        let element = |value: &Spanned<DeValue<'_>>| {
            let Some(text) = value.get_ref().as_str() else {
                self.wrong_type(key, value, "a string in quotes");
                return None;
            };
            let span = value.span();
            self.reader.expand(&self.key(key), text, &span).map(|value| Found { value, span })
        };
        Some(array.iter().filter_map(element).collect())
    }

    /// A table of strings, with the span of each value.
    pub(super) fn text_table(&self, key: &'static str, expected: &str) -> Option<Vec<(String, Found<String>)>> {
        let value = self.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, value, expected);
            return None;
        };
        let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            let Some(text) = value.get_ref().as_str() else {
                self.wrong_type(key, value, "a string in quotes");
                return None;
            };
            let span = value.span();
            let value = self.reader.expand(&self.key(key), text, &span)?;
            Some((name.to_string(), Found { value, span }))
        };
        Some(table.iter().filter_map(entry).collect())
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(key, value, "true or false");
        }
        flag
    }

    /// A whole number within a range.
    pub(super) fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, "a whole number");
            return None;
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.and_then(|n| u64::try_from(n).ok()).filter(|n| range.contains(n));
        if number.is_none() {
            self.out_of_range(key, integer, range.start(), range.end());
        }
        number
    }

    /// A share: a number from 0 to 1.
    pub(super) fn share(&self, key: &'static str) -> Option<f64> {
        let value = self.value(key)?;
        let text = match value.get_ref() {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) => integer.as_str(),
            _ => {
                self.wrong_type(key, value, "a number from 0 to 1");
                return None;
            }
        };
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            self.out_of_range(key, text, &"0", &"1");
        }
        share
    }

    fn out_of_range(&self, key: &'static str, found: impl Display, least: &dyn Display, most: &dyn Display) {
        self.problem(key, format!("{found} is out of range"), format!("from {least} to {most}"));
    }

    /// A duration within a range.
    pub(super) fn duration(&self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.text(key, "a duration in quotes, such as \"10m\"")?.value;
        let Some(duration) = units::parse_duration(&text) else {
            self.problem(key, format!("{} is no duration", quoted(&text)), format!("write {DURATION_FORM}"));
            return None;
        };
        if !range.contains(&duration) {
            let (least, most) = (units::show_duration(*range.start()), units::show_duration(*range.end()));
            self.out_of_range(key, quoted(&text), &least, &most);
        }
        Some(duration)
    }

    /// A size in bytes within a range.
    pub(super) fn size(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(key, "a size in quotes, such as \"64MiB\"")?.value;
        let Some(size) = units::parse_size(&text) else {
            self.problem(key, format!("{} is no size", quoted(&text)), format!("write {SIZE_FORM}"));
            return None;
        };
        if !range.contains(&size) {
            let (least, most) = (units::show_size(*range.start()), units::show_size(*range.end()));
            self.out_of_range(key, quoted(&text), &least, &most);
        }
        Some(size)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let listed: Vec<String> = words.iter().map(|(word, _)| quoted(word)).collect();
        let listed = listed.join(", ");
        let text = self.text(key, &format!("one of {listed}"))?.value;
        let chosen = words.iter().find(|(word, _)| *word == text);
        if chosen.is_none() {
            let hint = meant(&text, words.iter().map(|(word, _)| *word));
            self.problem(key, format!("{} is not known here{hint}", quoted(&text)), format!("one of {listed}"));
        }
        chosen.map(|(_, value)| *value)
    }

    /// A JSON Pointer. One that is wrong reads as `/`, so that nobody is told besides that it is missing.
    pub(super) fn pointer(&self, key: &'static str) -> Option<Pointer> {
        self.value(key)?;
        match self.text(key, "a JSON Pointer in quotes, such as \"/author\"") {
            Some(text) => self.check_pointer(key, &text),
            None => Pointer::parse("/").ok(),
        }
    }

    /// A JSON Pointer, or one of the `parts` of a Kafka record (one that ends with `:` wants a name). `has_parts` is whether records have any.
    pub(super) fn place(&self, key: &'static str, has_parts: bool, parts: &[&str]) -> Option<Place> {
        self.value(key)?;
        let wrong = || Pointer::parse("/").ok().map(Place::Field);
        let expected = "a JSON Pointer in quotes, such as \"/author\"";
        let Some(text) = self.text(key, expected) else { return wrong() };
        if !text.value.starts_with('@') {
            return self.check_pointer(key, &text).map(Place::Field);
        }
        let written = quoted(&text.value);
        let takes = |part: &&str| text.value == **part || (part.ends_with(':') && text.value.starts_with(*part));
        match Place::parse(&text.value) {
            Ok(place) if has_parts && parts.iter().any(takes) => return Some(place),
            Ok(_) if !has_parts => {
                let right = "name a field by a JSON Pointer, such as \"/id\", or read topics with [source.kafka]";
                self.problem(key, format!("{written} is a part of a Kafka record, and this source has none"), right);
            }
            Ok(_) | Err(_) => {
                let parts: Vec<String> = parts
                    .iter()
                    .map(|part| if part.ends_with(':') { format!("{part}NAME") } else { (*part).to_owned() })
                    .collect();
                let right = format!("write {}, or a JSON Pointer such as \"/id\"", parts.join(" or "));
                self.problem(key, format!("{written} is no part of a Kafka record that is taken here"), right);
            }
        }
        wrong()
    }

    /// An array of JSON Pointers.
    pub(super) fn pointers(&self, key: &'static str) -> Option<Vec<Pointer>> {
        let texts = self.texts(key, "an array of JSON Pointers, such as [\"/author\"]")?;
        Some(texts.iter().filter_map(|text| self.check_pointer(key, text)).collect())
    }

    fn check_pointer(&self, key: &'static str, text: &Found<String>) -> Option<Pointer> {
        match Pointer::parse(&text.value) {
            Ok(pointer) => Some(pointer),
            Err(error) => {
                let right = match error {
                    PointerError::NoSlash => format!("write {}", quoted(&format!("/{}", text.value))),
                    PointerError::Whole | PointerError::RecordPart | PointerError::Escape => {
                        "name a field of the record by a JSON Pointer (RFC 6901), such as \"/author\"".to_owned()
                    }
                };
                let found = format!("{} names no field: {error}", quoted(&text.value));
                self.reader.problem(self.key(key), Some(text.span.clone()), found, right);
                Pointer::parse("/").ok()
            }
        }
    }

    /// A table below this one.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'r>> {
        let value = self.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, value, &format!("a section [{}]", self.key(key)));
            return None;
        };
        Some(Section::new(self.reader, table, self.key(key), value.span()))
    }

    /// An array of tables below this one. `form` shows how one is written, `name` how messages name the one at an
    /// index.
    pub(super) fn sections(&self, key: &'static str, form: &str, name: impl Fn(usize) -> String) -> Vec<Section<'r>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, form);
            return Vec::new();
        };
        let element = |(at, value): (usize, &'r Spanned<DeValue<'r>>)| {
            let Some(table) = value.get_ref().as_table() else {
                self.wrong_type(key, value, form);
                return None;
            };
            Some(Section::new(self.reader, table, name(at), value.span()))
        };
        array.iter().enumerate().filter_map(element).collect()
    }

    /// Refuses the keys that were never asked for.
    pub(super) fn finish(&self) {
        let known = self.known.borrow();
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let hint = meant(name, known.iter().copied());
                let mut sorted = known.clone();
                sorted.sort_unstable();
                let place = if self.name.is_empty() { "a configuration" } else { self.name.as_str() };
                let right = format!("the keys of {place} are {}", sorted.join(", "));
                self.reader.problem(self.key(name), Some(key.span()), format!("unknown key{hint}"), right);
            }
        }
    }
}

/// A text in quotes, with escapes for what would not print.
pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// `; did you mean …?` where one of the words is close to what was written.
pub(super) fn meant<'w>(found: &str, words: impl Iterator<Item = &'w str>) -> String {
    let near = words.filter(|word| is_near(found, word));
    let best = near.map(|word| (strsim::damerau_levenshtein(found, word), word)).min();
    best.map_or(String::new(), |(_, word)| format!("; did you mean {}?", quoted(word)))
}

fn is_near(found: &str, word: &str) -> bool {
    strsim::damerau_levenshtein(found, word) <= 1 + word.len() / 4
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", quoted(text)),
        DeValue::Integer(integer) => format!("the number {integer}"),
        DeValue::Float(float) => format!("the number {float}"),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => format!("the date {time}"),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
