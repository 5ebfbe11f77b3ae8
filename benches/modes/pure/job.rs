//! The jobs that are measured: one configuration, with what differs filled in.

use std::fmt::Write;

use resolvent::source::{Arrivals as SourceArrivals, ItemSettings, SyntheticSettings, Workload};

use super::setting::{Arrivals, Mode, Setting};

/// What is the same in all points of a sitting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Common {
    pub(crate) seed: u64,
    /// Items refer to one of so many latest.
    pub(crate) reach: u64,
    /// After which streaming+defer moves a wait into the state.
    pub(crate) wait: String,
}

/// Where a job reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It makes so many records, at this rate, and discards its outcomes but for their checksum.
    Synthetic { records: u64, rate: u64 },
    /// It follows `events.jsonl` and writes `resolved.jsonl` and `dead.jsonl`.
    Files,
}

/// The configuration. Paths are those of the directory that it is started in.
pub(crate) fn configuration(mode: Mode, setting: &Setting, common: &Common, ends: Ends) -> String {
    let Setting { workers, .. } = setting;
    let wait = match mode {
        Mode::StreamingDefer => format!(", wait = \"{}\", on_expiry = \"defer\"", common.wait),
        Mode::Independent | Mode::Streaming | Mode::StreamingChanges | Mode::Deferred => String::new(),
    };
    let emit = if mode.answers_once() { "once" } else { "changes" };
    let mut text = format!(
        r#"[job]
name = "modes"
workers = {workers}
emit = "{emit}"

[[stream]]
name = "item"
key = "/id"

[[stream]]
name = "use"
key = "/id"
provides = "item"
depends_on = [ {{ name = "items", entity = "item", by = "/items"{wait} }} ]

"#
    );
    let sink = |name: &str, place: &str| format!("[sink.{name}]\n{place}\n");
    match ends {
        Ends::Synthetic { records, rate } => {
            text += &source(setting, common, records, rate);
            text += &sink("resolved", "null = true\nchecksum = true");
            text += &sink("dead_letter", "null = true\nchecksum = true");
        }
        Ends::Files => {
            text += "[source.file]\npath = \"events.jsonl\"\nstream = \"/type\"\nfollow = true\n";
            text += &sink("resolved", "file = \"resolved.jsonl\"");
            text += &sink("dead_letter", "file = \"dead.jsonl\"");
        }
    }
    text += &sink("accepted", "null = true");
    text += "[state]\npath = \"state\"\n[metrics]\nlisten = \"off\"\n";
    text
}

fn source(setting: &Setting, common: &Common, records: u64, rate: u64) -> String {
    let Setting { dependents, disorder, late, late_by, references, skew, payload, arrivals, .. } = setting;
    let Common { seed, reach, .. } = common;
    let mut text = "[source.synthetic]\nworkload = \"items\"\n".to_owned();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "events = {records}\nseed = {seed}\nrate = {rate}\narrivals = \"{}\"", arrivals.as_str());
    let _ = writeln!(text, "disorder = {disorder}\nlate = {late:?}\nlate_by = {late_by}");
    let _ = writeln!(text, "dependents = {dependents:?}\nreferences = {references}\nreach = {reach}");
    let _ = writeln!(text, "skew = {skew:?}\npayload = {payload}\n");
    text
}

/// The same records, for who makes them without a job.
pub(crate) fn workload(setting: &Setting, common: &Common, records: u64) -> SyntheticSettings {
    let Setting { dependents, disorder, late, late_by, references, skew, payload, arrivals, .. } = *setting;
    let items = ItemSettings { dependents, references, reach: common.reach, skew, payload };
    let arrivals = match arrivals {
        Arrivals::Constant => SourceArrivals::Constant,
        Arrivals::Poisson => SourceArrivals::Poisson,
        Arrivals::Bursts => SourceArrivals::Bursts,
    };
    SyntheticSettings {
        items,
        events: records,
        seed: common.seed,
        arrivals,
        disorder,
        late,
        late_by,
        ..SyntheticSettings::new(Workload::Items)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use resolvent::config::{self, Job, Overrides};
    use resolvent::source::Settings;

    use super::super::setting::BASE;
    use super::*;

    pub(crate) fn common() -> Common {
        Common { seed: 7, reach: 500, wait: "100ms".to_owned() }
    }

    /// The job as a launcher understands it.
    pub(crate) fn loaded(mode: Mode, setting: &Setting, ends: Ends) -> Job {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("job.toml");
        std::fs::write(&file, configuration(mode, setting, &common(), ends)).unwrap();
        config::load(&file, mode.of_launcher(), &Overrides::default()).unwrap()
    }

    #[test]
    fn jobs_and_the_harness_have_the_same_records() {
        for arrivals in Arrivals::ALL {
            let setting = Setting { arrivals, skew: 1.0, references: 3, payload: 7, ..BASE };
            for mode in Mode::ALL {
                let job = loaded(mode, &setting, Ends::Synthetic { records: 5_000, rate: 900 });
                let expected = SyntheticSettings { rate: 900, ..workload(&setting, &common(), 5_000) };
                assert_eq!(job.source, Settings::Synthetic(expected), "{mode}");
                assert_eq!(job.workers, setting.workers);
            }
        }
    }

    #[test]
    fn every_mode_has_its_rules() {
        use resolvent::dependency::{Mode as Rule, OnExpiry};
        for mode in Mode::ALL {
            for ends in [Ends::Files, Ends::Synthetic { records: 1_000, rate: 1 }] {
                let job = loaded(mode, &BASE, ends);
                let dependency = &job.rules.streams()[1].depends_on[0];
                let expected = match mode {
                    Mode::Independent => Rule::Independent,
                    Mode::Streaming | Mode::StreamingDefer | Mode::StreamingChanges => Rule::Streaming,
                    Mode::Deferred => Rule::Deferred,
                };
                assert_eq!(dependency.mode, expected);
                assert_eq!(matches!(dependency.on_expiry, OnExpiry::Defer { .. }), mode == Mode::StreamingDefer);
                assert_eq!(job.rules.is_maintained(), mode == Mode::StreamingChanges);
            }
        }
    }
}
