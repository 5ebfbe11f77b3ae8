//! The broker of the demo, and what committed readers see of its topics.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use miette::{IntoDiagnostic, Result, ensure, miette};
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::{Broker, BrokerSettings};

/// Of each topic.
pub(crate) const PARTITIONS: i32 = 4;

/// How long a broker on this machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An Apache Kafka of our own, which ends with this process.
pub(crate) struct Topics {
    broker: Broker,
    has_kcat: bool,
}

impl Topics {
    /// Starts a broker whose data is in a directory within `place`.
    pub(crate) fn start(place: &Path) -> Result<Topics> {
        let place = place.to_path_buf();
        let properties = vec![("num.partitions", PARTITIONS.to_string())];
        let broker = Broker::start(BrokerSettings { place, properties, ..BrokerSettings::lasting() });
        let kcat = Command::new("kcat").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        Ok(Topics { broker: broker.into_diagnostic()?, has_kcat: kcat.is_ok_and(|status| status.success()) })
    }

    pub(crate) fn address(&self) -> String {
        self.broker.address()
    }

    /// Who [reads](Topics::read).
    pub(crate) fn reader(&self) -> &'static str {
        if self.has_kcat { "kcat" } else { "librdkafka's consumer" }
    }

    /// Gives every value that a committed reader sees in a topic to `each`: as kcat reads them, which is none of our code, where it is installed.
    pub(crate) fn read(&self, topic: &str, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if !self.has_kcat {
            return self.consume(topic, each);
        }
        let mut command = Command::new("kcat");
        command.args(["-C", "-q", "-e", "-b", &self.address(), "-t", topic, "-o", "beginning"]);
        command.args(["-X", "isolation.level=read_committed"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut kcat = command.spawn().into_diagnostic()?;
        let given = kcat.stdout.take().map_or(Ok(()), |stdout| each_line(stdout, each));
        let status = kcat.wait().into_diagnostic()?;
        given?;
        ensure!(status.success(), "kcat failed: {status}");
        Ok(())
    }

    fn consume(&self, topic: &str, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address()).set("group.id", "demo").set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().into_diagnostic()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(topic, partition, Offset::Beginning).into_diagnostic()?;
        }
        consumer.assign(&list).into_diagnostic()?;
        let mut ended = 0;
        while ended < PARTITIONS {
            match consumer.poll(PATIENCE) {
                Some(Ok(message)) => each(message.payload().unwrap_or_default())?,
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => return Err(error).into_diagnostic(),
                None => return Err(miette!("the broker has not answered for {} s", PATIENCE.as_secs())),
            }
        }
        Ok(())
    }
}

/// Gives every line to `each`.
pub(crate) fn each_line(lines: impl std::io::Read, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut lines = BufReader::with_capacity(1 << 20, lines);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).into_diagnostic()? > 0 {
        each(&line)?;
        line.clear();
    }
    Ok(())
}
