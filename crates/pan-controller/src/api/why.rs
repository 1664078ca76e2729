//! Why an object is as it is: the planner's reasons for servers, and what is seen of the others.

use super::call::{Call, not_found};
use super::dispatch::wall;
use super::scope::Scope;
use super::why_volume;
use crate::handle::Principal;
use pan_api::ApiError;
use pan_api::insight::Why;
use pan_model::allow;
use pan_model::cluster::AfterSpec;
use pan_model::import::ImportState;
use pan_model::node::NodeState;
use pan_model::server::ServerState;
use pan_model::{ClusterName, Code, HostName, Name, PartitionName, ServerKey, ServiceName, VolumeKey};
use pan_plan::{Snapshot, explain};

/// Newest events that an answer quotes.
const EVENTS_MAX: usize = 5;
/// Servers that an answer about a cluster lists one by one.
const SERVERS_MAX: usize = 20;

/// What is asked about.
pub enum Question {
    /// A server.
    Server(ServerKey),
    /// A cluster.
    Cluster(PartitionName, ClusterName),
    /// A service.
    Service(PartitionName, ServiceName),
    /// An import.
    Import(PartitionName, Name),
    /// A policy.
    Policy(PartitionName, Name),
    /// A node.
    Node(HostName),
    /// A volume.
    Volume(VolumeKey),
}

impl Question {
    /// Reads kind and name from the path, the partition from the query.
    ///
    /// # Errors
    /// `Invalid` for a kind without reasons or a missing partition; `NotFound` for a name that nothing can have.
    pub fn read(call: &Call<Principal>) -> Result<Self, ApiError> {
        let (kind, name): (String, String) = (call.name("kind")?, call.name("name")?);
        let missing = || not_found(format_args!("{kind} {name:?}"));
        let partition = || {
            let given = call.query::<PartitionName>("partition")?;
            let given =
                given.ok_or_else(|| ApiError::new(Code::Invalid, format!("a {kind} is in a partition: expected ?partition=NAME")))?;
            call.scope().require_partition(&given).map(|()| given)
        };
        match kind.as_str() {
            "server" => Ok(Self::Server(ServerKey { partition: partition()?, name: name.parse().map_err(|_| missing())? })),
            "cluster" => Ok(Self::Cluster(partition()?, name.parse().map_err(|_| missing())?)),
            "service" => Ok(Self::Service(partition()?, name.parse().map_err(|_| missing())?)),
            "import" => Ok(Self::Import(partition()?, name.parse().map_err(|_| missing())?)),
            "policy" => Ok(Self::Policy(partition()?, name.parse().map_err(|_| missing())?)),
            "node" => Ok(Self::Node(name.parse().map_err(|_| missing())?)),
            "volume" => Ok(Self::Volume(VolumeKey { partition: partition()?, name: name.parse().map_err(|_| missing())? })),
            _ => {
                let text = format!("nothing explains a {kind:?}: expected server, cluster, service, import, policy, node or volume");
                Err(ApiError::new(Code::Invalid, text))
            }
        }
    }

    /// The reasons.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn answer(&self, scope: &Scope, snapshot: &Snapshot) -> Result<Why, ApiError> {
        let (kind, place, name, mut why) = match self {
            Self::Server(key) => ("server", Some(&key.partition), key.name.as_str(), server(scope, snapshot, key)),
            Self::Cluster(partition, name) => ("cluster", Some(partition), name.as_str(), cluster(scope, snapshot, partition, name)),
            Self::Service(partition, name) => ("service", Some(partition), name.as_str(), service(scope, partition, name)),
            Self::Import(partition, name) => ("import", Some(partition), name.as_str(), import(scope, partition, name)),
            Self::Policy(partition, name) => ("policy", Some(partition), name.as_str(), policy(scope, partition, name)),
            Self::Node(name) => ("node", None, name.as_str(), node(scope, name)),
            // It tells more of its past, and of what only the PAN's operators are told.
            Self::Volume(key) => {
                return why_volume::answer(scope, key).ok_or_else(|| not_found(format_args!("volume {:?}", key.name.as_str())));
            }
        };
        let found = why.as_mut().ok_or_else(|| not_found(format_args!("{kind} {name:?}")))?;
        found.reasons.extend(events(scope, place, kind, name));
        why.ok_or_else(|| not_found(format_args!("{kind} {name:?}")))
    }
}

fn server(scope: &Scope, snapshot: &Snapshot, key: &ServerKey) -> Option<Why> {
    let server = scope.server(key)?;
    let told = explain(snapshot, &(key.partition.clone(), key.name.clone()));
    let mut reasons = vec![format!("it is {} since {}", server.state, server.since)];
    reasons.extend(server.message);
    // Users of a partition see a word of its own in the node's place.
    reasons.extend(server.node.and_then(|node| node.parse().ok()).and_then(|node| unheard(scope, &node)));
    if server.state == ServerState::Pending {
        reasons.extend(scope.cluster(&(key.partition.clone(), server.cluster)).and_then(|cluster| waits(&cluster.spec.after)));
    }
    reasons.extend(told.reasons);
    Some(Why { object: format!("server {key}"), decision: told.decision, reasons, alternatives: told.alternatives })
}

fn waits(after: &[AfterSpec]) -> Option<String> {
    let names: Vec<&str> = after.iter().map(|after| after.cluster.as_str()).collect();
    (!names.is_empty()).then(|| format!("its cluster starts after {} runs", names.join(" and ")))
}

fn cluster(scope: &Scope, snapshot: &Snapshot, partition: &PartitionName, name: &ClusterName) -> Option<Why> {
    let cluster = scope.cluster(&(partition.clone(), name.clone()))?;
    let servers: Vec<_> = scope.servers(Some(partition)).into_values().filter(|server| server.cluster == *name).collect();
    let mut reasons: Vec<String> = waits(&cluster.spec.after).into_iter().collect();
    let (well, ill): (Vec<_>, Vec<_>) = servers.iter().partition(|server| server.state == ServerState::Running);
    for server in ill.iter().chain(&well).take(SERVERS_MAX) {
        let place = server.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        let message = server.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        reasons.push(format!("{} is {}{place}{message}", server.name, server.state));
    }
    if servers.len() > SERVERS_MAX {
        reasons.push(format!("and {} more", servers.len() - SERVERS_MAX));
    }
    // The servers are alike, so what holds for the first that does not run holds for the others.
    let alternatives = ill.first().map(|server| explain(snapshot, &(partition.clone(), server.name.clone())));
    let promise = match &cluster.spec.protect {
        None => "it is not protected".to_owned(),
        Some(protect) if cluster.protected => format!("it survives the loss of {} at a time", protect.failures),
        Some(protect) => format!("its promise to survive the loss of {} at a time does not hold at present", protect.failures),
    };
    reasons.push(promise);
    reasons.extend(policies(scope, &(partition.clone(), name.clone()), cluster.desired));
    reasons.extend(cluster.spec.allow.as_deref().map(|rules| format!("only these begin to speak to its servers: {}", allow::said(rules))));
    Some(Why {
        object: format!("cluster {partition}/{name}"),
        decision: format!("{} of {} servers run", cluster.running, cluster.desired),
        reasons: reasons.into_iter().chain(alternatives.iter().flat_map(|told| told.reasons.clone())).collect(),
        alternatives: alternatives.map(|told| told.alternatives).unwrap_or_default(),
    })
}

/// What policies make of the number of its servers, and what would change it.
fn policies(scope: &Scope, key: &(PartitionName, ClusterName), desired: u32) -> Vec<String> {
    let (outlook, now) = (scope.outlook(), jiff::Timestamp::from_microsecond(wall()).unwrap_or_default());
    let Some(resolved) = outlook.cluster(key, now) else { return Vec::new() };
    let mut said = Vec::new();
    if resolved.servers != desired {
        said.push(format!("policies want {} servers, and {desired} can be had at present", resolved.servers));
    }
    for active in &resolved.active {
        let decides =
            if resolved.because.contains(active) { "decides the number of servers" } else { "holds, and decides nothing at present" };
        said.push(format!("{} {decides}", outlook.reason(&key.0, active)));
    }
    if resolved.because.is_empty() {
        said.push("its manifest decides the number of servers".to_owned());
    }
    said.extend(resolved.until.map(|until| format!("a policy's window begins or ends next at {until:.0}")));
    said
}

fn service(scope: &Scope, partition: &PartitionName, name: &ServiceName) -> Option<Why> {
    let service = scope.service(&(partition.clone(), name.clone()))?;
    let owner = service.director.map(|director| format!(", owned by director {director}")).unwrap_or_default();
    let up = service.backends.iter().filter(|backend| backend.state == pan_model::service::BackendState::Up).count();
    let shown = |backend: &pan_api::service::Backend| {
        let state = format!("{:?}", backend.state).to_lowercase();
        format!("backend {} is {state}, weight {}, {} connections", backend.server, backend.weight, backend.connections)
    };
    let mut reasons: Vec<String> = service.backends.iter().take(SERVERS_MAX).map(shown).collect();
    if service.backends.is_empty() {
        let names: Vec<&str> = service.spec.clusters().into_iter().map(|(name, _)| name.as_str()).collect();
        reasons.push(format!("cluster {} has no servers", names.join(", ")));
    }
    Some(Why {
        object: format!("service {partition}/{name}"),
        decision: format!("{}:{} is answered by {up} of {} backends{owner}", service.address, service.port, service.backends.len()),
        reasons,
        alternatives: Vec::new(),
    })
}

/// Of one that waits it is said what has to be, and not which of that is missing: the rest is the other partition's own.
fn import(scope: &Scope, partition: &PartitionName, name: &Name) -> Option<Why> {
    let import = scope.import(&(partition.clone(), name.clone()))?;
    let (service, other) = (&import.spec.service, &import.spec.partition);
    let (decision, reason) = match import.state {
        ImportState::Active => (
            format!("{} leads to service {service} of partition {other}", import.address),
            "that partition exports the service to this one, and it takes connections".to_owned(),
        ),
        ImportState::Waiting => (
            format!("{} leads nowhere at present", import.address),
            format!(
                "partition {other} has to export a service {service} to {partition}, and a server of it has to take connections; if {other} \
                 was deleted and made anew since, this import has to be deleted and applied again"
            ),
        ),
    };
    Some(Why { object: format!("import {partition}/{name}"), decision, reasons: vec![reason], alternatives: Vec::new() })
}

fn policy(scope: &Scope, partition: &PartitionName, name: &Name) -> Option<Why> {
    let policy = scope.policy(&(partition.clone(), name.clone()))?;
    let open = |window: &pan_api::policy::ActiveWindow| format!("schedules[{}]: {} until {}", window.schedule, window.effect, window.until);
    let mut reasons: Vec<String> = policy.active.iter().map(open).collect();
    reasons.push(format!("it has {} schedules", policy.spec.schedules.len()));
    reasons.extend(policy.next.map(|next| format!("a window begins or ends next at {next}")));
    let decision = match policy.active.is_empty() {
        true => format!("nothing holds for cluster {}: no window is open", policy.cluster),
        false => format!("{} windows are open for cluster {}", policy.active.len(), policy.cluster),
    };
    Some(Why { object: format!("policy {partition}/{name}"), decision, reasons, alternatives: Vec::new() })
}

fn node(scope: &Scope, name: &HostName) -> Option<Why> {
    let node = scope.node(name)?;
    let mut reasons = vec![
        format!("fabric a is {}, fabric b is {}", word(node.fabrics.a), word(node.fabrics.b)),
        format!("cpu: {} of {} free, {} kept for failures", node.cpu.free, node.cpu.total, node.cpu.reserved),
        format!("memory: {} of {} free, {} kept for failures", node.memory.free, node.memory.total, node.memory.reserved),
    ];
    reasons.extend(unheard(scope, name));
    let decision = format!("{name} is {} and has {} servers", node.state, node.servers);
    Some(Why { object: format!("node {name}"), decision, reasons, alternatives: Vec::new() })
}

/// That a node which is heard cannot be asked for anything.
fn unheard(scope: &Scope, name: &HostName) -> Option<String> {
    let host = scope.host(name).filter(|host| host.state == NodeState::Alive && !host.agent)?;
    Some(format!(
        "host {} is heard and its agent does not report: it is told nothing, and nothing is moved from it or ended there",
        host.name
    ))
}

const fn word(link: pan_model::host::Link) -> &'static str {
    match link {
        pan_model::host::Link::Up => "up",
        pan_model::host::Link::Down => "down",
    }
}

/// The newest events about an object, newest last.
fn events(scope: &Scope, place: Option<&PartitionName>, kind: &str, name: &str) -> Vec<String> {
    let here = scope.events(place).filter(|(at, _)| at.as_ref() == place);
    let about = here
        .flat_map(|(_, events)| events)
        .filter(|event| event.object == name && (event.kind == kind || kind == "node" && event.kind == "host"));
    let mut all: Vec<String> = about.map(|event| format!("{} {}: {}", event.time, event.reason, event.message)).collect();
    all.split_off(all.len().saturating_sub(EVENTS_MAX))
}
