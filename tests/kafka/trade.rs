//! What the jobs under fault are fed, and what has to come out whenever which of them is killed.
//!
//! A payment refers to an order, a receipt to both, and to the payment only once that is resolved; a claim refers to what never comes. Dependents
//! come before what they refer to, on any partition, a slice of all kinds at a time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Kafka, Outcome, Program, Random, Sent};

/// Partitions of each input topic.
pub(super) const PARTITIONS: usize = 4;

const STREAMS: [&str; 4] = ["order", "payment", "receipt", "claim"];

/// Orders of a slice, and payments and receipts of each of them.
const ORDERS: u64 = 15;
const PAYMENTS: u64 = 4;

/// By how many slices orders come late.
const LATE: u64 = 3;

/// What a record has to end as.
struct Expected {
    outcome: &'static str,
    stream: &'static str,
    event: Value,
    dependencies: Value,
}

/// Topics, and what was put into them.
pub(super) struct Trade {
    /// By stream.
    topics: [String; STREAMS.len()],
    pub(super) resolved: String,
    pub(super) dead: String,
    pub(super) accepted: String,
    /// The next offset of each partition of each topic.
    next: [[i64; PARTITIONS]; STREAMS.len()],
    expected: BTreeMap<String, Expected>,
    /// Among them, those that are resolved.
    resolvable: usize,
    slice: u64,
    random: Random,
}

impl Trade {
    pub(super) fn new(kafka: &Kafka, seed: u64) -> Trade {
        Trade {
            topics: STREAMS.map(|stream| kafka.topic(stream, PARTITIONS as i32)),
            resolved: kafka.topic("resolved", 2),
            dead: kafka.topic("dead", 1),
            accepted: kafka.topic("accepted", 1),
            next: [[0; PARTITIONS]; STREAMS.len()],
            expected: BTreeMap::new(),
            resolvable: 0,
            slice: 0,
            random: Random::new(seed),
        }
    }

    /// The job, whose brokers are at `address`. Receipts have one dependency of each mode.
    pub(super) fn job(&self, program: Program, address: &str) -> String {
        let other = if program == Program::Sedd { "deferred" } else { "streaming" };
        let [order, payment, receipt, claim] = &self.topics;
        let Trade { resolved, dead, accepted, .. } = self;
        format!(
            r#"
[job]
name = "trade-{resolved}"
epoch = "40ms"

[[stream]]
name = "order"
key = "/id"

[[stream]]
name = "payment"
key = "/id"
depends_on = [ {{ entity = "order", by = "/order" }} ]

[[stream]]
name = "receipt"
depends_on = [
  {{ entity = "payment", by = "/payment", need = "resolved" }},
  {{ entity = "order", by = "/order", mode = "{other}" }},
]

[[stream]]
name = "claim"
depends_on = [ {{ entity = "order", by = "/order", wait = "1s" }} ]

[source.kafka]
brokers = "{address}"
topics = {{ {order} = "order", {payment} = "payment", {receipt} = "receipt", {claim} = "claim" }}

[sink.kafka]
transaction_timeout = "10s"

[sink.resolved]
topic = "{resolved}"
[sink.dead_letter]
topic = "{dead}"
[sink.accepted]
topic = "{accepted}"
"#
        )
    }

    /// Records so far.
    pub(super) fn records(&self) -> usize {
        self.expected.len()
    }

    /// How many outcomes `resolved` gets of what was fed, once all orders have come.
    pub(super) fn resolvable(&self) -> usize {
        self.resolvable
    }

    /// Feeds the next slice of dependents, and the orders of an earlier one.
    pub(super) fn feed(&mut self, kafka: &Kafka) {
        self.slice += 1;
        let mut records = dependents(self.slice);
        records.extend(orders(self.slice.saturating_sub(LATE)));
        self.send(kafka, records);
    }

    /// Feeds the orders that are still missing.
    pub(super) fn feed_orders(&mut self, kafka: &Kafka) {
        let late: Vec<_> = (self.slice.saturating_sub(LATE - 1)..=self.slice).flat_map(orders).collect();
        self.slice += LATE;
        self.send(kafka, late);
    }

    fn send(&mut self, kafka: &Kafka, mut records: Vec<Expected>) {
        self.random.shuffle(&mut records);
        let mut values: [Vec<(i32, String)>; STREAMS.len()] = Default::default();
        for expected in records {
            let (partition, of) = (self.random.below(PARTITIONS), index(expected.stream));
            let offset = &mut self.next[of][partition];
            values[of].push((partition as i32, expected.event.to_string()));
            self.resolvable += usize::from(expected.outcome == "resolved");
            self.expected.insert(format!("{}:{partition}:{offset}", self.topics[of]), expected);
            *offset += 1;
        }
        for (topic, values) in self.topics.iter().zip(&values) {
            kafka.send(topic, values.iter().map(|(partition, value)| Sent::value(*partition, value)));
        }
    }

    /// Checks that every record has just the outcome that it has to have.
    #[track_caller]
    pub(super) fn check(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let found = self.expected.get(&outcome.position);
            let expected = found.unwrap_or_else(|| panic!("nothing was fed at {}", outcome.position));
            assert_eq!(outcome.outcome, expected.outcome, "{}", outcome.line);
            assert_eq!(outcome.stream, expected.stream, "{}", outcome.line);
            assert_eq!(outcome.event, expected.event, "{}", outcome.line);
            assert_eq!(outcome.dependencies, expected.dependencies, "{}", outcome.line);
        }
    }
}

fn index(stream: &str) -> usize {
    STREAMS.iter().position(|name| *name == stream).unwrap()
}

fn order(id: u64) -> Value {
    json!({"id": id, "item": format!("item {id}")})
}

fn payment(id: u64, order: u64) -> Value {
    json!({"id": id, "order": order, "paid": 25})
}

fn orders(slice: u64) -> Vec<Expected> {
    let ids = if slice == 0 { 0..0 } else { slice * ORDERS..(slice + 1) * ORDERS };
    ids.map(|id| Expected { outcome: "resolved", stream: "order", event: order(id), dependencies: json!({}) }).collect()
}

fn dependents(slice: u64) -> Vec<Expected> {
    let mut records = Vec::new();
    let mut add = |outcome, stream, event, dependencies| {
        records.push(Expected { outcome, stream, event, dependencies });
    };
    for id in slice * ORDERS..(slice + 1) * ORDERS {
        for paid in id * PAYMENTS..(id + 1) * PAYMENTS {
            add("resolved", "payment", payment(paid, id), json!({"order": order(id)}));
            let receipt = json!({"payment": paid, "order": id});
            add("resolved", "receipt", receipt, json!({"payment": payment(paid, id), "order": order(id)}));
        }
    }
    add("expired", "claim", json!({"order": "never", "slice": slice}), json!({}));
    records
}
