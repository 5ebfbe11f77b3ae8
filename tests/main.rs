//! The job binaries, seen from outside: files and signals in, outcomes, messages and exit statuses out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod inspect;
