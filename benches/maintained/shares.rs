//! Where the time of a worker goes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use resolvent::dependency::Need;
use timely::logging::{StartStop, TimelyEvent, TimelyEventBuilder};

use super::dataflow::{Decoding, Fed, rules, stream};
use super::{Result, updates};

/// Updates that go through in one epoch.
const EPOCH: usize = 20_000;

/// What operators were busy with.
#[derive(Default)]
struct Busy {
    names: BTreeMap<usize, (String, Vec<usize>)>,
    since: BTreeMap<usize, Duration>,
    took: BTreeMap<usize, Duration>,
}

impl Busy {
    fn note(&mut self, at: Duration, event: TimelyEvent) {
        match event {
            TimelyEvent::Operates(operator) => _ = self.names.insert(operator.id, (operator.name, operator.addr)),
            TimelyEvent::Schedule(schedule) => match schedule.start_stop {
                StartStop::Start => _ = self.since.insert(schedule.id, at),
                StartStop::Stop => {
                    if let Some(since) = self.since.remove(&schedule.id) {
                        *self.took.entry(schedule.id).or_default() += at.saturating_sub(since);
                    }
                }
            },
            _ => {}
        }
    }

    /// By what operators do. Those that others are in are left out.
    fn shares(&self) -> BTreeMap<&'static str, Duration> {
        let mut shares: BTreeMap<&'static str, Duration> = BTreeMap::new();
        for (id, took) in &self.took {
            let Some((name, address)) = self.names.get(id) else { continue };
            let holds_others =
                self.names.values().any(|(_, other)| other.len() > address.len() && other.starts_with(address));
            if holds_others {
                continue;
            }
            let what = match name.as_str() {
                "table" => "table: what is here",
                "follow" => "follow: results sorted, and told",
                "Join" => "join",
                "complete" => "reduce",
                "references" | "versions" | "Arrange: complete" => "arrange: updates sorted and merged",
                _ => "maps, filters, exchange",
            };
            *shares.entry(what).or_default() += *took;
        }
        shares
    }
}

pub(crate) fn shares(count: u64, keys: u64) -> Result<()> {
    let rules = rules(vec![stream("product", None)?, stream("order", Some(("product", Need::Arrived)))?])?;
    let (shares, all) = timely::execute_directly(move |worker| -> Result<_> {
        let busy = Rc::new(RefCell::new(Busy::default()));
        let logged = Rc::clone(&busy);
        if let Some(mut register) = worker.log_register() {
            register.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
                for (at, event) in events.iter_mut().flat_map(|events| events.drain(..)) {
                    logged.borrow_mut().note(at, event);
                }
            });
        }
        let (mut fed, mut decoding) = (Fed::new(worker, &rules), Decoding::new(&rules));
        let (mut all, mut lines) = (Duration::ZERO, updates(count, keys).peekable());
        while lines.peek().is_some() {
            let events = lines.by_ref().take(EPOCH).map(|line| {
                let stream = if line.contains("\"order\"") { "order" } else { "product" };
                decoding.event(stream, &line.replace("\"product\":", "\"ref\":"))
            });
            let events = events.collect::<Result<Vec<_>>>()?;
            all += fed.epoch(events).0;
        }
        let shares = busy.borrow().shares();
        Ok((shares, all))
    })?;
    println!(
        "\nshares: {count} updates of {keys} keys in the dataflow alone, epochs of {EPOCH}; one worker, {:.2} s\n",
        all.as_secs_f64()
    );
    println!("| what | ms | share |");
    println!("| --- | --- | --- |");
    let known: Duration = shares.values().sum();
    let rest = ("the state's rows, ends of epochs, progress", all.saturating_sub(known));
    for (what, took) in shares.into_iter().chain([rest]) {
        let share = 100.0 * took.as_secs_f64() / all.as_secs_f64();
        println!("| {what} | {:.0} | {share:.0} % |", took.as_secs_f64() * 1e3);
    }
    Ok(())
}
