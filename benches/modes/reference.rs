//! The right answers, computed by a process of their own: the reference resolver holds everything that it was ever told, and must not be in the way of
//! what is measured.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use resolvent::config::{self, Overrides};
use resolvent::metrics::{Checksum, cpu_seconds};
use resolvent::source::workload::Generator;
use serde::{Deserialize, Serialize};

use super::launch::Job;
use super::pure::job::{Common, Ends, configuration, workload};
use super::pure::results::{Lines, Run};
use super::pure::setting::{Mode, Setting};
use super::pure::truth::{Anew, outcomes};
use super::{Result, this_program};

/// Points have a multiple of this many records.
pub(crate) const STEP: u64 = 1_000;

/// After so many records another reference goes on: what one holds is some hundred megabytes then.
const ANEW_AFTER: u64 = 100_000;

/// What of a setting makes other records: all but their order, and who resolves them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Input {
    setting: Setting,
}

impl Input {
    pub(crate) fn of(setting: &Setting) -> Input {
        let arrivals = super::pure::setting::Arrivals::Constant;
        Input { setting: Setting { disorder: 0, late: 0.0, late_by: 0, workers: 1, arrivals, ..*setting } }
    }
}

/// The file of the answers.
const TOLD: &str = "truth.json";

/// What the child process is to do.
#[derive(Serialize, Deserialize)]
struct Task {
    input: Input,
    seed: u64,
    reach: u64,
    records: u64,
    /// Where it writes, the answers into [`TOLD`] of it.
    directory: PathBuf,
}

/// The right outcomes of one input.
#[derive(Serialize, Deserialize)]
pub(crate) struct Truth {
    input: Option<Input>,
    /// After each step, where nothing is joined.
    independent: Vec<Lines>,
    joined: Vec<Lines>,
    /// CPU seconds that making the records takes.
    making_seconds: f64,
    records: u64,
}

/// The child process: writes the truth into its directory.
pub(crate) fn work(task: &str) -> Result<()> {
    let task: Task = serde_json::from_str(task)?;
    let Task { input, seed, reach, records, directory } = task;
    let common = Common { seed, reach, wait: "1s".to_owned() };
    let settings = workload(&input.setting, &common, records);
    let anew = Anew { after: ANEW_AFTER.max(reach.div_ceil(STEP) * STEP), reach: usize::try_from(reach)? };
    let of = |mode: Mode| -> Result<Vec<Lines>> {
        let file = directory.join(format!("{mode}.toml"));
        fs::write(&file, configuration(mode, &input.setting, &common, Ends::Synthetic { records, rate: 0 }))?;
        let job = config::load(&file, mode.of_launcher(), &Overrides::default())?;
        Ok(outcomes(&job, &settings, STEP, Some(anew))?.iter().map(lines).collect())
    };
    let cpu = || cpu_seconds().unwrap_or(0.0);
    let (mut generator, mut line, before) = (Generator::new(&settings)?, Vec::new(), cpu());
    while generator.next(&mut line)?.is_some() {
        line.clear();
    }
    let making_seconds = cpu() - before;
    let truth = Truth {
        input: None,
        independent: of(Mode::Independent)?,
        joined: of(Mode::Streaming)?,
        making_seconds,
        records,
    };
    let mut told = BufWriter::new(File::create(directory.join(TOLD))?);
    serde_json::to_writer(&mut told, &truth)?;
    Ok(told.flush()?)
}

/// As a summary has it.
pub(crate) fn lines(checksum: &Checksum) -> Lines {
    Lines { lines: checksum.lines, sum: format!("{:016x}", checksum.sum) }
}

impl Truth {
    /// Has it computed, for up to so many records.
    pub(crate) fn of(input: Input, common: &Common, records: u64, scratch: &Path) -> Result<Truth> {
        let directory = tempfile::tempdir_in(scratch)?;
        let Common { seed, reach, .. } = *common;
        let task =
            Task { input, seed, reach, records: records.div_ceil(STEP) * STEP, directory: directory.path().to_owned() };
        let told = directory.path().join(TOLD);
        let mut program = this_program()?;
        program.arg("--reference").arg(serde_json::to_string(&task)?).stdin(Stdio::null()).stdout(Stdio::null());
        Job::of(&mut program, "the reference")?.wait(Duration::MAX)?;
        let truth: Truth = serde_json::from_slice(&fs::read(told)?)?;
        Ok(Truth { input: Some(input), ..truth })
    }

    /// Whether it is of the records of a setting.
    pub(crate) fn is_of(&self, setting: &Setting) -> bool {
        self.input == Some(Input::of(setting))
    }

    /// CPU seconds that making a million records takes.
    pub(crate) fn making_seconds_per_million(&self) -> f64 {
        self.making_seconds * 1e6 / self.records as f64
    }

    /// The right outcomes of the first `records` records.
    pub(crate) fn after(&self, mode: Mode, records: u64) -> Result<&Lines> {
        let all = if mode.joins() { &self.joined } else { &self.independent };
        let at = usize::try_from(records / STEP)?.checked_sub(1).filter(|_| records.is_multiple_of(STEP));
        at.and_then(|at| all.get(at)).ok_or_else(|| format!("the reference was not told {records} records").into())
    }

    /// Fails where a run gave any other outcomes than the right ones.
    pub(crate) fn check(&self, run: &Run) -> Result<()> {
        let right = self.after(run.point.mode, run.records)?;
        let (found, totals) = (run.summary.checksums.get("resolved"), run.summary.totals);
        let is_whole = totals.read == run.records && totals.resolved == run.records && run.summary.waiting == 0;
        if is_whole && found == Some(right) {
            return Ok(());
        }
        let Run { point, summary, .. } = run;
        Err(format!(
            "WRONG ANSWERS: {} of {:?} at {}/s gave {found:?} instead of {right:?}; {totals:?}, {} wait",
            point.mode, point.setting, point.rate, summary.waiting
        )
        .into())
    }
}
