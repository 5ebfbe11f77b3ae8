//! What the answers have in common, and how it is written: the same for people and for programs.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::event::{Key, Timestamp};

/// A time, written as RFC 3339 in UTC with microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0.0) {
            Ok(time) => write!(f, "{time:.6}"),
            // Beyond the year 9999: a wait that is for ever in all but name.
            Err(_) => write!(f, "{} microseconds after 1970", self.0.0),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A key, written as the JSON that events carry: `17` or `"seventeen"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonKey(pub Key);

impl fmt::Display for JsonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for JsonKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Key::Int(value) => serializer.serialize_i64(*value),
            Key::Big(value) => serializer.serialize_u64(*value),
            Key::Text(bytes) => serializer.serialize_str(&String::from_utf8_lossy(&bytes.slice)),
        }
    }
}

/// Where a waiting event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Residence {
    /// In the job's memory while it runs; the state has it too.
    Memory,
    /// In the state alone.
    State,
}

/// A waiting event in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiter {
    /// Its position.
    pub position: String,
    /// Its stream.
    pub stream: String,
    /// When it arrived.
    pub since: Time,
    /// The earliest deadline among what it lacks; `None` is for ever.
    pub until: Option<Time>,
}
