//! The half of a worker that decides, as the shell around it sees it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::{Lines, Setup, maintained};
use crate::event::{Epoch, WorkerIndex};
use crate::mode::maintained::Table;
use crate::mode::{Backlog, Engine, Phase, Referent};

/// The half that decides: an engine, or where results are maintained a table.
#[derive(Clone)]
pub(super) enum Half {
    Engine(Rc<RefCell<Engine>>),
    Table(Rc<RefCell<Table>>),
}

impl Half {
    pub(super) fn new(setup: &Setup, me: WorkerIndex, workers: usize) -> Half {
        if setup.rules.is_maintained() {
            return Half::Table(Rc::new(RefCell::new(maintained::table(setup, me))));
        }
        let mut engine = Engine::new(Arc::clone(&setup.rules), me, workers, setup.settings);
        engine.restore_waiting(&setup.waited_for, setup.next_due);
        for referent in setup.drains.iter().filter(|r| r.hash.owner(workers) == me) {
            let (entity, hash, event) = (referent.entity, referent.hash, referent.event.clone());
            engine.restore_drain(Referent { entity, hash, event });
        }
        engine.remember(&setup.reminders);
        Half::Engine(Rc::new(RefCell::new(engine)))
    }

    /// What it has left to do, and whether the epoch should end for how much has changed.
    pub(super) fn backlog(&self) -> (Backlog, bool) {
        match self {
            Half::Engine(engine) => {
                let engine = engine.borrow();
                (engine.backlog(), engine.is_full())
            }
            Half::Table(table) => (Backlog::None, table.borrow().is_full()),
        }
    }

    pub(super) fn begin(&self, epoch: Epoch, phase: Phase) {
        match self {
            Half::Engine(engine) => engine.borrow_mut().begin(epoch, phase),
            // Begins with its first message.
            Half::Table(_) => {}
        }
    }

    /// Ends the job: more comes than there will ever be room for.
    pub(super) fn give_up(&self, lines: &Lines) {
        match self {
            // What does not fit in its memory moves to the state.
            Half::Engine(_) => {}
            Half::Table(table) => maintained::give_up(&table.borrow(), lines),
        }
    }

    /// Writes what it tells besides what leaves the dataflow.
    pub(super) fn tell(&self, lines: &mut Lines) {
        match self {
            Half::Engine(_) => {}
            Half::Table(table) => maintained::tell(&mut table.borrow_mut(), lines),
        }
    }
}
