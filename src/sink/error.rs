//! What can be wrong with a sink, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::kafka::ClientError;

/// A sink that cannot be opened, or that failed. Nothing that was committed is lost: a restart goes on from there.
#[derive(Debug, Error)]
pub enum SinkError {
    /// The file cannot be opened.
    #[error("cannot open the output file {}: {error}; its directory must exist and be writable", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("{} is no regular file, so it could not be cut back after a crash; use `stdout = true` or `null = true`", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// Another sink or another process holds it.
    #[error("another process, or another sink of this job, writes to {}; give each sink a file of its own", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// New state beside output of an earlier job.
    #[error(
        "{} already holds {length} bytes, but the job's state knows nothing of them; start with --fresh to delete both, or move the file away",
        path.display()
    )]
    NotEmpty {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// It no longer holds what was committed.
    #[error(
        "{} was changed by somebody else: it holds {found} bytes where {expected} are known of; put it back, or start over with --fresh",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Bytes that this job wrote.
        expected: u64,
        /// Bytes that it has; 0 for a file that is gone.
        found: u64,
    },
    /// Writing failed.
    #[error("cannot write to {target}: {error}; nothing committed is lost, and a restart goes on from there")]
    Write {
        /// The file, or standard output.
        target: String,
        /// Why: no space left, for example.
        error: io::Error,
    },
    /// A failed write or sync came before; what the file holds is no longer known.
    #[error("{} failed earlier and takes nothing more; a restart goes on from what was committed", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
    },
    /// The brokers of topics cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The broker does not take what it is given, and would not take it a second time.
    #[error("{0}; nothing committed is lost, and a restart goes on from there")]
    Refused(String),
    /// Whether the broker has committed an epoch is not known, or the producer can be used no more: all that is known is the last commit.
    #[error("{0}; nothing committed is lost, and a restart goes on from there")]
    Undecided(String),
    /// A transaction has ended for the broker's coordinator of transactions, and not for the group.
    #[error(
        "group {group} has offsets in a transaction that nobody has open any more: the broker has lost what ends it, and committed readers see nothing behind \
         it. Apache Kafka 4.3 and 4.4 do so where a broker is killed and no other one leads its partitions (KAFKA-20734). `kafka-transactions.sh find-hanging` \
         names the partitions, the group's is of __consumer_offsets, and `kafka-transactions.sh abort` ends it; then start the job again: it goes on behind what \
         counts then, or says what is missing"
    )]
    Unended {
        /// The job's group.
        group: String,
    },
    /// Another process commits under the name of this job.
    #[error(
        "another instance of job {job} has taken over: it commits to the same group now, and this one has ended. Give each job a name of its own; a job runs \
         once, whatever its state directory is"
    )]
    TakenOver {
        /// The job's name.
        job: String,
    },
}

impl SinkError {
    /// Whether the job can begin again from its last commit in the same process.
    pub fn is_undecided(&self) -> bool {
        matches!(self, SinkError::Undecided(_))
    }
}
