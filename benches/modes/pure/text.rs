//! Numbers as people read them.

/// A whole number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number in three digits, with k or M: a rate, for instance.
pub(crate) fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 999_500.0 => format!("{}M", digits(number / 1e6)),
        size if size >= 999.5 => format!("{}k", digits(number / 1e3)),
        _ => digits(number),
    }
}

/// A time in microseconds.
pub(crate) fn micros(micros: f64) -> String {
    match micros {
        time if time >= 999_500.0 => format!("{} s", digits(time / 1e6)),
        time if time >= 999.5 => format!("{} ms", digits(time / 1e3)),
        time => format!("{} µs", digits(time)),
    }
}

/// A size in bytes.
pub(crate) fn bytes(bytes: f64) -> String {
    const KIB: f64 = 1024.0;
    match bytes {
        size if size >= 999.5 * KIB * KIB => format!("{} GiB", digits(size / KIB / KIB / KIB)),
        size if size >= 999.5 * KIB => format!("{} MiB", digits(size / KIB / KIB)),
        size if size >= 999.5 => format!("{} KiB", digits(size / KIB)),
        size => format!("{} B", digits(size)),
    }
}

/// Three digits, without zeros at the end of a fraction.
fn digits(number: f64) -> String {
    let places = match number.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{number:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let cases =
            [(0.0, "0"), (7.126, "7.13"), (999.6, "1k"), (40_000.0, "40k"), (123_456.0, "123k"), (2.5e6, "2.5M")];
        for (number, expected) in cases {
            assert_eq!(short(number), expected);
        }
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!([250.0, 1_250.0, 98_700.0, 2_000_000.0].map(micros), ["250 µs", "1.25 ms", "98.7 ms", "2 s"]);
        assert_eq!([512.0, 2048.0, 5.5 * 1048576.0, 3e9].map(bytes), ["512 B", "2 KiB", "5.5 MiB", "2.79 GiB"]);
    }
}
