//! Orders that refer to products, both updated at random, and what they come to.

use std::collections::BTreeMap;

use resolvent::metrics::Checksum;
use resolvent::sink::Checksummer;

/// The streams of the updates.
pub(crate) const STREAMS: &str = r#"
[[stream]]
name = "product"
key = "/id"

[[stream]]
name = "order"
key = "/id"
depends_on = [ { entity = "product", by = "/product" } ]
"#;

/// A seeded source of decisions (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

/// One of them.
#[derive(Clone)]
pub(crate) struct Update {
    key: u64,
    /// Of an order.
    product: Option<u64>,
    pub(crate) record: String,
}

impl Update {
    pub(crate) fn stream(&self) -> &'static str {
        if self.product.is_some() { "order" } else { "product" }
    }
}

/// Updates of products and of orders that refer to one each: first each key once, then any of them.
pub(crate) fn updates(count: u64, keys: u64) -> impl Iterator<Item = Update> {
    let (mut random, half) = (Random(7), keys / 2);
    (0..count).map(move |at| {
        let key = if at < keys { at / 2 } else { random.below(half) };
        let text = random.below(u64::MAX);
        if at % 2 == 0 {
            let record =
                format!("{{\"type\":\"product\",\"id\":{key},\"title\":\"product {key}, version {text:020}\"}}");
            return Update { key, product: None, record };
        }
        let product = random.below(half);
        let record = format!("{{\"type\":\"order\",\"id\":{key},\"product\":{product},\"note\":\"{text:020}\"}}");
        Update { key, product: Some(product), record }
    })
}

/// The results that stand after these updates, from scratch.
pub(crate) fn standing(updates: impl Iterator<Item = Update>) -> Checksum {
    let (mut products, mut orders) = (BTreeMap::new(), BTreeMap::new());
    for Update { key, product, record } in updates {
        match product {
            None => _ = products.insert(key, record),
            Some(product) => _ = orders.insert(key, (product, record)),
        }
    }
    let (checksummer, mut sum) = (Checksummer::default(), Checksum::default());
    let mut add = |stream: &str, event: &str, dependencies: &str| {
        let line =
            format!(r#"{{"outcome":"resolved","stream":"{stream}","event":{event},"dependencies":{{{dependencies}}}"#);
        checksummer.add(line.as_bytes(), &mut sum);
    };
    products.values().for_each(|record| add("product", record, ""));
    for (product, order) in orders.values() {
        if let Some(product) = products.get(product) {
            add("order", order, &format!("\"product\":{product}"));
        }
    }
    sum
}
