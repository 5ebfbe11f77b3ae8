//! The smallest job with a dependency: payments refer to orders.

use std::fmt::Write;
use std::ops::Range;

macro_rules! files {
    () => {
        r#"
[source.file]
path = "events.jsonl"
stream = "/type"

[sink.resolved]
file = "resolved.jsonl"
[sink.dead_letter]
file = "dead.jsonl"
"#
    };
}

/// Where most jobs of the tests read and write.
pub(crate) const FILES: &str = files!();

/// Its configuration.
pub(crate) const SHOP: &str = concat!(
    r#"[job]
name = "shop"

[[stream]]
name = "order"
key = "/id"

[[stream]]
name = "payment"
depends_on = [ { entity = "order", by = "/order" } ]
"#,
    files!()
);

/// The same, its input followed.
pub(crate) fn followed_shop() -> String {
    followed(SHOP)
}

/// A job, or a part of one, whose input is followed.
pub(crate) fn followed(job: &str) -> String {
    job.replace("stream = \"/type\"", "stream = \"/type\"\nfollow = true")
}

/// An order for each id.
pub(crate) fn orders(ids: Range<u64>) -> String {
    lines(ids, |id| format!(r#"{{"type":"order","id":{id},"item":"item {id}"}}"#))
}

/// A payment of each order.
pub(crate) fn payments(ids: Range<u64>) -> String {
    lines(ids, |id| format!(r#"{{"type":"payment","order":{id}}}"#))
}

fn lines(ids: Range<u64>, line: impl Fn(u64) -> String) -> String {
    ids.fold(String::new(), |mut text, id| {
        writeln!(text, "{}", line(id)).unwrap();
        text
    })
}
