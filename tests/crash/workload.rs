//! What the crashed jobs are fed, and what has to come out whenever they are killed.
//!
//! Every event's end is known when it is made, though its time is not: what is to be resolved has a referent that comes and a long wait, or a
//! short one that a restart must not end; what is to expire refers to nothing that ever comes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{FILES, Outcome, Program, Random, followed};

/// The wait of what is to end by its deadline. Long enough for a round to be killed before it, and then waited for.
pub(super) const SHORT_WAIT: Duration = Duration::from_secs(2);

/// Dependents of one hot referent: many slices of a drain, and several epochs of output.
pub(super) const VOTES: usize = 12_000;

/// Events that come behind a hot referent.
pub(super) const QUOTES: usize = 4_000;

/// After so many bytes an epoch ends.
pub(super) const EPOCH_BYTES: u64 = 128 << 10;

/// Events of each of the small cases in a round.
const FEW: usize = 20;

const STREAMS: &str = r#"
[[stream]]
name = "account"
key = "/id"

[[stream]]
name = "price"
key = "/id"

[[stream]]
name = "order"
key = "/id"

[[stream]]
name = "vote"
depends_on = [ { entity = "account", by = "/account" } ]

[[stream]]
name = "quote"
depends_on = [ { entity = "price", by = "/price" } ]

[[stream]]
name = "step"
key = "/id"
depends_on = [ { entity = "step", by = "/after", need = "resolved", wait = "SHORT", required = false } ]

[[stream]]
name = "link"
key = "/id"
depends_on = [ { entity = "link", by = "/after", need = "resolved", wait = "1h", required = false } ]

[[stream]]
name = "claim"
depends_on = [ { entity = "account", by = "/account", mode = "streaming", wait = "SHORT", on_expiry = "defer" } ]

[[stream]]
name = "mixed"
depends_on = [
  { entity = "account", by = "/account", mode = "streaming" },
  { entity = "order", by = "/order", mode = "deferred" },
]

[[stream]]
name = "hurry"
depends_on = [ { entity = "account", by = "/account", wait = "SHORT" } ]

[[stream]]
name = "optional"
depends_on = [ { entity = "account", by = "/account", wait = "SHORT", on_expiry = "partial" } ]

[[stream]]
name = "fleeting"
depends_on = [ { entity = "account", by = "/account", wait = "SHORT", on_expiry = "drop" } ]
"#;

/// The job. Its epochs are short and small, so that a kill finds some committed and some not.
pub(super) fn job(program: Program) -> String {
    let mut streams = STREAMS.replace("SHORT", &format!("{}s", SHORT_WAIT.as_secs()));
    if program == Program::Independent {
        streams = streams.replace(", mode = \"streaming\"", "").replace(", mode = \"deferred\"", "");
    }
    let accepted = if program == Program::Independent { "" } else { "[sink.accepted]\nfile = \"accepted.jsonl\"\n" };
    let epochs = format!("epoch = \"20ms\"\nepoch_size = \"{EPOCH_BYTES}B\"");
    format!("[job]\nname = \"crash\"\n{epochs}\n{streams}{}{accepted}", followed(FILES))
}

/// How an event has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Resolved,
    /// Resolved with the version of its referent that was current at some time.
    AnyVersion,
    Partial,
    Expired,
    Dropped,
    /// Its referent came, but perhaps after its wait had ended before the kill.
    ResolvedOrExpired,
}

struct Fed {
    end: End,
    stream: &'static str,
    dependencies: Value,
}

/// What was fed so far, by byte offset.
pub(super) struct Workload {
    fed: BTreeMap<u64, Fed>,
    bytes: u64,
    last_fed: u64,
    round: u64,
    random: Random,
}

impl Workload {
    pub(super) fn new(seed: u64) -> Workload {
        Workload { fed: BTreeMap::new(), bytes: 0, last_fed: 0, round: 0, random: Random::new(seed) }
    }

    /// Records so far.
    pub(super) fn records(&self) -> u64 {
        self.fed.len() as u64
    }

    /// Bytes so far: the offset of the next record.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of what was fed last.
    pub(super) fn last_fed(&self) -> u64 {
        self.last_fed
    }

    /// Dependents of all kinds, before what they refer to.
    pub(super) fn dependents(&mut self) -> String {
        self.round += 1;
        let round = self.round;
        let mut records = Vec::new();
        let mut add = |end, event: Value, dependencies| records.push((end, event, dependencies));
        for n in 0..VOTES {
            let event = json!({"type": "vote", "n": n, "account": hot(round)});
            add(End::Resolved, event, json!({"account": account(hot(round))}));
        }
        let never = json!("never");
        for n in 0..FEW {
            let late = late(round);
            let event = |kind: &str, account: &Value| json!({"type": kind, "n": n, "account": account});
            add(End::Resolved, event("claim", &json!(late)), json!({"account": account(late)}));
            add(End::Resolved, event("hurry", &json!(late)), json!({"account": account(late)}));
            add(End::Expired, event("hurry", &never), json!({}));
            add(End::Partial, event("optional", &never), json!({}));
            add(End::Dropped, event("fleeting", &never), json!({}));
            let mixed = json!({"type": "mixed", "n": n, "account": late, "order": late});
            add(End::Resolved, mixed, json!({"account": account(late), "order": order(late)}));
        }
        // The first of a chain comes last, or never; each member needs the one before it to be resolved.
        for member in (1..FEW as u64).rev() {
            add(End::Resolved, link(round, member), json!({"link": link(round, member - 1)}));
            add(
                End::Expired,
                json!({"type": "step", "id": round * 1000 + member, "after": round * 1000 + member - 1}),
                json!({}),
            );
        }
        self.random.shuffle(&mut records);
        self.feed(records)
    }

    /// The hot referent, and much behind it that needs the prices.
    pub(super) fn hot_referent(&mut self) -> String {
        let round = self.round;
        let mut records =
            vec![(End::Resolved, price(round), json!({})), (End::Resolved, account(hot(round)), json!({}))];
        for n in 0..QUOTES {
            if n % (QUOTES / 4) == 1 {
                records.push((End::Resolved, price(round * 100 + n as u64), json!({})));
            }
            // Long ones, so that they fill several epochs.
            let event = json!({"type": "quote", "n": n, "price": "gold", "note": "as agreed ".repeat(16)});
            records.push((End::AnyVersion, event, json!({"price": {"type": "price", "id": "gold"}})));
        }
        self.feed(records)
    }

    /// What only outcomes behind the hot referent of this round hold.
    pub(super) fn hot_sign(&self, program: Program) -> String {
        match program {
            Program::Independent => r#""stream":"quote""#.to_owned(),
            Program::Sedd | Program::Dedd => format!(r#""stream":"vote","event":{{"account":{},"#, hot(self.round)),
        }
    }

    /// The other referents of the round.
    pub(super) fn late_referents(&mut self) -> String {
        let (round, late) = (self.round, late(self.round));
        let referents = [link(round, 0), account(late), order(late), price(round * 100 + 99)];
        self.feed(referents.into_iter().map(|event| (End::Resolved, event, json!({}))).collect())
    }

    /// Notes that the deadlines of the round passed before its referents could come.
    pub(super) fn came_too_late(&mut self) {
        let late = json!({"account": account(late(self.round))});
        for fed in self.fed.values_mut().filter(|fed| fed.stream == "hurry" && fed.dependencies == late) {
            fed.end = End::ResolvedOrExpired;
        }
    }

    fn feed(&mut self, records: Vec<(End, Value, Value)>) -> String {
        let mut lines = String::new();
        for (end, event, dependencies) in records {
            let stream = STREAM_NAMES.into_iter().find(|name| event["type"] == *name).unwrap();
            self.fed.insert(self.bytes + lines.len() as u64, Fed { end, stream, dependencies });
            lines += &format!("{event}\n");
        }
        self.last_fed = lines.len() as u64;
        self.bytes += self.last_fed;
        lines
    }

    /// Checks one outcome.
    pub(super) fn check(&self, program: Program, outcome: &Outcome) {
        let fed = self.fed.get(&offset(outcome)).unwrap_or_else(|| panic!("nothing was fed at {}", outcome.position));
        assert_eq!(outcome.stream, fed.stream, "{}", outcome.position);
        let (kind, dependencies) = (outcome.outcome.as_str(), &outcome.dependencies);
        if program == Program::Independent {
            assert_eq!((kind, dependencies), ("resolved", &json!({})), "{}", outcome.line);
            return;
        }
        let is_right = match fed.end {
            End::Resolved => kind == "resolved" && *dependencies == fed.dependencies && outcome.missing.is_null(),
            End::AnyVersion => kind == "resolved" && without_version(dependencies) == fed.dependencies,
            End::Partial => kind == "resolved" && outcome.missing[0]["key"] == "never",
            End::Expired => kind == "expired" && outcome.reason == "deadline" && *dependencies == json!({}),
            End::Dropped => false,
            End::ResolvedOrExpired => (kind == "resolved") == (*dependencies == fed.dependencies),
        };
        assert!(is_right, "it was to be {:?}: {}", fed.end, outcome.line);
    }

    /// How many of the records end in a line.
    pub(super) fn lines(&self, program: Program) -> u64 {
        let dropped = self.fed.values().filter(|fed| fed.end == End::Dropped).count() as u64;
        if program == Program::Independent { self.records() } else { self.records() - dropped }
    }

    /// What of an outcome does not depend on time.
    pub(super) fn timeless(&self, outcome: &Outcome) -> String {
        let dependencies = match self.fed[&offset(outcome)].end {
            End::AnyVersion => without_version(&outcome.dependencies),
            End::ResolvedOrExpired => return String::new(),
            _ => outcome.dependencies.clone(),
        };
        format!("{} {} {dependencies} {} {}", outcome.outcome, outcome.event, outcome.missing, outcome.reason)
    }
}

const STREAM_NAMES: [&str; 12] =
    ["account", "price", "order", "vote", "quote", "step", "link", "claim", "mixed", "hurry", "optional", "fleeting"];

/// The byte offset in an outcome's position.
pub(super) fn offset(outcome: &Outcome) -> u64 {
    outcome.position.strip_prefix("events.jsonl:").unwrap().parse().unwrap()
}

fn hot(round: u64) -> u64 {
    round * 10 + 1
}

fn late(round: u64) -> u64 {
    round * 10 + 2
}

fn account(id: u64) -> Value {
    json!({"type": "account", "id": id, "name": format!("account {id}")})
}

fn order(id: u64) -> Value {
    json!({"type": "order", "id": id})
}

/// Another version of the one price that there is.
fn price(version: u64) -> Value {
    json!({"type": "price", "id": "gold", "version": version})
}

fn link(round: u64, member: u64) -> Value {
    let id = round * 1000 + member;
    if member == 0 { json!({"type": "link", "id": id}) } else { json!({"type": "link", "id": id, "after": id - 1}) }
}

fn without_version(dependencies: &Value) -> Value {
    let mut dependencies = dependencies.clone();
    if let Some(price) = dependencies.get_mut("price").and_then(Value::as_object_mut) {
        assert!(price.remove("version").is_some_and(|version| version.is_u64()), "{price:?}");
    }
    dependencies
}
