//! What the benchmarks share: contestants, each in a process of its own, whose memory, allocator's state and threads are those of a fresh start; and what
//! depends on what in Nexmark.

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use resolvent::config::{self, Job, Overrides};
use resolvent::dependency::Mode;
use resolvent::metrics::cpu_seconds;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The streams of Nexmark.
pub(crate) const NEXMARK: &str = r#"
[[stream]]
name = "person"
key = "/id"

[[stream]]
name = "auction"
key = "/id"
depends_on = [ { name = "seller", entity = "person", by = "/seller" } ]

[[stream]]
name = "bid"
depends_on = [
  { name = "auction", entity = "auction", by = "/auction" },
  { name = "bidder", entity = "person", by = "/bidder" },
]
"#;

/// Where a contestant leaves what it measured, in its directory.
const RESULT: &str = "measured.json";

/// Does a contestant's task in a process that was started for it, and the whole benchmark in any other.
pub(crate) fn run(task: Option<&str>, work: fn(&str) -> Result<()>, measure: impl FnOnce() -> Result<()>) -> ExitCode {
    match task.map_or_else(measure, work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts this program once more, with a task.
pub(crate) fn start(task: &impl Serialize, stdin: Stdio, stdout: Stdio) -> Result<Child> {
    let task = serde_json::to_string(task)?;
    Ok(Command::new(env::current_exe()?).arg("--contestant").arg(task).stdin(stdin).stdout(stdout).spawn()?)
}

/// Leaves what was measured.
pub(crate) fn leave(measured: &impl Serialize, directory: &Path) -> Result<()> {
    Ok(std::fs::write(directory.join(RESULT), serde_json::to_vec(measured)?)?)
}

/// What a process that was started with a task has left, once it has ended.
pub(crate) fn finish<T: DeserializeOwned>(child: &mut Child, name: &str, directory: &Path) -> Result<T> {
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("{name} failed: {status}").into());
    }
    Ok(serde_json::from_slice(&std::fs::read(directory.join(RESULT))?)?)
}

/// Reads a job's configuration as the launchers do, from a file in `directory`.
pub(crate) fn load(configuration: &str, mode: Mode, directory: &Path) -> Result<Job> {
    let file = directory.join("job.toml");
    std::fs::write(&file, configuration)?;
    Ok(config::load(&file, mode, &Overrides::default())?)
}

/// The time, and the time of all threads on the CPU, since it was started.
pub(crate) struct Watch {
    began: Instant,
    cpu: f64,
}

impl Watch {
    pub(crate) fn start() -> Result<Watch> {
        Ok(Watch { began: Instant::now(), cpu: cpu()? })
    }

    /// Seconds, and seconds on the CPU.
    pub(crate) fn read(&self) -> Result<(f64, f64)> {
        Ok((self.began.elapsed().as_secs_f64(), cpu()? - self.cpu))
    }
}

fn cpu() -> Result<f64> {
    Ok(cpu_seconds().ok_or("the system does not tell the time on the CPU: /proc/self/stat is needed")?)
}
