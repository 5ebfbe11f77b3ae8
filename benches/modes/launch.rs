//! A point: one run of a launcher, in a process and a directory of its own, so that CPU time and memory are its own.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::pure::job::{Common, Ends, configuration};
use super::pure::results::{Point, Run, Summary};
use super::pure::setting::Mode;
use super::{Result, machine, stop};

/// Beside the time that its records are offered for, a job has this long: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked whether a job has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The launcher of a mode.
fn program(mode: Mode) -> &'static str {
    match mode {
        Mode::Independent => env!("CARGO_BIN_EXE_independent"),
        Mode::Streaming | Mode::StreamingDefer | Mode::StreamingChanges => env!("CARGO_BIN_EXE_sedd"),
        Mode::Deferred => env!("CARGO_BIN_EXE_dedd"),
    }
}

/// A process that ends with whoever holds it: a job, or what computes the right answers.
pub(crate) struct Job {
    child: Child,
    name: &'static str,
    guard: Guard,
}

/// Kills a process where this one ends without dropping it, as it does by SIGKILL: a shell reads a pipe of which only this process has the other end.
/// It is told of the process right after the start. (The signal of a parent's death would have to be asked for by a program of ours that turns into the job:
/// that takes 5 ms of CPU time, which would be measured.)
struct Guard {
    shell: Child,
}

/// The shell is told the process id, and nothing after that: what it waits for is the end of the pipe.
const GUARD: &str = "read -r job || exit; read -r end; kill -KILL \"$job\"";

impl Guard {
    fn start() -> Result<Guard> {
        let mut shell = Command::new("sh");
        Ok(Guard { shell: shell.args(["-c", GUARD]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()? })
    }

    fn watch(&mut self, child: &Child) -> Result<()> {
        let pipe = self.shell.stdin.as_mut().ok_or("the guard of a job has no pipe")?;
        Ok(writeln!(pipe, "{}", child.id())?)
    }
}

impl Drop for Guard {
    /// Before its pipe is closed.
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

impl Job {
    /// Starts the job that is `job.toml` in a directory. Its errors are shown.
    pub(crate) fn start(mode: Mode, directory: &Path, arguments: &[&str]) -> Result<Job> {
        let mut command = Command::new(program(mode));
        command.current_dir(directory).args(["--config", "job.toml", "--quiet"]).args(arguments);
        Job::of(command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::null()), mode.as_str())
    }

    /// Starts a program.
    pub(crate) fn of(program: &mut Command, name: &'static str) -> Result<Job> {
        let guard = Guard::start()?;
        let mut job = Job { child: program.spawn()?, name, guard };
        job.guard.watch(&job.child)?;
        Ok(job)
    }

    /// Waits until it ends by itself, and successfully. Gives up where a signal asks to stop.
    pub(crate) fn wait(mut self, at_most: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            stop::check()?;
            if let Some(status) = self.child.try_wait()? {
                return if status.success() { Ok(()) } else { Err(format!("{} failed: {status}", self.name).into()) };
            }
            if began.elapsed() > at_most {
                return Err(format!("{} did not end within {at_most:?}", self.name).into());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Fails where it has ended, or a signal asks to stop.
    pub(crate) fn is_running(&mut self) -> Result<()> {
        stop::check()?;
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("{} ended before its time: {status}", self.name).into()),
        }
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.is_running()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop with SIGTERM.
    pub(crate) fn terminate(&self) -> Result<()> {
        let status = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status()?;
        if status.success() { Ok(()) } else { Err(format!("{} cannot be asked to stop: {status}", self.name).into()) }
    }
}

impl Drop for Job {
    /// A process that has ended is not there to be killed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of all children that have ended: all of it, what giving back their memory takes, too.
fn children_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in parentheses and may hold anything: fields are counted from its end.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
    let ticks: Vec<f64> = fields.skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() / machine::TICKS_PER_SECOND)
}

/// Measures a point once.
pub(crate) fn measure(point: Point, records: u64, common: &Common, scratch: &Path) -> Result<Run> {
    let directory = tempfile::tempdir_in(scratch)?;
    let ends = Ends::Synthetic { records, rate: point.rate };
    std::fs::write(directory.path().join("job.toml"), configuration(point.mode, &point.setting, common, ends))?;
    let (began, busy, ours) = (Instant::now(), machine::busy_seconds(), children_seconds()?);
    let job = Job::start(point.mode, directory.path(), &["--summary-json", "summary.json"])?;
    job.wait(Duration::from_secs(records / point.rate) + PATIENCE)?;
    let (busy, ours) = (machine::busy_seconds() - busy, children_seconds()? - ours);
    let cores_of_others = ((busy - ours) / began.elapsed().as_secs_f64()).max(0.0);
    let summary: Summary = serde_json::from_slice(&std::fs::read(directory.path().join("summary.json"))?)?;
    Ok(Run { point, round: 1, probe: false, records, cores_of_others, summary })
}
