//! The course of it: each case asked of each proxy in turn, round by round, so that what disturbs one is likely to disturb the others.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::error::BenchError;
use super::super::leftovers::sweep_stale;
use super::super::report::{Case, OWN, RATIO, Report, machine};
use super::hop::{Hop, Measured};
use super::peers::{PUBLIC, Proxy, ProxyPeer, server_of};
use super::wire::Middle;
use super::work::{DirectorCase, How};

/// What to measure and how.
#[derive(Debug, Clone)]
pub struct DirectorOptions {
    /// What is asked; everything if it is empty.
    pub cases: Vec<DirectorCase>,
    /// How often each.
    pub runs: u32,
    /// How long each time.
    pub length: Duration,
    /// Who is measured beside it.
    pub against: Vec<ProxyPeer>,
    /// A director's rules for a service of layer 4 that is at one end and has one server at the other, as it loads them itself.
    pub rules: fn(public: SocketAddrV4, server: SocketAddrV4) -> String,
    /// The `pan` program.
    pub exe: PathBuf,
}

/// Measures. Blocks; ends soon after `stop` becomes true. Each step is told to `progress`.
///
/// # Errors
/// A program is not installed or does not come up, requests failed, or it was stopped.
pub fn director(options: &DirectorOptions, stop: &AtomicBool, progress: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let mut needed = vec![("/usr/bin/wrk", "wrk"), ProxyPeer::Nginx.program()];
    needed.extend(options.against.iter().map(|peer| peer.program()));
    let missing: Vec<&str> = needed.into_iter().filter(|(path, _)| !Path::new(path).exists()).map(|(_, package)| package).collect();
    if !missing.is_empty() {
        return Err(BenchError::Packages(missing.join(" ")));
    }
    sweep_stale(progress);
    let mut peers = options.against.clone();
    peers.sort_unstable();
    peers.dedup();
    let proxies: Vec<Proxy> = std::iter::once(Proxy::Own).chain(peers.into_iter().map(Proxy::Peer)).chain([Proxy::Routed]).collect();
    let rules = (options.rules)(SocketAddrV4::new(Middle::Rules.front(), PUBLIC), server_of(Middle::Rules));
    let mut hop = Hop::up(&options.exe, &rules, &proxies)?;
    let cases = if options.cases.is_empty() { DirectorCase::ALL.to_vec() } else { options.cases.clone() };
    let asked =
        |case: DirectorCase| proxies.iter().filter(move |proxy| proxy.takes_part(case.how)).map(move |proxy| (case, *proxy, Vec::new()));
    let mut all: Vec<Found> = cases.into_iter().flat_map(asked).collect();
    for round in 1..=options.runs {
        for (case, proxy, found) in &mut all {
            if stop.load(Ordering::Relaxed) {
                return Err(BenchError::Stopped);
            }
            let measured = hop.measure(*proxy, *case, options.length)?;
            let Measured { figures, cpu_us } = measured;
            let (who, runs) = (proxy.as_str(), options.runs);
            let worked = cpu_us.map(|us| format!(", {us:.1} us of processors each")).unwrap_or_default();
            progress(&format!("{} {who} {round}/{runs}: {:.0} /s, p99 {:.2} ms{worked}", case.name, figures.rate, figures.p99_ms));
            found.push(measured);
        }
    }
    Ok(Report { bench: "director".to_owned(), profile: "none".to_owned(), machine: machine(), cases: report(&all) })
}

/// A case, whom it was asked of, and what was found, round by round.
type Found = (DirectorCase, Proxy, Vec<Measured>);

/// The unit of how much of what plain forwarding does in the same time.
const OF_ROUTED: &str = "of the routed hop's rate";
/// What is promised: of the better of the others, of plain forwarding, and of HAProxy's TCP mode.
const LEAST: f64 = 1.0;
const LEAST_OF_ROUTED: f64 = 0.9;
const LEAST_OF_TCP: f64 = 1.3;

fn report(all: &[Found]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (case, proxy, found) in all {
        let samples = |pick: fn(&Measured) -> f64| found.iter().map(pick).collect::<Vec<f64>>();
        cases.push(Case::rates(case.name, proxy.as_str(), "/s", samples(|one| one.figures.rate.round())));
        cases.push(Case::counted(case.name, proxy.as_str(), "ms p99", samples(|one| hundredths(one.figures.p99_ms))));
        let worked: Vec<f64> = found.iter().filter_map(|one| one.cpu_us).map(hundredths).collect();
        if !worked.is_empty() {
            cases.push(Case::counted(case.name, proxy.as_str(), "us of processors each", worked));
        }
        if *proxy == Proxy::Own {
            let least = if case.how == How::Four { LEAST_OF_TCP } else { LEAST };
            cases.extend(beside(*case, found, all, (RATIO, least), |other| matches!(other, Proxy::Peer(_))));
            cases.extend(beside(*case, found, all, (OF_ROUTED, LEAST_OF_ROUTED), |other| other == Proxy::Routed));
        }
    }
    cases
}

/// What we do of what the best of some others does in the same round.
fn beside(case: DirectorCase, own: &[Measured], all: &[Found], (unit, least): (&str, f64), of: impl Fn(Proxy) -> bool) -> Option<Case> {
    let others: Vec<&Vec<Measured>> = all.iter().filter(|one| one.0 == case && of(one.1)).map(|one| &one.2).collect();
    if others.is_empty() {
        return None;
    }
    let best = |round: usize| others.iter().filter_map(|found| found.get(round)).map(|one| one.figures.rate).fold(0.0, f64::max);
    let ratios = own.iter().enumerate().map(|(round, one)| hundredths(one.figures.rate / best(round))).collect();
    Some(Case { least: Some(least), ..Case::rates(case.name, OWN, unit, ratios) })
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
