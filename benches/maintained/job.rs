//! The job as users run it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use resolvent::metrics::Checksum;
use serde::Deserialize;

use super::Result;
use super::input::{STREAMS, Update};

/// How results are told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emit {
    Once,
    Changes,
}

impl Emit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Emit::Once => "once",
            Emit::Changes => "changes",
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Totals {
    pub(crate) resolved: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Lines {
    lines: u64,
    sum: String,
}

/// What a run says of itself: members of `--summary-json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Run {
    pub(crate) busy_seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) memory_peak_bytes: f64,
    memory_parts_peak_bytes: BTreeMap<String, f64>,
    pub(crate) state_bytes: f64,
    pub(crate) totals: Totals,
    pub(crate) retracted: u64,
    waiting: u64,
    checksums: BTreeMap<String, Lines>,
}

impl Run {
    /// What the job counts against `[streaming] memory`, at most.
    pub(crate) fn counted_bytes(&self) -> f64 {
        ["referents", "waiting"].iter().filter_map(|part| self.memory_parts_peak_bytes.get(*part)).sum()
    }

    /// Fails where it is not as it should be: `read` events answered once, or the results of all of them from scratch.
    fn check(self, emit: Emit, read: u64, standing: &Checksum) -> Result<Run> {
        let of_sum = |sum: &Checksum| Lines { lines: sum.lines, sum: format!("{:016x}", sum.sum) };
        let found = self.checksums.get("resolved");
        let is_right = match emit {
            // Which version an event took is a matter of when it came.
            Emit::Once => self.totals.resolved == read && found.is_some_and(|found| found.lines == read),
            Emit::Changes => {
                self.totals.resolved - self.retracted == standing.lines && found == Some(&of_sum(standing))
            }
        };
        if is_right && self.waiting == 0 {
            return Ok(self);
        }
        Err(format!("WRONG RESULTS with emit = {:?}: {self:?} instead of {standing:?}", emit.as_str()).into())
    }
}

/// Where a job reads.
pub(crate) enum Input<'a> {
    /// `events.jsonl`.
    File,
    /// Standard input, to which these are written. The job's process is told with each.
    Fed(&'a mut dyn Iterator<Item = Update>, &'a mut dyn FnMut(&Child)),
}

/// What a run is to do.
pub(crate) struct Task<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) emit: Emit,
    pub(crate) workers: usize,
    /// How many updates it reads, and what they come to.
    pub(crate) read: u64,
    pub(crate) standing: Checksum,
}

/// Writes what `events.jsonl` is to hold.
pub(crate) fn write(updates: impl Iterator<Item = Update>, directory: &Path) -> Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(directory.join("events.jsonl"))?);
    for update in updates {
        writeln!(file, "{}", update.record)?;
    }
    Ok(file.into_inner().map_err(|error| error.into_error())?.sync_all()?)
}

/// Runs the job, behind the words of `under` (a profiler), and checks its results.
pub(crate) fn run(task: Task<'_>, under: &[OsString], input: Input<'_>) -> Result<Run> {
    let Task { directory, emit, workers, read, standing } = task;
    let path = if matches!(input, Input::File) { "events.jsonl" } else { "-" };
    let job = format!(
        "[job]\nname = \"updates\"\nemit = \"{}\"\n{STREAMS}[source.file]\npath = \"{path}\"\nstream = \"/type\"\n[sink.resolved]\nnull = true\n\
         checksum = true\n[sink.dead_letter]\nnull = true\n[streaming]\nmemory = \"8GiB\"\n",
        emit.as_str()
    );
    std::fs::write(directory.join("job.toml"), job)?;
    let mut words: Vec<OsString> = under.to_vec();
    words.push(env!("CARGO_BIN_EXE_sedd").into());
    let arguments = ["--config", "job.toml", "--metrics", "off", "--quiet", "--fresh", "--until-end"];
    words.extend(arguments.into_iter().chain(["--summary-json", "summary.json", "--workers"]).map(OsString::from));
    words.push(workers.to_string().into());
    let (program, arguments) = words.split_first().ok_or("there is no program")?;
    let mut child = Command::new(program)
        .current_dir(directory)
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(if matches!(input, Input::File) { Stdio::null() } else { Stdio::piped() })
        .spawn()?;
    if let Input::Fed(updates, tell) = input {
        feed(&mut child, updates, tell)?;
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("sedd with emit = {:?}: {status}", emit.as_str()).into());
    }
    let run: Run = serde_json::from_slice(&std::fs::read(directory.join("summary.json"))?)?;
    run.check(emit, read, &standing)
}

fn feed(child: &mut Child, updates: &mut dyn Iterator<Item = Update>, tell: &mut dyn FnMut(&Child)) -> Result<()> {
    let Some(stdin) = child.stdin.take() else { return Err("the job has no standard input".into()) };
    let mut stdin = BufWriter::with_capacity(64 << 10, stdin);
    for update in updates {
        writeln!(stdin, "{}", update.record)?;
        tell(child);
    }
    Ok(stdin.flush()?)
}
