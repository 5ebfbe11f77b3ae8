//! The directory of a state: whose it is, who holds it, and what in it may be deleted. Nothing here opens RocksDB.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::identity::{FORMAT_VERSION, Format, Identity};
use crate::wal::{self, Tail};

/// Says whose state a directory holds. There once the state is complete.
const FORMAT: &str = "FORMAT";
/// The same while the state is being made or deleted: what lies beside it is of no value.
const UNFINISHED: &str = "UNFINISHED";
/// What a file system keeps at its root: a mounted disk counts as empty.
const LOST_AND_FOUND: &str = "lost+found";

/// What [`State::destroy`](crate::State::destroy) deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// Number of files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// What a directory holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Empty,
    Unfinished,
    State(Identity),
}

/// A state directory that this handle alone may write. Given back when dropped, or when the process ends.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    /// The directory itself carries the lock, so that taking it writes nothing, and a refusal leaves no trace. (RocksDB's own
    /// `LOCK` is taken after it has renamed its log.)
    _lock: File,
}

impl Claim {
    /// Takes the directory, and makes it where it is absent.
    pub(crate) fn create(path: &Path) -> Result<Claim, OpenError> {
        fs::create_dir_all(path).map_err(|e| unwritable(path, e))?;
        Claim::take(path)
    }

    /// Takes the directory.
    pub(crate) fn take(path: &Path) -> Result<Claim, OpenError> {
        let lock = File::open(path).map_err(|e| unwritable(path, e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Claim { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(e)) => Err(unwritable(path, e)),
        }
    }

    /// Marks the directory as the home of a state that is being made.
    pub(crate) fn begin(&self, identity: &Identity) -> Result<(), OpenError> {
        self.remove_state_files()?;
        let write = || {
            let mut file = File::create(self.path.join(UNFINISHED))?;
            file.write_all(&identity.encode())?;
            file.sync_all()
        };
        write().and_then(|()| sync_directory(&self.path)).map_err(|e| unwritable(&self.path, e))
    }

    /// Declares the state complete.
    pub(crate) fn finish(&self) -> Result<(), OpenError> {
        self.rename(UNFINISHED, FORMAT)
    }

    /// Deletes all that belongs to a state, and leaves the directory.
    pub(crate) fn destroy(&self) -> Result<Destroyed, OpenError> {
        let foreign = entries(&self.path)?.into_iter().find(|name| !is_ours(name));
        if let Some(found) = foreign {
            return Err(OpenError::Foreign { path: self.path.clone(), found });
        }
        if self.path.join(FORMAT).exists() {
            self.rename(FORMAT, UNFINISHED)?;
        }
        let mut destroyed = self.remove_state_files()?;
        let mark = self.path.join(UNFINISHED);
        if let Ok(metadata) = fs::metadata(&mark) {
            fs::remove_file(&mark).map_err(|e| unwritable(&self.path, e))?;
            destroyed.files += 1;
            destroyed.bytes += metadata.len();
        }
        sync_directory(&self.path).map_err(|e| unwritable(&self.path, e))?;
        Ok(destroyed)
    }

    /// Deletes RocksDB's files.
    fn remove_state_files(&self) -> Result<Destroyed, OpenError> {
        let mut destroyed = Destroyed::default();
        for name in entries(&self.path)?.iter().filter(|name| is_rocksdb_file(name)) {
            let file = self.path.join(name);
            let remove = || {
                let bytes = fs::metadata(&file)?.len();
                fs::remove_file(&file).map(|()| bytes)
            };
            destroyed.bytes += remove().map_err(|e| unwritable(&self.path, e))?;
            destroyed.files += 1;
        }
        Ok(destroyed)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), OpenError> {
        fs::rename(self.path.join(from), self.path.join(to))
            .and_then(|()| sync_directory(&self.path))
            .map_err(|e| unwritable(&self.path, e))
    }
}

/// Looks at what a directory holds, without a trace. An absent one is empty.
pub(crate) fn look(path: &Path) -> Result<Content, OpenError> {
    let mut names = match entries(path) {
        Err(OpenError::Unwritable { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        entries => entries?,
    };
    if names.iter().any(|name| name == FORMAT) {
        return read_format(path).map(Content::State);
    }
    if names.iter().any(|name| name == UNFINISHED) {
        return Ok(Content::Unfinished);
    }
    if names.is_empty() {
        return Ok(Content::Empty);
    }
    let more = if names.len() > 3 { ", …" } else { "" };
    names.truncate(3);
    Err(OpenError::Foreign { path: path.to_owned(), found: names.join(", ") + more })
}

/// Refuses the state of another job, or one made under other rules.
pub(crate) fn compare(path: &Path, found: &Identity, wanted: &Identity) -> Result<(), OpenError> {
    if found.job != wanted.job {
        return Err(OpenError::OtherJob {
            path: path.to_owned(),
            found: found.job.clone(),
            wanted: wanted.job.clone(),
        });
    }
    if found.fingerprint != wanted.fingerprint {
        return Err(OpenError::FingerprintDiffers { path: path.to_owned(), differences: found.differences(wanted) });
    }
    Ok(())
}

/// Refuses a state whose write-ahead logs are damaged: see [`wal`].
pub(crate) fn check_logs(path: &Path) -> Result<(), OpenError> {
    let mut logs: Vec<String> = entries(path)?.into_iter().filter(|name| name.ends_with(".log")).collect();
    // Numbers with leading zeros: their order is that of the names, but that a longer one is the greater.
    logs.sort_by_key(|name| (name.len(), name.clone()));
    let mut torn: Option<String> = None;
    for name in logs {
        let log = fs::read(path.join(&name)).map_err(|e| io_error(path, &e))?;
        let damage = |at: String| {
            Err(OpenError::Damaged { path: path.to_owned(), what: format!("{at}, and later records are intact") })
        };
        match (&torn, log.is_empty()) {
            (Some(earlier), false) => {
                return damage(format!("the end of the write-ahead log {earlier} is missing or bad"));
            }
            (_, true) => continue,
            (None, false) => {}
        }
        match wal::tail(&log) {
            Tail::Whole => {}
            Tail::Torn(_) => torn = Some(name),
            Tail::Damaged(at) => return damage(format!("a record of the write-ahead log {name} is bad, at byte {at}")),
        }
    }
    Ok(())
}

/// Size of all files of a directory in bytes. A file that vanishes meanwhile counts as none.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Name and length of the current manifest: they change whenever a file enters or leaves the state.
pub(crate) fn manifest_stamp(path: &Path) -> Option<(String, u64)> {
    let name = fs::read_to_string(path.join("CURRENT")).ok()?.trim().to_owned();
    let bytes = fs::metadata(path.join(&name)).ok()?.len();
    Some((name, bytes))
}

/// The error for a failed file operation: [`OpenError::Unwritable`] where the system denies access.
pub(crate) fn unwritable(path: &Path, source: io::Error) -> OpenError {
    match source.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotFound => OpenError::Unwritable { path: path.to_owned(), source },
        _ => io_error(path, &source),
    }
}

fn io_error(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), what: error.to_string() }
}

fn read_format(path: &Path) -> Result<Identity, OpenError> {
    let file = path.join(FORMAT);
    let bytes = fs::read(&file).map_err(|e| io_error(path, &e))?;
    match Identity::decode(&bytes) {
        Format::Known(identity) => Ok(identity),
        Format::Newer(found) => Err(OpenError::NewerFormat { path: path.to_owned(), found, known: FORMAT_VERSION }),
        Format::Unreadable if !path.join("CURRENT").exists() => {
            Err(OpenError::Foreign { path: path.to_owned(), found: "a file FORMAT of something else".into() })
        }
        Format::Unreadable => {
            Err(OpenError::Damaged { path: path.to_owned(), what: "the file FORMAT is not as it was written".into() })
        }
    }
}

fn entries(path: &Path) -> Result<Vec<String>, OpenError> {
    let list = || {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != LOST_AND_FOUND {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    };
    list().map_err(|e| unwritable(path, e))
}

fn is_ours(name: &str) -> bool {
    name == FORMAT || name == UNFINISHED || is_rocksdb_file(name)
}

fn is_rocksdb_file(name: &str) -> bool {
    matches!(name, "CURRENT" | "IDENTITY" | "LOCK" | "LOG")
        || ["MANIFEST-", "OPTIONS-", "LOG.old."].iter().any(|prefix| name.starts_with(prefix))
        || name.split_once('.').is_some_and(|(number, kind)| {
            number.bytes().all(|b| b.is_ascii_digit()) && matches!(kind, "sst" | "log" | "blob" | "dbtmp")
        })
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
