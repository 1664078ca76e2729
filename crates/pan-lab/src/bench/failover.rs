//! `pan bench failover`: how long a public address fails some of its users when a node loses its power.
//!
//! The demo is applied as users get it. Each run cuts the node of one of its servers under an open-loop
//! prober, waits until everybody is served again, and puts the node back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use pan_api::cluster::{Cluster, ClusterState};
use pan_api::insight::Timeline;
use pan_api::node::Node;
use pan_api::requests::Scale;
use pan_api::server::Server;
use pan_api::service::{Service, ServiceState};
use pan_linux::realtime::since_boot;
use pan_model::ServerName;
use pan_model::host::Link;
use pan_model::node::NodeState;
use pan_model::server::ServerState;
use pan_model::service::BackendState;

use super::control::Pan;
use super::error::BenchError;
use super::probing::Probing;
use super::report::{Case, Report, RunDetail, machine};
use super::room::{Afterwards, NODES, Room};
use crate::name::LabHost;
use crate::prober::{Outcome, Sample, gap};

/// What is measured is what users are shown first.
const DEMO: &str = include_str!("../../../../examples/demo.yaml");
const CLUSTER: &str = "/v1/partitions/demo/clusters/web";
const SERVICE: &str = "/v1/partitions/demo/services/www";
const SERVERS: &str = "/v1/partitions/demo/servers";

/// A laboratory that just came up, on a machine that is busy with it.
const READY_MAX: Duration = Duration::from_secs(60);
/// After the cut; a service that takes longer has not recovered.
const RECOVERY_MAX: Duration = Duration::from_secs(15);
/// Before the cut, until everything is served.
const STEADY_MAX: Duration = Duration::from_secs(20);
/// So long must everybody be served for it to count as steady, or as recovered.
const STEADY: Duration = Duration::from_secs(1);
/// A prober's life: all of the above, and the timeout of its last probe.
const PROBING_MAX: Duration = Duration::from_secs(45);

/// What is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailoverCase {
    /// The node of one of three servers of a service.
    NodeCutMany,
    /// The node of a service's only server.
    NodeCutSingle,
}

impl FailoverCase {
    /// All cases, in the order in which they are run.
    pub const ALL: [Self; 2] = [Self::NodeCutMany, Self::NodeCutSingle];

    /// Its name in reports and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeCutMany => "node-cut-many",
            Self::NodeCutSingle => "node-cut-single",
        }
    }

    const fn servers(self) -> u32 {
        match self {
            Self::NodeCutMany => 3,
            Self::NodeCutSingle => 1,
        }
    }
}

impl std::str::FromStr for FailoverCase {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|case| case.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is no case of this benchmark: expected {}", Self::ALL.map(Self::as_str).join(" or ")))
    }
}

/// What to measure and how.
#[derive(Debug, Clone)]
pub struct FailoverOptions {
    /// Which cases.
    pub cases: Vec<FailoverCase>,
    /// Runs of each.
    pub runs: u32,
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
/// A case could not be run; its laboratory is gone all the same.
pub fn failover(options: &FailoverOptions, stop: &AtomicBool, progress: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let afterwards = if options.keep { Afterwards::Keep } else { Afterwards::Remove };
    let room = Room::up(&options.profile, options.exe.clone(), afterwards, progress)?;
    let pan = Pan::new(&room.credentials()?, stop)?;
    progress("waiting for the PAN");
    pan.wait_for_api(READY_MAX)?;
    pan.wait("every node being alive", READY_MAX, || nodes_alive(&pan))?;
    pan.apply("examples/demo.yaml", DEMO)?;
    let mut bench = Failover { room, pan, cut_last: BTreeMap::new(), cuts: 0 };
    let mut cases = Vec::new();
    for case in &options.cases {
        bench.prepare(*case)?;
        let mut details = Vec::new();
        for number in 1..=options.runs {
            let detail = bench.run(*case)?;
            progress(&format!("{} {number}/{}: {}", case.as_str(), options.runs, describe(&detail)));
            details.push(detail);
        }
        cases.push(Case::of(case.as_str(), "panloom", details));
    }
    Ok(Report { bench: "failover".to_owned(), profile: options.profile.clone(), machine: machine(), cases })
}

fn describe(run: &RunDetail) -> String {
    let went = run.to.as_ref().map_or_else(|| "nowhere".to_owned(), |node| format!("to {node}"));
    let gap = run.gap_ms.map_or_else(|| format!("no recovery within {} s", RECOVERY_MAX.as_secs()), |gap| format!("gap {gap:.0} ms"));
    format!("{} cut, {} went {went}, {gap}, {} of {} probes lost", run.node, run.server, run.lost, run.probes)
}

/// A laboratory with the demo in it.
struct Failover<'a> {
    room: Room,
    pan: Pan<'a>,
    /// The number of the last cut of each node, so that they take turns.
    cut_last: BTreeMap<String, u32>,
    cuts: u32,
}

/// When power was cut.
struct CutTime {
    /// The boot clock just before, in microseconds.
    boot_us: u64,
    wall: Timestamp,
    took: Duration,
}

impl Failover<'_> {
    /// Gives the demo the number of servers that a case needs.
    fn prepare(&self, case: FailoverCase) -> Result<(), BenchError> {
        let servers = case.servers();
        self.pan.post(&format!("{CLUSTER}/scale"), &Scale { servers })?;
        self.pan.wait("the demo being ready", READY_MAX, || ready(&self.pan, servers))
    }

    fn run(&mut self, case: FailoverCase) -> Result<RunDetail, BenchError> {
        let (server, node) = self.victim()?;
        let target = self.target()?;
        let mut probing = Probing::start(&self.room, target, PROBING_MAX)?;
        let steady_from = micros(since_boot());
        self.wait_served(&mut probing, steady_from, STEADY_MAX)?;
        let cut = self.cut(&node)?;
        let recovered = self.recover(&mut probing, &server, &cut, case.servers());
        let recovered = match recovered {
            Ok(now) => Some(now),
            Err(BenchError::TimedOut { .. }) => None,
            Err(error) => return Err(error),
        };
        let samples: Vec<Sample> = probing.seen()?.samples().iter().filter(|sample| sample.boot_us >= cut.boot_us).cloned().collect();
        drop(probing);
        let to = recovered.and_then(|server| server.node);
        let detail = detail(&server.name, &node, to, &cut, &samples, self.timeline(&server));
        self.restore(&node, case)?;
        Ok(detail)
    }

    /// The server on the node that was cut least recently.
    fn victim(&self) -> Result<(Server, String), BenchError> {
        let servers: Vec<Server> = self.pan.get(SERVERS)?;
        let placed = servers.into_iter().filter_map(|server| {
            let node = server.node.clone()?;
            Some((server, node))
        });
        let next = placed.min_by_key(|(_, node)| self.cut_last.get(node).copied().unwrap_or(0));
        next.ok_or_else(|| BenchError::Surprise("no server of the demo has a node".to_owned()))
    }

    fn target(&self) -> Result<SocketAddr, BenchError> {
        let service: Service = self.pan.get(SERVICE)?;
        Ok(SocketAddr::new(service.address, service.port))
    }

    fn wait_served(&self, probing: &mut Probing, from_us: u64, limit: Duration) -> Result<(), BenchError> {
        let mut broken = None;
        let waited = self.pan.wait("every probe being answered for a second", limit, || match probing.seen() {
            Ok(seen) if seen.is_served(from_us, STEADY) => Ok(()),
            Ok(seen) => Err(last_bad(seen.samples())),
            Err(error) => {
                broken = Some(error);
                Ok(())
            }
        });
        broken.map_or(waited, Err)
    }

    fn cut(&mut self, node: &str) -> Result<CutTime, BenchError> {
        let host: LabHost = self.room.host(node)?;
        self.cuts += 1;
        self.cut_last.insert(node.to_owned(), self.cuts);
        // Before the cut, not after: what cutting takes counts as gap rather than being left out.
        let (boot, wall) = (since_boot(), Timestamp::now());
        self.room.kill(host)?;
        Ok(CutTime { boot_us: micros(boot), wall, took: since_boot() - boot })
    }

    /// Waits until the server runs elsewhere, the service is whole, and everybody is served since. Returns
    /// the server as it is then.
    fn recover(&self, probing: &mut Probing, before: &Server, cut: &CutTime, servers: u32) -> Result<Server, BenchError> {
        let path = format!("{SERVERS}/{}", before.name);
        let server = self.pan.wait("the failover", RECOVERY_MAX, || {
            let now: Server = self.pan.look(&path).map_err(|error| error.message)?;
            if now.epoch <= before.epoch || now.state != ServerState::Running {
                return Err(format!("server {} is {} at epoch {}", now.name, now.state, now.epoch));
            }
            ready(&self.pan, servers)?;
            Ok(now)
        })?;
        let settled_us = micros(since_boot());
        let spent = Duration::from_micros(settled_us - cut.boot_us);
        self.wait_served(probing, settled_us, RECOVERY_MAX.saturating_sub(spent))?;
        Ok(server)
    }

    /// What the PAN says of the failover: of the timelines that lead to a newer epoch, the oldest; a node
    /// that was busy with the cut may have been suspected after it.
    fn timeline(&self, before: &Server) -> Option<Timeline> {
        let path = format!("/v1/timelines/{}?partition=demo", before.name);
        let newest_first: Vec<Timeline> = self.pan.look(&path).unwrap_or_default();
        newest_first.into_iter().rev().find(|timeline| timeline.epoch.is_some_and(|epoch| epoch > before.epoch))
    }

    /// Puts the node back, and waits until all is as it was before. Deaths that a benchmark brings about
    /// do not count against the node.
    fn restore(&self, node: &str, case: FailoverCase) -> Result<(), BenchError> {
        self.room.start(self.room.host(node)?)?;
        self.pan.wait(&format!("node {node} coming back"), READY_MAX, || heard(&self.pan, node))?;
        self.pan.post(&format!("/v1/nodes/{node}/clear"), &())?;
        self.pan.wait("every node being alive", READY_MAX, || nodes_alive(&self.pan))?;
        self.pan.wait("the demo being ready", READY_MAX, || ready(&self.pan, case.servers()))
    }
}

fn detail(server: &ServerName, node: &str, to: Option<String>, cut: &CutTime, samples: &[Sample], timeline: Option<Timeline>) -> RunDetail {
    let number = |wanted: fn(&&Sample) -> bool| samples.iter().filter(wanted).count() as u64;
    RunDetail {
        node: node.to_owned(),
        server: server.to_string(),
        cut_at: format!("{:.6}", cut.wall),
        cut_ms: millis(cut.took),
        gap_ms: to.is_some().then(|| millis(gap(samples, cut.boot_us))),
        to,
        probes: samples.len() as u64,
        lost: number(|sample| sample.outcome != Outcome::Ok),
        slow: number(|sample| sample.outcome == Outcome::Ok && !sample.is_good()),
        late_max_ms: millis(Duration::from_micros(samples.iter().map(|sample| sample.late_us).max().unwrap_or(0))),
        timeline,
    }
}

fn last_bad(samples: &[Sample]) -> String {
    let bad = samples.iter().rev().find(|sample| !sample.is_good());
    match bad {
        Some(bad) => format!("a probe ended {:?} after {} ms ({} ended so far)", bad.outcome, bad.latency_us / 1000, samples.len()),
        None => format!("{} probes ended, all of them well", samples.len()),
    }
}

fn heard(pan: &Pan<'_>, name: &str) -> Result<(), String> {
    let node: Node = pan.look(&format!("/v1/nodes/{name}")).map_err(|error| error.message)?;
    match node.state {
        NodeState::Alive | NodeState::Cordoned | NodeState::Draining | NodeState::Quarantined => Ok(()),
        NodeState::Joining | NodeState::Suspect | NodeState::Dead => Err(format!("it is {}", node.state)),
    }
}

fn nodes_alive(pan: &Pan<'_>) -> Result<(), String> {
    let nodes: Vec<Node> = pan.look("/v1/nodes").map_err(|error| error.message)?;
    let whole = |node: &&Node| node.state == NodeState::Alive && node.fabrics.a == Link::Up && node.fabrics.b == Link::Up;
    if nodes.len() == usize::from(NODES) && nodes.iter().all(|node| whole(&node)) {
        return Ok(());
    }
    let states: Vec<String> = nodes.iter().map(|node| format!("{} {}", node.name, node.state)).collect();
    Err(format!("{} nodes: {}", nodes.len(), states.join(", ")))
}

/// Whether the demo runs whole with so many servers, all of them behind its address.
fn ready(pan: &Pan<'_>, servers: u32) -> Result<(), String> {
    let cluster: Cluster = pan.look(CLUSTER).map_err(|error| error.message)?;
    let service: Service = pan.look(SERVICE).map_err(|error| error.message)?;
    let up = service.backends.iter().filter(|backend| backend.state == BackendState::Up).count();
    let whole = cluster.state == ClusterState::Ready && cluster.desired == servers && cluster.running == servers;
    if whole && service.state == ServiceState::Ready && up == servers as usize && service.backends.len() == up {
        return Ok(());
    }
    Err(format!(
        "cluster web is {:?} with {} of {} servers running, service www is {:?} with {up} of {} backends up",
        cluster.state,
        cluster.running,
        cluster.desired,
        service.state,
        service.backends.len()
    ))
}

fn micros(span: Duration) -> u64 {
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
    fn the_demo_is_what_is_asked_for_here() {
        let documents = pan_model::manifest::parse(&[("demo.yaml".into(), DEMO.into())], None).unwrap();
        let names: Vec<_> = documents.iter().map(|one| (one.object.kind(), one.object.partition().as_str(), one.object.name())).collect();
        assert_eq!(names, [("partition", "demo", "demo"), ("cluster", "demo", "web"), ("service", "demo", "www")]);
    }

    #[test]
    fn a_run_is_described_by_its_samples() {
        let cut = CutTime { boot_us: 1_000_000, wall: Timestamp::UNIX_EPOCH, took: Duration::from_micros(2_345) };
        let samples = [
            sample_of(1_005_000, Outcome::Timeout, 1_000_000),
            sample_of(1_410_000, Outcome::Ok, 300_000),
            sample_of(1_415_000, Outcome::Ok, 900),
        ];
        let run = detail(&"web-1".parse().unwrap(), "n1", Some("n2".into()), &cut, &samples, None);
        assert_eq!((run.gap_ms, run.probes, run.lost, run.slow, run.cut_ms), (Some(410.0), 3, 1, 1, 2.3));
        assert_eq!(run.cut_at, "1970-01-01T00:00:00.000000Z");
        let lost = detail(&"web-1".parse().unwrap(), "n1", None, &cut, &samples, None);
        assert_eq!(lost.gap_ms, None);
    }

    #[test]
    fn cases_read_back() {
        for case in FailoverCase::ALL {
            assert_eq!(case.as_str().parse(), Ok(case));
        }
        assert!("director".parse::<FailoverCase>().is_err());
    }
}
