//! Two sittings beside each other: `--compare`.
//!
//! **What counts as a regression.** A figure of a point is worse where the ratio of its geometric means is worse by more than [`WORSE_BY`], and their
//! distance is more than [`ERRORS`] standard errors. A measurement's deviation is that of the point's own repetitions or that of all points together for
//! this figure, the greater. Where nothing was measured twice, nothing tells what is chance: then only what is worse by more than the factor [`BEYOND_DOUBT`]
//! counts, and no latency. Of highest sustained rates `searches` has the rule.
//!
//! What cannot be compared is told, with the reason. Where that is everything, the comparison failed.

mod points;
pub(crate) mod searches;

use std::fmt::Write;

use points::{BEYOND_DOUBT, ERRORS};
use searches::{ALONE, SEARCHES};

use super::results::{About, Results};

/// The part by which a figure must be worse.
const WORSE_BY: f64 = 0.1;

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    Better,
    Worse,
    /// As searches on the same code differ, too.
    Lower,
    Higher,
    /// There are no repetitions to tell from.
    NotJudged,
}

/// A figure of one point in both sittings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) figure: &'static str,
    pub(crate) old: String,
    pub(crate) new: String,
    /// New to old; none where one of them is nothing.
    pub(crate) ratio: Option<f64>,
    pub(crate) verdict: Verdict,
    /// Of a highest sustained rate: how often it was searched before and now.
    pub(crate) searches: Option<(usize, usize)>,
}

/// What could not be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) what: String,
    pub(crate) why: String,
}

/// Both sittings' figures, and what one of them lacks.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) rows: Vec<Row>,
    pub(crate) left: Vec<Left>,
}

pub(crate) fn compare(old: &Results, new: &Results) -> Comparison {
    let (mut rows, mut left) = searches::searches(old, new);
    let (of_points, left_of_points) = points::points(old, new);
    rows.extend(of_points);
    left.extend(left_of_points);
    Comparison { rows, left }
}

/// What else than the program differs between two sittings, so that their numbers may differ for that reason.
pub(crate) fn differences(old: &Results, new: &Results) -> Vec<String> {
    let facts = |about: &About| {
        let machine = |key: &str| about.machine.get(key).map_or("unknown".to_owned(), ToString::to_string);
        [
            ("the processor", machine("cpu")),
            ("the number of cores", machine("cores")),
            ("the kernel", machine("kernel")),
            ("the compiler", machine("rustc")),
            ("the build", about.build.clone()),
            ("the length of a point in seconds", about.seconds.to_string()),
            ("the bound in seconds", about.bound_seconds.to_string()),
            ("the reach of references", about.reach.to_string()),
            ("the seed", about.seed.to_string()),
            ("the wait before defer", about.wait.clone()),
        ]
    };
    let pairs = facts(&old.about).into_iter().zip(facts(&new.about));
    let differ = pairs.filter(|((_, old), (_, new))| old != new);
    differ.map(|((name, old), (_, new))| format!("{name} differs: {old} before, {new} now")).collect()
}

impl Comparison {
    fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// Whether anything is worse, or nothing at all could be compared.
    pub(crate) fn has_failed(&self) -> bool {
        self.rows.is_empty() || self.count(Verdict::Worse) > 0
    }

    /// For people.
    pub(crate) fn report(&self) -> String {
        let mut out = String::new();
        if !self.rows.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{:<58} {:<18} {:>9} {:>9} {:>7}", "point", "figure", "old", "new", "ratio");
        }
        for row in &self.rows {
            let Row { what, figure, old, new, .. } = row;
            let ratio = row.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            let _ = writeln!(out, "{what:<58} {figure:<18} {old:>9} {new:>9} {ratio:>7}{}", row.remark());
        }
        if !self.left.is_empty() {
            let _ = writeln!(out, "not compared:");
        }
        for Left { what, why } in &self.left {
            let _ = writeln!(out, "  {what}: {why}");
        }
        self.conclusions().iter().for_each(|sentence| out.push_str(&format!("{sentence}\n")));
        out
    }

    /// What it comes to, and by which rule; of the rules only those that were used.
    fn conclusions(&self) -> Vec<String> {
        let of = |verdict| self.rows.iter().filter(move |row| row.verdict == verdict);
        let all = self.rows.len();
        let worse = self.count(Verdict::Worse);
        let judged =
            [Verdict::Same, Verdict::Better, Verdict::Worse].map(|verdict| self.count(verdict)).iter().sum::<usize>();
        let mut sentences = Vec::new();
        if all == 0 {
            sentences.push("nothing could be compared: no figure is in both".to_owned());
        } else if worse > 0 {
            sentences.push(format!("{worse} of {all} figures are worse"));
        } else if judged == 0 {
            sentences.push(
                "nothing could be judged: nothing was measured twice in either sitting (--repetitions)".to_owned(),
            );
        } else {
            sentences.push(format!("nothing is significantly worse: {judged} of {all} figures were judged"));
        }
        if of(Verdict::Worse).any(|row| row.searches.is_none()) {
            sentences.push(format!(
                "worse is a figure of a point by more than {:.0} % and {ERRORS} standard errors, or without repetitions by a factor of {BEYOND_DOUBT}",
                WORSE_BY * 100.0
            ));
        }
        if of(Verdict::Worse).any(|row| row.searches.is_some()) {
            sentences.push(format!(
                "worse is a highest rate if what was not sustained lies {:.0} % below what was before in the best of {SEARCHES} searches, or what is sustained \
                 below {ALONE} of it in fewer",
                WORSE_BY * 100.0
            ));
        }
        if all > 0 && !self.left.is_empty() {
            sentences.push("not everything could be compared: see above".to_owned());
        }
        let lower = self.count(Verdict::Lower);
        if lower > 0 {
            sentences.push(format!(
                "lower in fewer than {SEARCHES} searches: {lower} highest rates; searches of the same code differ as much, so that does not count; --compare \
                 searches again where it measures"
            ));
        }
        sentences
    }
}

impl Row {
    fn remark(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Same => "",
            Verdict::Better => "  better",
            Verdict::Worse => "  WORSE",
            Verdict::Lower => "  lower",
            Verdict::Higher => "  higher",
            Verdict::NotJudged => "  not judged: no repetitions",
        };
        let searches = match self.searches {
            None => String::new(),
            Some((1, 1)) => "  (one search each)".to_owned(),
            Some((before, now)) => format!("  (searches: {before} before, {now} now)"),
        };
        format!("{verdict}{searches}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::Run;
    use super::super::results::samples::{found, results, run};
    use super::super::setting::{BASE, Mode};
    use super::*;

    /// So many repetitions with as much memory, and a search.
    fn sitting(repetitions: u64, memory_mib: u64, sustained: u64) -> Results {
        let runs: Vec<Run> = (0..repetitions).map(|_| run(Mode::Streaming, BASE, 40_000, 3, memory_mib)).collect();
        results(runs, vec![found(Mode::Streaming, BASE, sustained)])
    }

    /// What the report says in the end, and whether the comparison failed.
    fn concluded(old: &Results, new: &Results) -> (String, bool) {
        let comparison = compare(old, new);
        (comparison.report(), comparison.has_failed())
    }

    #[test]
    fn a_regression_fails_the_comparison_and_is_told_by_its_rule() {
        let (report, failed) = concluded(&sitting(3, 50, 100_000), &sitting(3, 50, 100_000));
        assert!(!failed && report.contains("nothing is significantly worse: 7 of 7 figures were judged"), "{report}");
        let (report, failed) = concluded(&sitting(3, 50, 100_000), &sitting(3, 80, 100_000));
        assert!(failed && report.contains("standard errors") && !report.contains("highest rate"), "{report}");
        let (report, failed) = concluded(&sitting(3, 50, 100_000), &sitting(3, 50, 40_000));
        assert!(failed && report.contains("WORSE  (one search each)") && !report.contains("standard"), "{report}");
    }

    #[test]
    fn a_single_lower_search_is_told_and_is_no_regression() {
        let (report, failed) = concluded(&sitting(3, 50, 100_000), &sitting(3, 50, 70_000));
        assert!(
            !failed && report.contains("lower  (one search each)") && report.contains("searches: 1 highest rates"),
            "{report}"
        );
        let mut again = sitting(3, 50, 70_000);
        again.found.extend([60_000, 71_000].map(|rate| found(Mode::Streaming, BASE, rate)));
        let (report, failed) = concluded(&sitting(3, 50, 100_000), &again);
        assert!(failed && report.contains("WORSE  (searches: 1 before, 3 now)"), "{report}");
    }

    #[test]
    fn without_repetitions_nothing_is_judged_and_that_is_said() {
        let single = |memory_mib| results(vec![run(Mode::Streaming, BASE, 40_000, 3, memory_mib)], Vec::new());
        let (report, failed) = concluded(&single(50), &single(60));
        assert!(!failed && report.contains("nothing could be judged: nothing was measured twice"), "{report}");
        let (report, failed) = concluded(&single(50), &single(150));
        assert!(failed && report.contains("1 of 6 figures are worse"), "{report}");
    }

    #[test]
    fn where_nothing_can_be_compared_the_comparison_failed() {
        let (report, failed) = concluded(&sitting(3, 50, 100_000), &results(Vec::new(), Vec::new()));
        assert!(failed, "{report}");
        for part in [
            "streaming, base, highest sustained: not searched now",
            "streaming: the mode was not measured now",
            "nothing could be compared",
        ] {
            assert!(report.contains(part), "{part}: {report}");
        }
        let other = results(vec![run(Mode::Deferred, BASE, 40_000, 3, 50)], Vec::new());
        assert!(concluded(&sitting(3, 50, 100_000), &other).1);
    }

    #[test]
    fn what_else_differs_is_told() {
        assert_eq!(differences(&sitting(3, 50, 100_000), &sitting(3, 80, 90_000)), [""; 0]);
        let mut other = sitting(3, 50, 100_000);
        other.about.machine["kernel"] = "7.0".into();
        other.about.seconds = 5.0;
        let found = differences(&sitting(3, 50, 100_000), &other);
        assert_eq!(
            found,
            [
                "the kernel differs: \"6.1\" before, \"7.0\" now",
                "the length of a point in seconds differs: 2 before, 5 now"
            ]
        );
    }
}
