use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::collect::Values;
use super::fields::Fields;
use super::scan::DEPTH_MAX;
use super::*;
use crate::dependency::{DependencyDraft, Mode, Need, OnExpiry, Pointer, StreamDraft};
use crate::event::{Key, PartitionId, StreamId, Timestamp};

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).expect("a pointer")
}

fn stream(name: &str, key: Option<&str>, depends_on: Vec<DependencyDraft>) -> StreamDraft {
    StreamDraft {
        name: name.to_owned(),
        key: key.map(|key| pointer(key).into()),
        provides: None,
        time: None,
        retain: None,
        ordered_by: None,
        depends_on,
    }
}

fn on(entity: &str, by: &str) -> DependencyDraft {
    DependencyDraft {
        name: None,
        entity: entity.to_owned(),
        by: pointer(by),
        mode: Mode::Streaming,
        required: true,
        need: Need::Arrived,
        wait: None,
        on_expiry: OnExpiry::DeadLetter,
        include: None,
    }
}

fn rules() -> Arc<Rules> {
    let optional = DependencyDraft { required: false, ..on("message", "/quotes") };
    let thread = DependencyDraft { need: Need::Resolved, required: false, ..on("message", "/reply_to") };
    let waiting = DependencyDraft { wait: Some(Duration::from_micros(50)), ..on("message", "/message") };
    let unread =
        DependencyDraft { name: Some("unread".to_owned()), mode: Mode::Independent, ..on("person", "/reader") };
    let provides = Some("message".to_owned());
    let time = Some(pointer("/created").into());
    let drafts = vec![
        stream("person", Some("/id"), Vec::new()),
        StreamDraft {
            provides: provides.clone(),
            time,
            ..stream("post", Some("/id"), vec![on("person", "/author"), optional])
        },
        StreamDraft { provides, ..stream("comment", Some("/id"), vec![thread]) },
        StreamDraft { ordered_by: Some(pointer("/person")), ..stream("like", None, vec![waiting]) },
        stream("friendship", None, vec![on("person", "/persons")]),
        stream("read", None, vec![unread]),
        stream("deep", Some("/meta/ids/1"), vec![on("person", "/a~1b/~0x"), on("message", "/meta/ids")]),
    ];
    Arc::new(Rules::build(drafts).expect("rules"))
}

fn block(base: u64, bytes: &[u8]) -> Block {
    Block {
        partition: PartitionId(0),
        stream: None,
        arrival: Timestamp(1000),
        content: Content::Lines { base, bytes: bytes.to_vec() },
        next_offset: base + bytes.len() as u64,
    }
}

fn decoder() -> Decoder {
    Decoder::new(rules(), Some(&pointer("/type").into()))
}

fn decode(block: &Block) -> Vec<Decoded> {
    let mut all = Vec::new();
    decoder().decode(block, &mut |decoded| all.push(decoded));
    all
}

/// One line that says all of what a record became, besides its bytes.
fn show(decoded: &Decoded) -> String {
    let dependent = match decoded {
        Decoded::Event(dependent) => dependent,
        Decoded::Rejected(rejection) => return format!("{}: {}", rejection.reason.as_str(), rejection.detail),
    };
    let rules = rules();
    let header = &dependent.event.header.header;
    let mut text = rules.stream(header.stream).name.clone();
    text += &header.key.as_ref().map_or(String::new(), |key| format!(" key {key}"));
    text += &header.time.map_or(String::new(), |time| format!(" time {time}"));
    text += &dependent.order.as_ref().map_or(String::new(), |order| format!(" order {}", order.key));
    for (index, dependency) in rules.stream(header.stream).depends_on.iter().enumerate() {
        if dependent.present & 1 << index == 0 {
            continue;
        }
        let keys: Vec<String> = dependent.references_of(index).map(|r| r.key.to_string()).collect();
        let keys = keys.join(" ");
        let keys = if dependent.arrays & 1 << index == 0 { keys } else { format!("[{keys}]") };
        text += &format!(", {} {keys}", dependency.name);
    }
    text
}

/// Each record, and under it what it becomes.
const RECORDS: &str = r#"
{"type":"person","id":7}
  person key 7
{"id":"seven \u0041\n","type":"person"}
  person key "seven A\n"
{"id":18446744073709551615,"type":"person"}
  person key 18446744073709551615
{"id":-9223372036854775808,"type":"person"}
  person key -9223372036854775808
{"id":1,"type":"person","id":2}
  person key 2
{"\u0069d":3,"t\u0079pe":"per\u0073on"}
  person key 3
{"type":"post","id":1,"created":1290687902110,"author":2}
  post key 1 time 1290687902110, person 2
{"type":"post","id":1,"created":"2026-01-31T09:30:00.5Z","author":2,"quotes":null}
  post key 1 time 1769851800500, person 2
{"type":"post","id":1,"created":"2026-01-31T10:30:00+01:00","author":"x","quotes":["y",3]}
  post key 1 time 1769851800000, message ["y" 3], person "x"
{"type":"post","id":1,"created":1,"author":2,"quotes":[]}
  post key 1 time 1, message [], person 2
{"type":"comment","id":1}
  comment key 1
{"type":"comment","id":1,"reply_to":"1"}
  comment key 1, message "1"
{"type":"like","person":5,"message":6}
  like order 5, message 6
{"type":"friendship","persons":[1,2,2]}
  friendship, person [1 2 2]
{"type":"friendship","persons":4}
  friendship, person 4
{"type":"read","reader":[1,"b"]}
  read
{"type":"deep","meta":{"ids":[8,9]},"a/b":{"~x":"k"}}
  deep key 9, message [8 9], person "k"
{"type":"deep","meta":{"ids":[8,9]},"meta":{"ids":{"1":4}},"a/b":{"~x":"k"}}
  invalid_reference: `/meta/ids` is an object, expected an integer within 64 bits, a string, or an array of them
{"type":"deep","meta":{"ids":[8,9]},"meta":5,"a/b":{"~x":"k"}}
  invalid_key: `/meta/ids/1` is missing, expected an integer within 64 bits or a string
{"type":"person","id":1.0}
  invalid_key: `/id` is the number 1.0, expected an integer within 64 bits or a string
{"type":"person","id":1e3}
  invalid_key: `/id` is the number 1000.0, expected an integer within 64 bits or a string
{"type":"person","id":18446744073709551616}
  invalid_key: `/id` is the number 1.8446744073709552e19, expected an integer within 64 bits or a string
{"type":"person","id":-9223372036854775809}
  invalid_key: `/id` is the number -9.223372036854776e18, expected an integer within 64 bits or a string
{"type":"person","id":true}
  invalid_key: `/id` is true, expected an integer within 64 bits or a string
{"type":"person","id":[1]}
  invalid_key: `/id` is an array, expected an integer within 64 bits or a string
{"type":"person","id":null}
  invalid_key: `/id` is null, expected an integer within 64 bits or a string
{"type":"friendship","persons":[1,null]}
  invalid_reference: `/persons/1` is null, expected an integer within 64 bits or a string
{"type":"friendship","persons":[1,2,[3]]}
  invalid_reference: `/persons/2` is an array, expected an integer within 64 bits or a string
{"type":"friendship"}
  invalid_reference: `/persons` is missing, expected an integer within 64 bits, a string, or an array of them
{"type":"post","id":1,"created":1,"author":2,"quotes":[null]}
  invalid_reference: `/quotes/0` is null, expected an integer within 64 bits or a string
{"type":"read"}
  invalid_reference: `/reader` is missing, expected an integer within 64 bits, a string, or an array of them
{"type":"post","id":1,"author":2}
  invalid_time: `/created` is missing, expected milliseconds since 1970 as an integer, or an RFC 3339 time such as "2026-01-31T09:30:00Z"
{"type":"post","id":1,"author":2,"created":"yesterday"}
  invalid_time: `/created` is the string "yesterday", expected milliseconds since 1970 as an integer, or an RFC 3339 time such as "2026-01-31T09:30:00Z"
{"type":"like","person":1.5,"message":6}
  invalid_order: `/person` is the number 1.5, expected an integer within 64 bits or a string
{"type":"comment","id":1,"reply_to":1}
  self_reference: `/reply_to` is 1, the event's own key, which can never be resolved before it
{"type":"comment","id":1,"reply_to":[0,1]}
  self_reference: `/reply_to/1` is 1, the event's own key, which can never be resolved before it
{"type":"persona","id":1}
  unknown_stream: `/type` is the string "persona", not the name of a stream: comment, deep, friendship, like, person, post, read
{"id":1}
  unknown_stream: `/type` is missing, not the name of a stream: comment, deep, friendship, like, person, post, read
[1,2]
  not_an_object: expected an object, found an array
"text"
  not_an_object: expected an object, found the string "text"
{"type":"person" "id":1}
  invalid_json: expected `,` or `}` at column 18
{"type":"person","id":1}}
  invalid_json: trailing characters at column 25
{"type":"person","id":01}
  invalid_json: invalid number at column 24
{"type":"person","id":1,}
  invalid_json: trailing comma at column 25
{"type":"person","id":"\x"}
  invalid_json: invalid escape at column 25
{"type":"person","id":1,"other":"\u12G4"}
  invalid_json: invalid escape at column 39
{"type":"person","id":1,"other":"\ud800"}
  invalid_json: unexpected end of hex escape at column 40
{"type":"person","id":1,"other":nul}
  invalid_json: expected `true`, `false` or `null` at column 36
{"type":"person","id":1,"other":1e999}
  invalid_json: number out of range at column 37
{"type":"person","id":1
  invalid_json: EOF while parsing an object at column 23
"#;

#[test]
fn records_become_events_or_say_why_not() {
    let mut lines = RECORDS.trim().lines();
    let mut wrong = Vec::new();
    while let (Some(record), Some(expected)) = (lines.next(), lines.next()) {
        let shown: Vec<String> = decode(&block(0, record.as_bytes())).iter().map(show).collect();
        if shown != [expected.trim()] {
            wrong.push(format!("{record}\n  {}\n  expected: {expected}", shown.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_event_knows_where_and_when_it_was_read_and_how_long_it_waits() {
    let line = br#"{"type":"like","person":5,"message":6}"#;
    let decoded = decode(&block(40, line));
    let [Decoded::Event(dependent)] = &decoded[..] else { panic!("{decoded:?}") };
    let rules = rules();
    let header = &dependent.event.header.header;
    assert_eq!((header.id, header.arrival), (EventId { partition: PartitionId(0), offset: 40 }, Timestamp(1000)));
    assert_eq!(&dependent.event.slice, line);
    assert_eq!(dependent.completed_at, Timestamp(1000));
    let message = rules.entities().iter().position(|e| e.name == "message" && e.resolved_of.is_none()).expect("there");
    let reference = &dependent.references[0];
    assert_eq!(usize::from(reference.entity.0), message);
    assert_eq!(reference.hash, Key::Int(6).hash(reference.entity));
    assert_eq!((reference.deadline, reference.overdue), (Timestamp(1050), false));
    let order = dependent.order.as_ref().expect("ordered");
    let (_, queue) = rules.stream(header.stream).ordered_by.as_ref().expect("ordered");
    assert_eq!(order.hash, Key::Int(5).hash(*queue));
}

#[test]
fn lines_are_found_with_their_offsets_and_without_their_white_space() {
    let bytes = b"\xef\xbb\xbf{\"type\":\"person\",\"id\":1}\r\n\n \t\r\n  {\"type\":\"person\",\"id\": 2}\t\n{\"type\":\"person\",\"id\":3}";
    let events = |base| -> Vec<(u64, Option<String>)> {
        let record = |decoded: &Decoded| match decoded {
            Decoded::Event(d) => {
                (d.event.header.header.id.offset, Some(String::from_utf8_lossy(&d.event.slice).into_owned()))
            }
            Decoded::Rejected(r) => (r.id.offset, None),
        };
        decode(&block(base, bytes)).iter().map(record).collect()
    };
    let text = |id: &str| Some(format!("{{\"type\":\"person\",\"id\":{id}}}"));
    assert_eq!(events(0), [(0, text("1")), (34, text(" 2")), (63, text("3"))]);
    // Only the start of a file can have a byte order mark.
    assert_eq!(events(100), [(100, None), (134, text(" 2")), (163, text("3"))]);
    assert!(decode(&block(0, b"")).is_empty());
    assert!(decode(&block(0, b"\xef\xbb\xbf\n")).is_empty());
}

#[test]
fn a_block_may_say_the_stream_of_its_records() {
    let person = rules().stream_named("person");
    let mut of_person = block(0, br#"{"id":1,"type":"post"}"#);
    of_person.stream = person;
    assert_eq!(decode(&of_person).iter().map(show).collect::<Vec<_>>(), ["person key 1"]);
    of_person.stream = Some(StreamId(99));
    assert!(show(&decode(&of_person)[0]).starts_with("unknown_stream"));
    let mut decoded = Vec::new();
    Decoder::new(rules(), None).decode(&block(0, br#"{"id":1}"#), &mut |d| decoded.push(show(&d)));
    assert_eq!(decoded, ["unknown_stream: neither the source nor a field says what stream this is"]);
}

#[test]
fn bytes_that_are_not_utf8_harm_only_their_record() {
    let shown: Vec<String> = decode(&block(
        0,
        b"{\"type\":\"person\",\"id\":1}\n{\"a\":\"\xff\"}\n{\"type\":\"person\",\"id\":\"\xc3\xa9\"}\n",
    ))
    .iter()
    .map(show)
    .collect();
    assert_eq!(shown, ["person key 1", "invalid_utf8: byte 0xff at column 7 is not UTF-8", "person key \"é\""]);
}

#[test]
fn a_record_that_is_too_large_keeps_its_head() {
    for (head, kept) in [("é".as_bytes(), "é".as_bytes()), (b"ab\xc3", b"ab"), (b"\xff\xc3", b"\xff\xc3")] {
        let content = Content::Oversized { offset: 9, head: head.to_vec(), size: 5_000_000 };
        let decoded = decode(&Block { content, ..block(0, b"") });
        let [Decoded::Rejected(rejection)] = &decoded[..] else { panic!("{decoded:?}") };
        assert_eq!(rejection.reason, RejectedReason::TooLarge);
        assert_eq!((rejection.id.offset, rejection.size, &rejection.record[..]), (9, Some(5_000_000), kept));
    }
}

#[test]
fn nesting_is_limited_and_never_overflows_the_stack() {
    let nested =
        |depth: usize| format!("{{\"type\":\"person\",\"id\":1,\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(show(&decode(&block(0, nested(DEPTH_MAX - 1).as_bytes()))[0]), "person key 1");
    let too_deep = show(&decode(&block(0, nested(DEPTH_MAX).as_bytes()))[0]);
    assert!(too_deep.starts_with("invalid_json: recursion limit exceeded at column"), "{too_deep}");
    for open in ["[", "{\"x\":", "{\"persons\":[", "{\"meta\":{\"ids\":["] {
        let shown = show(&decode(&block(0, open.repeat(1 << 20).as_bytes()))[0]);
        assert!(shown.starts_with("invalid_json: recursion limit"), "{shown}");
    }
}

#[test]
fn an_array_may_hold_very_many_references() {
    let keys: Vec<String> = (0..50_000).map(|k| k.to_string()).collect();
    let line = format!(r#"{{"type":"friendship","persons":[{}]}}"#, keys.join(","));
    let decoded = decode(&block(0, line.as_bytes()));
    let [Decoded::Event(dependent)] = &decoded[..] else { panic!("{decoded:?}") };
    assert!(dependent.references.iter().map(|r| &r.key).eq((0..50_000).map(Key::Int).collect::<Vec<_>>().iter()));
}

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
