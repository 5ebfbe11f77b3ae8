//! The advice as TOML, to be pasted into the job's file.

use std::fmt::Write;

use super::decide::Settings;
use crate::config::{Job, show_duration};
use crate::dependency::{Dependency, Mode, Need, OnExpiry, Stream};

/// A stream's `depends_on`, an element a line.
pub(super) fn depends_on(job: &Job, stream: &Stream, elements: &[String]) -> String {
    let mut text = format!("# [[stream]] {}\ndepends_on = [\n", job.shown(&stream.name));
    for element in elements {
        // Writing to a string does not fail, here and below.
        _ = writeln!(text, "  {element},");
    }
    text + "]\n"
}

/// A dependency as an inline table. Its mode is left out where it is to stay unnamed.
pub(super) fn element(job: &Job, dependency: &Dependency, settings: Settings, names_mode: bool) -> String {
    let entity = &job.rules.entity(dependency.entity).name;
    let mut members = Vec::new();
    let mut add = |key: &str, value: &str| members.push(format!("{key} = {}", quoted(value)));
    if dependency.name != *entity {
        add("name", job.shown(&dependency.name));
    }
    add("entity", job.shown(entity));
    add("by", job.shown(dependency.by.as_str()));
    if names_mode {
        add("mode", settings.mode.as_str());
    }
    if dependency.need == Need::Resolved {
        add("need", Need::Resolved.as_str());
    }
    if let Some(wait) = settings.wait.filter(|_| settings.mode != Mode::Independent) {
        add("wait", &show_duration(wait));
        add("on_expiry", settings.on_expiry.as_str());
        if let OnExpiry::Defer { wait, then } = settings.on_expiry {
            wait.iter().for_each(|wait| add("deferred_wait", &show_duration(*wait)));
            add("deferred_on_expiry", then.as_str());
        }
    }
    if !dependency.required {
        members.push("required = false".to_owned());
    }
    if let Some(include) = &dependency.include {
        let fields: Vec<String> = include.iter().map(|pointer| quoted(job.shown(pointer.as_str()))).collect();
        members.push(format!("include = [{}]", fields.join(", ")));
    }
    format!("{{ {} }}", members.join(", "))
}

fn quoted(text: &str) -> String {
    ::toml::Value::from(text).to_string()
}
