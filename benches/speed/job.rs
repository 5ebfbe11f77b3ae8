//! Our jobs: a configuration is written and loaded, and the pipeline run, as the launchers do.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::thread;

use resolvent::dependency::Mode;
use resolvent::metrics::Metrics;
use resolvent::pipeline::{self, RunOptions, StopFlag, Summary};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::common::{self, NEXMARK};

/// Many that depend on one, and others that do not.
const HOT: &str = r#"
[[stream]]
name = "item"
key = "/id"

[[stream]]
name = "hot"
depends_on = [ { entity = "item", by = "/item" } ]

[[stream]]
name = "use"
depends_on = [ { entity = "item", by = "/item" } ]
"#;

/// Memory of a state.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) bytes: u64,
    /// Whether the state outgrows it: files are then read and written past the page cache.
    pub(crate) outgrown: bool,
}

/// A job.
pub(crate) struct Job<'a> {
    pub(crate) input: &'a Path,
    pub(crate) mode: Mode,
    pub(crate) workers: usize,
    pub(crate) memory: Memory,
    /// Whether resolved events go to standard output instead of nowhere.
    pub(crate) shown: bool,
    /// Whether this is the job of the hot referent: its input is followed until standard input ends.
    pub(crate) hot: bool,
}

impl Job<'_> {
    fn configuration(&self, directory: &Path) -> Result<String> {
        let Job { input, workers, shown, hot, .. } = self;
        let quoted = |path: &Path| serde_json::to_string(&path.to_string_lossy());
        let mut text = String::new();
        writeln!(text, "[job]\nname = \"speed\"\nworkers = {workers}")?;
        text += if *hot { HOT } else { NEXMARK };
        writeln!(text, "[source.file]\npath = {}\nstream = \"/type\"\nfollow = {hot}", quoted(input)?)?;
        writeln!(text, "[sink.resolved]\n{} = true", if *shown { "stdout" } else { "null" })?;
        writeln!(text, "[sink.dead_letter]\nnull = true")?;
        writeln!(text, "[state]\npath = {}", quoted(&directory.join("state"))?)?;
        writeln!(text, "memory = \"{}MiB\"\ndirect_io = {}", self.memory.bytes >> 20, self.memory.outgrown)?;
        writeln!(text, "[metrics]\nlisten = \"off\"")?;
        Ok(text)
    }

    /// Runs the job; its state is in `directory`.
    pub(crate) fn run(&self, directory: &Path) -> Result<Summary> {
        let job = common::load(&self.configuration(directory)?, self.mode, directory)?;
        let metrics = Metrics::new(&job.name);
        let stop = StopFlag::new();
        if self.hot {
            let stop = stop.clone();
            thread::spawn(move || {
                // Its end, or an error, both say that nobody wants more.
                let _ = std::io::stdin().read_to_end(&mut Vec::new());
                stop.stop();
            });
        }
        Ok(pipeline::run(job, RunOptions::default(), metrics, stop)?)
    }
}
