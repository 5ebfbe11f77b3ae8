//! Outcomes, as they stand in the files of the sinks.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::Value;

/// One line of a sink.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) outcome: String,
    pub(crate) stream: String,
    pub(crate) event: Value,
    pub(crate) dependencies: Value,
    pub(crate) missing: Value,
    pub(crate) reason: String,
    pub(crate) position: String,
    /// The whole line.
    pub(crate) line: Value,
}

impl Outcome {
    pub(crate) fn parse(line: &str) -> Outcome {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        Outcome {
            outcome: text("outcome"),
            stream: text("stream"),
            event: line["event"].clone(),
            dependencies: line.get("dependencies").cloned().unwrap_or_else(|| Value::Object(Default::default())),
            missing: line["missing"].clone(),
            reason: text("reason"),
            position: text("position"),
            line,
        }
    }
}

/// Gives every outcome in a file. A last line without its end, which a killed job may leave, is none; nor has a file that is not there any.
pub(crate) fn each_outcome(path: &Path, mut each: impl FnMut(Outcome)) {
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(Outcome::parse).for_each(&mut each);
}

/// All of them.
pub(crate) fn read_outcomes(path: &Path) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    each_outcome(path, |outcome| outcomes.push(outcome));
    outcomes
}

/// Checks that no record has two outcomes.
#[track_caller]
pub(crate) fn assert_unique_positions(outcomes: &[Outcome]) {
    let mut seen = HashSet::new();
    for outcome in outcomes {
        assert!(seen.insert(&outcome.position), "{} has more than one outcome", outcome.position);
    }
}

/// What counts when sets of outcomes are compared: each stream, event and dependencies, with how often it is there. Members are sorted.
pub(crate) fn result_set(outcomes: &[Outcome]) -> BTreeMap<String, u64> {
    let mut set = BTreeMap::new();
    for Outcome { stream, event, dependencies, .. } in outcomes {
        *set.entry(format!("{stream} {event} {dependencies}")).or_default() += 1;
    }
    set
}
