//! What many lines come to, whatever their order.

/// How many lines there were, and the sum of their hashes, modulo 2^64. Sets of lines with equal checksums are equal, but for chances of one in 2^64.
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
        self.lines += other.lines;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}
