//! What operators ask for, besides applying documents.

use super::record::{Duty, EndingPhase, Goal, Intent, VolumeRecord};
use super::request::{Kind, Reply, Request};
use super::world::{ClusterKey, Dirty, ImportKey, Now, PolicyKey, World};
use super::{apply, domain, ending, hosts, imports, keys, leave, place, policy, reach, tokens, volumes};
use pan_api::ApiError;
use pan_model::event::Severity;
use pan_model::{ClusterName, Code, HostName, Name, PartitionName, ServerKey, ServiceName, VolumeKey, VolumeName};
use std::collections::BTreeMap;

/// Carries a request out, or refuses it and leaves the world as it was. `within` is the partition that whoever asks is of.
///
/// # Errors
/// The refusal, which names nothing outside of that partition.
pub fn request(world: &mut World, now: Now, within: Option<&PartitionName>, request: Request) -> Result<Reply, ApiError> {
    if request.is_large() {
        // What policies make of it is looked at anew.
        world.seen.policies.rest = None;
    }
    match request {
        Request::Apply { documents, dry_run } => return apply::apply(world, now, within, &documents, dry_run).map(Reply::Applied),
        Request::Delete { kind, partition, name, cascade } => delete(world, now, (kind, partition, &name), cascade)?,
        Request::Scale { partition, cluster, servers } => apply::scale(world, now, within, &(partition, cluster), servers)?,
        Request::Restart(key) => restart(world, now, within, &key)?,
        Request::Stop(key) => stop(world, now, within, &key)?,
        Request::Start(key) => start(world, now, within, &key)?,
        Request::Failover { key, to } => relocate(world, now, within, (&key, to), EndingPhase::Stopping)?,
        Request::Migrate { key, to } => relocate(world, now, within, (&key, to), EndingPhase::Draining)?,
        Request::Drain { node, force } => domain::drain_one(world, now, &node, force)?,
        Request::Cordon(node) => duty(world, now, &node, Duty::Cordoned)?,
        Request::Uncordon(node) => {
            duty(world, now, &node, Duty::Full)?;
            domain::spare(world, &node);
        }
        Request::DrainDomain(all) => domain::begin(world, now, &all)?,
        Request::UndoDrain(all) => domain::end(world, now, &all)?,
        Request::Clear(node) => {
            known_node(world, &node)?;
            hosts::life(world, now, hosts::LifeChange::Quarantined(node, false));
        }
        Request::Label { node, labels } => label(world, &node, labels)?,
        Request::CreateToken(id, new) => tokens::create(world, now, id, new)?,
        Request::RevokeToken(id) => tokens::revoke(world, now, id)?,
        Request::Join(joining) => return tokens::join(world, now, &joining),
        Request::Renew(host) => return tokens::renew(world, now, &host),
        Request::Keys { host, have, ahead } => return keys::asked(world, now, &host, keys::Asked { have, ahead }),
        Request::Volume(ask) => return volumes::ask(world, now, &ask),
        Request::TakeSnapshot { volume, name } => volumes::take(world, now, &volume, &name)?,
        Request::RemoveSnapshot { volume, name } => volumes::remove(world, now, &volume, &name)?,
        Request::ResizeVolume { volume, size } => volumes::resize(world, &volume, size)?,
        Request::RecoverVolume(volume) => volumes::recover(world, now, &volume)?,
        Request::RotateKeys => keys::rotate(world, now)?,
        Request::RemoveHost(host) => leave::remove(world, now, &host)?,
    }
    Ok(Reply::Done)
}

fn not_found(what: &str, name: impl std::fmt::Display) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no {what} {name}"))
}

pub(super) fn known_node(world: &World, node: &HostName) -> Result<(), ApiError> {
    let is_node = world.hosts.get(node).is_some_and(|host| host.offer.is_some());
    if is_node { Ok(()) } else { Err(not_found("node", node)) }
}

fn known_server(world: &World, key: &ServerKey) -> Result<(), ApiError> {
    let server = world.servers.get(key).ok_or_else(|| not_found("server", key))?;
    match &server.ending {
        Some(ending) if ending.goal == Goal::Delete => Err(ApiError::new(Code::State, format!("server {key} is being deleted"))),
        _ => Ok(()),
    }
}

fn restart(world: &mut World, now: Now, within: Option<&PartitionName>, key: &ServerKey) -> Result<(), ApiError> {
    known_server(world, key)?;
    reach::refuse(world, now, within, key, "started anew")?;
    if world.servers[key].node.is_none() {
        return Err(ApiError::new(Code::State, format!("server {key} has no node: there is nothing to restart")));
    }
    ending::begin(world, now, key, Goal::Restart, EndingPhase::Draining);
    Ok(())
}

fn stop(world: &mut World, now: Now, within: Option<&PartitionName>, key: &ServerKey) -> Result<(), ApiError> {
    known_server(world, key)?;
    if world.servers[key].intent == Intent::Stopped {
        return Ok(());
    }
    reach::refuse(world, now, within, key, "stopped")?;
    if world.servers[key].node.is_some() {
        ending::begin(world, now, key, Goal::Stop, EndingPhase::Draining);
    } else if let Some(server) = world.server_mut(key) {
        server.intent = Intent::Stopped;
    }
    Ok(())
}

fn start(world: &mut World, now: Now, within: Option<&PartitionName>, key: &ServerKey) -> Result<(), ApiError> {
    known_server(world, key)?;
    let stopping = world.servers[key].ending.as_ref().is_some_and(|ending| ending.goal == Goal::Stop);
    let failed = super::fail::is_failed(world, key);
    if world.servers[key].intent == Intent::Run && !stopping && !failed {
        return Ok(());
    }
    let held = ending::is_held(world, &world.servers[key]);
    // That a node has given a server up is its word, which it may have lost with its run directory.
    if (stopping && !held) || failed {
        reach::refuse(world, now, within, key, "started")?;
    }
    // Where nothing can be told to it nothing of it runs, or nothing of it was stopped.
    let leaves = !held && reach::keeps(world, key);
    world.seen.retry_at.remove(key);
    if leaves {
        world.seen.servers.remove(key);
    }
    world.server_event(now, key, Severity::Info, "Started", "is started by an operator");
    world.seen.replan = true;
    if let Some(server) = world.server_mut(key) {
        server.intent = Intent::Run;
        server.ending = None;
        server.incarnation += u64::from(!held);
        server.failed_moves = 0;
        server.node = server.node.take().filter(|_| !leaves);
    }
    Ok(())
}

fn relocate(
    world: &mut World,
    now: Now,
    within: Option<&PartitionName>,
    (key, to): (&ServerKey, Option<HostName>),
    phase: EndingPhase,
) -> Result<(), ApiError> {
    known_server(world, key)?;
    let from = world.servers[key].node.clone();
    let stopping = world.servers[key].ending.as_ref().is_some_and(|ending| ending.goal == Goal::Stop);
    if stopping || world.servers[key].intent == Intent::Stopped {
        return Err(ApiError::new(Code::State, format!("server {key} is stopped: start it first")));
    }
    if world.servers[key].ending.is_some() {
        return Err(ApiError::new(Code::State, format!("server {key} is on its way already: wait until it runs")));
    }
    reach::refuse(world, now, within, key, "moved")?;
    let target = match to {
        Some(to) => {
            known_node(world, &to)?;
            if from.as_ref() == Some(&to) {
                return Err(ApiError::new(Code::State, format!("server {key} is on {to} already")));
            }
            place::fits(world, key, &to)
                .map_err(|reason| ApiError::new(Code::NoCapacity, format!("server {key} cannot go to {to}: {reason}")))?;
            to
        }
        None => {
            // The reasons name nodes, and who else is there.
            let told = |reason| within.map_or(reason, |_| pan_plan::NOT_AVAILABLE_NOW.to_owned());
            let refusal = |reason| ApiError::new(Code::NoCapacity, format!("server {key} cannot move: {}", told(reason)));
            place::elsewhere(world, key).map_err(refusal)?
        }
    };
    ending::begin(world, now, key, Goal::Move(Some(target)), phase);
    Ok(())
}

/// Lets a node do more or less than before.
///
/// # Errors
/// `NotFound`.
pub fn duty(world: &mut World, now: Now, node: &HostName, duty: Duty) -> Result<(), ApiError> {
    known_node(world, node)?;
    if world.hosts[node].duty == duty {
        return Ok(());
    }
    if let Some(host) = world.host_mut(node) {
        host.duty = duty;
    }
    world.seen.replan = true;
    let (reason, text) = match duty {
        Duty::Full => ("Uncordoned", "takes servers again"),
        Duty::Cordoned => ("Cordoned", "keeps its servers and takes no new ones"),
        Duty::Draining => ("Draining", "gives its servers away"),
    };
    world.host_event(now, node, Severity::Info, reason, format!("node {node} {text}"));
    if duty == Duty::Full {
        keep_servers(world, node);
    }
    Ok(())
}

/// Ends the moves of a drain that was taken back, as far as nothing was stopped yet. A node out of reach cannot say what it stopped: what it
/// did runs again as soon as it hears of it.
fn keep_servers(world: &mut World, node: &HostName) {
    let away = reach::is_away(world, node);
    let draining = |key: &&ServerKey| {
        let server = &world.servers[*key];
        let begun = |phase: EndingPhase| away || phase == EndingPhase::Draining;
        let moving = server.ending.as_ref().is_some_and(|ending| matches!(ending.goal, Goal::Move(_)) && begun(ending.phase));
        server.node.as_ref() == Some(node) && moving
    };
    let keys: Vec<ServerKey> = world.servers.keys().filter(draining).cloned().collect();
    for key in keys {
        if let Some(server) = world.server_mut(&key) {
            server.ending = None;
        }
        world.timelines.forget_open(&key.to_string());
    }
}

fn label(world: &mut World, node: &HostName, labels: BTreeMap<String, Option<String>>) -> Result<(), ApiError> {
    known_node(world, node)?;
    for (name, value) in &labels {
        pan_model::node::label(name, value.as_deref().unwrap_or_default()).map_err(|text| ApiError::new(Code::Invalid, text))?;
    }
    if labels.iter().all(|(name, value)| world.hosts[node].labels.get(name) == Some(value)) {
        return Ok(());
    }
    if let Some(host) = world.host_mut(node) {
        host.labels.extend(labels);
    }
    world.seen.replan = true;
    Ok(())
}

fn delete(
    world: &mut World,
    now: Now,
    (kind, partition, name): (Kind, Option<PartitionName>, &str),
    cascade: bool,
) -> Result<(), ApiError> {
    let invalid = |error: pan_model::id::NameError| ApiError::new(Code::Invalid, error.to_string());
    match (kind, partition) {
        (Kind::Partition, _) => delete_partition(world, now, &PartitionName::new(name).map_err(invalid)?, cascade),
        (Kind::Cluster, Some(partition)) => delete_cluster(world, now, &(partition, ClusterName::new(name).map_err(invalid)?), cascade),
        (Kind::Service, Some(partition)) => {
            let key = (partition, ServiceName::new(name).map_err(invalid)?);
            world.services.remove(&key).ok_or_else(|| not_found("service", &key.1))?;
            world.dirty.insert(Dirty::Service(key));
            Ok(())
        }
        (Kind::Volume, Some(partition)) => {
            volumes::delete(world, now, &VolumeKey { partition, name: VolumeName::new(name).map_err(invalid)? }, cascade)
        }
        (Kind::Import, Some(partition)) => {
            let key = (partition, Name::new(name).map_err(invalid)?);
            if imports::remove(world, &key) { Ok(()) } else { Err(not_found("import", &key.1)) }
        }
        (Kind::Policy, Some(partition)) => {
            let key = (partition, Name::new(name).map_err(invalid)?);
            if policy::remove(world, &key) { Ok(()) } else { Err(not_found("policy", &key.1)) }
        }
        (Kind::Cluster | Kind::Service | Kind::Volume | Kind::Import | Kind::Policy, None) => {
            Err(ApiError::new(Code::Invalid, "a partition is needed"))
        }
    }
}

fn delete_partition(world: &mut World, now: Now, name: &PartitionName, cascade: bool) -> Result<(), ApiError> {
    if !world.partitions.contains_key(name) {
        return Err(not_found("partition", name));
    }
    let clusters: Vec<ClusterKey> = world.clusters.keys().filter(|key| key.0 == *name).cloned().collect();
    let services: Vec<_> = world.services.keys().filter(|key| key.0 == *name).cloned().collect();
    let volumes: Vec<VolumeKey> = world.volumes.keys().filter(|key| key.partition == *name).cloned().collect();
    let sources: Vec<VolumeKey> = world.sources.keys().filter(|key| key.partition == *name).cloned().collect();
    let imports: Vec<ImportKey> = world.imports.keys().filter(|key| key.0 == *name).cloned().collect();
    let policies: Vec<PolicyKey> = world.policies.keys().filter(|key| key.0 == *name).cloned().collect();
    let going = |key: &VolumeKey| world.volumes[key].deleting;
    let others = services.is_empty() && imports.is_empty() && policies.is_empty();
    let empty = clusters.is_empty() && others && sources.is_empty() && volumes.iter().all(going);
    if !cascade && !empty {
        let names: Vec<String> = clusters
            .iter()
            .map(|key| format!("cluster {}", key.1))
            .chain(services.iter().map(|key| format!("service {}", key.1)))
            .chain(imports.iter().map(|key| format!("import {}", key.1)))
            .chain(policies.iter().map(|key| format!("policy {}", key.1)))
            .chain(sources.iter().chain(&volumes).map(|key| format!("volume {}", key.name)))
            .collect();
        return Err(ApiError::new(
            Code::InUse,
            format!("partition {name} still has {}: delete them first or use --cascade", names.join(", ")),
        ));
    }
    for key in services {
        world.services.remove(&key);
        world.dirty.insert(Dirty::Service(key));
    }
    for key in imports {
        imports::remove(world, &key);
    }
    for key in policies {
        policy::remove(world, &key);
    }
    for key in clusters {
        take_down(world, now, &key);
    }
    for key in volumes {
        volumes::give_up(world, now, &key);
    }
    for key in sources {
        world.sources.remove(&key);
        world.dirty.insert(Dirty::Source(key));
    }
    if let Some(partition) = world.partition_mut(name) {
        partition.deleting = true;
    }
    Ok(())
}

fn delete_cluster(world: &mut World, now: Now, key: &ClusterKey, cascade: bool) -> Result<(), ApiError> {
    if !world.clusters.contains_key(key) {
        return Err(not_found("cluster", &key.1));
    }
    let services: Vec<_> = world.services_of(&key.0, &key.1).cloned().collect();
    let refers = |spec: &pan_model::ClusterSpec| {
        let allows = spec.allow.iter().flatten().any(|rule| rule.from.cluster() == Some(&key.1));
        allows || spec.with.contains(&key.1) || spec.after.iter().any(|after| after.cluster == key.1)
    };
    let dependents =
        world.clusters.iter().filter(|(other, record)| other.0 == key.0 && !record.deleting && *other != key && refers(&record.spec));
    let dependents: Vec<String> = dependents.map(|(other, _)| format!("cluster {}", other.1)).collect();
    if !dependents.is_empty() {
        return Err(ApiError::new(Code::InUse, format!("{} refers to cluster {}: change it first", dependents.join(", "), key.1)));
    }
    if !cascade && !services.is_empty() {
        let names: Vec<_> = services.iter().map(|service| service.1.as_str()).collect();
        let text = format!("service {} sends traffic to cluster {}: delete it first or use --cascade", names.join(", "), key.1);
        return Err(ApiError::new(Code::InUse, text));
    }
    let policies: Vec<PolicyKey> = policy::about(world, key).cloned().collect();
    if let Some(about) = policies.first().filter(|_| !cascade) {
        let text = format!("policy {} is about cluster {}: delete it first or use --cascade", about.1, key.1);
        return Err(ApiError::new(Code::InUse, text));
    }
    for service in services {
        world.services.remove(&service);
        world.dirty.insert(Dirty::Service(service));
    }
    for policy in policies {
        policy::remove(world, &policy);
    }
    if cascade {
        let servers = world.servers_of(key);
        let theirs = |(name, record): &(&VolumeKey, &VolumeRecord)| {
            name.partition == key.0 && servers.iter().any(|server| record.server.as_ref() == Some(&server.name))
        };
        let volumes: Vec<VolumeKey> = world.volumes.iter().filter(theirs).map(|(name, _)| name.clone()).collect();
        for volume in volumes {
            volumes::give_up(world, now, &volume);
        }
    }
    take_down(world, now, key);
    Ok(())
}

fn take_down(world: &mut World, now: Now, key: &ClusterKey) {
    for server in world.servers_of(key) {
        ending::begin(world, now, &server, Goal::Delete, EndingPhase::Draining);
    }
    if let Some(cluster) = world.cluster_mut(key) {
        cluster.deleting = true;
        cluster.spec.protect = None;
    }
    world.seen.replan = true;
}
