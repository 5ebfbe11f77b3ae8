//! Random numbers that are the same on every machine and in every version of every library: positions of a workload are
//! kept in the state.

/// The golden ratio in 64 bits: what SplitMix64 steps by.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(in crate::source) struct Random(u64);

impl Random {
    /// The sequence of one `purpose` at one `index` of a workload.
    pub(in crate::source) fn new(seed: u64, purpose: Purpose, index: u64) -> Random {
        Random(finalize(finalize(seed ^ (purpose as u64)).wrapping_add(index.wrapping_mul(STEP))))
    }

    /// The next 64 bits.
    pub(in crate::source) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        finalize(self.0)
    }

    /// A number below `end`, all about equally likely (Lemire's multiplication); 0 where `end` is.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// A number below `end`, the smaller the likelier: in octaves, each as likely as the next, that is about 1 / (n +
    /// 1) for n, as in Zipf's law.
    pub(super) fn zipf_below(&mut self, end: u64) -> u64 {
        let octaves = u64::from(u64::BITS - end.leading_zeros());
        let first = 1 << self.below(octaves);
        let count = first.min((end + 1).saturating_sub(first));
        first - 1 + self.below(count)
    }

    /// True with the probability of `share`.
    pub(super) fn chance(&mut self, share: Share) -> bool {
        self.bits() < share.0
    }
}

/// What a sequence is for, so that one decision does not follow from another.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) enum Purpose {
    /// The content of an event.
    Content = 1,
    /// Whether it comes, when, and how often.
    Fate = 2,
    /// The order within a window.
    Shuffle = 3,
    /// Where in Nexmark's endless sequence a workload starts.
    Start = 4,
    /// The times between records.
    Arrivals = 5,
}

/// A share of all events, as the bound that a random word has to stay under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(u64);

impl Share {
    /// The share of `fraction`, from 0 to 1.
    pub(super) fn new(fraction: f64) -> Share {
        Share((fraction * u64::MAX as f64) as u64)
    }

    /// Whether it is nobody's.
    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }
}

fn finalize(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
