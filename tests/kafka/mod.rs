//! Topics in and topics out, on a real broker.

mod broker;
mod faults;
mod group;
mod load;
mod maintained;
mod real_data;
mod records;
mod security;
mod shop;
mod source;
mod start;
mod topics;
mod trade;
