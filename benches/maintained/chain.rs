//! Events that need each other resolved.

use super::Result;
use super::dataflow::{Decoding, Fed, rules, stream};
use resolvent::dependency::Need;

/// What each level of a chain costs.
pub(crate) fn chain(depth: u64) -> Result<()> {
    let rules = rules(vec![stream("step", Some(("step", Need::Resolved)))?])?;
    let rows = timely::execute_directly(move |worker| -> Result<Vec<String>> {
        let (mut fed, mut decoding) = (Fed::new(worker, &rules), Decoding::new(&rules));
        let mut step = |record: String| decoding.event("step", &record);
        let mut rows = Vec::new();
        let mut measure = |what: &str, events, fed: &mut Fed<'_>| {
            let (took, changes) = fed.epoch(events);
            let per_level = took.as_secs_f64() * 1e6 / depth as f64;
            rows.push(format!("| {what} | {changes} | {:.1} | {per_level:.1} |", took.as_secs_f64() * 1e3));
        };
        let members = (1..depth).map(|at| step(format!("{{\"id\":{at},\"ref\":{}}}", at - 1)));
        let members = members.collect::<Result<Vec<_>>>()?;
        measure("all but the first come", members, &mut fed);
        let first = || "{\"id\":0}".to_owned();
        measure("the first comes", vec![step(first())?], &mut fed);
        measure("it is corrected", vec![step(first())?], &mut fed);
        measure(
            "the one in the middle is corrected",
            vec![step(format!("{{\"id\":{},\"ref\":{}}}", depth / 2, depth / 2 - 1))?],
            &mut fed,
        );
        measure(
            "the last is corrected",
            vec![step(format!("{{\"id\":{},\"ref\":{}}}", depth - 1, depth - 2))?],
            &mut fed,
        );
        measure("the first is deleted", vec![step("{\"id\":0,\"deleted\":true}".to_owned())?], &mut fed);
        measure("it comes again", vec![step(first())?], &mut fed);
        measure("it closes a cycle", vec![step(format!("{{\"id\":0,\"ref\":{}}}", depth - 1))?], &mut fed);
        Ok(rows)
    })?;
    println!("\nchain: {depth} events, each of which needs the one before it resolved; one worker\n");
    println!("| what happens | results added or taken away | ms | µs a level |");
    println!("| --- | --- | --- | --- |");
    rows.iter().for_each(|row| println!("{row}"));
    Ok(())
}
