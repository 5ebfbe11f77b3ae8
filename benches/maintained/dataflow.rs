//! The dataflow of one worker without the job around it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use differential_dataflow::logging::{DifferentialEvent, DifferentialEventBuilder};
use resolvent::decode::{Decoded, Decoder};
use resolvent::dependency::{
    DependencyDraft, Mode, Need, OnExpiry, Pointer, RecordFormat, Rules, StreamDraft, Updates, Upkeep,
};
use resolvent::event::{Block, Change, Content, Dependent, Epoch, PartitionId, Timestamp, WorkerIndex};
use resolvent::mode::maintained::{self, Limits, Table};
use resolvent::mode::{Message, Phase, Visit};
use timely::dataflow::operators::core::Probe;
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::operators::vec::input::Handle as Input;
use timely::dataflow::operators::vec::{Input as _, Map};
use timely::worker::Worker;

use super::Result;

type Sent = (WorkerIndex, Option<Box<Dependent>>);

/// One worker's table and dataflow, fed by hand.
pub(crate) struct Fed<'w> {
    worker: &'w mut Worker,
    rules: Arc<Rules>,
    table: Rc<RefCell<Table>>,
    input: Input<u64, Sent>,
    probe: Handle<u64>,
    open: Rc<Cell<Epoch>>,
    held: Rc<Cell<usize>>,
}

impl<'w> Fed<'w> {
    pub(crate) fn new(worker: &'w mut Worker, rules: &Arc<Rules>) -> Fed<'w> {
        let (changes_bytes, memory_bytes) = (usize::MAX, usize::MAX);
        let limits = Limits { changes_bytes, memory_bytes, tells_partial: false, compact: false, upserts: false };
        let table = Rc::new(RefCell::new(Table::new(Arc::clone(rules), limits, Vec::new())));
        let open = Rc::new(Cell::new(Epoch(0)));
        let held = count_held(worker);
        let (input, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, sent) = scope.new_input::<Sent>();
            let messages = sent
                .map(|(to, event)| Message { to, visit: event.map_or(Visit::Tick(Timestamp(0)), Visit::Dependent) });
            let current = Rc::clone(&open);
            let current = move || (current.get(), Phase::Live);
            let done = maintained::maintain(messages, Rc::clone(&table), || Timestamp(0), current);
            (input, done.probe().0)
        });
        Fed { worker, rules: Arc::clone(rules), table, input, probe, open, held }
    }

    /// How many updates all arrangements together hold.
    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }

    /// Lets an epoch with these events go through. Returns how long that took, and what changed of the results.
    pub(crate) fn epoch(&mut self, events: Vec<Box<Dependent>>) -> (Duration, Vec<Change>) {
        let began = Instant::now();
        let epoch = self.open.get().next();
        self.open.set(epoch);
        self.input.advance_to(epoch.0);
        self.input.send((WorkerIndex(0), None));
        for event in events {
            let Message { to, visit } = maintained::route(&self.rules, event, 1);
            if let Visit::Dependent(event) = visit {
                self.input.send((to, Some(event)));
            }
        }
        self.input.advance_to(epoch.0 + 1);
        while self.probe.less_equal(&epoch.0) {
            self.worker.step();
        }
        let mut table = self.table.borrow_mut();
        let (mut batch, _) = table.end_epoch();
        batch.clear();
        table.recycle(batch);
        let changes = table.take_effects().changes;
        (began.elapsed(), changes)
    }
}

/// Counts what arrangements hold, by their log.
fn count_held(worker: &Worker) -> Rc<Cell<usize>> {
    let held = Rc::new(Cell::new(0_usize));
    let counted = Rc::clone(&held);
    if let Some(mut register) = worker.log_register() {
        register.insert::<DifferentialEventBuilder, _>("differential/arrange", move |_, events| {
            for (_, event) in events.iter_mut().flat_map(|events| events.drain(..)) {
                let now = counted.get();
                counted.set(match event {
                    DifferentialEvent::Batch(batch) => now + batch.length,
                    DifferentialEvent::Merge(merge) => match merge.complete {
                        Some(length) => (now + length).saturating_sub(merge.length1 + merge.length2),
                        None => now,
                    },
                    DifferentialEvent::Drop(batch) => now.saturating_sub(batch.length),
                    _ => now,
                });
            }
        });
    }
    held
}

/// A stream with the key `/id`, whose events refer to an entity by `/ref`.
pub(crate) fn stream(name: &str, refers_to: Option<(&str, Need)>) -> Result<StreamDraft> {
    let depends_on = match refers_to {
        None => Vec::new(),
        Some((entity, need)) => vec![DependencyDraft {
            name: None,
            entity: entity.to_owned(),
            by: Pointer::parse("/ref")?,
            mode: Mode::Streaming,
            required: false,
            need,
            wait: None,
            on_expiry: OnExpiry::DeadLetter,
            include: None,
        }],
    };
    Ok(StreamDraft {
        name: name.to_owned(),
        key: Some(Pointer::parse("/id")?.into()),
        provides: None,
        time: None,
        retain: None,
        ordered_by: None,
        depends_on,
    })
}

pub(crate) fn rules(drafts: Vec<StreamDraft>) -> Result<Arc<Rules>> {
    let rules = Rules::build(drafts).map_err(|errors| format!("{errors:?}"))?;
    let upkeep =
        Upkeep { updates: Updates::Replace, deleted: Some(Pointer::parse("/deleted")?), format: RecordFormat::Plain };
    Ok(Arc::new(rules.maintained(|_| upkeep.clone())))
}

/// Decodes records of one stream; each is given an offset of its own.
pub(crate) struct Decoding {
    decoder: Decoder,
    rules: Arc<Rules>,
    offset: u64,
}

impl Decoding {
    pub(crate) fn new(rules: &Arc<Rules>) -> Decoding {
        Decoding { decoder: Decoder::new(Arc::clone(rules), None), rules: Arc::clone(rules), offset: 0 }
    }

    pub(crate) fn event(&mut self, stream: &str, record: &str) -> Result<Box<Dependent>> {
        let block = Block {
            partition: PartitionId(0),
            stream: self.rules.stream_named(stream),
            arrival: Timestamp(0),
            content: Content::Lines { base: self.offset, bytes: record.as_bytes().to_vec() },
            next_offset: self.offset + record.len() as u64,
        };
        self.offset = block.next_offset;
        let mut event = None;
        self.decoder.decode(&block, &mut |decoded| event = Some(decoded));
        match event {
            Some(Decoded::Event(event)) => Ok(event),
            other => Err(format!("{record}: {other:?}").into()),
        }
    }
}
