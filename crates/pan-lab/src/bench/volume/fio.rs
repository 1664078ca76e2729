//! Runs fio inside a host, and counts what the whole machine worked meanwhile.

use std::time::Duration;

use super::super::error::BenchError;
use super::jobs::{self, Figures, Job};
use crate::name::LabHost;
use crate::room::Room;

/// The file that is worked on: twice what a controller's cache of a disk keeps, and made within a second or two.
const SIZE: &str = "--size=256M";
const MIB: u64 = 1 << 20;
/// Clock ticks per second of /proc/stat (USER_HZ), the same on every Linux with glibc.
const TICKS: f64 = 100.0;

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub figures: Figures,
    /// Microseconds of processors per operation: of everything on this machine, fio and the kernel included.
    pub cpu_us: f64,
}

/// Works in a folder of a host for some time.
pub(super) fn run(room: &Room, host: LabHost, folder: &str, job: Job, length: Duration) -> Result<Measured, BenchError> {
    let runtime = format!("--runtime={}", length.as_secs().max(1));
    let folder = format!("--directory={folder}");
    let fixed = [
        "--name=work",
        "--filename=work",
        SIZE,
        "--ioengine=libaio",
        "--direct=1",
        "--time_based",
        "--group_reporting",
        "--output-format=json",
    ];
    let argv: Vec<&str> =
        ["fio"].into_iter().chain(fixed).chain([runtime.as_str(), folder.as_str()]).chain(job.options.iter().copied()).collect();
    let before = busy()?;
    let output = room.exec(host, &argv)?.output().map_err(|source| BenchError::System { action: "run fio", source })?;
    let spent = busy()? - before;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(BenchError::Surprise(format!("fio {}: {} {}", job.name, said.trim(), String::from_utf8_lossy(&output.stderr).trim())));
    }
    let figures = jobs::read(&said, job).map_err(BenchError::Surprise)?;
    Ok(Measured { figures, cpu_us: spent / figures.operations.max(1.0) })
}

/// Microseconds that the machine's processors have worked.
fn busy() -> Result<f64, BenchError> {
    let text = std::fs::read_to_string("/proc/stat").map_err(|source| BenchError::System { action: "read /proc/stat", source })?;
    let first = text.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq
    let all: Vec<f64> = first.split_whitespace().skip(1).take(7).filter_map(|word| word.parse().ok()).collect();
    let [user, nice, system, _, _, irq, softirq] = all[..] else {
        return Err(BenchError::Surprise("/proc/stat is not what is known".to_owned()));
    };
    Ok((user + nice + system + irq + softirq) / TICKS * 1e6)
}

/// Room of the volumes: the file, the file system's own, and as much again.
pub(super) const VOLUME: u64 = 1024 * MIB;
