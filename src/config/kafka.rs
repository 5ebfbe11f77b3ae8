//! What `[source.kafka]` and `[sink.kafka]` have in common, and `[sink.kafka]` itself.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Delivery;
use super::section::{Section, quoted};
use super::settings::General;
use crate::kafka::{ClientSettings, Role, check, refused};
use crate::sink::{Acks, KafkaSettings, LostEpoch};

const LINGERS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
const TRANSACTIONS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(900);

/// A transaction is open for an epoch, and for as long as it takes to end it: so many epochs have to fit.
const EPOCHS_IN_TRANSACTION: u32 = 3;

/// librdkafka's partitioners that give the same key the same partition, or say by their name that they do not.
const PARTITIONERS: [&str; 7] =
    ["murmur2_random", "murmur2", "consistent_random", "consistent", "fnv1a_random", "fnv1a", "random"];

/// Properties that go with the brokers: who a client is, and how it connects.
const OF_CONNECTIONS: [&str; 4] = ["security.", "sasl.", "ssl.", "enable.ssl."];

/// Reads `brokers` and `properties`. `other` are the settings of the job's other client: where the brokers are the same, so is what they want to know.
pub(super) fn read_client(section: &Section<'_>, role: Role, other: Option<&ClientSettings>) -> Option<ClientSettings> {
    let written = section.texts("brokers", "host:port in quotes, or an array of them");
    let brokers = match &written {
        Some(brokers) => {
            let is_broker = |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
            if brokers.is_empty() || brokers.iter().any(|broker| !is_broker(&broker.value)) {
                section.problem("brokers", "it names no broker", "write host:port, such as \"127.0.0.1:9092\"");
            }
            Some(brokers.iter().map(|broker| broker.value.as_str()).collect::<Vec<_>>().join(","))
        }
        None => other.map(|other| other.brokers.clone()),
    };
    let mut properties = BTreeMap::new();
    if let Some(other) = other.filter(|other| Some(&other.brokers) == brokers.as_ref()) {
        let goes_along = |name: &str| OF_CONNECTIONS.iter().any(|prefix| name.starts_with(prefix));
        properties
            .extend(other.properties.iter().filter(|(name, _)| goes_along(name)).map(|(n, v)| (n.clone(), v.clone())));
    }
    for (name, value) in section
        .text_table("properties", "a table, such as { \"security.protocol\" = \"SASL_SSL\" }")
        .into_iter()
        .flatten()
    {
        if let Some(right) = refused(role, &name) {
            let found = format!("{} may not be set here", quoted(&name));
            section.reader.problem(section.key("properties"), Some(value.span), found, right);
            continue;
        }
        if let Err(detail) = check(&name, &value.value) {
            let found = format!("{} is not taken by librdkafka: {detail}", quoted(&name));
            let right =
                "its names and values are those of librdkafka's CONFIGURATION.md, and values are texts in quotes";
            section.reader.problem(section.key("properties"), Some(value.span), found, right);
            continue;
        }
        properties.insert(name, value.value);
    }
    if brokers.is_none() && !section.has("brokers") {
        section.missing("brokers", "say where the brokers are: brokers = \"host:9092\"");
    }
    Some(ClientSettings { brokers: brokers?, properties })
}

/// Reads `[sink.kafka]`; `None` stands for a section that is not there.
pub(super) fn read_producer(
    sink: &Section<'_>,
    kafka: Option<&Section<'_>>,
    source: Option<&ClientSettings>,
    general: &General,
) -> Option<KafkaSettings> {
    let client = match kafka {
        Some(kafka) => read_client(kafka, Role::Producer, source),
        None => source.map(|source| {
            let goes_along = |name: &str| OF_CONNECTIONS.iter().any(|prefix| name.starts_with(prefix));
            let properties = source.properties.iter().filter(|(name, _)| goes_along(name));
            let properties = properties.map(|(name, value)| (name.clone(), value.clone())).collect();
            ClientSettings { brokers: source.brokers.clone(), properties }
        }),
    };
    if client.is_none() && kafka.is_none() {
        sink.missing(
            "kafka",
            "a sink writes to a topic: say where the brokers are: [sink.kafka] with brokers = \"host:9092\"",
        );
    }
    let preset = general.preset;
    let compressions = ["none", "gzip", "snappy", "lz4", "zstd"].map(|name| (name, name));
    let transactions = general.delivery == Delivery::ExactlyOnce;
    let acks = kafka.and_then(|kafka| read_acks(kafka, transactions));
    let idempotence = kafka.and_then(|kafka| kafka.flag("idempotence"));
    let acks_without = acks.unwrap_or_else(|| if idempotence == Some(true) { Acks::All } else { preset.acks() });
    if let Some(kafka) = kafka {
        check_idempotence(kafka, idempotence, acks_without, transactions);
    }
    let timeout = kafka.and_then(|kafka| kafka.duration("transaction_timeout", TRANSACTIONS));
    let transaction_timeout = timeout.unwrap_or(Duration::from_secs(60).max(general.epoch * EPOCHS_IN_TRANSACTION));
    if transactions
        && (transaction_timeout < general.epoch * EPOCHS_IN_TRANSACTION || transaction_timeout > *TRANSACTIONS.end())
    {
        let right = format!(
            "a transaction is open for an epoch and while it ends: let {EPOCHS_IN_TRANSACTION} epochs fit, in at most 15m"
        );
        let problem = "an epoch is too long for the transaction timeout";
        match kafka.filter(|kafka| kafka.has("transaction_timeout")) {
            Some(kafka) => kafka.problem("transaction_timeout", problem, right),
            None => sink.reader.problem("job.epoch", general.epoch_span.clone(), problem, right),
        }
    }
    let settings = |client| KafkaSettings {
        client,
        compression: kafka.and_then(|kafka| kafka.choice("compression", &compressions)).unwrap_or(preset.compression()),
        acks: acks_without,
        linger: kafka.and_then(|kafka| kafka.duration("linger", LINGERS)).unwrap_or(preset.linger()),
        idempotence: idempotence.unwrap_or(acks_without == Acks::All),
        transaction_timeout,
        partitioner: kafka
            .and_then(|kafka| kafka.choice("partitioner", &PARTITIONERS.map(|name| (name, name))))
            .unwrap_or("murmur2_random"),
        create_topics: kafka.and_then(|kafka| kafka.flag("create_topics")).unwrap_or(false),
        lost_epoch: kafka
            .and_then(|kafka| {
                let words = [
                    ("refuse", None),
                    ("committed", Some(LostEpoch::Committed)),
                    ("aborted", Some(LostEpoch::Aborted)),
                ];
                kafka.choice("lost_epoch", &words)
            })
            .flatten(),
    };
    client.map(settings)
}

fn read_acks(kafka: &Section<'_>, transactions: bool) -> Option<Acks> {
    let text = kafka.text("acks", "\"all\" or \"1\" in quotes")?.value;
    let acks = match text.as_str() {
        "all" | "-1" => Acks::All,
        "1" => Acks::Leader,
        _ => {
            let found = format!("{} is not taken", quoted(&text));
            kafka.problem(
                "acks",
                found,
                "write \"all\" or \"1\": with less nobody knows whether an outcome was written",
            );
            return None;
        }
    };
    if transactions && acks != Acks::All {
        let right = "write acks = \"all\" or leave it out; or delivery = \"at_least_once\" in [job]";
        kafka.problem("acks", "a transaction needs the acknowledgement of all replicas", right);
    }
    Some(acks)
}

fn check_idempotence(kafka: &Section<'_>, idempotence: Option<bool>, acks: Acks, transactions: bool) {
    if idempotence == Some(false) && transactions {
        let right = "leave it out; or write delivery = \"at_least_once\" in [job]";
        kafka.problem("idempotence", "a transaction needs an idempotent producer", right);
    }
    if idempotence == Some(true) && acks != Acks::All {
        kafka.problem("idempotence", "an idempotent producer needs acks = \"all\"", "write one of them otherwise");
    }
}
