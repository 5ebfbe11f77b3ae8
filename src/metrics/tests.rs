use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

/// Metrics of a job in which something of every kind has happened.
fn busy() -> Metrics {
    let metrics = Metrics::new("social");
    metrics.restore_totals(&Totals {
        read: 100,
        rejected: 1,
        accepted: 99,
        resolved: 90,
        expired: 4,
        dropped: 2,
        retracted: 0,
    });
    metrics.records_read(20);
    metrics.bytes_read(2048);
    metrics.records_replayed(7);
    metrics.rejected(RejectedReason::InvalidJson, 2);
    metrics.accepted(18);
    metrics.resolved("like", 10);
    metrics.resolved("post", 5);
    metrics.expired("like", ExpiredReason::Deadline, 1);
    metrics.dropped("post", DroppedReason::Tombstone, 1);
    metrics.notices(3);
    metrics.waiting(3, 1);
    metrics.oldest_waiting(Some(Duration::from_millis(1500)));
    metrics.draining(1);
    metrics.accept_latency([(100, 18)]);
    metrics.resolve_latency([(900, 14), (3_000_000, 1)]);
    metrics.completion_latency([(90, 15)]);
    metrics.visible_latency([(100_000, 15)]);
    metrics.epoch_committed(Duration::from_millis(3));
    metrics.source_lag(Some(4096), None);
    metrics.backpressure(Backpressure::Commit, Duration::from_millis(250));
    metrics.source_behind(Duration::from_millis(40));
    metrics.busy(Duration::from_secs(2));
    metrics.state_bytes(1 << 20);
    metrics.memory(MemoryPart::Referents, 1 << 10);
    metrics.referents_moved_to_state(2);
    metrics.events_moved_to_state(1);
    metrics.state_lookups(11);
    metrics.sink_bytes("resolved", 300);
    metrics.sink_bytes("dead_letter", 30);
    metrics
}

/// The samples of one metric in the order of the text, without the label that all have.
fn samples(text: &str, name: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        .map(|line| line.replace(",job=\"social\"", "").replace("{job=\"social\"}", ""))
        .collect()
}

#[test]
fn the_text_says_what_happened() {
    let text = busy().gather();
    for (name, expected) in [
        ("resolvent_records_read_total", &["120"][..]),
        ("resolvent_events_accepted_total", &["117"]),
        (
            "resolvent_events_total",
            &[
                "{outcome=\"dropped\"} 3",
                "{outcome=\"expired\"} 5",
                "{outcome=\"rejected\"} 3",
                "{outcome=\"resolved\"} 105",
            ],
        ),
        (
            "resolvent_stream_events_total",
            &[
                "{outcome=\"expired\",reason=\"deadline\",stream=\"like\"} 1",
                "{outcome=\"resolved\",reason=\"\",stream=\"like\"} 10",
                "{outcome=\"resolved\",reason=\"\",stream=\"post\"} 5",
                "{outcome=\"dropped\",reason=\"tombstone\",stream=\"post\"} 1",
            ],
        ),
        ("resolvent_rejected_total", &["{reason=\"invalid_json\"} 2"]),
        ("resolvent_events_waiting", &["{place=\"memory\"} 3", "{place=\"state\"} 1"]),
        ("resolvent_oldest_waiting_seconds", &["1.5"]),
        ("resolvent_source_lag_bytes", &["4096"]),
        ("resolvent_source_lag_records", &[]),
        ("resolvent_source_behind_seconds", &["0.04"]),
        ("resolvent_resolve_latency_seconds_sum", &["3.0126"]),
        ("resolvent_resolve_latency_seconds_count", &["15"]),
        ("resolvent_moved_to_state_total", &["{kind=\"event\"} 1", "{kind=\"referent\"} 2"]),
        ("resolvent_ready", &["0"]),
    ] {
        let mut found: Vec<_> =
            samples(&text, name).iter().map(|s| s.trim_start_matches(name).trim().to_owned()).collect();
        let mut expected: Vec<_> = expected.iter().map(|s| (*s).to_owned()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_latency_is_exported_as_a_histogram() {
    let text = busy().gather();
    let expected = "\
# TYPE resolvent_resolve_latency_seconds histogram
resolvent_resolve_latency_seconds_bucket{job=\"social\",le=\"0.0001\"} 0
resolvent_resolve_latency_seconds_bucket{job=\"social\",le=\"0.00025\"} 0
resolvent_resolve_latency_seconds_bucket{job=\"social\",le=\"0.0005\"} 0
resolvent_resolve_latency_seconds_bucket{job=\"social\",le=\"0.001\"} 14
";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("resolvent_resolve_latency_seconds_bucket{job=\"social\",le=\"2.5\"} 14"));
    assert!(text.contains("resolvent_resolve_latency_seconds_bucket{job=\"social\",le=\"5\"} 15"));
    assert!(text.contains("resolvent_resolve_latency_seconds_bucket{job=\"social\",le=\"+Inf\"} 15"));
}

#[test]
fn every_metric_of_the_contract_is_there_from_the_start() {
    let text = Metrics::new("social").gather();
    for name in [
        "resolvent_records_read_total",
        "resolvent_events_total",
        "resolvent_events_waiting",
        "resolvent_oldest_waiting_seconds",
        "resolvent_accept_latency_seconds",
        "resolvent_resolve_latency_seconds",
        "resolvent_completion_latency_seconds",
        "resolvent_visible_latency_seconds",
        "resolvent_epoch_commit_seconds",
        "resolvent_state_bytes",
        "resolvent_memory_bytes",
        "resolvent_backpressure_seconds_total",
        "resolvent_build_info",
    ] {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} is missing from\n{text}");
    }
}

#[test]
fn the_snapshot_agrees_with_the_text() {
    let metrics = busy();
    let snapshot = metrics.snapshot();
    assert_eq!(
        snapshot.totals,
        Totals { read: 120, rejected: 3, accepted: 117, resolved: 105, expired: 5, dropped: 3, retracted: 0 }
    );
    assert_eq!(snapshot.totals.since(&snapshot.restored).read, 20);
    assert_eq!(snapshot.totals.conserves(snapshot.waiting()), Ok(()));
    assert_eq!((snapshot.lag_bytes, snapshot.lag_records), (Some(4096), None));
    assert_eq!(snapshot.sink_bytes, 330);
    assert_eq!(snapshot.resolve.count, 15);
    assert_eq!(snapshot.backpressure[1], (Backpressure::Commit, Duration::from_millis(250)));
    metrics.waiting(0, 0);
    assert_eq!((metrics.snapshot().waiting(), metrics.snapshot().waiting_peak), (0, 4));
    metrics.source_lag(None, Some(5));
    assert_eq!((metrics.snapshot().lag_bytes, metrics.snapshot().lag_records), (None, Some(5)));
}

#[test]
fn readiness_is_exported() {
    let metrics = Metrics::new("social");
    metrics.health().ready();
    assert!(metrics.gather().contains("resolvent_ready{job=\"social\"} 1"));
    metrics.health().failed("disk full");
    assert!(metrics.gather().contains("resolvent_ready{job=\"social\"} 0"));
}

/// `promtool` comes with Prometheus and may not be installed; the project's own checks have it.
#[test]
fn promtool_finds_nothing_to_complain_about() {
    let text = busy().gather();
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        eprintln!("promtool is not installed: the metrics were not checked with it");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
