//! Looking things up in the [`Rules`], and what of them a job's state depends on.

use serde_json::Value;

use super::{Entity, Mode, Rules, Stream, graph};
use crate::event::{EntityId, StreamId};

impl Rules {
    /// These rules for a source that has tombstones: whatever a stream provides may be deleted.
    pub fn with_tombstones(mut self) -> Rules {
        self.entities.iter_mut().filter(|entity| entity.order_of.is_none()).for_each(|entity| entity.deletable = true);
        self
    }

    /// These rules with every dependency looked up in memory, whatever its mode: for measuring what its referents do.
    pub fn all_streaming(mut self) -> Rules {
        let mut named = Vec::new();
        for dependency in self.streams.iter_mut().flat_map(|stream| &mut stream.depends_on) {
            dependency.mode = Mode::Streaming;
            named.push(dependency.entity);
        }
        for (at, entity) in self.entities.iter_mut().enumerate() {
            entity.deferred = false;
            entity.streaming = named.iter().any(|named| usize::from(named.0) == at);
        }
        graph::mark_cycles(&mut self);
        self
    }

    /// All streams, by [`StreamId`].
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// A stream of these rules. An id of other rules is a defect of the caller: it panics, or gives another stream.
    #[expect(
        clippy::indexing_slicing,
        reason = "ids are made with the tables and checked where they come out of a state"
    )]
    pub fn stream(&self, id: StreamId) -> &Stream {
        &self.streams[usize::from(id.0)]
    }

    /// All entities, by [`EntityId`].
    pub fn entities(&self) -> &[Entity] {
        &self.entities
    }

    /// An entity of these rules. An id of other rules is a defect of the caller: it panics, or gives another entity.
    #[expect(
        clippy::indexing_slicing,
        reason = "ids are made with the tables and checked where they come out of a state"
    )]
    pub fn entity(&self, id: EntityId) -> &Entity {
        &self.entities[usize::from(id.0)]
    }

    /// The stream of a name, as a record's stream field gives it.
    pub fn stream_named(&self, name: &str) -> Option<StreamId> {
        let at = self.streams.binary_search_by(|stream| stream.name.as_str().cmp(name)).ok()?;
        u16::try_from(at).ok().map(StreamId)
    }

    /// What a job's state depends on, as sorted lines: streams, keys, `provides`, `entity`, `by`, `need` and `mode`.
    ///
    /// Equal texts mean that every id and every index of a dependency in the state still means the same.
    pub fn fingerprint_text(&self) -> String {
        let mut lines = Vec::new();
        for stream in &self.streams {
            let name = quoted(&stream.name);
            let key = stream.key.as_ref().map_or("-".to_owned(), |key| quoted(&key.to_string()));
            let provides = stream.provides.map_or("-".to_owned(), |entity| quoted(&self.entity(entity).name));
            lines.push(format!("stream {name} key {key} provides {provides}"));
            for dependency in &stream.depends_on {
                let entity = quoted(&self.entity(dependency.entity).name);
                let by = quoted(dependency.by.as_str());
                let (need, mode) = (dependency.need.as_str(), dependency.mode.as_str());
                lines.push(format!("stream {name} depends on {entity} by {by} need {need} mode {mode}"));
            }
        }
        lines.sort();
        lines.join("\n")
    }
}

impl Stream {
    /// The queue of its events, where `ordered_by` asks for an order and events may wait: those that wait for nothing
    /// park behind nobody.
    pub fn queue(&self) -> Option<EntityId> {
        let waits = self.depends_on.iter().any(|dependency| dependency.mode != Mode::Independent);
        self.ordered_by.as_ref().filter(|_| waits).map(|(_, queue)| *queue)
    }
}

/// A text as JSON writes it: the same in every version of the language.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
