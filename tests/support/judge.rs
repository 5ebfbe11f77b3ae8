//! A plain resolve in two passes: gather all referents, then look every reference up. Shares nothing with the library.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

/// By stream: the entity that it provides, and its dependencies as (name, entity, field).
pub(crate) type Dependencies =
    [(&'static str, Option<&'static str>, &'static [(&'static str, &'static str, &'static str)])];

/// What [`result_set`](super::result_set) gives where every event is resolved, and how many references there are.
///
/// # Panics
///
/// Where a reference has no referent.
pub(crate) fn judge(streams: &Dependencies, lines: &[&str]) -> (BTreeMap<String, u64>, usize) {
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rules = |event: &Value| streams.iter().find(|(name, ..)| event["type"] == *name).unwrap();
    let mut referents = HashMap::new();
    for event in &events {
        if let (_, Some(entity), _) = rules(event) {
            referents.insert((*entity, event["id"].to_string()), event);
        }
    }
    let (mut results, mut references) = (BTreeMap::new(), 0);
    for event in &events {
        let (stream, _, dependencies) = rules(event);
        let mut found = Map::new();
        for (name, entity, field) in *dependencies {
            let mut look_up = |key: &Value| {
                references += 1;
                (*referents.get(&(*entity, key.to_string())).unwrap_or_else(|| panic!("no {entity} {key}"))).clone()
            };
            let referent = match &event[field] {
                Value::Array(keys) => Value::Array(keys.iter().map(look_up).collect()),
                key => look_up(key),
            };
            found.insert((*name).to_owned(), referent);
        }
        *results.entry(format!("{stream} {event} {}", Value::Object(found))).or_default() += 1;
    }
    (results, references)
}
