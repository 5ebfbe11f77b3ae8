//! How messages go to the workers that own their shards.
//!
//! What timely does of itself is to gather messages in a container, and to move each of them to another on its way out. Here they are gathered by
//! the worker that they go to, and containers go whole. And a container that came from another worker is filled again by the one who has read it: it is in its
//! caches.

use std::cell::RefCell;
use std::collections::VecDeque;

use timely::communication::Push;
use timely::container::{ContainerBuilder, PushInto};
use timely::dataflow::channels;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::progress::Stamp;

use super::Message;

/// Messages in a container: what fits 8 KiB, as timely has it.
const MESSAGES: usize = (8 << 10) / size_of::<Message>();

/// Empty containers that a worker keeps.
const SPARE_MAX: usize = 64;

thread_local! {
    /// Empty containers of this worker, whose thread this is: timely makes builders by itself, and there is nothing that they could be given.
    static SPARE: RefCell<Vec<Vec<Message>>> = const { RefCell::new(Vec::new()) };
}

/// Takes a container that has been read, to be filled again.
pub(super) fn recycle(container: Vec<Message>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX && container.capacity() == MESSAGES {
            spare.push(container);
        }
    });
}

fn container() -> Vec<Message> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(MESSAGES))
}

/// Gathers messages in containers, each of which has those of one worker.
#[derive(Default)]
pub struct ByWorker {
    /// By worker.
    open: Vec<Vec<Message>>,
    full: VecDeque<Vec<Message>>,
    /// The one that was given out last.
    given: Option<Vec<Message>>,
}

impl PushInto<Message> for ByWorker {
    fn push_into(&mut self, message: Message) {
        let to = message.to.0;
        if self.open.len() <= to {
            self.open.resize_with(to + 1, Vec::new);
        }
        let Some(open) = self.open.get_mut(to) else { return };
        if open.capacity() == 0 {
            *open = container();
        }
        open.push(message);
        if open.len() >= MESSAGES {
            self.full.push_back(std::mem::take(open));
        }
    }
}

impl ByWorker {
    fn give(&mut self) -> Option<&mut Vec<Message>> {
        if let Some(given) = self.given.take() {
            recycle(given);
        }
        self.given = self.full.pop_front();
        self.given.as_mut()
    }
}

impl ContainerBuilder for ByWorker {
    type Container = Vec<Message>;

    fn extract(&mut self) -> Option<&mut Vec<Message>> {
        if self.full.is_empty() { None } else { self.give() }
    }

    fn finish(&mut self) -> Option<&mut Vec<Message>> {
        self.full.extend(self.open.iter_mut().filter(|open| !open.is_empty()).map(std::mem::take));
        self.give()
    }
}

/// Sends each container to the worker that its messages go to.
pub(super) struct ToOwner;

impl ToOwner {
    pub(super) fn pact() -> DistributorPact<impl FnOnce(usize) -> ToOwner> {
        DistributorPact(|_workers| ToOwner)
    }
}

impl Distributor<Vec<Message>> for ToOwner {
    fn partition<T: Clone, P: Push<channels::Message<T, Vec<Message>>>>(
        &mut self,
        container: &mut Vec<Message>,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let to = container.first().map(|message| message.to);
        debug_assert!(container.iter().all(|message| Some(message.to) == to), "gathered by worker");
        if let Some(pusher) = to.and_then(|to| pushers.get_mut(to.0)) {
            channels::Message::push_at(container, stamp.clone(), pusher);
        }
    }

    fn flush<T: Clone, P: Push<channels::Message<T, Vec<Message>>>>(&mut self, _stamp: &Stamp<T>, _pushers: &mut [P]) {}
}
