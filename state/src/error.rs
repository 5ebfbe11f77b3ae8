//! What can go wrong, grouped by what the reader of the message should do.

use std::io;
use std::path::PathBuf;

/// Why a state was not opened. Its directory is as it was, but for [`OpenError::Io`] on a new one.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not empty and holds no state.
    #[error(
        "{} is not a state directory: it holds {found}. Name an empty directory, or one that this program made",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Some of what is there.
        found: String,
    },
    /// There is no state to read.
    #[error("there is no state in {}: no job has been started with this directory", path.display())]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// A later version of the program wrote it.
    #[error(
        "the state in {} has format {found}, this program knows formats up to {known}: use the version that wrote it or a \
         later one, or start over with --fresh",
        path.display()
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The latest format version of this program.
        known: u32,
    },
    /// It is another job's.
    #[error(
        "the state in {} belongs to job \"{found}\", not to \"{wanted}\": give each job a directory of its own",
        path.display()
    )]
    OtherJob {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asked for it.
        wanted: String,
    },
    /// It was made under rules that are no longer the job's.
    #[error(
        "the state in {} was made under other rules (- then, + now):\n{differences}\nUndo the change, or start over with --fresh",
        path.display()
    )]
    FingerprintDiffers {
        /// The directory.
        path: PathBuf,
        /// The lines that differ, each after `- ` or `+ `.
        differences: String,
    },
    /// Another process, or another handle in this one, has it open.
    #[error("the state in {} is in use by another process: stop that one first, or name another directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be created or written.
    #[error("{} cannot be written: {source}. Check its owner, its permissions and how it is mounted", path.display())]
    Unwritable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its content is not what was written.
    #[error("the state in {} is damaged: {what}. Restore the directory from a copy, or start over with --fresh", path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The system failed: no space, too many open files, a broken disk.
    #[error("the state in {} could not be opened: {what}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        what: String,
    },
}

/// Why a state could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The disk or a quota is full.
    #[error("the state cannot grow: {0}. Make room on its disk, then start the job again: nothing committed is lost")]
    Full(String),
    /// What was read is not what was written.
    #[error("the state is damaged: {0}. Restore its directory from a copy, or start over with --fresh")]
    Damaged(String),
    /// The system failed otherwise.
    #[error(
        "the state failed: {0}. Look at the disk and the system log, then start the job again: nothing committed is lost"
    )]
    Io(String),
    /// An earlier write failed, so that what is on disk is unknown until the job is started again.
    #[error("the state is closed since a write failed: {first}")]
    Poisoned {
        /// The first error.
        first: String,
    },
    /// The state was opened to be read.
    #[error("the state was opened read-only")]
    ReadOnly,
    /// A batch puts a key that is there into a table whose keys are put once (only the state in memory looks).
    #[error("the key {key} of table {table} was put again before it was deleted")]
    PutTwice {
        /// The table's name.
        table: &'static str,
        /// The key, in hexadecimal.
        key: String,
    },
    /// Bytes that are not those of a batch.
    #[error("{bytes} bytes are not a batch: they end, or make no sense, after {changes} changes")]
    Malformed {
        /// How many bytes there are.
        bytes: usize,
        /// How many changes were read before.
        changes: usize,
    },
}
