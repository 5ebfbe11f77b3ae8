//! Lines of outcomes, as text tables. Events come from the decoder, so that what is written is compared with what was read.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::decode::{Decoded, Decoder};
use crate::dependency::{DependencyDraft, Mode, Need, OnExpiry, Pointer, Rules, StreamDraft};
use crate::event::{
    Block, Change, Content, Dependent, DroppedReason, Epoch, Event, ExpiredReason, Found, Key, PartitionId, Partitions,
    ResultIdentity, Timestamp,
};
use std::sync::Arc;

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).expect("a pointer")
}

fn stream(name: &str, key: Option<&str>, depends_on: Vec<DependencyDraft>) -> StreamDraft {
    let key = key.map(|key| pointer(key).into());
    StreamDraft { name: name.to_owned(), key, provides: None, time: None, retain: None, ordered_by: None, depends_on }
}

fn on(name: &str, entity: &str, by: &str) -> DependencyDraft {
    DependencyDraft {
        name: Some(name.to_owned()),
        entity: entity.to_owned(),
        by: pointer(by),
        mode: Mode::Streaming,
        required: false,
        need: Need::Arrived,
        wait: None,
        on_expiry: OnExpiry::DeadLetter,
        include: None,
    }
}

fn rules() -> Arc<Rules> {
    let include = Some(vec![pointer("/name"), pointer("/none")]);
    let like = vec![
        on("message", "message", "/message"),
        DependencyDraft { need: Need::Resolved, ..on("strict \"one\"", "message", "/strict") },
        DependencyDraft { include, ..on("person", "person", "/person") },
        on("friends", "person", "/friends"),
        DependencyDraft { mode: Mode::Independent, ..on("unread", "person", "/unread") },
    ];
    let drafts = vec![
        stream("person", Some("/id"), Vec::new()),
        stream("message", Some("/id"), Vec::new()),
        stream("like", None, like),
    ];
    Arc::new(Rules::build(drafts).expect("rules"))
}

fn partitions() -> Partitions {
    Partitions::new(["in \"put\".jsonl".into()])
}

fn decode(record: &[u8]) -> Decoded {
    let block = Block {
        partition: PartitionId(0),
        stream: None,
        arrival: Timestamp(1000),
        content: Content::Lines { base: 0, bytes: record.to_vec() },
        next_offset: record.len() as u64,
    };
    let mut all = Vec::new();
    Decoder::new(rules(), Some(&pointer("/type").into())).decode(&block, &mut |decoded| all.push(decoded));
    all.pop().expect("a record")
}

fn event(record: &str) -> Box<Dependent> {
    match decode(record.as_bytes()) {
        Decoded::Event(dependent) => dependent,
        Decoded::Rejected(rejection) => panic!("{rejection:?}"),
    }
}

fn referent(record: &str) -> Event {
    event(record).event.clone()
}

/// A like with what was found for its references, in their order.
fn like(record: &str, found: Vec<Found>) -> Box<Dependent> {
    let mut dependent = event(record);
    assert_eq!(dependent.references.len(), found.len());
    dependent.references.iter_mut().zip(found).for_each(|(reference, found)| reference.found = found);
    dependent
}

#[track_caller]
fn check(outcome: &Outcome, expected: &str) {
    let mut line = b"before\n".to_vec();
    let kind = Renderer::new(rules(), &partitions(), Default::default()).render(outcome, Timestamp(1250), &mut line);
    assert_eq!(kind, SinkKind::of(outcome));
    assert_eq!(String::from_utf8_lossy(&line), format!("before\n{expected}"));
}

fn person() -> Event {
    referent(r#"{"type":"person","id":5,"name":"Ann \u0041","x":1.0}"#)
}

#[test]
fn a_resolved_event_carries_its_referents() {
    let message = referent(r#"{ "type":"message", "id":6, "big":1e3}"#);
    let dependent = like(
        r#"{"type":"like","message":6,"person":5,"friends":[5,5],"unread":9}"#,
        vec![Found::Present(message), Found::Present(person()), Found::Present(person()), Found::Present(person())],
    );
    let expected = concat!(
        r#"{"outcome":"resolved","stream":"like","event":{"type":"like","message":6,"person":5,"friends":[5,5],"unread":9},"#,
        r#""dependencies":{"message":{ "type":"message", "id":6, "big":1e3},"#,
        r#""friends":[{"type":"person","id":5,"name":"Ann \u0041","x":1.0},{"type":"person","id":5,"name":"Ann \u0041","x":1.0}],"#,
        r#""person":{"/name":"Ann \u0041"}},"#,
        r#""position":"in \"put\".jsonl:0","waited_us":250}"#,
        "\n"
    );
    check(&Outcome::Resolved(dependent), expected);
}

#[test]
fn an_event_without_references_has_no_dependencies() {
    let expected = concat!(
        r#"{"outcome":"resolved","stream":"like","event":{"type":"like"},"dependencies":{},"position":"in \"put\".jsonl:0","waited_us":250}"#,
        "\n"
    );
    check(&Outcome::Resolved(event(r#"{"type":"like"}"#)), expected);
    check(
        &Outcome::Resolved(event(r#"{"type":"like","unread":1}"#)),
        &expected.replace("\"like\"}", "\"like\",\"unread\":1}"),
    );
}

#[test]
fn an_empty_array_of_references_is_an_empty_array() {
    let mut line = Vec::new();
    Renderer::new(rules(), &partitions(), Default::default()).render(
        &Outcome::Resolved(event(r#"{"type":"like","friends":[]}"#)),
        Timestamp(900),
        &mut line,
    );
    let line = String::from_utf8_lossy(&line);
    assert!(line.contains(r#""dependencies":{"friends":[]},"#), "{line}");
    // Written before it arrived, by a clock that was set: never negative.
    assert!(line.ends_with("\"waited_us\":0}\n"), "{line}");
}

#[test]
fn what_is_missing_is_named() {
    let record = r#"{"type":"like","message":6,"strict":"s\n","friends":[5,18446744073709551615]}"#;
    let found = || vec![Found::Unknown, Found::Missing, Found::Present(person()), Found::GivenUp];
    let tail = concat!(
        r#","event":{"type":"like","message":6,"strict":"s\n","friends":[5,18446744073709551615]},"#,
        r#""dependencies":{"friends":[{"type":"person","id":5,"name":"Ann \u0041","x":1.0},null]},"missing":[MISSING],"#
    );
    let names = [
        r#"{"dependency":"message","entity":"message","key":6}"#,
        r#"{"dependency":"strict \"one\"","entity":"message","key":"s\n"}"#,
        r#"{"dependency":"friends","entity":"person","key":18446744073709551615}"#,
    ];
    let end = concat!(r#""position":"in \"put\".jsonl:0","waited_us":250}"#, "\n");
    let all = tail.replace("MISSING", &names.join(","));
    let expired = format!("{{\"outcome\":\"expired\",\"stream\":\"like\"{all}\"reason\":\"deadline\",{end}");
    check(&Outcome::Expired(like(record, found()), ExpiredReason::Deadline), &expired);
    let accepted = format!("{{\"outcome\":\"accepted\",\"stream\":\"like\"{all}{end}");
    check(&Outcome::Accepted(like(record, found())), &accepted);
    let partial = tail.replace("MISSING", names[2]);
    let resolved = format!("{{\"outcome\":\"resolved\",\"stream\":\"like\"{partial}{end}");
    check(&Outcome::Resolved(like(record, found())), &resolved);
}

#[test]
fn a_dropped_event_has_no_line() {
    let outcome = Outcome::Dropped(event(r#"{"type":"like"}"#), DroppedReason::Deadline);
    check(&outcome, "");
}

#[test]
fn a_rejected_record_is_carried_whatever_it_is() {
    let rejected = |record: &[u8]| match decode(record) {
        Decoded::Rejected(rejection) => rejection,
        Decoded::Event(event) => panic!("{event:?}"),
    };
    let line = concat!(
        r#"{"outcome":"rejected","reason":"invalid_json","detail":"expected `,` or `}` at column 8","#,
        r#""position":"in \"put\".jsonl:0","record":"{\"a\":1 \"b\u0001}"}"#,
        "\n"
    );
    check(&Outcome::Rejected(rejected(b"{\"a\":1 \"b\x01}")), line);
    let line = concat!(
        r#"{"outcome":"rejected","reason":"invalid_utf8","detail":"byte 0xff at column 2 is not UTF-8","#,
        r#""position":"in \"put\".jsonl:0","record_base64":"e/99"}"#,
        "\n"
    );
    check(&Outcome::Rejected(rejected(b"{\xff}")), line);
    let mut large = rejected(b"{");
    large.size = Some(5000);
    large.detail = "too long".to_owned();
    let line = concat!(
        r#"{"outcome":"rejected","reason":"invalid_json","detail":"too long","position":"in \"put\".jsonl:0","record":"{","size":5000}"#,
        "\n"
    );
    check(&Outcome::Rejected(large), line);
}

#[test]
fn line_breaks_between_tokens_become_spaces() {
    let record = "{\"type\":\"like\",\r\"x\":\"a\\nb\"}";
    let mut line = Vec::new();
    Renderer::new(rules(), &partitions(), Default::default()).render(
        &Outcome::Resolved(event(record)),
        Timestamp(1000),
        &mut line,
    );
    let line = String::from_utf8_lossy(&line);
    assert!(line.contains("{\"type\":\"like\", \"x\":\"a\\nb\"}"), "{line}");
}

#[test]
fn a_partition_that_comes_later_has_its_name() {
    let partitions = Partitions::default();
    let mut renderer = Renderer::new(rules(), &partitions, Default::default());
    let position = |renderer: &mut Renderer| {
        let mut line = Vec::new();
        renderer.render(&Outcome::Resolved(event(r#"{"type":"like"}"#)), Timestamp(1000), &mut line);
        let line: Json = serde_json::from_slice(&line).expect("JSON");
        line["position"].as_str().expect("a string").to_owned()
    };
    assert_eq!(position(&mut renderer), "?:0");
    partitions.id("late.jsonl");
    assert_eq!(position(&mut renderer), "late.jsonl:0");
}

#[test]
fn the_null_sink_counts() {
    let mut sink = open(&Target::Null { checksum: false }, None).expect("opens").expect("a sink");
    sink.write(b"abc\n").expect("takes it");
    let (mark, unsynced) = sink.flush().expect("flushes");
    assert_eq!((mark, unsynced.is_none(), sink.bytes_written()), (Mark { length: 0 }, true, 4));
}

/// A record of a stream with any JSON in it, as somebody else's serializer may write it.
fn record() -> impl Strategy<Value = String> {
    let leaf =
        prop_oneof!["-?[1-9][0-9]{0,30}(\\.0{1,3})?", "\"[ -!#-\\[\\]-~é]{0,20}\"", Just("\"\\u00e9\\n\"".to_owned())];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|e| format!("[{}]", e.join(" , "))),
            prop::collection::vec(("\"[a-c]\"", inner), 0..4).prop_map(|m| format!(
                "{{{}}}",
                m.iter().map(|(n, v)| format!("{n}: {v}")).collect::<Vec<_>>().join(",")
            )),
        ]
    });
    value.prop_map(|value| format!("{{\"type\" :\"like\",\"more\":{value} }}"))
}

proptest! {
    #[test]
    fn an_event_is_written_byte_for_byte_as_it_was_read(record in record()) {
        let mut line = Vec::new();
        Renderer::new(rules(), &partitions(), Default::default()).render(&Outcome::Resolved(event(&record)), Timestamp(1000), &mut line);
        let text = String::from_utf8(line).expect("UTF-8");
        let expected = format!("{{\"outcome\":\"resolved\",\"stream\":\"like\",\"event\":{record},\"dependencies\":");
        prop_assert!(text.starts_with(&expected), "{}", text);
        prop_assert!(serde_json::from_str::<Json>(&text).is_ok());
    }

    #[test]
    fn whatever_a_record_is_its_line_is_json(record in prop::collection::vec(any::<u8>(), 1..80)) {
        let record: Vec<u8> = record.into_iter().filter(|b| *b != b'\n').chain(*b"!").collect();
        let Decoded::Rejected(rejection) = decode(&record) else { panic!("an exclamation mark is no JSON") };
        let kept = rejection.record.clone();
        let mut line = Vec::new();
        Renderer::new(rules(), &partitions(), Default::default()).render(&Outcome::Rejected(rejection), Timestamp(1000), &mut line);
        prop_assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        let line: Json = serde_json::from_slice(&line).expect("JSON");
        if let Some(text) = line["record"].as_str() {
            prop_assert_eq!(text.as_bytes(), &kept[..]);
        } else {
            let base64 = line["record_base64"].as_str().expect("base64");
            let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).expect("base64");
            prop_assert_eq!(decoded, kept);
        }
    }
}

/// Key, headers and value of the record of an outcome, one a line; headers as `name=value`.
fn shown_record(outcome: &Outcome, key: KeyRule) -> String {
    let mut bytes = Vec::new();
    let limits = RecordLimits { client: 1 << 20, topic: 1 << 20 };
    let formats = std::array::from_fn(|_| Format::Records { key: key.clone(), limits });
    assert_eq!(
        Renderer::new(rules(), &partitions(), formats).render(outcome, Timestamp(1250), &mut bytes),
        SinkKind::of(outcome)
    );
    let mut all = records(&bytes);
    let record = all.next().expect("a record");
    assert!(all.next().is_none());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = crate::event::headers(record.headers);
    let headers = headers.map(|(name, value)| format!("{name}={}", value.map_or("null".to_owned(), text)));
    let headers: Vec<String> = headers.collect();
    format!(
        "{}\n{}\n{}",
        record.key.map_or("none".to_owned(), text),
        headers.join(" "),
        text(record.value.unwrap_or_default())
    )
}

/// An event with what its record carried.
fn carrying(mut dependent: Box<Dependent>, key: Option<&[u8]>) -> Box<Dependent> {
    let mut headers = crate::event::Headers::default();
    headers.push("trace", Some(b"7"));
    headers.push("none", None);
    let mut header = dependent.event.header.header.clone();
    header.carried = Some(Box::new(crate::event::Carried { key: key.map(<[u8]>::to_vec), headers }));
    dependent.event = crate::event::event(header, &dependent.event.slice);
    dependent
}

#[test]
fn a_record_has_the_key_that_is_asked_for_and_says_what_it_is() {
    let rule = |text: &str| match text.split_once(':') {
        _ if text == "event" => KeyRule::Event,
        Some((_, name)) => KeyRule::Dependency(name.to_owned()),
        None => KeyRule::Field(pointer(text)),
    };
    let person = r#"{"type":"person","id":5,"name":"Ann \u0041","none":null,"x":1.0}"#;
    let like = r#"{"type":"like","message":"m1","friends":[8,9]}"#;
    let cases = [
        (person, "event", None, "5"),
        (person, "/name", None, "Ann A"),
        (person, "/x", None, "1.0"),
        (person, "/none", None, "none"),
        (person, "/none", Some("read"), "read"),
        (person, "/missing", Some(""), ""),
        (person, "dependency:message", Some("read"), "read"),
        (like, "event", None, "none"),
        (like, "event", Some("read"), "read"),
        (like, "dependency:message", Some("read"), "m1"),
        (like, "dependency:friends", None, "8"),
        (like, "dependency:person", None, "none"),
    ];
    for (record, key, read, expected) in cases {
        let dependent = carrying(event(record), read.map(str::as_bytes));
        let shown = shown_record(&Outcome::Resolved(dependent), rule(key));
        let (found, _) = shown.split_once('\n').expect("lines");
        assert_eq!(found, expected, "{record} by {key}, read with {read:?}");
    }
}

#[test]
fn a_record_is_the_line_without_its_break_and_carries_on_what_was_read() {
    let record = "{\"type\":\"person\",\r\"id\":5}";
    let shown = shown_record(&Outcome::Resolved(carrying(event(record), None)), KeyRule::Event);
    let position = r#"in "put".jsonl:0"#;
    let expected = format!(
        "5\ntrace=7 none=null resolvent-outcome=resolved resolvent-position={position}\n\
         {{\"outcome\":\"resolved\",\"stream\":\"person\",\"event\":{record},\"dependencies\":{{}},\
         \"position\":\"in \\\"put\\\".jsonl:0\",\"waited_us\":250}}"
    );
    assert_eq!(shown, expected);
    let expired = shown_record(&Outcome::Expired(event(record), ExpiredReason::Deadline), KeyRule::Event);
    let headers = "resolvent-outcome=expired resolvent-reason=deadline resolvent-position=";
    assert!(expired.starts_with(&format!("5\n{headers}")), "{expired}");
    let Decoded::Rejected(rejection) = decode(b"[1") else { panic!("no record") };
    let rejected = shown_record(&Outcome::Rejected(rejection), KeyRule::Event);
    let headers = "resolvent-outcome=rejected resolvent-reason=invalid_json resolvent-position=";
    assert!(rejected.starts_with(&format!("none\n{headers}")), "{rejected}");
}

#[test]
fn an_outcome_that_is_too_large_for_its_topic_says_so_and_keeps_its_place() {
    let record = format!(r#"{{"type":"person","id":5,"name":"{}"}}"#, "x".repeat(1000));
    let Decoded::Rejected(rejection) = decode(format!("[{}", "y".repeat(1000)).as_bytes()) else { panic!("no record") };
    let outcomes = [
        (Outcome::Resolved(event(&record)), r#"{"outcome":"resolved","stream":"person","size":SIZE,"position":"#),
        (
            Outcome::Expired(event(&record), ExpiredReason::Cycle),
            r#"{"outcome":"expired","stream":"person","size":SIZE,"reason":"cycle","position":"#,
        ),
        (Outcome::Rejected(rejection), r#"{"outcome":"rejected","reason":"invalid_json","detail":"#),
    ];
    for (outcome, expected) in outcomes {
        let rendered = |client: usize, topic: usize| {
            let limits = RecordLimits { client, topic };
            let (mut bytes, formats) =
                (Vec::new(), std::array::from_fn(|_| Format::Records { key: KeyRule::Event, limits }));
            Renderer::new(rules(), &partitions(), formats).render(&outcome, Timestamp(1250), &mut bytes);
            bytes
        };
        let unlimited = usize::MAX;
        let whole = rendered(unlimited, unlimited);
        let (of_client, of_topic) = sizes(&whole);
        // At the limit it is whole, and one byte below it is cut.
        assert_eq!(rendered(of_client, of_topic), whole);
        let cut = rendered(unlimited, of_topic - 1);
        assert_eq!(rendered(of_client - 1, unlimited), cut);
        let (all, short) = (records(&whole).next().expect("a record"), records(&cut).next().expect("a record"));
        let [whole, cut] = [all.value, short.value].map(Option::unwrap_or_default);
        assert!(cut.len() < 400 && short.key == all.key);
        let size = whole.len();
        let value = String::from_utf8_lossy(cut);
        assert!(value.starts_with(&expected.replace("SIZE", &size.to_string())), "{value}");
        assert!(serde_json::from_slice::<Json>(cut).is_ok(), "{value}");
        let headers: Vec<_> = crate::event::headers(short.headers).collect();
        assert_eq!(headers.last(), Some(&("resolvent-size", Some(size.to_string().as_bytes()))));
    }
}

/// Bytes of the one record that there is, as the client counts them, and of a batch with it alone: by the description of Kafka's protocol.
fn sizes(bytes: &[u8]) -> (usize, usize) {
    let zigzag = |number: i64| {
        let mut rest = ((number << 1) ^ (number >> 63)) as u64;
        let mut length = 1;
        while rest >= 0x80 {
            (rest, length) = (rest >> 7, length + 1);
        }
        length
    };
    let string = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => zigzag(bytes.len() as i64) + bytes.len(),
        None => zigzag(-1),
    };
    let record = records(bytes).next().expect("a record");
    let headers: Vec<_> = crate::event::headers(record.headers).collect();
    // The client counts a value that is not there as an empty one; both take a byte.
    let of_headers: usize = headers.iter().map(|(name, value)| string(Some(name.as_bytes())) + string(*value)).sum();
    let (attributes, times) = (1, zigzag(0) + zigzag(0));
    let body =
        attributes + times + string(record.key) + string(record.value) + zigzag(headers.len() as i64) + of_headers;
    // Offset, length, leader epoch, magic, checksum, attributes, last offset, two times, producer's id and epoch, sequence, count.
    let head = 8 + 4 + 4 + 1 + 4 + 2 + 4 + 8 + 8 + 8 + 2 + 4 + 4;
    let longest = 5 + 1 + 10 + 5 + 5 + 5 + 5;
    let of_client = longest + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + of_headers;
    (of_client, head + zigzag(body as i64) + body)
}

#[test]
fn what_a_record_carries_on_goes_where_nothing_else_makes_it_small_enough() {
    let mut dependent = carrying(event(r#"{"type":"person","id":5}"#), Some(b"5"));
    let mut header = dependent.event.header.header.clone();
    let mut headers = crate::event::Headers::default();
    headers.push("large", Some(&[b'x'; 5000]));
    header.carried = Some(Box::new(crate::event::Carried { key: Some(b"5".to_vec()), headers }));
    dependent.event = crate::event::event(header, &dependent.event.slice);
    let limits = RecordLimits { client: 1 << 20, topic: 1000 };
    let (mut bytes, formats) = (Vec::new(), std::array::from_fn(|_| Format::Records { key: KeyRule::Event, limits }));
    Renderer::new(rules(), &partitions(), formats).render(&Outcome::Resolved(dependent), Timestamp(1250), &mut bytes);
    let record = records(&bytes).next().expect("a record");
    assert_eq!(record.key, None);
    let names: Vec<&str> = crate::event::headers(record.headers).map(|(name, _)| name).collect();
    assert_eq!(names, ["resolvent-outcome", "resolvent-position", "resolvent-size"]);
    let value: Json = serde_json::from_slice(record.value.unwrap_or_default()).expect("JSON");
    assert!(value["size"].is_u64() && value.get("event").is_none(), "{value}");
}

/// A change of a maintained result, of a person.
fn change(added: bool, revised: bool, by_key: bool) -> Change {
    let decoded = decode(br#"{"type":"person","id":5,"name":"Ann"}"#);
    let Decoded::Event(dependent) = decoded else { panic!("a person") };
    let entity = rules().stream(dependent.event.header.header.stream).provides.expect("an entity");
    let identity = if by_key { ResultIdentity::Key(entity, Key::Int(5)) } else { ResultIdentity::Position };
    Change { dependent, added, epoch: Epoch(7), identity, revised }
}

#[test]
fn a_change_says_what_it_changes_as_of_when_and_of_what() {
    let line = |change: &Change| {
        let mut line = Vec::new();
        Renderer::new(rules(), &partitions(), Default::default()).render_change(change, Timestamp(1250), &mut line);
        String::from_utf8(line).expect("UTF-8")
    };
    let added = line(&change(true, false, true));
    let start = r#"{"outcome":"resolved","stream":"person","event":{"type":"person","id":5,"name":"Ann"},"dependencies":{},"position":"#;
    assert!(added.starts_with(start), "{added}");
    assert!(added.ends_with("\"change\":1,\"epoch\":7,\"identity\":\"person/5\"}\n"), "{added}");
    let retracted = line(&change(false, true, false));
    let json: Json = serde_json::from_str(&retracted).expect("JSON");
    assert_eq!((&json["change"], &json["identity"]), (&Json::from(-1), &json["position"]));
}

#[test]
fn a_topic_of_present_results_has_one_record_for_each_and_null_where_it_is_gone() {
    let written = |change: &Change, client: usize| {
        let mut bytes = Vec::new();
        let formats = std::array::from_fn(|_| Format::Upserts { limits: RecordLimits { client, topic: usize::MAX } });
        Renderer::new(rules(), &partitions(), formats).render_change(change, Timestamp(1250), &mut bytes);
        let shown = records(&bytes).map(|record| {
            let value = record.value.map(|value| serde_json::from_slice::<Json>(value).expect("JSON"));
            (String::from_utf8_lossy(record.key.expect("a key")).into_owned(), value)
        });
        shown.collect::<Vec<_>>()
    };
    let [(key, Some(value))] = &written(&change(true, false, true), 1 << 20)[..] else { panic!("a result") };
    assert_eq!(
        (key.as_str(), &value["change"], &value["event"]["name"]),
        ("person/5", &Json::from(1), &Json::from("Ann"))
    );
    assert_eq!(written(&change(false, false, true), 1 << 20), [("person/5".to_owned(), None)]);
    // Another takes its place.
    assert!(written(&change(false, true, true), 1 << 20).is_empty());
    // One that is too large is there without its event, under the same key.
    let [(key, Some(value))] = &written(&change(true, false, true), 250)[..] else { panic!("a result") };
    assert!(key == "person/5" && value.get("event").is_none() && value["size"].is_u64(), "{value}");
}
