//! What maintained results cost (`emit = "changes"`), beside the same job with `emit = "once"`.
//!
//! `cargo bench --bench maintained`, or with `-- --quick` to try it out; `-- --memory` adds ten million updates of a hundred thousand keys.
//!
//! * **updates**: orders that refer to products, both updated at random, through the job `sedd` with one worker and with two. Sinks are null: lines are built,
//!   counted and discarded. The two ways of telling do not tell the same: once each, or once more with each revision.
//! * **shares**: where the time of a worker goes, by timely's log, in the dataflow alone: no reading, decoding, lines, state or commit.
//! * **chain**: events that need each other resolved, a thousand deep: what each level costs when the first comes last, when it is corrected, and when it goes.

mod chain;
mod dataflow;
mod job;
mod shares;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// As in the launchers.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What maintained results cost
#[derive(Parser)]
struct Options {
    /// A tenth of everything
    #[arg(long)]
    quick: bool,

    /// Also ten million updates of a hundred thousand keys, and the memory that they take
    #[arg(long)]
    memory: bool,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let scale = if options.quick { 10 } else { 1 };
    job::updates(1_000_000 / scale, 100_000 / scale)?;
    shares::shares(1_000_000 / scale, 100_000 / scale)?;
    chain::chain(1000 / scale)?;
    if options.memory {
        job::memory(10_000_000 / scale, 100_000 / scale)?;
    }
    Ok(())
}

/// A seeded source of decisions (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

/// Updates of products and of orders that refer to one each: first each key once, then any of them.
fn updates(count: u64, keys: u64) -> impl Iterator<Item = String> {
    let (mut random, half) = (Random(7), keys / 2);
    (0..count).map(move |at| {
        let key = if at < keys { at / 2 } else { random.below(half) };
        let text = random.below(u64::MAX);
        match at % 2 {
            0 => format!("{{\"type\":\"product\",\"id\":{key},\"title\":\"product {key}, version {text:020}\"}}\n"),
            _ => {
                let product = random.below(half);
                format!("{{\"type\":\"order\",\"id\":{key},\"product\":{product},\"note\":\"{text:020}\"}}\n")
            }
        }
    })
}

/// The streams of those updates.
const STREAMS: &str = r#"
[[stream]]
name = "product"
key = "/id"

[[stream]]
name = "order"
key = "/id"
depends_on = [ { entity = "product", by = "/product" } ]
"#;
