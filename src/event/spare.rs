//! Dependents that have ended, used again for records that come.

use std::cell::RefCell;
use std::rc::Rc;

use super::Dependent;

/// How many are kept at most.
const COUNT_MAX: usize = 1024;

/// The longest event that is kept, in bytes: it is held until its dependent is used again.
const EVENT_BYTES_MAX: usize = 4096;

/// Boxes of one worker. An event is decoded by one worker and often ends on another: memory that was freed there would first have to find its way back.
#[derive(Clone, Debug, Default)]
pub struct Spare(Rc<RefCell<Vec<Box<Dependent>>>>);

impl Spare {
    /// Keeps the box of a dependent that has ended, unless there are enough or it holds much memory.
    pub fn give(&self, mut dependent: Box<Dependent>) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < COUNT_MAX && dependent.event.slice.len() <= EVENT_BYTES_MAX && !dependent.references.spilled()
        {
            dependent.references.clear();
            spare.push(dependent);
        }
    }

    /// Puts a dependent into a box.
    pub fn boxed(&self, dependent: Dependent) -> Box<Dependent> {
        match self.0.borrow_mut().pop() {
            Some(mut spare) => {
                *spare = dependent;
                spare
            }
            None => Box::new(dependent),
        }
    }
}
