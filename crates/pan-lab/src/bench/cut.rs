//! Cuts: a node loses its power under a prober; the gap is what users see of it.

use std::time::Duration;

use jiff::Timestamp;
use pan_api::insight::Timeline;
use pan_api::server::Server;
use pan_linux::realtime::since_boot;
use pan_model::server::ServerState;

use super::demo::{Demo, SERVERS, ready};
use super::error::BenchError;
use super::leader::Leader;
use super::probing::Probing;
use super::report::RunDetail;
use super::stretches::stretches;
use crate::name::LabHost;
use crate::prober::{Outcome, Sample, gap};

/// After the cut; a service that takes longer has not recovered.
pub(super) const RECOVERY_MAX: Duration = Duration::from_secs(15);
/// So long must everybody be served for it to count as steady, or as recovered.
pub(super) const STEADY: Duration = Duration::from_secs(1);
/// A prober's life: until it is steady, all of the above, and the timeout of its last probe.
const PROBING_MAX: Duration = Duration::from_secs(45);

/// From the cut until the volume of the server was mounted elsewhere, in milliseconds.
pub(super) const MOUNTED: &str = "ms until mounted";

/// When something was cut.
pub(super) struct CutTime {
    /// The boot clock just before, in microseconds.
    pub(super) boot_us: u64,
    pub(super) wall: Timestamp,
    pub(super) took: Duration,
}

impl CutTime {
    /// Cuts. What cutting takes counts as gap rather than being left out.
    pub(super) fn of(cut: impl FnOnce() -> Result<(), BenchError>) -> Result<Self, BenchError> {
        let (boot, wall) = (since_boot(), Timestamp::now());
        cut()?;
        Ok(Self { boot_us: micros(boot), wall, took: since_boot() - boot })
    }
}

/// One run: cuts the node of a server, and whoever leads if so wanted, waits for the recovery, puts them back.
pub(super) fn run(demo: &mut Demo<'_>, servers: u32, beside: Option<Leader>) -> Result<RunDetail, BenchError> {
    let (server, node) = demo.victim()?;
    let mut probing = demo.probe(PROBING_MAX)?;
    // The leader first: what follows from the node's death is to find nobody who decides.
    let mut hosts: Vec<LabHost> = beside.map(|of| demo.leader(of)).transpose()?.into_iter().collect();
    hosts.push(demo.host(&node)?);
    let cut = CutTime::of(|| Ok(hosts.iter().try_for_each(|host| demo.room.kill(*host))?))?;
    let recovered = match recover(demo, &mut probing, &server, &cut, servers) {
        Ok(now) => Some(now),
        Err(BenchError::TimedOut { .. }) => None,
        Err(error) => return Err(error),
    };
    let samples = probing.seen()?.since(cut.boot_us);
    drop(probing);
    let to = recovered.and_then(|server| server.node);
    let names: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let victim = Victim { server: server.name.as_str(), node: &names.join(" "), to };
    let detail = detail(victim, &cut, &samples, timeline(demo, &server));
    hosts.iter().try_for_each(|host| demo.room.start(*host))?;
    demo.settle(&node, servers)?;
    Ok(detail)
}

/// The same for a server with a volume: also when that was there.
pub(super) fn run_with_volume(demo: &mut Demo<'_>) -> Result<RunDetail, BenchError> {
    let mut detail = run(demo, 1, None)?;
    let cut: Option<Timestamp> = detail.cut_at.parse().ok();
    let mounted = detail.timeline.as_ref().and_then(|timeline| timeline.steps.iter().find(|step| step.step == "mounted"));
    // One clock for all hosts of a laboratory.
    let since = cut.zip(mounted.and_then(|step| step.at.parse::<Timestamp>().ok())).map(|(cut, at)| at.duration_since(cut).as_millis());
    if let Some(millis) = since.and_then(|millis| u64::try_from(millis).ok()) {
        detail.counts.insert(MOUNTED.to_owned(), millis);
    }
    Ok(detail)
}

/// Waits until the server runs elsewhere, the service is whole, and everybody is served since. Returns
/// the server as it is then.
fn recover(demo: &Demo<'_>, probing: &mut Probing, before: &Server, cut: &CutTime, servers: u32) -> Result<Server, BenchError> {
    let path = format!("{SERVERS}/{}", before.name);
    let server = demo.pan.wait("the failover", RECOVERY_MAX, || {
        let now: Server = demo.pan.look(&path).map_err(|error| error.message)?;
        if now.epoch <= before.epoch || now.state != ServerState::Running {
            return Err(format!("server {} is {} at epoch {}", now.name, now.state, now.epoch));
        }
        ready(&demo.pan, servers)?;
        Ok(now)
    })?;
    let settled_us = micros(since_boot());
    let spent = Duration::from_micros(settled_us - cut.boot_us);
    demo.wait_served(probing, settled_us, RECOVERY_MAX.saturating_sub(spent))?;
    Ok(server)
}

/// What the PAN says of the failover: of the timelines that lead to a newer epoch, the oldest; a node
/// that was busy with the cut may have been suspected after it.
fn timeline(demo: &Demo<'_>, before: &Server) -> Option<Timeline> {
    let path = format!("/v1/timelines/{}?partition=demo", before.name);
    let newest_first: Vec<Timeline> = demo.pan.look(&path).unwrap_or_default();
    newest_first.into_iter().rev().find(|timeline| timeline.epoch.is_some_and(|epoch| epoch > before.epoch))
}

/// Who was cut, and who took over.
pub(super) struct Victim<'a> {
    /// The server, or the address.
    pub(super) server: &'a str,
    /// Where it was.
    pub(super) node: &'a str,
    /// Where it went; none without a recovery.
    pub(super) to: Option<String>,
}

/// A run by the samples since the cut.
pub(super) fn detail(victim: Victim<'_>, cut: &CutTime, samples: &[Sample], timeline: Option<Timeline>) -> RunDetail {
    let number = |wanted: fn(&&Sample) -> bool| samples.iter().filter(wanted).count() as u64;
    RunDetail {
        node: victim.node.to_owned(),
        server: victim.server.to_owned(),
        cut_at: format!("{:.6}", cut.wall),
        cut_ms: millis(cut.took),
        gap_ms: victim.to.is_some().then(|| millis(gap(samples, cut.boot_us))),
        to: victim.to,
        counts: std::collections::BTreeMap::new(),
        probes: samples.len() as u64,
        lost: number(|sample| sample.outcome != Outcome::Ok),
        stretches: stretches(samples, cut.boot_us),
        slow: number(|sample| sample.outcome == Outcome::Ok && !sample.is_good()),
        late_max_ms: millis(Duration::from_micros(samples.iter().map(|sample| sample.late_us).max().unwrap_or(0))),
        timeline,
        timelines: Vec::new(),
    }
}

pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// With a tenth's precision: more would be noise.
fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prober::sample_of;

    #[test]
    fn a_run_is_described_by_its_samples() {
        let cut = CutTime { boot_us: 1_000_000, wall: Timestamp::UNIX_EPOCH, took: Duration::from_micros(2_345) };
        let samples = [
            sample_of(1_005_000, Outcome::Timeout, 1_000_000),
            sample_of(1_410_000, Outcome::Ok, 300_000),
            sample_of(1_415_000, Outcome::Ok, 900),
        ];
        let victim = |to| Victim { server: "web-1", node: "n1", to };
        let run = detail(victim(Some("n2".into())), &cut, &samples, None);
        assert_eq!((run.gap_ms, run.probes, run.lost, run.slow, run.cut_ms), (Some(410.0), 3, 1, 1, 2.3));
        assert_eq!(run.cut_at, "1970-01-01T00:00:00.000000Z");
        assert_eq!(detail(victim(None), &cut, &samples, None).gap_ms, None);
    }
}
