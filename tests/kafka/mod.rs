//! Topics in and topics out, on a real broker.

mod advise;
mod broker;
mod compaction;
mod dashboard;
mod expire;
mod faults;
mod group;
mod hangs;
mod load;
mod metrics;
mod real_data;
mod records;
mod security;
mod shop;
mod sizes;
mod source;
mod start;
mod topics;
mod trade;
