//! The comparison of the modes: what resolving dependencies costs, and what each way of waiting buys.
//!
//! `cargo bench --bench modes`, or with `-- --quick` to try it out; README, "The comparison of the modes", says how to read it. Every point is a run of a
//! launcher in a process of its own, on a schedule that does not wait for it, and its outcomes are those of the reference resolver, or the benchmark fails.
//!
//! `pure` plans, judges and draws; what is beside it starts processes and writes files.

mod arguments;
mod crash;
#[path = "../../tests/support/http.rs"]
#[allow(clippy::duplicate_mod, reason = "the tests have it, too, and this program in them")]
#[expect(clippy::unwrap_used, reason = "it is written for tests; a socket that is open takes a timeout")]
mod http;
mod launch;
#[path = "../speed/machine.rs"]
mod machine;
#[cfg_attr(
    test,
    allow(dead_code, unused_imports, reason = "a benchmark is built for tests, too, but has no harness to run them")
)]
pub(crate) mod pure;
mod reference;
mod sitting;
mod stop;

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::{Display, Write as _};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::error::ErrorKind::ValueValidation;
use clap::{CommandFactory, Parser};
use mimalloc::MiMalloc;

use arguments::Arguments;
use pure::advice::{advice, rule};
use pure::compare::{compare, differences};
use pure::page::{origin, page};
use pure::results::Results;
use pure::table::tables;
use sitting::Sitting;

/// For the reference, which makes and drops little things all the time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What anything may take on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg_attr(test, allow(dead_code, reason = "the tests have a process of their own for it"))]
fn main() -> ExitCode {
    ExitCode::from(status(env::args_os()))
}

/// Does what a command line says, and returns the exit status.
pub(crate) fn status(command_line: impl Iterator<Item = OsString>) -> u8 {
    let arguments = Arguments::parse_from(command_line);
    let ended = match &arguments.reference {
        Some(task) => reference::work(task).map(|()| false),
        None => {
            if let Err(wrong) = arguments.check() {
                Arguments::command().error(ValueValidation, wrong).exit();
            }
            run(&arguments)
        }
    };
    ended.map(u8::from).unwrap_or_else(|error| {
        say(format_args!("error: {error}"));
        1
    })
}

/// This program, to be started once more.
pub(crate) fn this_program() -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    // The tests, which are `main`, have it as one of theirs: cargo does not tell them where a benchmark is.
    if env!("CARGO_CRATE_NAME") == "main" {
        command.args(["--ignored", "--exact", "--nocapture", "comparison::the_comparison", "--"]);
    }
    Ok(command)
}

/// Writes a line to standard error. Where nobody reads that any more it is lost, and the benchmark goes on: its numbers are in a file.
fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes to standard output; one who reads no further, as `head` does, is no error.
fn tell(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Measures, or reads what was measured; tells it, and compares it. Returns whether something is worse than before, or nothing could be compared.
fn run(arguments: &Arguments) -> Result<bool> {
    // Before anything is measured for minutes.
    let old = arguments.compare.as_deref().map(read).transpose()?;
    let (results, file) = match &arguments.from {
        Some(file) => (read(file)?, file.clone()),
        None => measure(arguments, old.as_ref())?,
    };
    tell(&report(&results)?)?;
    // What is measured lies where it is asked for anyway.
    let html = match (&arguments.output, file.file_name()) {
        (Some(output), Some(name)) => directory(output)?.join(name),
        _ => file.clone(),
    };
    let html = html.with_extension("html");
    fs::write(&html, page(&results)).map_err(|error| format!("{}: {error}", html.display()))?;
    tell(&format!("\nnumbers: {}\npage:    {}\n", file.display(), html.display()))?;
    let Some(old) = old else { return Ok(false) };
    let comparison = compare(&old, &results);
    let (before, now) = (origin(&old.about), origin(&results.about));
    let mut text = format!("\nbefore: {before}\nnow:    {now}\n\n{}\n", comparison.report());
    differences(&old, &results).iter().try_for_each(|difference| writeln!(text, "warning: {difference}"))?;
    tell(&text)?;
    Ok(comparison.has_failed())
}

/// The tables, and what they come to.
fn report(results: &Results) -> Result<String> {
    let mut text = format!("{}\nbase: {}\n", origin(&results.about), results.about.base.describe());
    text.extend(tables(results).iter().map(|table| table.to_text()));
    text.push('\n');
    advice(results).iter().try_for_each(|sentence| writeln!(text, "{sentence}"))?;
    writeln!(text, "{}", rule(results))?;
    results.warnings().iter().try_for_each(|warning| writeln!(text, "warning: {warning}"))?;
    Ok(text)
}

/// A directory to write to, made where there is none.
fn directory(path: &Path) -> Result<&Path> {
    fs::create_dir_all(path).map_err(|error| format!("{} (--output): {error}", path.display()))?;
    Ok(path)
}

fn read(file: &Path) -> Result<Results> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if !text.ends_with('\n') && !text.is_empty() {
        say(format_args!("warning: {}: its last line is cut off, and passed over", file.display()));
    }
    Results::parse(&text).map_err(|error| format!("{}: {error}", file.display()).into())
}

fn measure(arguments: &Arguments, old: Option<&Results>) -> Result<(Results, PathBuf)> {
    stop::listen()?;
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (scratch, claim) = scratch(temporary)?;
    let output = arguments.output.as_deref().unwrap_or_else(|| temporary.parent().unwrap_or(temporary));
    let file = directory(output)?.join(format!("modes-{}.jsonl", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ")));
    let results = Sitting::new(arguments, &scratch, &file).and_then(|sitting| sitting.run(old));
    // It stays where another sitting is under way.
    if claim.try_lock().is_ok() {
        let _ = fs::remove_dir(&scratch);
    }
    if stop::is_asked_for() && file.exists() {
        say(format_args!("stopped; what was measured until then: {}", file.display()));
    }
    Ok((results?, file))
}

/// The directory in which every process that is started has one, and the claim to it. What a sitting left that was killed is removed, unless another is
/// under way.
fn scratch(temporary: &Path) -> Result<(PathBuf, File)> {
    fs::create_dir_all(temporary)?;
    let (scratch, claim) = (temporary.join("modes"), File::create(temporary.join("modes.lock"))?);
    // Every sitting holds the lock, and the system gives it back for one that is killed.
    if claim.try_lock().is_ok() && scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    claim.lock_shared()?;
    fs::create_dir_all(&scratch)?;
    Ok((scratch, claim))
}
