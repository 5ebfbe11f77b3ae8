//! The summary of a run as JSON, for programs: `--summary-json`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use miette::Diagnostic;
use resolvent::metrics::{self, Checksum, Snapshot, Totals, cpu_seconds, disk_io, resident_memory};
use resolvent::pipeline::Summary;
use serde::Serialize;

/// The file, there and empty from the start: a path that cannot be written is found before the job runs, and what an earlier run wrote is never
/// taken for this one's.
pub(crate) struct SummaryFile {
    path: PathBuf,
    file: File,
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("cannot write {} (`--summary-json`): {error}", path.display())]
#[diagnostic(help("name a file in a directory that exists and is writable"))]
pub(crate) struct SummaryFileError {
    path: PathBuf,
    error: io::Error,
}

/// What is written, in base units; what the system does not tell is `null`. README says what each member is.
#[derive(Serialize)]
struct Document<'a> {
    /// `independent`, `sedd` or `dedd`.
    launcher: &'a str,
    elapsed_seconds: f64,
    /// From the arrival of the first record to the last outcome that a sink took.
    busy_seconds: f64,
    /// How far a synthetic source fell behind its schedule at most because it made records too slowly.
    source_behind_seconds: f64,
    /// Of this run.
    totals: Totals,
    /// Of this run, where results are maintained: how many were taken away again.
    retracted: u64,
    /// Now, whichever run they were read in.
    waiting: u64,
    waiting_peak: u64,
    latency: Latencies,
    memory_peak_bytes: Option<u64>,
    /// The most that each part of the accounted memory has held.
    memory_parts_peak_bytes: BTreeMap<&'a str, u64>,
    cpu_seconds: Option<f64>,
    state_bytes: u64,
    bytes_read: u64,
    bytes_written: u64,
    /// What the state was given, and what that made RocksDB write (log, flush and compaction) and read.
    state_io: StateIo,
    /// What the process moved between memory and disks.
    disk_bytes_read: Option<u64>,
    disk_bytes_written: Option<u64>,
    backpressure_seconds: f64,
    /// Of the lines of sinks with `checksum = true`.
    checksums: BTreeMap<&'a str, Lines>,
}

#[derive(Serialize)]
struct StateIo {
    bytes_given: u64,
    bytes_written: u64,
    bytes_read: u64,
}

#[derive(Serialize)]
struct Lines {
    lines: u64,
    /// In hexadecimal digits: JSON's numbers are not exact to 64 bits everywhere.
    sum: String,
}

#[derive(Serialize)]
struct Latencies {
    accept: Quantiles,
    resolve: Quantiles,
    completion: Quantiles,
    visible: Quantiles,
    epoch_commit: Quantiles,
}

#[derive(Serialize)]
struct Quantiles {
    count: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
}

impl SummaryFile {
    pub(crate) fn create(path: &Path) -> Result<SummaryFile, SummaryFileError> {
        match File::create(path) {
            Ok(file) => Ok(SummaryFile { path: path.to_owned(), file }),
            Err(error) => Err(SummaryFileError { path: path.to_owned(), error }),
        }
    }

    pub(crate) fn write(
        mut self,
        launcher: &str,
        summary: &Summary,
        measured: &Snapshot,
    ) -> Result<(), SummaryFileError> {
        let document = Document::new(launcher, summary, measured);
        let written = serde_json::to_vec_pretty(&document).map_err(io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            self.file.write_all(&text)
        });
        written.map_err(|error| SummaryFileError { path: self.path, error })
    }
}

impl<'a> Document<'a> {
    fn new(launcher: &'a str, summary: &Summary, measured: &Snapshot) -> Document<'a> {
        let disk = disk_io();
        let lines = |of: &Checksum| Lines { lines: of.lines, sum: format!("{:016x}", of.sum) };
        Document {
            launcher,
            elapsed_seconds: summary.elapsed.as_secs_f64(),
            busy_seconds: measured.busy.as_secs_f64(),
            source_behind_seconds: measured.source_behind.as_secs_f64(),
            totals: summary.totals.since(&summary.before),
            retracted: summary.totals.since(&summary.before).retracted,
            waiting: summary.waiting,
            waiting_peak: measured.waiting_peak,
            latency: Latencies {
                accept: measured.accept.into(),
                resolve: measured.resolve.into(),
                completion: measured.completion.into(),
                visible: measured.visible.into(),
                epoch_commit: measured.epoch_commit.into(),
            },
            memory_peak_bytes: resident_memory().map(|memory| memory.peak),
            memory_parts_peak_bytes: measured.memory_peaks.iter().map(|(part, peak)| (part.as_str(), *peak)).collect(),
            cpu_seconds: cpu_seconds(),
            state_bytes: summary.state_bytes,
            bytes_read: measured.bytes_read,
            bytes_written: summary.bytes_written,
            state_io: StateIo {
                bytes_given: summary.state_io.given,
                bytes_written: summary.state_io.written,
                bytes_read: summary.state_io.read,
            },
            disk_bytes_read: disk.map(|disk| disk.read),
            disk_bytes_written: disk.map(|disk| disk.written),
            backpressure_seconds: measured.backpressure.iter().map(|(_, held)| held.as_secs_f64()).sum(),
            checksums: measured.checksums.iter().map(|(sink, checksum)| (*sink, lines(checksum))).collect(),
        }
    }
}

impl From<metrics::Quantiles> for Quantiles {
    fn from(of: metrics::Quantiles) -> Quantiles {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Quantiles {
            count: of.count,
            p50_us: micros(of.p50),
            p90_us: micros(of.p90),
            p99_us: micros(of.p99),
            p999_us: micros(of.p999),
            max_us: micros(of.max),
        }
    }
}

#[cfg(test)]
mod tests {
    use resolvent::metrics::{MemoryPart, Metrics};
    use resolvent_state::Io;

    use super::*;

    #[test]
    fn the_file_has_what_this_run_did() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("summary.json");
        let before = Totals { read: 10, rejected: 1, accepted: 9, resolved: 5, expired: 0, dropped: 0, retracted: 0 };
        let totals = Totals { read: 30, rejected: 2, accepted: 28, resolved: 20, expired: 3, dropped: 1, retracted: 0 };
        let metrics = Metrics::new("social");
        metrics.bytes_read(900);
        metrics.waiting(7, 2);
        metrics.waiting(2, 2);
        metrics.resolve_latency([(250, 99), (1500, 1)]);
        metrics.busy(Duration::from_millis(2250));
        metrics.source_behind(Duration::from_millis(125));
        metrics.memory(MemoryPart::Waiting, 500);
        metrics.memory(MemoryPart::Waiting, 400);
        metrics.sink_checksum("resolved", Checksum { lines: 3, sum: u64::MAX });
        metrics.sink_checksum("resolved", Checksum { lines: 2, sum: 16 });
        let summary = Summary {
            totals,
            before,
            waiting: 4,
            elapsed: Duration::from_millis(2500),
            bytes_written: 700,
            state_bytes: 80,
            state_io: Io { given: 100, written: 350, read: 40 },
        };
        SummaryFile::create(&path).unwrap().write("sedd", &summary, &metrics.snapshot()).unwrap();

        let found: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let at = |pointer: &str| found.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in {found}"));
        for (pointer, expected) in [
            ("/launcher", serde_json::json!("sedd")),
            ("/elapsed_seconds", 2.5.into()),
            ("/totals/read", 20.into()),
            ("/totals/resolved", 15.into()),
            ("/totals/expired", 3.into()),
            ("/waiting", 4.into()),
            ("/waiting_peak", 9.into()),
            ("/latency/resolve/count", 100.into()),
            ("/latency/resolve/p50_us", 250.into()),
            ("/latency/accept/count", 0.into()),
            ("/bytes_read", 900.into()),
            ("/bytes_written", 700.into()),
            ("/state_bytes", 80.into()),
            ("/backpressure_seconds", 0.0.into()),
            ("/busy_seconds", 2.25.into()),
            ("/source_behind_seconds", 0.125.into()),
            ("/memory_parts_peak_bytes/waiting", 500.into()),
            ("/state_io/bytes_given", 100.into()),
            ("/state_io/bytes_written", 350.into()),
            ("/state_io/bytes_read", 40.into()),
            ("/checksums/resolved/lines", 5.into()),
            ("/checksums/resolved/sum", "000000000000000f".into()),
        ] {
            assert_eq!(*at(pointer), expected, "{pointer}");
        }
        let latency = ["accept", "resolve", "completion", "visible", "epoch_commit"];
        for quantile in ["count", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"] {
            latency.iter().for_each(|kind| assert!(at(&format!("/latency/{kind}/{quantile}")).is_u64()));
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let Err(error) = SummaryFile::create(Path::new("/dev/null/summary.json")) else { panic!("it cannot be made") };
        assert!(error.to_string().contains("/dev/null/summary.json"), "{error}");
    }
}
