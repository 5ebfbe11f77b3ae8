//! What was measured, as tables.

use crate::contestant::{Delivery, Measured, Work};
use crate::{BALANCED, DELIVERIES, WORKS};

/// One job in one round.
pub(crate) struct Run {
    pub(crate) work: Work,
    pub(crate) delivery: Delivery,
    pub(crate) preset: &'static str,
    pub(crate) job: Measured,
    /// The loop that wrote as many bytes right after it.
    pub(crate) bare: Option<Measured>,
}

/// All tables. Figures are medians of the rounds, ratios of one round each.
pub(crate) fn print(runs: &[Run], events: u64) {
    beside_the_loop(runs, events);
    presets(runs, events);
}

fn beside_the_loop(runs: &[Run], events: u64) {
    let per_million = |seconds: f64| seconds / events as f64 * 1e6;
    println!(
        "\n{:<14}{:<14}{:>10}{:>11}{:>7}{:>10}{:>11}{:>7}{:>14}{:>11}",
        "", "", "events/s", "bare loop", "ratio", "CPU s/M", "bare loop", "ratio", "broker's s/M", "bare loop"
    );
    for work in WORKS {
        for delivery in DELIVERIES {
            let of_both = |run: &Run| (run.work, run.delivery) == (work, delivery) && run.bare.is_some();
            let found: Vec<&Run> = runs.iter().filter(|run| of_both(run)).collect();
            if found.is_empty() {
                continue;
            }
            let of = |pick: fn(&Measured, &Measured) -> f64| {
                median(found.iter().filter_map(|run| Some(pick(&run.job, run.bare.as_ref()?))).collect())
            };
            println!(
                "{:<14}{:<14}{:>10.0}{:>11.0}{:>7.2}{:>10.2}{:>11.2}{:>7.2}{:>14.2}{:>11.2}",
                format!("{work:?}"),
                format!("{delivery:?}"),
                events as f64 / of(|job, _| job.seconds),
                events as f64 / of(|_, bare| bare.seconds),
                of(|job, bare| bare.seconds / job.seconds),
                per_million(of(|job, _| job.cpu_seconds)),
                per_million(of(|_, bare| bare.cpu_seconds)),
                of(|job, bare| bare.cpu_seconds / job.cpu_seconds),
                per_million(of(|job, _| job.broker_cpu_seconds)),
                per_million(of(|_, bare| bare.broker_cpu_seconds)),
            );
        }
    }
    println!("ratio: more than 1 is faster than the bare loop, or takes less CPU time");
}

fn presets(runs: &[Run], events: u64) {
    println!("\n{:<14}{:<14}{:>10}{:>10}", "Streaming", "", "events/s", "CPU s/M");
    for preset in ["durable", BALANCED, "fast"] {
        for delivery in DELIVERIES {
            let wanted = (Work::Streaming, delivery, preset);
            let found = || runs.iter().filter(|run| (run.work, run.delivery, run.preset) == wanted);
            if found().next().is_none() {
                continue;
            }
            let seconds = median(found().map(|run| run.job.seconds).collect());
            let cpu_seconds = median(found().map(|run| run.job.cpu_seconds).collect());
            println!(
                "{preset:<14}{:<14}{:>10.0}{:>10.2}",
                format!("{delivery:?}"),
                events as f64 / seconds,
                cpu_seconds / events as f64 * 1e6,
            );
        }
    }
}

/// Of an even number the greater one in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
