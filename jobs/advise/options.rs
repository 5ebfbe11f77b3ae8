//! The command line of `advise`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use resolvent::config::{parse_duration, parse_size};

const EXAMPLES: &str = "\
Examples:
  advise --config social.toml --latency 50ms
      Reads the job's files or topics to their present end. For each dependency: how many referents were there, how long
      after their dependents the others came, and how it should wait so that events are complete within 50 ms, as far as
      their referents come that soon. At the end the lines to paste into the file.
  advise --config social.toml --latency 50ms --rate 5000
      Records have no time: they come at 5,000 a second, in the order in which they lie in the files.
  advise --config social.toml --latency 1s --sample 1000000 --json | jq '.dependencies[] | {stream, dependency, advice}'
      From the first million records, for programs: durations in microseconds.

It only reads: no state is opened, no output touched, no consumer group joined and no offset committed. A running job is
not disturbed.

Exit status:
  0  advice was given
  1  failed at run time, or there was nothing to read
  2  the command line or the configuration is wrong";

/// Says how each dependency of a job should wait, from a sample of its own stream
#[derive(Debug, Parser)]
#[command(name = "advise", version, max_term_width = 120, after_long_help = EXAMPLES)]
pub(crate) struct Options {
    /// The job, in TOML: its source is read, and its streams say what refers to what
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Within this time of its arrival an event is to be complete, such as 50ms
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    latency: Duration,

    /// Read no more than so many records; otherwise all, to the present end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,

    /// Records a second: the order of reading is then the clock. For input without time
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,

    /// How long a restart may take to read input again, for referents that are kept in memory
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = positive_duration)]
    restart: Duration,

    /// Memory for keys and waiting references. Where not all fit, one key in two, four, … is looked at
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    memory: usize,

    /// Answer with one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl Options {
    /// What to look at, and what is wanted.
    pub(crate) fn advise(&self) -> resolvent::advise::Options {
        let Options { latency, restart, rate, sample, memory, .. } = *self;
        resolvent::advise::Options { latency, restart, rate, sample, memory }
    }
}

/// The least memory that holds the tables of a small job.
const MEMORY_LEAST: u64 = 1 << 20;

/// The longest target: the longest wait that a job can have.
const DURATION_MOST: Duration = Duration::from_secs(36_500 * 86_400);

fn positive_duration(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_millis(1)..=DURATION_MOST;
    let duration = parse_duration(text).filter(|duration| allowed.contains(duration));
    duration.ok_or_else(|| "write a number and a unit, from 1ms to 36500d: 50ms, 10s, 1m".to_owned())
}

fn size(text: &str) -> Result<usize, String> {
    let bytes = parse_size(text).filter(|bytes| *bytes >= MEMORY_LEAST);
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| "write a number and a unit, 1MiB or more: 64MiB, 1GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn every_flag_arrives() {
        let line = "advise --config a --latency 50ms --sample 7 --rate 9 --restart 2m --memory 64MiB --json";
        let options = parse(line).unwrap();
        let (latency, restart) = (Duration::from_millis(50), Duration::from_secs(120));
        let expected =
            resolvent::advise::Options { latency, restart, rate: Some(9), sample: Some(7), memory: 64 << 20 };
        assert_eq!(options.advise(), expected);
        assert!(options.json && options.config == std::path::Path::new("a"));
    }

    #[test]
    fn mistakes_end_with_status_two() {
        for line in [
            "advise --config a",
            "advise --latency 50ms",
            "advise --config a --latency 50",
            "advise --config a --latency 0ms",
            "advise --config a --latency 1ms --rate 0",
            "advise --config a --latency 1ms --sample 0",
            "advise --config a --latency 1ms --memory 10KiB",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
