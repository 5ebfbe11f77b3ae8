//! The grammar of JSON (RFC 8259) over one record: checks every byte and gives back scalars.
//!
//! Accepted is exactly what `serde_json` accepts as a `Value`; tests hold that. It is written by hand for two reasons. It takes well under half of
//! the time that `sonic_rs` does with a visitor, and decoding is what an `independent` job mostly does. And the fast way of `sonic_rs` to skip a
//! value neither checks the digits of `\u` escapes nor bounds its recursion, so that a megabyte of `[` would overflow the stack.

use super::collect::Value;

/// Levels of arrays and objects in each other that a record may have.
pub(super) const DEPTH_MAX: usize = 127;

/// The record is not JSON. Where and why is worked out by who reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson;

/// Reads a record, which is UTF-8, from front to back.
pub(super) struct Scanner<'b, 'u> {
    /// What has not been read yet.
    rest: &'b [u8],
    /// Strings that had escapes are put here, one after the other.
    pub(super) unescaped: &'u mut Vec<u8>,
}

impl<'b, 'u> Scanner<'b, 'u> {
    pub(super) fn new(record: &'b str, unescaped: &'u mut Vec<u8>) -> Self {
        Scanner { rest: record.as_bytes(), unescaped }
    }

    /// The next byte; 0, which is valid nowhere, at the end.
    #[inline(always)]
    fn peek(&self) -> u8 {
        self.rest.first().copied().unwrap_or(0)
    }

    /// Passes one byte.
    #[inline(always)]
    fn pass(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// Passes white space. Returns the byte after it, which is not passed.
    #[inline(always)]
    pub(super) fn next_token(&mut self) -> u8 {
        let next = self.peek();
        if next > b' ' { next } else { self.pass_white_space() }
    }

    #[inline(never)]
    fn pass_white_space(&mut self) -> u8 {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.peek()
    }

    /// Passes white space and `token`.
    #[inline(always)]
    pub(super) fn expect(&mut self, token: u8) -> Result<(), NotJson> {
        if self.passes(token) { Ok(()) } else { Err(NotJson) }
    }

    /// Passes `token` if it comes next, after white space.
    #[inline(always)]
    pub(super) fn passes(&mut self, token: u8) -> bool {
        let comes = self.next_token() == token;
        if comes {
            self.pass();
        }
        comes
    }

    /// After an element or a member: whether another one follows, or `close`.
    #[inline(always)]
    pub(super) fn another(&mut self, close: u8) -> Result<bool, NotJson> {
        let next = self.next_token();
        self.pass();
        match next {
            b',' => Ok(true),
            _ if next == close => Ok(false),
            _ => Err(NotJson),
        }
    }

    /// Nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<(), NotJson> {
        self.pass_white_space();
        if self.rest.is_empty() { Ok(()) } else { Err(NotJson) }
    }

    /// A string, number, `true`, `false` or `null`, after white space.
    #[inline]
    pub(super) fn scalar(&mut self) -> Result<Value<'b>, NotJson> {
        match self.next_token() {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal(b"true", Value::Bool(true)),
            b'f' => self.literal(b"false", Value::Bool(false)),
            b'n' => self.literal(b"null", Value::Null),
            _ => Err(NotJson),
        }
    }

    fn literal(&mut self, literal: &[u8], value: Value<'b>) -> Result<Value<'b>, NotJson> {
        self.rest = self.rest.strip_prefix(literal).ok_or(NotJson)?;
        Ok(value)
    }

    /// A string, after white space.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Value<'b>, NotJson> {
        self.expect(b'"')?;
        match self.plain_string() {
            Some(plain) => Ok(Value::Text(plain)),
            None => self.string_with_escapes(),
        }
    }

    /// A string from after its opening quote, if it has no escapes; otherwise nothing is passed.
    #[inline(always)]
    pub(super) fn plain_string(&mut self) -> Option<&'b [u8]> {
        let (plain, rest) = self.rest.split_at_checked(end_of_plain_text(self.rest))?;
        self.rest = rest.strip_prefix(b"\"")?;
        Some(plain)
    }

    #[cold]
    pub(super) fn string_with_escapes(&mut self) -> Result<Value<'b>, NotJson> {
        let start = self.unescaped.len();
        loop {
            let (plain, rest) = self.rest.split_at_checked(end_of_plain_text(self.rest)).ok_or(NotJson)?;
            self.unescaped.extend_from_slice(plain);
            self.rest = rest;
            let stopped_by = self.peek();
            self.pass();
            match stopped_by {
                b'"' => return Ok(Value::Unescaped(start, self.unescaped.len())),
                b'\\' => {
                    let char = self.escape()?;
                    self.unescaped.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => return Err(NotJson),
            }
        }
    }

    /// What an escape stands for, from after its backslash.
    fn escape(&mut self) -> Result<char, NotJson> {
        let kind = self.peek();
        self.pass();
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => match self.code_unit()? {
                first @ 0xD800..0xE000 => {
                    self.rest = self.rest.strip_prefix(b"\\u").ok_or(NotJson)?;
                    let pair = [first, self.code_unit()?];
                    char::decode_utf16(pair).next().and_then(Result::ok).ok_or(NotJson)?
                }
                unit => char::from_u32(u32::from(unit)).ok_or(NotJson)?,
            },
            _ => return Err(NotJson),
        })
    }

    /// Four hexadecimal digits.
    fn code_unit(&mut self) -> Result<u16, NotJson> {
        let (digits, rest) = self.rest.split_first_chunk::<4>().ok_or(NotJson)?;
        self.rest = rest;
        digits.iter().try_fold(0, |unit, digit| {
            let digit = char::from(*digit).to_digit(16).and_then(|d| u16::try_from(d).ok()).ok_or(NotJson)?;
            Ok(unit << 4 | digit)
        })
    }

    #[inline]
    fn number(&mut self) -> Result<Value<'b>, NotJson> {
        let start = self.rest;
        let negative = self.peek() == b'-';
        if negative {
            self.pass();
        }
        let leading_zero = self.peek() == b'0';
        let (int, digits) = self.digits();
        if digits == 0 || (leading_zero && digits > 1) {
            return Err(NotJson);
        }
        // Any 18 digits fit into 64 bits.
        if digits > 18 || matches!(self.peek(), b'.' | b'e' | b'E') {
            return self.number_in_full(start);
        }
        Ok(if negative { Value::Signed(-(int as i64)) } else { Value::Unsigned(int) })
    }

    /// A number from after its integer part, which has many digits or is followed by a fraction or an exponent.
    #[inline(never)]
    fn number_in_full(&mut self, start: &'b [u8]) -> Result<Value<'b>, NotJson> {
        let is_point = self.peek() == b'.';
        if is_point {
            self.pass();
            self.some_digits()?;
        }
        let is_exponent = matches!(self.peek(), b'e' | b'E');
        if is_exponent {
            self.pass();
            if matches!(self.peek(), b'+' | b'-') {
                self.pass();
            }
            self.some_digits()?;
        }
        let text =
            start.get(..start.len() - self.rest.len()).and_then(|text| str::from_utf8(text).ok()).ok_or(NotJson)?;
        if !is_point && !is_exponent {
            if let Ok(int) = text.parse() {
                return Ok(Value::Unsigned(int));
            }
            if let Ok(int) = text.parse() {
                return Ok(Value::Signed(int));
            }
        }
        text.parse().ok().filter(|float: &f64| float.is_finite()).map(Value::Float).ok_or(NotJson)
    }

    fn some_digits(&mut self) -> Result<(), NotJson> {
        if self.digits().1 == 0 { Err(NotJson) } else { Ok(()) }
    }

    /// Passes digits. Returns their value, which means something up to 18 of them, and their number.
    #[inline]
    fn digits(&mut self) -> (u64, usize) {
        let before = self.rest.len();
        let mut value = 0_u64;
        while let Some((word, rest)) = self.rest.split_first_chunk::<8>()
            && let Some(eight) = eight_digits(u64::from_le_bytes(*word))
        {
            value = value.wrapping_mul(100_000_000).wrapping_add(eight);
            self.rest = rest;
        }
        while let [digit @ b'0'..=b'9', rest @ ..] = self.rest {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.rest = rest;
        }
        (value, before - self.rest.len())
    }

    /// Checks a value that nobody wants, at `depth` levels.
    #[inline]
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), NotJson> {
        match self.next_token() {
            b'"' => self.skip_string(),
            b'{' => self.skip_object(depth),
            b'[' => self.skip_array(depth),
            _ => self.scalar().map(|_| ()),
        }
    }

    #[inline]
    fn skip_string(&mut self) -> Result<(), NotJson> {
        self.expect(b'"')?;
        if self.plain_string().is_some() {
            return Ok(());
        }
        let unescaped = self.unescaped.len();
        self.string_with_escapes()?;
        self.unescaped.truncate(unescaped);
        Ok(())
    }

    fn skip_object(&mut self, depth: usize) -> Result<(), NotJson> {
        let depth = self.enter(b'{', depth)?;
        if self.passes(b'}') {
            return Ok(());
        }
        loop {
            self.skip_string()?;
            self.expect(b':')?;
            self.skip(depth)?;
            if !self.another(b'}')? {
                return Ok(());
            }
        }
    }

    fn skip_array(&mut self, depth: usize) -> Result<(), NotJson> {
        let depth = self.enter(b'[', depth)?;
        if self.passes(b']') {
            return Ok(());
        }
        loop {
            self.skip(depth)?;
            if !self.another(b']')? {
                return Ok(());
            }
        }
    }

    /// Passes an opening bracket. Returns the depth within.
    #[inline]
    pub(super) fn enter(&mut self, bracket: u8, depth: usize) -> Result<usize, NotJson> {
        self.expect(bracket)?;
        if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(NotJson) }
    }
}

/// The length of a string's plain text: up to a quote, a backslash, a control character or the end.
#[inline(always)]
fn end_of_plain_text(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let stops = stops(u64::from_le_bytes(*word));
        if stops != 0 {
            return at + (stops.trailing_zeros() / 8) as usize;
        }
        at += 8;
        // Names end in the first word or two; long text is passed in larger steps, which the compiler does with vectors.
        while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<32>())
            && !chunk.iter().fold(false, |stop, byte| stop | (*byte == b'"') | (*byte == b'\\') | (*byte < 0x20))
        {
            at += 32;
        }
    }
    while bytes.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
        at += 1;
    }
    at
}

/// The value of eight ASCII digits, the first in the lowest byte; `None` if some byte is no digit.
#[inline(always)]
fn eight_digits(word: u64) -> Option<u64> {
    const HIGH: u64 = 0xF0F0_F0F0_F0F0_F0F0;
    let digits = (word & HIGH) == 0x3030_3030_3030_3030
        && (word.wrapping_add(0x0606_0606_0606_0606) & HIGH) == 0x3030_3030_3030_3030;
    // Neighbours are joined: to pairs, to fours, to the eight.
    let ones = word & 0x0F0F_0F0F_0F0F_0F0F;
    let pairs = (ones.wrapping_mul(10) + (ones >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    let eight = (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xFFFF_FFFF;
    digits.then_some(eight)
}

/// The highest bit of each of the eight bytes that is a quote, a backslash or a control character. Bits above the lowest one may be wrong: a borrow
/// goes from a byte that matched into the next.
#[inline]
fn stops(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let zero_or_less = (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash);
    (zero_or_less | (word.wrapping_sub(ONES * 0x20) & !word)) & (ONES * 0x80)
}
