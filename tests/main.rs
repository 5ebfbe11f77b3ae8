//! The job binaries, seen from outside: files and signals in, outcomes, messages and exit statuses out.
//!
//! Everything happens in temporary directories. `RESOLVENT_SOAK=1` asks for the long form of the tests that have one; `RESOLVENT_KAFKA=host:port`
//! names a broker to use in place of one of their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod advise;
mod bad_input;
mod command_line;
mod comparison;
mod crash;
mod damage;
mod dashboards;
mod disk;
mod inspect;
mod kafka;
mod maintained;
mod metrics;
/// The comparison of the modes. Its tests run here, for a benchmark has no test harness, and `comparison` starts it from here.
#[path = "../benches/modes/main.rs"]
mod modes;
mod open_loop;
mod real_data;
mod refusals;
mod restart;
mod sources;
mod support;
