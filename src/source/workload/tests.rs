//! The knobs of a workload do what they say.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

fn settings(workload: Workload, events: u64) -> SyntheticSettings {
    SyntheticSettings { events, seed: 42, ..SyntheticSettings::new(workload) }
}

fn all(settings: &SyntheticSettings) -> Vec<(Made, String)> {
    let mut generator = Generator::new(settings).unwrap();
    let mut records = Vec::new();
    loop {
        let mut line = Vec::new();
        let Some(made) = generator.next(&mut line).unwrap() else { return records };
        records.push((made, String::from_utf8(line).unwrap()));
    }
}

fn lines(settings: &SyntheticSettings) -> Vec<String> {
    all(settings).into_iter().map(|(_, line)| line).collect()
}

/// The share of a stream's records that come before one of their referents.
fn share_before_a_referent(records: &[(Made, String)], stream: Stream) -> f64 {
    let (mut seen, mut dependents, mut early) = (HashSet::new(), 0, 0);
    for (made, _) in records {
        if made.stream == stream {
            dependents += 1;
            early += u32::from(made.refers_to.iter().flatten().any(|referent| !seen.contains(referent)));
        }
        seen.extend(made.provides);
    }
    f64::from(early) / f64::from(dependents)
}

#[test]
fn records_say_what_they_are() {
    for workload in [Workload::Nexmark, Workload::Social, Workload::Items] {
        for (made, line) in all(&settings(workload, 20_000)) {
            assert!(line.starts_with(&format!("{{\"type\":\"{}\",", made.stream)), "{line}");
            assert!(line.ends_with("}\n") && line.len() < 4096, "{line}");
            let record: serde_json::Value = serde_json::from_str(&line).unwrap();
            let fields: &[&str] = match made.stream {
                Stream::Person => &[],
                Stream::Auction => &["seller"],
                Stream::Bid => &["auction", "bidder"],
                Stream::Post => &["author"],
                Stream::Comment => &["author", "reply_to"],
                Stream::Like => &["person", "message"],
                Stream::Follow => &["from", "to"],
                Stream::Item => &[],
                Stream::Use => &["items"],
            };
            let ids = |field: &&str| match &record[field] {
                serde_json::Value::Array(ids) => ids.iter().map(|id| id.as_u64().unwrap()).collect(),
                id => vec![id.as_u64().unwrap()],
            };
            let references: Vec<u64> = fields.iter().flat_map(ids).collect();
            let stated: Vec<u64> = made.refers_to.iter().flatten().map(|referent| referent.id).collect();
            assert_eq!(references, stated);
            assert_eq!(record["id"].as_u64(), made.provides.map(|referent| referent.id));
        }
    }
}

#[test]
fn ids_are_unique_and_in_order_every_reference_but_nexmarks_leads_has_come() {
    for (workload, streams, early_at_most) in [
        (Workload::Nexmark, vec![Stream::Auction, Stream::Bid], 0.1),
        (Workload::Social, vec![Stream::Post, Stream::Comment, Stream::Like, Stream::Follow], 0.0),
        (Workload::Items, vec![Stream::Use], 0.0),
    ] {
        for seed in [0, 1, u64::MAX] {
            let records = all(&SyntheticSettings { seed, ..settings(workload, 30_000) });
            assert_eq!(records.len(), 30_000);
            let provided: Vec<Referent> = records.iter().filter_map(|(made, _)| made.provides).collect();
            let ids: HashSet<Referent> = provided.iter().copied().collect();
            assert_eq!(ids.len(), provided.len());
            for stream in &streams {
                assert!(share_before_a_referent(&records, *stream) <= early_at_most, "{stream} of seed {seed}");
            }
        }
    }
}

#[test]
fn seed_0_is_the_sequence_of_the_nexmark_crate() {
    let config = ::nexmark::config::NexmarkConfig { base_time: 1_436_918_400_000, ..Default::default() };
    let theirs = ::nexmark::EventGenerator::new(config).take(5_000);
    for (event, line) in theirs.zip(lines(&SyntheticSettings { seed: 0, ..settings(Workload::Nexmark, 5_000) })) {
        let mut ours: serde_json::Value = serde_json::from_str(&line).unwrap();
        ours.as_object_mut().unwrap().remove("type");
        let theirs = serde_json::to_value(&event).unwrap();
        assert_eq!(theirs.as_object().unwrap().values().next(), Some(&ours));
    }
}

#[test]
fn another_seed_makes_other_events() {
    for workload in [Workload::Nexmark, Workload::Social, Workload::Items] {
        let one: HashSet<String> = lines(&settings(workload, 5_000)).into_iter().collect();
        let other = lines(&SyntheticSettings { seed: 43, ..settings(workload, 5_000) });
        assert!(other.iter().filter(|line| one.contains(*line)).count() < 50);
    }
}

/// The yardstick of the comparisons: shuffled within 50,000, about 60 % of the bids come before their auction or
/// bidder.
#[test]
fn shuffled_nexmark_bids_come_before_their_referents() {
    for seed in [0, 42] {
        let settings = SyntheticSettings { seed, disorder: 50_000, ..settings(Workload::Nexmark, 500_000) };
        let share = share_before_a_referent(&all(&settings), Stream::Bid);
        assert!((0.57..0.67).contains(&share), "{share}");
    }
}

#[test]
fn attention_is_unequal() {
    let mut followers: HashMap<Referent, u32> = HashMap::new();
    let records = all(&settings(Workload::Social, 100_000));
    for (made, _) in records.iter().filter(|(made, _)| made.stream == Stream::Follow) {
        *followers.entry(made.refers_to[1].unwrap()).or_default() += 1;
    }
    let mut counts: Vec<u32> = followers.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let total: u32 = counts.iter().sum();
    let top: u32 = counts.iter().take(10).sum();
    assert!((0.2..0.5).contains(&(f64::from(top) / f64::from(total))), "{top} of {total}");
    assert!(counts.len() > 1_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn disorder_keeps_its_window(disorder in 0_u64..3_000, seed: u64, events in 1_u64..6_000) {
        let ordered = SyntheticSettings { seed, ..settings(Workload::Social, events) };
        let place: HashMap<String, usize> = lines(&ordered).into_iter().zip(0..).collect();
        let shuffled = lines(&SyntheticSettings { disorder, ..ordered });
        prop_assert_eq!(shuffled.len() as u64, events);
        for (at, line) in shuffled.iter().enumerate() {
            prop_assert!(place[line].abs_diff(at) < disorder.max(1) as usize);
        }
    }

    #[test]
    fn late_events_come_that_much_later(late_by in 50_u64..8_000, seed: u64) {
        let ordered = SyntheticSettings { seed, ..settings(Workload::Social, 5_000) };
        let place: HashMap<String, u64> = lines(&ordered).into_iter().zip(0..).collect();
        let delayed = lines(&SyntheticSettings { late: 0.2, late_by, ..ordered });
        prop_assert_eq!(delayed.len(), place.len());
        // Those on time keep their order, and so do those that are late.
        let (mut on_time, mut last_on_time, mut last_late) = (0, None, None);
        for line in &delayed {
            let number = place[line];
            if last_on_time < Some(number) {
                on_time += 1;
                last_on_time = Some(number);
            } else {
                prop_assert!(last_late < Some(number));
                prop_assert!(last_on_time.is_some_and(|last| last <= number + late_by));
                last_late = Some(number);
            }
        }
        prop_assert!((3_800..4_200).contains(&on_time), "{} of 5,000 on time", on_time);
    }
}

#[test]
fn repeated_records_are_the_same_and_soon() {
    for disorder in [0, 5_000] {
        let settings = SyntheticSettings { duplicates: 0.1, disorder, ..settings(Workload::Nexmark, 50_000) };
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, line) in lines(&settings).into_iter().enumerate() {
            places.entry(line).or_default().push(at);
        }
        assert_eq!(places.len(), 50_000);
        let repeated: Vec<_> = places.values().filter(|places| places.len() > 1).collect();
        assert!((4_500..5_500).contains(&repeated.len()), "{}", repeated.len());
        for places in repeated {
            let distance = places[1] - places[0];
            assert!(places.len() == 2 && distance > 0 && distance < 1_300 + 2 * disorder as usize, "{places:?}");
        }
    }
}

#[test]
fn what_never_comes_is_referred_to() {
    for (workload, referents) in [(Workload::Nexmark, 4_000), (Workload::Social, 21_000), (Workload::Items, 50_000)] {
        let records = all(&SyntheticSettings { never: 0.1, ..settings(workload, 50_000) });
        let lost = 50_000 - records.len();
        assert!((referents * 9 / 100..referents * 11 / 100).contains(&lost), "{lost} of {referents}");

        let provided: HashSet<Referent> = records.iter().filter_map(|(made, _)| made.provides).collect();
        let wanted: HashSet<Referent> = records.iter().flat_map(|(made, _)| made.refers_to).flatten().collect();
        let missing = wanted.difference(&provided).count();
        assert!((wanted.len() * 8 / 100..wanted.len() * 12 / 100).contains(&missing), "{missing} of {}", wanted.len());
    }
}

/// How many references the items between two numbers have, the most first; and how many there are.
fn references_of(items: ItemSettings, between: std::ops::Range<u64>) -> (Vec<usize>, usize) {
    let records = all(&SyntheticSettings { items, ..settings(Workload::Items, between.end) });
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for (made, _) in &records {
        let id = made.provides.unwrap().id;
        for referent in made.refers_to.iter().flatten() {
            assert!(referent.id < id && id - referent.id <= items.reach, "{id} refers to {}", referent.id);
            *counts.entry(referent.id).or_default() += 1;
        }
    }
    let total = counts.values().sum();
    let mut counts: Vec<usize> = counts.into_iter().filter(|(id, _)| between.contains(id)).map(|(_, n)| n).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    (counts, total)
}

#[test]
fn items_have_the_dependents_references_and_payload_that_are_asked_for() {
    for (dependents, references) in [(0.0, 1), (0.1, 8), (0.5, 1), (0.9, 2), (1.0, 3)] {
        let items = ItemSettings { dependents, references, payload: 50, ..ItemSettings::default() };
        let records = all(&SyntheticSettings { items, ..settings(Workload::Items, 20_000) });
        let uses = records.iter().filter(|(made, _)| made.stream == Stream::Use).count();
        assert!(uses.abs_diff((dependents * 20_000.0) as usize) <= 1, "{uses} of {dependents}");
        for (made, line) in records {
            let expected = if made.stream == Stream::Use { references as usize } else { 0 };
            assert_eq!(made.refers_to.iter().flatten().count(), expected);
            let record: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(record["text"].as_str().unwrap().len(), 50);
        }
    }
}

#[test]
fn references_to_items_are_uniform_or_by_zipfs_law() {
    let items = ItemSettings { dependents: 1.0, reach: 1_000, ..ItemSettings::default() };
    // Of an item's time there are as many references as items: one each on average.
    let (uniform, total) = references_of(items, 10_000..20_000);
    assert_eq!(total, 19_999);
    assert!(uniform[0] < 12 && uniform.len() > 5_500, "{} {}", uniform[0], uniform.len());
    let (skewed, _) = references_of(ItemSettings { skew: 1.0, ..items }, 10_000..20_000);
    // The first rank has a tenth of all: there are ten octaves.
    assert!(skewed[..10].iter().all(|count| (60..140).contains(count)), "{:?}", &skewed[..10]);
    assert!(skewed[10] < skewed[9], "{:?}", &skewed[..12]);
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let good = SyntheticSettings { late: 0.5, late_by: 10, ..settings(Workload::Social, 10) };
    assert_eq!(good.check(), Ok(()));
    let bad = [
        SyntheticSettings { late_by: 0, ..good.clone() },
        SyntheticSettings { never: 1.5, ..good.clone() },
        SyntheticSettings { duplicates: f64::NAN, ..good.clone() },
        SyntheticSettings { disorder: DISORDER_MAX + 1, ..good.clone() },
        SyntheticSettings { events: u64::MAX, ..good.clone() },
        SyntheticSettings { items: ItemSettings { reach: 0, ..ItemSettings::default() }, ..good.clone() },
        SyntheticSettings { items: ItemSettings { references: 9, ..ItemSettings::default() }, ..good.clone() },
        SyntheticSettings { items: ItemSettings { skew: -0.1, ..ItemSettings::default() }, ..good.clone() },
    ];
    for settings in bad {
        assert!(settings.check().is_err(), "{settings:?}");
        assert!(Generator::new(&settings).is_err());
    }
}
