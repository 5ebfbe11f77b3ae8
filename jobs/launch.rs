//! What the launchers share: the command line, logs, signals, and the way from a configuration to an exit status.
//!
//! Standard output belongs to the job (a sink may be there) and to `--check`; all else goes to standard error.

mod console;
#[path = "failure.rs"]
mod failure;
mod options;
#[path = "say.rs"]
mod say;
mod summary;
mod summary_json;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use miette::{Diagnostic, NarratableReportHandler};
use mimalloc::MiMalloc;
use resolvent::config::{self, Job};
use resolvent::dependency::Mode;
use resolvent::http::Server;
use resolvent::metrics::Metrics;
use resolvent::pipeline::{self, RunError, StopFlag};
use resolvent::source::Settings;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

use console::Console;
use failure::{Failure, answered};
use options::{LogFormat, Options};
use say::say;
use summary_json::SummaryFile;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What tells one launcher from another.
pub(crate) struct Launcher {
    /// The program's name.
    pub(crate) name: &'static str,
    /// The mode of every dependency that names none.
    pub(crate) mode: Mode,
    /// What it does, on one line.
    pub(crate) about: &'static str,
    /// What it does, and what that costs.
    pub(crate) details: &'static str,
}

/// Tells why the launcher ends: in JSON a line for each reason.
fn tell(failure: &Failure, format: LogFormat) {
    match format {
        LogFormat::Text => say(failure),
        LogFormat::Json => {
            for report in &failure.reports {
                let mut text = String::new();
                // Writing to a string cannot fail.
                let _ = NarratableReportHandler::new().render_report(&mut text, report.as_ref());
                tracing::error!(status = failure.status, detail = text.trim(), "{report}");
            }
        }
    }
}

/// The whole life of a launcher.
pub(crate) fn main(launcher: &Launcher) -> ExitCode {
    let options = Options::from_command_line(launcher);
    let console = Console::new(options.quiet);
    let ended = start_logs(&options, &console).and_then(|()| launch(launcher, &options, &console));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure, options.log_format);
            ExitCode::from(failure.status)
        }
    }
}

fn launch(launcher: &Launcher, options: &Options, console: &Console) -> Result<(), Failure> {
    let job = config::load(&options.config, launcher.mode, &options.overrides()).map_err(Failure::unusable)?;
    if options.check {
        return answered(&config::describe(&job));
    }
    check_compact(&job, options)?;
    check_summary(&job, options)?;
    let file = options.summary_json.as_deref().map(SummaryFile::create).transpose().map_err(Failure::usage)?;
    let metrics = Metrics::new(&job.name);
    // A question is asked beside a job that runs, which has the address.
    let listen = job.metrics_listen.filter(|_| !options.compact);
    let server = listen.map(|address| Server::start(address, metrics.clone())).transpose();
    let server = server.map_err(Failure::at_run_time)?;
    if let Some(server) = &server {
        tracing::info!("metrics at http://{}/metrics", server.address());
    }
    let stop = StopFlag::new();
    stop_on_signals(stop.clone()).map_err(Failure::at_run_time)?;

    let title = format!("{} ({})", job.name, launcher.name);
    let watch = console.watch(&metrics, options.until_end.is_some() || ends(&job)).map_err(Failure::at_run_time)?;
    let ended = pipeline::run(job, options.run_options(), metrics.clone(), stop);
    drop(watch);
    if let Err(error) = &ended
        && error.is_stopped()
    {
        // It was asked to, and had not begun.
        tracing::info!("{error}");
        return Ok(());
    }
    // Where the law of conservation is broken, what was counted shows how.
    let counted = match &ended {
        Ok(summary) => Some(*summary),
        Err(RunError::Conservation { summary, .. }) => Some(**summary),
        Err(_) => None,
    };
    if let Some(summary) = counted {
        let measured = metrics.snapshot();
        if !options.quiet {
            say(summary::table(&title, &summary, &measured));
        }
        if let Some(file) = file {
            file.write(launcher.name, &summary, &measured).map_err(Failure::at_run_time)?;
        }
    }
    ended.map(drop).map_err(Failure::at_run_time)
}

/// `--compact` cannot be meant.
#[derive(Debug, thiserror::Error, Diagnostic)]
enum NotCompact {
    #[error("--compact prints results that are maintained, and those of this job are told once")]
    #[diagnostic(help("write emit = \"changes\" under [job], or leave --compact out"))]
    Once,
    #[error("--compact prints the results at the end of the input, and this input is followed")]
    #[diagnostic(help("add --until-end to stop at its present end"))]
    NoEnd,
}

fn check_compact(job: &Job, options: &Options) -> Result<(), Failure> {
    if options.compact && !job.rules.is_maintained() {
        return Err(Failure::usage(NotCompact::Once));
    }
    if options.compact && options.until_end.is_none() && !ends(job) {
        return Err(Failure::usage(NotCompact::NoEnd));
    }
    Ok(())
}

/// The file of the summary is emptied when the job starts.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{} {part}: the summary (`--summary-json`) would be written over it", path.display())]
#[diagnostic(help("name another file"))]
struct WrittenOver {
    path: PathBuf,
    part: &'static str,
}

fn check_summary(job: &Job, options: &Options) -> Result<(), Failure> {
    let Some(path) = &options.summary_json else { return Ok(()) };
    match job.lost_at(&options.config, path) {
        Some(part) => Err(Failure::usage(WrittenOver { path: path.clone(), part })),
        None => Ok(()),
    }
}

/// Whether the input has an end by itself.
fn ends(job: &Job) -> bool {
    match &job.source {
        Settings::File(files) => files.follow.ends(),
        Settings::Kafka(_) => false,
        Settings::Synthetic(_) => true,
    }
}

/// Sends log lines to standard error, around the live line: those of `RUST_LOG`, or from `info` on; with `--quiet` errors only.
fn start_logs(options: &Options, console: &Console) -> Result<(), Failure> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(wanted) if !options.quiet => {
            EnvFilter::try_new(&wanted).map_err(|reason| Failure::usage(UnknownFilter { wanted, reason }))?
        }
        _ => EnvFilter::new(if options.quiet { "error" } else { "info" }),
    };
    let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let console = console.clone();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_target(false);
    // It would say that it cannot write to standard error where that is closed, and panic there: the job goes on instead.
    let logs = logs.log_internal_errors(false);
    match options.log_format {
        LogFormat::Text => logs.with_writer(move || console.stderr()).init(),
        LogFormat::Json => logs.json().flatten_event(true).with_writer(move || console.stderr()).init(),
    }
    Ok(())
}

/// `RUST_LOG` cannot be understood.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("RUST_LOG is `{wanted}`, which is no filter for log lines: {reason}")]
#[diagnostic(help(
    "name a level (error, warn, info, debug, trace), or module=level pairs: RUST_LOG=info,resolvent::source=debug"
))]
struct UnknownFilter {
    wanted: String,
    reason: tracing_subscriber::filter::ParseError,
}

/// The first Ctrl-C or SIGTERM asks the job to commit and stop, the second ends the process.
fn stop_on_signals(stop: StopFlag) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut arrived = signals.forever();
        if arrived.next().is_some() {
            tracing::info!("stopping: what is done is being committed (a second signal stops at once)");
            stop.stop();
        }
        if arrived.next().is_some() {
            tracing::error!(
                "stopped at once: nothing committed is lost, the rest will be read again at the next start"
            );
            // Not by `process::exit`, which destroys RocksDB's own objects while its threads and the job's still work with them.
            signal_hook::low_level::exit(1);
        }
    })?;
    Ok(())
}
