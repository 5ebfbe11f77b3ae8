//! Contestants, each in a process of its own.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use resolvent::config::{self, Overrides};
use resolvent::dependency::Mode;
use resolvent::metrics::{Metrics, cpu_seconds};
use resolvent::pipeline::{self, RunOptions, StopFlag};
use serde::{Deserialize, Serialize};

use crate::{INPUT, PARTITIONS, Result, bare};

/// How long an epoch is with preset `balanced`.
pub(crate) const EPOCH: Duration = Duration::from_millis(100);

/// What preset `balanced` makes of our producer, and of our consumer, by librdkafka's names: the bare loop has the same.
pub(crate) const PRODUCER: [(&str, &str); 8] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    ("partitioner", "murmur2_random"),
    ("delivery.report.only.error", "true"),
    ("queue.buffering.max.messages", "200000"),
    ("queue.buffering.max.kbytes", "65536"),
];
pub(crate) const CONSUMER: [(&str, &str); 6] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("isolation.level", "read_committed"),
    ("queued.max.messages.kbytes", "32768"),
    ("fetch.wait.max.ms", "100"),
    ("check.crcs", "false"),
];

/// What a contestant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    Bare,
    Independent,
    Streaming,
    Deferred,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Delivery {
    ExactlyOnce,
    AtLeastOnce,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Contestant {
    pub(crate) work: Work,
    pub(crate) delivery: Delivery,
    /// Of a job; the bare loop knows `balanced` only.
    pub(crate) preset: String,
    pub(crate) brokers: String,
    pub(crate) events: u64,
    /// Bytes of each record that the bare loop writes.
    pub(crate) record_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Task {
    contestant: Contestant,
    /// Of the job, its group and its transactions; nobody had it before.
    name: String,
    output: String,
    /// Where the state and the result go.
    directory: PathBuf,
}

/// What a child process has measured of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    /// Of records, as sinks count them.
    pub(crate) bytes_written: u64,
}

/// Runs a contestant in a process of its own, with an output topic of its own.
pub(crate) fn timed(contestant: &Contestant, scratch: &Path) -> Result<Measured> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let (name, output) = (format!("bench-{run}"), format!("out-{run}"));
    make_topic(&contestant.brokers, &output, PARTITIONS)?;
    let directory = tempfile::tempdir_in(scratch)?;
    let task = Task { contestant: contestant.clone(), name, output, directory: directory.path().to_owned() };
    let task = serde_json::to_string(&task)?;
    let status = Command::new(env::current_exe()?)
        .arg("--contestant")
        .arg(task)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(format!("{:?} failed: {status}", contestant.work).into());
    }
    Ok(serde_json::from_slice(&std::fs::read(directory.path().join("measured.json"))?)?)
}

/// The child process: does its task and leaves what it measured.
pub(crate) fn work(task: &str) -> Result<()> {
    let task: Task = serde_json::from_str(task)?;
    let cpu = || cpu_seconds().ok_or("the system does not tell the time on the CPU: /proc/self/stat is needed");
    let (began, cpu_before) = (Instant::now(), cpu()?);
    let bytes_written = match task.contestant.work {
        Work::Bare => bare::copy(&task.contestant, &task.name, &task.output)?,
        Work::Independent => run(&task, Mode::Independent)?,
        Work::Streaming => run(&task, Mode::Streaming)?,
        Work::Deferred => run(&task, Mode::Deferred)?,
    };
    let measured = Measured { seconds: began.elapsed().as_secs_f64(), cpu_seconds: cpu()? - cpu_before, bytes_written };
    std::fs::write(task.directory.join("measured.json"), serde_json::to_vec(&measured)?)?;
    Ok(())
}

fn run(task: &Task, mode: Mode) -> Result<u64> {
    let file = task.directory.join("job.toml");
    std::fs::write(&file, configuration(task))?;
    let job = config::load(&file, mode, &Overrides::default())?;
    let metrics = Metrics::new(&job.name);
    let summary = pipeline::run(
        job,
        RunOptions { until_end: Some(pipeline::UntilEnd::Keep), ..RunOptions::default() },
        metrics,
        StopFlag::new(),
    )?;
    if summary.totals.read != task.contestant.events {
        return Err(format!("{} of {} events were read", summary.totals.read, task.contestant.events).into());
    }
    Ok(summary.bytes_written)
}

fn configuration(task: &Task) -> String {
    let Task { contestant, name, output, directory } = task;
    let delivery = match contestant.delivery {
        Delivery::ExactlyOnce => "exactly_once",
        Delivery::AtLeastOnce => "at_least_once",
    };
    let (brokers, preset, state) = (&contestant.brokers, &contestant.preset, directory.join("state"));
    format!(
        r#"
[job]
name = "{name}"
workers = 2
preset = "{preset}"
delivery = "{delivery}"
[[stream]]
name = "person"
key = "/id"
[[stream]]
name = "auction"
key = "/id"
depends_on = [ {{ name = "seller", entity = "person", by = "/seller" }} ]
[[stream]]
name = "bid"
depends_on = [
  {{ name = "auction", entity = "auction", by = "/auction" }},
  {{ name = "bidder", entity = "person", by = "/bidder" }},
]
[source.kafka]
brokers = "{brokers}"
topics = ["{INPUT}"]
stream = "/type"
[sink.resolved]
topic = "{output}"
[sink.dead_letter]
topic = "{output}"
[state]
path = "{}"
memory = "1GiB"
[metrics]
listen = "off"
"#,
        state.display(),
    )
}

pub(crate) fn make_topic(brokers: &str, name: &str, partitions: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()))?;
    made.into_iter().find_map(std::result::Result::err).map_or(Ok(()), |(_, code)| Err(code.to_string().into()))
}
