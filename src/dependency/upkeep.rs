//! What a record does to the records before it, where results are maintained (`emit = "changes"`).

use std::fmt;

use super::Pointer;

/// Whether a later event of a key takes the place of the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Updates {
    /// It does: there is one event of a key.
    Replace,
    /// Every event stays. As a referent the latest of a key counts.
    Append,
}

impl Updates {
    /// As it is written in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Updates::Replace => "replace",
            Updates::Append => "append",
        }
    }
}

/// What a stream's records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordFormat {
    /// The event itself.
    Plain,
    /// A change of a row, as Debezium writes it: `op`, `before` and `after`, with or without Kafka Connect's `payload` around them.
    Debezium,
}

impl RecordFormat {
    /// As it is written in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordFormat::Plain => "plain",
            RecordFormat::Debezium => "debezium",
        }
    }
}

/// How a stream's records change what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// Whether an event takes the place of the one before it.
    pub updates: Updates,
    /// The field that is `true` in a record that deletes the event of its key.
    pub deleted: Option<Pointer>,
    /// What a record is.
    pub format: RecordFormat,
}

impl fmt::Display for Upkeep {
    /// As a job's state depends on it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deleted = self.deleted.as_ref().map_or("-".to_owned(), |pointer| format!("{:?}", pointer.as_str()));
        write!(f, "updates {} deleted {deleted} format {}", self.updates.as_str(), self.format.as_str())
    }
}
