//! What the operating system says of this process. Read from `/proc`, so on Linux only; elsewhere these metrics are absent.

use prometheus::core::{Collector, Desc};
use prometheus::{Counter, Gauge, proto};

/// Clock ticks a second in `/proc/self/stat`: part of the kernel's interface, the same on every architecture that Rust's standard library runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory of this process that is in RAM, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResidentMemory {
    /// Now.
    pub now: u64,
    /// The most there has been.
    pub peak: u64,
}

/// Resident memory of this process; `None` where the system does not tell.
pub fn resident_memory() -> Option<ResidentMemory> {
    parse_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_status(status: &str) -> Option<ResidentMemory> {
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    Some(ResidentMemory { now: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

/// Seconds of CPU time that all threads have used; `None` where the system does not tell.
pub fn cpu_seconds() -> Option<f64> {
    parse_stat(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// The same of another process.
pub fn cpu_seconds_of(process: u32) -> Option<f64> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

fn parse_stat(stat: &str) -> Option<f64> {
    // The second field is the program's name in parentheses and may hold anything: fields are counted from its end.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// Bytes that this process has moved between memory and disks, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskIo {
    /// Read from a disk: not what the page cache had.
    pub read: u64,
    /// Handed on to a disk, now or later; not what was deleted before that, nor what is in a file system in memory.
    pub written: u64,
}

/// What this process has read from disks and written to them; `None` where the system does not tell.
pub fn disk_io() -> Option<DiskIo> {
    parse_io(&std::fs::read_to_string("/proc/self/io").ok()?)
}

fn parse_io(io: &str) -> Option<DiskIo> {
    let bytes =
        |field: &str| io.lines().find_map(|line| line.strip_prefix(field))?.trim_start_matches(':').trim().parse().ok();
    let (read, written): (u64, u64) = (bytes("read_bytes")?, bytes("write_bytes")?);
    // What was written to a page that is then given up before it goes to the disk.
    Some(DiskIo { read, written: written.saturating_sub(bytes("cancelled_write_bytes")?) })
}

/// Reads the process anew at every scrape.
pub(super) struct ProcessCollector {
    pub(super) resident_memory: Gauge,
    pub(super) cpu: Counter,
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        [self.resident_memory.desc(), self.cpu.desc()].concat()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut families = Vec::new();
        if let Some(memory) = resident_memory() {
            self.resident_memory.set(memory.now as f64);
            families.append(&mut self.resident_memory.collect());
        }
        if let Some(seconds) = cpu_seconds() {
            self.cpu.reset();
            self.cpu.inc_by(seconds);
            families.append(&mut self.cpu.collect());
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status() {
        let status = "Name:\tsedd\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        assert_eq!(parse_status(status), Some(ResidentMemory { now: 1 << 20, peak: 2 << 20 }));
        assert_eq!(parse_status("Name:\tsedd\n"), None);
        assert_eq!(parse_status("VmHWM:\t2048\nVmRSS:\tmuch kB\n"), None);
    }

    #[test]
    fn cpu_time_is_read_after_any_program_name() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 3 0";
        assert_eq!(parse_stat(stat), Some(2.0));
        assert_eq!(parse_stat("7 (a) S 1 2 3"), None);
    }

    #[test]
    fn disk_io_is_what_was_not_cancelled() {
        let io = "rchar: 900\nwchar: 800\nread_bytes: 4096\nwrite_bytes: 12288\ncancelled_write_bytes: 8192\n";
        assert_eq!(parse_io(io), Some(DiskIo { read: 4096, written: 4096 }));
        assert_eq!(parse_io("rchar: 900\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_memory() {
        let memory = resident_memory().unwrap();
        assert!(memory.now > 0 && memory.peak > 0);
        assert!(cpu_seconds().is_some());
    }
}
