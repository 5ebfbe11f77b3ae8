//! What the comparison of the modes decides and draws: no process, no file, no clock.
//!
//! A benchmark has no test harness, so `tests/main.rs` has all of it as a module, and runs the tests of these.

pub(crate) mod advice;
pub(crate) mod charts;
pub(crate) mod compare;
pub(crate) mod job;
pub(crate) mod page;
pub(crate) mod plan;
pub(crate) mod results;
pub(crate) mod search;
pub(crate) mod series;
pub(crate) mod setting;
pub(crate) mod statistics;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod truth;
