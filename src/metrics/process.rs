//! Memory, file descriptors, processor time and uptime of this process, read from `/proc` when
//! `/metrics` is read. What cannot be read is left out, never shown as 0.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::table::{alone, put};

// The kernel's unit in /proc/*/stat, fixed for user space on all platforms that counterd runs on.
const MS_A_TICK: u64 = 10;

#[derive(Debug)]
pub(super) struct Process {
    pub(super) started: Instant,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let encoder = &mut encoder;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();

        let (cpu_seconds, threads) = cpu_and_threads(&stat).unzip();
        let mut gauge = |name, unit, help, value: Option<u64>| {
            let value = value.map(ConstGauge::new);
            put(encoder, (name, unit, help), alone(value))
        };
        let help = "Resident memory of the process.";
        let resident = resident_bytes(&status);
        gauge("process_resident_memory", Some(Unit::Bytes), help, resident)?;
        let help = "File descriptors open in the process.";
        gauge("process_open_fds", None, help, open_fds())?;
        gauge("process_threads", None, "Threads of the process.", threads)?;

        let seconds = || Some(Unit::Seconds);
        let help = "Processor time used by the process.";
        let cpu = alone(cpu_seconds.map(ConstCounter::new));
        put(encoder, ("process_cpu", seconds(), help), cpu)?;
        let help = "Time since the process started.";
        let uptime = ConstGauge::new(self.started.elapsed().as_secs_f64());
        let uptime = alone(Some(uptime));
        put(encoder, ("process_uptime", seconds(), help), uptime)
    }
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn open_fds() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that was just read.
    u64::try_from(entries.saturating_sub(1)).ok()
}

/// Returns fields 14 with 15, and 20 of proc(5). The second is the program's name in parentheses and may
/// hold anything, so counting starts after the last parenthesis.
fn cpu_and_threads(stat: &str) -> Option<(f64, u64)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)?.saturating_add(number(15)?);
    let cpu = Duration::from_millis(ticks.saturating_mul(MS_A_TICK));
    Some((cpu.as_secs_f64(), number(20)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 12 0 1000 9 9";
        assert_eq!(cpu_and_threads(stat), Some((3.0, 12)));
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        assert_eq!(cpu_and_threads(""), None);
        assert_eq!(resident_bytes("VmSize:\t  1 kB\n"), None);
        assert_eq!(
            resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t    1024 kB\n"),
            Some(1_048_576)
        );
    }
}
