//! Topics in and topics out, on a real broker.

mod broker;
mod compaction;
mod expire;
mod faults;
mod group;
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
