//! As many servers as a cluster is to have: those that are missing are made, those that are too many end.

use super::record::{EndingPhase, Goal, Intent, ServerRecord};
use super::validate::Trouble;
use super::world::{ClusterKey, Dirty, Now, World};
use super::{ending, imports};
use pan_model::network::{Cidr, FIRST_SERVER_OFFSET, address_at};
use pan_model::{Code, Epoch, Mac, PartitionName, ServerKey, ServerName};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Makes or ends servers until a cluster has the number wanted.
///
/// # Errors
/// `NoCapacity`: the partition's network has no address left.
pub fn to(draft: &mut World, now: Now, key: &ClusterKey, wanted: u32) -> Result<(), Trouble> {
    let existing = draft.servers_of(key);
    let kept = |draft: &World, server: &ServerKey| !matches!(&draft.servers[server].ending, Some(ending) if ending.goal == Goal::Delete);
    for server in existing.iter().rev() {
        if draft.servers[server].ordinal > wanted && kept(draft, server) {
            ending::begin(draft, now, server, Goal::Delete, EndingPhase::Draining);
        }
    }
    let mut free = FreeAddresses::of(draft, &key.0);
    for ordinal in 1..=wanted {
        let name = ServerName::of(&key.1, ordinal);
        let server = ServerKey { partition: key.0.clone(), name };
        // One that is being deleted is made anew by `again` when it is gone.
        if !draft.servers.contains_key(&server) {
            create(draft, now, key, (&server, ordinal, free.take()?));
        }
    }
    Ok(())
}

/// Whether there is nothing to make and to end.
#[must_use]
pub fn is_so(world: &World, key: &ClusterKey, wanted: u32) -> bool {
    let all: Vec<&ServerRecord> = world.servers_of(key).iter().filter_map(|server| world.servers.get(server)).collect();
    let there = all.iter().filter(|server| server.ordinal <= wanted).count();
    there == wanted as usize && all.iter().all(|server| server.ordinal <= wanted || server.is_leaving())
}

/// Makes a server anew whose deletion is over, if it is wanted again by then: the same name and addresses, nothing else.
pub fn again(world: &mut World, now: Now, key: &ServerKey, gone: &ServerRecord) {
    let cluster = (key.partition.clone(), gone.cluster.clone());
    if is_wanted(world, &cluster, gone) {
        world.seen.retry_at.remove(key);
        create(world, now, &cluster, (key, gone.ordinal, gone.addresses.clone()));
    }
}

/// Whether a cluster is to have a server of that number.
#[must_use]
pub fn is_wanted(world: &World, cluster: &ClusterKey, server: &ServerRecord) -> bool {
    world.clusters.get(cluster).is_some_and(|record| !record.deleting && server.ordinal <= record.wanted())
}

fn create(draft: &mut World, now: Now, key: &ClusterKey, (server, ordinal, addresses): (&ServerKey, u32, Vec<IpAddr>)) {
    let revision = draft.clusters.get(key).map_or(1, |cluster| cluster.revision);
    let Some(partition) = draft.partition_mut(&key.0) else { return };
    let index = partition.next_index;
    partition.next_index += 1;
    let mac = Mac::of(*addresses.first().expect("a partition has a network"));
    let record = ServerRecord {
        cluster: key.1.clone(),
        ordinal,
        index,
        mac,
        addresses,
        epoch: Epoch(0),
        node: None,
        why: String::new(),
        bound_at: now.wall,
        incarnation: 0,
        revision,
        intent: Intent::Run,
        ending: None,
        failed_moves: 0,
        restarts: 0,
    };
    draft.servers.insert(server.clone(), record);
    draft.dirty.insert(Dirty::Server(server.clone()));
}

/// The free addresses of a partition, from the lowest on, the same offset in each of its networks.
pub struct FreeAddresses {
    partition: PartitionName,
    networks: Vec<Cidr>,
    used: BTreeSet<IpAddr>,
    next: u128,
}

impl FreeAddresses {
    /// Those that no server and no import has.
    #[must_use]
    pub fn of(draft: &World, partition: &PartitionName) -> Self {
        let servers = draft.in_partition(partition).flat_map(|(_, server)| server.addresses.iter().copied());
        let used = servers.chain(imports::addresses(draft, partition)).collect();
        let networks = draft.partitions[partition].networks.clone();
        Self { partition: partition.clone(), networks, used, next: FIRST_SERVER_OFFSET }
    }

    /// The next of them.
    ///
    /// # Errors
    /// `NoCapacity`: there is none.
    pub fn take(&mut self) -> Result<Vec<IpAddr>, Trouble> {
        loop {
            let found: Option<Vec<IpAddr>> = self.networks.iter().map(|net| address_at(*net, self.next)).collect();
            let Some(found) = found else {
                let text = format!("the network of partition {} has no free address left", self.partition);
                return Err(Trouble::new(Code::NoCapacity, "spec.servers", text));
            };
            self.next += 1;
            if found.iter().all(|address| !self.used.contains(address)) {
                return Ok(found);
            }
        }
    }
}
