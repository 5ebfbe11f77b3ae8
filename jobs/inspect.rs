//! `inspect`: what waits, and for what, out of the state of a running or stopped job; with the job stopped it ends one wait by hand.

mod columns;
mod failure;
#[path = "inspect/options.rs"]
mod options;
mod say;
#[path = "inspect/text.rs"]
mod text;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use miette::{Report, miette};
use resolvent::clock::Clock;
use resolvent::config::{self, Job};
use resolvent::dependency::Mode;
use resolvent::event::EventId;
use resolvent::inspect::{EventReport, EventStatus, Inspector, KeyReport, KeyRequest, Overview, PositionError};
use resolvent::metrics::Totals;
use resolvent::pipeline::{self, ExpireError};
use resolvent_state::{OpenError, State};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use failure::{Failure, answered};
use options::Options;
use say::say;

/// The mode that each launcher gives a dependency that names none.
const LAUNCHERS: [Mode; 3] = [Mode::Streaming, Mode::Deferred, Mode::Independent];

/// What was asked for, found.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Overview(Box<Overview>),
    Event(Box<EventReport>),
    Key(Box<KeyReport>),
    Ended(EndedByHand),
}

/// A wait that this program has ended.
#[derive(Serialize)]
struct EndedByHand {
    position: String,
    status: &'static str,
    reason: &'static str,
    epoch: u64,
    waited_us: u64,
    totals: Totals,
}

impl Answer {
    /// Whether it is what was asked about: an event that waits.
    fn is_found(&self) -> bool {
        match self {
            Answer::Event(report) => matches!(report.status, EventStatus::Waiting(_)),
            Answer::Overview(_) | Answer::Key(_) | Answer::Ended(_) => true,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Answer::Overview(overview) => text::overview(overview),
            Answer::Event(report) => text::event(report),
            Answer::Key(report) => text::key(report),
            Answer::Ended(ended) => format!(
                "{}: ended as expired, reason operator, after {}; committed as epoch {}\n",
                ended.position,
                text::span(ended.waited_us),
                ended.epoch
            ),
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    // What it waits for, where an outcome goes to topics.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        // It would say that it cannot write to standard error where that is closed, and panic there.
        .log_internal_errors(false)
        .init();
    match answer(&options).and_then(|answer| tell(&answer, options.json).map(|()| answer)) {
        Ok(answer) if answer.is_found() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            say(&failure);
            ExitCode::from(failure.status)
        }
    }
}

fn answer(options: &Options) -> Result<Answer, Failure> {
    let (job, state) = open(options)?;
    let listed = pipeline::listed(&job, &state).map_err(Failure::at_run_time)?;
    let inspector = Inspector::new(state, job.rules.clone(), Clock::start().now()).map_err(Failure::at_run_time)?;
    let inspector = inspector.with_listed(listed);
    let question = &options.question;
    if let Some(position) = &question.event {
        let report = inspector.event(event_id(&inspector, position)?).map_err(Failure::at_run_time)?;
        return Ok(Answer::Event(Box::new(report)));
    }
    if let Some(key) = &question.key {
        let request = KeyRequest::parse(&job.rules, key).map_err(|error| Failure::usage(Report::from_err(error)))?;
        let report = inspector.key(&request, options.limit).map_err(Failure::at_run_time)?;
        return Ok(Answer::Key(Box::new(report)));
    }
    if let Some(position) = &question.expire {
        let id = event_id(&inspector, position)?;
        let report = inspector.event(id).map_err(Failure::at_run_time)?;
        if !matches!(report.status, EventStatus::Waiting(_)) {
            return Ok(Answer::Event(Box::new(report)));
        }
        // Both handles to one state: the one that reads is given up before the other writes.
        drop(inspector);
        return expire(&job, id, report.position);
    }
    let overview = inspector.overview(options.limit).map_err(Failure::at_run_time)?;
    Ok(Answer::Overview(Box::new(overview)))
}

fn event_id(inspector: &Inspector, position: &str) -> Result<EventId, Failure> {
    inspector.event_id(position).map_err(|error| match error {
        PositionError::Malformed(_) => Failure::usage(Report::from_err(error)),
        PositionError::UnknownPartition { .. } => Failure::at_run_time(error),
    })
}

fn expire(job: &Job, id: EventId, position: String) -> Result<Answer, Failure> {
    let ended = pipeline::expire(job, id).map_err(|error| match error {
        ExpireError::Open(OpenError::InUse { .. }) => {
            let help =
                "a wait is ended by hand while its job is stopped; without --expire a running job can be looked at";
            Failure { reports: vec![miette!(help = help, "{error}")], conclusion: None, status: 1 }
        }
        error => Failure::at_run_time(error),
    })?;
    Ok(Answer::Ended(EndedByHand {
        position,
        status: "expired",
        reason: "operator",
        epoch: ended.epoch.0,
        waited_us: ended.waited_us,
        totals: ended.totals,
    }))
}

/// The job as its state was made: the configuration does not say which launcher runs it, and the state's fingerprint does.
fn open(options: &Options) -> Result<(Job, State), Failure> {
    let [one, two, three] = LAUNCHERS.map(|launcher| config::load(&options.config, launcher, &options.overrides()));
    let (job, others) = match (one, two, three) {
        (Ok(job), two, three) => (job, [two.ok(), three.ok()]),
        (Err(_), Ok(job), three) => (job, [three.ok(), None]),
        (Err(_), Err(_), Ok(job)) => (job, [None, None]),
        (Err(error), Err(_), Err(_)) => return Err(Failure::unusable(error)),
    };
    let state = State::open_read_only(&job.state.path).map_err(Failure::at_run_time)?;
    let refused = |job: &Job| state.check_identity(&pipeline::identity(job)).err();
    let Some(mut nearest) = refused(&job) else { return Ok((job, state)) };
    for job in others.into_iter().flatten() {
        let Some(error) = refused(&job) else { return Ok((job, state)) };
        if differences(&error) < differences(&nearest) {
            nearest = error;
        }
    }
    Err(Failure::usage(Report::from_err(nearest)))
}

/// How far other rules are from those of the state.
fn differences(error: &OpenError) -> usize {
    match error {
        OpenError::FingerprintDiffers { differences, .. } => differences.lines().count(),
        _ => usize::MAX,
    }
}

/// Writes the answer to standard output.
fn tell(answer: &Answer, json: bool) -> Result<(), Failure> {
    let text =
        if json { serde_json::to_string(answer).map_err(Failure::at_run_time)? + "\n" } else { answer.to_text() };
    answered(&text)
}
