//! Where and with what the numbers were taken.

use std::fs;
use std::process::Command;
use std::thread;

use serde::Serialize;

/// Clock ticks a second in `/proc/stat`: part of the kernel's interface.
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;

/// As `.ci/optimize` says when it compiles.
pub(crate) const OPTIMIZED: bool = option_env!("RESOLVENT_PROFILE").is_some();

/// The machine and the build; what cannot be found out is empty.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    /// Whether this program and the jobs were compiled for how they ran (`make optimized`).
    pub(crate) optimized: bool,
    /// That of the checkout from which this program was built, as it is now; `+` after it: with changes that are not committed.
    pub(crate) commit: String,
}

impl Machine {
    pub(crate) fn here() -> Machine {
        let git =
            |arguments: &[&str]| first_line("git", &[&["-C", env!("CARGO_MANIFEST_DIR")][..], arguments].concat());
        let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
        let kibibytes = field("/proc/meminfo", "MemTotal:").trim_end_matches("kB").trim().parse::<u64>();
        Machine {
            cpu: field("/proc/cpuinfo", "model name").trim_start_matches(':').trim().to_owned(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kibibytes.map_or(0, |kibibytes| kibibytes * 1024),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            rustc: first_line("rustc", &["--version"]),
            optimized: OPTIMIZED,
            commit: git(&["rev-parse", "--short", "HEAD"]) + if changes.is_empty() { "" } else { "+" },
        }
    }
}

/// Processes that ran or wanted to, on average over the last minute.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// Seconds that all cores together were busy since the machine started, its host's other guests included.
pub(crate) fn busy_seconds() -> f64 {
    let text = field("/proc/stat", "cpu ");
    // user, nice, system, idle, iowait, irq, softirq, steal
    let ticks = text.split_whitespace().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
    ticks.filter_map(|(_, ticks)| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// What follows `name` on the first line of a file that begins with it.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}
