//! The comparison of the modes as a process: its command line, its signals, and what it leaves.

use std::fs;
use std::io::{self, Read};
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::modes::{status, this_program};
use crate::support::{Ended, Running, eventually};

/// A second of one job.
const SHORT: [&str; 9] = [
    "--quick",
    "--no-crash",
    "--modes=streaming",
    "--workers=1",
    "--rates=1000",
    "--at=1000",
    "--seconds=1",
    "--reach=100",
    "--output",
];

/// No test, but the process that the others start: cargo does not tell them where a benchmark is. What follows `--` is its command line.
#[test]
#[ignore = "the tests of the comparison start it"]
fn the_comparison() {
    let mut own = std::env::args_os().skip_while(|argument| argument != "--");
    if own.next().is_some() {
        std::process::exit(status(iter::once("modes".into()).chain(own)).into());
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = this_program().unwrap();
    command.args(arguments).stdin(Stdio::null()).env("NO_COLOR", "1").env_remove("RUST_LOG");
    command
}

fn run(arguments: &[&str]) -> Ended {
    Running::start(&mut command(arguments)).wait()
}

#[test]
fn its_help_names_every_axis() {
    let said = run(&["--help"]).succeeded().stdout;
    for flag in
        ["--modes", "--rates", "--disorder", "--late-by", "--workers", "--cross", "--quick", "--compare", "--from"]
    {
        assert!(said.contains(flag), "nothing of {flag} in:\n{said}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_could() {
    let mistakes: [(&[&str], &str); 13] = [
        (&["--no-such-flag"], "--no-such-flag"),
        (&["--modes", "fast"], "streaming+defer"),
        (&["--rates", "1000,99"], "99 is not in 100..=10000000"),
        (&["--at", "99"], "99 is not in 100..=10000000"),
        (&["--dependents", "1.5"], "write 0 to 1"),
        (&["--disorder", "16777217"], "16777217 is not in 0..=16777216"),
        (&["--references", "9"], "9 is not in 1..=8"),
        (&["--payload", "3501"], "3501 is not in 0..=3500"),
        (&["--workers", "0"], "0 is not in 1..=256"),
        (&["--reach", "0"], "0 is not in 1..=1073741824"),
        (&["--wait", "soon"], "from 1ms to 36500d"),
        (&["--arrivals", "never"], "poisson"),
        // Each can be meant, but not both: no job takes them.
        (&["--late", "0.1", "--late-by", "0"], "late"),
    ];
    for (arguments, phrase) in mistakes {
        let ended = run(arguments).failed(2, &[phrase]);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    run(&["--from", "/nowhere.jsonl"]).failed(1, &["/nowhere.jsonl"]);
    // There is nothing left to measure.
    run(&["--from", "/nowhere.jsonl", "--rates", "1000"]).failed(2, &["--from", "--rates"]);
    run(&[&SHORT[..], &["/proc/here"]].concat()).failed(1, &["/proc/here (--output)"]);
}

/// The numbers that are in a directory.
fn numbers(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
}

#[test]
fn it_ends_as_always_where_nobody_reads_what_it_says() {
    let directory = TempDir::new().unwrap();
    let at = directory.path().to_str().unwrap();
    let closed = |arguments: &[&str]| {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut command = command(arguments);
        let mut child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
        // What the harness of the tests says.
        reader.read_exact(&mut [0; "\nrunning 1 test\n".len()]).unwrap();
        drop((reader, command));
        child.wait().unwrap().code()
    };
    assert_eq!(closed(&[&SHORT[..], &[at]].concat()), Some(0));
    let [file] = &numbers(directory.path())[..] else { panic!("one sitting writes one file of numbers") };
    let page = file.with_extension("html");
    assert!(fs::read_to_string(&page).unwrap().contains("streaming"));

    let file = file.to_str().unwrap();
    assert_eq!(closed(&["--from", file]), Some(0));
    // Two sittings of one measurement each have nothing in common that could be judged.
    let open = run(&["--from", file, "--compare", file]);
    assert!(open.stdout.contains(&format!("numbers: {file}")), "{}", open.stdout);
    assert_eq!(closed(&["--from", file, "--compare", file]), Some(open.code()));

    // The page goes where it is asked for, and a number that is missing is not passed over in silence.
    let (whole, other) = (fs::read_to_string(file).unwrap(), directory.path().join("other"));
    let cut = directory.path().join("cut.jsonl");
    fs::write(&cut, whole.trim_end()).unwrap();
    let told = run(&["--from", cut.to_str().unwrap(), "--output", other.to_str().unwrap()]).succeeded();
    assert!(told.stderr.contains("its last line is cut off"), "{}", told.stderr);
    assert!(other.join("cut.html").exists() && !cut.with_extension("html").exists());
}

/// The child of a process whose command line has `phrase`: its id, and the directory that it runs in.
fn child(of: u32, phrase: &str) -> Option<(u32, PathBuf)> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_it = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        parent(*id) == Some(of) && String::from_utf8_lossy(&line).contains(phrase)
    };
    let id = processes.filter(is_it).find(|id| runs(*id))?;
    // Who is to kill it is told of it right after its start.
    thread::sleep(Duration::from_millis(100));
    Some((id, fs::read_link(format!("/proc/{id}/cwd")).ok()?))
}

/// What follows the name in `/proc/ID/stat`.
fn stat(id: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn parent(id: u32) -> Option<u32> {
    stat(id)?[1].parse().ok()
}

/// Whether there is a process that has not ended, if only nobody has asked yet how it did.
fn runs(id: u32) -> bool {
    stat(id).is_some_and(|stat| stat[0] != "Z")
}

/// Longer than a test waits for anything.
const LONG: [&str; 8] = [
    "--quick",
    "--no-crash",
    "--modes=streaming",
    "--workers=1",
    "--rates=100",
    "--at=100",
    "--seconds=300",
    "--output",
];

#[test]
fn a_signal_leaves_no_process_and_no_directory() {
    let directory = TempDir::new().unwrap();
    let at = directory.path().to_str().unwrap();
    // With its directory in the file's name: the job as such.
    let job_of = |running: &Running| eventually("a job is started", || child(running.id(), "job.toml\0--quiet"));

    let running = Running::start(&mut command(&[&LONG[..], &[at]].concat()));
    let (job, place) = job_of(&running);
    assert!(place.join("job.toml").exists());
    running.terminate();
    running.wait().failed(1, &["stopped by a signal"]);
    assert!(!runs(job) && !place.exists(), "{job} in {}", place.display());

    let running = Running::start(&mut command(&[&LONG[..], &[at]].concat()));
    let (job, place) = job_of(&running);
    running.kill();
    eventually("the job has ended with who started it", || (!runs(job)).then_some(()));
    assert!(place.exists());
    eventually("the next sitting that has no other beside it removes what is left", || {
        run(&[&SHORT[..], &[at]].concat()).succeeded();
        (!place.exists()).then_some(())
    });
}

#[test]
fn what_computes_the_right_answers_ends_with_it_too() {
    let directory = TempDir::new().unwrap();
    let long =
        ["--quick", "--modes=streaming", "--rates=10000000", "--records-max=2000000000", "--seconds=3600", "--output"];
    let running = Running::start(&mut command(&[&long[..], &[directory.path().to_str().unwrap()]].concat()));
    let (reference, _) = eventually("the reference is started", || child(running.id(), "--reference"));
    running.kill();
    eventually("the reference has ended with who started it", || (!runs(reference)).then_some(()));
}
