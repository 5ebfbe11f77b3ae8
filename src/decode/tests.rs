mod properties;
mod topics;

use std::time::Duration;

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
