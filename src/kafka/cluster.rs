//! A client that only asks: are the brokers there, what topics do they have.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{info, warn};

use super::context::{Context, Observer, Trouble};
use super::error::{About, explain};
use super::{ClientError, ClientSettings};

/// How long one question may take.
const ASK: Duration = Duration::from_secs(2);

/// How long brokers that were not reached are left alone, while log and errors are served.
const RETRY: Duration = Duration::from_millis(200);

/// How long credentials or a certificate are refused before that is believed: a broker that is starting up may not know its users yet.
const REFUSED_FOR: Duration = Duration::from_millis(1500);

/// How long a topic is not there before that is believed: a broker that is starting up may not know its topics yet.
const MISSING_FOR: Duration = Duration::from_secs(3);

/// As a number of partitions or replicas: the one that the brokers are configured with.
const BROKERS_DEFAULT: i32 = -1;

/// What someone who waits for brokers can do meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Waiting<'a> {
    /// Whether to give up.
    pub(crate) give_up: &'a dyn Fn() -> bool,
    /// Is told what is waited for, whenever that changes.
    pub(crate) say: &'a dyn Fn(&str),
}

/// The brokers, as a client sees them that neither reads nor writes, and is in no group.
pub(crate) struct Cluster {
    settings: ClientSettings,
    client: BaseConsumer<Context>,
    observer: Observer,
    /// What the user wants to do with topics, and has to be allowed.
    operations: &'static str,
}

/// What the brokers say of a topic.
enum Topic {
    /// The ids of its partitions.
    There(Vec<i32>),
    Missing,
    /// Nothing that could be relied on, and why.
    Unknown(KafkaError),
}

impl Cluster {
    /// A client with these settings. Connects to nobody yet.
    ///
    /// # Errors
    /// The settings are not taken.
    pub(crate) fn new(settings: &ClientSettings, client_id: &str, observer: &Observer) -> Result<Cluster, ClientError> {
        let context = Context(observer.clone());
        let client = settings
            .config(client_id)
            // Nobody polls it for long times, and statistics would pile up.
            .set("statistics.interval.ms", "0")
            .create_with_context(context)
            .map_err(|error| ClientError::of_settings(&error))?;
        let operations = "Read and Describe";
        Ok(Cluster { settings: settings.clone(), client, observer: observer.clone(), operations })
    }

    /// The same for one who writes to topics.
    pub(crate) fn for_writing(self) -> Cluster {
        Cluster { operations: "Write and Describe", ..self }
    }

    /// The client itself.
    pub(crate) fn client(&self) -> &BaseConsumer<Context> {
        &self.client
    }

    /// The partitions of topics, by name, once the brokers are there. Creates those that are missing where `create` is set, with the brokers' defaults.
    ///
    /// # Errors
    /// A topic is missing or may not be read, the credentials are refused, no TLS connection can be made, or it was given up.
    pub(crate) fn topics<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
        create: bool,
        waiting: Waiting<'_>,
    ) -> Result<BTreeMap<String, Vec<i32>>, ClientError> {
        let (mut found, mut missing) = (BTreeMap::new(), Vec::new());
        for name in names {
            // Where one is missing for good, so are others: all are told at once.
            let patience = if missing.is_empty() { MISSING_FOR } else { Duration::ZERO };
            match self.topic(name, create, patience, waiting) {
                Ok(partitions) => _ = found.insert(name.to_owned(), partitions),
                Err(ClientError::TopicMissing { topic, .. }) => missing.push(topic),
                Err(error) => return Err(error),
            }
        }
        let brokers = self.settings.brokers.clone();
        match missing.as_slice() {
            [] => Ok(found),
            [topic] => Err(ClientError::TopicMissing { topic: topic.clone(), brokers }),
            _ => Err(ClientError::TopicsMissing { topics: missing, brokers }),
        }
    }

    fn topic(
        &self,
        name: &str,
        create: bool,
        patience: Duration,
        waiting: Waiting<'_>,
    ) -> Result<Vec<i32>, ClientError> {
        let (mut missing_since, mut created, mut told) = (None, false, String::new());
        loop {
            match self.ask(name)? {
                Topic::There(partitions) => return Ok(partitions),
                Topic::Missing if create && !created => {
                    self.create(name, BROKERS_DEFAULT)?;
                    created = true;
                }
                Topic::Missing => {
                    if missing_since.get_or_insert_with(Instant::now).elapsed() >= patience {
                        let brokers = self.settings.brokers.clone();
                        return Err(ClientError::TopicMissing { topic: name.to_owned(), brokers });
                    }
                }
                Topic::Unknown(error) => {
                    self.serve(RETRY);
                    self.say(&error, &mut told, waiting)?;
                    continue;
                }
            }
            if (waiting.give_up)() {
                return Err(ClientError::Stopped { brokers: self.settings.brokers.clone() });
            }
            self.serve(RETRY);
        }
    }

    /// Calls `ask` until it has an answer. Errors that pass are waited out.
    ///
    /// # Errors
    /// One that does not pass, as `about` explains it, or it was given up.
    pub(crate) fn insist<T>(
        &self,
        about: About<'_>,
        waiting: Waiting<'_>,
        mut ask: impl FnMut(&BaseConsumer<Context>, Duration) -> Result<T, KafkaError>,
    ) -> Result<T, ClientError> {
        let mut told = String::new();
        loop {
            match ask(&self.client, ASK) {
                Ok(answer) => {
                    self.observer.worked();
                    return Ok(answer);
                }
                Err(error) if is_transient(&error) => {
                    self.serve(RETRY);
                    let trouble = self.observer.trouble();
                    // The question itself is only answered by silence.
                    if let Some((Trouble::Group, _)) = trouble.filter(|_| !about.group.is_empty()) {
                        return Err(ClientError::GroupDenied { group: about.group.to_owned() });
                    }
                    self.say(&error, &mut told, waiting)?;
                }
                Err(error) => return Err(explain(&error, about)),
            }
        }
    }

    /// The partitions of a topic at present, none where it is missing; `None` where the brokers cannot say.
    pub(crate) fn partitions(&self, topic: &str) -> Option<Vec<i32>> {
        match self.ask(topic) {
            Ok(Topic::There(partitions)) => Some(partitions),
            Ok(Topic::Missing) => Some(Vec::new()),
            Ok(Topic::Unknown(_)) | Err(_) => None,
        }
    }

    fn ask(&self, name: &str) -> Result<Topic, ClientError> {
        let metadata = match self.client.fetch_metadata(Some(name), ASK) {
            Ok(metadata) => metadata,
            Err(error) if is_transient(&error) => return Ok(Topic::Unknown(error)),
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnsupportedFeature) => {
                return Err(ClientError::NoBroker {
                    brokers: self.settings.brokers.clone(),
                    detail: error.to_string(),
                });
            }
            Err(error) => return Err(self.explain(&error, name)),
        };
        self.observer.worked();
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(Topic::Missing);
        };
        match topic.error().map(|code| KafkaError::MetadataFetch(code.into())) {
            None if topic.partitions().is_empty() => Ok(Topic::Missing),
            None => Ok(Topic::There(topic.partitions().iter().map(|partition| partition.id()).collect())),
            Some(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)) => Ok(Topic::Missing),
            Some(error) if is_transient(&error) => Ok(Topic::Unknown(error)),
            Some(error) => Err(self.explain(&error, name)),
        }
    }

    fn explain(&self, error: &KafkaError, topic: &str) -> ClientError {
        let doing = format!("asking for topic `{topic}`");
        explain(error, About { doing: &doing, topic, ..self.about() })
    }

    /// What all errors of this client are about.
    pub(crate) fn about(&self) -> About<'_> {
        let brokers = &self.settings.brokers;
        About { brokers, doing: "", topic: "", group: "", transactional_id: "", operations: self.operations }
    }

    /// Says what is waited for, and gives up where waiting is no use, or not wanted.
    fn say(&self, error: &KafkaError, told: &mut String, waiting: Waiting<'_>) -> Result<(), ClientError> {
        let brokers = &self.settings.brokers;
        let trouble = self.observer.trouble();
        if let Some((kind, sighting)) = &trouble {
            let (brokers, detail) = (brokers.clone(), sighting.text.clone());
            let believed = sighting.since.elapsed() >= REFUSED_FOR;
            match kind {
                Trouble::Authentication if believed => return Err(ClientError::Credentials { brokers, detail }),
                Trouble::Tls if believed => return Err(ClientError::Tls { brokers, detail }),
                _ => {}
            }
        }
        let why = trouble.map_or_else(|| error.to_string(), |(_, sighting)| sighting.text);
        let text = format!("waiting for the brokers at {brokers}");
        if *told != why {
            warn!("{text}: {why}");
            (waiting.say)(&text);
            *told = why;
        }
        if (waiting.give_up)() {
            return Err(ClientError::Stopped { brokers: brokers.clone() });
        }
        Ok(())
    }

    /// Lets the client say what it has to say.
    fn serve(&self, wait: Duration) {
        let until = Instant::now() + wait;
        loop {
            // Nothing is assigned: errors that come have been told to the observer.
            let _ = self.client.poll(until.saturating_duration_since(Instant::now()));
            if Instant::now() >= until {
                break;
            }
        }
    }

    /// Bytes of the largest batch of records that each topic takes, its `max.message.bytes`. Topics of which the brokers do not say that are left out: the user
    /// may not ask, or they do not know the question.
    ///
    /// # Errors
    /// The brokers take no questions at all, or it was given up.
    pub(crate) fn batch_limits<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
        waiting: Waiting<'_>,
    ) -> Result<BTreeMap<String, usize>, ClientError> {
        let mut limits = BTreeMap::new();
        let admin = self.admin()?;
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return Ok(limits) };
        let options = AdminOptions::new().request_timeout(Some(ASK));
        for name in names {
            let doing = format!("asking for the settings of topic `{name}`");
            let about = About { doing: &doing, topic: name, ..self.about() };
            let asked = [ResourceSpecifier::Topic(name)];
            let answer = self.insist(about, waiting, |_, _| runtime.block_on(admin.describe_configs(&asked, &options)));
            let resources = match answer {
                Ok(resources) => resources,
                Err(
                    error @ (ClientError::Stopped { .. } | ClientError::Credentials { .. } | ClientError::Tls { .. }),
                ) => return Err(error),
                Err(error) => {
                    info!("{error}");
                    continue;
                }
            };
            // What may not be asked for comes without settings.
            let found =
                resources.iter().flatten().find_map(|resource| resource.get("max.message.bytes")?.value.as_ref());
            limits.extend(found.and_then(|bytes| bytes.parse().ok()).map(|bytes| (name.to_owned(), bytes)));
        }
        Ok(limits)
    }

    fn admin(&self) -> Result<AdminClient<Context>, ClientError> {
        let config = self.settings.config("resolvent-admin");
        let context = Context(self.observer.clone());
        config.create_with_context(context).map_err(|error| ClientError::of_settings(&error))
    }

    /// Makes a topic, with the brokers' own number of replicas. One that is there already is left alone.
    ///
    /// # Errors
    /// The user may not, or the broker will not.
    pub(super) fn create(&self, name: &str, partitions: i32) -> Result<(), ClientError> {
        let not_created = |detail: String| ClientError::TopicNotCreated { topic: name.to_owned(), detail };
        let admin = self.admin()?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().build().map_err(|error| not_created(error.to_string()))?;
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(BROKERS_DEFAULT));
        let options = AdminOptions::new().request_timeout(Some(ASK)).operation_timeout(Some(ASK));
        let results = runtime.block_on(admin.create_topics([&topic], &options));
        let failed = match results {
            Ok(results) => results.into_iter().find_map(Result::err).map(|(_, code)| KafkaError::Global(code)),
            Err(error) => Some(error),
        };
        match failed {
            None => info!(topic = name, "created the topic"),
            Some(KafkaError::Global(RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Some(KafkaError::Global(
                RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed,
            )) => return Err(ClientError::TopicDenied { topic: name.to_owned(), operations: "Create" }),
            Some(error) => return Err(not_created(error.to_string())),
        }
        Ok(())
    }
}

/// Whether an error may pass by itself.
fn is_transient(error: &KafkaError) -> bool {
    let Some(code) = error.rdkafka_error_code() else { return false };
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::WaitingForCoordinator
            | RDKafkaErrorCode::WaitCache
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::BrokerNotAvailable
            | RDKafkaErrorCode::ReplicaNotAvailable
            | RDKafkaErrorCode::NetworkException
            | RDKafkaErrorCode::CoordinatorLoadInProgress
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::NotCoordinator
            | RDKafkaErrorCode::KafkaStorageError
            | RDKafkaErrorCode::UnknownTopicId
            | RDKafkaErrorCode::FencedLeaderEpoch
            | RDKafkaErrorCode::UnknownLeaderEpoch
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::SSL
    )
}
