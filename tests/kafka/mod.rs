//! Topics in and topics out, on a real broker.

mod advise;
mod broker;
mod dashboard;
mod faults;
mod group;
mod hangs;
mod load;
mod real_data;
mod records;
mod security;
mod shop;
mod source;
mod start;
mod topics;
mod trade;
