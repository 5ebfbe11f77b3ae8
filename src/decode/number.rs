//! The numbers of JSON: eight digits at a time.

use super::collect::Value;
use super::scan::{NotJson, Rest};

/// Reads a number.
#[inline(always)]
pub(super) fn number<'b>(start: &'b [u8], value: &mut Value<'b>) -> Rest<'b> {
    let unsigned = start.strip_prefix(b"-");
    let integer = unsigned.unwrap_or(start);
    let (int, digits, rest) = digits(integer);
    if !is_plain(integer, digits, rest) {
        return number_in_full(start, value);
    }
    *value = if unsigned.is_some() { Value::Signed(-(int as i64)) } else { Value::Unsigned(int) };
    Ok(rest)
}

/// What is left after a number that nobody wants.
#[inline(always)]
pub(super) fn skip_number(start: &[u8]) -> Rest<'_> {
    let integer = start.strip_prefix(b"-").unwrap_or(start);
    let rest = after_digits(integer);
    if is_plain(integer, integer.len() - rest.len(), rest) {
        return Ok(rest);
    }
    number_in_full(start, &mut Value::Absent)
}

/// Whether digits, with `rest` after them, are a whole number that surely fits into 64 bits.
#[inline(always)]
fn is_plain(integer: &[u8], digits: usize, rest: &[u8]) -> bool {
    let leading_zero = integer.first() == Some(&b'0') && digits > 1;
    (1..=18).contains(&digits) && !leading_zero && !matches!(rest, [b'.' | b'e' | b'E', ..])
}

/// Reads any number.
#[inline(never)]
fn number_in_full<'b>(start: &'b [u8], value: &mut Value<'b>) -> Rest<'b> {
    let integer = start.strip_prefix(b"-").unwrap_or(start);
    let mut rest = some_digits(integer)?;
    if let [b'0', b'0'..=b'9', ..] = integer {
        return Err(NotJson);
    }
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
    let unsigned = text.parse().ok().filter(|_| is_integer).map(Value::Unsigned);
    let integer = unsigned.or_else(|| text.parse().ok().filter(|_| is_integer).map(Value::Signed));
    let finite = |float: &f64| float.is_finite();
    *value = integer.or_else(|| text.parse().ok().filter(finite).map(Value::Float)).ok_or(NotJson)?;
    Ok(rest)
}

fn some_digits(start: &[u8]) -> Rest<'_> {
    let rest = after_digits(start);
    if rest.len() < start.len() { Ok(rest) } else { Err(NotJson) }
}

/// Passes digits.
#[inline(always)]
fn after_digits(mut rest: &[u8]) -> &[u8] {
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let count = count_of_digits(not_digits(u64::from_le_bytes(*word)));
        if count < 8 {
            return rest.get(count..).unwrap_or_default();
        }
        rest = after;
    }
    while let [b'0'..=b'9', after @ ..] = rest {
        rest = after;
    }
    rest
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

/// One in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The highest bit of the first byte of a word (the lowest) that is no ASCII digit, and perhaps those of later ones.
#[inline(always)]
fn not_digits(word: u64) -> u64 {
    // A byte is a digit if it is at most 9 without its ASCII zone; a carry goes only out of a byte that is none.
    let values = word ^ (ONES * b'0' as u64);
    (values.wrapping_add(ONES * (0x80 - 10)) | values) & (ONES * 0x80)
}

#[inline(always)]
fn count_of_digits(not_digits: u64) -> usize {
    (not_digits.trailing_zeros() / 8) as usize
}

/// The value of the ASCII digits that a word begins with (the first byte is the lowest), ten to the power of their number, and their number.
#[inline(always)]
fn leading_digits(word: u64) -> (u64, u64, usize) {
    const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
    let count = count_of_digits(not_digits(word));
    let values = word ^ (ONES * b'0' as u64);
    // What follows the digits is shifted out, so that zeros go before them.
    let digits = values.checked_shl(64 - 8 * count as u32).unwrap_or(0);
    // Neighbours are joined: to pairs, to fours, to the eight.
    let pairs = (digits.wrapping_mul(10).wrapping_add(digits >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    let eight = (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xFFFF_FFFF;
    (eight, POWERS.get(count).copied().unwrap_or(1), count)
}
