//! What lies beside the jobs for who runs them: the dashboard, whose every query is put to a real Prometheus that scrapes a real job, and the alerts.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::metrics::{free_address, tool};
use crate::support::{FILES, Program, Running, Workspace, eventually, followed, get, orders};

const DASHBOARD: &str = include_str!("../jobs/dashboards/resolvent.json");
const ALERTS: &str = include_str!("../jobs/dashboards/alerts.yml");
const DEFINITIONS: &str = include_str!("../src/metrics/definitions.rs");

/// The range of `rate` in place of Grafana's, for a scrape every second.
const RATE_INTERVAL: &str = "5s";

/// How the job's own label is called, without and with `honor_labels: true`.
const LABELS: [&str; 2] = ["exported_job", "job"];

/// A query of a panel.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) panel: String,
    expression: String,
}

impl Query {
    /// The query for a job, whose own label is called `label`.
    fn of_job(&self, job: &str, label: &str) -> String {
        self.expression.replace("$label", label).replace("$job", job).replace("$__rate_interval", RATE_INTERVAL)
    }
}

/// All queries of the dashboard, by the row that their panel is in.
pub(crate) fn queries() -> Vec<(String, Query)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let (mut row, mut queries) = (String::new(), Vec::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        if panel["type"] == "row" {
            row = title.to_owned();
            continue;
        }
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title} shows nothing");
        for target in targets {
            let expression = target["expr"].as_str().unwrap().to_owned();
            queries.push((row.clone(), Query { panel: title.to_owned(), expression }));
        }
    }
    queries
}

/// A Prometheus that scrapes one job every second, twice: as it is, and with `honor_labels: true`. It evaluates the alerts.
pub(crate) struct Prometheus {
    listen: String,
    server: Running,
}

impl Prometheus {
    /// `None` where there is no Prometheus here.
    pub(crate) fn scraping(workspace: &Workspace, job: &str) -> Option<Prometheus> {
        let program = tool("prometheus")?;
        let target = |name: &str, honor| {
            format!("- job_name: {name}\n  honor_labels: {honor}\n  static_configs: [{{targets: ['{job}']}}]\n")
        };
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [alerts.yml]\nscrape_configs:\n{}{}",
            target("resolvent", false),
            target("honored", true)
        );
        workspace.write("prometheus.yml", config);
        workspace.write("alerts.yml", ALERTS);
        let listen = free_address();
        let mut command = Command::new(program);
        command.current_dir(workspace.root()).stdin(Stdio::null()).args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=series",
            &format!("--web.listen-address={listen}"),
        ]);
        Some(Prometheus { listen, server: Running::start(&mut command) })
    }

    /// What it answers; `None` where it does not, or not yet.
    fn ask(&mut self, path: &str) -> Option<Value> {
        assert!(!self.server.has_ended(), "Prometheus ended: {}", self.server.stderr());
        let (status, body) = get(&self.listen, path)?;
        assert!(status != 400 && status != 422, "{path}: {body}");
        serde_json::from_str(&body).ok().filter(|_| status == 200)
    }

    /// The values of a query: `None` where there is none, or one that is no number.
    fn values(&mut self, query: &str) -> Option<Vec<f64>> {
        let answer = self.ask(&format!("/api/v1/query?query={}", encoded(query)))?;
        let series = answer["data"]["result"].as_array()?;
        let values: Vec<f64> =
            series.iter().map(|series| series["value"][1].as_str()?.parse().ok()).collect::<Option<_>>()?;
        (!values.is_empty() && values.iter().all(|value| value.is_finite())).then_some(values)
    }

    /// Puts queries until each has an answer of numbers that are not negative, of which one is greater than nothing where `is_more` says so. `feed` gives
    /// the job something to do meanwhile.
    pub(crate) fn answers(
        &mut self,
        queries: &[Query],
        job: &str,
        is_more: impl Fn(&Query) -> bool,
        mut feed: impl FnMut(),
    ) {
        for label in LABELS {
            let mut open: Vec<&Query> = queries.iter().collect();
            eventually("every query has an answer", || {
                feed();
                thread::sleep(Duration::from_millis(100));
                open.retain(|query| {
                    let text = query.of_job(job, label);
                    let Some(values) = self.values(&text) else { return true };
                    assert!(values.iter().all(|value| *value >= 0.0), "{}: {text} is {values:?}", query.panel);
                    is_more(query) && values.iter().all(|value| *value == 0.0)
                });
                if !open.is_empty() && std::env::var_os("RESOLVENT_SHOW").is_some() {
                    let panels: Vec<&str> = open.iter().map(|query| query.panel.as_str()).collect();
                    eprintln!("{label}: not yet: {panels:?}");
                }
                open.is_empty().then_some(())
            });
        }
    }

    /// The jobs that the dashboard lets choose from.
    fn jobs(&mut self, label: &str) -> Option<Vec<String>> {
        let answer = self.ask(&format!("/api/v1/label/{label}/values?match[]=resolvent_ready"))?;
        Some(answer["data"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Checks that Prometheus can evaluate every alert on what it has scraped, and that none fires of those that have no reason to.
    pub(crate) fn evaluates_alerts(&mut self) {
        let rules = eventually("the alerts are evaluated", || {
            let answer = self.ask("/api/v1/rules?type=alert")?;
            let rules = answer["data"]["groups"][0]["rules"].as_array()?.clone();
            rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
        });
        assert_eq!(rules.len(), ALERTS.matches("- alert:").count());
        for rule in rules {
            assert_eq!((&rule["health"], &rule["lastError"]), (&"ok".into(), &Value::Null), "{rule}");
            assert_ne!(rule["state"], "firing", "{rule}");
        }
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").unwrap();
        }
        encoded
    })
}

/// Two kinds of dependents, one that waits in memory and one that waits in the state.
const JOB: &str = r#"[job]
name = "watched"
epoch = "50ms"

[[stream]]
name = "order"
key = "/id"

[[stream]]
name = "payment"
depends_on = [ { entity = "order", by = "/order" } ]

[[stream]]
name = "refund"
depends_on = [ { entity = "order", by = "/order", mode = "streaming" } ]
"#;

/// Orders with, before each, a payment and a refund, and each time one of an order that never comes, and a line that is no record.
fn slice(at: u64) -> String {
    let dependent = |stream: &str, order: u64| format!("{{\"type\":\"{stream}\",\"order\":{order}}}\n");
    let ids = at * 20..(at + 1) * 20;
    let dependents: String = ids.clone().map(|id| dependent("payment", id) + &dependent("refund", id)).collect();
    let never = 1_000_000_000 + at;
    dependents + &orders(ids) + &dependent("payment", never) + &dependent("refund", never) + "no record\n"
}

/// Panels that show nothing but zero while all is well.
const ZERO: [&str; 6] =
    ["Being woken", "Backpressure", "Moved to the state", "Lookups in the state", "Lag", "Lag in bytes"];

#[test]
fn every_query_of_the_dashboard_is_answered_for_a_job_on_files() {
    let workspace = Workspace::with(&(JOB.to_owned() + FILES), "");
    workspace.write("job.toml", followed(&(JOB.to_owned() + FILES)) + "[sink.accepted]\nfile = \"accepted.jsonl\"\n");
    let mut running = workspace.start(Program::Dedd, &["--metrics", "127.0.0.1:0"]);
    let address = running.metrics_address();
    let Some(mut prometheus) = Prometheus::scraping(&workspace, &address) else { return };

    let queries: Vec<Query> = queries()
        .into_iter()
        .filter(|(row, query)| row != "Kafka" && query.panel != "Lag in records")
        .map(|(_, query)| query)
        .collect();
    let is_replay = |query: &Query| query.expression.contains("_replayed_");
    let is_more = |query: &Query| !ZERO.contains(&query.panel.as_str()) && !is_replay(query);
    let mut at = 0;
    prometheus.answers(&queries, "watched", is_more, || {
        workspace.append("events.jsonl", slice(at));
        at += 1;
    });
    for label in LABELS {
        // `job` has the name of a scrape configuration, too: that of the other one.
        assert!(prometheus.jobs(label).unwrap().contains(&"watched".to_owned()), "{label}");
    }
    prometheus.evaluates_alerts();
    assert!(!running.has_ended(), "{}", running.stderr());
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!((&dashboard["id"], &dashboard["uid"]), (&Value::Null, &"resolvent".into()));
    let variables: Vec<&str> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "label", "job"]);
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
        for (x, y) in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
            assert!(taken.insert((place("x") + x, place("y") + y)), "panels overlap: {panel}");
        }
        if panel["type"] != "row" {
            let sources = panel["targets"].as_array().unwrap().iter().chain([panel]).map(|of| &of["datasource"]["uid"]);
            assert!(sources.into_iter().all(|uid| uid == "${datasource}"), "{panel}");
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{panel}");
        }
    }
}

/// Of a metric that nothing has happened to yet Prometheus has no series: a name that is misspelt would look like that.
#[test]
fn the_dashboard_and_the_alerts_name_metrics_that_there_are() {
    let alerts: String = ALERTS.lines().filter(|line| !line.contains("description:")).collect();
    let all: String = queries().into_iter().map(|(_, query)| query.expression + "\n").collect::<String>() + &alerts;
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names: BTreeSet<&str> = all
        .split(|c| !is_part(c))
        .filter(|word| word.starts_with("resolvent_") || word.starts_with("process_"))
        .collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let base = ["_bucket", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!(DEFINITIONS.contains(&format!("\"{base}\"")), "there is no metric {name}");
    }
}

#[test]
fn promtool_finds_the_alerts_right_and_each_fires_when_it_should() {
    let Some(promtool) = tool("promtool") else { return };
    let directory: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/dashboards");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let mut command = Command::new(&promtool);
        Running::start(command.args(arguments).current_dir(&directory).stdin(Stdio::null())).wait().succeeded();
    }
    // Each of them is tested both ways.
    let tests = include_str!("../jobs/dashboards/alerts.test.yml");
    for alert in ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let cases = |fires: &str| tests.matches(&format!("alertname: {alert}\n        exp_alerts:{fires}\n")).count();
        assert!(cases("") > 0 && cases(" []") > 0, "{alert} is not tested");
    }
}
