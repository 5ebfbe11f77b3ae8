//! Contestants, each in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use resolvent::dependency::Mode;
use resolvent::metrics::{Metrics, cpu_seconds_of};
use resolvent::pipeline::{self, RunOptions, StopFlag};
use serde::{Deserialize, Serialize};

use crate::broker::Broker;
use crate::common::{self, NEXMARK, Watch};
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

/// How often it is looked whether a job has consumed something, and whether it has committed all.
const LOOK_FOR_FIRST: Duration = Duration::from_millis(5);
const LOOK_FOR_LAST: Duration = Duration::from_millis(50);

/// What a contestant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    Bare,
    Independent,
    Streaming,
    Deferred,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
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

/// What a child process has measured of itself: from the first record that it consumed to the commit of the last. What a job and a loop do before and after
/// that, once, is not counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    /// Of all its threads in that time.
    pub(crate) cpu_seconds: f64,
    /// Of records, as sinks count them.
    pub(crate) bytes_written: u64,
    /// What the broker spent on it, from the start of the process to its end.
    pub(crate) broker_cpu_seconds: f64,
}

/// Runs a contestant in a process of its own, with an output topic of its own.
pub(crate) fn timed(contestant: &Contestant, broker: &Broker, scratch: &Path) -> Result<Measured> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let (name, output) = (format!("bench-{run}"), format!("out-{run}"));
    make_topic(&contestant.brokers, &output, PARTITIONS)?;
    let directory = tempfile::tempdir_in(scratch)?;
    let task = Task { contestant: contestant.clone(), name, output, directory: directory.path().to_owned() };
    let broker_cpu = || broker.process_id().and_then(cpu_seconds_of).ok_or("the broker does not run");
    let before = broker_cpu()?;
    let mut child = common::start(&task, Stdio::null(), Stdio::null())?;
    let measured = common::finish(&mut child, &format!("{:?}", contestant.work), directory.path())?;
    Ok(Measured { broker_cpu_seconds: broker_cpu()? - before, ..measured })
}

/// The child process: does its task and leaves what it measured.
pub(crate) fn work(task: &str) -> Result<()> {
    let task: Task = serde_json::from_str(task)?;
    let measured = match task.contestant.work {
        Work::Bare => bare::copy(&task.contestant, &task.name, &task.output)?,
        Work::Independent => run(&task, Mode::Independent)?,
        Work::Streaming => run(&task, Mode::Streaming)?,
        Work::Deferred => run(&task, Mode::Deferred)?,
    };
    common::leave(&measured, &task.directory)
}

fn run(task: &Task, mode: Mode) -> Result<Measured> {
    let job = common::load(&configuration(task), mode, &task.directory)?;
    let (metrics, events) = (Metrics::new(&job.name), task.contestant.events);
    let watched = metrics.clone();
    let watching = thread::spawn(move || watch(&watched, events));
    let options = RunOptions { until_end: Some(pipeline::UntilEnd::Keep), ..RunOptions::default() };
    let summary = pipeline::run(job, options, metrics, StopFlag::new())?;
    if summary.totals.read != events {
        return Err(format!("{} of {events} events were read", summary.totals.read).into());
    }
    let (seconds, cpu_seconds) = watching.join().map_err(|_| "the thread that watches the job has panicked")??;
    Ok(Measured { seconds, cpu_seconds, bytes_written: summary.bytes_written, broker_cpu_seconds: 0.0 })
}

/// Watches a job from the first outcomes, milliseconds after its first record, to the commit of the last record.
fn watch(metrics: &Metrics, events: u64) -> Result<(f64, f64)> {
    while metrics.snapshot().sink_bytes == 0 {
        thread::sleep(LOOK_FOR_FIRST);
    }
    let watch = Watch::start()?;
    while metrics.totals().read < events {
        thread::sleep(LOOK_FOR_LAST);
    }
    watch.read()
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
{NEXMARK}
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
