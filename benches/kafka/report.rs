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
    let rate = |seconds: f64| events as f64 / seconds;
    let cpu = |seconds: f64| seconds / events as f64 * 1e6;
    println!(
        "\n{:<14}{:<14}{:>12}{:>12}{:>8}{:>12}{:>12}{:>8}",
        "", "", "events/s", "bare loop", "ratio", "CPU s/M", "bare loop", "ratio"
    );
    for work in WORKS {
        for delivery in DELIVERIES {
            let of = |pick: fn(&Measured, &Measured) -> f64| {
                let pairs = runs.iter().filter(|run| (run.work, run.delivery) == (work, delivery));
                median(pairs.filter_map(|run| Some(pick(&run.job, run.bare.as_ref()?))).collect())
            };
            println!(
                "{:<14}{:<14}{:>12.0}{:>12.0}{:>8.2}{:>12.2}{:>12.2}{:>8.2}",
                format!("{work:?}"),
                format!("{delivery:?}"),
                rate(of(|job, _| job.seconds)),
                rate(of(|_, bare| bare.seconds)),
                of(|job, bare| bare.seconds / job.seconds),
                cpu(of(|job, _| job.cpu_seconds)),
                cpu(of(|_, bare| bare.cpu_seconds)),
                of(|job, bare| bare.cpu_seconds / job.cpu_seconds),
            );
        }
    }
    println!("ratio: more than 1 is faster than the bare loop, or takes less CPU time\n");
    println!("{:<14}{:<14}{:>12}{:>12}", "Streaming", "", "events/s", "CPU s/M");
    for preset in ["durable", BALANCED, "fast"] {
        for delivery in DELIVERIES {
            let of = |pick: fn(&Measured) -> f64| {
                let wanted = (Work::Streaming, delivery, preset);
                let runs = runs.iter().filter(|run| (run.work, run.delivery, run.preset) == wanted);
                median(runs.map(|run| pick(&run.job)).collect())
            };
            let (seconds, cpu_seconds) = (of(|job| job.seconds), of(|job| job.cpu_seconds));
            let (events_a_second, delivery) = (rate(seconds), format!("{delivery:?}"));
            println!("{preset:<14}{delivery:<14}{events_a_second:>12.0}{:>12.2}", cpu(cpu_seconds));
        }
    }
}

/// Of an even number the greater one in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
