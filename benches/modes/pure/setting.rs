//! What is varied: the mode, and what the input is like.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How dependencies wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Mode {
    #[serde(rename = "independent")]
    Independent,
    #[serde(rename = "streaming")]
    Streaming,
    /// Streaming, and after a short `wait` deferred (`on_expiry = "defer"`).
    #[serde(rename = "streaming+defer")]
    StreamingDefer,
    /// Streaming, and results are maintained (`emit = "changes"`).
    #[serde(rename = "streaming+changes")]
    StreamingChanges,
    #[serde(rename = "deferred")]
    Deferred,
}

impl Mode {
    pub(crate) const ALL: [Mode; 5] =
        [Mode::Independent, Mode::Streaming, Mode::StreamingDefer, Mode::StreamingChanges, Mode::Deferred];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Mode::Independent => "independent",
            Mode::Streaming => "streaming",
            Mode::StreamingDefer => "streaming+defer",
            Mode::StreamingChanges => "streaming+changes",
            Mode::Deferred => "deferred",
        }
    }

    /// Whether references are looked up at all.
    pub(crate) fn joins(self) -> bool {
        self != Mode::Independent
    }

    /// Whether an event is answered once. Otherwise its result follows later corrections, which who needs it cannot have from the others.
    pub(crate) fn answers_once(self) -> bool {
        self != Mode::StreamingChanges
    }

    /// The mode of every dependency that names none.
    pub(crate) fn of_launcher(self) -> resolvent::dependency::Mode {
        match self {
            Mode::Independent => resolvent::dependency::Mode::Independent,
            Mode::Streaming | Mode::StreamingDefer | Mode::StreamingChanges => resolvent::dependency::Mode::Streaming,
            Mode::Deferred => resolvent::dependency::Mode::Deferred,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        let names = Mode::ALL.map(Mode::as_str).join(", ");
        Mode::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| format!("no mode: one of {names}"))
    }
}

/// How records come at their rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    Constant,
    Poisson,
    Bursts,
}

impl Arrivals {
    pub(crate) const ALL: [Arrivals; 3] = [Arrivals::Constant, Arrivals::Poisson, Arrivals::Bursts];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Arrivals::Constant => "constant",
            Arrivals::Poisson => "poisson",
            Arrivals::Bursts => "bursts",
        }
    }
}

impl FromStr for Arrivals {
    type Err = String;

    fn from_str(text: &str) -> Result<Arrivals, String> {
        let names = Arrivals::ALL.map(Arrivals::as_str).join(", ");
        Arrivals::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| format!("one of {names}"))
    }
}

/// What the input is like and who resolves it, all but the mode and the rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// Share of events that refer to others.
    pub(crate) dependents: f64,
    /// Events are shuffled within windows of this many.
    pub(crate) disorder: u64,
    /// Share of events that come late.
    pub(crate) late: f64,
    /// By how many events.
    pub(crate) late_by: u64,
    /// To how many others a dependent refers.
    pub(crate) references: u64,
    /// Share of the references by Zipf's law.
    pub(crate) skew: f64,
    /// Bytes of text in an event.
    pub(crate) payload: u64,
    pub(crate) workers: usize,
    pub(crate) arrivals: Arrivals,
}

/// What of a setting can be varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Axis {
    Dependents,
    Disorder,
    Late,
    LateBy,
    References,
    Skew,
    Payload,
    Workers,
    Arrivals,
}

impl Axis {
    pub(crate) const ALL: [Axis; 9] = [
        Axis::Dependents,
        Axis::Disorder,
        Axis::Late,
        Axis::LateBy,
        Axis::References,
        Axis::Skew,
        Axis::Payload,
        Axis::Workers,
        Axis::Arrivals,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Axis::Dependents => "dependents",
            Axis::Disorder => "disorder",
            Axis::Late => "late",
            Axis::LateBy => "late by",
            Axis::References => "references",
            Axis::Skew => "skew",
            Axis::Payload => "payload",
            Axis::Workers => "workers",
            Axis::Arrivals => "arrivals",
        }
    }
}

impl Setting {
    /// This one with the value of another on one axis.
    pub(crate) fn with(self, axis: Axis, other: &Setting) -> Setting {
        let mut setting = self;
        match axis {
            Axis::Dependents => setting.dependents = other.dependents,
            Axis::Disorder => setting.disorder = other.disorder,
            Axis::Late => setting.late = other.late,
            Axis::LateBy => setting.late_by = other.late_by,
            Axis::References => setting.references = other.references,
            Axis::Skew => setting.skew = other.skew,
            Axis::Payload => setting.payload = other.payload,
            Axis::Workers => setting.workers = other.workers,
            Axis::Arrivals => setting.arrivals = other.arrivals,
        }
        setting
    }

    /// The axes on which it differs from another.
    pub(crate) fn differs_from(&self, other: &Setting) -> Vec<Axis> {
        Axis::ALL.into_iter().filter(|axis| other.with(*axis, self) != *other).collect()
    }

    /// Whether it is another one, but for this axis.
    pub(crate) fn is_but_for(&self, axis: Axis, other: &Setting) -> bool {
        self.with(axis, other) == *other
    }

    /// Its value on an axis, for people.
    pub(crate) fn value(&self, axis: Axis) -> String {
        match axis {
            Axis::Dependents => percent(self.dependents),
            Axis::Disorder => super::text::count(self.disorder),
            Axis::Late => percent(self.late),
            Axis::LateBy => super::text::count(self.late_by),
            Axis::References => self.references.to_string(),
            Axis::Skew => percent(self.skew),
            Axis::Payload => format!("{} B", super::text::count(self.payload)),
            Axis::Workers => self.workers.to_string(),
            Axis::Arrivals => self.arrivals.as_str().to_owned(),
        }
    }

    /// All its values, for people.
    pub(crate) fn describe(&self) -> String {
        Axis::ALL.map(|axis| format!("{} {}", axis.as_str(), self.value(axis))).join(", ")
    }

    /// How it differs from another one, for people.
    pub(crate) fn name(&self, base: &Setting) -> String {
        let differs = self.differs_from(base);
        if differs.is_empty() {
            return "base".to_owned();
        }
        let parts: Vec<String> =
            differs.into_iter().map(|axis| format!("{} {}", axis.as_str(), self.value(axis))).collect();
        parts.join(", ")
    }
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1000.0).round() / 10.0)
}

#[cfg(test)]
pub(crate) const BASE: Setting = Setting {
    dependents: 0.5,
    disorder: 1_000,
    late: 0.01,
    late_by: 20_000,
    references: 1,
    skew: 0.0,
    payload: 100,
    workers: 2,
    arrivals: Arrivals::Constant,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_named_by_what_differs() {
        let other = Setting { dependents: 0.255, late_by: 5_000, ..BASE };
        assert_eq!(BASE.name(&BASE), "base");
        assert_eq!(other.name(&BASE), "dependents 25.5 %, late by 5,000");
        assert_eq!(other.differs_from(&BASE), [Axis::Dependents, Axis::LateBy]);
        assert!(!other.is_but_for(Axis::Dependents, &BASE));
        assert!(Setting { workers: 7, ..BASE }.is_but_for(Axis::Workers, &BASE));
        assert!(BASE.is_but_for(Axis::Workers, &BASE));
    }

    #[test]
    fn modes_are_known_by_their_names() {
        for mode in Mode::ALL {
            assert_eq!(mode.as_str().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
        assert!("defered".parse::<Mode>().unwrap_err().contains("streaming+defer"));
    }
}
