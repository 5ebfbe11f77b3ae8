//! What of the committed input is read again at a start, to rebuild the referents that are kept in memory only.
//!
//! That is what such a referent can be in: not a partition whose stream provides none, and of one whose streams all have a `retain` not what is over the
//! longest of these.

use std::time::Duration;

use crate::checkpoint::{Committed, Timeline};
use crate::dependency::{Rules, Stream};
use crate::event::{EntityId, Positions, Timestamp};
use crate::mode;
use crate::source::Settings;

/// For how long the arrival of tombstones is kept at most.
const TOMBSTONES_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Whether some referents are in memory only.
pub(super) fn is_needed(rules: &Rules) -> bool {
    rules.streams().iter().any(|stream| provides(rules, stream))
}

/// For how long it must be known when input was read: the longest `retain` of referents that are in memory only, or where there is none, as long as
/// tombstones hide what comes late.
pub(super) fn arrivals_kept(rules: &Rules) -> Option<Duration> {
    let provide = rules.streams().iter().filter(|stream| provides(rules, stream));
    if rules.is_maintained() {
        return None;
    }
    let retained = provide.filter_map(|stream| stream.retain).max();
    retained.or_else(|| mode::tombstones_kept(rules).map(|kept| kept.min(TOMBSTONES_MAX)))
}

/// From where to where each partition is read again; `None` where none is.
pub(super) fn range(
    rules: &Rules,
    settings: &Settings,
    committed: &Committed,
    timeline: Option<&Timeline>,
    now: Timestamp,
) -> Option<(Positions, Positions)> {
    let (mut from, mut to) = (Positions::default(), Positions::default());
    for (partition, end) in &committed.positions.0 {
        let only = settings.stream_of(&committed.partitions.name(*partition));
        let streams: &[Stream] = match only {
            Some(stream) => std::slice::from_ref(rules.stream(stream)),
            None => rules.streams(),
        };
        let provide: Vec<&Stream> = streams.iter().filter(|stream| provides(rules, stream)).collect();
        if provide.is_empty() {
            continue;
        }
        let origin = committed.origins.0.get(partition).copied().unwrap_or(0);
        // Without a `retain` a referent is kept for ever.
        let longest: Option<Vec<Duration>> = provide.iter().map(|stream| stream.retain).collect();
        let forgotten = longest.and_then(|all| all.into_iter().max()).map(|longest| now.before(longest));
        let begin = forgotten.and_then(|at| timeline?.position(*partition, at)).unwrap_or(origin).max(origin);
        if begin < *end {
            from.0.insert(*partition, begin);
            to.0.insert(*partition, *end);
        }
    }
    (!to.0.is_empty()).then_some((from, to))
}

/// Whether a stream provides referents that are in memory only.
fn provides(rules: &Rules, stream: &Stream) -> bool {
    // What maintained results follow from is in the state.
    if stream.upkeep.is_some() {
        return false;
    }
    let in_memory = |entity: EntityId| rules.entity(entity).streaming && !rules.entity(entity).deferred;
    stream.provides.into_iter().chain(stream.provides_resolved).any(in_memory)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use resolvent_state::{Batch, Durability, State};

    use super::*;
    use crate::dependency::{DependencyDraft, Mode, Need, OnExpiry, Place, Pointer, StreamDraft};
    use crate::event::{PartitionId, Partitions};
    use crate::source::{FileInput, FileSettings, Follow};

    const SECOND: i64 = 1_000_000;

    /// `post` and `person` provide, `like` refers to both; `retain` in seconds.
    fn rules(post: Option<u64>, person: Option<u64>, mode: Mode) -> Rules {
        let pointer = |field| Pointer::parse(field).unwrap();
        let stream = |name: &str, key: bool, retain: Option<u64>, depends_on| StreamDraft {
            name: name.into(),
            key: key.then(|| Place::Field(pointer("/id"))),
            provides: None,
            time: None,
            retain: retain.map(Duration::from_secs),
            ordered_by: None,
            depends_on,
        };
        let depends_on = ["post", "person"].map(|entity| DependencyDraft {
            name: None,
            entity: entity.into(),
            by: pointer("/by"),
            mode,
            required: true,
            need: Need::Arrived,
            wait: None,
            on_expiry: OnExpiry::DeadLetter,
            include: None,
        });
        let drafts = vec![
            stream("post", true, post, vec![]),
            stream("person", true, person, vec![]),
            stream("like", false, None, depends_on.into()),
        ];
        Rules::build(drafts).unwrap()
    }

    /// A file for each stream, or one with all of them.
    fn files(rules: &Rules, names: &[&str]) -> Settings {
        let input = |name: &&str| FileInput { path: (*name).to_owned(), stream: rules.stream_named(name) };
        Settings::File(FileSettings { inputs: names.iter().map(input).collect(), interleave: true, follow: Follow::No })
    }

    /// Each partition had been read to `10 * second` at each second up to the hundredth.
    fn timeline(partitions: usize) -> Timeline {
        let state = State::in_memory();
        let (mut timeline, mut batch) = (Timeline::read(&state, Duration::from_secs(1000)).unwrap(), Batch::default());
        for second in 1..=100_i64 {
            timeline.note(Timestamp(second * SECOND), &positions(partitions, second as u64 * 10), &mut batch).unwrap();
        }
        state.write(&batch, Durability::Synced).unwrap();
        timeline
    }

    fn positions(partitions: usize, offset: u64) -> Positions {
        Positions((0..partitions).map(|at| (PartitionId(at as u32), offset)).collect())
    }

    #[test]
    fn only_what_may_hold_a_referent_in_memory_is_read_again_and_no_more_of_it_than_is_retained() {
        let separate: &[&str] = &["post", "person", "like"];
        type Case<'a> = (Option<u64>, Option<u64>, Mode, &'a [&'a str], &'a [(usize, u64)]);
        let cases: [Case<'_>; 8] = [
            (None, None, Mode::Streaming, separate, &[(0, 3), (1, 0)]),
            (None, None, Mode::Streaming, &["all"], &[(0, 3)]),
            (None, None, Mode::Deferred, separate, &[]),
            (Some(20), None, Mode::Streaming, separate, &[(0, 900), (1, 0)]),
            (Some(20), Some(40), Mode::Streaming, separate, &[(0, 900), (1, 700)]),
            // In one partition the longest decides, and one without a `retain` asks for all.
            (Some(20), Some(40), Mode::Streaming, &["all"], &[(0, 700)]),
            (Some(20), None, Mode::Streaming, &["all"], &[(0, 3)]),
            // Longer than the timeline reaches; and over altogether.
            (Some(500), Some(1), Mode::Streaming, separate, &[(0, 3)]),
        ];
        for (post, person, mode, names, expected) in cases {
            let rules = rules(post, person, mode);
            let mut committed = Committed::default();
            committed.positions = positions(names.len(), 1000);
            committed.origins = positions(1, 3);
            committed.partitions = Partitions::new(names.iter().map(|name| Arc::from(*name)));
            let timeline = timeline(names.len());
            let now = Timestamp(110 * SECOND);
            let range = range(&rules, &files(&rules, names), &committed, Some(&timeline), now);
            let from = range.as_ref().map(|(from, _)| from.0.clone()).unwrap_or_default();
            let expected = expected.iter().map(|(at, from)| (PartitionId(*at as u32), *from)).collect();
            assert_eq!(from, expected, "{post:?} {person:?} {mode:?} {names:?}");
            let to = range.map(|(_, to)| to.0.into_values().collect::<Vec<_>>()).unwrap_or_default();
            assert_eq!(to, vec![1000; from.len()]);
        }
    }
}
