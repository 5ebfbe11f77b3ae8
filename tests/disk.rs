//! Disks that are full or fail: the job says which file, ends with status 1, and goes on to the right end once it can.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Ended, Program, Running, SHOP, Workspace, assert_unique_positions, has_program, orders, payments, skip,
};

/// Orders, each paid once: more outcomes and more waiting payments than the small disks below hold.
const ORDERS: u64 = 20_000;

fn payments_first() -> String {
    payments(0..ORDERS) + &orders(0..ORDERS)
}

#[track_caller]
fn all_resolved(workspace: &Workspace) {
    let outcomes = workspace.outcomes();
    assert_unique_positions(&outcomes);
    assert_eq!(outcomes.len() as u64, 2 * ORDERS);
    assert!(outcomes.iter().all(|outcome| outcome.outcome == "resolved"));
}

/// Runs the job where no file may grow beyond `kilobytes`.
fn run_with_limit(workspace: &Workspace, program: Program, kilobytes: u64) -> Ended {
    // The limit counts blocks of 512 bytes. A write beyond it fails where the signal is ignored.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", 2 * kilobytes);
    Running::start(&mut workspace.command_under(&["sh", "-c", &script, "sh"], program, &[])).wait()
}

#[test]
fn an_output_file_that_cannot_grow() {
    for program in Program::ALL {
        // In small epochs, so that some are committed before the limit.
        let job = SHOP.replace("name = \"shop\"", "name = \"shop\"\nepoch_size = \"64KiB\"");
        let workspace = Workspace::with(&job, &(orders(0..ORDERS) + &payments(0..ORDERS)));
        run_with_limit(&workspace, program, 2000).failed(1, &["resolved.jsonl", "File too large", "a restart goes on"]);
        workspace.run(program, &[]).succeeded();
        all_resolved(&workspace);
    }
}

#[test]
fn a_state_that_cannot_grow() {
    for program in Program::JOINING {
        let workspace = Workspace::with(SHOP, &payments_first());
        run_with_limit(&workspace, program, 300).failed(1, &["state", "File too large"]);
        workspace.run(program, &[]).succeeded();
        all_resolved(&workspace);
    }
}

/// A file system in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<SmallDisk> {
        fs::create_dir(at).unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk(at.to_owned())),
            Ok(output) => {
                skip(
                    "a full disk",
                    &format!("no right to mount one: {}", String::from_utf8_lossy(&output.stderr).trim()),
                );
                None
            }
            Err(error) => {
                skip("a full disk", &format!("cannot run mount: {error}"));
                None
            }
        }
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

#[test]
fn a_full_disk_under_the_output() {
    for program in Program::ALL {
        let job = SHOP.replace("resolved.jsonl", "disk/resolved.jsonl");
        let workspace = Workspace::with(&job, &(orders(0..ORDERS) + &payments(0..ORDERS)));
        let Some(disk) = SmallDisk::mount(&workspace.path("disk"), "1m") else { return };
        workspace.run(program, &[]).failed(1, &["disk/resolved.jsonl", "No space left on device", "a restart goes on"]);
        disk.grow("64m");
        workspace.run(program, &[]).succeeded();
        fs::copy(workspace.path("disk/resolved.jsonl"), workspace.path("resolved.jsonl")).unwrap();
        all_resolved(&workspace);
    }
}

#[test]
fn a_full_disk_under_the_state() {
    for program in Program::JOINING {
        let workspace = Workspace::with(SHOP, &payments_first());
        let Some(disk) = SmallDisk::mount(&workspace.path("disk"), "1m") else { return };
        let arguments = ["--state", "disk/state"];
        workspace.run(program, &arguments).failed(1, &["state", "No space left on device"]);
        disk.grow("256m");
        workspace.run(program, &arguments).succeeded();
        all_resolved(&workspace);
    }
}

/// The first, or one of the later, syncs of a file fails: of the outputs or of the state, as it comes.
#[test]
fn a_disk_that_fails_to_sync() {
    if !can_trace() {
        return skip("a failing disk", "strace is not here, or may not trace");
    }
    for program in Program::ALL {
        for nth in [1, 2, 3, 5, 8] {
            let workspace = Workspace::with(SHOP, &payments_first());
            let inject = format!("inject=fdatasync:error=EIO:when={nth}+");
            let outer = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject];
            let ended = Running::start(&mut workspace.command_under(&outer, program, &[])).wait();
            // A short job does not sync often: one that did not come to the sync that fails is done.
            if ended.code() != 0 {
                ended.failed(1, &["Input/output error"]);
            } else {
                assert!(nth > 2, "{}", ended.stderr);
            }
            workspace.run(program, &[]).succeeded();
            all_resolved(&workspace);
        }
    }
}

fn can_trace() -> bool {
    has_program("strace")
        && Command::new("strace")
            .args(["-f", "-o", "/dev/null", "true"])
            .output()
            .is_ok_and(|ended| ended.status.success())
}
