//! Which outcomes there were, as one number: to compare two runs without keeping their lines.

use memchr::memmem::FinderRev;

use crate::metrics::Checksum;

/// What stands between what an outcome says and when and where it came.
const POSITION: &[u8] = b",\"position\":\"";

/// Takes the checksum of lines by what counts when sets of outcomes are compared: all before the position.
#[derive(Debug)]
pub struct Checksummer {
    position: FinderRev<'static>,
}

impl Default for Checksummer {
    fn default() -> Self {
        // In a text a quotation mark is escaped, so that the last place is that of the outcome's own member.
        Checksummer { position: FinderRev::new(POSITION) }
    }
}

impl Checksummer {
    /// Adds an outcome, as its line with or without the position and what follows.
    pub fn add(&self, line: &[u8], to: &mut Checksum) {
        to.add(self.of(line));
    }

    /// Takes an outcome off that is none any more.
    pub fn take(&self, line: &[u8], from: &mut Checksum) {
        from.take(self.of(line));
    }

    fn of(&self, line: &[u8]) -> Checksum {
        let end = self.position.rfind(line).unwrap_or(line.len());
        Checksum { lines: 1, sum: xxhash_rust::xxh3::xxh3_64(line.get(..end).unwrap_or(line)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Checksum {
        let (checksummer, mut sum) = (Checksummer::default(), Checksum::default());
        lines.iter().for_each(|line| checksummer.add(line.as_bytes(), &mut sum));
        sum
    }

    const ONE: &str = r#"{"outcome":"resolved","event":{"a":",\"position\":\""},"position":"x:1","waited_us":7}"#;
    const OTHER: &str = r#"{"outcome":"resolved","event":{"a":2},"position":"x:9","waited_us":0}"#;

    #[test]
    fn neither_order_nor_position_nor_time_count() {
        let moved = ONE.replace("x:1", "other:2").replace(":7", ":8");
        assert_eq!(of(&[ONE, OTHER]), of(&[OTHER, &moved]));
        assert_eq!(of(&[ONE]), of(&[ONE.split_once(r#","position":"x"#).unwrap().0]));
    }

    #[test]
    fn what_is_taken_off_leaves_nothing() {
        let (checksummer, mut sum) = (Checksummer::default(), of(&[ONE, OTHER]));
        checksummer.take(ONE.replace("x:1", "other:2").as_bytes(), &mut sum);
        assert_eq!(sum, of(&[OTHER]));
    }

    #[test]
    fn what_an_outcome_says_counts_and_how_often() {
        assert_ne!(of(&[ONE]), of(&[&ONE.replace("resolved", "expired")]));
        assert_ne!(of(&[OTHER]), of(&[&OTHER.replace(":2}", ":3}")]));
        assert_ne!(of(&[ONE, ONE]), of(&[ONE]));
        assert_ne!(of(&[ONE, ONE]), of(&[OTHER, OTHER]));
    }
}
