//! Writes a seeded workload as JSON lines: to a file, to standard output, or each stream to a file of its own.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use flate2::Compression;
use flate2::write::GzEncoder;
use resolvent::source::workload::{Entity, Generator, Made, Stream, SyntheticSettings, Workload};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// A line that was due is written out within this, where there is a rate.
const FLUSH_INTERVAL: Duration = Duration::from_millis(1);

/// Make a seeded workload: JSON lines, the same for the same settings on every machine.
///
/// `nexmark` gives people, auctions and bids; `social` gives people, posts, comments, likes and follows. Each line
/// names its stream in "type". A summary goes to standard error.
#[derive(Parser)]
#[command(name = "generate", version, after_help = EXAMPLES)]
struct Arguments {
    /// Which events to make
    #[arg(value_enum)]
    workload: Kind,

    /// How many events; 0 is without end. Repeated records come on top, those that never come are taken off
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,

    /// Another seed makes other events, in another order; with 0 Nexmark is the sequence of the `nexmark` crate itself
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Shuffle events within windows of this many; 0 leaves them in order
    #[arg(long, value_name = "W", default_value_t = 0)]
    disorder: u64,

    /// Share of records that come once more, byte for byte, up to 1,000 events later
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    duplicates: f64,

    /// Share of events that come late, by --late-by
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    late: f64,

    /// By how many events those are late
    #[arg(long, value_name = "N", default_value_t = 0)]
    late_by: u64,

    /// Share of the events that others may refer to that never come
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    never: f64,

    /// Records a second; 0 is as fast as possible
    #[arg(long, value_name = "R", default_value_t = 0)]
    rate: u64,

    /// Where to write; `-` is standard output, `.gz` and `.zst` are compressed. A file that is there is overwritten
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// Write each stream to a file of its own in this directory, such as `bid.jsonl`
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    per_stream: Option<PathBuf>,

    /// Write no summary
    #[arg(long, short)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  generate nexmark --events 10000000 --output events.jsonl.zst
  generate nexmark --events 1000000 --disorder 50000 --output shuffled.jsonl
  generate social --events 1000000 --late 0.1 --late-by 20000 --never 0.01 --duplicates 0.02 --output social.jsonl
  generate social --events 0 --rate 1000 | sedd --config job.toml

Exit status: 0 done, 1 failed, 2 wrong usage.";

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// People, auctions and bids
    Nexmark,
    /// People, posts, comments, likes and follows
    Social,
}

impl Arguments {
    fn settings(&self) -> SyntheticSettings {
        SyntheticSettings {
            workload: match self.workload {
                Kind::Nexmark => Workload::Nexmark,
                Kind::Social => Workload::Social,
            },
            events: self.events,
            seed: self.seed,
            rate: self.rate,
            disorder: self.disorder,
            duplicates: self.duplicates,
            late: self.late,
            late_by: self.late_by,
            never: self.never,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let generator = match Generator::new(&arguments.settings()) {
        Ok(generator) => generator,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    let summary = match Outputs::open(&arguments).and_then(|outputs| generate(generator, outputs, arguments.rate)) {
        Ok(summary) => summary,
        // Who reads has had enough, as `head` has.
        Err(failure) if failure.source.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: cannot write {}: {}", failure.path.display(), failure.source);
            return ExitCode::FAILURE;
        }
    };
    if !arguments.quiet {
        eprint!("{}", summary.render(started.elapsed()));
    }
    ExitCode::SUCCESS
}

/// Makes and writes all records.
fn generate(mut generator: Generator, mut outputs: Outputs, rate: u64) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    let mut line = Vec::new();
    let started = Instant::now();
    let mut flushed = started;
    loop {
        line.clear();
        let made = generator.next(&mut line).map_err(|source| Failure { path: "the workload".into(), source })?;
        let Some(made) = made else { break };
        if rate > 0 {
            let early = due(summary.records, rate).saturating_sub(started.elapsed());
            if !early.is_zero() || flushed.elapsed() >= FLUSH_INTERVAL {
                outputs.flush()?;
                flushed = Instant::now();
            }
            thread::sleep(early);
        }
        outputs.write(made.stream, &line)?;
        summary.count(&made, line.len());
    }
    outputs.finish()?;
    Ok(summary)
}

/// When the record after `records` others is due.
fn due(records: u64, rate: u64) -> Duration {
    let nanos = u128::from(records) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A write that failed.
struct Failure {
    path: PathBuf,
    source: io::Error,
}

/// Where lines go: one file, or one for each stream.
struct Outputs {
    /// Where the files of the streams are; `None` is one file for all.
    directory: Option<PathBuf>,
    files: BTreeMap<Option<Stream>, Output>,
}

impl Outputs {
    fn open(arguments: &Arguments) -> Result<Outputs, Failure> {
        let mut files = BTreeMap::new();
        match &arguments.per_stream {
            Some(path) => {
                std::fs::create_dir_all(path).map_err(|source| Failure { path: path.clone(), source })?;
            }
            None => {
                files.insert(None, Output::open(&arguments.output)?);
            }
        }
        Ok(Outputs { directory: arguments.per_stream.clone(), files })
    }

    fn write(&mut self, stream: Stream, line: &[u8]) -> Result<(), Failure> {
        match self.files.entry(self.directory.as_ref().map(|_| stream)) {
            Entry::Occupied(mut file) => file.get_mut().write(line),
            Entry::Vacant(place) => {
                let directory = self.directory.clone().unwrap_or_default();
                place.insert(Output::open(&directory.join(format!("{stream}.jsonl")))?).write(line)
            }
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.files.values_mut().try_for_each(Output::flush)
    }

    fn finish(self) -> Result<(), Failure> {
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
        let failed = |source| Failure { path: path.to_owned(), source };
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
        finished.map_err(|source| Failure { path, source })
    }

    fn failed(&self, source: io::Error) -> Failure {
        Failure { path: self.path.clone(), source }
    }
}

/// What was written.
#[derive(Default)]
struct Summary {
    records: u64,
    bytes: u64,
    streams: BTreeMap<Stream, StreamCount>,
    seen: BTreeMap<Entity, Ids>,
}

#[derive(Default)]
struct StreamCount {
    records: u64,
    dependents: u64,
    /// Dependents that came before one of their referents.
    early: u64,
}

impl Summary {
    fn count(&mut self, made: &Made, bytes: usize) {
        self.records += 1;
        self.bytes += bytes as u64;
        let mut refers_to = made.refers_to.iter().flatten().peekable();
        let stream = self.streams.entry(made.stream).or_default();
        stream.records += 1;
        if refers_to.peek().is_some() {
            stream.dependents += 1;
            let has_come = |entity, id| self.seen.get(&entity).is_some_and(|ids: &Ids| ids.contains(id));
            stream.early += u64::from(!refers_to.all(|referent| has_come(referent.entity, referent.id)));
        }
        if let Some(referent) = made.provides {
            self.seen.entry(referent.entity).or_default().insert(referent.id);
        }
    }

    fn render(&self, took: Duration) -> String {
        use std::fmt::Write as _;

        let seconds = took.as_secs_f64().max(1e-6);
        let (megabytes, per_second) = (self.bytes as f64 / 1e6, self.records as f64 / seconds);
        let mut text =
            format!("{} records, {megabytes:.1} MB in {seconds:.2} s ({per_second:.0} records/s)\n", self.records);
        for (stream, count) in &self.streams {
            // Writing to a string does not fail.
            let _ = write!(text, "  {stream:<8} {:>12}", count.records);
            let _ = match count.dependents {
                0 => writeln!(text),
                dependents => {
                    let share = count.early as f64 / dependents as f64 * 100.0;
                    writeln!(text, "   {share:5.1} % before a referent (or without it)")
                }
            };
        }
        text
    }
}

/// A set of ids that are dense: a bit each.
#[derive(Default)]
struct Ids {
    words: Vec<u64>,
}

impl Ids {
    fn contains(&self, id: u64) -> bool {
        self.words.get((id / 64) as usize).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    fn insert(&mut self, id: u64) {
        let at = (id / 64) as usize;
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        if let Some(word) = self.words.get_mut(at) {
            *word |= 1 << (id % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use resolvent::source::workload::Referent;

    use super::*;

    fn run(arguments: &[&str]) -> Result<Summary, Failure> {
        let arguments = Arguments::try_parse_from([&["generate"], arguments].concat()).unwrap();
        generate(Generator::new(&arguments.settings()).unwrap(), Outputs::open(&arguments)?, arguments.rate)
    }

    #[test]
    fn every_kind_of_output_holds_the_same_lines() {
        let directory = tempfile::tempdir().unwrap();
        let written = |name: &str| {
            let path = directory.path().join(name);
            let summary = run(&["social", "--events", "5000", "--output", path.to_str().unwrap()]).ok().unwrap();
            assert_eq!(summary.records, 5000);
            std::fs::read(path).unwrap()
        };
        let plain = String::from_utf8(written("a.jsonl")).unwrap();
        let mut gzip = String::new();
        flate2::read::GzDecoder::new(&*written("a.jsonl.gz")).read_to_string(&mut gzip).unwrap();
        let zstd = String::from_utf8(zstd::decode_all(&*written("a.jsonl.zst")).unwrap()).unwrap();
        assert!(plain == gzip && plain == zstd);

        let streams = directory.path().join("streams");
        let summary = run(&["social", "--events", "5000", "--per-stream", streams.to_str().unwrap()]).ok().unwrap();
        let mut lines: Vec<String> = Vec::new();
        for (stream, count) in &summary.streams {
            let file = std::fs::read_to_string(streams.join(format!("{stream}.jsonl"))).unwrap();
            assert_eq!(file.lines().count() as u64, count.records);
            lines.extend(file.lines().map(str::to_owned));
        }
        let mut expected: Vec<&str> = plain.lines().collect();
        expected.sort_unstable();
        lines.sort_unstable();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_dependent_is_early_until_all_its_referents_have_come() {
        let referent = |entity, id| Some(Referent { entity, id });
        let (person, auction) = (referent(Entity::Person, 70), referent(Entity::Auction, 70));
        let mut summary = Summary::default();
        for (stream, provides, refers_to) in [
            (Stream::Bid, None, [auction, person]),
            (Stream::Person, person, [None, None]),
            (Stream::Bid, None, [auction, person]),
            (Stream::Auction, auction, [person, None]),
            (Stream::Bid, None, [auction, person]),
        ] {
            summary.count(&Made { stream, provides, refers_to }, 10);
        }
        let counts: Vec<_> = summary.streams.values().map(|of| (of.records, of.dependents, of.early)).collect();
        assert_eq!(counts, [(1, 0, 0), (1, 1, 0), (3, 3, 2)]);
        let summary = summary.render(Duration::from_secs(1));
        assert!(summary.contains("66.7 % before a referent"), "{summary}");
    }

    #[test]
    fn a_rate_is_kept() {
        assert_eq!(due(u64::MAX / 8, 1_000_000_000), Duration::from_nanos(u64::MAX / 8));
        assert_eq!(due(3, 2), Duration::from_millis(1500));
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let Err(failure) = run(&["nexmark", "--output", "/dev/null/here"]) else { panic!("it cannot be written") };
        assert_eq!(failure.path, Path::new("/dev/null/here"));
    }
}
