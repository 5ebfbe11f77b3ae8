//! The command line that all launchers share.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use resolvent::config::Overrides;
use resolvent::pipeline::{RunOptions, UntilEnd};

use super::Launcher;

/// What was typed.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120, disable_help_subcommand = true)]
pub(crate) struct Options {
    /// The job, in TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,

    #[command(flatten)]
    instead: Instead,

    /// Start over: delete the job's state and its output files (says which)
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Stop at the present end of the input; the default for files that are not followed
    ///
    /// What still waits then goes on in the next run (keep), has its `on_expiry` applied at once (expire), or is waited
    /// for until the last deadline has passed (deadlines).
    #[arg(long, value_name = "WAITING", num_args = 0..=1, require_equals = true, default_missing_value = "keep")]
    pub(crate) until_end: Option<UntilEndArg>,

    /// Print the results that stand at the end of the input, of a job with emit = "changes", and change nothing
    ///
    /// Reads the input from its beginning to its present end, writes the results that then stand to standard output, and touches neither the state nor
    /// the sinks of the job.
    #[arg(long, conflicts_with = "fresh")]
    pub(crate) compact: bool,

    /// Validate the job, print it as understood, and change nothing
    #[arg(long)]
    pub(crate) check: bool,

    /// Write the summary of this run to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) summary_json: Option<PathBuf>,

    /// Say nothing but errors
    #[arg(long)]
    pub(crate) quiet: bool,

    /// How log lines on standard error are written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// What the command line says instead of the file.
#[derive(Clone, Debug, Args)]
struct Instead {
    /// Worker threads; default the file's, or else the number of cores
    #[arg(long, value_name = "N")]
    workers: Option<usize>,

    /// Directory of the state, instead of the file's
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Where to serve /metrics, /healthz and /readyz, instead of the file's; `off` for nowhere
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// The values of `--until-end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UntilEndArg(UntilEnd);

impl ValueEnum for UntilEndArg {
    fn value_variants<'a>() -> &'a [Self] {
        &[UntilEndArg(UntilEnd::Keep), UntilEndArg(UntilEnd::Expire), UntilEndArg(UntilEnd::Deadlines)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self.0 {
            UntilEnd::Keep => PossibleValue::new("keep").help("Goes on waiting in the next run"),
            UntilEnd::Expire => PossibleValue::new("expire").help("Ends now, each as its `on_expiry` says"),
            UntilEnd::Deadlines => {
                PossibleValue::new("deadlines").help("Is waited for until the last deadline; keeps what has none")
            }
        })
    }
}

impl Options {
    /// The options of this process. Ends it for `--help`, `--version` and mistakes, those with exit status 2.
    pub(crate) fn from_command_line(launcher: &Launcher) -> Options {
        let matches = command(launcher).get_matches();
        Options::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// What replaces the file's settings.
    pub(crate) fn overrides(&self) -> Overrides {
        let Instead { workers, state, metrics } = self.instead.clone();
        Overrides { workers, state_dir: state, metrics }
    }

    /// How to run.
    pub(crate) fn run_options(&self) -> RunOptions {
        RunOptions { fresh: self.fresh, until_end: self.until_end.map(|until_end| until_end.0), compact: self.compact }
    }
}

fn command(launcher: &Launcher) -> clap::Command {
    let Launcher { name, about, details, .. } = launcher;
    Options::command().name(name).about(*about).long_about(format!("{about}\n\n{details}")).after_long_help(format!(
        "\
Examples:
  {name} --config social.toml --check
      What is the job, as understood?
  {name} --config social.toml --fresh --until-end=expire
      From the beginning to the present end of the input, with nothing left waiting.
  RUST_LOG=debug {name} --config social.toml --log-format json 2> log.jsonl
      With all there is to say, for a program to read.

Ctrl-C and SIGTERM commit what is done and stop; a second one stops at once and loses nothing that was committed.

Exit status:
  0  done: the end of the input, or stopped by a signal
  1  failed at run time
  2  the command line or the configuration is wrong; nothing was changed"
    ))
}

#[cfg(test)]
mod tests {
    use resolvent::dependency::Mode;

    use super::*;

    const LAUNCHER: Launcher = Launcher { name: "sedd", mode: Mode::Streaming, about: "About", details: "Details." };

    fn parse(line: &str) -> Result<Options, clap::Error> {
        let matches = command(&LAUNCHER).try_get_matches_from(line.split_whitespace())?;
        Options::from_arg_matches(&matches)
    }

    #[test]
    fn the_command_is_consistent() {
        command(&LAUNCHER).debug_assert();
    }

    #[test]
    fn until_end_takes_its_value_after_an_equals_sign_only() {
        let cases = [
            ("", None),
            ("--until-end", Some(UntilEnd::Keep)),
            ("--until-end=keep", Some(UntilEnd::Keep)),
            ("--until-end=expire", Some(UntilEnd::Expire)),
            ("--until-end=deadlines", Some(UntilEnd::Deadlines)),
            ("--until-end --fresh", Some(UntilEnd::Keep)),
        ];
        for (flags, expected) in cases {
            let options = parse(&format!("sedd --config job.toml {flags}")).unwrap();
            assert_eq!(options.run_options().until_end, expected, "{flags}");
        }
        for wrong in ["--until-end expire", "--until-end=never", "--until-end="] {
            assert_eq!(parse(&format!("sedd --config job.toml {wrong}")).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn every_flag_arrives() {
        let options = parse(
            "sedd --config job.toml --workers 3 --state here --metrics 127.0.0.1:0 --fresh --check --quiet --log-format json",
        )
        .unwrap();
        assert_eq!(
            options.overrides(),
            Overrides { workers: Some(3), state_dir: Some("here".into()), metrics: Some("127.0.0.1:0".to_owned()) }
        );
        assert_eq!(options.config, PathBuf::from("job.toml"));
        assert!(options.run_options().fresh && options.check && options.quiet);
        assert_eq!(options.log_format, LogFormat::Json);
    }

    #[test]
    fn by_default_nothing_is_overridden() {
        let options = parse("sedd --config job.toml").unwrap();
        assert_eq!(options.overrides(), Overrides::default());
        assert!(!options.fresh && !options.check && !options.quiet);
        assert_eq!(options.log_format, LogFormat::Text);
    }

    #[test]
    fn mistakes_end_with_status_two() {
        for line in [
            "sedd",
            "sedd --config",
            "sedd --config a --workers many",
            "sedd --config a --log-format xml",
            "sedd --config a b",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
