//! Records of topics: their keys, timestamps and headers.

use super::*;

/// A record of a topic: key, value, headers.
type Sent<'a> = (Option<&'a [u8]>, Option<&'a str>, &'a [(&'a str, &'a str)]);

fn topic_block(sent: &[Sent<'_>], stream: Option<StreamId>) -> Block {
    let (mut bytes, mut records) = (Vec::new(), Vec::new());
    for (offset, (key, value, headers)) in (0..).zip(sent) {
        let mut put = |part: &[u8]| {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            start..bytes.len()
        };
        let (key, value) = (key.map(&mut put), value.map(|value| put(value.as_bytes())));
        let mut all = crate::event::Headers::default();
        headers.iter().for_each(|(name, value)| all.push(name, Some(value.as_bytes())));
        records.push(TopicRecord { offset, timestamp: Some(77), key, value, headers: put(all.as_bytes()) });
    }
    let next_offset = records.len() as u64;
    Block { stream, content: Content::Records { records, bytes }, next_offset, ..block(0, b"") }
}

/// Stream `kept` is keyed by the record's key, `text` by it as a text, `field` by a field; `keyless` has none.
fn topic_rules() -> Arc<Rules> {
    let keyed = |name: &str, key: Option<Place>| StreamDraft { key, ..stream(name, None, Vec::new()) };
    let drafts = vec![
        StreamDraft { time: Some(Place::Timestamp), ..keyed("kept", Some(Place::Key)) },
        keyed("text", Some(Place::KeyText)),
        StreamDraft { time: Some(pointer("/at").into()), ..keyed("field", Some(pointer("/id").into())) },
        keyed("keyless", None),
    ];
    Arc::new(Rules::build(drafts).expect("rules"))
}

/// What became of each record: `stream key time bytes`, or the reason and a part of the detail.
fn of_topics(sent: &[Sent<'_>], carries: bool) -> Vec<String> {
    let by = Place::Header("type".to_owned());
    let mut decoder = Decoder::new(topic_rules(), Some(&by)).carrying(carries);
    let mut all = Vec::new();
    decoder.decode(&topic_block(sent, None), &mut |decoded| {
        let carried = |carried: &Option<Box<crate::event::Carried>>| match carried {
            None => String::new(),
            Some(carried) => format!(" carries {:?} and {} headers", carried.key, carried.headers.iter().count()),
        };
        all.push(match decoded {
            Decoded::Event(dependent) => {
                let (header, bytes) = (&dependent.event.header.header, &dependent.event.slice);
                assert!(
                    dependent.references.is_empty() && crate::event::is_tombstone(&dependent.event) == bytes.is_empty()
                );
                let key = header.key.as_ref().map(Key::to_string);
                let bytes = String::from_utf8_lossy(bytes);
                format!("{} {key:?} {:?} {bytes:?}{}", header.stream.0, header.time, carried(&header.carried))
            }
            Decoded::Rejected(rejection) => {
                format!("{}: {}{}", rejection.reason.as_str(), rejection.detail, carried(&rejection.carried))
            }
        });
    });
    all
}

#[test]
fn key_timestamp_and_header_of_a_record_count_where_the_rules_name_them() {
    let typed = |name: &'static str| [("type", "other"), ("type", name)];
    let (kept, text, field, keyless) = (typed("kept"), typed("text"), typed("field"), typed("keyless"));
    let sent: [Sent<'_>; 12] = [
        (Some(b"17"), Some("{} "), &kept),
        (Some(b"17"), Some("{}"), &text),
        (Some(b"17"), Some(r#"{"id":"x","at":5}"#), &field),
        (None, Some("{}"), &kept),
        (Some(b"\xff"), Some("{}"), &kept),
        (Some(b"17"), None, &kept),
        (Some(b"17"), None, &text),
        (Some(b"17"), None, &field),
        (Some(b""), None, &kept),
        (None, None, &field),
        (Some(b"17"), None, &keyless),
        (Some(b"17"), Some(""), &kept),
    ];
    let expected = [
        r#"1 Some("17") Some(77) "{}""#,
        r#"3 Some("\"17\"") None "{}""#,
        r#"0 Some("\"x\"") Some(5) "{\"id\":\"x\",\"at\":5}""#,
        "invalid_key: the record has no key",
        "invalid_key: the record's key is not UTF-8",
        r#"1 Some("17") Some(77) """#,
        r#"3 Some("\"17\"") None """#,
        r#"0 Some("17") None """#,
        r#"1 Some("\"\"") Some(77) """#,
        "invalid_key: the record has no key",
        r#"invalid_key: a record without a value deletes a referent, and stream "keyless" has no key"#,
        "invalid_json: EOF while parsing a value at column 0",
    ];
    assert_eq!(of_topics(&sent, false), expected);
}

#[test]
fn what_names_no_stream_is_rejected_and_carries_what_its_record_did() {
    let sent: [Sent<'_>; 3] = [
        (Some(b"k"), Some("{}"), &[("type", "kep")]),
        (None, Some("{}"), &[]),
        (Some(b"1"), None, &[("type", "kept"), ("more", "x")]),
    ];
    let names = "not the name of a stream: field, kept, keyless, text";
    let expected = [
        format!("unknown_stream: header \"type\" is \"kep\", {names} carries Some([107]) and 1 headers"),
        format!("unknown_stream: header \"type\" is missing, {names}"),
        r#"1 Some("1") Some(77) "" carries Some([49]) and 2 headers"#.to_owned(),
    ];
    assert_eq!(of_topics(&sent, true), expected);
    let mut all = Vec::new();
    let tombstone = topic_block(&[(Some(b"1"), None, &[])], None);
    decoder().decode(&tombstone, &mut |decoded| all.push(decoded));
    let [Decoded::Rejected(rejection)] = all.as_slice() else { panic!("{all:?}") };
    assert!(rejection.detail.starts_with("`/type` is missing, as the record has no value, not the name of a stream"));
}
