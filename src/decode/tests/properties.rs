//! The decoder beside `serde_json`, on generated records.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::decode::collect::Values;
use crate::decode::fields::Fields;

/// What a record has at the pointers, as `serde_json` sees it: `None` where it is not JSON.
fn judged(record: &str, pointers: &[Pointer]) -> Option<Vec<String>> {
    let json: Json = serde_json::from_str(record).ok()?;
    let shown = |pointer: &Pointer| match json.pointer(pointer.as_str()) {
        None => "missing".to_owned(),
        Some(Json::Array(elements)) => format!("an array {}", elements.iter().map(kind).collect::<Vec<_>>().join(" ")),
        Some(value) => kind(value),
    };
    Some(pointers.iter().map(shown).collect())
}

fn kind(value: &Json) -> String {
    match value {
        Json::Array(_) => "an array".to_owned(),
        Json::Object(_) => "an object".to_owned(),
        Json::Number(number) if number.is_f64() => "a float".to_owned(),
        other => other.to_string(),
    }
}

fn ours(record: &str, pointers: &[Pointer]) -> Option<Vec<String>> {
    let fields = Fields::new(pointers.iter());
    // Somewhere in a block, between others: a string may begin and end anywhere in the words that mark where strings end.
    let start = record.len().wrapping_mul(31) % 130;
    let block = format!("{}{record}\n\"", "\n".repeat(start));
    let end = start + record.len();
    let mut values = Values::new(&fields, block.as_bytes());
    values.read(&fields, &block[start..end], end).ok()?;
    let kind = |value| match (values.text(value), value) {
        (Some(text), _) => Json::from(String::from_utf8_lossy(text)).to_string(),
        (None, Value::Float(_)) => "a float".to_owned(),
        _ => values.describe(value),
    };
    let shown = |pointer: &Pointer| {
        let field = fields.id(pointer).expect("a field");
        match values.get(field) {
            Value::Array => {
                format!("an array {}", values.elements(field).iter().map(|v| kind(*v)).collect::<Vec<_>>().join(" "))
            }
            value => kind(value),
        }
    };
    Some(pointers.iter().map(shown).collect())
}

/// A valid document of small parts, with duplicate members, escapes, numbers of all kinds and white space.
fn document() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:e}")),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?".prop_filter("not -0", |n| n != "-0"),
    ];
    let string = prop_oneof![
        "\"[ -!#-\\[\\]-~é☃🎈]{0,40}\"",
        "\"([a-c]|\\\\[\"\\\\/bfnrt]|\\\\u00[0-7][0-9a-fA-F]|\\\\ud83d\\\\ude00){0,12}\"",
    ];
    let leaf = prop_oneof![number, string, Just("true".to_owned()), Just("false".to_owned()), Just("null".to_owned())];
    let name = prop_oneof!["\"[a-d]\"", Just("\"\\u0061\"".to_owned()), Just("\"0\"".to_owned()), "\"[a-z]{5,40}\""];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let spaces = "[ \t\r]{0,2}";
        let member = (name.clone(), spaces, inner.clone()).prop_map(|(n, s, v)| format!("{s}{n}{s}:{s}{v}{s}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..5), spaces)
                .prop_map(|(e, s)| format!("[{s}{}{s}]", e.join(&format!("{s},")))),
            prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

fn wanted() -> Vec<Pointer> {
    ["/a", "/a/b", "/a/0", "/a/0/c", "/b", "/b/c/d", "/c/1", "/d", "/0"].map(pointer).to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn reads_what_serde_json_reads(record in document()) {
        prop_assert_eq!(ours(&record, &wanted()), judged(&record, &wanted()));
    }

    #[test]
    fn accepts_what_serde_json_accepts(
        record in document(),
        at in any::<prop::sample::Index>(),
        cut in 0_usize..4,
        put in "[-+0-9eE.,:\\[\\]{}\"\\\\ a-fnrtu\u{0}-\u{1f}\u{7f}é]{0,3}",
    ) {
        let chars: Vec<char> = record.chars().collect();
        let at = at.index(chars.len());
        let mutated: String = chars[..at].iter().copied().chain(put.chars()).chain(chars.iter().copied().skip(at + cut)).collect();
        // A zero with a sign is the one thing that is read otherwise: as the integer that it is written as.
        let mutated = mutated.replace("-0", "-7");
        prop_assert_eq!(ours(&mutated, &wanted()), judged(&mutated, &wanted()));
    }

    #[test]
    fn good_records_come_out_around_any_bytes(
        bad in prop::collection::vec(prop_oneof![prop::collection::vec(any::<u8>(), 0..60), document().prop_map(String::into_bytes)], 1..6),
    ) {
        let mut bytes = Vec::new();
        let mut offsets = Vec::new();
        for (id, bad) in bad.iter().enumerate() {
            offsets.push((bytes.len() as u64, format!("person key {id}")));
            bytes.extend_from_slice(format!("{{\"type\":\"person\",\"id\":{id}}}\n").as_bytes());
            bytes.extend_from_slice(bad);
            bytes.push(b'\n');
        }
        let decoded = decode(&block(7, &bytes));
        let records = bytes.split(|b| *b == b'\n').filter(|l| !l.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r'))).count();
        prop_assert_eq!(decoded.len(), records);
        for (offset, shown) in offsets {
            let found = decoded.iter().find(|d| matches!(d, Decoded::Event(e) if e.event.header.header.id.offset == offset + 7));
            prop_assert_eq!(found.map(show), Some(shown));
        }
    }
}
