//! The grammar of JSON (RFC 8259) over one record: checks every byte and gives back scalars.
//!
//! Every function takes what is left of the record, which is UTF-8, and gives back what is left after it: two words that stay in registers.
//! Before that, one pass with vector instructions over the whole block marks where strings may end, as simdjson does (Langdale and Lemire 2019);
//! so a string costs the same however long it is.
//!
//! Accepted is exactly what `serde_json` accepts as a `Value`; tests hold that. It is written by hand for two reasons. On Nexmark lines decoding takes
//! about two thirds of the processor time that it took with a visitor on `sonic_rs`. And the fast way of `sonic_rs` to skip a value neither checks the
//! digits of `\u` escapes nor bounds its recursion, so that a megabyte of `[` would overflow the stack.

use wide::u8x16;

use super::collect::Value;
use super::number::{number, skip_number};

/// Levels of arrays and objects in each other that a record may have.
pub(super) const DEPTH_MAX: usize = 127;

/// The record is not JSON. Where and why is worked out by who reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson;

/// What is left of the record after something was read.
pub(super) type Rest<'b> = Result<&'b [u8], NotJson>;

/// The strings of the records of a block.
pub(super) struct Strings {
    /// One bit for each byte of the block, the first being the lowest: whether it is a quote, a backslash or a control character.
    stops: Vec<u64>,
    /// Where the record that is read ends in the block.
    end: usize,
    /// The strings of this record that had escapes, without them, one after the other.
    pub(super) unescaped: Vec<u8>,
}

impl Strings {
    /// Those of `block`.
    pub(super) fn new(block: &[u8]) -> Self {
        let (whole, rest) = block.as_chunks();
        // What is beyond the end is zeros, which are control characters: a string ends there, whatever it lacks.
        let mut last = [0; 64];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let stops = whole.iter().chain([&last]).map(stops).collect();
        Strings { stops, end: 0, unescaped: Vec::new() }
    }

    /// Begins to read the record that ends at `end` in the block.
    pub(super) fn begin(&mut self, end: usize) {
        self.end = end;
        self.unescaped.clear();
    }

    /// The length of the plain text that `rest` begins with: up to a quote, a backslash, a control character or the end of the block.
    #[inline(always)]
    fn plain_length(&self, rest: &[u8]) -> usize {
        // What is left is always the end of the record.
        let at = self.end.wrapping_sub(rest.len());
        match self.stops.get(at / 64).map_or(0, |word| word >> (at % 64)) {
            0 => self.long_plain_length(at),
            stops => stops.trailing_zeros() as usize,
        }
    }

    /// The length of plain text from `at`, which goes on in the next 64 bytes of the block.
    #[inline(never)]
    fn long_plain_length(&self, at: usize) -> usize {
        let rest = self.stops.get(at / 64 + 1..).unwrap_or_default();
        let passed = rest.iter().take_while(|word| **word == 0).count();
        let last = rest.get(passed).map_or(0, |word| word.trailing_zeros());
        64 * (passed + 1) - at % 64 + last as usize
    }
}

/// One bit for each byte that is a quote, a backslash or a control character.
#[inline(always)]
fn stops(block: &[u8; 64]) -> u64 {
    let (parts, _) = block.as_chunks::<16>();
    parts.iter().rev().fold(0, |stops, part| {
        let bytes = u8x16::new(*part);
        let control = bytes.min(u8x16::splat(0x1F)).simd_eq(bytes);
        let stop = control | bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\'));
        stops << 16 | u64::from(stop.to_bitmask())
    })
}

#[inline(never)]
fn after_white_space(mut rest: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', after @ ..] = rest {
        rest = after;
    }
    rest
}

/// The next byte after white space, with it at the front of what is left; 0, which is valid nowhere, at the end.
#[inline(always)]
pub(super) fn next_token(mut rest: &[u8]) -> (u8, &[u8]) {
    if rest.first().is_none_or(|byte| *byte <= b' ') {
        rest = after_white_space(rest);
    }
    (rest.first().copied().unwrap_or(0), rest)
}

/// Passes white space and `token`.
#[inline(always)]
pub(super) fn expect(rest: &[u8], token: u8) -> Rest<'_> {
    let (next, rest) = next_token(rest);
    rest.get(1..).filter(|_| next == token).ok_or(NotJson)
}

/// After an element or a member: what is left after a comma, or after `close` with `true`.
#[inline(always)]
pub(super) fn another(rest: &[u8], close: u8) -> Result<(bool, &[u8]), NotJson> {
    let (next, rest) = next_token(rest);
    let after = rest.get(1..).filter(|_| next == b',' || next == close).ok_or(NotJson)?;
    Ok((next == close, after))
}

/// Nothing but white space is left.
pub(super) fn end(rest: &[u8]) -> Result<(), NotJson> {
    if after_white_space(rest).is_empty() { Ok(()) } else { Err(NotJson) }
}

/// The depth within an array or object at `depth`.
#[inline(always)]
pub(super) fn deeper(depth: usize) -> Result<usize, NotJson> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(NotJson) }
}

/// Reads a string, number, `true`, `false` or `null` that begins with `first`, the next byte.
#[inline(always)]
pub(super) fn scalar<'b>(rest: &'b [u8], first: u8, strings: &mut Strings, value: &mut Value<'b>) -> Rest<'b> {
    match first {
        b'"' => match plain_string(rest, strings) {
            Some((plain, rest)) => {
                *value = Value::Text(plain);
                Ok(rest)
            }
            None => {
                let start = strings.unescaped.len();
                let rest = string_with_escapes(rest, strings)?;
                *value = Value::Unescaped(start, strings.unescaped.len());
                Ok(rest)
            }
        },
        b'-' | b'0'..=b'9' => number(rest, value),
        _ => word(rest, first, value),
    }
}

/// `true`, `false` or `null`.
#[inline(never)]
fn word<'b>(rest: &'b [u8], first: u8, value: &mut Value<'b>) -> Rest<'b> {
    let (word, text): (_, &[u8]) = match first {
        b't' => (Value::Bool(true), b"true"),
        b'f' => (Value::Bool(false), b"false"),
        _ => (Value::Null, b"null"),
    };
    *value = word;
    literal(rest, text)
}

fn literal<'b>(rest: &'b [u8], literal: &[u8]) -> Rest<'b> {
    rest.strip_prefix(literal).ok_or(NotJson)
}

/// A string from its opening quote, and what is left; `None` if it has escapes or is none.
#[inline(always)]
pub(super) fn plain_string<'b>(rest: &'b [u8], strings: &Strings) -> Option<(&'b [u8], &'b [u8])> {
    let [b'"', rest @ ..] = rest else { return None };
    let (plain, rest) = rest.split_at_checked(strings.plain_length(rest))?;
    match rest {
        [b'"', after @ ..] => Some((plain, after)),
        _ => None,
    }
}

/// Passes a string from its opening quote, and puts it after those that had escapes.
#[cold]
pub(super) fn string_with_escapes<'b>(rest: &'b [u8], strings: &mut Strings) -> Rest<'b> {
    let mut rest = expect(rest, b'"')?;
    loop {
        let (plain, after) = rest.split_at_checked(strings.plain_length(rest)).ok_or(NotJson)?;
        strings.unescaped.extend_from_slice(plain);
        match after {
            [b'"', after @ ..] => return Ok(after),
            [b'\\', after @ ..] => {
                let (char, after) = escape(after)?;
                strings.unescaped.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
            _ => return Err(NotJson),
        }
    }
}

/// What an escape stands for, from after its backslash.
fn escape(rest: &[u8]) -> Result<(char, &[u8]), NotJson> {
    let (kind, rest) = rest.split_first().ok_or(NotJson)?;
    let char = match kind {
        b'"' | b'\\' | b'/' => char::from(*kind),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (unit, rest) = code_unit(rest)?;
            if !(0xD800..0xE000).contains(&unit) {
                return Ok((char::from_u32(u32::from(unit)).ok_or(NotJson)?, rest));
            }
            let (second, rest) = code_unit(literal(rest, b"\\u")?)?;
            let pair = char::decode_utf16([unit, second]).next();
            return Ok((pair.and_then(Result::ok).ok_or(NotJson)?, rest));
        }
        _ => return Err(NotJson),
    };
    Ok((char, rest))
}

/// Four hexadecimal digits.
fn code_unit(rest: &[u8]) -> Result<(u16, &[u8]), NotJson> {
    let (digits, rest) = rest.split_first_chunk::<4>().ok_or(NotJson)?;
    let unit = digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16).and_then(|d| u16::try_from(d).ok()).ok_or(NotJson)?;
        Ok(unit << 4 | digit)
    })?;
    Ok((unit, rest))
}

/// Checks a value that nobody wants, at `depth` levels.
#[inline(always)]
pub(super) fn skip<'b>(rest: &'b [u8], depth: usize, strings: &mut Strings) -> Rest<'b> {
    let (first, rest) = next_token(rest);
    match first {
        b'"' => skip_string(rest, strings),
        b'-' | b'0'..=b'9' => skip_number(rest),
        b'{' => skip_object(rest, depth, strings),
        b'[' => skip_array(rest, depth, strings),
        _ => word(rest, first, &mut Value::Absent),
    }
}

#[inline(always)]
fn skip_string<'b>(rest: &'b [u8], strings: &mut Strings) -> Rest<'b> {
    if let Some((_, rest)) = plain_string(rest, strings) {
        return Ok(rest);
    }
    let length = strings.unescaped.len();
    let rest = string_with_escapes(rest, strings);
    strings.unescaped.truncate(length);
    rest
}

#[inline(never)]
fn skip_object<'b>(rest: &'b [u8], depth: usize, strings: &mut Strings) -> Rest<'b> {
    let depth = deeper(depth)?;
    let mut rest = expect(rest, b'{')?;
    if let (b'}', rest) = next_token(rest) {
        return expect(rest, b'}');
    }
    loop {
        rest = skip_string(next_token(rest).1, strings)?;
        rest = skip(expect(rest, b':')?, depth, strings)?;
        match another(rest, b'}')? {
            (true, rest) => return Ok(rest),
            (false, after) => rest = after,
        }
    }
}

#[inline(never)]
fn skip_array<'b>(rest: &'b [u8], depth: usize, strings: &mut Strings) -> Rest<'b> {
    let depth = deeper(depth)?;
    let mut rest = expect(rest, b'[')?;
    if let (b']', rest) = next_token(rest) {
        return expect(rest, b']');
    }
    loop {
        rest = skip(rest, depth, strings)?;
        match another(rest, b']')? {
            (true, rest) => return Ok(rest),
            (false, after) => rest = after,
        }
    }
}
