//! The report as one page: nothing of it comes from elsewhere.

use std::fmt::Write;

use serde_json::Value;

use super::advice::{advice, rule};
use super::charts::{self, CLOSE_SECONDS};
use super::results::{About, Results};
use super::series::Series;
use super::setting::{Axis, Mode};
use super::svg::{Chart, escaped};
use super::table::{Table, tables};
use super::text;

const STYLE: &str = include_str!("page.css");

/// The whole page. Writing to a string cannot fail.
pub(crate) fn page(results: &Results) -> String {
    let about = &results.about;
    let mut out = String::new();
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Resolvent: the modes compared</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>What a dependency costs, and what each way of waiting buys</h1>\n"
    );
    let _ = writeln!(out, "<p class=\"soft\">{}</p>", escaped(&origin(about)));
    warnings(results, &mut out);
    section("What to take", &mut out);
    let _ = writeln!(out, "<ul>");
    for sentence in advice(results) {
        let _ = writeln!(out, "<li>{}</li>", escaped(&sentence));
    }
    let _ = writeln!(out, "</ul>\n<p class=\"soft\">{}</p>", escaped(&rule(results)));
    curves(results, &mut out);
    crashes(&results.series, &mut out);
    section("All numbers", &mut out);
    let _ =
        writeln!(out, "<p class=\"soft\">Medians of the repetitions. Latency counts from when a record was due.</p>");
    tables(results).iter().for_each(|table| rows(table, &mut out));
    setup(about, &mut out);
    out.push_str("</body>\n</html>\n");
    out
}

fn section(title: &str, out: &mut String) {
    let _ = writeln!(out, "<h2>{}</h2>", escaped(title));
}

/// When and where, on one line.
pub(crate) fn origin(about: &About) -> String {
    let text = |key: &str| about.machine.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    let number = |key: &str| about.machine.get(key).and_then(Value::as_u64).unwrap_or(0);
    let memory = text::bytes(number("memory_bytes") as f64);
    format!(
        "{}, {}; {}, {} cores, {memory}, kernel {}; {}, {}",
        about.began,
        checkout(&about.machine),
        text("cpu"),
        number("cores"),
        text("kernel"),
        text("rustc"),
        about.build
    )
}

/// The commit of the checkout, which may be another than that of an older build.
fn checkout(machine: &Value) -> String {
    let commit = machine.get("commit").and_then(Value::as_str).filter(|commit| !commit.is_empty());
    commit.map_or("built outside of a checkout".to_owned(), |commit| format!("checkout at commit {commit}"))
}

fn warnings(results: &Results, out: &mut String) {
    let warnings = results.warnings();
    if warnings.is_empty() {
        return;
    }
    let _ = writeln!(out, "<div class=\"warnings\"><strong>These numbers are noisy.</strong><ul>");
    for warning in warnings {
        let _ = writeln!(out, "<li>{}</li>", escaped(&warning));
    }
    let _ = writeln!(out, "</ul></div>");
}

fn figure(chart: &Chart, caption: &str, out: &mut String) {
    let _ = writeln!(out, "<figure>{}<figcaption>{}</figcaption></figure>", chart.render(), escaped(caption));
}

fn curves(results: &Results, out: &mut String) {
    section("Latency, throughput and memory", out);
    out.push_str("<div class=\"charts\">\n");
    let bound = text::micros(results.about.bound_seconds * 1e6);
    figure(
        &charts::latency(results),
        &format!(
            "From the arrival of the last referent to the outcome. Ringed: the highest rate that is sustained, with p99 within {bound} and no backlog; \
             without a ring it was not searched, or the generator was the limit. Crossed: the generator was the bottleneck."
        ),
        out,
    );
    let pictures = [
        (
            charts::throughput(results, Axis::Dependents),
            "The highest sustained rate, by the share of events that refer to others. Open, with an arrow: at least so much; the generator was the limit, or nothing \
             was searched.",
        ),
        (
            charts::throughput(results, Axis::Disorder),
            "The highest sustained rate, by disorder. Open, with an arrow: at least so much.",
        ),
        (
            charts::memory(results, Axis::Disorder),
            "The most memory that the process held, by disorder. It holds the referents of one short run: it grows with what there is to remember.",
        ),
    ];
    for (chart, caption) in pictures {
        if let Some(chart) = chart {
            figure(&chart, caption, out);
        }
    }
    out.push_str("</div>\n");
    if results.found.is_empty() {
        let quick = if results.about.quick { " (a quick run)" } else { "" };
        let _ = writeln!(
            out,
            "<p class=\"soft\">Nothing was searched{quick}: what is sustained is at least the highest rate that was kept up with.</p>"
        );
    }
}

fn crashes(all: &[Series], out: &mut String) {
    if all.is_empty() {
        return;
    }
    section("A crash and the recovery from it", out);
    let _ = writeln!(
        out,
        "<p class=\"soft\">Records are written to the job's file at a constant rate, whether it reads them or not.</p>"
    );
    for series in all {
        let Series { mode, rate, killed_seconds, started_again_seconds, ready_seconds, .. } = series;
        let caught_up = series.caught_up_seconds(CLOSE_SECONDS);
        let caught_up = caught_up.map_or("was not caught up with".to_owned(), |at| {
            format!("was caught up with {:.1} s after that", (at - started_again_seconds.max(*ready_seconds)).max(0.0))
        });
        let _ = writeln!(
            out,
            "<p>{mode}: killed (SIGKILL) at {killed_seconds:.1} s, started again at {started_again_seconds:.1} s, ready {:.1} s later; what had piled up at {} \
             records/s {caught_up}. Every outcome was there once.</p><div class=\"charts\">",
            (ready_seconds - started_again_seconds).max(0.0),
            text::short(*rate as f64),
        );
        let [resolved, behind] = charts::crash(series);
        figure(&resolved, "Outcomes that the sink took.", out);
        figure(&behind, "For how long the next record to be read has been due.", out);
        out.push_str("</div>\n");
    }
}

fn rows(table: &Table, out: &mut String) {
    let _ = writeln!(out, "<details open><summary>{}</summary><table><thead><tr>", escaped(table.title));
    for column in table.columns {
        let _ = write!(out, "<th>{}</th>", escaped(column));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for (column, cell) in table.columns.iter().zip(row) {
            let _ = write!(out, "<td data-label=\"{}\">{}</td>", escaped(column), escaped(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></details>\n");
}

fn setup(about: &About, out: &mut String) {
    section("How it was measured", out);
    let facts = [
        ("Base", about.base.describe()),
        ("Settings compared at", format!("{} records/s", text::short(about.at as f64))),
        (
            "A point",
            format!(
                "a process of its own, {} s of records, the state on a disk, outcomes built, checked by their checksum and discarded",
                about.seconds
            ),
        ),
        ("Items refer to", format!("one of the latest {}", text::count(about.reach))),
        (Mode::StreamingDefer.as_str(), format!("waits {} in memory, then for ever in the state", about.wait)),
        (
            Mode::StreamingChanges.as_str(),
            "emit = \"changes\": results follow later corrections, and are told at the end of an epoch of 100 ms"
                .to_owned(),
        ),
        (
            "In the CPU seconds",
            format!("{:.2} s for a million records are for making them", about.making_seconds_per_million),
        ),
        ("Outcomes", "of every run equal those of the reference resolver, by count and checksum".to_owned()),
        ("Seed", about.seed.to_string()),
    ];
    out.push_str("<dl>\n");
    for (name, fact) in facts {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(&fact));
    }
    out.push_str("</dl>\n");
}

#[cfg(test)]
mod tests {
    use super::super::results::samples::{found, results, run};
    use super::super::series::Sample;
    use super::super::setting::{BASE, Setting};
    use super::*;

    fn sitting() -> Results {
        let shuffled = Setting { disorder: 50_000, ..BASE };
        let mut runs = Vec::new();
        for mode in Mode::ALL {
            runs.extend([run(mode, BASE, 40_000, 3, 50), run(mode, shuffled, 40_000, 5, 90)]);
        }
        let mut results = results(runs, Mode::ALL.map(|mode| found(mode, shuffled, 80_000)).to_vec());
        let sample = |at: u64| Sample {
            seconds: at as f64,
            read: Some(if at == 4 { 3_000 } else { at * 1_000 }),
            resolved: Some(at * 900),
            waiting: Some(1),
        };
        results.series.push(Series {
            mode: Mode::Deferred,
            setting: BASE,
            rate: 1_000,
            records: 9_000,
            killed_seconds: 3.0,
            started_again_seconds: 3.5,
            ready_seconds: 3.75,
            samples: (0..10).map(sample).collect(),
        });
        results
    }

    #[test]
    fn the_page_is_whole_and_asks_nobody() {
        let page = page(&sitting());
        assert_eq!(
            page.matches("<svg class=\"wide\"").count(),
            5,
            "curve, throughput and memory by disorder, two of the crash"
        );
        for elsewhere in ["http:", "https:", "<script", "<link", "url(", "@import", "src="] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
        for tag in ["svg", "figure", "table", "div", "details", "ul", "g"] {
            let (open, closed) = (
                page.matches(&format!("<{tag} ")).count() + page.matches(&format!("<{tag}>")).count(),
                page.matches(&format!("</{tag}>")).count(),
            );
            assert_eq!(open, closed, "{tag}");
        }
        for part in [
            "A &lt;CPU&gt;, 2 cores, 16 GiB",
            "At disorder 50,000 and 40k records/s take",
            "viewport",
            "prefers-color-scheme: dark",
            "@media print",
            // Of the 1.5 seconds from the start on the first quarter went by before it was ready.
            "was caught up with 1.2 s after that",
            "How it is chosen: of the modes that keep up (p99 of completion latency within 200 ms",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn noise_is_told_first() {
        let mut noisy = sitting();
        assert!(!page(&noisy).contains("noisy."));
        noisy.about.load_before = 3.0;
        assert!(page(&noisy).contains("the load was 3.00 before anything ran"));
    }

    #[test]
    fn where_nothing_was_searched_that_is_said() {
        let mut sitting = sitting();
        assert!(!page(&sitting).contains("Nothing was searched"));
        sitting.found.clear();
        assert!(page(&sitting).contains("Nothing was searched: what"));
        sitting.about.quick = true;
        assert!(page(&sitting).contains("Nothing was searched (a quick run)"));
    }

    #[test]
    fn the_checkout_is_named_where_there_is_one() {
        let mut sitting = sitting();
        assert!(origin(&sitting.about).contains("Z, checkout at commit abc; A <CPU>"));
        sitting.about.machine["commit"] = "".into();
        assert!(origin(&sitting.about).contains("Z, built outside of a checkout; A <CPU>"));
    }
}
