//! What was measured, as tables: cells that the terminal and the page both show.

use super::results::{Point, Quantiles, Results, Run};
use super::search::Tried;
use super::setting::Mode;
use super::statistics::Spread;
use super::text;

/// A table for people.
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Vec<String>>,
}

const RESOURCES: &[&str] = &[
    "mode",
    "setting",
    "offered/s",
    "achieved/s",
    "CPU s/M",
    "least to most",
    "memory peak",
    "waiting peak",
    "state written",
    "amplified",
    "disk read, written",
    "runs",
    "",
];

const LATENCIES: &[&str] =
    &["mode", "setting", "offered/s", "latency", "p50", "p90", "p99", "least to most", "p99.9", "max", ""];

/// From the fifth to the last but one these are the parts of `resolvent_memory_bytes`.
const MEMORY: &[&str] = &[
    "mode",
    "setting",
    "offered/s",
    "resident",
    "referents",
    "waiting",
    "cache",
    "claims",
    "queues",
    "graph",
    "state_block_cache",
    "state_memtables",
    "",
];

const SUSTAINED: &[&str] = &["mode", "setting", "sustained/s", "not sustained/s", "searches", ""];

/// All tables of a sitting.
pub(crate) fn tables(results: &Results) -> Vec<Table> {
    let points = results.points(false);
    let mut tables = vec![
        Table {
            title: "Rates and resources",
            columns: RESOURCES,
            rows: points.iter().map(|(point, runs)| resources(results, point, runs)).collect(),
        },
        Table {
            title: "Latencies",
            columns: LATENCIES,
            rows: points.iter().flat_map(|(point, runs)| latencies(results, point, runs)).collect(),
        },
        Table {
            title: "Memory, peaks by part",
            columns: MEMORY,
            rows: points.iter().map(|(point, runs)| memory(results, point, runs)).collect(),
        },
    ];
    if !results.found.is_empty() {
        tables.push(Table { title: "Highest sustained rates", columns: SUSTAINED, rows: sustained(results) });
    }
    tables
}

fn head(results: &Results, point: &Point) -> Vec<String> {
    let setting = point.setting.name(&results.about.base);
    vec![point.mode.to_string(), setting, text::short(point.rate as f64)]
}

fn resources(results: &Results, point: &Point, runs: &[&Run]) -> Vec<String> {
    let spread = |figure: &dyn Fn(&Run) -> Option<f64>| Spread::of(runs.iter().filter_map(|run| figure(run)));
    let median = |figure: &dyn Fn(&Run) -> Option<f64>, show: fn(f64) -> String| {
        spread(figure).map_or("-".to_owned(), |spread| show(spread.median))
    };
    let cpu = spread(&Run::cpu_seconds_per_million);
    let disk: [fn(&Run) -> Option<u64>; 2] = [|run| run.summary.disk_bytes_read, |run| run.summary.disk_bytes_written];
    let disk = disk.map(|bytes| median(&|run| bytes(run).map(|bytes| bytes as f64), text::bytes)).join(", ");
    let mut row = head(results, point);
    row.extend([
        median(&|run| Some(run.achieved()), text::short),
        cpu.map_or("-".to_owned(), |cpu| text::short(cpu.median)),
        cpu.map_or("-".to_owned(), |cpu| format!("{} to {}", text::short(cpu.least), text::short(cpu.most))),
        median(&Run::memory_peak, text::bytes),
        median(&|run| Some(run.summary.waiting_peak as f64), text::short),
        median(&|run| Some(run.summary.state_io.bytes_written as f64), text::bytes),
        median(&Run::write_amplification, text::short),
        disk,
        runs.len().to_string(),
        mark(results, runs).to_owned(),
    ]);
    row
}

/// What was resident at most, and what of it each part had at most: not all at one time.
fn memory(results: &Results, point: &Point, runs: &[&Run]) -> Vec<String> {
    let show = |bytes: Option<Spread>| bytes.map_or("-".to_owned(), |bytes| text::bytes(bytes.median));
    let mut row = head(results, point);
    row.push(show(Spread::of(runs.iter().filter_map(|run| run.memory_peak()))));
    for part in MEMORY.iter().skip(row.len()).filter(|part| !part.is_empty()) {
        let bytes = runs.iter().filter_map(|run| run.summary.memory_parts_peak_bytes.get(*part));
        row.push(show(Spread::of(bytes.map(|bytes| *bytes as f64))));
    }
    row.push(mark(results, runs).to_owned());
    row
}

/// One kind of latency of a run.
type Latency = fn(&Run) -> Quantiles;

/// What the measurements of a point say, where that is not that the mode keeps up.
fn mark(results: &Results, runs: &[&Run]) -> &'static str {
    let count = |what: Tried| runs.iter().filter(|run| run.tried(results.about.bound_seconds) == what).count();
    match (count(Tried::GeneratorBound), count(Tried::NotSustained)) {
        (1.., _) => "generator-bound: not the mode's",
        (0, 0) => "",
        (0, failed) if failed == runs.len() => "does not keep up",
        (0, _) => "does not always keep up",
    }
}

fn latencies(results: &Results, point: &Point, runs: &[&Run]) -> Vec<Vec<String>> {
    let kinds: [(&str, Latency); 5] = [
        ("accept", |run| run.summary.latency.accept),
        ("resolve", |run| run.summary.latency.resolve),
        ("completion", |run| run.summary.latency.completion),
        ("visible", |run| run.summary.latency.visible),
        ("epoch commit", |run| run.summary.latency.epoch_commit),
    ];
    let row = |(name, of): &(&str, Latency)| {
        let found: Vec<Quantiles> = runs.iter().map(|run| of(run)).filter(|found| found.count > 0).collect();
        let median = |quantile: fn(&Quantiles) -> u64| {
            Some(text::micros(Spread::of(found.iter().map(|found| quantile(found) as f64))?.median))
        };
        let mut row = head(results, point);
        row.push((*name).to_owned());
        let p99 = Spread::of(found.iter().map(|found| found.p99_us as f64))?;
        row.extend([median(|q| q.p50_us)?, median(|q| q.p90_us)?, text::micros(p99.median)]);
        row.push(format!("{} to {}", text::micros(p99.least), text::micros(p99.most)));
        row.extend([median(|q| q.p999_us)?, median(|q| q.max_us)?, mark(results, runs).to_owned()]);
        Some(row)
    };
    kinds.iter().filter_map(row).collect()
}

fn sustained(results: &Results) -> Vec<Vec<String>> {
    let rate = |rate: Option<u64>| rate.map_or("-".to_owned(), |rate| text::short(rate as f64));
    let searched = results.searched();
    let of_mode = |mode: Mode| searched.iter().filter(move |(other, _)| *other == mode);
    let rows = Mode::ALL.into_iter().flat_map(of_mode).filter_map(|(mode, setting)| {
        let (search, searches) = results.best_search(*mode, setting)?;
        let note = if search.generator_bound { "the generator was the limit: at least" } else { "" };
        Some(vec![
            mode.to_string(),
            setting.name(&results.about.base),
            rate(search.sustained),
            rate(search.not_sustained),
            searches.to_string(),
            note.to_owned(),
        ])
    });
    rows.collect()
}

impl Table {
    /// For a terminal: columns as wide as what stands in them, a repeated head of a row left out.
    pub(crate) fn to_text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            let title = self.columns.get(column).map_or(0, |title| title.chars().count());
            cells.max().unwrap_or(0).max(title)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        // Names to the left, numbers to the right.
        let line = |cells: Vec<&str>| {
            let cells = cells.into_iter().zip(&widths).enumerate();
            let cells: Vec<String> = cells
                .map(|(at, (cell, width))| if at < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
                .collect();
            cells.join("  ").trim_end().to_owned() + "\n"
        };
        let mut text = format!("\n{}\n", self.title) + &line(self.columns.to_vec());
        for row in &self.rows {
            text += &line(row.iter().map(String::as_str).collect());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::samples::{found, results, run};
    use super::super::setting::BASE;
    use super::*;

    fn sitting() -> Results {
        let mut slow = run(Mode::Deferred, BASE, 40_000, 300, 60);
        slow.summary.memory_parts_peak_bytes = [("cache".to_owned(), 3 << 20), ("waiting".to_owned(), 1 << 20)].into();
        let runs = vec![run(Mode::Streaming, BASE, 40_000, 2, 50), run(Mode::Streaming, BASE, 40_000, 4, 52), slow];
        results(runs, vec![found(Mode::Streaming, BASE, 90_000)])
    }

    #[test]
    fn every_row_has_a_cell_for_every_column() {
        for table in tables(&sitting()) {
            assert!(!table.rows.is_empty(), "{}", table.title);
            table.rows.iter().for_each(|row| assert_eq!(row.len(), table.columns.len(), "{}: {row:?}", table.title));
        }
    }

    #[test]
    fn the_text_has_medians_and_marks() {
        let tables = tables(&sitting());
        let text: String = tables.iter().map(Table::to_text).collect();
        let has = |phrase: &str| assert!(text.contains(phrase), "{phrase}:\n{text}");
        has("does not keep up");
        has("2 ms to 4 ms");
        has("3 MiB");
        has("51 MiB");
        has("90k");
        let completion = tables[1].rows.iter().find(|row| row[0] == "streaming" && row[3] == "completion").unwrap();
        assert_eq!(completion[6], "3 ms", "the median of two");
        assert!(!tables[1].rows.iter().any(|row| row[3] == "accept"), "there was none");
    }

    #[test]
    fn what_the_generator_did_not_bring_is_marked() {
        let mut results = sitting();
        results.runs[0].summary.source_behind_seconds = 1.0;
        let tables = tables(&results);
        tables[..3].iter().for_each(|table| {
            assert_eq!(table.rows[0].last().unwrap(), "generator-bound: not the mode's", "{}", table.title);
        });
    }
}
