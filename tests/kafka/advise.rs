//! `advise` on topics: arrivals are the timestamps of records, and the brokers notice nothing but a reader.

use crate::advise::{report, shares};
use crate::support::{Kafka, Sent, Workspace, unique};

#[test]
fn lags_are_measured_by_the_timestamps_of_records() {
    let kafka = Kafka::shared();
    let (orders, payments) = (kafka.topic("orders", 2), kafka.topic("payments", 1));
    let group = unique("group");
    let workspace = Workspace::new();
    let address = kafka.address();
    // `start` is where a new job would begin; advice is on all that there is.
    workspace.write(
        "job.toml",
        format!(
            r#"[job]
name = "shop"
[[stream]]
name = "order"
key = "@key"
[[stream]]
name = "payment"
depends_on = [ {{ entity = "order", by = "/order" }} ]
[source.kafka]
brokers = "{address}"
group = "{group}"
topics = {{ {orders} = "order", {payments} = "payment" }}
start = "latest"
[sink.resolved]
null = true
[sink.dead_letter]
null = true
"#
        ),
    );
    // Order N comes at 1,000,000 + 10 N, on either partition; its payment 500 ms later, and 300 ms before it for every fourth. One order is deleted at last.
    let start = 1_000_000_000_000;
    let keys: Vec<String> = (0..400).map(|id| id.to_string()).collect();
    kafka.send(
        &orders,
        keys.iter().zip(0_i64..).map(|(key, id)| Sent {
            partition: (id % 2) as i32,
            key: Some(key.as_bytes()),
            value: Some(b"{}"),
            timestamp: Some(start + 10 * id),
            ..Sent::default()
        }),
    );
    let mut paid: Vec<(i64, String)> = (0_i64..400)
        .map(|id| (start + 10 * id + if id % 4 == 0 { -300 } else { 500 }, format!("{{\"order\":{id}}}")))
        .collect();
    paid.sort();
    kafka.send(&payments, paid.iter().map(|(at, value)| Sent { timestamp: Some(*at), ..Sent::value(0, value) }));
    let deleted = Sent { partition: 1, key: Some(b"7"), timestamp: Some(start + 60_000), ..Sent::default() };
    kafka.send(&orders, [deleted]);

    let report = report(&workspace, &["--latency", "1s"]);
    assert_eq!((&report["clock"]["kind"], &report["sample"]["end"]), (&"record_time".into(), &"present_end".into()));
    assert_eq!(report["sample"]["records"], 801);
    let d = &report["dependencies"][0];
    assert_eq!((shares(d), &d["lag"]["max"], &d["age"]["max"]), ([300, 100, 0, 0], &300_000.into(), &500_000.into()));
    assert_eq!(report["entities"][0]["keys"], 399);
    assert_eq!(d["reason"], "within");
    for topic in [&orders, &payments] {
        assert!(kafka.committed(&group, topic).iter().all(Option::is_none), "advise left offsets");
    }
}
