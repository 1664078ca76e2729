//! I8: whether the PAN is as it is wanted, and waiting for it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use pan_api::ApiError;
use pan_api::cluster::{Cluster, ClusterState};
use pan_api::host::Host;
use pan_api::insight::Certificate;
use pan_api::node::Node;
use pan_api::server::Server;
use pan_api::service::{Service, ServiceState};
use pan_model::host::Link;
use pan_model::node::NodeState;
use pan_model::server::ServerState;
use pan_model::service::BackendState;

use super::ask::Api;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Controllers, nodes, directors and storage hosts.
const HOSTS: usize = 11;

/// Waits until every controller says that nothing is missing. How long it took, or what is missing. Quarantines that were
/// ended meanwhile are told to `note`.
///
/// Who died three times is only a spare for ten minutes; that is meant so. Schedules let no node die so often, but on a busy machine
/// a false alarm may be the third. An operator would end it, so it is ended here, and seen in the report.
pub(super) fn wait(controllers: &[Api], bound: Duration, note: &mut dyn FnMut(String)) -> Result<Duration, String> {
    let start = Instant::now();
    loop {
        let seen = controllers.iter().find_map(|api| missing(api).map(|what| format!("{what}, says {}", api.url())));
        match seen {
            None => return Ok(start.elapsed()),
            Some(what) if start.elapsed() >= bound => return Err(what),
            Some(_) => sleep(LOOK),
        }
        if let Some(api) = controllers.first() {
            clear(api, note);
        }
    }
}

/// Ends quarantines. What fails is tried again with the next look.
fn clear(api: &Api, note: &mut dyn FnMut(String)) {
    let nodes: Vec<Node> = api.get("/v1/nodes").unwrap_or_default();
    for node in nodes.iter().filter(|node| node.state == NodeState::Quarantined) {
        if api.post::<_, ()>(&format!("/v1/nodes/{}/clear", node.name), &()).is_ok() {
            note(format!("{} was quarantined; that was ended by hand", node.name));
        }
    }
}

/// The first thing that is not as it should be.
fn missing(api: &Api) -> Option<String> {
    match look(api) {
        Ok(seen) => seen,
        Err(error) => Some(error.to_string()),
    }
}

fn look(api: &Api) -> Result<Option<String>, ApiError> {
    let hosts: Vec<Host> = api.get("/v1/hosts")?;
    let linked = |host: &Host| host.fabrics.a == Link::Up && host.fabrics.b == Link::Up;
    let well = |host: &&Host| host.state == NodeState::Alive && linked(host) && host.agent;
    if let Some(host) = hosts.iter().find(|host| !well(host)) {
        let links = format!("fabric a {:?}, fabric b {:?}", host.fabrics.a, host.fabrics.b);
        return Ok(Some(format!("host {} is {}, {links}, agent {}", host.name, host.state, host.agent)));
    }
    if hosts.len() != HOSTS {
        return Ok(Some(format!("{} of {HOSTS} hosts are known", hosts.len())));
    }
    let nodes: Vec<Node> = api.get("/v1/nodes")?;
    if let Some(node) = nodes.iter().find(|node| node.state != NodeState::Alive) {
        return Ok(Some(format!("node {} is {}", node.name, node.state)));
    }
    let servers: Vec<Server> = api.get("/v1/servers")?;
    if let Some(server) = servers.iter().find(|server| server.state != ServerState::Running) {
        let about = server.message.clone().unwrap_or_default();
        return Ok(Some(format!("server {} is {} on {}: {about}", server.name, server.state, server.node.as_deref().unwrap_or("no node"))));
    }
    let clusters: Vec<Cluster> = api.get("/v1/clusters")?;
    let ready = |one: &&Cluster| match one.state {
        ClusterState::Ready => one.running == one.spec.servers,
        ClusterState::Progressing | ClusterState::Degraded | ClusterState::Stopped => one.spec.servers == 0,
        ClusterState::Deleting => false,
    };
    if let Some(one) = clusters.iter().find(|one| !ready(one)) {
        return Ok(Some(format!("cluster {} is {:?} with {} of {} servers running", one.name, one.state, one.running, one.spec.servers)));
    }
    let services: Vec<Service> = api.get("/v1/services")?;
    for service in services {
        let up = service.backends.iter().filter(|backend| backend.state == BackendState::Up).count();
        let wanted = servers.iter().filter(|server| service.spec.is_answered_by(&server.cluster)).count();
        if service.state != ServiceState::Ready || up != wanted {
            return Ok(Some(format!("service {} is {:?} with {up} of {wanted} backends up", service.name, service.state)));
        }
    }
    let proof: Certificate = api.get("/v1/certify")?;
    if proof.ok { Ok(None) } else { Ok(Some(format!("the PAN's own proof fails: {:?} {:?}", proof.counterexample, proof.unproved))) }
}
