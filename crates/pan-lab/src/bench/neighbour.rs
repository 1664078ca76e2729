//! `pan bench neighbour`: what a partition notices of one beside it that does all it may to use the machine up.
//!
//! Partition `quiet` answers requests through a service of layer 4. Partition `loud`, which may have half a processor, runs on the same node,
//! as root of its server, a program that forks without end, one that takes memory without end, or one that sends small datagrams without end: to
//! a server of its own on another node, and to its gateway, which is on the director that serves `quiet` as well. In each round the requests are
//! measured alone first, and then beside each of them.

mod scene;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pan_api::requests::Scale;
use pan_api::server::Server;
use pan_api::service::{Service, ServiceState};
use pan_linux::realtime::since_boot;
use pan_model::server::ServerState;

use super::control::Pan;
use super::cut::{STEADY, micros};
use super::demo::{DATA, READY_MAX};
use super::error::BenchError;
use super::probing::{Client, Probing};
use super::report::{Bound, Case, OWN, Report, TIMES, machine};
use crate::prober::{Outcome, Sample};
use crate::room::{Afterwards, Room, RoomSpec};
use scene::{Noise, SCENE, SINK};

/// What is promised in each round: of the p99 beside somebody to that alone.
const TIMES_MAX: Bound = Bound { p50: 1.5, worst: 1.5 };
/// Before requests count: a program that was just started has not forked yet, and one that was just ended is still being cleared away.
const LEAD: Duration = Duration::from_secs(2);
/// A prober's last requests are still under way when it has begun them all.
const EXTRA: Duration = Duration::from_secs(3);

/// What to measure and how.
#[derive(Debug, Clone)]
pub struct NeighbourOptions {
    /// Rounds.
    pub runs: u32,
    /// How long requests are made alone, and beside each program, in each round.
    pub length: Duration,
    /// Timing profile: `lan`, `shared` or `wan`.
    pub profile: String,
    /// Whether the laboratory is left running.
    pub keep: bool,
    /// The `pan` program.
    pub exe: PathBuf,
}

/// What requests met.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Measured {
    requests: usize,
    failed: usize,
    p50_us: u64,
    p99_us: u64,
    worst_us: u64,
    /// The most that one was made later than it was due.
    late_us: u64,
}

/// Measures. Blocks; ends soon after `stop` becomes true. Each step is told to `progress`.
///
/// # Errors
/// The laboratory or its servers did not come up, or it was stopped.
pub fn neighbour(options: &NeighbourOptions, stop: &AtomicBool, progress: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let room = Room::up(spec(options), progress)?;
    let pan = Pan::new(&room.credentials()?, stop)?;
    pan.wait_for_api(READY_MAX)?;
    pan.wait("two nodes", READY_MAX, || pan.apply("neighbours", SCENE).map(drop).map_err(|error| error.to_string()))?;
    let target = pan.wait("the service", READY_MAX, || served(&pan))?;
    let sink = pan.wait("the server that is sent to", READY_MAX, || running(&pan, "sink", 1))?;
    let sink = sink.into_iter().next().ok_or_else(|| BenchError::Surprise("a server has no address".to_owned()))?;
    pan.apply("neighbours", &SCENE.replace(SINK, &sink.to_string()))?;
    let mut found: Vec<(Option<Noise>, Vec<Measured>)> =
        std::iter::once(None).chain(Noise::ALL.map(Some)).map(|noise| (noise, Vec::new())).collect();
    for round in 1..=options.runs {
        for (noise, all) in &mut found {
            let measured = beside(&room, &pan, target, *noise, options.length)?;
            let Measured { requests, failed, p50_us, p99_us, worst_us, late_us } = measured;
            progress(&format!(
                "{} {round}/{}: p50 {p50_us} us, p99 {p99_us} us, worst {worst_us} us, {failed} of {requests} failed, late by {late_us} us at most",
                name_of(*noise),
                options.runs
            ));
            all.push(measured);
        }
    }
    Ok(Report { bench: "neighbour".to_owned(), profile: options.profile.clone(), machine: machine(), cases: cases(&found) })
}

fn spec(options: &NeighbourOptions) -> RoomSpec {
    RoomSpec {
        prefix: "bench",
        data: DATA,
        nodes: 2,
        storage: 0,
        directors: 1,
        controllers: 1,
        profile: options.profile.clone(),
        // The quiet one and the loud one share n1.
        labels: ["n1", "n2"].map(|node| (node.to_owned(), [("house".to_owned(), node.to_owned())].into())).into(),
        in_the_clear: std::collections::BTreeSet::new(),
        gate: None,
        exe: options.exe.clone(),
        afterwards: if options.keep { Afterwards::Keep } else { Afterwards::Remove },
    }
}

fn served(pan: &Pan<'_>) -> Result<SocketAddr, String> {
    let service: Service = pan.look("/v1/partitions/quiet/services/www").map_err(|error| error.message)?;
    match service.state {
        ServiceState::Ready => Ok(SocketAddr::new(service.address, service.port)),
        other => Err(format!("it is {other:?}")),
    }
}

/// The addresses of a cluster's servers, if it has so many and all of them run.
fn running(pan: &Pan<'_>, cluster: &str, wanted: usize) -> Result<Vec<IpAddr>, String> {
    let all: Vec<Server> = pan.look("/v1/partitions/loud/servers").map_err(|error| error.message)?;
    let its: Vec<&Server> = all.iter().filter(|server| server.cluster.as_str() == cluster).collect();
    if its.len() == wanted && its.iter().all(|server| server.state == ServerState::Running) {
        return Ok(its.iter().map(|server| server.address).collect());
    }
    Err(format!("its servers are {:?}", its.iter().map(|server| server.state).collect::<Vec<_>>()))
}

/// Requests beside a program, which is there for as long as they are made.
fn beside(room: &Room, pan: &Pan<'_>, target: SocketAddr, noise: Option<Noise>, length: Duration) -> Result<Measured, BenchError> {
    let scale = |servers| match noise {
        Some(noise) => {
            pan.post(&format!("/v1/partitions/loud/clusters/{}/scale", noise.as_str()), &Scale { servers })?;
            let wanted = usize::try_from(servers).expect("one or none");
            pan.wait(noise.as_str(), READY_MAX, || running(pan, noise.as_str(), wanted)).map(drop)
        }
        None => Ok(()),
    };
    scale(1)?;
    let measured = measure(room, pan, target, length);
    scale(0)?;
    measured
}

fn measure(room: &Room, pan: &Pan<'_>, target: SocketAddr, length: Duration) -> Result<Measured, BenchError> {
    let mut probing = Probing::start(&Client::apart(room), target, LEAD + length + STEADY + EXTRA)?;
    pan.pause(LEAD, || probing.seen().map(drop))?;
    let from = micros(since_boot());
    pan.pause(length, || probing.seen().map(drop))?;
    let to = micros(since_boot());
    // Those that were begun by then have a second each.
    pan.pause(STEADY, || probing.seen().map(drop))?;
    let samples: Vec<Sample> = probing.seen()?.since(from).into_iter().filter(|sample| sample.boot_us < to).collect();
    figures(&samples).ok_or_else(|| BenchError::Surprise("no request was made".to_owned()))
}

/// One that failed took as long as it took, and counts among the others.
fn figures(samples: &[Sample]) -> Option<Measured> {
    let mut all: Vec<u64> = samples.iter().map(|sample| sample.latency_us).collect();
    all.sort_unstable();
    let rank = |percent: usize| all.get((all.len() * percent).div_ceil(100).checked_sub(1)?).copied();
    Some(Measured {
        requests: all.len(),
        failed: samples.iter().filter(|sample| sample.outcome != Outcome::Ok).count(),
        p50_us: rank(50)?,
        p99_us: rank(99)?,
        worst_us: rank(100)?,
        late_us: samples.iter().map(|sample| sample.late_us).max().unwrap_or(0),
    })
}

fn name_of(noise: Option<Noise>) -> &'static str {
    noise.map_or("alone", Noise::as_str)
}

fn cases(found: &[(Option<Noise>, Vec<Measured>)]) -> Vec<Case> {
    let mut cases = Vec::new();
    let alone = found.iter().find(|(noise, _)| noise.is_none()).map_or(&[][..], |(_, all)| all);
    for (noise, all) in found {
        let name = name_of(*noise);
        // Far below 2^53.
        let samples = |pick: fn(&Measured) -> u64| all.iter().map(|one| pick(one) as f64).collect::<Vec<f64>>();
        cases.push(Case::counted(name, OWN, "us p50", samples(|one| one.p50_us)));
        cases.push(Case::counted(name, OWN, "us p99", samples(|one| one.p99_us)));
        cases.push(Case::counted(name, OWN, "us worst", samples(|one| one.worst_us)));
        cases.push(Case::counted(name, OWN, "failed requests", samples(|one| one.failed as u64)));
        if noise.is_some() {
            let times =
                all.iter().zip(alone).map(|(beside, alone)| (beside.p99_us as f64 / alone.p99_us.max(1) as f64 * 100.0).round() / 100.0);
            cases.push(Case { bound: Some(TIMES_MAX), ..Case::counted(name, OWN, TIMES, times.collect()) });
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prober::sample_of as sample;

    #[test]
    fn a_failure_counts_with_the_time_it_took() {
        let mut samples: Vec<Sample> = (1..=99).map(|at| sample(at, Outcome::Ok, at * 10)).collect();
        samples.push(sample(100, Outcome::Timeout, 1_000_000));
        let found = figures(&samples).unwrap();
        assert_eq!((found.requests, found.failed, found.p50_us, found.p99_us, found.worst_us), (100, 1, 500, 990, 1_000_000));
        assert_eq!(figures(&[]), None);
    }

    #[test]
    fn each_round_is_compared_with_its_own_beginning() {
        let one = |p99_us| Measured { requests: 1, failed: 0, p50_us: 1, p99_us, worst_us: p99_us, late_us: 0 };
        let found = vec![(None, vec![one(100), one(200), one(100)]), (Some(Noise::ForkBomb), vec![one(140), one(220), one(900)])];
        let cases = cases(&found);
        let times = cases.iter().find(|case| case.unit == TIMES).unwrap();
        assert_eq!((times.samples.as_slice(), times.p50, times.worst), (&[1.4, 1.1, 9.0][..], Some(1.4), Some(9.0)));
        let report = |cases| Report { bench: "neighbour".into(), profile: "lan".into(), machine: machine(), cases };
        assert_eq!(report(cases).problems(), ["fork-bomb: worst 9.0 times the p99 alone is above 1.5"]);
        let found = vec![(None, vec![one(100)]), (Some(Noise::PacketStorm), vec![one(150)])];
        let kept = report(super::cases(&found));
        assert!(kept.problems().is_empty() && kept.is_whole());
        assert_eq!(kept.rows().last().unwrap()[4], "1.50");
    }
}
