//! The slow, obvious reference: kill domains one set after the other and try every arrangement there is.

use pan_model::Resources;
use pan_plan::{Domain, NodeState, Protect, ServerId, Snapshot, Spread};
use std::collections::BTreeMap;

pub type Places = BTreeMap<ServerId, usize>;

/// Where every bound server is, by the index of its node.
pub fn places(world: &Snapshot) -> Places {
    let index = |host| world.nodes.keys().position(|name| name == host);
    let servers = world
        .clusters
        .iter()
        .flat_map(|((partition, _), cluster)| cluster.servers.iter().map(move |(name, host)| ((partition.clone(), name.clone()), host)));
    servers.filter_map(|(id, host)| Some((id, index(host.as_ref()?)?))).collect()
}

/// The first hard rule that an arrangement breaks.
pub fn broken_rule(world: &Snapshot, places: &Places) -> Option<String> {
    let mut used = vec![Resources::default(); world.nodes.len()];
    let mut domains: BTreeMap<(String, String), ServerId> = BTreeMap::new();
    for (id, at) in places {
        let (key, cluster) = world.cluster_of(id).unwrap();
        let node = world.nodes.values().nth(*at).unwrap();
        used[*at] = used[*at].plus(&cluster.need);
        if cluster.require_labels.iter().any(|(key, value)| node.labels.get(key) != Some(value)) {
            return Some(format!("{id:?} lacks a label on node {at}"));
        }
        if let Spread::Require(level) = cluster.spread
            && let Some(other) = domains.insert((format!("{key:?}"), domain(world, *at, level)), id.clone())
        {
            return Some(format!("{id:?} and {other:?} share a {level}"));
        }
    }
    let over = used.iter().zip(world.nodes.values()).position(|(used, node)| !used.fits(&node.capacity));
    over.map(|at| format!("node {at} has {} on it", used[at]))
}

pub fn domain(world: &Snapshot, at: usize, level: Domain) -> String {
    let (name, node) = world.nodes.iter().nth(at).unwrap();
    if level == Domain::Node { name.to_string() } else { node.labels.get(level.word()).cloned().unwrap_or_default() }
}

/// The servers that share a node with one: same number, joined by `with` in either direction, through any number of clusters.
pub fn group(world: &Snapshot, id: &ServerId) -> Vec<ServerId> {
    let mut group = vec![id.clone()];
    loop {
        let joined = |one: &ServerId, other: &ServerId| {
            let ((one_key, one_cluster), (other_key, other_cluster)) = (world.cluster_of(one).unwrap(), world.cluster_of(other).unwrap());
            let number = |id: &ServerId| id.1.as_str().rsplit_once('-').unwrap().1.to_owned();
            let named = one_cluster.with.contains(&other_key.1) || other_cluster.with.contains(&one_key.1);
            one.0 == other.0 && number(one) == number(other) && named
        };
        let more = all(world).find(|other| !group.contains(other) && group.iter().any(|one| joined(one, other)));
        match more {
            Some(other) => group.push(other),
            None => {
                group.sort();
                return group;
            }
        }
    }
}

pub fn all(world: &Snapshot) -> impl Iterator<Item = ServerId> {
    world.clusters.iter().flat_map(|((partition, _), cluster)| cluster.servers.keys().map(|name| (partition.clone(), name.clone())))
}

/// The promise for a server: the strongest in its group, for those of the group on its node.
pub fn promise(world: &Snapshot, id: &ServerId) -> Option<Protect> {
    let beside = group(world, id).into_iter().filter(|other| world.bound(other) == world.bound(id));
    let promises = beside.filter_map(|other| world.cluster_of(&other).unwrap().1.protect).filter(|protect| protect.failures > 0);
    promises.reduce(|a, b| Protect { failures: a.failures.max(b.failures), domain: a.domain.max(b.domain) })
}

/// Whether every promise holds. Every server must be bound to a running node.
pub fn holds(world: &Snapshot) -> bool {
    let promises: Vec<Protect> = all(world).filter_map(|id| promise(world, &id)).collect();
    Domain::ALL.into_iter().filter(|level| promises.iter().any(|protect| protect.domain == *level)).all(|level| {
        let running = (0..world.nodes.len()).filter(|at| world.nodes.values().nth(*at).unwrap().state != NodeState::Down);
        let mut domains: Vec<String> = running.map(|at| domain(world, at, level)).collect();
        domains.sort();
        domains.dedup();
        (1_u32..1 << domains.len()).all(|set| {
            let lost: Vec<&String> =
                domains.iter().enumerate().filter(|(index, _)| set & (1 << index) != 0).map(|(_, name)| name).collect();
            survives(world, level, &lost)
        })
    })
}

fn survives(world: &Snapshot, level: Domain, lost: &[&String]) -> bool {
    let dead = |at: usize| lost.contains(&&domain(world, at, level));
    let covered =
        |id: &ServerId| promise(world, id).is_some_and(|protect| protect.failures as usize >= lost.len() && protect.domain >= level);
    let before = places(world);
    let staying: Places = before.iter().filter(|(_, at)| !dead(**at)).map(|(id, at)| (id.clone(), *at)).collect();
    let mut homeless: Vec<Vec<ServerId>> = Vec::new();
    for id in before.iter().filter(|(id, at)| dead(**at) && covered(id)).map(|(id, _)| id) {
        let together: Vec<ServerId> = group(world, id).into_iter().filter(|other| before.get(other) == before.get(id)).collect();
        if !homeless.contains(&together) {
            homeless.push(together);
        }
    }
    let open: Vec<usize> = (0..world.nodes.len())
        .filter(|at| !dead(*at) && matches!(world.nodes.values().nth(*at).unwrap().state, NodeState::Up | NodeState::Spare))
        .collect();
    arrange(world, staying, &homeless, &open)
}

fn arrange(world: &Snapshot, places: Places, homeless: &[Vec<ServerId>], open: &[usize]) -> bool {
    let Some((first, rest)) = homeless.split_first() else { return true };
    open.iter().any(|at| {
        let mut tried = places.clone();
        tried.extend(first.iter().map(|id| (id.clone(), *at)));
        broken_rule(world, &tried).is_none() && arrange(world, tried, rest, open)
    })
}
