//! Placement: the planner's snapshot of the world, and what becomes of its plan.

use super::record::{Duty, EndingPhase, Goal, Intent, ServerRecord};
use super::seen::Life;
use super::world::{About, Now, World};
use super::{ending, reach, volumes};
use pan_api::report::Phase;
use pan_model::cluster::{Domain, Spread};
use pan_model::event::Severity;
use pan_model::{Epoch, HostName, Resources, ServerKey};
use pan_plan::snapshot as plan;
use pan_plan::{Reserves, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const fn domain(of: Domain) -> plan::Domain {
    match of {
        Domain::Node => plan::Domain::Node,
        Domain::Rack => plan::Domain::Rack,
        Domain::Zone => plan::Domain::Zone,
        Domain::Region => plan::Domain::Region,
    }
}

const fn spread(of: Option<Spread>) -> plan::Spread {
    match of {
        None => plan::Spread::None,
        Some(Spread::Node) => plan::Spread::Require(plan::Domain::Node),
        Some(Spread::Rack) => plan::Spread::Require(plan::Domain::Rack),
        Some(Spread::Zone) => plan::Spread::Require(plan::Domain::Zone),
        Some(Spread::Region) => plan::Spread::Require(plan::Domain::Region),
        Some(Spread::PreferNode) => plan::Spread::Prefer(plan::Domain::Node),
        Some(Spread::PreferRack) => plan::Spread::Prefer(plan::Domain::Rack),
        Some(Spread::PreferZone) => plan::Spread::Prefer(plan::Domain::Zone),
        Some(Spread::PreferRegion) => plan::Spread::Prefer(plan::Domain::Region),
    }
}

fn node_state(world: &World, name: &HostName) -> plan::NodeState {
    let seen = world.seen.hosts.get(name);
    let duty = world.hosts.get(name).map_or(Duty::Full, |host| host.duty);
    match (world.seen.life(name), duty) {
        (Life::Dead, _) => plan::NodeState::Down,
        (_, Duty::Draining) => plan::NodeState::Draining,
        (_, Duty::Cordoned) => plan::NodeState::Cordoned,
        (Life::Joining | Life::Suspect, Duty::Full) => plan::NodeState::Away,
        // Whatever it were given would be off the network, or not begun.
        (Life::Alive, Duty::Full) if seen.is_some_and(|seen| seen.dark || seen.out_of_reach) => plan::NodeState::Away,
        (Life::Alive, Duty::Full) if seen.is_some_and(|seen| seen.quarantined) => plan::NodeState::Spare,
        (Life::Alive, Duty::Full) => plan::NodeState::Up,
    }
}

/// The world as promises are judged: a node that is silent for the moment is not lost yet.
#[must_use]
pub fn patient(world: &World) -> Snapshot {
    patiently(world, snapshot(world))
}

/// The same of a snapshot that is there already.
fn patiently(world: &World, mut copy: Snapshot) -> Snapshot {
    for (name, node) in &mut copy.nodes {
        let full = world.hosts.get(name).is_some_and(|host| host.duty == Duty::Full);
        if full && matches!(world.seen.life(name), Life::Suspect | Life::Joining) {
            node.state = plan::NodeState::Up;
        }
    }
    copy
}

/// The world as the planner sees it. Servers being deleted are not wanted any more.
#[must_use]
pub fn snapshot(world: &World) -> Snapshot {
    let nodes = world.hosts.iter().filter_map(|(name, host)| {
        let offer = host.offer.as_ref()?;
        let capacity = Resources::new(offer.cpu, offer.memory);
        Some((name.clone(), plan::Node { capacity, labels: host.effective_labels(), state: node_state(world, name) }))
    });
    let partitions = world.partitions.iter().map(|(name, partition)| {
        let capacity = partition.spec.capacity.clone().unwrap_or_default();
        (name.clone(), plan::Partition { guaranteed: capacity.guaranteed, max: capacity.max })
    });
    Snapshot { nodes: nodes.collect(), partitions: partitions.collect(), clusters: clusters(world) }
}

fn clusters(world: &World) -> BTreeMap<plan::ClusterKey, plan::Cluster> {
    let all = world.clusters.iter().map(|(key, record)| {
        let spec = &record.spec;
        let cluster = plan::Cluster {
            need: spec.resources.needed(),
            spread: spread(spec.spread),
            protect: spec.protect.map(|protect| plan::Protect { failures: protect.failures, domain: domain(protect.domain) }),
            priority: spec.priority,
            after: spec.after.iter().map(|after| after.cluster.clone()).collect(),
            with: spec.with.clone(),
            require_labels: spec.labels.clone(),
            servers: BTreeMap::new(),
        };
        (key.clone(), cluster)
    });
    let mut all: BTreeMap<_, _> = all.collect();
    for (key, server) in &world.servers {
        let cluster = all.get_mut(&(key.partition.clone(), server.cluster.clone()));
        if let Some(cluster) = cluster.filter(|_| !server.is_leaving()) {
            cluster.servers.insert(key.name.clone(), server.node.clone());
        }
    }
    all
}

/// The next epoch of a partition. It never comes again, also for a server that is deleted and made anew under its old
/// name while a node that still runs the old one is away.
fn next_epoch(world: &mut World, key: &ServerKey) -> Option<Epoch> {
    if !world.servers.contains_key(key) {
        return None;
    }
    let partition = world.partition_mut(&key.partition)?;
    partition.last_epoch = partition.last_epoch.next();
    Some(partition.last_epoch)
}

/// Binds a server to a node under a new epoch.
pub fn bind(world: &mut World, now: Now, key: &ServerKey, node: &HostName, why: &str) {
    let revision = world.cluster_of(key).map_or(0, |cluster| cluster.revision);
    let restarts = world.seen.servers.get(key).map_or(0, |seen| seen.report.restarts);
    let Some(epoch) = next_epoch(world, key) else { return };
    let Some(server) = world.server_mut(key) else { return };
    let from = server.node.replace(node.clone());
    server.epoch = epoch;
    server.incarnation += 1;
    server.revision = revision;
    server.restarts += restarts;
    server.ending = None;
    server.why = why.to_owned();
    server.bound_at = now.wall;
    world.seen.servers.remove(key);
    world.seen.awaited.insert(key.clone(), (epoch, now.boot));
    world.seen.not_placed.remove(key);
    world.seen.replan = true;
    let object = key.to_string();
    world.timelines.set_epoch(&object, epoch);
    world.timelines.mark(&object, now.wall, "bound", format!("to {node}, epoch {epoch}: {why}"));
    volumes::bound(world, now, key);
    let reason = if from.is_some() { "FailedOver" } else { "Placed" };
    world.server_event(now, key, Severity::Info, reason, format!("has a place (epoch {epoch})"));
    let about = About { partition: None, kind: "server", object: &object };
    let told = from.map(|from| format!(" instead of {from}")).unwrap_or_default();
    world.event(now, &about, Severity::Info, reason, format!("{key} is bound to {node}{told}, epoch {epoch}: {why}"));
}

/// Works out what the planner sees and which promises hold, and decides nothing: for a controller that follows.
pub fn survey(world: &mut World, now: Now) {
    if !std::mem::take(&mut world.seen.replan) {
        return;
    }
    let present = snapshot(world);
    note_protection(world, now, patiently(world, present.clone()));
    world.seen.snapshot = Arc::new(present);
}

/// Plans anew if something changed, and begins what the plan says.
pub fn advance(world: &mut World, now: Now) {
    let moving = moving_clusters(world);
    // A move that had to wait for another one of its cluster is looked at again when that one is over.
    if world.seen.deferred.iter().any(|cluster| !moving.contains(cluster)) {
        world.seen.replan = true;
    }
    if !std::mem::take(&mut world.seen.replan) {
        return;
    }
    world.seen.deferred.clear();
    let before = snapshot(world);
    let reserves = world.seen.reserves.clone();
    let outcome = pan_plan::plan_with(&before, pan_plan::Options { reserves: reserves.as_deref(), strategy: pan_plan::Strategy::Cost });
    let mut moving = moving;
    for placement in &outcome.place {
        let key = ServerKey { partition: placement.server.0.clone(), name: placement.server.1.clone() };
        let Some(server) = world.servers.get(&key) else { continue };
        let alive_source = server.node.as_ref().is_some_and(|node| world.seen.life(node) != Life::Dead);
        if !alive_source {
            bind(world, now, &key, &placement.node, &placement.why.to_string());
        } else if server.ending.is_none() && !reach::keeps(world, &key) {
            let cluster = (key.partition.clone(), server.cluster.clone());
            if moving.insert(cluster.clone()) {
                ending::begin(world, now, &key, Goal::Move(Some(placement.node.clone())), EndingPhase::Draining);
            } else {
                world.seen.deferred.insert(cluster);
            }
        }
    }
    unbind_the_dead(world);
    note_unplaced(world, now, &outcome);
    // Nodes are what they were: thousands of them are not looked at anew for every death.
    let after = Snapshot { clusters: clusters(world), ..before };
    note_protection(world, now, patiently(world, after.clone()));
    world.seen.snapshot = Arc::new(after);
    world.seen.replan = false;
}

/// A server stays bound to no node whose death was decided, also where no other has room. The death grants the node its
/// next number, which opens its gate once everything is gone that its desired state does not name: what that still named
/// would be on the network again the moment the node is back, and could be bound elsewhere by then.
fn unbind_the_dead(world: &mut World) {
    let dead = |server: &ServerRecord| server.node.as_ref().is_some_and(|node| world.seen.life(node) == Life::Dead);
    let stranded: Vec<ServerKey> = world.servers.iter().filter(|(_, server)| dead(server)).map(|(key, _)| key.clone()).collect();
    for key in stranded {
        if let Some(server) = world.server_mut(&key) {
            server.node = None;
        }
        world.seen.servers.remove(&key);
    }
}

/// Clusters of which a server is on its way: one at a time, so that the others can take its connections. What does
/// not stay up is not on its way, or it would hold up the others for ever.
pub fn moving_clusters(world: &World) -> BTreeSet<super::world::ClusterKey> {
    let on_the_way = |key: &ServerKey, server: &ServerRecord| {
        let starting = matches!(world.seen.current_phase(key, server), None | Some(Phase::Starting));
        let alive = server.node.as_ref().is_some_and(|node| world.seen.life(node) != Life::Dead);
        let wanted = server.intent == Intent::Run && alive && super::orders::may_start(world, key);
        let ends = server.ending.is_some() && !ending::is_held(world, server);
        ends || (wanted && starting)
    };
    let all = world.servers.iter().filter(|(key, server)| on_the_way(key, server));
    all.map(|(key, server)| (key.partition.clone(), server.cluster.clone())).collect()
}

fn note_unplaced(world: &mut World, now: Now, outcome: &pan_plan::Plan) {
    let mut unplaced = BTreeMap::new();
    for ((partition, name), reason) in &outcome.not_placed {
        let key = ServerKey { partition: partition.clone(), name: name.clone() };
        unplaced.insert(key, reason.to_string());
    }
    let news: Vec<_> = unplaced
        .iter()
        .filter(|(key, text)| world.seen.not_placed.get(*key) != Some(*text))
        .map(|(key, text)| (key.clone(), text.clone()))
        .collect();
    world.seen.not_placed = unplaced;
    for (key, text) in news {
        let object = key.to_string();
        let about = About { partition: None, kind: "server", object: &object };
        world.event(now, &about, Severity::Warning, "NotPlaced", format!("{key} has no place: {text}"));
        world.server_event(now, &key, Severity::Warning, "NotPlaced", "no place is available now");
    }
}

/// Tells of protection lost, once, and of protection that holds, also again. What is on its way out needs none.
fn note_protection(world: &mut World, now: Now, after: Snapshot) {
    let former = std::mem::take(&mut world.seen.protected);
    let (protected, reserves) = protection(after);
    world.seen.reserves = reserves.map(Arc::new);
    let promised = |key: &super::world::ClusterKey| world.clusters.get(key).is_some_and(|one| one.spec.protect.is_some() && !one.deleting);
    let lost = former.difference(&protected).filter(|key| world.servers.get(*key).is_some_and(|server| !server.is_leaving()));
    let lost: BTreeSet<_> = lost.map(|key| cluster_name(world, key)).filter(|cluster| promised(cluster)).collect();
    let gained: BTreeSet<_> = protected.difference(&former).map(|key| cluster_name(world, key)).collect();
    let mut unkept: BTreeSet<_> = world.seen.unkept.union(&lost).filter(|cluster| promised(cluster)).cloned().collect();
    world.seen.protected = protected;
    let again: BTreeSet<_> = unkept.iter().filter(|cluster| is_protected(world, cluster)).cloned().collect();
    unkept.retain(|cluster| !again.contains(cluster));
    let holds: BTreeSet<_> = gained.union(&again).filter(|cluster| !unkept.contains(cluster)).cloned().collect();
    for (partition, cluster) in &lost {
        let about = About { partition: Some(partition), kind: "cluster", object: cluster.as_str() };
        world.event(now, &about, Severity::Alarm, "ProtectionLost", format!("protection for cluster {cluster} cannot be kept at present"));
    }
    for (partition, cluster) in &holds {
        let about = About { partition: Some(partition), kind: "cluster", object: cluster.as_str() };
        world.event(now, &about, Severity::Info, "Protected", format!("protection for cluster {cluster} holds"));
    }
    world.seen.unkept = unkept;
}

/// Whether the promise to a cluster holds at present: for each of its servers but those that are being deleted.
#[must_use]
pub fn is_protected(world: &World, cluster: &super::world::ClusterKey) -> bool {
    let promised = world.clusters.get(cluster).is_some_and(|record| record.spec.protect.is_some());
    let mut staying = world.servers_of(cluster).into_iter().filter(|key| !world.servers[key].is_leaving()).peekable();
    promised && staying.peek().is_some() && staying.all(|key| world.seen.protected.contains(&key))
}

fn cluster_name(world: &World, key: &ServerKey) -> super::world::ClusterKey {
    (key.partition.clone(), world.servers[key].cluster.clone())
}

/// The servers whose protection holds. When some promise is broken, the clusters that break are left out one
/// after the other until the rest holds.
fn protection(mut rest: Snapshot) -> (BTreeSet<ServerKey>, Option<Reserves>) {
    loop {
        match pan_plan::compute(&rest) {
            Ok(reserves) => {
                let keys = reserves.backup.keys().map(|(partition, name)| ServerKey { partition: partition.clone(), name: name.clone() });
                return (keys.collect(), Some(reserves));
            }
            Err(broken) => {
                let has = |cluster: &plan::Cluster| cluster.servers.contains_key(&broken.server.1);
                let found =
                    rest.clusters.iter_mut().find(|(key, cluster)| key.0 == broken.server.0 && cluster.protect.is_some() && has(cluster));
                match found {
                    Some((_, cluster)) => cluster.protect = None,
                    None => return (BTreeSet::new(), None),
                }
            }
        }
    }
}

fn unbound(snapshot: &mut Snapshot, world: &World, key: &ServerKey, to: Option<&HostName>) {
    let Some(server) = world.servers.get(key) else { return };
    if let Some(cluster) = snapshot.clusters.get_mut(&(key.partition.clone(), server.cluster.clone())) {
        cluster.servers.insert(key.name.clone(), to.cloned());
    }
}

/// Where a server could go other than where it is.
///
/// # Errors
/// Why nowhere.
pub fn elsewhere(world: &World, key: &ServerKey) -> Result<HostName, String> {
    let mut copy = snapshot(world);
    if let Some(node) = world.servers.get(key).and_then(|server| server.node.as_ref()).and_then(|node| copy.nodes.get_mut(node)) {
        node.state = plan::NodeState::Cordoned;
    }
    unbound(&mut copy, world, key, None);
    let outcome = pan_plan::plan(&copy);
    let id = (key.partition.clone(), key.name.clone());
    if let Some(found) = outcome.place.iter().find(|placement| placement.server == id) {
        return Ok(found.node.clone());
    }
    let reason = outcome.not_placed.iter().find(|(server, _)| *server == id).map(|(_, reason)| reason.to_string());
    Err(reason.unwrap_or_else(|| "no node can take it".into()))
}

/// Whether a server may be bound to a node: it takes servers, has the room, the labels and the right domain.
///
/// # Errors
/// Why not.
pub fn fits(world: &World, key: &ServerKey, to: &HostName) -> Result<(), String> {
    let mut copy = snapshot(world);
    let Some(node) = copy.nodes.get(to).cloned() else { return Err(format!("{to} is not a node")) };
    if !node.state.backs_up() {
        return Err(format!("node {to} is {} and takes no servers now", node.state.word()));
    }
    // Only the one node is left to take it: the planner then either says it or says why not.
    for (name, other) in &mut copy.nodes {
        if name != to && other.state != plan::NodeState::Down {
            other.state = plan::NodeState::Cordoned;
        }
    }
    unbound(&mut copy, world, key, None);
    for cluster in copy.clusters.values_mut() {
        cluster.protect = None;
    }
    let outcome = pan_plan::plan(&copy);
    let id = (key.partition.clone(), key.name.clone());
    if outcome.place.iter().any(|placement| placement.server == id && placement.node == *to) {
        return Ok(());
    }
    let reason = outcome.not_placed.iter().find(|(server, _)| *server == id).map(|(_, reason)| reason.to_string());
    Err(reason.unwrap_or_else(|| format!("node {to} ({}) cannot take it", node.capacity)))
}
