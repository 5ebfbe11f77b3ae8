//! Where the bytes of one input come from: a plain file, a compressed one, or a pipe with a thread of its own.

use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::super::SourceError;

/// The path that stands for standard input.
const STDIN: &str = "-";

/// Bytes asked of a pipe at once: what Linux keeps of one by default.
const PIPE_READ_BYTES: usize = 64 << 10;

/// Reads from a pipe that may lie unprocessed, over and above the blocks of the source.
const PIPE_READS_MAX: usize = 16;

/// Bytes of a compressed file read at once.
const COMPRESSED_READ_BYTES: usize = 128 << 10;

/// How the bytes of a file are encoded, by the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Zstd,
}

impl Encoding {
    pub(super) fn of(path: &str) -> Encoding {
        if path.ends_with(".gz") {
            Encoding::Gzip
        } else if path.ends_with(".zst") {
            Encoding::Zstd
        } else {
            Encoding::Plain
        }
    }

    /// The content of `reader`: all members of a gzip file, all frames of a zstd one.
    fn decode(self, reader: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Encoding::Plain => Box::new(reader),
            Encoding::Gzip => {
                let reader = BufReader::with_capacity(COMPRESSED_READ_BYTES, reader);
                Box::new(flate2::bufread::MultiGzDecoder::new(reader))
            }
            Encoding::Zstd => {
                Box::new(zstd::Decoder::with_buffer(BufReader::with_capacity(COMPRESSED_READ_BYTES, reader))?)
            }
        })
    }
}

/// Where bytes come from.
pub(super) enum Origin {
    /// Has a length and can be read from anywhere.
    Plain(Arc<File>),
    /// Can be read from its start.
    Compressed(Box<dyn Read + Send>, Stored),
    /// Can be read once. A thread reads it, for a read may block for ever.
    Pipe(Receiver<io::Result<Vec<u8>>>),
}

/// A compressed file as it is stored, and how many of its bytes have surely been decompressed.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) file: Arc<File>,
    pub(super) used: Arc<AtomicU64>,
}

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&*self.file).read(buffer)?;
        let at = (&*self.file).stream_position()?;
        // A decompressor may hold back as much as it reads at once, until it has seen the end.
        let held = if read == 0 { 0 } else { COMPRESSED_READ_BYTES as u64 };
        self.used.store(at.saturating_sub(held), Ordering::Relaxed);
        Ok(read)
    }
}

/// Whether `path` names something that cannot be read twice: standard input, a named pipe, a terminal.
pub fn is_pipe(path: &str) -> bool {
    path == STDIN || fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// Bytes were appended.
    Some,
    /// There are none at present.
    Nothing,
    /// There are none, and a compressed file or pipe will have no more.
    End,
}

impl Origin {
    /// Opens what `path` names.
    pub(super) fn open(path: &str) -> Result<Origin, SourceError> {
        let failed = |source| SourceError::Open { path: path.to_owned(), source };
        if path == STDIN {
            return pipe(path, || Ok(Box::new(io::stdin())));
        }
        let metadata = fs::metadata(path).map_err(failed)?;
        if metadata.is_dir() {
            return Err(SourceError::Directory { path: path.to_owned() });
        }
        let encoding = Encoding::of(path);
        if is_pipe(path) {
            // Opening a named pipe blocks until somebody writes to it, so that is left to its thread.
            let name = path.to_owned();
            return pipe(path, move || encoding.decode(File::open(name)?));
        }
        let file = File::open(path).map_err(failed)?;
        match encoding {
            Encoding::Plain => Ok(Origin::Plain(Arc::new(file))),
            Encoding::Gzip | Encoding::Zstd => {
                let stored = Stored { file: Arc::new(file), used: Arc::default() };
                let content = encoding.decode(stored.clone()).map_err(failed)?;
                Ok(Origin::Compressed(content, stored))
            }
        }
    }

    /// Appends at most `max` bytes (from a pipe: at least one read of it) to `buffer`.
    pub(super) fn fill(&mut self, buffer: &mut Vec<u8>, max: usize) -> io::Result<Filled> {
        match self {
            Origin::Plain(file) => {
                let read = (&**file).take(max as u64).read_to_end(buffer)?;
                Ok(if read == 0 { Filled::Nothing } else { Filled::Some })
            }
            Origin::Compressed(reader, _) => {
                let read = reader.take(max as u64).read_to_end(buffer)?;
                Ok(if read == 0 { Filled::End } else { Filled::Some })
            }
            Origin::Pipe(reads) => receive(reads, buffer, max),
        }
    }
}

/// Appends what has been read of a pipe, up to `max` bytes and the rest of one read.
fn receive(reads: &Receiver<io::Result<Vec<u8>>>, buffer: &mut Vec<u8>, max: usize) -> io::Result<Filled> {
    let before = buffer.len();
    while buffer.len() - before < max {
        match reads.try_recv() {
            Ok(read) => buffer.extend_from_slice(&read?),
            Err(_) if buffer.len() > before => break,
            Err(TryRecvError::Empty) => return Ok(Filled::Nothing),
            Err(TryRecvError::Disconnected) => return Ok(Filled::End),
        }
    }
    Ok(Filled::Some)
}

/// A thread that reads what `open` opens. It ends with the pipe, with the first error, or when nobody receives any
/// more.
fn pipe(
    path: &str,
    open: impl FnOnce() -> io::Result<Box<dyn Read + Send>> + Send + 'static,
) -> Result<Origin, SourceError> {
    let (sender, receiver) = bounded(PIPE_READS_MAX);
    thread::Builder::new()
        .name("pipe".to_owned())
        .spawn(move || {
            if let Err(error) = open().and_then(|reader| forward(reader, &sender)) {
                // A send fails only when the source is gone, and with it whoever would want to know.
                let _ = sender.send(Err(error));
            }
        })
        .map_err(|source| SourceError::Thread { path: path.to_owned(), source })?;
    Ok(Origin::Pipe(receiver))
}

fn forward(mut reader: Box<dyn Read + Send>, reads: &Sender<io::Result<Vec<u8>>>) -> io::Result<()> {
    loop {
        let mut bytes = vec![0; PIPE_READ_BYTES];
        let read = match reader.read(&mut bytes) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes.truncate(read);
        if read == 0 || reads.send(Ok(bytes)).is_err() {
            return Ok(());
        }
    }
}

/// The length of a plain file.
pub(super) fn length(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

/// Moves to `offset` of a plain file.
pub(super) fn seek(mut file: &File, offset: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset)).map(|_| ())
}

/// Whether `path` names another file than the one that is open. A path that names none at all may still get its file
/// back.
pub(super) fn is_replaced(file: &File, path: &str) -> io::Result<bool> {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    match fs::metadata(path) {
        Ok(named) => Ok(identity(named) != identity(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
