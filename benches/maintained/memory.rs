//! Memory under many updates of few keys: it should be that of the keys, however long the updates go on.

use std::process::Child;

use super::Result;
use super::dataflow::{Decoding, Fed, rules, stream};
use super::input::{standing, updates};
use super::job::{Emit, Input, Task, run};
use resolvent::dependency::Need;

const MIB: f64 = 1_048_576.0;

/// How often it is looked at, and after how many of these memory may grow no more.
const LOOKS: u64 = 20;
const SETTLED: usize = 4;

/// By so much what is resident may differ: what RocksDB and the allocator keep comes and goes.
const GROWTH: f64 = 1.25;
const SLACK: f64 = 32.0 * MIB;

/// Updates that go through the dataflow in one epoch.
const EPOCH: usize = 20_000;

/// Resident memory as updates come in, of so many keys and of fewer.
pub(crate) fn memory(count: u64, keys: u64) -> Result<()> {
    let each = count / keys;
    println!("\nmemory: {each} updates of each key on average, one worker; the job's memory as the updates go in\n");
    println!(
        "| keys | updates | updates/s | resident MiB: first look | after a fifth | at the end | peak | counted as referents MiB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut courses = Vec::new();
    for keys in [keys / 10, keys / 2, keys] {
        courses.push((keys, over_time(each * keys, keys)?));
    }
    for (keys, course) in courses {
        let course: Vec<String> = course.iter().map(|bytes| format!("{:.0}", bytes / MIB)).collect();
        println!("\n{keys} keys, resident MiB after each twentieth of the updates: {}", course.join(" "));
    }
    traces(count / 10, keys)
}

/// Runs the job with these updates. Returns what was resident after each part of them.
fn over_time(count: u64, keys: u64) -> Result<Vec<f64>> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (mut fed, mut course) = (0, Vec::new());
    let mut look = |job: &Child| {
        fed += 1;
        if fed % (count / LOOKS) == 0 {
            course.extend(resident(job.id()));
        }
    };
    let task = Task {
        directory: directory.path(),
        emit: Emit::Changes,
        workers: 1,
        read: count,
        standing: standing(updates(count, keys)),
    };
    let run = run(task, &[], Input::Fed(&mut updates(count, keys), &mut look))?;
    let (Some(first), Some(settled), Some(last)) = (course.first(), course.get(SETTLED), course.last()) else {
        return Err("the system does not tell what a process has resident: /proc is needed".into());
    };
    println!(
        "| {keys} | {count} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
        count as f64 / run.busy_seconds,
        first / MIB,
        settled / MIB,
        last / MIB,
        run.memory_peak_bytes / MIB,
        run.counted_bytes() / MIB
    );
    if *last > settled * GROWTH + SLACK {
        return Err(
            format!("memory grows with the updates: {settled} bytes after a fifth of them, {last} at the end").into()
        );
    }
    Ok(course)
}

/// What a process has resident, in bytes.
fn resident(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    kilobytes.trim().parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0)
}

/// How much the arrangements of the dataflow hold as updates come in.
fn traces(count: u64, keys: u64) -> Result<()> {
    let rules = rules(vec![stream("product", None)?, stream("order", Some(("product", Need::Arrived)))?])?;
    let held = timely::execute_directly(move |worker| -> Result<Vec<usize>> {
        let (mut fed, mut decoding, mut held) = (Fed::new(worker, &rules), Decoding::new(&rules), Vec::new());
        let mut updates = updates(count, keys).peekable();
        while updates.peek().is_some() {
            let events = updates
                .by_ref()
                .take(EPOCH)
                .map(|update| decoding.event(update.stream(), &update.record.replace("\"product\":", "\"ref\":")));
            let events = events.collect::<Result<Vec<_>>>()?;
            fed.epoch(events);
            held.push(fed.held());
        }
        Ok(held)
    })?;
    let most = held.iter().copied().max().unwrap_or_default();
    println!(
        "\ntraces: {count} updates of {keys} keys in the dataflow alone, epochs of {EPOCH}: all arrangements together hold {most} updates at most, {} in the end; \
         after each epoch: {}",
        held.last().unwrap_or(&0),
        held.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
    );
    // Each key has a version or a reference there; what replaces it is there with what it replaces until both are merged.
    if most as u64 > 3 * keys {
        return Err(format!("arrangements of {keys} keys hold {most} updates: they are not compacted").into());
    }
    Ok(())
}
