//! The thread that reads: blocks from the source into the intake.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::READ_WAIT;
use super::committer::Told;
use super::intake::{Intake, Item};
use crate::checkpoint::Timeline;
use crate::metrics::Metrics;
use crate::source::{Next, Source, SourceError};

/// How often the lag of the source is measured.
const LAG_EVERY: Duration = Duration::from_millis(200);

/// Records that come one by one are gathered for so long: to wake the other threads costs as much as some dozens of records. The first after a pause goes
/// on at once.
const GATHER: Duration = Duration::from_micros(500);

/// What goes before what is new.
pub(super) enum Replay {
    /// Nothing.
    None,
    /// Committed input is read once more; some of it with the arrival that it had.
    Source(Box<dyn Source>, Option<Timeline>),
    /// What the workers have from the state; no input.
    Rows,
}

/// Starts the thread: it reads committed input once more where that is asked for, and then what is new.
pub(super) fn start(
    replay: Replay,
    live: Box<dyn Source>,
    intake: Arc<Intake>,
    metrics: Metrics,
    tell: Sender<Told>,
) -> std::io::Result<JoinHandle<()>> {
    super::named("read", move || {
        let replayed = match replay {
            Replay::None => Ok(()),
            Replay::Source(source, timeline) => read_again(source, timeline.as_ref(), &intake),
            Replay::Rows => {
                intake.push(Item::End);
                Ok(())
            }
        };
        if let Err(error) = replayed.and_then(|()| read_to_end(live, &intake, &metrics)) {
            let _ = tell.send(Told::Failed(error.into()));
        }
    })
}

/// Reads committed input once more. Its records keep their old arrival, as far as `retain` asks for that.
fn read_again(mut source: Box<dyn Source>, timeline: Option<&Timeline>, intake: &Intake) -> Result<(), SourceError> {
    while intake.goes_on() {
        if !intake.wait_for_room(READ_WAIT) {
            source.held()?;
            continue;
        }
        recycle(source.as_mut(), intake);
        match source.next(READ_WAIT)? {
            Next::Block(mut block) => {
                let arrival = timeline.and_then(|timeline| timeline.arrival(block.partition, block.next_offset));
                block.arrival = arrival.unwrap_or(block.arrival);
                intake.push(Item::Block(block));
            }
            Next::Partition(..) | Next::CaughtUp | Next::Revoked | Next::Idle => {}
            Next::End => {
                intake.push(Item::End);
                break;
            }
        }
    }
    Ok(())
}

fn recycle(source: &mut dyn Source, intake: &Intake) {
    if let Some(buffer) = intake.blocks.take() {
        source.recycle(buffer);
    }
}

/// How long a source may be waited for.
struct Patience {
    /// When it gave a block.
    got: Instant,
    /// Whether it has had time to gather records since then.
    gathered: bool,
}

impl Patience {
    fn wait(&self) -> Duration {
        if self.gathered { READ_WAIT } else { Duration::ZERO }
    }

    fn got(&mut self) {
        (self.got, self.gathered) = (Instant::now(), false);
    }

    /// The source had nothing more.
    fn idle(&mut self) {
        if !self.gathered {
            thread::sleep(GATHER.saturating_sub(self.got.elapsed()));
            self.gathered = true;
        }
    }
}

/// Reads a source until it ends or the job does.
fn read_to_end(mut source: Box<dyn Source>, intake: &Intake, metrics: &Metrics) -> Result<(), SourceError> {
    let mut measured = Instant::now();
    let mut patience = Patience { got: measured, gathered: true };
    while intake.goes_on() {
        if !intake.wait_for_room(READ_WAIT) {
            source.held()?;
            continue;
        }
        recycle(source.as_mut(), intake);
        let going = match source.next(patience.wait())? {
            Next::Block(block) => {
                patience.got();
                intake.push(Item::Block(block))
            }
            Next::Partition(partition, start) => intake.push(Item::Partition(partition, start)),
            Next::CaughtUp => intake.push(Item::CaughtUp),
            Next::Revoked => intake.push(Item::Revoked) && give_up(source.as_mut(), intake)?,
            Next::Idle => {
                patience.idle();
                true
            }
            Next::End => {
                intake.push(Item::End);
                false
            }
        };
        if !going || measured.elapsed() >= LAG_EVERY {
            measured = Instant::now();
            let lag = source.lag();
            metrics.source_lag(lag.bytes, lag.records);
            metrics.source_behind(lag.behind);
        }
        if !going {
            break;
        }
    }
    Ok(())
}

/// Gives up what a source has to, once it is committed. Returns whether the job goes on.
fn give_up(source: &mut dyn Source, intake: &Intake) -> Result<bool, SourceError> {
    while !intake.wait_for_commit(READ_WAIT) {
        source.held()?;
    }
    if !intake.goes_on() {
        // The last epoch may not be committed yet. It is given up when the source is closed, after that.
        return Ok(false);
    }
    source.give_up()?;
    Ok(true)
}
