//! How busy the host is, as /proc says it (proc_loadavg(5), proc_meminfo(5)).

use std::fs;

use pan_member::{Load, Permille};
use pan_model::ByteSize;

/// Reads the load now. What cannot be read counts as idle: a heartbeat must not fail for it.
pub(super) fn read() -> Load {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Load { cpu: cpu(&load, processors), memory: in_use(&memory), pressure: None }
}

/// The one-minute load average as a share of all processors.
fn cpu(loadavg: &str, processors: usize) -> Permille {
    let average: f64 = loadavg.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    let share = average * 1000.0 / processors as f64;
    Permille(share.clamp(0.0, 1000.0) as u16)
}

fn in_use(meminfo: &str) -> ByteSize {
    let field = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let total = field("MemTotal:").unwrap_or(0);
    let free = field("MemAvailable:").unwrap_or(total);
    ByteSize(total.saturating_sub(free).saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        assert_eq!(cpu("1.00 0.5 0.2 1/100 4", 2), Permille(500));
        assert_eq!(cpu("9.00 0.5", 2), Permille(1000));
        assert_eq!(cpu("", 2), Permille(0));
        assert_eq!(in_use("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   40 kB\n"), ByteSize(60 << 10));
        assert_eq!(in_use(""), ByteSize(0));
    }
}
