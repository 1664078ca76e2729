//! Runs fio inside a host, and counts what the hosts that serve it worked meanwhile.

use std::time::Duration;

use super::super::error::BenchError;
use super::jobs::{self, Figures, Job};
use crate::boot;
use crate::error::LabError;
use crate::name::LabHost;
use crate::room::Room;

/// The file that is worked on: twice what a controller's cache of a disk keeps, and made within a second or two.
const SIZE: &str = "--size=256M";
const MIB: u64 = 1 << 20;

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub figures: Figures,
    /// Microseconds of processors per operation: of all processes of the hosts that take part, fio's too.
    pub cpu_us: f64,
}

/// Where to work.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// What is worked on, for people.
    pub who: &'static str,
    /// Where fio runs.
    pub host: LabHost,
    /// The folder.
    pub folder: String,
    /// Everybody who takes part.
    pub hosts: Vec<LabHost>,
}

/// Works in a folder of a host for some time.
pub(super) fn run(room: &Room, place: &Place, job: Job, length: Duration) -> Result<Measured, BenchError> {
    let runtime = format!("--runtime={}", length.as_secs().max(1));
    // By its whole name: fio takes no notice of a directory that is given after the file, and would work on another disk.
    let file = format!("--filename={}/work", place.folder);
    let fixed = ["--name=work", SIZE, "--ioengine=libaio", "--direct=1", "--time_based", "--group_reporting", "--output-format=json"];
    let argv: Vec<&str> =
        ["fio"].into_iter().chain(fixed).chain([runtime.as_str(), file.as_str()]).chain(job.options.iter().copied()).collect();
    let before = worked(room, &place.hosts)?;
    let output = room.exec(place.host, &argv)?.output().map_err(|source| BenchError::System { action: "run fio", source })?;
    let spent = worked(room, &place.hosts)?.saturating_sub(before);
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(BenchError::Surprise(format!("fio {} ({}): {}", job.name, output.status, why.trim())));
    }
    let figures = jobs::read(&said, job).map_err(BenchError::Surprise)?;
    // Far below 2^53.
    Ok(Measured { figures, cpu_us: spent as f64 / figures.operations.max(1.0) })
}

/// Microseconds of processors that all processes of some hosts have had. The kernel's own threads, those of loop devices among them,
/// are nobody's.
fn worked(room: &Room, hosts: &[LabHost]) -> Result<u64, BenchError> {
    let of_one = |host: &LabHost| {
        let used = boot::host_group(room.name(), *host)?.usage().map_err(LabError::kernel("read what a host has used"))?;
        Ok(used.cpu_usec)
    };
    hosts.iter().map(of_one).sum()
}

/// Room of the volumes: the file, the file system's own, and as much again.
pub(super) const VOLUME: u64 = 1024 * MIB;
