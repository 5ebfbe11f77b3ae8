//! What a program says beside its answer.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes to standard error. Where nobody reads that any more it is lost, and the program goes on; `eprint!` would panic.
pub(crate) fn say(text: impl Display) {
    let _ = io::stderr().write_all(text.to_string().as_bytes());
}
