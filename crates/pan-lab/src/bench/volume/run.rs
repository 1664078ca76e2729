//! The course of it: a laboratory with two storage hosts, one volume with one copy and one with two; each kind of work on each in
//! turn, round by round.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pan_api::volume::{Volume, VolumeState};

use super::super::control::Pan;
use super::super::demo::{DATA, READY_MAX};
use super::super::error::BenchError;
use super::super::report::{Case, RATIO, Report, machine};
use super::chain::{Chain, MOUNTED};
use super::fio::{self, Measured, Place, VOLUME};
use super::jobs::{JOBS, Job};
use crate::name::LabHost;
use crate::room::{Afterwards, Room, RoomSpec};

const ONE: &str = "1 copy";
const TWO: &str = "2 copies";
const ONE_CLEAR: &str = "1 copy, no TLS";
const TWO_CLEAR: &str = "2 copies, no TLS";
const PEER: &str = "nbdkit + qemu";

/// What to measure and how.
#[derive(Debug, Clone)]
pub struct VolumeOptions {
    /// How often each.
    pub runs: u32,
    /// With how many copies; all that there are if it is empty.
    pub copies: Vec<u8>,
    /// How long each time.
    pub length: Duration,
    /// Whether the same is measured without TLS between node and storage hosts.
    pub without_tls: bool,
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
    pan.wait("two storage hosts", READY_MAX, || pan.apply("volumes", &manifest(options)).map(drop).map_err(|error| error.to_string()))?;
    pan.wait("the volumes", READY_MAX, || attached(&pan, kinds(options).count()))?;
    let storage = [room.host("s1")?, room.host("s2")?];
    let mut places = Vec::new();
    for Kind { cluster, who, node, .. } in kinds(options) {
        let node = room.host(node)?;
        let folder = mounted(&room, node, &format!("{cluster}-1.data"))?;
        // Which one has the only copy is the PAN's to say; the other does next to nothing then.
        places.push(Place { who, host: node, folder, hosts: [&[node], &storage[..]].concat() });
    }
    let peer = if options.against { Some(Chain::up(&room, storage[0])?) } else { None };
    places.extend(peer.as_ref().map(|_| Place { who: PEER, host: storage[0], folder: MOUNTED.to_owned(), hosts: vec![storage[0]] }));
    let mut all: Vec<(Job, &Place, Vec<Measured>)> =
        JOBS.iter().flat_map(|job| places.iter().map(|place| (*job, place, Vec::new()))).collect();
    for round in 1..=options.runs {
        for (job, place, found) in &mut all {
            pan.check_stop()?;
            let measured = fio::run(&room, place, *job, options.length)?;
            let (figures, who) = (measured.figures, place.who);
            progress(&format!("{} {who} {round}/{}: {:.0} /s, p99 {:.0} us", job.name, options.runs, figures.rate, figures.p99_us));
            found.push(measured);
        }
    }
    Ok(Report { bench: "volume".to_owned(), profile: options.profile.clone(), machine: machine(), cases: cases(&all) })
}

fn spec(options: &VolumeOptions) -> RoomSpec {
    RoomSpec {
        prefix: "bench",
        data: DATA,
        nodes: if options.without_tls { 2 } else { 1 },
        storage: 2,
        directors: 1,
        controllers: 1,
        profile: options.profile.clone(),
        // Each node has its own kind of volumes.
        labels: nodes(options).map(|node| (node.to_owned(), [("lines".to_owned(), node.to_owned())].into())).collect(),
        in_the_clear: if options.without_tls { [CLEAR, "s1", "s2"].map(str::to_owned).into() } else { BTreeSet::new() },
        gate: None,
        exe: options.exe.clone(),
        afterwards: if options.keep { Afterwards::Keep } else { Afterwards::Remove },
    }
}

/// A volume that is measured.
#[derive(Debug, Clone, Copy)]
struct Kind {
    copies: u8,
    cluster: &'static str,
    who: &'static str,
    node: &'static str,
}

/// The node whose volumes go over TLS, and the one whose volumes do not.
const TLS: &str = "n1";
const CLEAR: &str = "n2";
const KINDS: [Kind; 4] = [
    Kind { copies: 1, cluster: "one", who: ONE, node: TLS },
    Kind { copies: 2, cluster: "two", who: TWO, node: TLS },
    Kind { copies: 1, cluster: "one-clear", who: ONE_CLEAR, node: CLEAR },
    Kind { copies: 2, cluster: "two-clear", who: TWO_CLEAR, node: CLEAR },
];

fn nodes(options: &VolumeOptions) -> impl Iterator<Item = &'static str> {
    std::iter::once(TLS).chain(options.without_tls.then_some(CLEAR))
}

fn kinds(options: &VolumeOptions) -> impl Iterator<Item = Kind> {
    let asked = |kind: &Kind| options.copies.is_empty() || options.copies.contains(&kind.copies);
    KINDS.into_iter().filter(move |kind| asked(kind) && (kind.node == TLS || options.without_tls))
}

fn manifest(options: &VolumeOptions) -> String {
    let cluster = |Kind { copies, cluster, node, .. }: Kind| {
        format!(
            "---\napi: pan/v1\nkind: Cluster\npartition: bench\nname: {cluster}\nspec:\n  servers: 1\n  image: host\n  command: [sleep, inf]\n  \
             labels: {{lines: {node}}}\n  volumes: [{{name: data, size: {VOLUME}, mount: /srv, copies: {copies}}}]\n"
        )
    };
    let partition = "api: pan/v1\nkind: Partition\nname: bench\nspec: {network: 10.0.0.0/24, hostImage: allow}\n".to_owned();
    std::iter::once(partition).chain(kinds(options).map(cluster)).collect()
}

fn attached(pan: &Pan<'_>, wanted: usize) -> Result<(), String> {
    let all: Vec<Volume> = pan.look("/v1/volumes").map_err(|error| error.message)?;
    let ready = |volume: &&Volume| volume.state == VolumeState::Ready && volume.attached_to.is_some();
    let count = all.iter().filter(ready).count();
    if count == wanted { Ok(()) } else { Err(format!("{count} of {wanted} volumes are attached")) }
}

/// Where a volume is mounted on its node.
fn mounted(room: &Room, node: LabHost, volume: &str) -> Result<String, BenchError> {
    let script = format!("for folder in /run/pan/volumes/*; do grep -q '\"{volume}\"' $folder/order.json && echo $folder/mnt; done");
    let output = room.exec(node, &["sh", "-c", &script])?.output();
    let output = output.map_err(|source| BenchError::System { action: "look for a volume", source })?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if found.is_empty() { Err(BenchError::Surprise(format!("volume {volume} is not mounted on its node"))) } else { Ok(found) }
}

fn cases(all: &[(Job, &Place, Vec<Measured>)]) -> Vec<Case> {
    let of = |who: &str, job: Job| all.iter().find(|(one, place, _)| place.who == who && one.name == job.name).map(|(_, _, found)| found);
    let mut cases = Vec::new();
    for (job, place, found) in all {
        let samples = |pick: fn(&Measured) -> f64| found.iter().map(pick).collect::<Vec<f64>>();
        let counted = |unit, samples| Case::counted(job.name, place.who, unit, samples);
        cases.push(Case::rates(job.name, place.who, "/s", samples(|one| one.figures.rate.round())));
        cases.push(counted("us p50", samples(|one| one.figures.p50_us.round())));
        cases.push(counted("us p99", samples(|one| one.figures.p99_us.round())));
        cases.push(counted("us of processors each", samples(|one| one.cpu_us.round())));
        // The same round's, one after the other: what disturbs the one is likely to disturb the other.
        if let Some(peer) = of(PEER, *job).filter(|_| place.who != PEER) {
            let ratios = found.iter().zip(peer).map(|(ours, theirs)| (ours.figures.rate / theirs.figures.rate * 100.0).round() / 100.0);
            cases.push(Case { least: least(place.who), ..Case::rates(job.name, place.who, RATIO, ratios.collect()) });
        }
    }
    cases
}

/// What is promised beside the peer, which has one copy and no network: as much with one; a second one costs a second flush. Nothing is
/// without TLS, which no PAN has.
fn least(who: &str) -> Option<f64> {
    match who {
        ONE => Some(1.0),
        TWO => Some(0.6),
        _ => None,
    }
}
