//! A temporary directory with one job in it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Ended, Outcome, Program, Running, read_outcomes};

/// A directory that the job runs in. By convention its configuration is `job.toml`, its outputs are `resolved.jsonl`, `dead.jsonl` and
/// `accepted.jsonl`, its state is in `state`.
pub(crate) struct Workspace {
    directory: TempDir,
}

impl Workspace {
    pub(crate) fn new() -> Workspace {
        Workspace { directory: tempfile::tempdir().unwrap() }
    }

    /// With `job.toml`, and `events.jsonl` as its input.
    pub(crate) fn with(job: &str, events: &str) -> Workspace {
        let workspace = Workspace::new();
        workspace.write("job.toml", job);
        workspace.write("events.jsonl", events);
        workspace
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn append(&self, name: &str, content: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().append(true).open(self.path(name)).unwrap();
        file.write_all(content.as_ref()).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn length(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).map_or(0, |metadata| metadata.len())
    }

    /// The command that runs the job. Metrics are off unless `arguments` ask for them.
    pub(crate) fn command(&self, program: Program, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.path());
        self.prepare(&mut command, arguments);
        command
    }

    /// The same under another program (`strace`, `sh`), which is given the job's command line as its last arguments.
    pub(crate) fn command_under(&self, outer: &[&str], program: Program, arguments: &[&str]) -> Command {
        let mut command = Command::new(outer[0]);
        command.args(&outer[1..]).arg(program.path());
        self.prepare(&mut command, arguments);
        command
    }

    fn prepare(&self, command: &mut Command, arguments: &[&str]) {
        command.current_dir(self.root()).stdin(Stdio::null());
        command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE").env("NO_COLOR", "1");
        command.args(["--config", "job.toml"]).args(arguments);
        if !arguments.iter().any(|argument| argument.starts_with("--metrics")) {
            command.args(["--metrics", "off"]);
        }
    }

    pub(crate) fn start(&self, program: Program, arguments: &[&str]) -> Running {
        Running::start(&mut self.command(program, arguments))
    }

    /// Runs the job to its end.
    pub(crate) fn run(&self, program: Program, arguments: &[&str]) -> Ended {
        self.start(program, arguments).wait()
    }

    /// All outcomes in the files of the sinks.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        ["resolved.jsonl", "dead.jsonl"].into_iter().flat_map(|name| read_outcomes(&self.path(name))).collect()
    }

    /// Every file below a directory of this one, with its bytes.
    pub(crate) fn snapshot(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        collect(&self.path(name), &mut files);
        files.sort();
        files
    }

    /// Puts a directory, or a file, of another workspace into this one.
    pub(crate) fn copy_from(&self, other: &Workspace, name: &str) {
        for (path, bytes) in other.snapshot(name) {
            let to = self.root().join(path.strip_prefix(other.root()).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            File::create(to).unwrap().write_all(&bytes).unwrap();
        }
    }
}

fn collect(path: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), files);
        }
    } else {
        files.push((path.to_owned(), fs::read(path).unwrap()));
    }
}
