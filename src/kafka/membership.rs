//! What a member of a consumer group commits with.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;
use thiserror::Error;

use super::{ClientError, Context};

/// How long a commit of offsets may take: no longer than a job that is to stop may wait.
const LIMIT: Duration = Duration::from_secs(10);

/// Offsets were not committed to the group.
#[derive(Debug, Error)]
pub enum MembershipError {
    /// The same would happen again.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It is not known whether they were, or this process is no longer a member that may.
    #[error("committing offsets to group {group} failed: {detail}")]
    Undecided {
        /// The group.
        group: String,
        /// What the client said.
        detail: String,
    },
}

/// A consumer as a member of its group. All copies are the same member; it leaves the group when the last of them is gone.
#[derive(Clone)]
pub struct Membership {
    group: String,
    consumer: Arc<dyn AsRef<BaseConsumer<Context>> + Send + Sync>,
    /// Of the generation in which it was given its partitions. A later one must not be asked for: a member that the group has put out has none, and the
    /// broker would take what it says without looking.
    metadata: Arc<Mutex<Option<Arc<ConsumerGroupMetadata>>>>,
}

impl Membership {
    /// Of this consumer, which has no partitions yet.
    pub(crate) fn new(group: &str, consumer: impl AsRef<BaseConsumer<Context>> + Send + Sync + 'static) -> Membership {
        Membership { group: group.to_owned(), consumer: Arc::new(consumer), metadata: Arc::default() }
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Notes that the consumer is given partitions now.
    pub(crate) fn renew(&self) {
        let metadata = (*self.consumer).as_ref().group_metadata().map(Arc::new);
        *self.metadata.lock().unwrap_or_else(PoisonError::into_inner) = metadata;
    }

    /// Who it is, for a transaction; `None` before it was given partitions.
    pub(crate) fn metadata(&self) -> Option<Arc<ConsumerGroupMetadata>> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Commits how far partitions (topic and number) have been read, without a transaction. Returns once the broker has it.
    ///
    /// # Errors
    ///
    /// The broker does not take them, or does not answer.
    pub fn commit<'o>(&self, offsets: impl IntoIterator<Item = ((&'o str, i32), u64)>) -> Result<(), MembershipError> {
        let list: TopicPartitionList = offsets
            .into_iter()
            .map(|((topic, number), offset)| {
                ((topic.to_owned(), number), Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX)))
            })
            .collect();
        if list.count() == 0 {
            return Ok(());
        }
        let undecided = |detail: String| MembershipError::Undecided { group: self.group.clone(), detail };
        if (*self.consumer).as_ref().assignment_lost() {
            return Err(undecided("the group has given the partitions to others".to_owned()));
        }
        // On a thread of its own: where no broker answers the client waits for ever.
        let (tell, told) = mpsc::sync_channel(1);
        let consumer = Arc::clone(&self.consumer);
        let commit = move || _ = tell.send((*consumer).as_ref().commit(&list, CommitMode::Sync));
        let started = thread::Builder::new().name("offsets".to_owned()).spawn(commit);
        started.map_err(|error| undecided(error.to_string()))?;
        match told.recv_timeout(LIMIT) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(undecided(format!("it has not ended within {} s", LIMIT.as_secs()))),
        }
    }

    fn explain(&self, error: &KafkaError) -> MembershipError {
        let group = self.group.clone();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => ClientError::GroupDenied { group }.into(),
            _ => MembershipError::Undecided { group, detail: error.to_string() },
        }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("group", &self.group).finish_non_exhaustive()
    }
}
