//! Topics in and topics out, on a real broker.

mod broker;
mod load;
mod source;
