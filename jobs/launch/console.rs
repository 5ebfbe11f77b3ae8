//! What is seen while a job runs: a live line on a terminal, otherwise a log line now and then.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use resolvent::metrics::{Metrics, Phase, Snapshot};

/// How often the live line is drawn anew.
const LIVE_EVERY: Duration = Duration::from_millis(250);

/// How often a log line is written where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Drawings over which the live line's rate is taken: two seconds.
const RATE_SAMPLES: usize = 8;

const LINE: &str = "{spinner} {wide_msg}";
const LINE_WITH_BAR: &str = "{bar:10} {percent}%, {eta} left  {wide_msg}";

/// Standard error: a live line if it is a terminal, and what is written around it. Copies share the line.
#[derive(Clone)]
pub(crate) struct Console {
    quiet: bool,
    line: ProgressBar,
}

/// Shows a job until it is dropped.
pub(crate) struct Watch {
    // Taken on drop: that ends the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A writer whose text never lands in the middle of the live line.
pub(crate) struct Stderr {
    line: ProgressBar,
}

impl Console {
    pub(crate) fn new(quiet: bool) -> Console {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Console { quiet, line: ProgressBar::with_draw_target(None, target) }
    }

    pub(crate) fn stderr(&self) -> Stderr {
        Stderr { line: self.line.clone() }
    }

    /// Shows what `metrics` say from now on. `ends`: whether the job stops at the end of its input, so that progress can be estimated.
    pub(crate) fn watch(&self, metrics: &Metrics, ends: bool) -> io::Result<Watch> {
        if self.quiet {
            return Ok(Watch { end: None, thread: None });
        }
        let (end, ended) = crossbeam_channel::bounded::<()>(0);
        let mut view = View::new(self.line.clone(), ends);
        let every = if self.line.is_hidden() { LOG_EVERY } else { LIVE_EVERY };
        let metrics = metrics.clone();
        let thread = thread::Builder::new().name("console".to_owned()).spawn(move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                view.show(&metrics);
            }
            view.line.finish_and_clear();
        })?;
        Ok(Watch { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the console ended in a panic");
        }
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

struct View {
    line: ProgressBar,
    ends: bool,
    rate: Rate,
    /// The longest way to the end that was seen: what the bar is a share of.
    way: u64,
}

impl View {
    fn new(line: ProgressBar, ends: bool) -> View {
        line.set_style(style(LINE));
        let samples = if line.is_hidden() { 1 } else { RATE_SAMPLES };
        View { line, ends, rate: Rate::new(samples, Instant::now()), way: 0 }
    }

    fn show(&mut self, metrics: &Metrics) {
        let snapshot = metrics.snapshot();
        let rate = self.rate.next(Instant::now(), read_by_this_run(&snapshot));
        let phase = metrics.health().phase();
        if self.line.is_hidden() {
            log(&snapshot, rate, &phase);
        } else {
            self.progress(&snapshot);
            self.line.set_message(describe(&snapshot, rate, &phase));
            self.line.tick();
        }
    }

    /// A bar once the way to the end is known: in bytes, or in records where the source counts them.
    fn progress(&mut self, snapshot: &Snapshot) {
        let Some(left) = snapshot.lag_bytes.or(snapshot.lag_records).filter(|_| self.ends) else { return };
        if self.way == 0 {
            self.line.set_style(style(LINE_WITH_BAR));
            self.line.reset_eta();
        }
        self.way = self.way.max(left).max(1);
        self.line.set_length(self.way);
        self.line.set_position(self.way - left);
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants, tested below; the default only keeps a mistake in one from ending a job.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn read_by_this_run(snapshot: &Snapshot) -> u64 {
    snapshot.totals.since(&snapshot.restored).read
}

/// The text of the live line.
fn describe(snapshot: &Snapshot, rate: f64, phase: &Phase) -> String {
    let mut parts = Vec::new();
    if let Phase::NotReady(reason) = phase {
        parts.push(reason.to_string());
    }
    parts.push(format!("{} events/s", HumanCount(rate.round() as u64)));
    parts.push(format!("resolved {}", HumanCount(snapshot.totals.resolved)));
    parts.push(format!("waiting {}", HumanCount(snapshot.waiting())));
    match (snapshot.lag_bytes, snapshot.lag_records) {
        (Some(bytes), _) => parts.push(format!("lag {}", HumanBytes(bytes))),
        (None, Some(records)) => parts.push(format!("lag {} records", HumanCount(records))),
        (None, None) => {}
    }
    if snapshot.resolve.count > 0 {
        parts.push(format!("p99 {:.1?}", snapshot.resolve.p99));
    }
    parts.join(", ")
}

fn log(snapshot: &Snapshot, rate: f64, phase: &Phase) {
    tracing::info!(
        phase = match phase {
            Phase::NotReady(reason) => reason,
            Phase::Ready => "ready",
            Phase::Failed(error) => error,
        },
        events_per_second = rate.round() as u64,
        read = snapshot.totals.read,
        resolved = snapshot.totals.resolved,
        waiting = snapshot.waiting(),
        lag_bytes = snapshot.lag_bytes,
        lag_records = snapshot.lag_records,
        p99_us = u64::try_from(snapshot.resolve.p99.as_micros()).unwrap_or(u64::MAX),
        "running"
    );
}

/// Records a second over the last few samples.
struct Rate {
    samples: VecDeque<(Instant, u64)>,
    samples_max: usize,
}

impl Rate {
    /// A rate over at most `samples_max` samples, from a count of 0 at `start`.
    fn new(samples_max: usize, start: Instant) -> Rate {
        Rate { samples: VecDeque::from([(start, 0)]), samples_max }
    }

    /// Takes a sample. The rate is that since the oldest one kept, and 0 where no time has passed since.
    fn next(&mut self, now: Instant, count: u64) -> f64 {
        let (since, before) = self.samples.front().copied().unwrap_or((now, count));
        self.samples.push_back((now, count));
        if self.samples.len() > self.samples_max {
            self.samples.pop_front();
        }
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        if seconds > 0.0 { count.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [LINE, LINE_WITH_BAR] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn the_line_says_what_is_known() {
        let metrics = Metrics::new("social");
        assert_eq!(
            describe(&metrics.snapshot(), 0.0, &Phase::NotReady("replaying".into())),
            "replaying, 0 events/s, resolved 0, waiting 0"
        );
        metrics.resolved("like", 1_234_567);
        metrics.waiting(1000, 1);
        metrics.source_lag(Some(5 << 20), None);
        metrics.resolve_latency([(1500, 1)]);
        let line = describe(&metrics.snapshot(), 98_765.4, &Phase::Ready);
        assert_eq!(line, "98,765 events/s, resolved 1,234,567, waiting 1,001, lag 5.00 MiB, p99 1.5ms");
        metrics.source_lag(None, Some(12_000));
        assert!(describe(&metrics.snapshot(), 0.0, &Phase::Ready).contains(", lag 12,000 records,"));
    }

    #[test]
    fn the_bar_is_a_share_of_the_longest_way() {
        let metrics = Metrics::new("social");
        let mut view = View::new(ProgressBar::hidden(), true);
        let mut at = |bytes, records| {
            metrics.source_lag(bytes, records);
            view.progress(&metrics.snapshot());
            (view.line.position(), view.line.length())
        };
        assert_eq!(at(None, None), (0, None));
        assert_eq!(at(Some(80), None), (0, Some(80)));
        assert_eq!(at(Some(20), None), (60, Some(80)));
        assert_eq!(at(Some(100), None), (0, Some(100)));
        assert_eq!(at(Some(0), None), (100, Some(100)));
        assert_eq!(at(None, Some(30)), (70, Some(100)));
    }

    #[test]
    fn a_job_without_an_end_has_no_bar() {
        let metrics = Metrics::new("social");
        metrics.source_lag(Some(80), None);
        let mut view = View::new(ProgressBar::hidden(), false);
        view.progress(&metrics.snapshot());
        assert_eq!(view.line.length(), None);
    }

    #[test]
    fn the_rate_is_that_of_the_last_samples() {
        let start = Instant::now();
        let mut rate = Rate::new(2, start);
        let cases = [(0, 0, 0.0), (1, 100, 100.0), (2, 300, 150.0), (3, 700, 300.0), (3, 700, 400.0)];
        for (second, count, expected) in cases {
            let found = rate.next(start + Duration::from_secs(second), count);
            assert_eq!(found, expected, "{count} after {second} s");
        }
    }
}
