//! What a running job tells Prometheus.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{
    Program, Running, SHOP, Scrape, Workspace, eventually, followed_shop, get, has_program, orders, payments, skip,
};

/// The names of the contract that a job on files has, with the suffix of a series.
const NAMES: [&str; 16] = [
    "resolvent_records_read_total",
    "resolvent_events_total",
    "resolvent_events_waiting",
    "resolvent_oldest_waiting_seconds",
    "resolvent_accept_latency_seconds_count",
    "resolvent_resolve_latency_seconds_count",
    "resolvent_completion_latency_seconds_count",
    "resolvent_visible_latency_seconds_count",
    "resolvent_source_lag_bytes",
    "resolvent_epoch_commit_seconds_count",
    "resolvent_state_bytes",
    "resolvent_memory_bytes",
    "resolvent_backpressure_seconds_total",
    "resolvent_build_info",
    "resolvent_resolve_latency_seconds_bucket",
    "process_resident_memory_bytes",
];

const ORDERS: u64 = 1000;
const WAITING: u64 = 50;

/// A job that has resolved what there was and waits for more, and where its metrics are.
fn working(program: Program) -> (Workspace, Running, String) {
    let events = payments(0..ORDERS + WAITING) + &orders(0..ORDERS) + "no JSON\n";
    let workspace = Workspace::with(&followed_shop(), &events);
    let mut running = workspace.start(program, &["--metrics", "127.0.0.1:0"]);
    let address = running.metrics_address();
    eventually("all is committed", || {
        let scrape = Scrape::of(&address)?;
        let all = scrape.value("resolvent_records_read_total", "")? >= (2 * ORDERS + WAITING + 1) as f64;
        // The lag is measured now and then.
        (all && scrape.value("resolvent_source_lag_bytes", "") == Some(0.0)).then_some(())
    });
    (workspace, running, address)
}

/// The path of a tool of Prometheus, on the PATH or among the tools of the Makefile.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let tools = std::env::var_os("RESOLVENT_TOOLS").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/resolvent/tools"));
    let kept = tools.or(home).map(|tools| tools.join("bin").join(name)).filter(|path| path.exists());
    let found = has_program(name).then(|| PathBuf::from(name)).or(kept);
    if found.is_none() {
        skip("Prometheus", &format!("{name} is not here"));
    }
    found
}

#[test]
fn counts_are_those_of_the_job() {
    for program in Program::ALL {
        let (_workspace, running, address) = working(program);
        let waits = program != Program::Independent;
        let scrape = Scrape::of(&address).unwrap();
        let value = |metric, label| scrape.value(metric, label).unwrap_or_else(|| panic!("no {metric} {label}"));
        assert_eq!(value("resolvent_records_read_total", ""), (2 * ORDERS + WAITING + 1) as f64);
        assert_eq!(value("resolvent_events_total", "outcome=\"rejected\""), 1.0);
        let waiting = if waits { WAITING as f64 } else { 0.0 };
        assert_eq!(value("resolvent_events_waiting", ""), waiting);
        assert_eq!(value("resolvent_events_total", "outcome=\"resolved\""), (2 * ORDERS + WAITING) as f64 - waiting);
        assert_eq!(value("resolvent_oldest_waiting_seconds", "") > 0.0, waits);
        assert_eq!(value("resolvent_source_lag_bytes", ""), 0.0);
        for name in NAMES {
            assert!(scrape.value(name, "").is_some(), "{program:?} has no {name}");
        }
        running.terminate();
        running.wait().succeeded();
        assert!(get(&address, "/healthz").is_none(), "a job that has stopped listens no more");
    }
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let Some(promtool) = tool("promtool") else { return };
    for program in Program::ALL {
        let (_workspace, _running, address) = working(program);
        let text = Scrape::of(&address).unwrap().0;
        let mut command = Command::new(&promtool);
        let mut checking = Running::start(command.args(["check", "metrics"]).stdin(Stdio::piped()));
        checking.stdin().write_all(text.as_bytes()).unwrap();
        let checked = checking.wait().succeeded();
        assert_eq!((checked.stdout.as_str(), checked.stderr.as_str()), ("", ""));
    }
}

#[test]
fn prometheus_scrapes_a_running_job() {
    let Some(prometheus) = tool("prometheus") else { return };
    for program in Program::JOINING {
        let (workspace, _running, address) = working(program);
        let scrape = format!(
            "scrape_configs:\n- job_name: resolvent\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{address}']\n"
        );
        workspace.write("prometheus.yml", scrape);
        let listen = free_address();
        let mut command = Command::new(&prometheus);
        command.current_dir(workspace.root()).stdin(Stdio::null()).args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=series",
            &format!("--web.listen-address={listen}"),
        ]);
        let mut server = Running::start(&mut command);
        for name in NAMES {
            eventually(&format!("{program:?}: Prometheus has {name}"), || {
                assert!(!server.has_ended(), "Prometheus ended: {}", server.stderr());
                let (status, body) = get(&listen, &format!("/api/v1/query?query={name}"))?;
                let body: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
                (!body["data"]["result"].as_array()?.is_empty()).then_some(())
            });
        }
    }
}

pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A pipe that nobody has closed yet keeps the job from having caught up.
#[test]
fn ready_is_who_has_caught_up() {
    for program in Program::ALL {
        let job = followed_shop().replace("\"events.jsonl\"", "[\"pipe\", \"events.jsonl\"]");
        let workspace = Workspace::with(&job, &orders(0..10));
        assert!(Command::new("mkfifo").arg(workspace.path("pipe")).status().unwrap().success());
        let mut running = workspace.start(program, &["--metrics", "127.0.0.1:0"]);
        let address = running.metrics_address();
        let status = |path| get(&address, path).unwrap().0;
        assert_eq!((status("/healthz"), status("/readyz"), status("/nowhere")), (200, 503, 404));

        let mut pipe = std::fs::OpenOptions::new().write(true).open(workspace.path("pipe")).unwrap();
        pipe.write_all(orders(10..20).as_bytes()).unwrap();
        eventually("the pipe is read", || {
            (Scrape::of(&address)?.value("resolvent_records_read_total", "")? >= 10.0).then_some(())
        });
        assert_eq!(status("/readyz"), 503);
        drop(pipe);
        eventually("the job is ready", || (status("/readyz") == 200).then_some(()));
        assert_eq!(status("/healthz"), 200);
    }
}

#[test]
fn an_address_that_is_taken_is_an_error_of_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for program in Program::ALL {
        let workspace = Workspace::with(SHOP, &orders(0..10));
        workspace.run(program, &["--metrics", &address]).failed(1, &[&address, "in use"]);
        assert!(!workspace.path("state").exists());
    }
}
