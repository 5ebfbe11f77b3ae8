//! A run with a crash in it: a job follows a file that is written to on schedule, is killed, and started again.
//!
//! The file is written whether anybody reads it or not, so what piles up while the job is down is there to be seen. The outcomes are written to a file,
//! too, and are the reference's, each once, or the comparison fails.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use resolvent::metrics::Checksum;
use resolvent::sink::Checksummer;
use resolvent::source::workload::Generator;

use super::http::{Scrape, get};
use super::launch::Job;
use super::pure::job::{Common, Ends, configuration, workload};
use super::pure::series::{Sample, Series};
use super::pure::setting::{Mode, Setting};
use super::reference::{Truth, lines};
use super::{PATIENCE, Result, stop};

/// How often records that are due are written.
const WRITE_EVERY: Duration = Duration::from_millis(5);

/// How often the job is asked how it is.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// The part of the run after which the job is killed.
const KILLED_AFTER: f64 = 0.4;

/// How long it takes until somebody starts it again, in seconds.
const DOWN_SECONDS: f64 = 0.5;

/// What is to be done.
pub(crate) struct Crash<'a> {
    pub(crate) mode: Mode,
    pub(crate) setting: Setting,
    pub(crate) rate: u64,
    pub(crate) records: u64,
    pub(crate) common: &'a Common,
}

impl Crash<'_> {
    /// Runs it, and checks the outcomes.
    pub(crate) fn run(&self, truth: &Truth, scratch: &Path) -> Result<Series> {
        let directory = tempfile::tempdir_in(scratch)?;
        let path = directory.path();
        std::fs::write(path.join("job.toml"), configuration(self.mode, &self.setting, self.common, Ends::Files))?;
        let file = File::create(path.join("events.jsonl"))?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let arguments = ["--metrics", address.as_str()];
        let records = self.made()?;
        let job = Job::start(self.mode, path, &arguments)?;
        wait_until_ready(&address)?;

        let (began, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let writer = {
            let (stop, rate) = (Arc::clone(&stop), self.rate);
            thread::spawn(move || write_on_schedule(&records, rate, began, file, &stop))
        };
        let watched = self.watch(job, &address, began, || Job::start(self.mode, path, &arguments));
        stop.store(true, Ordering::Relaxed);
        writer.join().map_err(|_| "who writes the records panicked")??;
        let series = watched?;

        let (found, right) = (lines(&checksum(&path.join("resolved.jsonl"))?), truth.after(self.mode, self.records)?);
        if found != *right {
            return Err(format!("WRONG ANSWERS: {} with a crash gave {found:?} instead of {right:?}", self.mode).into());
        }
        Ok(series)
    }

    /// The records, as lines.
    fn made(&self) -> Result<Vec<Vec<u8>>> {
        let mut generator = Generator::new(&workload(&self.setting, self.common, self.records))?;
        let mut records = Vec::new();
        loop {
            let mut line = Vec::new();
            if generator.next(&mut line)?.is_none() {
                return Ok(records);
            }
            records.push(line);
        }
    }

    fn watch(&self, job: Job, address: &str, began: Instant, start_again: impl Fn() -> Result<Job>) -> Result<Series> {
        let scheduled = self.records as f64 / self.rate as f64;
        let kill_at = scheduled * KILLED_AFTER;
        let mut series = Series {
            mode: self.mode,
            setting: self.setting,
            rate: self.rate,
            records: self.records,
            killed_seconds: 0.0,
            started_again_seconds: 0.0,
            ready_seconds: 0.0,
            samples: Vec::new(),
        };
        let since = || began.elapsed().as_secs_f64();
        while since() < kill_at {
            stop::check()?;
            series.samples.push(sample(address, since()));
            thread::sleep(SAMPLE_EVERY);
        }
        series.killed_seconds = since();
        job.kill()?;
        while since() < series.killed_seconds + DOWN_SECONDS {
            stop::check()?;
            series.samples.push(sample(address, since()));
            thread::sleep(SAMPLE_EVERY);
        }
        series.started_again_seconds = since();
        let mut job = start_again()?;
        loop {
            job.is_running()?;
            let sample = sample(address, since());
            series.samples.push(sample);
            if series.ready_seconds == 0.0 && is_ready(address) {
                series.ready_seconds = since();
            }
            if sample.resolved == Some(self.records) && since() > scheduled {
                break;
            }
            if since() > scheduled + PATIENCE.as_secs_f64() {
                return Err(format!("{} did not recover from the crash: {sample:?}", self.mode).into());
            }
            thread::sleep(SAMPLE_EVERY);
        }
        job.terminate()?;
        job.wait(PATIENCE)?;
        Ok(series)
    }
}

/// Appends each record when it is due, in an open loop.
fn write_on_schedule(
    records: &[Vec<u8>],
    rate: u64,
    began: Instant,
    mut file: File,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let (mut written, mut due_now) = (0, Vec::new());
    while written < records.len() && !stop.load(Ordering::Relaxed) {
        let due = ((began.elapsed().as_secs_f64() * rate as f64) as usize).min(records.len());
        due_now.clear();
        records.iter().take(due).skip(written).for_each(|line| due_now.extend_from_slice(line));
        file.write_all(&due_now)?;
        written = due;
        thread::sleep(WRITE_EVERY);
    }
    Ok(())
}

fn sample(address: &str, seconds: f64) -> Sample {
    // A start counts from nothing until it has read what was committed.
    let begun = |scrape: &Scrape| scrape.value("resolvent_records_read_total", "").is_some_and(|read| read > 0.0);
    let scrape = Scrape::of(address).filter(begun);
    let value = |metric, label| Some(scrape.as_ref()?.value(metric, label)? as u64);
    Sample {
        seconds,
        read: value("resolvent_records_read_total", ""),
        resolved: value("resolvent_events_total", "outcome=\"resolved\""),
        waiting: value("resolvent_events_waiting", ""),
    }
}

fn is_ready(address: &str) -> bool {
    get(address, "/readyz").is_some_and(|(status, _)| status == 200)
}

fn wait_until_ready(address: &str) -> Result<()> {
    let began = Instant::now();
    while !is_ready(address) {
        stop::check()?;
        if began.elapsed() > PATIENCE {
            return Err("the job to be killed does not become ready".into());
        }
        thread::sleep(SAMPLE_EVERY);
    }
    Ok(())
}

/// Of the lines of a file.
fn checksum(path: &Path) -> Result<Checksum> {
    let (checksummer, mut sum) = (Checksummer::default(), Checksum::default());
    let (mut file, mut line) = (BufReader::with_capacity(1 << 20, File::open(path)?), Vec::new());
    while file.read_until(b'\n', &mut line)? > 0 {
        checksummer.add(&line, &mut sum);
        line.clear();
    }
    Ok(sum)
}
