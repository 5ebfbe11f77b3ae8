//! A file that lines are appended to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Access;

use super::{Mark, Sink, SinkError, Unsynced};

/// Bytes that are gathered before the file is written to.
const BUFFER_BYTES: usize = 1 << 20;

/// Appends to a file that nobody else writes. What was not synced when it is dropped may be lost.
#[derive(Debug)]
pub(super) struct FileSink {
    path: PathBuf,
    file: Arc<File>,
    buffer: Vec<u8>,
    /// Length of the file once the buffer is in it.
    length: u64,
    length_flushed: u64,
    bytes_written: u64,
    /// After a failure the file's end is unknown.
    failed: bool,
}

impl FileSink {
    /// Opens `path` to append. With a mark it is cut back to it; without one it must be empty or new.
    pub(super) fn open(path: &Path, mark: Option<Mark>) -> Result<Self, SinkError> {
        let cannot = |error| SinkError::Open { path: path.to_owned(), error };
        let committed = mark.unwrap_or_default().length;
        let file = match find(path, mark)? {
            Some((file, length)) => {
                if length > committed {
                    file.set_len(committed).and_then(|()| file.sync_all()).map_err(cannot)?;
                }
                file
            }
            None => {
                let file = create(path).map_err(cannot)?;
                lock(&file, path)?;
                file
            }
        };
        Ok(FileSink {
            path: path.to_owned(),
            file: Arc::new(file),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            length: committed,
            length_flushed: committed,
            bytes_written: 0,
            failed: false,
        })
    }

    /// Does `work` unless an earlier one failed; remembers if this one does.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> io::Result<()>) -> Result<(), SinkError> {
        if self.failed {
            return Err(SinkError::Failed { path: self.path.clone() });
        }
        work(self).map_err(|error| {
            self.failed = true;
            SinkError::Write { target: self.path.display().to_string(), error }
        })
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        (&*self.file).write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Sink for FileSink {
    fn write(&mut self, lines: &[u8]) -> Result<(), SinkError> {
        self.attempt(|sink| {
            if sink.buffer.len() + lines.len() > BUFFER_BYTES {
                sink.write_buffer()?;
            }
            if lines.len() >= BUFFER_BYTES { (&*sink.file).write_all(lines) } else { sink.buffer.write_all(lines) }
        })?;
        self.length += lines.len() as u64;
        self.bytes_written += lines.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(Mark, Option<Unsynced>), SinkError> {
        if self.failed {
            return Err(SinkError::Failed { path: self.path.clone() });
        }
        let mark = Mark { length: self.length };
        if self.length == self.length_flushed {
            return Ok((mark, None));
        }
        let mut found = 0;
        self.attempt(|sink| {
            sink.write_buffer()?;
            found = sink.file.metadata()?.len();
            Ok(())
        })?;
        if found != self.length {
            self.failed = true;
            return Err(SinkError::Changed { path: self.path.clone(), expected: self.length, found });
        }
        self.length_flushed = self.length;
        Ok((mark, Some(Unsynced { file: Arc::clone(&self.file), path: self.path.clone() })))
    }

    fn bytes_written(&self) -> u64 {
        self.bytes_written
    }
}

/// See [`super::check`].
pub(super) fn check(path: &Path, mark: Option<Mark>) -> Result<(), SinkError> {
    if find(path, mark)?.is_none() {
        let writable = rustix::fs::access(directory_of(path), Access::WRITE_OK | Access::EXEC_OK);
        writable.map_err(|error| SinkError::Open { path: path.to_owned(), error: error.into() })?;
    }
    Ok(())
}

/// The file that is there, locked, and its length; `None` where it may be created.
fn find(path: &Path, mark: Option<Mark>) -> Result<Option<(File, u64)>, SinkError> {
    let cannot = |error| SinkError::Open { path: path.to_owned(), error };
    let committed = mark.unwrap_or_default().length;
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(SinkError::NotAFile { path: path.to_owned() });
    }
    let file = match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && committed == 0 => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(SinkError::Changed { path: path.to_owned(), expected: committed, found: 0 });
        }
        opened => opened.map_err(cannot)?,
    };
    lock(&file, path)?;
    let length = file.metadata().map_err(cannot)?.len();
    match mark {
        None if length > 0 => Err(SinkError::NotEmpty { path: path.to_owned(), length }),
        Some(_) if length < committed => {
            Err(SinkError::Changed { path: path.to_owned(), expected: committed, found: length })
        }
        _ => Ok(Some((file, length))),
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a file, and sees to it that its name outlives a power failure.
fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create_new(true).open(path)?;
    File::open(directory_of(path))?.sync_all()?;
    Ok(file)
}

fn lock(file: &File, path: &Path) -> Result<(), SinkError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(SinkError::InUse { path: path.to_owned() }),
        // Some network file systems have no locks. Lengths are still compared at every sync.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(SinkError::Open { path: path.to_owned(), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synced(path: &Path, mark: Option<Mark>, lines: &[&[u8]]) -> Mark {
        let mut sink = FileSink::open(path, mark).expect("opens");
        lines.iter().for_each(|line| sink.write(line).expect("writes"));
        let (mark, unsynced) = sink.flush().expect("flushes");
        unsynced.iter().for_each(|unsynced| unsynced.sync().expect("syncs"));
        mark
    }

    #[test]
    fn appends_and_is_cut_back_to_its_mark() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("out.jsonl");
        let long = vec![b'x'; BUFFER_BYTES + 1];
        let mark = synced(&path, None, &[b"a\n", &long, b"b\n"]);
        assert_eq!(mark.length, long.len() as u64 + 4);
        assert_eq!(std::fs::read(&path).expect("reads"), [b"a\n", &long[..], b"b\n"].concat());

        synced(&path, Some(mark), &[b"uncommitted\n"]);
        let again = synced(&path, Some(mark), &[b"c\n"]);
        assert_eq!(again.length, mark.length + 2);
        assert_eq!(std::fs::read(&path).expect("reads"), [b"a\n", &long[..], b"b\nc\n"].concat());
    }

    #[test]
    fn lines_that_were_not_synced_are_not_missed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("out.jsonl");
        let mark = synced(&path, None, &[b"a\n"]);
        let mut sink = FileSink::open(&path, Some(mark)).expect("opens");
        sink.write(b"lost\n").expect("writes");
        assert_eq!(sink.bytes_written(), 5);
        drop(sink);
        assert_eq!(synced(&path, Some(mark), &[]), mark);
        assert_eq!(std::fs::read(&path).expect("reads"), b"a\n");
    }

    #[test]
    fn refuses_what_it_cannot_answer_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("out.jsonl");
        let refusal = |path: &Path, mark: Option<u64>| {
            let mark = mark.map(|length| Mark { length });
            FileSink::open(path, mark).expect_err("refused").to_string()
        };
        assert!(refusal(&path, Some(7)).contains("changed by somebody else: it holds 0 bytes where 7"));
        assert!(!path.exists());
        std::fs::write(&path, "old\n").expect("writes");
        assert!(refusal(&path, None).contains("already holds 4 bytes"));
        assert!(refusal(&path, None).contains("--fresh"));
        assert!(refusal(&path, Some(7)).contains("holds 4 bytes where 7"));
        assert_eq!(std::fs::read(&path).expect("reads"), b"old\n");
        assert!(refusal(directory.path(), None).contains("no regular file"));
        assert!(refusal(Path::new("/dev/null"), None).contains("no regular file"));
        assert!(refusal(&directory.path().join("no/such"), None).contains("its directory must exist"));

        let _held = FileSink::open(&path, Some(Mark { length: 4 })).expect("opens");
        assert!(refusal(&path, Some(4)).contains("a file of its own"));
    }

    #[test]
    fn notices_a_second_writer_and_takes_nothing_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("out.jsonl");
        let mut sink = FileSink::open(&path, None).expect("opens");
        sink.write(b"a\n").expect("writes");
        std::fs::write(&path, "somebody else's\n").expect("writes");
        assert!(matches!(sink.flush(), Err(SinkError::Changed { expected: 2, found: 18, .. })));
        assert!(matches!(sink.write(b"b\n"), Err(SinkError::Failed { .. })));
        assert!(matches!(sink.flush(), Err(SinkError::Failed { .. })));
    }
}
