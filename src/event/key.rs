//! Keys, and where they live.

use std::fmt;

use serde::{Deserialize, Serialize};
use triomphe::ThinArc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{EntityId, SHARDS, WorkerIndex};

/// A key of an entity. Integers and strings never compare equal: `1` is not `"1"`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Key {
    /// An integer within `i64`.
    Int(i64),
    /// An integer above `i64::MAX`.
    Big(u64),
    /// A string, without its JSON escapes.
    Text(#[serde(with = "shared_text")] ThinArc<(), u8>),
}

impl Key {
    /// The key of an unsigned integer.
    pub fn unsigned(value: u64) -> Key {
        i64::try_from(value).map_or(Key::Big(value), Key::Int)
    }

    /// The key of a string.
    pub fn text(value: &str) -> Key {
        Key::bytes(value.as_bytes())
    }

    /// The key of a string, from its bytes in UTF-8.
    pub fn bytes(value: &[u8]) -> Key {
        Key::Text(ThinArc::from_header_and_slice((), value))
    }

    /// A hash that is the same on every machine and in every version: shards in the state depend on it.
    ///
    /// Integers go through the finalizer of SplitMix64 (Steele, Lea and Flood 2014), strings through XXH3.
    pub fn hash(&self, entity: EntityId) -> KeyHash {
        let seed = (u64::from(entity.0) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        KeyHash(match self {
            Key::Int(value) => split_mix(seed ^ (*value as u64)),
            Key::Big(value) => split_mix(!seed ^ value),
            Key::Text(bytes) => xxh3_64_with_seed(&bytes.slice, seed),
        })
    }

    /// Heap bytes behind the key.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Key::Text(bytes) => bytes.slice.len() + 16,
            Key::Int(_) | Key::Big(_) => 0,
        }
    }
}

impl fmt::Display for Key {
    /// As JSON: `17` or `"seventeen"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Int(value) => write!(f, "{value}"),
            Key::Big(value) => write!(f, "{value}"),
            Key::Text(bytes) => {
                f.write_str(&serde_json::Value::from(String::from_utf8_lossy(&bytes.slice)).to_string())
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn split_mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The stable hash of an entity's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// The shard of the key: bits that hash tables do not look at.
    pub fn shard(self) -> u8 {
        (self.0 >> 40) as u8
    }

    /// The worker that owns the key's shard.
    pub fn owner(self, workers: usize) -> WorkerIndex {
        WorkerIndex(usize::from(self.shard()) * workers / SHARDS)
    }
}

mod shared_text {
    use serde::{Deserializer, Serializer};
    use triomphe::ThinArc;

    pub(super) fn serialize<S: Serializer>(text: &ThinArc<(), u8>, serializer: S) -> Result<S::Ok, S::Error> {
        serde_bytes::serialize(&text.slice, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ThinArc<(), u8>, D::Error> {
        let bytes: Vec<u8> = serde_bytes::deserialize(deserializer)?;
        Ok(ThinArc::from_header_and_slice((), &bytes))
    }
}
