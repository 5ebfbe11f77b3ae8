//! `[job] preset`: settings that go together. One that is written wins.

use std::time::Duration;

use crate::sink::Acks;

/// What a job is tuned for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// Nothing is taken on trust: checksums of what is read are compared, all replicas have what is written.
    Durable,
    /// All replicas have what is written; answers within a tenth of a second.
    #[default]
    Balanced,
    /// Throughput first: long epochs and large batches; without transactions the leader alone acknowledges.
    Fast,
}

impl Preset {
    /// All of them.
    pub const ALL: [Preset; 3] = [Preset::Durable, Preset::Balanced, Preset::Fast];

    /// As it is written in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Preset::Durable => "durable",
            Preset::Balanced => "balanced",
            Preset::Fast => "fast",
        }
    }

    /// How long an epoch is.
    pub fn epoch(self) -> Duration {
        match self {
            Preset::Durable | Preset::Balanced => Duration::from_millis(100),
            Preset::Fast => Duration::from_secs(1),
        }
    }

    /// Whether the consumer compares the checksums of what it reads.
    pub fn check_crcs(self) -> bool {
        self == Preset::Durable
    }

    /// Bytes that a broker gathers before it answers a fetch, for as long as `fetch.wait.max.ms` allows.
    pub fn fetch_min_bytes(self) -> u32 {
        match self {
            Preset::Durable | Preset::Balanced => 1,
            Preset::Fast => 64 << 10,
        }
    }

    /// How batches are compressed.
    pub fn compression(self) -> &'static str {
        match self {
            Preset::Durable => "zstd",
            Preset::Balanced | Preset::Fast => "lz4",
        }
    }

    /// How long a record waits for others to share a request with.
    pub fn linger(self) -> Duration {
        match self {
            Preset::Durable | Preset::Balanced => Duration::from_millis(5),
            Preset::Fast => Duration::from_millis(50),
        }
    }

    /// Who acknowledges, where there are no transactions.
    pub fn acks(self) -> Acks {
        match self {
            Preset::Durable | Preset::Balanced => Acks::All,
            Preset::Fast => Acks::Leader,
        }
    }
}
