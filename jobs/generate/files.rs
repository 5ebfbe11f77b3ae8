//! Files as the place of the records.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use resolvent::source::workload::Stream;

use crate::{Arguments, Failure};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// Where lines go: one file, or one for each stream.
pub(crate) struct Files {
    /// Where the files of the streams are; `None` is one file for all.
    directory: Option<PathBuf>,
    files: BTreeMap<Option<Stream>, Output>,
}

impl Files {
    pub(crate) fn open(arguments: &Arguments) -> Result<Files, Failure> {
        let mut files = BTreeMap::new();
        match &arguments.per_stream {
            Some(path) => {
                std::fs::create_dir_all(path).map_err(|source| Failure::File { path: path.clone(), source })?;
            }
            None => {
                files.insert(None, Output::open(&arguments.output)?);
            }
        }
        Ok(Files { directory: arguments.per_stream.clone(), files })
    }

    pub(crate) fn write(&mut self, stream: Stream, line: &[u8]) -> Result<(), Failure> {
        match self.files.entry(self.directory.as_ref().map(|_| stream)) {
            Entry::Occupied(mut file) => file.get_mut().write(line),
            Entry::Vacant(place) => {
                let directory = self.directory.clone().unwrap_or_default();
                place.insert(Output::open(&directory.join(format!("{stream}.jsonl")))?).write(line)
            }
        }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.files.values_mut().try_for_each(Output::flush)
    }

    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.files.into_values().try_for_each(Output::finish)
    }
}

/// One file, compressed as its name says, or standard output.
struct Output {
    path: PathBuf,
    writer: Writer,
}

type Destination = BufWriter<Box<dyn Write>>;

enum Writer {
    Plain(Destination),
    Gzip(GzEncoder<Destination>),
    Zstd(zstd::Encoder<'static, Destination>),
}

impl Output {
    fn open(path: &Path) -> Result<Output, Failure> {
        let failed = |source| Failure::File { path: path.to_owned(), source };
        let destination: Box<dyn Write> = match path.to_str() {
            Some("-") => Box::new(io::stdout()),
            _ => Box::new(File::create(path).map_err(failed)?),
        };
        let destination = BufWriter::with_capacity(BUFFER_BYTES, destination);
        let writer = match path.extension().and_then(|ending| ending.to_str()) {
            Some("gz") => Writer::Gzip(GzEncoder::new(destination, Compression::default())),
            Some("zst") => {
                Writer::Zstd(zstd::Encoder::new(destination, zstd::DEFAULT_COMPRESSION_LEVEL).map_err(failed)?)
            }
            _ => Writer::Plain(destination),
        };
        Ok(Output { path: path.to_owned(), writer })
    }

    fn write(&mut self, line: &[u8]) -> Result<(), Failure> {
        let written = match &mut self.writer {
            Writer::Plain(writer) => writer.write_all(line),
            Writer::Gzip(writer) => writer.write_all(line),
            Writer::Zstd(writer) => writer.write_all(line),
        };
        written.map_err(|source| self.failed(source))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let flushed = match &mut self.writer {
            Writer::Plain(writer) => writer.flush(),
            Writer::Gzip(writer) => writer.flush(),
            Writer::Zstd(writer) => writer.flush(),
        };
        flushed.map_err(|source| self.failed(source))
    }

    fn finish(self) -> Result<(), Failure> {
        let Output { path, writer } = self;
        let destination = match writer {
            Writer::Plain(destination) => Ok(destination),
            Writer::Gzip(writer) => writer.finish(),
            Writer::Zstd(writer) => writer.finish(),
        };
        let finished = destination.and_then(|mut destination| destination.flush());
        finished.map_err(|source| Failure::File { path, source })
    }

    fn failed(&self, source: io::Error) -> Failure {
        Failure::File { path: self.path.clone(), source }
    }
}
