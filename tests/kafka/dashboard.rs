//! The dashboard's queries about Kafka, on a job from topic to topic.

use crate::dashboards::{Prometheus, Query, queries};
use crate::support::{Kafka, Program, Workspace, orders, payments, unique};

/// Panels of which there is no series before something has gone wrong. That their metrics exist is tested beside the others.
const ABSENT: [&str; 2] = ["Client errors", "Throttled"];

/// Panels that show nothing but zero while all is well.
const ZERO: [&str; 3] = ["Lag, by topic", "Lag of the slowest partitions", "Rebalances and beginnings anew"];

#[test]
fn every_query_of_the_dashboard_about_kafka_is_answered() {
    let kafka = Kafka::shared();
    let (events, resolved) = (kafka.topic("events", 2), kafka.topic("resolved", 1));
    let name = unique("watched");
    let workspace = Workspace::new();
    let address = kafka.address();
    workspace.write(
        "job.toml",
        format!(
            r#"[job]
name = "{name}"
[[stream]]
name = "order"
key = "/id"
[[stream]]
name = "payment"
depends_on = [ {{ entity = "order", by = "/order" }} ]
[source.kafka]
brokers = "{address}"
topics = ["{events}"]
stream = "/type"
[sink.resolved]
topic = "{resolved}"
[sink.dead_letter]
null = true
"#
        ),
    );
    let mut running = workspace.start(Program::Sedd, &["--metrics", "127.0.0.1:0"]);
    let metrics = running.metrics_address();
    let Some(mut prometheus) = Prometheus::scraping(&workspace, &metrics) else { return };
    let queries: Vec<Query> = queries()
        .into_iter()
        .filter(|(row, query)| row == "Kafka" || query.panel == "Lag in records")
        .map(|(_, query)| query)
        .filter(|query| !ABSENT.contains(&query.panel.as_str()))
        .collect();
    assert_eq!(queries.len(), 6, "{queries:?}");
    let mut at = 0;
    let is_more = |query: &Query| !ZERO.contains(&query.panel.as_str()) && query.panel != "Lag in records";
    prometheus.answers(&queries, &name, is_more, || {
        let ids = at * 10..(at + 1) * 10;
        kafka.send_lines(&events, &(payments(ids.clone()) + &orders(ids)));
        at += 1;
    });
    prometheus.evaluates_alerts();
    assert!(!running.has_ended(), "{}", running.stderr());
}
