//! Standard output.

use std::io::{self, ErrorKind, Write};

use super::{Mark, Sink, SinkError, Unsynced};

/// Writes lines to standard output. It cannot be cut: after a crash lines may come twice.
#[derive(Debug, Default)]
pub(super) struct StdoutSink {
    bytes_written: u64,
}

fn failed(error: io::Error) -> SinkError {
    let error = match error.kind() {
        ErrorKind::BrokenPipe => io::Error::new(ErrorKind::BrokenPipe, "the program that reads it has gone"),
        _ => error,
    };
    SinkError::Write { target: "standard output".to_owned(), error }
}

impl Sink for StdoutSink {
    fn write(&mut self, lines: &[u8]) -> Result<(), SinkError> {
        io::stdout().write_all(lines).map_err(failed)?;
        self.bytes_written += lines.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(Mark, Option<Unsynced>), SinkError> {
        io::stdout().flush().map_err(failed)?;
        Ok((Mark::default(), None))
    }

    fn bytes_written(&self) -> u64 {
        self.bytes_written
    }
}
