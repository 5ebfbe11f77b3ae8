//! What many lines come to, whatever their order.

/// How many lines there were, and the sum of their hashes, modulo 2^64. Sets of lines with equal checksums are equal, but for chances of one in 2^64.
///
/// Where results are maintained, a line that takes a result away is taken off again, so that what is left is that of the results that stand. Both are modulo 2^64
/// then: a run may take away what an earlier one added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// How many.
    pub lines: u64,
    /// The sum.
    pub sum: u64,
}

impl Checksum {
    /// Adds those of other lines.
    pub fn add(&mut self, other: Checksum) {
        self.lines = self.lines.wrapping_add(other.lines);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Takes those of other lines off.
    pub fn take(&mut self, other: Checksum) {
        self.lines = self.lines.wrapping_sub(other.lines);
        self.sum = self.sum.wrapping_sub(other.sum);
    }
}
