//! The grammar of JSON (RFC 8259) over one record: checks every byte and gives back scalars.
//!
//! Every function takes what is left of the record, which is UTF-8, and gives back what is left after it: two words that stay in registers.
//! Strings that had escapes are put into `unescaped`, one after the other.
//!
//! Accepted is exactly what `serde_json` accepts as a `Value`; tests hold that. It is written by hand for two reasons. On Nexmark lines decoding takes
//! about two thirds of the processor time that it took with a visitor on `sonic_rs`. And the fast way of `sonic_rs` to skip a value neither checks the
//! digits of `\u` escapes nor bounds its recursion, so that a megabyte of `[` would overflow the stack.

use super::collect::Value;

/// Levels of arrays and objects in each other that a record may have.
pub(super) const DEPTH_MAX: usize = 127;

/// The record is not JSON. Where and why is worked out by who reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson;

/// What is left of the record after something was read.
pub(super) type Rest<'b> = Result<&'b [u8], NotJson>;

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

/// A string, number, `true`, `false` or `null` that begins with `first`, the next byte.
#[inline]
pub(super) fn scalar<'b>(rest: &'b [u8], first: u8, unescaped: &mut Vec<u8>) -> Result<(Value<'b>, &'b [u8]), NotJson> {
    match first {
        b'"' => match plain_string(rest) {
            Some((plain, rest)) => Ok((Value::Text(plain), rest)),
            None => {
                let start = unescaped.len();
                let rest = string_with_escapes(rest, unescaped)?;
                Ok((Value::Unescaped(start, unescaped.len()), rest))
            }
        },
        b't' => Ok((Value::Bool(true), literal(rest, b"true")?)),
        b'f' => Ok((Value::Bool(false), literal(rest, b"false")?)),
        b'n' => Ok((Value::Null, literal(rest, b"null")?)),
        _ => number(rest),
    }
}

fn literal<'b>(rest: &'b [u8], literal: &[u8]) -> Rest<'b> {
    rest.strip_prefix(literal).ok_or(NotJson)
}

/// A string from its opening quote, and what is left; `None` if it has escapes or is none.
#[inline(always)]
pub(super) fn plain_string(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let [b'"', rest @ ..] = rest else { return None };
    let (plain, rest) = rest.split_at_checked(end_of_plain_text(rest))?;
    match rest {
        [b'"', after @ ..] => Some((plain, after)),
        _ => None,
    }
}

/// Passes a string from its opening quote, and puts it into `unescaped`.
#[cold]
pub(super) fn string_with_escapes<'b>(rest: &'b [u8], unescaped: &mut Vec<u8>) -> Rest<'b> {
    let mut rest = expect(rest, b'"')?;
    loop {
        let (plain, after) = rest.split_at_checked(end_of_plain_text(rest)).ok_or(NotJson)?;
        unescaped.extend_from_slice(plain);
        match after {
            [b'"', after @ ..] => return Ok(after),
            [b'\\', after @ ..] => {
                let (char, after) = escape(after)?;
                unescaped.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
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

#[inline(always)]
fn number(start: &[u8]) -> Result<(Value<'_>, &[u8]), NotJson> {
    let unsigned = start.strip_prefix(b"-");
    let integer = unsigned.unwrap_or(start);
    let (int, digits, rest) = digits(integer);
    if digits == 0 || (digits > 1 && integer.first() == Some(&b'0')) {
        return Err(NotJson);
    }
    // Any 18 digits fit into 64 bits.
    if digits > 18 || matches!(rest, [b'.' | b'e' | b'E', ..]) {
        return number_in_full(start, rest);
    }
    let value = if unsigned.is_some() { Value::Signed(-(int as i64)) } else { Value::Unsigned(int) };
    Ok((value, rest))
}

/// A number whose integer part, which was read, has many digits or is followed by a fraction or an exponent.
#[inline(never)]
fn number_in_full<'b>(start: &'b [u8], mut rest: &'b [u8]) -> Result<(Value<'b>, &'b [u8]), NotJson> {
    let mut is_integer = true;
    if let [b'.', after @ ..] = rest {
        is_integer = false;
        rest = some_digits(after)?;
    }
    if let [b'e' | b'E', b'+' | b'-', after @ ..] | [b'e' | b'E', after @ ..] = rest {
        is_integer = false;
        rest = some_digits(after)?;
    }
    let text = start.get(..start.len() - rest.len()).and_then(|text| str::from_utf8(text).ok()).ok_or(NotJson)?;
    if is_integer {
        if let Ok(int) = text.parse() {
            return Ok((Value::Unsigned(int), rest));
        }
        if let Ok(int) = text.parse() {
            return Ok((Value::Signed(int), rest));
        }
    }
    let float = text.parse().ok().filter(|float: &f64| float.is_finite()).ok_or(NotJson)?;
    Ok((Value::Float(float), rest))
}

fn some_digits(rest: &[u8]) -> Rest<'_> {
    let (_, count, rest) = digits(rest);
    if count == 0 { Err(NotJson) } else { Ok(rest) }
}

/// Digits: their value, which means something up to 18 of them, their number, and what is left.
#[inline(always)]
fn digits(start: &[u8]) -> (u64, usize, &[u8]) {
    let mut rest = start;
    let mut value = 0_u64;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let (digits, power, count) = leading_digits(u64::from_le_bytes(*word));
        value = value.wrapping_mul(power).wrapping_add(digits);
        if count < 8 {
            rest = rest.get(count..).unwrap_or_default();
            return (value, start.len() - rest.len(), rest);
        }
        rest = after;
    }
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        rest = after;
    }
    (value, start.len() - rest.len(), rest)
}

/// Checks a value that nobody wants, at `depth` levels.
#[inline(always)]
pub(super) fn skip<'b>(rest: &'b [u8], depth: usize, unescaped: &mut Vec<u8>) -> Rest<'b> {
    let (first, rest) = next_token(rest);
    match first {
        b'"' => skip_string(rest, unescaped),
        b'{' => skip_object(rest, depth, unescaped),
        b'[' => skip_array(rest, depth, unescaped),
        _ => scalar(rest, first, unescaped).map(|(_, rest)| rest),
    }
}

#[inline(always)]
fn skip_string<'b>(rest: &'b [u8], unescaped: &mut Vec<u8>) -> Rest<'b> {
    if let Some((_, rest)) = plain_string(rest) {
        return Ok(rest);
    }
    let length = unescaped.len();
    let rest = string_with_escapes(rest, unescaped);
    unescaped.truncate(length);
    rest
}

#[inline(never)]
fn skip_object<'b>(rest: &'b [u8], depth: usize, unescaped: &mut Vec<u8>) -> Rest<'b> {
    let depth = deeper(depth)?;
    let mut rest = expect(rest, b'{')?;
    if let (b'}', rest) = next_token(rest) {
        return expect(rest, b'}');
    }
    loop {
        rest = skip_string(next_token(rest).1, unescaped)?;
        rest = skip(expect(rest, b':')?, depth, unescaped)?;
        match another(rest, b'}')? {
            (true, rest) => return Ok(rest),
            (false, after) => rest = after,
        }
    }
}

#[inline(never)]
fn skip_array<'b>(rest: &'b [u8], depth: usize, unescaped: &mut Vec<u8>) -> Rest<'b> {
    let depth = deeper(depth)?;
    let mut rest = expect(rest, b'[')?;
    if let (b']', rest) = next_token(rest) {
        return expect(rest, b']');
    }
    loop {
        rest = skip(rest, depth, unescaped)?;
        match another(rest, b']')? {
            (true, rest) => return Ok(rest),
            (false, after) => rest = after,
        }
    }
}

/// One in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;

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

/// The value of the ASCII digits that a word begins with (the first byte is the lowest), ten to the power of their number, and their number.
#[inline(always)]
fn leading_digits(word: u64) -> (u64, u64, usize) {
    const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
    // A byte is a digit if it is at most 9 without its ASCII zone; a carry goes only out of a byte that is none.
    let values = word ^ (ONES * b'0' as u64);
    let others = (values.wrapping_add(ONES * (0x80 - 10)) | values) & (ONES * 0x80);
    let count = (others.trailing_zeros() / 8) as usize;
    // What follows the digits is shifted out, so that zeros go before them.
    let digits = values.checked_shl(64 - 8 * count as u32).unwrap_or(0);
    // Neighbours are joined: to pairs, to fours, to the eight.
    let pairs = (digits.wrapping_mul(10).wrapping_add(digits >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    let eight = (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xFFFF_FFFF;
    (eight, POWERS.get(count).copied().unwrap_or(1), count)
}

/// The highest bit of each of the eight bytes that is a quote, a backslash or a control character. Bits above the lowest one may be wrong: a borrow
/// goes from a byte that matched into the next.
#[inline]
fn stops(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let zero_or_less = (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash);
    (zero_or_less | (word.wrapping_sub(ONES * 0x20) & !word)) & (ONES * 0x80)
}
