//! Durations and sizes as people write them: `100ms`, `10m`, `7d`, `256MiB`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// How a duration is written, for messages.
pub(super) const DURATION_FORM: &str = "a number and a unit (us, ms, s, m, h, d, w), such as 100ms, 30s, 10m or 7d";

/// How a size is written, for messages.
pub(super) const SIZE_FORM: &str =
    "a number and a unit (B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB), such as 64MiB or 1GiB";

/// A duration, a day being 24 hours. `None` for what is none, for a negative one, and for months and years, which have
/// no one length.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text.contains(['P', 'p', '-']) || text.contains("ago") {
        return None;
    }
    let span: Span = text.parse().ok()?;
    Duration::try_from(span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?).ok()
}

/// A duration in its largest unit that divides it.
pub fn show_duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 6] =
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];
    let micros = duration.as_micros();
    let unit = UNITS.iter().find(|(_, unit)| micros != 0 && micros.is_multiple_of(*unit));
    unit.map_or("0s".to_owned(), |(name, unit)| format!("{}{name}", micros / unit))
}

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// A size in bytes; `None` for what is none or is no whole number of bytes. The case of the letters does not matter.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, scale) = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let tenths = 10u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = fraction.parse::<u64>().ok()?.checked_mul(*scale)?;
    if !part.is_multiple_of(tenths) {
        return None;
    }
    whole.parse::<u64>().ok()?.checked_mul(*scale)?.checked_add(part / tenths)
}

/// A size in its largest unit that divides it.
pub fn show_size(bytes: u64) -> String {
    let unit = SIZES.iter().find(|(_, scale)| bytes != 0 && bytes.is_multiple_of(*scale));
    unit.map_or("0B".to_owned(), |(name, scale)| format!("{}{name}", bytes / scale))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, micros) in [
            ("100ms", 100_000),
            ("250us", 250),
            ("1s", 1_000_000),
            ("1.5s", 1_500_000),
            ("10m", 600_000_000),
            ("10 min", 600_000_000),
            ("1h 30m", 5_400_000_000),
            ("7d", 604_800_000_000),
            ("2w", 1_209_600_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_micros(micros)), "{text}");
        }
        for text in
            ["", "10", "s", "-1s", "1s ago", "PT1S", "1 fortnight", "1mo", "1y", "1M", "99999999999999w", "1e3s"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("1B", 1),
            ("64KiB", 65_536),
            ("256MiB", 268_435_456),
            ("1GiB", 1 << 30),
            ("1.5 GiB", 3 << 29),
            ("10mb", 10_000_000),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "10", "MiB", "-1MiB", "1.2.3MiB", "0.3B", ".5", "1XB", "99999999TiB", "1.MiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(value in 0u64..1 << 50) {
            prop_assert_eq!(parse_size(&show_size(value)), Some(value));
            let duration = Duration::from_micros(value);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            parse_duration(&text);
            parse_size(&text);
        }
    }
}
