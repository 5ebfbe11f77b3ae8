//! Makes a seeded workload of JSON records: in a file, on standard output, in topics, or each stream in a file or a topic of its own.

#[path = "generate/files.rs"]
mod files;
mod say;
#[path = "generate/topics.rs"]
mod topics;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use resolvent::kafka::ClientError;
use resolvent::source::workload::{
    Arrivals, Entity, Generator, ItemSettings, Made, Stream, SyntheticSettings, Workload,
};

use files::Files;
use say::say;
use topics::Topics;

/// A line that was due is written out within this, where there is a rate.
const FLUSH_INTERVAL: Duration = Duration::from_millis(1);

/// Make a seeded workload: JSON records, the same for the same settings on every machine.
///
/// `nexmark` gives people, auctions and bids; `social` gives people, posts, comments, likes and follows; `items` gives
/// items, a share of which refer to items before them. Each record names its stream in "type". A summary goes to standard error.
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

    /// Of items: share of those that refer to others
    #[arg(long, value_name = "SHARE", default_value_t = ItemSettings::default().dependents)]
    dependents: f64,

    /// Of items: to how many each of those refers
    #[arg(long, value_name = "N", default_value_t = ItemSettings::default().references)]
    references: u64,

    /// Of items: among how many of the latest ones
    #[arg(long, value_name = "N", default_value_t = ItemSettings::default().reach)]
    reach: u64,

    /// Of items: share of the references by Zipf's law; the others are uniform
    #[arg(long, value_name = "SHARE", default_value_t = ItemSettings::default().skew)]
    skew: f64,

    /// Of items: bytes of text in each
    #[arg(long, value_name = "BYTES", default_value_t = ItemSettings::default().payload)]
    payload: u64,

    /// Records a second; 0 is as fast as possible
    #[arg(long, value_name = "R", default_value_t = 0)]
    rate: u64,

    /// Where to write; `-` is standard output, `.gz` and `.zst` are compressed. A file that is there is overwritten
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// Write each stream to a file of its own in this directory, such as `bid.jsonl`
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    per_stream: Option<PathBuf>,

    /// Load a topic: the brokers, `host:port` with commas between. They are waited for
    #[arg(long, value_name = "BROKERS", requires = "topic", conflicts_with_all = ["output", "per_stream"])]
    kafka: Option<String>,

    /// The topic; `{stream}` in it stands for the stream, so that each has a topic of its own, such as `nexmark-{stream}`.
    /// Events that others refer to have their id as the record's key, others none
    #[arg(long, value_name = "NAME", requires = "kafka")]
    topic: Option<String>,

    /// Make the topics that are missing, each with this many partitions
    #[arg(long, value_name = "N", requires = "kafka", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: Option<i32>,

    /// Name the stream in a header of each record, too: `type`
    #[arg(long, requires = "kafka")]
    header: bool,

    /// A property of librdkafka for the producer, such as `security.protocol=SSL`; as often as needed
    #[arg(long, value_name = "NAME=VALUE", requires = "kafka", value_parser = property)]
    property: Vec<(String, String)>,

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
  generate nexmark --kafka localhost:9092 --topic nexmark-{stream} --partitions 4 --rate 20000

Exit status: 0 done, 1 failed, 2 wrong usage.";

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// People, auctions and bids
    Nexmark,
    /// People, posts, comments, likes and follows
    Social,
    /// Items that refer to items
    Items,
}

impl Arguments {
    fn settings(&self) -> SyntheticSettings {
        SyntheticSettings {
            workload: match self.workload {
                Kind::Nexmark => Workload::Nexmark,
                Kind::Social => Workload::Social,
                Kind::Items => Workload::Items,
            },
            items: ItemSettings {
                dependents: self.dependents,
                references: self.references,
                reach: self.reach,
                skew: self.skew,
                payload: self.payload,
            },
            events: self.events,
            seed: self.seed,
            rate: self.rate,
            arrivals: Arrivals::Constant,
            disorder: self.disorder,
            duplicates: self.duplicates,
            late: self.late,
            late_by: self.late_by,
            never: self.never,
        }
    }
}

/// Reads `NAME=VALUE`. The value may be a secret: no message has it.
fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a property is written NAME=VALUE")?;
    match name {
        "bootstrap.servers" | "metadata.broker.list" => Err("the brokers are written with --kafka".to_owned()),
        _ => Ok((name.to_owned(), value.to_owned())),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let generator = match Generator::new(&arguments.settings()) {
        Ok(generator) => generator,
        Err(error) => {
            say(format_args!("error: {error}\n"));
            return ExitCode::from(2);
        }
    };
    let made = Output::open(&arguments).and_then(|output| {
        let started = Instant::now();
        Ok((generate(generator, output, arguments.rate)?, started.elapsed()))
    });
    let (summary, took) = match made {
        Ok(made) => made,
        // Who reads has had enough, as `head` has.
        Err(Failure::File { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(failure) => {
            say(format_args!("error: {failure}\n"));
            return ExitCode::FAILURE;
        }
    };
    if !arguments.quiet {
        say(summary.render(took));
    }
    ExitCode::SUCCESS
}

/// Makes and writes all records.
fn generate(mut generator: Generator, mut output: Output, rate: u64) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    let mut line = Vec::new();
    let started = Instant::now();
    let mut flushed = started;
    loop {
        line.clear();
        let made = generator.next(&mut line).map_err(Failure::Workload)?;
        let Some(made) = made else { break };
        if rate > 0 {
            let early = due(summary.records, rate).saturating_sub(started.elapsed());
            if !early.is_zero() || flushed.elapsed() >= FLUSH_INTERVAL {
                output.flush()?;
                flushed = Instant::now();
            }
            thread::sleep(early);
        }
        output.write(&made, &line)?;
        summary.count(&made, line.len());
    }
    output.finish()?;
    Ok(summary)
}

/// When the record after `records` others is due.
fn due(records: u64, rate: u64) -> Duration {
    let nanos = u128::from(records) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// What failed.
enum Failure {
    Workload(io::Error),
    File { path: PathBuf, source: io::Error },
    Topic(ClientError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Workload(source) => write!(f, "cannot make the workload: {source}"),
            Failure::File { path, source } => write!(f, "cannot write {}: {source}", path.display()),
            Failure::Topic(ClientError::TopicMissing { topic, brokers }) => {
                write!(f, "topic `{topic}` does not exist at {brokers}; create it, or give --partitions")
            }
            Failure::Topic(error) => error.fmt(f),
        }
    }
}

/// Where records go.
enum Output {
    Files(Files),
    Topics(Topics),
}

impl Output {
    fn open(arguments: &Arguments) -> Result<Output, Failure> {
        match (&arguments.kafka, &arguments.topic) {
            (Some(brokers), Some(topic)) => Topics::open(brokers, topic, arguments).map(Output::Topics),
            _ => Files::open(arguments).map(Output::Files),
        }
    }

    fn write(&mut self, made: &Made, line: &[u8]) -> Result<(), Failure> {
        match self {
            Output::Files(files) => files.write(made.stream, line),
            Output::Topics(topics) => topics.write(made, line),
        }
    }

    /// Passes on what is gathered; called often where there is a rate.
    fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Output::Files(files) => files.flush(),
            Output::Topics(topics) => topics.serve(),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Output::Files(files) => files.finish(),
            Output::Topics(topics) => topics.finish(),
        }
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
        generate(Generator::new(&arguments.settings()).unwrap(), Output::open(&arguments)?, arguments.rate)
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
        let referent = |entity, id| Referent { entity, id };
        let (person, auction) = (referent(Entity::Person, 70), referent(Entity::Auction, 70));
        let mut summary = Summary::default();
        for (stream, provides, refers_to) in [
            (Stream::Bid, None, vec![auction, person]),
            (Stream::Person, Some(person), vec![]),
            (Stream::Bid, None, vec![auction, person]),
            (Stream::Auction, Some(auction), vec![person]),
            (Stream::Bid, None, vec![auction, person]),
        ] {
            summary.count(&Made::new(stream, provides, &refers_to), 10);
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
        assert!(failure.to_string().starts_with("cannot write /dev/null/here: "), "{failure}");
    }
}
