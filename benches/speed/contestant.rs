//! Contestants, each in a process of its own: memory, the allocator's state and threads are those of a fresh start.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

use resolvent::dependency::Mode;
use resolvent::metrics::resident_memory;
use serde::{Deserialize, Serialize};

use crate::common::{self, Watch};
use crate::input::Input;
use crate::job::{Job, Memory};
use crate::tally::{self, Tally};
use crate::{Result, bound, machine};

/// What a contestant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    Decode,
    Bound,
    Independent,
    Streaming,
    Deferred,
}

/// On which input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum On {
    Plain,
    /// The state of a deferred job outgrows its memory; its files are read and written past the page cache.
    Large,
    /// The same input, with memory for all of the state.
    Ample,
    /// The input of the hot referent, which is followed.
    Hot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contestant {
    pub(crate) what: What,
    pub(crate) threads: usize,
    pub(crate) on: On,
}

impl Contestant {
    pub(crate) const fn new(what: What, threads: usize, on: On) -> Contestant {
        Contestant { what, threads, on }
    }

    /// How our jobs resolve; `None` for the bounds.
    fn mode(self) -> Option<Mode> {
        match self.what {
            What::Decode | What::Bound => None,
            What::Independent => Some(Mode::Independent),
            What::Streaming => Some(Mode::Streaming),
            What::Deferred => Some(Mode::Deferred),
        }
    }

    /// What its state has on an input.
    fn memory(self, input: &Input) -> Memory {
        // Streaming, beside which deferred is shown on the large input, keeps enough of it and the page cache.
        match (self.on, self.what) {
            (On::Large, What::Deferred) => Memory { bytes: input.small_memory(), outgrown: true },
            _ => Memory { bytes: input.ample_memory(), outgrown: false },
        }
    }

    /// Whether this is one of our jobs.
    pub(crate) fn is_job(self) -> bool {
        self.mode().is_some()
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = self.threads;
        let name = match self.what {
            What::Decode => "bound, decode only".to_owned(),
            What::Bound => format!("bound, {threads} thread(s)"),
            What::Independent => format!("independent, w{threads}"),
            What::Streaming => format!("streaming, w{threads}"),
            What::Deferred => format!("deferred, w{threads}"),
        };
        let on = match (self.on, self.what) {
            (On::Plain, _) => "",
            (On::Large, What::Deferred) => ", state 10 x memory",
            (On::Large, _) | (On::Ample, _) => ", large referents",
            (On::Hot, _) => ", hot referent",
        };
        f.pad(&format!("{name}{on}"))
    }
}

/// What the child process is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    contestant: Contestant,
    input: PathBuf,
    memory: Memory,
    /// Whether the lines go to standard output instead of nowhere.
    shown: bool,
    /// Where the state and the result go.
    directory: PathBuf,
}

/// What became of all events, as the job says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answers {
    pub(crate) read: u64,
    pub(crate) resolved: u64,
    pub(crate) waiting: u64,
}

/// What a child process has measured of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// From before the first file is opened to after the last thread has ended.
    pub(crate) seconds: f64,
    /// Of all its threads in that time.
    pub(crate) cpu_seconds: f64,
    /// VmHWM: the most memory that was resident at once.
    pub(crate) peak_bytes: u64,
    /// The state on disk at the end.
    pub(crate) state_bytes: u64,
    /// Of our jobs.
    pub(crate) answers: Option<Answers>,
    /// Of the bound that resolves.
    pub(crate) tally: Option<Tally>,
    /// Cores that other processes were using meanwhile, on average.
    #[serde(default)]
    pub(crate) cores_of_others: f64,
}

/// The child process: does its task and leaves what it measured.
pub(crate) fn work(task: &str) -> Result<()> {
    let task: Task = serde_json::from_str(task)?;
    let watch = Watch::start()?;
    let mut measured = compete(&task)?;
    (measured.seconds, measured.cpu_seconds) = watch.read()?;
    measured.peak_bytes = resident_memory().ok_or("the system does not tell what is resident")?.peak;
    common::leave(&measured, &task.directory)
}

fn compete(task: &Task) -> Result<Measured> {
    let Task { contestant, input, memory, shown, directory } = task;
    let mut measured = Measured {
        seconds: 0.0,
        cpu_seconds: 0.0,
        peak_bytes: 0,
        state_bytes: 0,
        answers: None,
        tally: None,
        cores_of_others: 0.0,
    };
    match contestant.mode() {
        Some(mode) => {
            let hot = contestant.on == On::Hot;
            let job = Job { input, mode, workers: contestant.threads, memory: *memory, shown: *shown, hot };
            let summary = job.run(directory)?;
            let (read, resolved, waiting) = (summary.totals.read, summary.totals.resolved, summary.waiting);
            measured.state_bytes = summary.state_bytes;
            measured.answers = Some(Answers { read, resolved, waiting });
        }
        None if contestant.what == What::Decode => {
            let read = bound::decode(input)?;
            measured.answers = Some(Answers { read, resolved: read, waiting: 0 });
        }
        None => measured.tally = Some(bound::resolve(input, contestant.threads)?),
    }
    Ok(measured)
}

/// A child process that competes.
pub(crate) struct Running {
    contestant: Contestant,
    pub(crate) child: Child,
    directory: tempfile::TempDir,
}

impl Running {
    /// Starts a process; its state and its result are in a directory of its own within `scratch`.
    pub(crate) fn start(
        contestant: Contestant,
        input: &Path,
        memory: Memory,
        scratch: &Path,
        shown: bool,
    ) -> Result<Running> {
        let directory = tempfile::tempdir_in(scratch)?;
        let task = Task { contestant, input: input.to_owned(), memory, shown, directory: directory.path().to_owned() };
        let stdin = if contestant.on == On::Hot { Stdio::piped() } else { Stdio::null() };
        let stdout = if shown { Stdio::piped() } else { Stdio::null() };
        let child = common::start(&task, stdin, stdout)?;
        Ok(Running { contestant, child, directory })
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Result<Measured> {
        common::finish(&mut self.child, &self.contestant.to_string(), self.directory.path())
    }
}

impl Drop for Running {
    /// What is not waited for is ended; a process that has ended is not there to be killed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a contestant with null sinks.
pub(crate) fn timed(contestant: Contestant, input: &Input, scratch: &Path) -> Result<Measured> {
    let (began, busy) = (Instant::now(), machine::busy_seconds());
    let mut measured = Running::start(contestant, &input.path, contestant.memory(input), scratch, false)?.finish()?;
    let busy = machine::busy_seconds() - busy - measured.cpu_seconds;
    measured.cores_of_others = (busy / began.elapsed().as_secs_f64()).max(0.0);
    Ok(measured)
}

/// Runs a job and tallies the lines that it writes.
pub(crate) fn tallied(contestant: Contestant, input: &Input, scratch: &Path) -> Result<Tally> {
    let mut running = Running::start(contestant, &input.path, contestant.memory(input), scratch, true)?;
    let lines = running.child.stdout.take().ok_or("standard output is not piped")?;
    let tally = tally::of_outcomes(lines)?;
    running.finish()?;
    Ok(tally)
}
