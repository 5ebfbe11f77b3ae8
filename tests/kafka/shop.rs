//! The shop of the other tests, payments that refer to orders, with topics.

use std::fmt::Write as _;

use crate::support::{Kafka, Program, Running, Scrape, Workspace, assert_unique_positions, eventually, get, unique};

const STREAMS: &str = r#"
[[stream]]
name = "order"
key = "/id"

[[stream]]
name = "payment"
depends_on = [ { entity = "order", by = "/order" } ]
"#;

/// A job with its topics: records of both streams in `events`, told apart by `/type`.
pub(super) struct Shop {
    pub(super) workspace: Workspace,
    pub(super) name: String,
    pub(super) events: String,
    pub(super) resolved: String,
    pub(super) dead: String,
}

/// What of a job differs from the usual.
#[derive(Default)]
pub(super) struct Changes<'a> {
    /// Lines of `[job]`.
    pub(super) job: &'a str,
    /// All `[[stream]]` sections.
    pub(super) streams: Option<&'a str>,
    /// Lines of `[source.kafka]`.
    pub(super) source: &'a str,
    /// In place of `stream = "/type"`.
    pub(super) stream: Option<&'a str>,
    /// Lines of `[sink.kafka]`.
    pub(super) sink: &'a str,
    /// Lines of `[sink.resolved]`.
    pub(super) resolved: &'a str,
    /// In place of the broker's address.
    pub(super) brokers: Option<&'a str>,
}

impl Shop {
    /// With the topics made, `events` with this many partitions.
    pub(super) fn new(kafka: &Kafka, partitions: i32, changes: &Changes<'_>) -> Shop {
        let shop = Shop::without_topics(kafka, changes);
        kafka.create(&shop.events, partitions, &[]);
        kafka.create(&shop.resolved, 1, &[]);
        kafka.create(&shop.dead, 1, &[]);
        shop
    }

    /// With topics that are not there.
    pub(super) fn without_topics(kafka: &Kafka, changes: &Changes<'_>) -> Shop {
        let name = unique("shop");
        let [events, resolved, dead] = ["events", "resolved", "dead"].map(|topic| format!("{name}-{topic}"));
        let shop = Shop { workspace: Workspace::new(), name, events, resolved, dead };
        shop.workspace.write("job.toml", shop.job(kafka.address(), changes));
        shop
    }

    fn job(&self, address: &str, changes: &Changes<'_>) -> String {
        let Shop { name, events, resolved, dead, .. } = self;
        let Changes { job, streams, source, stream, sink, resolved: of_resolved, brokers } = changes;
        let (streams, stream) = (streams.unwrap_or(STREAMS), stream.unwrap_or("stream = \"/type\""));
        let brokers = brokers.unwrap_or(address);
        let mut text = format!("[job]\nname = \"{name}\"\nepoch = \"40ms\"\n{job}\n{streams}\n");
        // Writing to a string does not fail.
        let _ = writeln!(text, "[source.kafka]\nbrokers = \"{brokers}\"\ntopics = [\"{events}\"]\n{stream}\n{source}");
        let _ = writeln!(text, "[sink.kafka]\n{sink}\n[sink.resolved]\ntopic = \"{resolved}\"\n{of_resolved}");
        let _ = writeln!(text, "[sink.dead_letter]\ntopic = \"{dead}\"");
        text
    }

    /// Waits until so many records have been resolved, and checks that each was once.
    pub(super) fn assert_each_once(&self, kafka: &Kafka, records: usize) {
        eventually("all is seen", || (kafka.outcomes(&self.resolved).len() >= records).then_some(()));
        let outcomes = kafka.outcomes(&self.resolved);
        assert_unique_positions(&outcomes);
        assert_eq!(outcomes.len(), records);
    }

    /// Changes `job.toml`.
    pub(super) fn replace(&self, from: &str, to: &str) {
        let job = String::from_utf8(self.workspace.read("job.toml")).unwrap();
        assert!(job.contains(from), "no {from:?} in {job}");
        self.workspace.write("job.toml", job.replace(from, to));
    }

    /// Starts the job with metrics, and waits until it is ready.
    pub(super) fn start(&self, program: Program) -> Live {
        let mut live = self.launch(program);
        live.await_ready();
        live
    }

    /// Starts the job with metrics.
    pub(super) fn launch(&self, program: Program) -> Live {
        let mut running = self.workspace.start(program, &["--workers", "2", "--metrics", "127.0.0.1:0"]);
        let address = running.metrics_address();
        Live { running, address }
    }
}

/// A job that runs and can be asked how it is.
pub(super) struct Live {
    pub(super) running: Running,
    address: String,
}

impl Live {
    pub(super) fn await_ready(&mut self) {
        eventually("the job is ready", || {
            assert!(!self.running.has_ended(), "it has ended: {}", self.running.stderr());
            get(&self.address, "/readyz").filter(|(status, _)| *status == 200)
        });
    }

    /// Where it answers.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether it says that it is ready.
    pub(super) fn is_ready(&self) -> bool {
        get(&self.address, "/readyz").is_some_and(|(status, _)| status == 200)
    }

    /// The sum of the series of a metric whose labels contain `label`.
    pub(super) fn metric(&self, name: &str, label: &str) -> Option<f64> {
        Scrape::of(&self.address)?.value(name, label)
    }

    /// Waits until a metric has at least this value.
    pub(super) fn await_metric(&mut self, name: &str, label: &str, value: f64) {
        eventually(name, || {
            assert!(!self.running.has_ended(), "it has ended: {}", self.running.stderr());
            self.metric(name, label).filter(|found| *found >= value)
        });
    }

    /// Stops it with SIGTERM. Returns what it said.
    pub(super) fn stop(self) -> String {
        self.running.terminate();
        self.running.wait().succeeded().stderr
    }
}
