//! `cargo bench --bench kafka`, or with `-- --quick` to try it out: our jobs from topic to topic, beside a loop on the bare Kafka client that reads and writes
//! the same bytes with the same settings, on the same broker in the same run.
//!
//! The broker shares the machine with whoever is measured, so rates say less than the CPU seconds of the client, which are given too, beside the broker's.
//! Every contestant runs in a process of its own, and is measured from the first record that it consumes to the commit of the last.

mod bare;
#[path = "../../tests/support/broker.rs"]
#[expect(dead_code, reason = "the tests do more with a broker than to start it")]
mod broker;
#[path = "../common/mod.rs"]
mod common;
mod contestant;
mod report;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use mimalloc::MiMalloc;
use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use resolvent::source::workload::Generator;
use resolvent::source::{SyntheticSettings, Workload};

use broker::{Broker, BrokerSettings};
use common::Result;
use contestant::{Contestant, Delivery, Measured, Work};
use report::Run;
use tempfile::TempDir;

/// As in the launchers.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The topic that everybody reads.
const INPUT: &str = "events";
const PARTITIONS: i32 = 4;
const BALANCED: &str = "balanced";
const WORKS: [Work; 3] = [Work::Independent, Work::Streaming, Work::Deferred];
const DELIVERIES: [Delivery; 2] = [Delivery::ExactlyOnce, Delivery::AtLeastOnce];

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
    /// Only these parts: all of them take five minutes a round
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Independent, Part::Streaming, Part::Deferred, Part::Presets])]
    only: Vec<Part>,
    /// Only these deliveries
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = DELIVERIES)]
    delivery: Vec<Delivery>,
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

/// Bytes of a record that the loop writes when nobody has run before it.
const RECORD_BYTES: u64 = 600;

/// A part of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Independent,
    Streaming,
    Deferred,
    /// The presets but for `balanced`, which the others have.
    Presets,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    common::run(arguments.contestant.as_deref(), contestant::work, || measure(&arguments))
}

fn measure(arguments: &Arguments) -> Result<()> {
    let (events, rounds) = if arguments.quick { (100_000, 1) } else { (arguments.events, arguments.rounds) };
    let broker = Broker::start(BrokerSettings::lasting())?;
    let scratch = tempfile::tempdir()?;
    let bytes = load(&broker.address(), events)?;
    println!("{events} events, {} MiB, in {PARTITIONS} partitions of one topic", bytes >> 20);
    let sitting = Sitting { broker, scratch, events };
    for delivery in &arguments.delivery {
        // Whoever comes first would wait for the broker to compile itself.
        eprintln!("warming up the broker, {delivery:?}");
        sitting.measure(Work::Bare, *delivery, BALANCED, RECORD_BYTES)?;
    }
    let mut runs = Vec::new();
    for round in 1..=rounds {
        for delivery in &arguments.delivery {
            for part in &arguments.only {
                match part {
                    Part::Independent => runs.push(sitting.beside_the_loop(round, Work::Independent, *delivery)?),
                    Part::Streaming => runs.push(sitting.beside_the_loop(round, Work::Streaming, *delivery)?),
                    Part::Deferred => runs.push(sitting.beside_the_loop(round, Work::Deferred, *delivery)?),
                    Part::Presets => {
                        for preset in ["durable", "fast"] {
                            runs.push(sitting.run(round, Work::Streaming, *delivery, preset)?);
                        }
                    }
                }
            }
        }
    }
    report::print(&runs, events);
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
        let made = generator.next(&mut line)?;
        let key = made.and_then(|made| made.provides).map(|referent| referent.id.to_string());
        let value = line.trim_ascii_end();
        bytes += value.len() as u64;
        let partition = i32::try_from(at / RUN % u64::try_from(PARTITIONS)?)?;
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(INPUT).payload(value).partition(partition);
        record.key = key.as_ref().map(String::as_bytes);
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

struct Sitting {
    broker: Broker,
    scratch: TempDir,
    events: u64,
}

impl Sitting {
    fn measure(&self, work: Work, delivery: Delivery, preset: &str, record_bytes: u64) -> Result<Measured> {
        let (brokers, preset, events) = (self.broker.address(), preset.to_owned(), self.events);
        let contestant = Contestant { work, delivery, preset, brokers, events, record_bytes };
        contestant::timed(&contestant, &self.broker, self.scratch.path())
    }

    fn run(&self, round: usize, work: Work, delivery: Delivery, preset: &'static str) -> Result<Run> {
        let job = self.measure(work, delivery, preset, 0)?;
        let rate = self.events as f64 / job.seconds;
        eprintln!("round {round}: {work:?}, {delivery:?}, {preset}: {rate:.0} events/s");
        Ok(Run { work, delivery, preset, job, bare: None })
    }

    /// A job, and after it the bare loop, which writes as many bytes.
    fn beside_the_loop(&self, round: usize, work: Work, delivery: Delivery) -> Result<Run> {
        let run = self.run(round, work, delivery, BALANCED)?;
        let bare = self.measure(Work::Bare, delivery, BALANCED, run.job.bytes_written / self.events)?;
        eprintln!("  bare loop: {:.0} events/s", self.events as f64 / bare.seconds);
        Ok(Run { bare: Some(bare), ..run })
    }
}
