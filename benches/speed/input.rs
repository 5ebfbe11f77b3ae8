//! The inputs: made once, and kept beside the build.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use resolvent::source::workload::{Generator, Made};
use resolvent::source::{SyntheticSettings, Workload};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Events are shuffled within windows of this many.
pub(crate) const DISORDER: u64 = 50_000;

const SEED: u64 = 1;

/// Raised when what is made of the same parameters changes.
const VERSION: u32 = 1;

/// The least memory that a job accepts for its state.
const MEMORY_MIN: u64 = 16 << 20;

/// Referents of the large input, over the memory of the state that they outgrow: with what differs from event to event somewhat over ten times.
const LARGE: u64 = 11;

/// Memory that holds referents with all that is kept beside them, over their bytes.
const AMPLE: u64 = 8;

/// The least of it.
const AMPLE_MIN: u64 = 1 << 30;

/// Nexmark repeats its pattern every 50 events: one person, three auctions.
const REFERENTS_OF_50: u64 = 4;

/// Events in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// Bytes of people and auctions.
    pub(crate) referent_bytes: u64,
}

impl Input {
    /// Memory that the state of a deferred job outgrows on the large input.
    pub(crate) fn small_memory(&self) -> u64 {
        (self.referent_bytes / LARGE).max(MEMORY_MIN) >> 20 << 20
    }

    /// Memory that holds all of it.
    pub(crate) fn ample_memory(&self) -> u64 {
        (AMPLE * self.referent_bytes).max(AMPLE_MIN) >> 20 << 20
    }
}

/// Nexmark as it is.
pub(crate) fn plain(directory: &Path, events: u64) -> Result<Input> {
    cached(directory, events, 0)
}

/// The same events, with people and auctions so large that together they are over ten times the least memory that a job accepts; as they are where they are
/// that anyway.
pub(crate) fn large(directory: &Path, events: u64) -> Result<Input> {
    let referents = (events * REFERENTS_OF_50 / 50).max(1);
    let padding = (LARGE * MEMORY_MIN).saturating_sub(plain(directory, events)?.referent_bytes) / referents;
    cached(directory, events, usize::try_from(padding)?)
}

fn cached(directory: &Path, events: u64, padding: usize) -> Result<Input> {
    let name = format!("nexmark-v{VERSION}-{events}-{DISORDER}-{SEED}-{padding}");
    let (path, about) = (directory.join(format!("{name}.jsonl")), directory.join(format!("{name}.json")));
    if let Ok(text) = std::fs::read(&about) {
        let input: Input = serde_json::from_slice(&text)?;
        if std::fs::metadata(&path).is_ok_and(|found| found.len() == input.bytes) {
            // Where the directory has been moved, what it says of its place is of before.
            return Ok(Input { path, ..input });
        }
    }
    eprintln!("making {}", path.display());
    let input = make(path, events, padding)?;
    // Written last: an input that is not whole has none.
    std::fs::write(&about, serde_json::to_vec(&input)?)?;
    Ok(input)
}

fn make(path: PathBuf, events: u64, padding: usize) -> Result<Input> {
    let settings =
        SyntheticSettings { events, seed: SEED, disorder: DISORDER, ..SyntheticSettings::new(Workload::Nexmark) };
    let mut generator = Generator::new(&settings)?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let mut input = Input { path, events: 0, bytes: 0, referent_bytes: 0 };
    let (mut line, mut noise) = (Vec::new(), Noise(SEED));
    while let Some(Made { provides, .. }) = generator.next(&mut line)? {
        if provides.is_some() {
            noise.pad(&mut line, padding);
            input.referent_bytes += line.len() as u64;
        }
        input.events += 1;
        input.bytes += line.len() as u64;
        file.write_all(&line)?;
        line.clear();
    }
    file.into_inner()?.sync_all()?;
    Ok(input)
}

/// Text that does not compress to less than three quarters.
struct Noise(u64);

impl Noise {
    /// Gives the object on a line another member, of `length` bytes.
    fn pad(&mut self, line: &mut Vec<u8>, length: usize) {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        if length == 0 || !line.ends_with(b"}\n") {
            return;
        }
        line.truncate(line.len() - 2);
        line.extend_from_slice(b",\"padding\":\"");
        // The index is below 64.
        line.extend((0..length).filter_map(|_| LETTERS.get((self.next() >> 58) as usize)));
        line.extend_from_slice(b"\"}\n");
    }

    /// The next of a linear congruential sequence (Knuth's MMIX); its upper bits are good.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }
}
