//! The comparison of the modes: what resolving dependencies costs, and what each way of waiting buys.
//!
//! `cargo bench --bench modes`, or with `-- --quick` to try it out; README, "The comparison of the modes", says how to read it. Every point is a run of a
//! launcher in a process of its own, on a schedule that does not wait for it, and its outcomes are those of the reference resolver, or the benchmark fails.
//!
//! `pure` plans, judges and draws; what is beside it starts processes and writes files.

mod arguments;
mod crash;
#[path = "../../tests/support/http.rs"]
#[expect(clippy::unwrap_used, reason = "it is written for tests; a socket that is open takes a timeout")]
mod http;
mod launch;
#[path = "../speed/machine.rs"]
mod machine;
#[cfg_attr(
    test,
    expect(dead_code, unused_imports, reason = "a benchmark is built for tests, too, but has no harness to run them")
)]
mod pure;
mod reference;
mod sitting;
mod stop;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(wrong) = arguments.check() {
        Arguments::command().error(ErrorKind::ValueValidation, wrong).exit();
    }
    let ended = match &arguments.reference {
        Some(task) => reference::work(task).map(|()| false),
        None => run(&arguments),
    };
    match ended {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
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
    println!("{}", origin(&results.about));
    println!("base: {}", results.about.base.describe());
    tables(&results).iter().for_each(|table| print!("{}", table.to_text()));
    println!();
    advice(&results).iter().for_each(|sentence| println!("{sentence}"));
    println!("{}", rule(&results));
    results.warnings().iter().for_each(|warning| println!("warning: {warning}"));
    let html = file.with_extension("html");
    fs::write(&html, page(&results))?;
    println!("\nnumbers: {}\npage:    {}", file.display(), html.display());
    let Some(old) = old else { return Ok(false) };
    let comparison = compare(&old, &results);
    println!("\nbefore: {}\nnow:    {}\n\n{}", origin(&old.about), origin(&results.about), comparison.report());
    differences(&old, &results).iter().for_each(|difference| println!("warning: {difference}"));
    Ok(comparison.has_failed())
}

fn read(file: &Path) -> Result<Results> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Results::parse(&text).map_err(|error| format!("{}: {error}", file.display()).into())
}

fn measure(arguments: &Arguments, old: Option<&Results>) -> Result<(Results, PathBuf)> {
    stop::listen()?;
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let scratch = temporary.join("modes");
    let output = arguments.output.as_deref().unwrap_or_else(|| temporary.parent().unwrap_or(temporary));
    fs::create_dir_all(&scratch)?;
    fs::create_dir_all(output)?;
    let file = output.join(format!("modes-{}.jsonl", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ")));
    let results = Sitting::new(arguments, &scratch, &file).and_then(|sitting| sitting.run(old));
    // It stays where another sitting has something in it.
    let _ = fs::remove_dir(&scratch);
    if stop::is_asked_for() && file.exists() {
        eprintln!("stopped; what was measured until then: {}", file.display());
    }
    Ok((results?, file))
}
