//! What is advised, from numbers and from streams.

mod events;
mod rules;
mod streams;
