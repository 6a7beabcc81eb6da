//! Memory, file descriptors, processor time and uptime of this process, read from `/proc` when
//! `/metrics` is read. What cannot be read is left out, never shown as 0.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

// The kernel's unit in /proc/*/stat, fixed for user space on all platforms that counterd runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Process;

type NoLabels = [(&'static str, &'static str); 0];

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let fields = Stat::parse(&stat);

        gauge(
            &mut encoder,
            "process_resident_memory",
            "Resident memory of the process.",
            Some(&Unit::Bytes),
            resident_bytes(&status),
        )?;
        gauge(
            &mut encoder,
            "process_open_fds",
            "File descriptors open in the process.",
            None,
            open_fds(),
        )?;
        gauge(
            &mut encoder,
            "process_threads",
            "Threads of the process.",
            None,
            fields.as_ref().map(|fields| fields.threads),
        )?;
        gauge(
            &mut encoder,
            "process_uptime",
            "Time since the process started.",
            Some(&Unit::Seconds),
            fields
                .as_ref()
                .and_then(|fields| fields.uptime_seconds(&uptime)),
        )?;
        if let Some(fields) = fields {
            encoder
                .encode_descriptor(
                    "process_cpu",
                    "Processor time used by the process.",
                    Some(&Unit::Seconds),
                    MetricType::Counter,
                )?
                .encode_counter::<NoLabels, f64, f64>(&fields.cpu_seconds, None)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: Option<impl EncodeGaugeValue>,
) -> Result<(), std::fmt::Error> {
    let Some(value) = value else { return Ok(()) };
    encoder
        .encode_descriptor(name, help, unit, MetricType::Gauge)?
        .encode_gauge(&value)
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

#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: u64,
    started_after_boot_seconds: f64,
}

impl Stat {
    /// Fields 14, 15, 20 and 22 of proc(5). The second is the program's name in parentheses and may
    /// hold anything, so counting starts after the last parenthesis.
    fn parse(stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (number(14)? + number(15)?) / TICKS_PER_SECOND,
            threads: fields.get(20 - 3)?.parse().ok()?,
            started_after_boot_seconds: number(22)? / TICKS_PER_SECOND,
        })
    }

    fn uptime_seconds(&self, proc_uptime: &str) -> Option<f64> {
        let since_boot: f64 = proc_uptime.split_ascii_whitespace().next()?.parse().ok()?;
        Some((since_boot - self.started_after_boot_seconds).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 12 0 1000 9 9";
        let parsed = Stat::parse(stat).unwrap();
        assert_eq!(
            parsed,
            Stat {
                cpu_seconds: 3.0,
                threads: 12,
                started_after_boot_seconds: 10.0
            }
        );
        assert_eq!(parsed.uptime_seconds("25.50 40.00\n"), Some(15.5));
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        assert_eq!(Stat::parse(""), None);
        assert_eq!(resident_bytes("VmSize:\t  1 kB\n"), None);
        assert_eq!(
            resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t    1024 kB\n"),
            Some(1_048_576)
        );
    }
}
