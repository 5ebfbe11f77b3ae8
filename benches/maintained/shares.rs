//! Where the CPU time of a job with maintained results goes: samples of its call stacks, taken by `perf`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::Result;
use super::input::{standing, updates};
use super::job::{Emit, Input, Task, run, write};

/// Samples a second of each thread: perf takes ten milliseconds to name the functions of one. Uneven, so as not to beat with what happens at round intervals.
const FREQUENCY: &str = "197";

/// What functions do, by parts of their names. The innermost function of a stack that is here decides: what it calls (allocation, copying, comparing) is its.
const PARTS: [(&str, &[&str]); 10] = [
    ("sorting", &["consolidat", "differential_dataflow::batcher", "core::slice::sort", "OrdValBuilder"]),
    ("merging", &["spine_fueled", "OrdValMerger", "OrdValStorage"]),
    ("joining", &["cursor::join", "operators::join"]),
    ("reducing", &["cursor::reduce", "operators::reduce"]),
    (
        "the table: what is here",
        &["maintained::table", "maintained::judge", "maintained::store", "maintained::entry::Entry"],
    ),
    ("results that come back", &["maintained::results", "maintained::entry::with_found", "follow (inlined)"]),
    ("lines", &["resolvent::sink", "worker::maintained::tell"]),
    ("reading and decoding", &["resolvent::decode", "resolvent::source", "pipeline::reading"]),
    ("the state (RocksDB)", &["rocksdb", "resolvent_state", "LZ4_"]),
    ("committing", &["pipeline::committer", "resolvent::checkpoint"]),
];

/// Where none of these is: within the dataflow, or elsewhere.
const MOVING: (&str, &str) = ("moving rows between operators", "timely");
const OTHER: &str = "other";

/// Prints what each part takes of the CPU time of all threads.
pub(crate) fn shares(count: u64, keys: u64) -> Result<()> {
    if !has_perf() {
        println!("\nshares: not measured, perf is not there (Debian and Ubuntu: apt-get install linux-perf)");
        return Ok(());
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    write(updates(count, keys), directory.path())?;
    let record =
        ["perf", "record", "--quiet", "--output", "perf.data", "--freq", FREQUENCY, "--call-graph", "dwarf,16384"];
    let under: Vec<OsString> = record.into_iter().chain(["--"]).map(OsString::from).collect();
    let task = Task {
        directory: directory.path(),
        emit: Emit::Changes,
        workers: 1,
        read: count,
        standing: standing(updates(count, keys)),
    };
    let run = run(task, &under, Input::File)?;
    let samples = samples(directory.path())?;
    let all: u64 = samples.values().sum();
    println!(
        "\nshares: {count} updates of {keys} keys, one worker; {all} samples of {:.2} CPU seconds of all threads, {:.2} s from the first record to the last result\n",
        run.cpu_seconds, run.busy_seconds
    );
    println!("| what | share |");
    println!("| --- | --- |");
    for what in PARTS.iter().map(|(what, _)| *what).chain([MOVING.0, OTHER]) {
        println!("| {what} | {:.1} % |", 100.0 * *samples.get(what).unwrap_or(&0) as f64 / all.max(1) as f64);
    }
    Ok(())
}

fn has_perf() -> bool {
    let version = Command::new("perf").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// How many samples fall to each part.
fn samples(directory: &Path) -> Result<BTreeMap<&'static str, u64>> {
    let mut script = Command::new("perf")
        .current_dir(directory)
        .args(["script", "--input", "perf.data", "--fields", "comm,ip,sym"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut samples: BTreeMap<&'static str, u64> = BTreeMap::new();
    let Some(stdout) = script.stdout.take() else { return Err("perf script says nothing".into()) };
    // Of each sample the name of the thread, then the functions, from the innermost on, then an empty line.
    let (mut part, mut otherwise) = (None, OTHER);
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if line.is_empty() {
            *samples.entry(part.take().unwrap_or(otherwise)).or_default() += 1;
            otherwise = OTHER;
        } else if line.starts_with(char::is_whitespace) && part.is_none() {
            let is_part = |(_, names): &&(&str, &[&str])| names.iter().any(|name| line.contains(name));
            part = PARTS.iter().find(is_part).map(|(what, _)| *what);
            otherwise = if line.contains(MOVING.1) { MOVING.0 } else { otherwise };
        }
    }
    let status = script.wait()?;
    if status.success() { Ok(samples) } else { Err(format!("perf script: {status}").into()) }
}
