//! Updates a second, told once and maintained, with one worker and with two.

use super::Result;
use super::input::{standing, updates as input};
use super::job::{Emit, Input, Run, Task, run, write};

const MIB: f64 = 1_048_576.0;

/// The jobs, in the order in which they take turns.
const JOBS: [(Emit, usize); 4] = [(Emit::Once, 1), (Emit::Changes, 1), (Emit::Once, 2), (Emit::Changes, 2)];

pub(crate) fn updates(count: u64, keys: u64, rounds: u64) -> Result<()> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    write(input(count, keys), directory.path())?;
    let right = standing(input(count, keys));
    let mut runs: [Vec<Run>; JOBS.len()] = Default::default();
    for _ in 0..rounds {
        for ((emit, workers), runs) in JOBS.into_iter().zip(&mut runs) {
            let task = Task { directory: directory.path(), emit, workers, read: count, standing: right };
            runs.push(run(task, &[], Input::File)?);
        }
    }
    println!("\nupdates: {count} updates of {keys} keys from a file, {rounds} rounds in turns; medians\n");
    println!(
        "| emit | workers | updates/s | least to most | CPU s a million | peak memory MiB | state MiB | results added | taken away |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut medians = Vec::new();
    for ((emit, workers), runs) in JOBS.into_iter().zip(&runs) {
        let rates = sorted(runs, |run| count as f64 / run.busy_seconds);
        let median = |of: fn(&Run) -> f64| middle(&sorted(runs, of));
        println!(
            "| {} | {workers} | {:.0} | {:.0} to {:.0} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} |",
            emit.as_str(),
            middle(&rates),
            rates.first().unwrap_or(&0.0),
            rates.last().unwrap_or(&0.0),
            median(|run| run.cpu_seconds) * 1e6 / count as f64,
            median(|run| run.memory_peak_bytes) / MIB,
            median(|run| run.state_bytes) / MIB,
            median(|run| run.totals.resolved as f64),
            median(|run| run.retracted as f64),
        );
        medians.push((middle(&rates), median(|run| run.totals.resolved as f64 + run.retracted as f64)));
    }
    if let [(once_1, _), (changes_1, lines_1), (once_2, _), (changes_2, lines_2)] = medians[..] {
        let lines = |rate: f64, lines: f64| rate * lines / count as f64;
        println!(
            "\nchanges to once, updates/s: {:.2} with one worker, {:.2} with two; two workers to one: {:.2} once, {:.2} changes; changes told: {:.0}/s and {:.0}/s",
            changes_1 / once_1,
            changes_2 / once_2,
            once_2 / once_1,
            changes_2 / changes_1,
            lines(changes_1, lines_1),
            lines(changes_2, lines_2)
        );
    }
    Ok(())
}

fn sorted(runs: &[Run], of: impl Fn(&Run) -> f64) -> Vec<f64> {
    let mut all: Vec<f64> = runs.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all
}

/// Of an even number of values the lower one in the middle.
fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}
