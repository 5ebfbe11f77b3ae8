//! What was measured, beside the targets: a table for people, JSON lines for programs.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::contestant::{Contestant, Measured, On, What};
use crate::hot::Hot;
use crate::input::Input;
use crate::machine::{self, Machine};
use crate::{BOUND_1, BOUND_2, DECODE, DEFERRED_1, DEFERRED_2, INDEPENDENT, Result, STREAMING_1, STREAMING_2};

/// What a job may take of memory beyond the budget of its state.
const BEYOND_BUDGET_MAX: f64 = 150.0;

/// The largest factor by which a hot referent may slow others down.
const SLOWER_MAX: f64 = 10.0;

const MIB: f64 = (1u64 << 20) as f64;

/// One run of one contestant.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) round: u64,
    pub(crate) contestant: Contestant,
    pub(crate) events: u64,
    #[serde(flatten)]
    pub(crate) measured: Measured,
}

impl Run {
    fn rate(&self) -> f64 {
        self.events as f64 / self.measured.seconds
    }

    fn cpu_per_million(&self) -> f64 {
        self.measured.cpu_seconds / self.events as f64 * 1e6
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, peak) = (self.measured.seconds, self.measured.peak_bytes as f64 / MIB);
        write!(f, "{:<34} {:>9.0} events/s, {seconds:.2} s, peak {peak:.0} MiB", self.contestant, self.rate())
    }
}

/// The median of some numbers, and between what they are.
#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// Of nothing all is NaN: no target is met by it.
    fn of(numbers: impl Iterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = numbers.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let (half, last) = (sorted.len() / 2, sorted.len().saturating_sub(1));
        let median = if sorted.len() % 2 == 1 { at(half) } else { (at(half.saturating_sub(1)) + at(half)) / 2.0 };
        Spread { median, least: at(0), most: at(last) }
    }
}

/// What is asked for, and what was found.
#[derive(Debug, Serialize)]
struct Target {
    what: String,
    /// `>=` or `<=`
    relation: &'static str,
    wanted: f64,
    found: Spread,
    /// The same by CPU seconds per event instead of time, where that can be said.
    by_cpu: Option<Spread>,
    met: bool,
}

impl Target {
    fn at_least(wanted: f64, what: String, found: Spread, by_cpu: Option<Spread>) -> Target {
        Target { what, relation: ">=", wanted, found, by_cpu, met: found.median >= wanted }
    }

    /// Holds for the worst of the runs.
    fn at_most(wanted: f64, what: String, found: Spread) -> Target {
        Target { what, relation: "<=", wanted, found, by_cpu: None, met: found.most <= wanted }
    }
}

/// Everything that was measured in one sitting.
pub(crate) struct Sitting {
    pub(crate) machine: Machine,
    pub(crate) load_before: f64,
    pub(crate) plain: Input,
    pub(crate) large: Input,
    pub(crate) runs: Vec<Run>,
    pub(crate) hot: Vec<Hot>,
}

impl Sitting {
    fn runs_of(&self, contestant: Contestant) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.contestant == contestant)
    }

    /// How much faster one is than another, round by round; and by CPU seconds per event.
    fn ratios(&self, one: Contestant, other: Contestant) -> (Vec<f64>, Vec<f64>) {
        let pairs = || self.runs_of(one).zip(self.runs_of(other));
        let rates = pairs().map(|(one, other)| one.rate() / other.rate());
        let cpu = pairs().map(|(one, other)| other.cpu_per_million() / one.cpu_per_million());
        (rates.collect(), cpu.collect())
    }

    fn targets(&self) -> Vec<Target> {
        let ratio = |wanted, one: Contestant, other: Contestant| {
            let (rates, cpu) = self.ratios(one, other);
            let (rates, cpu) = (Spread::of(rates.into_iter()), Spread::of(cpu.into_iter()));
            Target::at_least(wanted, format!("{one} / {other}"), rates, Some(cpu))
        };
        let on_large = |contestant: Contestant| Contestant { on: On::Large, ..contestant };
        let mut targets = vec![ratio(0.75, STREAMING_1, BOUND_1), self.scaling()];
        for (deferred, streaming) in [(DEFERRED_1, STREAMING_1), (DEFERRED_2, STREAMING_2)] {
            targets.push(ratio(0.5, deferred, streaming));
        }
        for (deferred, streaming) in [(DEFERRED_1, STREAMING_1), (DEFERRED_2, STREAMING_2)] {
            let ample = Contestant { on: On::Ample, ..deferred };
            let (deferred, streaming) = (on_large(deferred), on_large(streaming));
            targets.push(ratio(0.5, deferred, ample));
            targets.push(ratio(0.25, deferred, streaming));
            let runs = || self.runs_of(deferred).map(|run| &run.measured);
            let memory = self.large.small_memory() as f64;
            // What is kept is all referents; their size in memory and what is on disk, the lesser.
            let state = Spread::of(runs().map(|run| run.state_bytes.min(self.large.referent_bytes) as f64 / memory));
            targets.push(Target::at_least(10.0, format!("{deferred}: state / memory"), state, None));
            let beyond = Spread::of(runs().map(|run| (run.peak_bytes as f64 - memory) / MIB));
            let what = format!("{deferred}: MiB resident beyond the budget");
            targets.push(Target::at_most(BEYOND_BUDGET_MAX, what, beyond));
        }
        targets.push(ratio(0.8, INDEPENDENT, DECODE));
        for hot in &self.hot {
            let what = format!("{}: p99 of others, drain / usual", hot.contestant);
            targets.push(Target::at_most(
                SLOWER_MAX,
                what,
                Spread::of([hot.during.p99_ms / hot.usual.p99_ms].into_iter()),
            ));
        }
        // Of what did not run.
        targets.retain(|target| !target.found.median.is_nan());
        targets
    }

    /// What a second worker brings, relative to what a second thread brings to the bound.
    fn scaling(&self) -> Target {
        let ((ours, our_cpu), (bound, bound_cpu)) =
            (self.ratios(STREAMING_2, STREAMING_1), self.ratios(BOUND_2, BOUND_1));
        let relative = |ours: Vec<f64>, bound: Vec<f64>| Spread::of(ours.into_iter().zip(bound).map(|(a, b)| a / b));
        let what = "streaming, w2 / w1, relative to the bound's own".to_owned();
        Target::at_least(0.9, what, relative(ours, bound), Some(relative(our_cpu, bound_cpu)))
    }

    /// The table for people.
    pub(crate) fn print(&self) {
        let machine = &self.machine;
        println!("\n{}, {} cores, {:.0} GiB", machine.cpu, machine.cores, machine.memory_bytes as f64 / MIB / 1024.0);
        let optimized = if machine.optimized { ", optimized for how it ran" } else { "" };
        println!("kernel {}, {}, commit {}{optimized}", machine.kernel, machine.rustc, machine.commit);
        println!("load {:.2} before, {:.2} after (the benchmark's own)", self.load_before, machine::load());
        for (name, input) in [("input", &self.plain), ("large input", &self.large)] {
            let (whole, referents) = (input.bytes as f64 / MIB, input.referent_bytes as f64 / MIB);
            println!("{name}: {} events, {whole:.0} MiB, of them referents {referents:.0} MiB", input.events);
        }
        println!("memory where the state outgrows it: {} MiB", self.large.small_memory() >> 20);
        println!(
            "\n{:<34} {:>9} {:>19} {:>9} {:>9} {:>9} {:>7}",
            "", "events/s", "least to most", "CPU s/M", "peak MiB", "disk MiB", "others"
        );
        let mut shown = Vec::new();
        for run in &self.runs {
            if !shown.contains(&run.contestant) {
                shown.push(run.contestant);
                self.print_contestant(run.contestant);
            }
        }
        println!("others: cores that other processes were using meanwhile, at worst");
        for hot in &self.hot {
            let (usual, during) = (&hot.usual, &hot.during);
            println!(
                "\n{}: {} dependents drained in {:.2} s, peak {:.0} MiB, beside {} records/s\n  \
                 latency of others in ms: usually p50 {:.1}, p99 {:.1}, max {:.1} ({} events); \
                 during the drain p50 {:.1}, p99 {:.1}, max {:.1} ({} events)",
                hot.contestant,
                hot.dependents,
                hot.drain_seconds,
                hot.peak_bytes as f64 / MIB,
                hot.rate,
                usual.p50_ms,
                usual.p99_ms,
                usual.max_ms,
                usual.events,
                during.p50_ms,
                during.p99_ms,
                during.max_ms,
                during.events,
            );
        }
        self.print_targets();
    }

    fn print_contestant(&self, contestant: Contestant) {
        let rate = Spread::of(self.runs_of(contestant).map(Run::rate));
        let cpu = Spread::of(self.runs_of(contestant).map(Run::cpu_per_million));
        let most = |number: fn(&Measured) -> f64| {
            self.runs_of(contestant).map(|run| number(&run.measured)).fold(0.0, f64::max)
        };
        println!(
            "{:<34} {:>9.0} {:>9.0} {:>9.0} {:>9.3} {:>9.0} {:>9.0} {:>7.2}",
            contestant,
            rate.median,
            rate.least,
            rate.most,
            cpu.median,
            most(|run| run.peak_bytes as f64) / MIB,
            most(|run| run.state_bytes as f64) / MIB,
            most(|run| run.cores_of_others),
        );
    }

    fn print_targets(&self) {
        println!(
            "\n{:<66} {:>8} {:>8} {:>17} {:>7}",
            "target (ratios of the same round)", "wanted", "median", "least to most", "by CPU"
        );
        for target in self.targets() {
            let Target { what, relation, wanted, found, by_cpu, met } = target;
            let by_cpu = by_cpu.map_or(String::new(), |cpu| format!("{:.2}", cpu.median));
            println!(
                "{what:<66} {:>8} {:>8.2} {:>8.2} {:>8.2} {by_cpu:>7}  {}",
                format!("{relation} {wanted}"),
                found.median,
                found.least,
                found.most,
                if met { "met" } else { "not met" }
            );
        }
    }

    /// Writes the JSON lines into `directory`; returns their file.
    pub(crate) fn write(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join(format!("speed-{}.jsonl", Timestamp::now().strftime("%Y%m%dT%H%M%SZ")));
        let mut file = File::create(&path)?;
        let load = json!({ "before": self.load_before, "after": machine::load() });
        let about = json!({ "machine": self.machine, "load": load, "plain": self.plain, "large": self.large,
            "small_memory": self.large.small_memory() });
        writeln!(file, "{about}")?;
        for run in &self.runs {
            writeln!(file, "{}", json!({ "run": run }))?;
        }
        for hot in &self.hot {
            writeln!(file, "{}", json!({ "hot": hot }))?;
        }
        for target in self.targets() {
            writeln!(file, "{}", json!({ "target": target }))?;
        }
        Ok(path)
    }
}

/// The contestants on the plain input, in the order in which they take turns.
pub(crate) const PLAIN: [Contestant; 8] =
    [DECODE, INDEPENDENT, BOUND_1, STREAMING_1, DEFERRED_1, BOUND_2, STREAMING_2, DEFERRED_2];

/// The contestants on the large input.
pub(crate) const LARGE: [Contestant; 6] = [
    Contestant::new(What::Streaming, 1, On::Large),
    Contestant::new(What::Deferred, 1, On::Ample),
    Contestant::new(What::Deferred, 1, On::Large),
    Contestant::new(What::Streaming, 2, On::Large),
    Contestant::new(What::Deferred, 2, On::Ample),
    Contestant::new(What::Deferred, 2, On::Large),
];
