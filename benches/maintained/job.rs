//! The job as users run it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Result, STREAMS, updates as lines};

/// What a run did.
struct Run {
    elapsed: f64,
    cpu: f64,
    memory: f64,
    state: f64,
    added: u64,
    retracted: u64,
    waiting: u64,
}

/// Updates a second, told once and maintained, with one worker and with two.
pub(crate) fn updates(count: u64, keys: u64) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut input = BufWriter::new(File::create(directory.path().join("events.jsonl"))?);
    for line in lines(count, keys) {
        input.write_all(line.as_bytes())?;
    }
    input.into_inner().map_err(|error| error.into_error())?;
    println!("\nupdates: {count} updates of {keys} keys\n");
    println!("| emit | workers | updates/s | CPU s | peak memory MiB | state MiB | results added | taken away |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for emit in ["once", "changes"] {
        for workers in [1, 2] {
            let run = run(directory.path(), emit, workers, "events.jsonl", None)?;
            println!(
                "| {emit} | {workers} | {:.0} | {:.2} | {:.0} | {:.0} | {} | {} |",
                count as f64 / run.elapsed,
                run.cpu,
                run.memory,
                run.state,
                run.added,
                run.retracted
            );
        }
    }
    Ok(())
}

/// Memory after many updates of few keys, beside that after each key came once.
pub(crate) fn memory(count: u64, keys: u64) -> Result<()> {
    println!("\nmemory: updates of {keys} keys, one worker\n");
    println!("| updates | seconds | updates/s | peak memory MiB | state MiB | waiting |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for count in [keys, count / 10, count] {
        let directory = tempfile::tempdir()?;
        let run = run(directory.path(), "changes", 1, "-", Some(&mut lines(count, keys)))?;
        println!(
            "| {count} | {:.1} | {:.0} | {:.0} | {:.0} | {} |",
            run.elapsed,
            count as f64 / run.elapsed,
            run.memory,
            run.state,
            run.waiting
        );
    }
    Ok(())
}

fn run(
    directory: &Path,
    emit: &str,
    workers: usize,
    path: &str,
    input: Option<&mut dyn Iterator<Item = String>>,
) -> Result<Run> {
    let job = format!(
        "[job]\nname = \"updates\"\nemit = \"{emit}\"\n{STREAMS}[source.file]\npath = \"{path}\"\nstream = \"/type\"\n\
         [sink.resolved]\nnull = true\n[sink.dead_letter]\nnull = true\n[streaming]\nmemory = \"8GiB\"\n"
    );
    std::fs::write(directory.join("job.toml"), job)?;
    let workers = workers.to_string();
    let arguments = ["--config", "job.toml", "--metrics", "off", "--quiet", "--fresh", "--until-end"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_sedd"))
        .current_dir(directory)
        .args(arguments)
        .args(["--workers", &workers, "--summary-json", "summary.json"])
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .spawn()?;
    if let (Some(lines), Some(stdin)) = (input, child.stdin.take()) {
        let mut stdin = BufWriter::with_capacity(1 << 20, stdin);
        for line in lines {
            stdin.write_all(line.as_bytes())?;
        }
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("sedd with emit = {emit:?}: {status}").into());
    }
    let summary: Value = serde_json::from_slice(&std::fs::read(directory.join("summary.json"))?)?;
    let number = |pointer: &str| summary.pointer(pointer).and_then(Value::as_f64).unwrap_or_default();
    let count = |pointer: &str| summary.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let mebibytes = |pointer: &str| number(pointer) / f64::from(1 << 20);
    Ok(Run {
        elapsed: number("/elapsed_seconds"),
        cpu: number("/cpu_seconds"),
        memory: mebibytes("/memory_peak_bytes"),
        state: mebibytes("/state_bytes"),
        added: count("/totals/resolved"),
        retracted: count("/retracted"),
        waiting: count("/waiting"),
    })
}
