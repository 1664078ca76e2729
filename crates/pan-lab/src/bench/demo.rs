//! A laboratory with the demo in it, as users get it, and what all cases ask of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pan_api::cluster::{Cluster, ClusterState};
use pan_api::host::Host;
use pan_api::node::Node;
use pan_api::requests::Scale;
use pan_api::server::Server;
use pan_api::service::{Service, ServiceState};
use pan_linux::realtime::since_boot;
use pan_model::host::Link;
use pan_model::node::NodeState;
use pan_model::service::BackendState;

use super::case::Hosts;
use super::control::Pan;
use super::counter::{self, Counter};
use super::cut::{STEADY, micros};
use super::error::BenchError;
use super::failover::FailoverOptions;
use super::leader::{self, Leader};
use super::probing::{Client, Probing};
use crate::name::{HostKind, LabHost};
use crate::room::{Afterwards, Room, RoomSpec};

/// What is measured is what users are shown first.
const DEMO: &str = include_str!("../../../../examples/demo.yaml");
const CLUSTER: &str = "/v1/partitions/demo/clusters/web";
pub(super) const SERVICE: &str = "/v1/partitions/demo/services/www";
/// Where the demo's servers are.
pub(super) const SERVERS: &str = "/v1/partitions/demo/servers";

/// Nodes of a benchmark's laboratory: the smallest number that has room for three spread servers and a loss.
const NODES: u8 = 4;
/// Where its data lies, in a folder of its own.
pub(super) const DATA: &str = "/var/tmp/pan-bench";

/// A laboratory that just came up, on a machine that is busy with it.
pub(super) const READY_MAX: Duration = Duration::from_secs(60);
/// Before a fault, until everything is served.
const STEADY_MAX: Duration = Duration::from_secs(20);

/// The demo in a laboratory of its own.
pub(super) struct Demo<'a> {
    pub(super) room: Room,
    pub(super) pan: Pan<'a>,
    pub(super) hosts: Hosts,
    /// The program all its hosts run.
    pub(super) exe: PathBuf,
    /// The number of the last fault of each node, so that they take turns.
    turn_last: BTreeMap<String, u32>,
    turns: u32,
}

impl<'a> Demo<'a> {
    /// Brings it up.
    pub(super) fn up(
        options: &FailoverOptions,
        hosts: Hosts,
        stop: &'a AtomicBool,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, BenchError> {
        let wanted = RoomSpec {
            prefix: "bench",
            data: DATA,
            nodes: NODES,
            storage: hosts.storage,
            directors: 2,
            controllers: hosts.controllers,
            profile: options.profile.clone(),
            labels: BTreeMap::new(),
            in_the_clear: BTreeSet::new(),
            gate: None,
            exe: options.exe.clone(),
            afterwards: if options.keep { Afterwards::Keep } else { Afterwards::Remove },
        };
        let room = Room::up(wanted, progress)?;
        let pan = Pan::new(&room.credentials()?, stop)?;
        progress("waiting for the PAN");
        pan.wait_for_api(READY_MAX)?;
        pan.wait("every node being alive", READY_MAX, || nodes_alive(&pan))?;
        pan.apply("examples/demo.yaml", DEMO)?;
        Ok(Self { room, pan, hosts, exe: options.exe.clone(), turn_last: BTreeMap::new(), turns: 0 })
    }

    /// Gives it the number of servers that a case needs.
    pub(super) fn prepare(&self, servers: u32) -> Result<(), BenchError> {
        self.pan.post(&format!("{CLUSTER}/scale"), &Scale { servers })?;
        self.pan.wait("the demo being ready", READY_MAX, || ready(&self.pan, servers))
    }

    /// Gives its servers a volume that they write to all the time.
    pub(super) fn give_volume(&self) -> Result<(), BenchError> {
        let writes = "(while :; do date >>/srv/log; sync /srv/log; sleep 0.01; done) &\n      exec nginx";
        let volume = "  volumes: [{name: data, size: 1GiB, mount: /srv, copies: 2}]\n  protect:";
        let text = DEMO.replacen("exec nginx", writes, 1).replacen("  protect:", volume, 1).replacen("servers: 3", "servers: 1", 1);
        self.pan.apply("demo with a volume", &text).map(drop)
    }

    /// All its servers.
    pub(super) fn servers(&self) -> Result<Vec<Server>, BenchError> {
        self.pan.get(SERVERS)
    }

    /// The server on the node whose turn was least recently. It is its turn now.
    pub(super) fn victim(&mut self) -> Result<(Server, String), BenchError> {
        let placed = self.servers()?.into_iter().filter_map(|server| {
            let node = server.node.clone()?;
            Some((server, node))
        });
        let next = placed.min_by_key(|(_, node)| self.turn_last.get(node).copied().unwrap_or(0));
        let (server, node) = next.ok_or_else(|| BenchError::Surprise("no server of the demo has a node".to_owned()))?;
        self.turns += 1;
        self.turn_last.insert(node.clone(), self.turns);
        Ok((server, node))
    }

    /// The host that leads, as soon as there is one and all its like are back from what was done to them before.
    pub(super) fn leader(&self, of: Leader) -> Result<LabHost, BenchError> {
        self.pan.wait(&format!("one leader ({of:?})"), READY_MAX, || {
            let hosts = self.room.hosts().map_err(|error| error.to_string())?;
            leader::find(&self.room, of, hosts.into_iter().map(|host| host.name))
        })
    }

    /// A counter's sum over all hosts that have it, or over one.
    pub(super) fn count(&self, counter: Counter, of: Option<LabHost>) -> Result<u64, BenchError> {
        let hosts: Vec<LabHost> = match of {
            Some(host) => vec![host],
            None => self.room.hosts()?.into_iter().map(|host| host.name).collect(),
        };
        let asking = self.controllers()?.into_iter().next().ok_or_else(|| BenchError::Surprise("there is no controller".to_owned()))?;
        self.pan.wait("a page of counters", READY_MAX, || counter::read(&self.room, asking, counter, hosts.iter().copied()))
    }

    /// Every controller.
    pub(super) fn controllers(&self) -> Result<Vec<LabHost>, BenchError> {
        let all = self.room.hosts()?.into_iter().map(|host| host.name);
        Ok(all.filter(|host| host.kind() == HostKind::Controller).collect())
    }

    /// A host by what the PAN calls it.
    pub(super) fn host(&self, name: &str) -> Result<LabHost, BenchError> {
        Ok(self.room.host(name)?)
    }

    /// Starts a prober, and returns when everybody has been served for a while.
    pub(super) fn probe(&self, length: Duration) -> Result<Probing, BenchError> {
        let service: Service = self.pan.get(SERVICE)?;
        let target = SocketAddr::new(service.address, service.port);
        let mut probing = Probing::start(&Client::of_lab(&self.room), target, length)?;
        self.wait_served(&mut probing, micros(since_boot()), STEADY_MAX)?;
        Ok(probing)
    }

    /// Waits until everybody has been served for a while, from some moment on.
    pub(super) fn wait_served(&self, probing: &mut Probing, from_us: u64, limit: Duration) -> Result<(), BenchError> {
        let served = self.pan.wait("every probe being answered for a second", limit, || match probing.seen() {
            Ok(seen) if seen.is_served(from_us, STEADY) => Ok(Ok(())),
            Ok(seen) => Err(seen.trouble()),
            Err(error) => Ok(Err(error)),
        });
        served?
    }

    /// Waits until all is as it was before a fault. Deaths that a benchmark brings about do not count
    /// against the node.
    pub(super) fn settle(&self, node: &str, servers: u32) -> Result<(), BenchError> {
        self.pan.wait(&format!("node {node} coming back"), READY_MAX, || heard(&self.pan, node))?;
        self.pan.post(&format!("/v1/nodes/{node}/clear"), &())?;
        self.whole(servers)
    }

    /// Waits until a host is heard over both fabrics.
    pub(super) fn back(&self, host: &str) -> Result<(), BenchError> {
        self.pan.wait(&format!("host {host} coming back"), READY_MAX, || {
            let host: Host = self.pan.look(&format!("/v1/hosts/{host}")).map_err(|error| error.message)?;
            let whole = host.state == NodeState::Alive && host.fabrics.a == Link::Up && host.fabrics.b == Link::Up;
            if whole { Ok(()) } else { Err(format!("it is {}", host.state)) }
        })
    }

    /// Waits until every node is alive and the demo runs whole.
    pub(super) fn whole(&self, servers: u32) -> Result<(), BenchError> {
        self.pan.wait("every node being alive", READY_MAX, || nodes_alive(&self.pan))?;
        self.pan.wait("the demo being ready", READY_MAX, || ready(&self.pan, servers))
    }
}

fn heard(pan: &Pan<'_>, name: &str) -> Result<(), String> {
    let node: Node = pan.look(&format!("/v1/nodes/{name}")).map_err(|error| error.message)?;
    match node.state {
        NodeState::Alive | NodeState::Cordoned | NodeState::Draining | NodeState::Quarantined => Ok(()),
        NodeState::Unknown | NodeState::Joining | NodeState::Suspect | NodeState::Dead => Err(format!("it is {}", node.state)),
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
pub(super) fn ready(pan: &Pan<'_>, servers: u32) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_what_is_asked_for_here() {
        let documents = pan_model::manifest::parse(&[("demo.yaml".into(), DEMO.into())], None).unwrap();
        let names: Vec<_> = documents.iter().map(|one| (one.object.kind(), one.object.partition().as_str(), one.object.name())).collect();
        assert_eq!(names, [("partition", "demo", "demo"), ("cluster", "demo", "web"), ("service", "demo", "www")]);
    }
}
