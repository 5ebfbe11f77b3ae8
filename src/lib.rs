//! Resolvent resolves events that depend on other events.

pub mod checkpoint;
pub mod clock;
pub mod config;
pub mod decode;
pub mod dependency;
pub mod event;
pub mod http;
pub mod inspect;
pub mod metrics;
pub mod mode;
pub mod pipeline;
pub mod sink;
pub mod source;
