//! Resolvent resolves events that depend on other events.
//!
//! # Code map
//!
//! A record travels through the modules in this order; the last column is what each may rely on in the others, and what keeps it small.
//!
//! | module | what it does | invariant |
//! | --- | --- | --- |
//! | [`event`] | what travels: block, event, dependent, outcome | knows how nothing is read, resolved or written; every stage imports it, and no other stage |
//! | [`clock`] | the time of the process | never goes back: setting the system's clock neither fires nor delays a deadline |
//! | [`source`] | reads files, standard input, topics, seeded workloads | decodes nothing, and skips no byte in silence |
//! | [`decode`] | bytes to events: JSON, fields, reasons to reject | looks nothing up and never fails: a malformed record is data on its way to a sink |
//! | [`dependency`] | the rules: what refers to what, and how each waits | does no I/O and keeps no state; rules that exist are consistent |
//! | [`mode`] | what is here, what waits, what is due | its engine knows neither timely nor RocksDB nor a clock: messages in, effects out; a waiting event lives in one place |
//! | [`sink`] | outcomes to lines and records, these to files and topics | writes whole lines and records, and knows nothing of what they say once they are built |
//! | [`checkpoint`] | the commit protocol | positions, totals, file lengths and changes of the state are one write; with topics that write is pending until the broker has decided; a job that joins its consumer group keeps nothing but there |
//! | [`kafka`] | the client that Kafka sources and sinks share | tells which of credentials, TLS, topic and permission is wrong; no secret is in a text |
//! | [`metrics`] | one method for each thing that can happen | says what happened and decides nothing; labels are never keys |
//! | [`http`] | `/metrics`, `/healthz`, `/readyz` | reads metrics only: no client holds up the dataflow |
//! | [`config`] | TOML to a checked job | a job that exists is right; all that is wrong with a file is told at once |
//! | [`advise`] | how each dependency should wait, from a sample of the stream | only reads; decides by pure rules, and shows what they were given |
//! | [`inspect`] | what waits, and for what, out of a state | only reads, and shows the last commit |
//! | [`pipeline`] | the threads, and all that is between the stages | the only place where stages meet |
//!
//! The state itself is the crate `resolvent_state`: tables of bytes over RocksDB, which know nothing of events.
//!
//! # Where to begin
//!
//! What happens to an event: `mode/engine.rs`; where results are maintained: [`mode::maintained`]. When something becomes true: [`checkpoint`]. How an epoch goes from the reading thread through the workers to the
//! commit: `pipeline/intake.rs` and `pipeline/committer.rs`. What must come out in the end: [`mod@mode::reference`], the slow resolver that the engine is tested
//! against.
//!
//! Imports go downward: state, event, metrics, stages, config, pipeline, jobs. timely is named in [`mode`] and [`pipeline`] only,
//! differential dataflow in [`mode`] only, RocksDB in the state only, rdkafka in [`kafka`], `source/kafka` and `sink/kafka` only.

/// Cargo compiles the crate again when this changes: see `.ci/optimize`.
const _: Option<&str> = option_env!("RESOLVENT_PROFILE");

pub mod advise;
pub mod checkpoint;
pub mod clock;
pub mod config;
pub mod decode;
pub mod dependency;
pub mod event;
pub mod http;
pub mod inspect;
pub mod kafka;
pub mod metrics;
pub mod mode;
pub mod pipeline;
pub mod sink;
pub mod source;
