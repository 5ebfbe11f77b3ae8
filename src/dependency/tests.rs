//! Rules built from drafts: ids, derived entities, cycles, and what can never resolve.

use proptest::prelude::*;

use super::*;

/// A stream from one line: `name [key] [provides=E] [time] [ordered] [-> dependency ...]`, a dependency being
/// `entity[:need][:mode][:optional][:name=N]`.
fn draft(line: &str) -> StreamDraft {
    let (head, tail) = line.split_once("->").unwrap_or((line, ""));
    let mut words = head.split_whitespace();
    let mut draft = StreamDraft {
        name: words.next().unwrap().to_owned(),
        key: None,
        provides: None,
        time: None,
        retain: None,
        ordered_by: None,
        depends_on: tail.split_whitespace().map(dependency).collect(),
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("key", _) => draft.key = Place::parse("/id").ok(),
            ("provides", entity) => draft.provides = Some(entity.to_owned()),
            ("time", _) => draft.time = Place::parse("/time").ok(),
            ("ordered", _) => draft.ordered_by = Some(Pointer::parse("/order").unwrap()),
            other => panic!("{other:?}"),
        }
    }
    draft
}

fn dependency(text: &str) -> DependencyDraft {
    let mut words = text.split(':');
    let entity = words.next().unwrap().to_owned();
    let mut draft = DependencyDraft {
        name: None,
        by: Pointer::parse(&format!("/{entity}")).unwrap(),
        entity,
        mode: Mode::Streaming,
        required: true,
        need: Need::Arrived,
        wait: None,
        on_expiry: OnExpiry::DeadLetter,
        include: None,
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("resolved", _) => draft.need = Need::Resolved,
            ("deferred", _) => draft.mode = Mode::Deferred,
            ("independent", _) => draft.mode = Mode::Independent,
            ("optional", _) => draft.required = false,
            ("partial", _) => {
                draft.wait = Some(Duration::from_secs(1));
                draft.on_expiry = OnExpiry::Partial;
            }
            ("name", name) => draft.name = Some(name.to_owned()),
            other => panic!("{other:?}"),
        }
    }
    draft
}

fn build(text: &str) -> Result<Rules, Vec<RuleError>> {
    Rules::build(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(draft).collect())
}

const SOCIAL: &str = "
    person key time
    post key provides=message time -> person
    comment key provides=message -> person:deferred message:resolved
    like ordered -> person message:resolved:independent message:name=any
";

#[test]
fn ids_are_indexes_into_tables_sorted_by_name() {
    let rules = build(SOCIAL).unwrap();
    let streams: Vec<&str> = rules.streams().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(streams, ["comment", "like", "person", "post"]);
    assert_eq!(rules.stream_named("like"), Some(StreamId(1)));
    assert_eq!(rules.stream_named("likes"), None);
    let entity = |e: &Entity| (e.name.clone(), e.resolved_of, e.order_of, e.streaming, e.deferred, e.timed);
    let expected = [
        ("message", None, None, true, false, true),
        ("person", None, None, true, true, true),
        ("message", Some(EntityId(0)), None, true, false, true),
        ("comment", None, Some(StreamId(0)), false, false, false),
        ("like", None, Some(StreamId(1)), false, false, false),
        ("person", None, Some(StreamId(2)), false, false, false),
        ("post", None, Some(StreamId(3)), false, false, false),
    ];
    let expected = expected.map(|(name, of, order, s, d, t)| (name.to_owned(), of, order, s, d, t));
    assert_eq!(rules.entities().iter().map(entity).collect::<Vec<_>>(), expected);
}

#[test]
fn streams_provide_their_entity_and_its_twin() {
    let rules = build(SOCIAL).unwrap();
    let provided =
        |s: &Stream| (s.name.clone(), s.provides, s.provides_resolved, s.ordered_by.clone().map(|o| o.1), s.cyclic);
    let expected = [
        ("comment", Some(EntityId(0)), Some(EntityId(2)), None, true),
        ("like", None, None, Some(EntityId(4)), false),
        ("person", Some(EntityId(1)), None, None, false),
        ("post", Some(EntityId(0)), Some(EntityId(2)), None, false),
    ];
    let expected = expected.map(|(name, plain, twin, queue, cyclic)| (name.to_owned(), plain, twin, queue, cyclic));
    assert_eq!(rules.streams().iter().map(provided).collect::<Vec<_>>(), expected);
    let like: Vec<_> = rules.stream(StreamId(1)).depends_on.iter().map(|d| (d.name.as_str(), d.entity)).collect();
    assert_eq!(like, [("any", EntityId(0)), ("message", EntityId(2)), ("person", EntityId(1))]);
}

#[test]
fn the_fingerprint_says_what_the_state_depends_on() {
    let text = build(SOCIAL).unwrap().fingerprint_text();
    assert_eq!(
        text,
        r#"stream "comment" depends on "message" by "/message" need resolved mode streaming
stream "comment" depends on "person" by "/person" need arrived mode deferred
stream "comment" key "/id" provides "message"
stream "like" depends on "message" by "/message" need arrived mode streaming
stream "like" depends on "message" by "/message" need resolved mode independent
stream "like" depends on "person" by "/person" need arrived mode streaming
stream "like" key - provides -
stream "person" key "/id" provides "person"
stream "post" depends on "person" by "/person" need arrived mode streaming
stream "post" key "/id" provides "message""#
    );
}

#[test]
fn what_the_fingerprint_leaves_out_renumbers_nothing() {
    let before = build(SOCIAL).unwrap();
    let after =
        build(&SOCIAL.replace("comment key", "comment ordered key").replace("person key time", "person key")).unwrap();
    assert_eq!(before.fingerprint_text(), after.fingerprint_text());
    let ids = |rules: &Rules| {
        rules.entities().iter().map(|e| (e.name.clone(), e.resolved_of, e.order_of)).collect::<Vec<_>>()
    };
    assert_eq!(ids(&before), ids(&after));
    assert_eq!(before.stream(StreamId(1)).ordered_by, after.stream(StreamId(1)).ordered_by);
}

/// Which streams are cyclic, or what is refused, case by case.
#[test]
fn cycles_of_resolution() {
    for (streams, expected) in [
        ("a key -> a", Ok("")),
        ("a key -> a:resolved:optional", Ok("a")),
        ("a key -> a:resolved", Err(r#""a" needs a resolved "a" by "/a""#)),
        ("a key -> a:resolved:partial", Err(r#""a" needs a resolved "a" by "/a""#)),
        ("a key -> a:resolved:independent", Ok("")),
        ("a key\n b key provides=a -> a:resolved", Ok("b")),
        ("a key -> b:resolved\n b key -> a:resolved:optional", Ok("a b")),
        ("a key -> b:resolved\n b key -> a", Ok("")),
        ("a key -> b:resolved\n b key -> c:resolved\n c key -> a:resolved:optional\n d -> a:resolved", Ok("a b c")),
        ("a key -> b:resolved\n b key -> a:resolved\n d -> a:resolved", Err(r#""a" needs a resolved "b""#)),
        ("a key -> a:resolved\n b key -> b:resolved", Err(r#""b" needs a resolved "b""#)),
        ("a key -> b:resolved\n b key -> a:resolved\n c key provides=b", Ok("a b")),
    ] {
        match (build(streams), expected) {
            (Ok(rules), Ok(cyclic)) => {
                let found: Vec<_> = rules.streams().iter().filter(|s| s.cyclic).map(|s| s.name.as_str()).collect();
                assert_eq!(found.join(" "), cyclic, "{streams}");
            }
            (Err(errors), Err(text)) => {
                let found: Vec<_> = errors.iter().map(|e| e.problem.to_string()).collect();
                assert!(found.iter().any(|f| f.contains(text)), "{streams}: {found:?}");
            }
            (found, _) => panic!("{streams}: {found:?}"),
        }
    }
}

#[test]
fn one_cycle_is_one_error_at_the_place_it_was_declared() {
    let errors = build("z key\n b key -> z a:resolved\n a key -> z b:resolved\n c -> a:resolved").unwrap_err();
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!((error.stream, error.dependency), (2, Some(1)));
}

#[test]
fn contradictions_are_all_found() {
    let errors = build("a key\n a key\n b provides=x time -> a a y").unwrap_err();
    let found: Vec<_> = errors.iter().map(|e| (e.stream, e.dependency, e.problem.to_string())).collect();
    let expected = [
        (1, None, r#"stream "a" is declared twice"#),
        (2, None, "`provides` is about the events that others refer to, and this stream has no `key` to refer to"),
        (2, None, "`time` is about the events that others refer to, and this stream has no `key` to refer to"),
        (2, Some(1), r#"two dependencies of this stream are named "a""#),
        (2, Some(2), r#"no stream provides entity "y""#),
    ];
    assert_eq!(found, expected.map(|(s, d, text)| (s, d, text.to_owned())));
}

#[test]
fn the_limits_are_kept() {
    let many = |n: usize| (0..n).map(|i| format!(" a:name=d{i}")).collect::<String>();
    assert!(build(&format!("a key\n b ->{}", many(DEPENDENCIES_MAX))).is_ok());
    let errors = build(&format!("a key\n b ->{}", many(DEPENDENCIES_MAX + 1))).unwrap_err();
    assert_eq!(errors[0].problem, RuleProblem::TooManyDependencies(DEPENDENCIES_MAX + 1));
    let streams =
        |n: usize| (0..n).map(|i| format!("s{i} key -> s{}:resolved:optional\n", (i + 1) % n)).collect::<String>();
    assert!(build(&streams(STREAMS_MAX)).unwrap().streams().iter().all(|s| s.cyclic));
    let errors = build(&streams(STREAMS_MAX + 1)).unwrap_err();
    assert_eq!(errors[0].problem, RuleProblem::TooManyStreams(STREAMS_MAX + 1));
}

proptest! {
    #[test]
    fn reordering_the_declarations_changes_nothing(seed in any::<u64>()) {
        let mut drafts: Vec<_> = SOCIAL.lines().map(str::trim).filter(|l| !l.is_empty()).map(draft).collect();
        let expected = Rules::build(drafts.clone()).unwrap();
        let mut at = seed;
        let mut below = |n: usize| {
            at = at.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (at >> 33) as usize % n
        };
        for i in (1..drafts.len()).rev() { drafts.swap(i, below(i + 1)); }
        for draft in &mut drafts {
            for i in (1..draft.depends_on.len()).rev() { draft.depends_on.swap(i, below(i + 1)); }
        }
        prop_assert_eq!(Rules::build(drafts).unwrap(), expected);
    }
}
