//! The command line of `inspect`.

use std::path::PathBuf;

use clap::{Args, Parser};
use resolvent::config::Overrides;

const EXAMPLES: &str = "\
Examples:
  inspect --config social.toml
      What waits in all: totals, streams, entities that are missing, keys that most events wait for, next deadlines.
  inspect --config social.toml --event updates.jsonl:1823
      What does the event of this position lack, since when, until when?
  inspect --config social.toml --key message/17
      Has message 17 come, and who waits for it?
  inspect --config social.toml --key 'person/\"17\"'
      A string that looks like a number: as JSON, in quotation marks. Other strings may go without: person/ada.
  inspect --config social.toml --json | jq .oldest
      For programs: one JSON object, times in UTC, durations in microseconds.
  inspect --config social.toml --expire updates.jsonl:1823
      With the job stopped: ends this wait. The event goes to the dead-letter sink, reason `operator`, and does not come
      back.

The job may run: it is shown as of the last epoch that it has committed, and is not disturbed. What an event lacks is
shown as of when it last asked. It asks again when the referent that it waits at comes, and when a deadline passes. Where
results are maintained (emit = \"changes\") it is shown as of that epoch. While a job runs, and after it was killed, what
began to wait in its last epoch is read from its input files: they have to be where the job reads them.

Exit status:
  0  answered; with --event: it waits; with --expire: the wait was ended
  1  failed at run time, or the event does not wait (then the answer on standard output says what is known of it)
  2  the command line or the configuration is wrong, or is not the one that the state was made under";

/// Shows what waits, and for what, out of the state of a running or stopped job
#[derive(Debug, Parser)]
#[command(name = "inspect", version, max_term_width = 120, after_long_help = EXAMPLES)]
pub(crate) struct Options {
    /// The job, in TOML: the same file as its launcher's
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Directory of the state, instead of the file's
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) question: Question,

    /// How many keys, deadlines and waiting events are listed
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) limit: usize,

    /// Answer with one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is asked; without any of these, for an overview.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Question {
    /// What does the event of this position wait for? A position is PATH:OFFSET, as outcomes have it
    #[arg(long, value_name = "POSITION")]
    pub(crate) event: Option<String>,

    /// Is the referent of this key there, and who waits for it? KEY is an integer, a JSON string, or plain text
    #[arg(long, value_name = "ENTITY/KEY")]
    pub(crate) key: Option<String>,

    /// End the wait of this event as expired, reason `operator`. The job must be stopped
    #[arg(long, value_name = "POSITION")]
    pub(crate) expire: Option<String>,
}

impl Options {
    /// What replaces the file's settings.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides { state_dir: self.state.clone(), ..Overrides::default() }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn one_question_at_a_time() {
        let parse = |line: &str| Options::try_parse_from(line.split_whitespace());
        let options = parse("inspect --config job.toml --state here --key person/17 --limit 3 --json").unwrap();
        assert_eq!(options.question.key.as_deref(), Some("person/17"));
        assert_eq!(options.overrides().state_dir, Some("here".into()));
        assert!(options.limit == 3 && options.json);
        for wrong in
            ["inspect", "inspect --config a --event b:1 --key c/1", "inspect --config a --event b:1 --expire b:1"]
        {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
