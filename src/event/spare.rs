//! Dependents that have ended, used again for records that come.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Dependent, Event, EventHeader, EventId, PartitionId, StreamId, Timestamp, event};

/// How many are kept at most.
const COUNT_MAX: usize = 1024;

/// Boxes of one worker. An event is decoded by one worker and often ends on another: memory that was freed there would first have to find its way back.
#[derive(Clone, Debug)]
pub struct Spare {
    boxes: Rc<RefCell<Vec<Box<Dependent>>>>,
    /// What is in a box in place of an event.
    nothing: Event,
}

impl Default for Spare {
    fn default() -> Self {
        let header = EventHeader {
            id: EventId { partition: PartitionId(0), offset: 0 },
            stream: StreamId(0),
            arrival: Timestamp::default(),
            time: None,
            key: None,
            line_breaks: false,
            carried: None,
        };
        Spare { boxes: Rc::default(), nothing: event(header, &[]) }
    }
}

impl Spare {
    /// Keeps the box of a dependent that has ended, unless there are enough or it holds more memory. Its event goes now, while it is in the caches.
    pub fn give(&self, mut dependent: Box<Dependent>) {
        let mut boxes = self.boxes.borrow_mut();
        if boxes.len() < COUNT_MAX && !dependent.references.spilled() {
            dependent.references.clear();
            dependent.event = self.nothing.clone();
            boxes.push(dependent);
        }
    }

    /// A dependent without references whose event is still to be put in its place.
    pub fn take(&self, arrival: Timestamp) -> Box<Dependent> {
        match self.boxes.borrow_mut().pop() {
            Some(mut dependent) => {
                dependent.reset(arrival);
                dependent
            }
            None => Box::new(Dependent::new(self.nothing.clone(), arrival)),
        }
    }
}
