//! What is advised, from numbers and from streams.

mod rules;
mod streams;
