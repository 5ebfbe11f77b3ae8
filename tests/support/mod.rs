//! What the tests share: a directory with a job in it, processes that never outlive their test, outcomes as values.

#[expect(dead_code, reason = "the benchmark has another kind of broker")]
mod broker;
mod http;
mod judge;
mod kafka;
mod outcome;
mod process;
mod protocol;
mod proxy;
mod random;
mod shop;
mod summary;
mod workspace;

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

pub(crate) use broker::{Broker, BrokerSettings, STRANGER, USER};
pub(crate) use http::{Scrape, get};
pub(crate) use judge::{Dependencies, judge};
pub(crate) use kafka::{Kafka, Received, Sent, tls_properties, unique};
pub(crate) use outcome::{Outcome, assert_unique_positions, each_outcome, read_outcomes, result_set};
pub(crate) use process::{Ended, PATIENCE, Program, Running, binary, is_longer_than};
pub(crate) use protocol::{Operation, Resource, allow, limit};
pub(crate) use proxy::{Network, Proxy};
pub(crate) use random::Random;
pub(crate) use shop::{FILES, SHOP, followed, followed_shop, orders, payments};
pub(crate) use summary::Summary;
pub(crate) use workspace::Workspace;

/// Whether the long form is asked for.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("RESOLVENT_SOAK").is_some_and(|value| !value.is_empty() && value != "0")
}

/// The content of a gzip file.
pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Looks again and again until there is something, and fails after [`PATIENCE`].
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Says that a test, or a part of one, did not run, and why. What `eprintln!` writes is shown of failed tests only.
pub(crate) fn skip(what: &str, why: &str) {
    let line = format!("SKIPPED {what}: {why}\n");
    io::stderr().write_all(line.as_bytes()).expect("the standard error of tests can be written to");
}

/// Whether a program can be started.
pub(crate) fn has_program(name: &str) -> bool {
    let mut command = std::process::Command::new(name);
    command.arg("--version").stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
