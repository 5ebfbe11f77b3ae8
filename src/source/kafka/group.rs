//! Topics whose partitions are shared among the members of a consumer group, which has their positions.
//!
//! All partitions of a member are taken from it before the group shares them out anew (the eager protocol), and it gives them up when what it has handed out of
//! them is committed: so whoever gets one next begins behind that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use tracing::info;

use super::consumer::Consumer;
use super::lanes::{Lane, Lanes};
use super::offsets::{Asking, Ranges, TopicPartition, topics_of};
use super::{KafkaSettings, LOOK_EVERY, PAUSE_AFTER, Start, name_of, offset, until};
use crate::clock::Clock;
use crate::event::{PartitionId, Partitions};
use crate::kafka::{Cluster, Membership, Observer, Rebalance};
use crate::source::{Fingerprint, Fingerprints, Host, Lag, Limits, Next, Source, SourceError};

/// How this process stands with the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has not asked to be a member.
    Apart,
    /// It waits for its share.
    Joining,
    /// It has its share, which may be nothing.
    Member,
    /// Its share is taken from it, and not given up yet.
    Revoked,
}

/// Reads its share of the partitions.
pub(in crate::source) struct GroupSource {
    settings: KafkaSettings,
    host: Host,
    partitions: Partitions,
    cluster: Cluster,
    consumer: Consumer,
    membership: Membership,
    observer: Observer,
    lanes: Lanes,
    standing: Standing,
    /// The partitions that there were, and the topics that the group knew, before this process joined.
    there: BTreeSet<TopicPartition>,
    known_topics: BTreeSet<String>,
    /// Partitions that were not announced yet.
    unannounced: VecDeque<(PartitionId, u64)>,
    caught_up_told: bool,
    held_since: Option<Instant>,
    paused: bool,
    looked: Instant,
    /// The statistics that were looked at last.
    counted: u64,
    lag: Option<u64>,
}

impl GroupSource {
    /// See [`super::super::open`].
    pub(in crate::source) fn open(
        settings: &KafkaSettings,
        limits: Limits,
        partitions: &Partitions,
        clock: Clock,
        host: &Host,
    ) -> Result<GroupSource, SourceError> {
        let observer = Observer::new("consumer", host.metrics.clone());
        let cluster = Cluster::new(&settings.client, &settings.client_id, &observer)?;
        let consumer = Consumer::member(settings, &observer)?;
        let mut source = GroupSource {
            settings: settings.clone(),
            host: host.clone(),
            partitions: partitions.clone(),
            cluster,
            membership: Membership::new(&settings.group, consumer.clone()),
            consumer,
            observer,
            lanes: Lanes::new(limits, clock, settings.until_end),
            standing: Standing::Apart,
            there: BTreeSet::new(),
            known_topics: BTreeSet::new(),
            unannounced: VecDeque::new(),
            caught_up_told: false,
            held_since: None,
            paused: false,
            looked: Instant::now(),
            counted: 0,
            lag: None,
        };
        source.look_before_joining()?;
        Ok(source)
    }

    fn asking(&self) -> Asking<'_> {
        Asking { cluster: &self.cluster, settings: &self.settings, waiting: self.host.waiting() }
    }

    /// Finds what is there. A partition that is not among it, or that the group does not know though it knows its topic, was added later. (Afterwards the
    /// latter would not tell: others may have begun to read the topic.)
    fn look_before_joining(&mut self) -> Result<(), SourceError> {
        let names = self.settings.topics.iter().map(|topic| topic.name.as_str());
        let topics = self.cluster.topics(names, self.settings.create_topics, self.host.waiting())?;
        self.there = topics
            .into_iter()
            .flat_map(|(topic, numbers)| numbers.into_iter().map(move |number| (topic.clone(), number)))
            .collect();
        let all: Vec<TopicPartition> = self.there.iter().cloned().collect();
        let committed = self.asking().committed(&self.consumer, &all)?;
        self.known_topics = topics_of(&committed);
        if self.settings.start == Start::Committed {
            // Refused before it joins, whoever would get the partition.
            let ranges = self.asking().ranges(&all)?;
            self.asking().starts(&self.consumer, &ranges)?;
        }
        Ok(())
    }

    fn join(&mut self) -> Result<(), SourceError> {
        let names: Vec<&str> = self.settings.topics.iter().map(|topic| topic.name.as_str()).collect();
        self.consumer.subscribe(&names).map_err(|error| self.asking().explain(&error))?;
        self.standing = Standing::Joining;
        Ok(())
    }

    /// Does what the group asks for. Returns whether partitions are taken away that have to be committed first.
    fn answer(&mut self, rebalance: Rebalance) -> Result<bool, SourceError> {
        match rebalance {
            Rebalance::Assigned(partitions) => {
                self.take_on(&partitions)?;
                Ok(false)
            }
            Rebalance::Revoked { lost: true } => Err(SourceError::PutOut { group: self.settings.group.clone() }),
            Rebalance::Revoked { lost: false } => {
                let had_some = self.lanes.iter().next().is_some();
                self.lanes.clear(&self.observer);
                (self.standing, self.lag) = (Standing::Revoked, None);
                if !had_some {
                    self.give_up()?;
                }
                Ok(had_some)
            }
        }
    }

    /// Begins to read partitions where the group stands, or where `start` says.
    fn take_on(&mut self, given: &TopicPartitionList) -> Result<(), SourceError> {
        let all: Vec<TopicPartition> =
            given.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
        self.membership.renew();
        // What was counted up to now may be of an earlier share.
        self.counted = self.observer.counted();
        let ranges = self.asking().ranges(&all)?;
        let starts = self.starts(&all, &ranges)?;
        let list: TopicPartitionList = starts.iter().map(|(at, start)| (at.clone(), offset(*start))).collect();
        for (at, start) in starts {
            let id = self.partitions.id(&name_of(&at));
            let end = ranges.get(&at).map_or(start, |range| range.end);
            self.unannounced.push_back((id, start));
            self.lanes.add(Lane::new(&at.0, at.1, id, self.settings.stream_of(&at.0), start, end));
        }
        let names: Vec<String> = all.iter().map(name_of).collect();
        info!(group = self.settings.group, partitions = names.join(" "), "the group has shared out its partitions");
        self.consumer.assign(&list).map_err(|error| self.asking().explain(&error))?;
        self.standing = Standing::Member;
        Ok(())
    }

    fn starts(&self, all: &[TopicPartition], ranges: &Ranges) -> Result<BTreeMap<TopicPartition, u64>, SourceError> {
        if all.is_empty() {
            return Ok(BTreeMap::new());
        }
        let asking = self.asking();
        let (mut starts, mut unknown) = (BTreeMap::new(), Ranges::new());
        for (at, committed) in asking.committed(&self.consumer, all)? {
            let Some(range) = ranges.get(&at).copied() else { continue };
            let was_added = self.known_topics.contains(&at.0) || !self.there.contains(&at);
            match committed {
                Some(position) if position < range.beginning || position > range.end => {
                    return Err(SourceError::GroupOutOfRange {
                        group: self.settings.group.clone(),
                        partition: name_of(&at),
                        offset: position,
                        beginning: range.beginning,
                        end: range.end,
                    });
                }
                Some(position) => _ = starts.insert(at, position),
                None if was_added => _ = starts.insert(at, range.beginning),
                None => _ = unknown.insert(at, range),
            }
        }
        starts.extend(asking.starts(&self.consumer, &unknown)?);
        Ok(starts)
    }

    fn look_around(&mut self) {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            self.look_at_statistics();
            self.lanes.close_all();
        }
    }

    fn look_at_statistics(&mut self) {
        let counted = self.observer.counted();
        if counted != self.counted {
            self.counted = counted;
            self.lag = Some(self.lanes.note(&self.observer));
        }
    }

    /// What comes next that is no record; all records that were taken have been handed out.
    fn between(&mut self) -> Option<Next> {
        if self.standing != Standing::Member || !self.lanes.caught_up() {
            return None;
        }
        if !std::mem::replace(&mut self.caught_up_told, true) {
            return Some(Next::CaughtUp);
        }
        self.settings.until_end.then_some(Next::End)
    }

    /// Takes what the client has, if there is something within so long. Of partitions that are taken away nothing is taken.
    fn poll(&mut self, patience: Duration) -> Result<bool, SourceError> {
        match self.consumer.poll(patience) {
            Some(Ok(message)) => self.lanes.take(&message),
            Some(Err(error)) => self.asking().judge(&error, &self.lanes)?,
            None => return Ok(false),
        }
        Ok(true)
    }

    fn pause(&mut self, pause: bool) -> Result<(), SourceError> {
        if self.paused == pause {
            return Ok(());
        }
        self.paused = pause;
        let partitions = self.consumer.assignment().map_err(|error| self.asking().explain(&error))?;
        let done = if pause { self.consumer.pause(&partitions) } else { self.consumer.resume(&partitions) };
        done.map_err(|error| self.asking().explain(&error))
    }
}

impl Source for GroupSource {
    fn next(&mut self, wait: Duration) -> Result<Next, SourceError> {
        if self.standing == Standing::Apart {
            self.join()?;
        }
        self.held_since = None;
        self.pause(false)?;
        let deadline = Instant::now() + wait;
        // Once a call, which lasts as long as a block is gathered: to look at the clock for each record costs as much as to take it.
        self.look_around();
        loop {
            if let Some((partition, start)) = self.unannounced.pop_front() {
                return Ok(Next::Partition(partition, start));
            }
            if let Some(rebalance) = self.observer.next_rebalance() {
                if self.answer(rebalance)? {
                    return Ok(Next::Revoked);
                }
                continue;
            }
            if let Some(block) = self.lanes.next_block() {
                return Ok(Next::Block(block));
            }
            let is_open = self.lanes.has_open();
            if let Some(next) = (!is_open).then(|| self.between()).flatten() {
                return Ok(next);
            }
            let patience = if is_open { Duration::ZERO } else { until(deadline) };
            match self.poll(patience)? {
                true => {}
                false if is_open => self.lanes.close_all(),
                false if Instant::now() >= deadline => return Ok(Next::Idle),
                false => {}
            }
        }
    }

    fn lag(&self) -> Lag {
        Lag { records: self.lag, ..Lag::default() }
    }

    fn fingerprints(&mut self, _known: &BTreeMap<PartitionId, Fingerprint>) -> Result<Fingerprints, SourceError> {
        Ok(Fingerprints { records: self.lanes.marks(), ..Fingerprints::default() })
    }

    fn membership(&self) -> Option<Membership> {
        Some(self.membership.clone())
    }

    fn held(&mut self) -> Result<(), SourceError> {
        if self.held_since.get_or_insert_with(Instant::now).elapsed() >= PAUSE_AFTER
            && self.standing == Standing::Member
        {
            self.pause(true)?;
        }
        // A member that does not poll is put out.
        if self.paused || self.standing == Standing::Revoked {
            self.poll(Duration::ZERO)?;
            self.look_at_statistics();
        }
        Ok(())
    }

    fn give_up(&mut self) -> Result<(), SourceError> {
        (self.standing, self.paused) = (Standing::Joining, false);
        self.consumer.unassign().map_err(|error| self.asking().explain(&error))
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        self.lanes.recycle(buffer);
    }
}
