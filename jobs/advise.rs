//! `advise`: how each dependency of a job should wait, from a sample of its own stream. It only reads.

mod columns;
mod failure;
#[path = "advise/options.rs"]
mod options;
mod say;
#[path = "advise/text.rs"]
mod text;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use miette::Report as Problem;
use resolvent::advise::{self, AdviseError, Report};
use resolvent::config::{self, Overrides};
use resolvent::dependency::Mode;

use failure::{Failure, answered};
use options::Options;
use say::say;

fn main() -> ExitCode {
    let options = Options::parse();
    match answer(&options).and_then(|report| tell(&report, options.json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure);
            ExitCode::from(failure.status)
        }
    }
}

fn answer(options: &Options) -> Result<Report, Failure> {
    let load = |launcher| config::load(&options.config, launcher, &Overrides::default()).map_err(Failure::unusable);
    let job = load(Mode::Streaming)?;
    // A job that maintains its results has no other launcher.
    let deferred = (!job.rules.is_maintained()).then(|| load(Mode::Deferred)).transpose()?;
    let say = Arc::new(|text: &str| say(format_args!("{text}\n")));
    advise::advise(&job, deferred.as_ref(), &options.advise(), say).map_err(|error| match error {
        AdviseError::Endless => Failure::usage(Problem::msg(error)),
        AdviseError::Empty => Failure::at_run_time(error),
        AdviseError::Source(error) => Failure::at_run_time(error),
    })
}

/// Writes the report to standard output.
fn tell(report: &Report, json: bool) -> Result<(), Failure> {
    let text = match json {
        true => serde_json::to_string(report).map_err(Failure::at_run_time)? + "\n",
        false => text::report(report),
    };
    answered(&text)
}
