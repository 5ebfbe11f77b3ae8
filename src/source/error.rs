//! What can go wrong with a source, said so that a person can act on it.

use std::io;

use crate::kafka::ClientError;

/// Why a source cannot be opened, or cannot be read on. A source that gave an error is not read again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The settings contradict themselves.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A file cannot be opened.
    #[error("cannot open `{path}`: {source}; check the path under [source.file] and its permissions")]
    Open {
        /// As configured.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A path names a directory.
    #[error("`{path}` is a directory; name the files to read under [source.file]")]
    Directory {
        /// As configured.
        path: String,
    },
    /// A read failed.
    #[error(
        "cannot read `{path}` beyond byte {offset}: {source}; \
         nothing up to there is lost, start again once it can be read"
    )]
    Read {
        /// As configured.
        path: String,
        /// Bytes read so far.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A compressed file is cut off or damaged.
    #[error(
        "`{path}` cannot be decompressed beyond byte {offset} of its content: {source}; \
         the file is damaged or cut off, restore it and start again"
    )]
    Damaged {
        /// As configured.
        path: String,
        /// Decompressed bytes read so far.
        offset: u64,
        /// What the decompressor said.
        source: io::Error,
    },
    /// A file ends before a position that was read in an earlier run.
    #[error(
        "`{path}` no longer holds the range that was read: it was read to byte {offset} and now ends at byte {length}; \
         restore the file, or start over with --fresh"
    )]
    NoLongerHeld {
        /// As configured.
        path: String,
        /// The position asked for.
        offset: u64,
        /// Where the file ends.
        length: u64,
    },
    /// A file is not the one that was read in an earlier run.
    #[error(
        "`{path}` is not the file that was read: {what}; \
         restore the file (a new one needs a path of its own), or start over with --fresh"
    )]
    Changed {
        /// As configured.
        path: String,
        /// What differs.
        what: String,
    },
    /// A position that was read to is inside a line.
    #[error(
        "`{path}` no longer holds the range that was read: byte {offset}, where reading is to go on, is inside a line; \
         the file was replaced, or its last line was read without a line break and then extended; \
         restore the file, or start over with --fresh"
    )]
    InsideALine {
        /// As configured.
        path: String,
        /// The position asked for.
        offset: u64,
    },
    /// A file became shorter while it was read.
    #[error(
        "`{path}` was cut to {length} bytes while it was read, at byte {offset}; \
         restore the file, or start over with --fresh; rotate by configuring a new path"
    )]
    Truncated {
        /// As configured.
        path: String,
        /// Bytes read so far.
        offset: u64,
        /// Its length now.
        length: u64,
    },
    /// The path of a followed file names another file now.
    #[error(
        "`{path}` was replaced by another file while it was followed (rotated?); \
         the old one was read to its end, byte {offset}; put it back, \
         or start over with --fresh; rotate by configuring a new path"
    )]
    Replaced {
        /// As configured.
        path: String,
        /// Bytes read of the old file.
        offset: u64,
    },
    /// A partition has to be read again and is not configured any more.
    #[error(
        "`{partition}` was read in an earlier run and must be read again to rebuild the referents or what waits, \
         but it is no longer among the sources; \
         configure it again, or start over with --fresh"
    )]
    NotConfigured {
        /// Its name.
        partition: String,
    },
    /// A position of a synthetic workload is not where one of its records starts.
    #[error(
        "offset {offset} is not a position of this synthetic workload: its settings have changed since; \
         restore [source.synthetic], or start over with --fresh"
    )]
    NotARecord {
        /// The position asked for.
        offset: u64,
    },
    /// A client of Kafka cannot do what it is asked for.
    #[error(transparent)]
    Kafka(#[from] ClientError),
    /// A partition of a topic no longer has what is to be read.
    #[error(
        "`{partition}` no longer holds the range that is to be read: it is to be read from offset {offset} and now begins at {beginning} \
         (retention, or deleted records); raise the topic's retention above the longest stop, \
         or start over with --fresh from what is left"
    )]
    BeforeTheBeginning {
        /// `topic:partition`.
        partition: String,
        /// The position asked for.
        offset: u64,
        /// Its first offset.
        beginning: u64,
    },
    /// A partition of a topic ends before a position that was read.
    #[error(
        "`{partition}` ends at offset {end}, before offset {offset}, to which it was read: \
         the topic was deleted and made anew, or the brokers lost records; \
         restore it (a new topic needs a name of its own), or start over with --fresh"
    )]
    BeyondTheEnd {
        /// `topic:partition`.
        partition: String,
        /// The position asked for.
        offset: u64,
        /// The offset after its last record.
        end: u64,
    },
    /// A topic is not the one that was read.
    #[error(
        "`{partition}` is not the partition that was read: the record at offset {offset}, the last that was committed, is another now: \
         the topic was deleted and made anew; restore it (a new topic needs a name of its own), or start over with --fresh"
    )]
    OtherTopic {
        /// `topic:partition`.
        partition: String,
        /// The offset of the record.
        offset: u64,
    },
    /// A partition that was read is not there any more.
    #[error(
        "`{partition}` was read and is not there any more: the topic was deleted, or made anew with fewer partitions; \
         restore it (a new topic needs a name of its own), or start over with --fresh"
    )]
    PartitionGone {
        /// `topic:partition`.
        partition: String,
    },
    /// The group is to say where a partition begins, and does not know it.
    #[error(
        "group `{group}` has no offset for `{partition}`, and start = \"committed\" begins where the group stands; \
         check `group` under [source.kafka], set the group's offsets (kafka-consumer-groups.sh --reset-offsets), or write start = \"earliest\" or \"latest\""
    )]
    UnknownToGroup {
        /// `topic:partition`.
        partition: String,
        /// The group.
        group: String,
    },
    /// The group stands at an offset that a partition does not have.
    #[error(
        "group `{group}` stands at offset {offset} of `{partition}`, which has {beginning} to {end}: records were deleted before they were read \
         (retention), or the topic was made anew; set the group's offsets (kafka-consumer-groups.sh --reset-offsets), or name another group"
    )]
    GroupOutOfRange {
        /// The group.
        group: String,
        /// `topic:partition`.
        partition: String,
        /// Where the group stands.
        offset: u64,
        /// Its first offset.
        beginning: u64,
        /// The offset after its last record.
        end: u64,
    },
    /// The group has given partitions to others before they were given up.
    #[error("group `{group}` has put this process out, and given its partitions to others")]
    PutOut {
        /// The group.
        group: String,
    },
    /// A thread that the source needs cannot be started.
    #[error("cannot start the thread that reads `{path}`: {source}; the system is out of threads or memory")]
    Thread {
        /// As configured.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl SourceError {
    /// Whether the source can be opened again in the same process, and reading go on from the last commit.
    pub fn is_passing(&self) -> bool {
        matches!(self, SourceError::PutOut { .. })
    }
}

/// Settings that cannot be meant.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// There is nothing to read.
    #[error("no file to read; name at least one")]
    NoFile,
    /// There is no topic to read.
    #[error("no topic to read; name at least one")]
    NoTopic,
    /// Two inputs would have the same positions.
    #[error("`{path}` is named twice; each is read once")]
    NamedTwice {
        /// As configured.
        path: String,
    },
    /// A compressed file cannot grow line by line.
    #[error("`{path}` is compressed and cannot be followed; follow the plain file, or set follow = false")]
    FollowCompressed {
        /// As configured.
        path: String,
    },
    /// A share is not between 0 and 1.
    #[error("`{key}` is {found}; it is a share, from 0 to 1")]
    Share {
        /// The setting.
        key: &'static str,
        /// Its value.
        found: f64,
    },
    /// A number is zero.
    #[error("`{key}` is 0; it is at least 1")]
    Zero {
        /// The setting.
        key: &'static str,
    },
    /// A number is too large.
    #[error("`{key}` is {found}; it is at most {max}")]
    TooLarge {
        /// The setting.
        key: &'static str,
        /// Its value.
        found: u64,
        /// The largest value taken.
        max: u64,
    },
    /// Events are to be late, but by nothing.
    #[error("`late` is {found} but `late_by` is 0; say by how many events they are late")]
    LateByNothing {
        /// The value of `late`.
        found: f64,
    },
}
