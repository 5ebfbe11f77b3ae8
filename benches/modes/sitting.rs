//! One sitting: the plan, carried out. What is measured is written down at once.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::arguments::Arguments;
use super::crash::Crash;
use super::machine::{self, Machine};
use super::pure::compare::searches::is_to_be_searched_again;
use super::pure::job::Common;
use super::pure::plan::{is_searched, records};
use super::pure::results::{About, Found, Line, Point, Results, Run};
use super::pure::search::{Search, Tried};
use super::pure::setting::{Arrivals, Mode, Setting};
use super::pure::text;
use super::reference::{Input, STEP, Truth};
use super::{Result, launch, say};

/// The modes of which a crash is shown: streaming+defer recovers as streaming does, streaming+changes from the state instead of the input.
const CRASHED: [Mode; 3] = [Mode::Streaming, Mode::StreamingChanges, Mode::Deferred];

/// How close a search comes to the highest sustained rate, in the base and elsewhere.
const CLOSE: f64 = 1.1;
const CLOSE_ENOUGH: f64 = 1.25;

/// What achieves less than this part of its rate does not keep up, and not by chance.
const BY_CHANCE: f64 = 0.85;

/// References that are computed at a time.
const AT_A_TIME: usize = 2;

pub(crate) struct Sitting<'a> {
    arguments: &'a Arguments,
    common: Common,
    settings: Vec<Setting>,
    base: Setting,
    truths: Vec<Truth>,
    scratch: &'a Path,
    file: File,
    results: Results,
}

impl<'a> Sitting<'a> {
    /// Computes the right answers for all that is to be measured. Numbers go to a new file, line by line.
    pub(crate) fn new(arguments: &'a Arguments, scratch: &'a Path, file: &Path) -> Result<Sitting<'a>> {
        let load_before = machine::load();
        let axes = arguments.axes();
        let base = axes.base().ok_or("an axis has no value")?;
        let (settings, common) = (axes.settings(arguments.cross), arguments.common());
        let truths = truths(arguments, &settings, &base, &common, scratch)?;
        let of_base = truths.iter().find(|truth| truth.is_of(&base));
        let about = About {
            began: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            quick: arguments.quick,
            machine: serde_json::to_value(Machine::here())?,
            build: build(),
            load_before,
            base,
            at: arguments.at,
            bound_seconds: arguments.bound as f64 / 1000.0,
            seconds: arguments.seconds(),
            reach: common.reach,
            seed: common.seed,
            wait: common.wait.clone(),
            making_seconds_per_million: of_base.map_or(0.0, Truth::making_seconds_per_million),
        };
        let results = Results { about, runs: Vec::new(), found: Vec::new(), series: Vec::new() };
        // Not before there is something to write.
        let file = File::create(file)?;
        let mut sitting = Sitting { arguments, common, settings, base, truths, scratch, file, results };
        sitting.keep(&Line::About(Box::new(sitting.results.about.clone())))?;
        Ok(sitting)
    }

    /// Measures everything. What comes out lower than in an earlier sitting is searched again.
    ///
    /// # Errors
    ///
    /// At the first wrong answer, and where a job cannot be run.
    pub(crate) fn run(mut self, old: Option<&Results>) -> Result<Results> {
        self.curves()?;
        let settings = self.settings.clone();
        for setting in settings {
            for mode in self.arguments.modes.clone() {
                self.compare_at(mode, setting)?;
                if !self.arguments.quick && is_searched(&setting, &self.base, self.arguments.cross) {
                    let guess = self.results.sustained(mode, &self.base).map(|(rate, _)| rate);
                    self.search(mode, setting, self.known(mode, setting), guess.unwrap_or(self.arguments.at))?;
                }
            }
        }
        if let Some(old) = old {
            self.search_again(old)?;
        }
        if !self.arguments.no_crash {
            for mode in CRASHED.into_iter().filter(|mode| self.arguments.modes.contains(mode)) {
                self.crash(mode)?;
            }
        }
        Ok(self.results)
    }

    /// The base at every rate, each mode up to the first that it does not keep up with. Modes take turns, so that what the machine does in the long run
    /// is the same for all.
    fn curves(&mut self) -> Result<()> {
        let mut beyond: Vec<(Mode, u64)> = Vec::new();
        for round in 1..=self.arguments.repetitions() {
            for rate in self.arguments.rates() {
                for mode in self.arguments.modes.clone() {
                    if beyond.iter().any(|(other, limit)| *other == mode && rate > *limit) {
                        continue;
                    }
                    let run = self.measure(Point { mode, setting: self.base, rate }, round, false)?;
                    if round == 1 && run.tried(self.results.about.bound_seconds) != Tried::Sustained {
                        beyond.push((mode, rate));
                    }
                }
            }
        }
        Ok(())
    }

    /// The rate at which settings are compared, once, unless that was measured already.
    fn compare_at(&mut self, mode: Mode, setting: Setting) -> Result<()> {
        let point = Point { mode, setting, rate: self.arguments.at };
        // A quick sitting has settings besides the base only where the command line names them.
        let is_wanted = !self.arguments.quick || self.settings.len() > 1;
        if is_wanted && !self.results.runs.iter().any(|run| run.point == point) {
            self.measure(point, 1, false)?;
        }
        Ok(())
    }

    /// What the measurements so far say about the highest sustained rate.
    fn known(&self, mode: Mode, setting: Setting) -> Search {
        let bound = self.results.about.bound_seconds;
        let mut search = Search::new();
        let mut known: Vec<&Run> =
            self.results.runs.iter().filter(|run| run.point.mode == mode && run.point.setting == setting).collect();
        // What was sustained once counts more than what was not.
        known.sort_by_key(|run| run.tried(bound) == Tried::Sustained);
        known.iter().for_each(|run| search.take_in(run.point.rate, run.tried(bound)));
        if setting != self.base && search.not_sustained.is_none() {
            // The base's rate, at which the search begins then, is nearer than the one that was measured.
            search.sustained = None;
        }
        search
    }

    /// Searches what came out lower than before once more, all of it in turns, until it does not, or often enough.
    fn search_again(&mut self, old: &Results) -> Result<()> {
        loop {
            let mut lower = Vec::new();
            for (mode, setting) in self.results.searched() {
                let (before, now) = (old.best_search(mode, &setting), self.results.best_search(mode, &setting));
                if let Some(((before, _), now)) =
                    before.zip(now).filter(|((before, _), now)| is_to_be_searched_again(before, now))
                {
                    lower.push((mode, setting, before, now.0));
                }
            }
            if lower.is_empty() {
                return Ok(());
            }
            for (mode, setting, before, now) in lower {
                say(format_args!("{mode}, {}: lower than before, searched again", setting.name(&self.base)));
                // That a rate was not sustained may have been chance, and is to be seen again.
                let known = Search { sustained: now.sustained, ..Search::new() };
                self.search(mode, setting, known, before.sustained.unwrap_or(self.arguments.at))?;
            }
        }
    }

    /// Searches the highest sustained rate, beginning with what is known, or at `guess` where that is nothing. A rate that is just not sustained is tried
    /// once more: chance makes a rate look too high, hardly ever too low.
    fn search(&mut self, mode: Mode, setting: Setting, known: Search, guess: u64) -> Result<()> {
        let (bound, mut search) = (self.results.about.bound_seconds, known);
        let close = if setting == self.base { CLOSE } else { CLOSE_ENOUGH };
        while let Some(rate) = search.next(guess, close) {
            let point = Point { mode, setting, rate };
            let first = self.measure(point, 1, true)?;
            let mut tried = first.tried(bound);
            if tried != Tried::Sustained && first.achieved() > rate as f64 * BY_CHANCE {
                tried = self.measure(point, 2, true)?.tried(bound);
            }
            search.take_in(rate, tried);
        }
        let found = Found { mode, setting, search };
        self.keep(&Line::Found(found))?;
        self.results.found.push(found);
        Ok(())
    }

    fn measure(&mut self, point: Point, round: u64, probe: bool) -> Result<Run> {
        let count = records(point.rate, self.arguments.seconds(), self.arguments.records_max, STEP);
        let run = Run { round, probe, ..launch::measure(point, count, &self.common, self.scratch)? };
        self.truth(&point.setting)?.check(&run)?;
        say(progress(&run, &self.results.about));
        self.keep(&Line::Run(Box::new(run.clone())))?;
        self.results.runs.push(run.clone());
        Ok(run)
    }

    fn crash(&mut self, mode: Mode) -> Result<()> {
        say(format_args!("{mode}: a crash and the recovery from it"));
        let count = crash_records(self.arguments);
        // Whatever the arrivals of the base are: who writes the file does so at a constant rate.
        let setting = Setting { arrivals: Arrivals::Constant, ..self.base };
        let crash = Crash { mode, setting, rate: self.arguments.at, records: count, common: &self.common };
        let series = crash.run(self.truth(&self.base)?, self.scratch)?;
        self.keep(&Line::Series(series.clone()))?;
        self.results.series.push(series);
        Ok(())
    }

    fn truth(&self, setting: &Setting) -> Result<&Truth> {
        self.truths.iter().find(|truth| truth.is_of(setting)).ok_or_else(|| "no reference for a setting".into())
    }

    fn keep(&mut self, line: &Line) -> Result<()> {
        Ok(writeln!(self.file, "{}", serde_json::to_string(line)?)?)
    }
}

/// The most records that any point of a setting may have.
fn records_at_most(arguments: &Arguments, setting: &Setting, base: &Setting) -> u64 {
    let of = |rate| records(rate, arguments.seconds(), arguments.records_max, STEP);
    let is_base = setting == base;
    let searched = if is_searched(setting, base, arguments.cross) && !arguments.quick { u64::MAX } else { 0 };
    let highest = arguments.rates().last().copied().filter(|_| is_base).unwrap_or(0);
    let crash = if is_base && !arguments.no_crash { crash_records(arguments) } else { 0 };
    of(searched.max(highest).max(arguments.at)).max(crash)
}

fn crash_records(arguments: &Arguments) -> u64 {
    records(arguments.at, arguments.crash_seconds() as f64, u64::MAX, STEP)
}

/// What is right for every setting, each input computed once.
fn truths(
    arguments: &Arguments,
    settings: &[Setting],
    base: &Setting,
    common: &Common,
    scratch: &Path,
) -> Result<Vec<Truth>> {
    let mut inputs: Vec<(Input, u64)> = Vec::new();
    for setting in settings {
        let (input, records) = (Input::of(setting), records_at_most(arguments, setting, base));
        match inputs.iter_mut().find(|(other, _)| *other == input) {
            Some((_, most)) => *most = records.max(*most),
            None => inputs.push((input, records)),
        }
    }
    let all = inputs.iter().map(|(_, records)| records).sum();
    say(format_args!("computing the right answers for {} records of {} kinds", text::count(all), inputs.len()));
    let mut truths = Vec::new();
    for some in inputs.chunks(AT_A_TIME) {
        let computed: Vec<Result<Truth>> = std::thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|(input, records)| scope.spawn(|| Truth::of(*input, common, *records, scratch)))
                .collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
                .collect()
        });
        for truth in computed {
            truths.push(truth?);
        }
    }
    Ok(truths)
}

/// How the jobs were compiled, as far as that can be told here: with the same profile as this program.
fn build() -> String {
    let assertions = if cfg!(debug_assertions) { ", with debug assertions" } else { "" };
    let optimized = if machine::OPTIMIZED { ", optimized for how it ran" } else { "" };
    format!("profile bench (release){optimized}{assertions}, {}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

fn progress(run: &Run, about: &About) -> String {
    let Run { point, .. } = run;
    let marks = match run.tried(about.bound_seconds) {
        Tried::Sustained => "",
        Tried::NotSustained => "  does not keep up",
        Tried::GeneratorBound => "  generator-bound",
    };
    format!(
        "{:<18} {:<28} {:>6}/s  achieved {:>6}/s  completion p99 {:>8}{}{marks}",
        point.mode,
        point.setting.name(&about.base),
        text::short(point.rate as f64),
        text::short(run.achieved()),
        text::micros(run.completion_p99_us()),
        if run.probe { "  (search)" } else { "" }
    )
}
