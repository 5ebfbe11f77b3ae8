//! How messages go to the workers that own their shards.
//!
//! timely by itself gathers messages in containers of all workers, and moves each of them once more on its way out. Here they are gathered by the worker that
//! they go to, and containers go as they are. Who has read a container that came from another worker fills it again: it is in his caches, and memory that is
//! freed on another thread would first have to find its way back.

use std::cell::RefCell;
use std::collections::VecDeque;

use timely::communication::Push;
use timely::container::{ContainerBuilder, PushInto};
use timely::dataflow::channels;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::progress::Stamp;

use super::Message;

/// Messages in a container: 8 KiB of them, as in timely's own.
const MESSAGES: usize = (8 << 10) / size_of::<Message>();

/// Empty containers that a worker keeps: half a mebibyte.
const SPARE_MAX: usize = 64;

thread_local! {
    /// Empty containers of the worker whose thread this is. timely makes builders by itself, from nothing: they cannot be given a place to find them.
    static SPARE: RefCell<Vec<Vec<Message>>> = const { RefCell::new(Vec::new()) };
}

/// Takes a container that has been read, to be filled again. What a channel gives back for that may have something in it, which was read elsewhere.
pub(super) fn recycle(mut container: Vec<Message>) {
    container.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX && container.capacity() == MESSAGES {
            spare.push(container);
        }
    });
}

fn container() -> Vec<Message> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(MESSAGES))
}

/// Gathers messages in containers, each of which has those to one worker.
#[derive(Debug, Default)]
pub struct ByWorker {
    /// By worker: what has been gathered so far.
    open: Vec<Vec<Message>>,
    full: VecDeque<Vec<Message>>,
    /// The one that was given out last: what is left of it when it has been sent.
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

/// Sends each container that [`ByWorker`] has made to the worker that its messages go to.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Timestamp, WorkerIndex};
    use crate::mode::Visit;

    fn number(message: &Message) -> i64 {
        match message.visit {
            Visit::Tick(Timestamp(number)) => number,
            _ => panic!("only ticks were put in"),
        }
    }

    /// A channel may give back any container in place of one that it was given.
    #[test]
    fn what_is_left_in_a_container_that_was_given_back_is_not_sent() {
        let mut builder = ByWorker::default();
        for at in 0..3 {
            builder.push_into(Message { to: WorkerIndex(0), visit: Visit::Tick(Timestamp(at)) });
            let container = builder.finish().expect("the message that was put in");
            assert_eq!(container.iter().map(number).collect::<Vec<_>>(), [at]);
            assert!(builder.finish().is_none());
        }
    }

    /// Every message is in a container of its worker, once, and in the order in which it was put in, whether containers are taken as they fill or in the end.
    #[test]
    fn each_container_is_of_one_worker_and_none_is_lost() {
        for takes_early in [false, true] {
            let (mut builder, mut taken) = (ByWorker::default(), vec![Vec::new(); 3]);
            let mut take = |container: &mut Vec<Message>| {
                let to = container[0].to;
                assert!(container.iter().all(|message| message.to == to) && container.len() <= MESSAGES);
                taken[to.0].extend(container.drain(..).map(|message| number(&message)));
            };
            let count = 10 * MESSAGES as i64 + 7;
            for at in 0..count {
                let to = WorkerIndex(usize::try_from(at * at % 3).unwrap());
                builder.push_into(Message { to, visit: Visit::Tick(Timestamp(at)) });
                while takes_early && let Some(container) = builder.extract() {
                    take(container);
                }
            }
            while let Some(container) = builder.finish() {
                take(container);
            }
            let of = |worker: i64| (0..count).filter(|at| at * at % 3 == worker).collect::<Vec<_>>();
            assert_eq!(taken, [of(0), of(1), of(2)]);
        }
    }
}
