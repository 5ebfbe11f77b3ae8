//! What can go wrong between a client and its brokers, said so that a person can act on it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Why a client cannot do what the job needs of it. No text holds the value of a property.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The brokers do not take the credentials.
    #[error(
        "the brokers at {brokers} refuse the credentials ({detail}); \
         check `security.protocol`, `sasl.mechanism`, `sasl.username` and `sasl.password` among the properties"
    )]
    Credentials {
        /// Where.
        brokers: String,
        /// What the client said.
        detail: String,
    },
    /// No TLS connection can be made.
    #[error(
        "no TLS connection to the brokers at {brokers} ({detail}); check `security.protocol`, `ssl.ca.location` and, \
         where the brokers ask for a certificate, `ssl.certificate.location` and `ssl.key.location` among the properties"
    )]
    Tls {
        /// Where.
        brokers: String,
        /// What the client said.
        detail: String,
    },
    /// A topic is not there.
    #[error("topic `{topic}` does not exist at {brokers}; create it, or set create_topics = true")]
    TopicMissing {
        /// Its name.
        topic: String,
        /// Where.
        brokers: String,
    },
    /// Several topics are not there.
    #[error("topics `{}` do not exist at {brokers}; create them, or set create_topics = true", topics.join("`, `"))]
    TopicsMissing {
        /// Their names.
        topics: Vec<String>,
        /// Where.
        brokers: String,
    },
    /// Who answers is no broker.
    #[error(
        "who answers at {brokers} is no broker that clients can use ({detail}); check the port: that of a controller, for instance, is not for clients"
    )]
    NoBroker {
        /// Where.
        brokers: String,
        /// What the client said.
        detail: String,
    },
    /// A topic cannot be created.
    #[error("topic `{topic}` cannot be created: {detail}; create it by hand")]
    TopicNotCreated {
        /// Its name.
        topic: String,
        /// What the broker said.
        detail: String,
    },
    /// The user lacks a permission on a topic.
    #[error("no permission for topic `{topic}`: the brokers want an ACL that allows {operations} on it to this user")]
    TopicDenied {
        /// Its name.
        topic: String,
        /// What is to be allowed.
        operations: &'static str,
    },
    /// The user lacks a permission on the consumer group.
    #[error("no permission for group `{group}`: the brokers want an ACL that allows Read on it to this user")]
    GroupDenied {
        /// Its name.
        group: String,
    },
    /// The user lacks a permission on the transactional id.
    #[error(
        "no permission for transactional id `{id}`: \
         the brokers want an ACL that allows Write and Describe on it to this user"
    )]
    TransactionalIdDenied {
        /// It.
        id: String,
    },
    /// The user lacks a permission on the cluster.
    #[error(
        "no permission on the cluster for {doing}: the brokers want an ACL that allows {operation} on it to this user"
    )]
    ClusterDenied {
        /// What was being done.
        doing: String,
        /// What is to be allowed.
        operation: &'static str,
    },
    /// librdkafka does not take a property.
    #[error("property `{name}` is not taken: {detail}; correct it among the properties")]
    Property {
        /// Its name.
        name: String,
        /// What librdkafka said, without the value.
        detail: String,
    },
    /// A client cannot be made of the settings.
    #[error("no Kafka client can be made of these settings: {detail}; correct the properties")]
    Settings {
        /// What librdkafka said.
        detail: String,
    },
    /// The job was asked to stop while it waited for brokers.
    #[error("stopped while it waited for the brokers at {brokers}")]
    Stopped {
        /// Where.
        brokers: String,
    },
    /// Anything else.
    #[error("{doing} failed: {detail}")]
    Failed {
        /// What was being done.
        doing: String,
        /// What the client said.
        detail: String,
    },
}

/// What an operation was about, for the text of its error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) brokers: &'a str,
    /// What was being done: `reading topic posts`.
    pub(crate) doing: &'a str,
    /// The topic, group or transactional id, by what the error says it lacks a permission on.
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    pub(crate) transactional_id: &'a str,
    /// What is to be allowed on the topic.
    pub(crate) operations: &'static str,
}

impl ClientError {
    /// Settings that no client can be made of.
    pub(crate) fn of_settings(error: &KafkaError) -> ClientError {
        match error {
            KafkaError::ClientConfig(_, detail, name, value) => {
                // librdkafka quotes the value that it does not take.
                let detail = if value.is_empty() { detail.clone() } else { detail.replace(value.as_str(), "…") };
                ClientError::Property { name: name.clone(), detail }
            }
            KafkaError::ClientCreation(detail) => ClientError::Settings { detail: detail.clone() },
            other => ClientError::Settings { detail: other.to_string() },
        }
    }
}

/// The error of an operation, by its code.
pub(crate) fn explain(error: &KafkaError, about: About<'_>) -> ClientError {
    let failed = || ClientError::Failed { doing: about.doing.to_owned(), detail: error.to_string() };
    let Some(code) = error.rdkafka_error_code() else { return failed() };
    match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            ClientError::Credentials { brokers: about.brokers.to_owned(), detail: error.to_string() }
        }
        RDKafkaErrorCode::SSL => ClientError::Tls { brokers: about.brokers.to_owned(), detail: error.to_string() },
        RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
            ClientError::TopicMissing { topic: about.topic.to_owned(), brokers: about.brokers.to_owned() }
        }
        RDKafkaErrorCode::TopicAuthorizationFailed => {
            ClientError::TopicDenied { topic: about.topic.to_owned(), operations: about.operations }
        }
        RDKafkaErrorCode::GroupAuthorizationFailed => ClientError::GroupDenied { group: about.group.to_owned() },
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed => {
            ClientError::TransactionalIdDenied { id: about.transactional_id.to_owned() }
        }
        RDKafkaErrorCode::ClusterAuthorizationFailed => {
            ClientError::ClusterDenied { doing: about.doing.to_owned(), operation: "IdempotentWrite" }
        }
        _ => failed(),
    }
}
