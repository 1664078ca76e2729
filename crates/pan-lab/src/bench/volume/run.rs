//! The course of it: a laboratory with two storage hosts, one volume with one copy and one with two; each kind of work on each in
//! turn, round by round.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pan_api::volume::{Volume, VolumeState};

use super::super::control::Pan;
use super::super::demo::{DATA, READY_MAX};
use super::super::error::BenchError;
use super::super::report::{Case, Report, machine};
use super::chain::{Chain, MOUNTED};
use super::fio::{self, Measured, VOLUME};
use super::jobs::{JOBS, Job};
use crate::name::LabHost;
use crate::room::{Afterwards, Room, RoomSpec};

const ONE: &str = "1 copy";
const TWO: &str = "2 copies";
const PEER: &str = "nbdkit + qemu";

/// What to measure and how.
#[derive(Debug, Clone)]
pub struct VolumeOptions {
    /// How often each.
    pub runs: u32,
    /// How long each time.
    pub length: Duration,
    /// Whether the chain of others is measured beside it.
    pub against: bool,
    /// Timing profile: `lan`, `shared` or `wan`.
    pub profile: String,
    /// Whether the laboratory is left running.
    pub keep: bool,
    /// The `pan` program.
    pub exe: PathBuf,
}

/// Measures. Blocks; ends soon after `stop` becomes true. Each step is told to `progress`.
///
/// # Errors
/// The laboratory, its volumes, fio or the peer did not come up, or it was stopped.
pub fn volume(options: &VolumeOptions, stop: &AtomicBool, progress: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    if !std::path::Path::new("/usr/bin/fio").exists() {
        return Err(BenchError::Packages("fio".to_owned()));
    }
    if options.against {
        Chain::check()?;
    }
    let room = Room::up(spec(options), progress)?;
    let pan = Pan::new(&room.credentials()?, stop)?;
    pan.wait_for_api(READY_MAX)?;
    pan.wait("two storage hosts", READY_MAX, || pan.apply("volumes", &manifest()).map(drop).map_err(|error| error.to_string()))?;
    pan.wait("two volumes", READY_MAX, || attached(&pan))?;
    let node = room.host("n1")?;
    let places = [(ONE, node, mounted(&room, node, "one-1.data")?), (TWO, node, mounted(&room, node, "two-1.data")?)];
    let peer = if options.against { Some(Chain::up(&room, room.host("s1")?)?) } else { None };
    let beside = peer.as_ref().map(|_| Ok::<_, BenchError>((PEER, room.host("s1")?, MOUNTED.to_owned()))).transpose()?;
    let places: Vec<(&str, LabHost, String)> = places.into_iter().chain(beside).collect();
    let mut all: Vec<(Job, &str, Vec<Measured>)> =
        JOBS.iter().flat_map(|job| places.iter().map(|(who, _, _)| (*job, *who, Vec::new()))).collect();
    for round in 1..=options.runs {
        for (job, who, found) in &mut all {
            pan.check_stop()?;
            let (_, host, folder) = places.iter().find(|(name, _, _)| name == who).expect("it was made of these");
            let measured = fio::run(&room, *host, folder, *job, options.length)?;
            progress(&format!(
                "{} {who} {round}/{}: {:.0} /s, p99 {:.0} us",
                job.name, options.runs, measured.figures.rate, measured.figures.p99_us
            ));
            found.push(measured);
        }
    }
    Ok(Report { bench: "volume".to_owned(), profile: options.profile.clone(), machine: machine(), cases: cases(&all) })
}

fn spec(options: &VolumeOptions) -> RoomSpec {
    RoomSpec {
        prefix: "bench",
        data: DATA,
        nodes: 1,
        storage: 2,
        directors: 1,
        controllers: 1,
        profile: options.profile.clone(),
        exe: options.exe.clone(),
        afterwards: if options.keep { Afterwards::Keep } else { Afterwards::Remove },
    }
}

fn manifest() -> String {
    let cluster = |name: &str, copies: u8| {
        format!(
            "---\napi: pan/v1\nkind: Cluster\npartition: bench\nname: {name}\nspec:\n  servers: 1\n  image: host\n  command: [sleep, inf]\n  \
             volumes: [{{name: data, size: {VOLUME}, mount: /srv, copies: {copies}}}]\n"
        )
    };
    let partition = "api: pan/v1\nkind: Partition\nname: bench\nspec: {network: 10.0.0.0/24, hostImage: allow}\n";
    [partition, &cluster("one", 1), &cluster("two", 2)].concat()
}

fn attached(pan: &Pan<'_>) -> Result<(), String> {
    let all: Vec<Volume> = pan.look("/v1/volumes").map_err(|error| error.message)?;
    let ready = |volume: &&Volume| volume.state == VolumeState::Ready && volume.attached_to.is_some();
    let count = all.iter().filter(ready).count();
    if count == 2 { Ok(()) } else { Err(format!("{count} of 2 volumes are attached")) }
}

/// Where a volume is mounted on its node.
fn mounted(room: &Room, node: LabHost, volume: &str) -> Result<String, BenchError> {
    let script = format!("for folder in /run/pan/volumes/*; do grep -q '\"{volume}\"' $folder/order.json && echo $folder/mnt; done");
    let output = room.exec(node, &["sh", "-c", &script])?.output();
    let output = output.map_err(|source| BenchError::System { action: "look for a volume", source })?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if found.is_empty() { Err(BenchError::Surprise(format!("volume {volume} is not mounted on its node"))) } else { Ok(found) }
}

fn cases(all: &[(Job, &str, Vec<Measured>)]) -> Vec<Case> {
    let of = |who: &str, job: Job| all.iter().find(|(one, name, _)| *name == who && one.name == job.name).map(|(_, _, found)| found);
    let mut cases = Vec::new();
    for (job, who, found) in all {
        let samples = |pick: fn(&Measured) -> f64| found.iter().map(pick).collect::<Vec<f64>>();
        cases.push(Case::counted(job.name, who, "/s", samples(|one| one.figures.rate.round())));
        cases.push(Case::counted(job.name, who, "us p99", samples(|one| one.figures.p99_us.round())));
        cases.push(Case::counted(job.name, who, "us of processors each", samples(|one| one.cpu_us.round())));
        // The same round's, one after the other: what disturbs the one is likely to disturb the other.
        if let Some(peer) = of(PEER, *job).filter(|_| *who != PEER) {
            let ratios = found.iter().zip(peer).map(|(ours, theirs)| (ours.figures.rate / theirs.figures.rate * 100.0).round() / 100.0);
            cases.push(Case::counted(job.name, who, "of the peer's rate", ratios.collect()));
        }
    }
    cases
}
