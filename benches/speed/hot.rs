//! One referent that very many wait for, and what its arrival does to everybody else.
//!
//! A job follows a file. In it are first all the dependents of one referent, which wait. Then ordinary events are
//! appended at a steady rate; half of those that refer to something come before it, half after it. At some time the hot
//! referent is appended too, and its dependents drain.
//!
//! Measured from outside: each record says when it was due, and each line that the job writes to its standard output is
//! stamped when it is read. An ordinary event's latency runs from when the later one of itself and its referent was due
//! (so a writer that is late makes it longer, not shorter) to then. It holds the job's look at the file, every 10 ms. The
//! drain is counted from when the referent is appended to when the last of its dependents' lines is read. The usual
//! latency is measured before and after it, and the lower counts. Writer and reader share the machine with the job.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem;
use serde::Serialize;

use crate::Result;
use crate::contestant::{Contestant, Running};
use crate::job::Memory;
use crate::tally::each_line;

/// Ordinary records a second.
const RATE: u64 = 20_000;

/// After the first ordinary outcome: the backlog of those that came while the dependents were read is worked off.
const SETTLE: Duration = Duration::from_secs(2);

/// How long the usual latency is measured.
const USUAL: Duration = Duration::from_secs(4);

/// How long events go on after the drain: a time to settle, the usual latency again, and until its last have come out.
const AFTER: Duration = SETTLE.saturating_add(USUAL).saturating_add(Duration::from_secs(1));

/// When a writer gives up.
const LONGEST: Duration = Duration::from_secs(90);

/// Holds all of the state.
const MEMORY: Memory = Memory { bytes: 1 << 30, outgrown: false };

/// The hot referent. Ordinary ones have greater keys.
const HOT_KEY: u64 = 0;

/// What the hot referent does to others.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Hot {
    pub(crate) contestant: Contestant,
    pub(crate) dependents: u64,
    pub(crate) rate: u64,
    /// From when the referent was appended until the last dependent's line was read.
    pub(crate) drain_seconds: f64,
    /// Latency of ordinary events while the dependents wait, or after the drain: where it was lower.
    pub(crate) usual: Latency,
    /// Latency of ordinary events that were due during the drain.
    pub(crate) during: Latency,
    /// VmHWM of the job.
    pub(crate) peak_bytes: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) events: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// Measures one mode with `dependents` on one referent.
pub(crate) fn measure(contestant: Contestant, dependents: u64, scratch: &Path) -> Result<Hot> {
    let directory = tempfile::tempdir_in(scratch)?;
    let path = directory.path().join("events.jsonl");
    append_dependents(&path, dependents)?;
    let mut running = Running::start(contestant, &path, MEMORY, scratch, true)?;
    let lines = running.child.stdout.take().ok_or("standard output is not piped")?;
    let stdin = running.child.stdin.take().ok_or("standard input is not piped")?;
    let shared = Arc::new(Shared {
        began: Instant::now(),
        release: AtomicBool::new(false),
        released_us: AtomicU64::new(0),
        done: AtomicBool::new(false),
    });
    let file = OpenOptions::new().append(true).open(&path)?;
    let writer = thread::spawn({
        let shared = Arc::clone(&shared);
        move || write_ordinary(file, &shared, stdin)
    });
    let mut seen = Seen::default();
    let referent_due = memmem::Finder::new(b"\"at\":");
    let read = each_line(lines, |line| {
        seen.take(line, &referent_due, &shared, dependents);
        Ok(())
    });
    shared.done.store(true, Ordering::Relaxed);
    writer.join().map_err(|_| "the writer panicked")??;
    read?;
    let peak_bytes = running.finish()?.peak_bytes;
    let drained = seen.drained_us.ok_or_else(|| format!("{} of {dependents} dependents came", seen.dependents))?;
    let released = shared.released_us.load(Ordering::Relaxed);
    let usual_from = seen.first_us.unwrap_or_default() + micros(SETTLE);
    let after_from = drained + micros(SETTLE);
    let before = seen.latency(usual_from, released)?;
    let after = seen.latency(after_from, after_from + micros(USUAL))?;
    Ok(Hot {
        contestant,
        dependents,
        rate: RATE,
        drain_seconds: drained.saturating_sub(released) as f64 / 1e6,
        usual: if before.p99_ms < after.p99_ms { before } else { after },
        during: seen.latency(released, drained)?,
        peak_bytes,
    })
}

/// What the writer and the reader tell each other. Times are in microseconds from `began`.
struct Shared {
    began: Instant,
    /// The hot referent may come.
    release: AtomicBool,
    released_us: AtomicU64,
    done: AtomicBool,
}

impl Shared {
    fn now_us(&self) -> u64 {
        micros(self.began.elapsed())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn append_dependents(path: &Path, dependents: u64) -> Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for number in 0..dependents {
        writeln!(file, "{{\"type\":\"hot\",\"item\":{HOT_KEY},\"number\":{number}}}")?;
    }
    file.flush()?;
    Ok(())
}

/// Appends what is due every millisecond, until all is done. The job stops when `_stdin` is dropped.
fn write_ordinary(mut file: File, shared: &Shared, _stdin: ChildStdin) -> Result<()> {
    let (mut number, mut released, mut text) = (0, false, Vec::new());
    while !shared.done.load(Ordering::Relaxed) && shared.began.elapsed() < LONGEST {
        text.clear();
        let now = shared.now_us();
        while due_us(number) <= now {
            write_record(&mut text, number)?;
            number += 1;
        }
        if !released && shared.release.load(Ordering::Relaxed) {
            released = true;
            writeln!(text, "{{\"type\":\"item\",\"id\":{HOT_KEY},\"at\":{now}}}")?;
            shared.released_us.store(now, Ordering::Relaxed);
        }
        file.write_all(&text)?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn due_us(number: u64) -> u64 {
    number * 1_000_000 / RATE
}

/// Of four records the first and the third are referents; the second refers to the one before it, the last to the one
/// after it.
fn write_record(text: &mut Vec<u8>, number: u64) -> Result<()> {
    let (key, at) = (number + 1, due_us(number));
    match number % 4 {
        0 | 2 => writeln!(text, "{{\"type\":\"item\",\"id\":{key},\"at\":{at}}}")?,
        1 => writeln!(text, "{{\"type\":\"use\",\"item\":{},\"at\":{at}}}", key - 1)?,
        _ => writeln!(text, "{{\"type\":\"use\",\"item\":{},\"at\":{at}}}", key + 1)?,
    }
    Ok(())
}

/// What has come out.
#[derive(Default)]
struct Seen {
    first_us: Option<u64>,
    dependents: u64,
    drained_us: Option<u64>,
    /// Of ordinary events that refer: when they and their referents were due, and how long they took from then.
    ordinary: Vec<(u64, u64)>,
}

impl Seen {
    fn take(&mut self, line: &[u8], at: &memmem::Finder<'_>, shared: &Shared, dependents: u64) {
        const BEGIN: &[u8] = b"{\"outcome\":\"resolved\",\"stream\":\"";
        let rest = line.strip_prefix(BEGIN).unwrap_or_default();
        if rest.starts_with(b"hot\"") {
            self.dependents += 1;
            if self.dependents == dependents {
                self.drained_us = Some(shared.now_us());
            }
        } else if rest.starts_with(b"use\"") {
            let now = shared.now_us();
            let due = at.find_iter(rest).filter_map(|found| number(rest.get(found + b"\"at\":".len()..)?)).max();
            let due = due.unwrap_or_default();
            self.ordinary.push((due, now.saturating_sub(due)));
            let first = *self.first_us.get_or_insert(now);
            if now >= first + micros(SETTLE + USUAL) {
                shared.release.store(true, Ordering::Relaxed);
            }
            if self.drained_us.is_some_and(|drained| now >= drained + micros(AFTER)) {
                shared.done.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Of the events that were due from `from` until `until`.
    fn latency(&self, from: u64, until: u64) -> Result<Latency> {
        let due_then = self.ordinary.iter().filter(|(due, _)| (from..until).contains(due));
        let mut took: Vec<u64> = due_then.map(|(_, took)| *took).collect();
        took.sort_unstable();
        // Of four records two refer to something; where a window begins and ends one of four may belong to the next.
        let expected = until.saturating_sub(from) * RATE / 2_000_000;
        if (took.len() as u64 + 4) < expected {
            return Err(format!("of {expected} ordinary events {} came", took.len()).into());
        }
        let at = |share: f64| {
            let rank = (took.len() as f64 * share).ceil() as usize;
            took.get(rank.saturating_sub(1)).map(|took| *took as f64 / 1e3).ok_or("no ordinary events came")
        };
        Ok(Latency { events: took.len(), p50_ms: at(0.5)?, p99_ms: at(0.99)?, max_ms: at(1.0)? })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let length = digits.iter().take_while(|digit| digit.is_ascii_digit()).count();
    std::str::from_utf8(digits.get(..length)?).ok()?.parse().ok()
}
