//! Processes that are waited for with patience, and killed with their test.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::eventually;

/// What anything may take on a machine with much else to do. Far beyond what it takes: a test that reaches it has found a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A job binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Sedd,
    Dedd,
    Independent,
}

impl Program {
    pub(crate) const ALL: [Program; 3] = [Program::Sedd, Program::Dedd, Program::Independent];

    /// Those that join.
    pub(crate) const JOINING: [Program; 2] = [Program::Sedd, Program::Dedd];

    pub(crate) fn path(self) -> PathBuf {
        binary(match self {
            Program::Sedd => "sedd",
            Program::Dedd => "dedd",
            Program::Independent => "independent",
        })
    }
}

/// Where a binary of ours is: as cargo says when it runs the tests, from 1.94 on. What `env!` says is where it was when the tests were built, which may have
/// been in another checkout.
pub(crate) fn binary(name: &str) -> PathBuf {
    let said = std::env::var_os(format!("CARGO_BIN_EXE_{name}"));
    said.map_or_else(|| Path::new(env!("CARGO_BIN_EXE_sedd")).with_file_name(name), PathBuf::from)
}

/// A process under way. Dropping it kills it, and whatever it started.
pub(crate) struct Running {
    child: Child,
    stdout: Captured,
    stderr: Captured,
    began: Instant,
}

/// What a process has said so far; a thread reads it, so that the process never waits for the test.
struct Captured {
    text: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running {
    /// Starts a command in a process group of its own.
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = Captured::of(child.stdout.take().unwrap());
        let stderr = Captured::of(child.stderr.take().unwrap());
        Running { child, stdout, stderr, began: Instant::now() }
    }

    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("the command was given a pipe as standard input")
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Kills it with SIGKILL, and checks that this is what ended it.
    #[track_caller]
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it had ended before it was killed: {status}\n{}", self.stderr.all());
    }

    /// Asks it to stop with SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM", self.child.id().to_string());
    }

    /// Takes the processor from it with SIGSTOP, until [`proceed`](Running::proceed).
    pub(crate) fn suspend(&self) {
        self.signal("STOP", self.child.id().to_string());
    }

    /// Gives the processor back with SIGCONT.
    pub(crate) fn proceed(&self) {
        self.signal("CONT", self.child.id().to_string());
    }

    /// What it has written to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// How many whole lines that is.
    pub(crate) fn stdout_lines(&self) -> usize {
        self.stdout.text.lock().unwrap().iter().filter(|byte| **byte == b'\n').count()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ended {
        let began = self.began;
        while !self.has_ended() {
            assert!(began.elapsed() < PATIENCE, "it did not end in {PATIENCE:?}; it said:\n{}", self.stderr());
            thread::sleep(Duration::from_millis(1));
        }
        let status = self.child.wait().unwrap();
        Ended { status, stdout: self.stdout.all(), stderr: self.stderr.all() }
    }

    /// The address at which it serves metrics, once it says so.
    pub(crate) fn metrics_address(&mut self) -> String {
        eventually("the job says where its metrics are", || {
            let said = self.stderr();
            assert!(said.contains("metrics at") || !self.has_ended(), "it has ended: {said}");
            let (_, rest) = said.split_once("metrics at http://")?;
            Some(rest.split_once('/')?.0.to_owned())
        })
    }

    fn signal(&self, signal: &str, target: String) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{signal} {target}")).status();
        assert!(status.unwrap().success(), "SIG{signal} could not be sent to {target}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal("KILL", format!("-{}", self.child.id()));
            let _ = self.child.wait();
        }
    }
}

impl Captured {
    fn of(mut pipe: impl Read + Send + 'static) -> Captured {
        let text = Arc::new(Mutex::new(Vec::new()));
        let target = Arc::clone(&text);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                target.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Captured { text, thread: Some(thread) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn all(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.so_far()
    }
}

impl Ended {
    /// The exit status, which must not be a signal.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{}:\n{}", self.status, self.stderr))
    }

    /// Checks that it succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Ended {
        assert_eq!(self.code(), 0, "{}", self.stderr);
        self
    }

    /// Checks that it failed with `status`, and that its message has all `phrases`.
    #[track_caller]
    pub(crate) fn failed(self, status: i32, phrases: &[&str]) -> Ended {
        assert_eq!(self.code(), status, "{}", self.stderr);
        let said = unwrapped(&self.stderr);
        for phrase in phrases {
            assert!(said.contains(&unwrapped(phrase)), "no {phrase:?} in:\n{}", self.stderr);
        }
        self
    }
}

/// A message without its spaces, and the line breaks and margins that a report has: those may be within a name, behind a hyphen.
fn unwrapped(report: &str) -> String {
    report.split_whitespace().filter(|word| !matches!(*word, "│" | "×" | "╰─▶" | "├─▶")).collect()
}

/// Whether the file at `path` holds more than `bytes`.
pub(crate) fn is_longer_than(path: &Path, bytes: u64) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > bytes)
}
