//! `cargo bench --bench kafka`, or with `-- --quick` to try it out: our jobs from topic to topic, beside a loop on the bare Kafka client that reads and writes
//! the same bytes with the same settings, on the same broker in the same run.
//!
//! The broker shares the machine with whoever is measured, so rates say less than the CPU seconds of the client, which are given too. Every contestant runs
//! in a process of its own.

mod bare;
#[path = "../../tests/support/broker.rs"]
#[expect(dead_code, reason = "the tests do more with a broker than to start it")]
mod broker;
mod contestant;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use resolvent::source::workload::Generator;
use resolvent::source::{SyntheticSettings, Workload};

use broker::{Broker, BrokerSettings};
use contestant::{Contestant, Delivery, Measured, Work};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The topic that everybody reads.
const INPUT: &str = "events";
const PARTITIONS: i32 = 4;
/// Records that go to one partition before the next has its turn.
const RUN: u64 = 500;

#[derive(Parser)]
struct Arguments {
    /// Events in the topic
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// How often each contestant runs
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A tenth of the events, once
    #[arg(long)]
    quick: bool,
    /// What a process of this benchmark is told by another
    #[arg(long, hide = true)]
    contestant: Option<String>,
    /// cargo says this
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match &arguments.contestant {
        Some(task) => contestant::work(task),
        None => measure(&arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let (events, rounds) = if arguments.quick { (100_000, 1) } else { (arguments.events, arguments.rounds) };
    let broker = Broker::start(BrokerSettings::lasting())?;
    let scratch = tempfile::tempdir()?;
    let bytes = load(&broker.address(), events)?;
    println!("{events} events, {} MiB, in {PARTITIONS} partitions of one topic", bytes >> 20);
    let mut all = Vec::new();
    for round in 0..rounds {
        for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
            all.extend(beside_each_other(round, delivery, &broker, events, scratch.path())?);
        }
    }
    report(&all, events);
    Ok(())
}

/// Fills the topic with disordered Nexmark events. Returns how many bytes they are.
fn load(brokers: &str, events: u64) -> Result<u64> {
    contestant::make_topic(brokers, INPUT, PARTITIONS)?;
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("compression.type", "lz4").create()?;
    let settings = SyntheticSettings {
        events,
        seed: 1,
        disorder: 50_000.min(events / 10),
        ..SyntheticSettings::new(Workload::Nexmark)
    };
    let (mut generator, mut line, mut bytes) = (Generator::new(&settings)?, Vec::new(), 0);
    for at in 0..events {
        line.clear();
        generator.next(&mut line)?;
        let value = line.trim_ascii_end();
        bytes += value.len() as u64;
        let partition = i32::try_from(at / RUN % u64::try_from(PARTITIONS)?)?;
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(INPUT).payload(value).partition(partition);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = back;
            producer.poll(std::time::Duration::from_millis(10));
        }
    }
    producer.flush(None)?;
    Ok(bytes)
}

/// One after the other, each after the bare loop that writes as many bytes as it does.
fn beside_each_other(
    round: usize,
    delivery: Delivery,
    broker: &Broker,
    events: u64,
    scratch: &Path,
) -> Result<Vec<(Work, Delivery, Measured, Measured)>> {
    let mut measured = Vec::new();
    for work in [Work::Independent, Work::Streaming, Work::Deferred] {
        let run = |work, value_bytes| {
            let contestant = Contestant { work, delivery, brokers: broker.address(), events, value_bytes };
            contestant::timed(&contestant, scratch)
        };
        let job = run(work, 0)?;
        let bare = run(Work::Bare, job.bytes_written / events)?;
        let per_second = |measured: &Measured| events as f64 / measured.seconds;
        eprintln!(
            "round {}: {work:?}, {delivery:?}: {:.0} events/s, bare loop {:.0}",
            round + 1,
            per_second(&job),
            per_second(&bare)
        );
        measured.push((work, delivery, job, bare));
    }
    Ok(measured)
}

fn report(all: &[(Work, Delivery, Measured, Measured)], events: u64) {
    let million = events as f64 / 1e6;
    println!(
        "\n{:<14}{:<16}{:>12}{:>12}{:>8}{:>12}{:>12}{:>8}",
        "", "", "events/s", "bare loop", "ratio", "CPU s/M", "bare loop", "ratio"
    );
    for work in [Work::Independent, Work::Streaming, Work::Deferred] {
        for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
            let runs = || all.iter().filter(|(w, d, ..)| (*w, *d) == (work, delivery));
            let median_of =
                |of: fn(&Measured, &Measured) -> f64| median(runs().map(|(_, _, job, bare)| of(job, bare)).collect());
            println!(
                "{:<14}{:<16}{:>12.0}{:>12.0}{:>8.2}{:>12.2}{:>12.2}{:>8.2}",
                format!("{work:?}"),
                format!("{delivery:?}"),
                events as f64 / median_of(|job, _| job.seconds),
                events as f64 / median_of(|_, bare| bare.seconds),
                median_of(|job, bare| bare.seconds / job.seconds),
                median_of(|job, _| job.cpu_seconds) / million,
                median_of(|_, bare| bare.cpu_seconds) / million,
                median_of(|job, bare| bare.cpu_seconds / job.cpu_seconds),
            );
        }
    }
    println!(
        "\nratio: of the job to the loop beside it, median of the rounds; more than 1 is faster, or less CPU time, than the loop"
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
