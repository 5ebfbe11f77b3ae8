//! The situations that DESIGN.md §2 names, as text: these records in, these outcomes out, for any number of workers, in every mode, with and without
//! memory.

use std::sync::Arc;

use super::cluster::PLENTY;
use super::notation;
use super::trial::Trial;
use crate::dependency::Rules;

/// Runs a script: records, `+SECONDS`, `restart`, `restart +SECONDS`, `live`, `end`; an empty line lets everything come to rest. Returns the outcomes.
fn run(rules: &str, script: &str, workers: usize, memory: usize, seed: u64) -> Vec<String> {
    let drafts = rules.lines().map(str::trim).filter(|line| !line.is_empty()).map(notation::stream).collect();
    let rules = Arc::new(Rules::build(drafts).expect("rules"));
    let mut trial = Trial::new(&rules, workers, memory, 0, seed);
    trial.go_live();
    let mut records = Vec::new();
    for (offset, line) in script.lines().map(str::trim).enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_record =
            !matches!(words.as_slice(), [] | ["restart", ..] | ["live"] | ["end"]) && !line.starts_with('+');
        if is_record {
            records.push(notation::record(&rules, line, offset as u64));
            continue;
        }
        trial.read(std::mem::take(&mut records));
        match words.as_slice() {
            ["restart"] => trial.restart(1 + (workers + 1) % 3, 0),
            ["restart", seconds] => trial.restart(1 + (workers + 1) % 3, seconds[1..].parse().expect("seconds")),
            ["live"] => trial.pass(0),
            ["end"] => trial.end(),
            [seconds] => trial.pass(seconds[1..].parse().expect("seconds")),
            _ => {}
        }
    }
    trial.read(records);
    trial.lines()
}

fn check(rules: &str, script: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let deferred = if rules.contains(":defer") { rules.to_owned() } else { defer(rules) };
    for rules in [rules, &deferred] {
        for (workers, memory, seed) in (0..24).map(|n| (1 + n % 3, [PLENTY, 0][n / 3 % 2], n as u64)) {
            let found = run(rules, script, workers, memory, seed);
            assert_eq!(found, expected, "{workers} workers, {memory} bytes, seed {seed}, by {rules}");
        }
    }
}

/// The rules with every dependency deferred.
fn defer(rules: &str) -> String {
    let line = |line: &str| match line.split_once("->") {
        Some((head, tail)) => {
            let words = tail.split_whitespace().map(|word| format!("{word}:deferred"));
            format!("{head}-> {}", words.collect::<Vec<_>>().join(" "))
        }
        None => line.to_owned(),
    };
    rules.lines().map(line).collect::<Vec<_>>().join("\n")
}

const POSTS: &str = "
    post key
    like -> post:wait=10";

#[test]
fn an_event_is_resolved_whenever_its_referent_comes() {
    check(
        POSTS,
        "like post=1 \n post id=1 \n like post=1",
        "
        like post=1: resolved post=(post id=1)
        post id=1: resolved
        like post=1: resolved post=(post id=1)",
    );
}
