//! What a principal may see of the newest committed state. Handlers see nothing else.
//!
//! A principal of a partition sees that partition alone: everything outside it is as absent as what does not exist,
//! and the places of its servers are opaque names of failure domains.

use super::call::not_found;
use super::outlook::Outlook;
use crate::core::audit::Log;
use crate::core::timeline;
use crate::handle::{Principal, SnapshotPlace, View};
use pan_api::ApiError;
use pan_api::cluster::Cluster;
use pan_api::event::Event;
use pan_api::host::Host;
use pan_api::import::Import;
use pan_api::insight::Timeline;
use pan_api::node::Node;
use pan_api::partition::Partition;
use pan_api::policy::Policy;
use pan_api::server::Server;
use pan_api::service::Service;
use pan_api::token::Token;
use pan_api::usage::Usage;
use pan_api::volume::Volume;
use pan_model::{ClusterName, Code, HostName, Name, PartitionName, ServerKey, ServiceName, VolumeKey};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The secret from which the names of failure domains are made, so that nobody can guess a host's name from one.
#[derive(Clone, Copy)]
pub struct DomainKey([u8; 32]);

impl DomainKey {
    /// The key that belongs to a PAN's own key.
    #[must_use]
    pub fn of(pan_key: &[u8]) -> Self {
        Self(Sha256::new().chain_update(b"pan failure domain names 1").chain_update(pan_key).finalize().into())
    }

    /// The name by which a partition knows a node: the same for as long as the PAN lives, different in each partition.
    fn name(&self, partition: &PartitionName, node: &str) -> String {
        let digest = Sha256::new().chain_update(self.0).chain_update(partition.as_str()).chain_update([0]).chain_update(node).finalize();
        digest.iter().take(4).fold(String::from("domain-"), |name, byte| format!("{name}{byte:02x}"))
    }
}

fn no_partition(name: &PartitionName) -> ApiError {
    not_found(format_args!("partition {:?}", name.as_str()))
}

/// The state as one principal may see it.
pub struct Scope {
    only: Option<PartitionName>,
    view: Arc<View>,
    domains: DomainKey,
}

impl Scope {
    /// What `principal` sees of `view`.
    pub fn new(principal: &Principal, view: Arc<View>, domains: DomainKey) -> Self {
        Self { only: principal.partition.clone(), view, domains }
    }

    /// Whether everything of the PAN is visible, hosts included.
    pub fn is_whole(&self) -> bool {
        self.only.is_none()
    }

    fn sees(&self, partition: &PartitionName) -> bool {
        self.only.as_ref().is_none_or(|only| only == partition)
    }

    /// A partition.
    pub fn partition(&self, name: &PartitionName) -> Option<Partition> {
        self.view.partitions.get(name).filter(|_| self.sees(name)).cloned()
    }

    /// Refuses when there is no such partition.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn require_partition(&self, name: &PartitionName) -> Result<(), ApiError> {
        let there = self.sees(name) && self.view.partitions.contains_key(name);
        if there { Ok(()) } else { Err(no_partition(name)) }
    }

    /// Refuses a partition that the principal is not of, whether it exists or not.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn require_within(&self, name: &PartitionName) -> Result<(), ApiError> {
        if self.sees(name) { Ok(()) } else { Err(no_partition(name)) }
    }

    /// All partitions.
    pub fn partitions(&self) -> BTreeMap<PartitionName, Partition> {
        let seen = self.view.partitions.iter().filter(|(name, _)| self.sees(name));
        seen.map(|(name, partition)| (name.clone(), partition.clone())).collect()
    }

    fn of<'a, K, T>(
        &'a self,
        all: &'a BTreeMap<K, T>,
        within: Option<&'a PartitionName>,
        of: fn(&K) -> &PartitionName,
    ) -> impl Iterator<Item = (&'a K, &'a T)> {
        all.iter().filter(move |(key, _)| self.sees(of(key)) && within.is_none_or(|within| within == of(key)))
    }

    /// The clusters of a partition, or all.
    pub fn clusters(&self, within: Option<&PartitionName>) -> BTreeMap<(PartitionName, ClusterName), Cluster> {
        self.of(&self.view.clusters, within, |key| &key.0).map(|(key, cluster)| (key.clone(), cluster.clone())).collect()
    }

    /// A cluster.
    pub fn cluster(&self, key: &(PartitionName, ClusterName)) -> Option<Cluster> {
        self.view.clusters.get(key).filter(|_| self.sees(&key.0)).cloned()
    }

    fn kept(&self, volume: &Volume) -> Volume {
        let mut volume = volume.clone();
        if !self.is_whole() {
            volume.replicas.clear();
        }
        volume
    }

    /// The volumes of a partition, or all.
    pub fn volumes(&self, within: Option<&PartitionName>) -> BTreeMap<VolumeKey, Volume> {
        self.of(&self.view.volumes, within, |key| &key.partition).map(|(key, volume)| (key.clone(), self.kept(volume))).collect()
    }

    /// A volume.
    pub fn volume(&self, key: &VolumeKey) -> Option<Volume> {
        self.view.volumes.get(key).filter(|_| self.sees(&key.partition)).map(|volume| self.kept(volume))
    }

    /// Where a snapshot can be read.
    pub fn snapshot_place(&self, key: &VolumeKey, name: &Name) -> Option<SnapshotPlace> {
        let place = self.view.snapshots.get(&(key.clone(), name.clone()));
        place.filter(|_| self.sees(&key.partition)).cloned()
    }

    fn placed(&self, server: &Server) -> Server {
        let mut server = server.clone();
        if !self.is_whole() {
            server.node = server.node.map(|node| self.domains.name(&server.partition, &node));
        }
        server
    }

    /// The servers of a partition, or all.
    pub fn servers(&self, within: Option<&PartitionName>) -> BTreeMap<ServerKey, Server> {
        self.of(&self.view.servers, within, |key| &key.partition).map(|(key, server)| (key.clone(), self.placed(server))).collect()
    }

    /// A server.
    pub fn server(&self, key: &ServerKey) -> Option<Server> {
        self.view.servers.get(key).filter(|_| self.sees(&key.partition)).map(|server| self.placed(server))
    }

    /// The node a server is bound to, and the address of that node's agent. For the controller's own use: neither is shown.
    pub fn agent_of(&self, key: &ServerKey) -> Option<(HostName, IpAddr)> {
        let server = self.view.servers.get(key).filter(|_| self.sees(&key.partition))?;
        let node = HostName::new(server.node.clone()?).ok()?;
        let address = *self.view.node_addresses.get(&node)?;
        Some((node, address))
    }

    /// The director that owns a service's address, and where it is asked. For the controller's own use: neither is shown.
    pub fn director_of(&self, key: &(PartitionName, ServiceName)) -> Option<(HostName, IpAddr)> {
        let service = self.view.services.get(key).filter(|_| self.sees(&key.0))?;
        let director = HostName::new(service.director.clone()?).ok()?;
        let address = *self.view.node_addresses.get(&director)?;
        Some((director, address))
    }

    fn served(&self, service: &Service) -> Service {
        let mut service = service.clone();
        if !self.is_whole() {
            service.director = None;
        }
        service
    }

    /// The services of a partition, or all.
    pub fn services(&self, within: Option<&PartitionName>) -> BTreeMap<(PartitionName, ServiceName), Service> {
        self.of(&self.view.services, within, |key| &key.0).map(|(key, service)| (key.clone(), self.served(service))).collect()
    }

    /// A service.
    pub fn service(&self, key: &(PartitionName, ServiceName)) -> Option<Service> {
        self.view.services.get(key).filter(|_| self.sees(&key.0)).map(|service| self.served(service))
    }

    /// The imports of a partition, or all.
    pub fn imports(&self, within: Option<&PartitionName>) -> BTreeMap<(PartitionName, Name), Import> {
        self.of(&self.view.imports, within, |key| &key.0).map(|(key, import)| (key.clone(), import.clone())).collect()
    }

    /// An import.
    pub fn import(&self, key: &(PartitionName, Name)) -> Option<Import> {
        self.view.imports.get(key).filter(|_| self.sees(&key.0)).cloned()
    }

    /// The policies of a partition, or all.
    pub fn policies(&self, within: Option<&PartitionName>) -> BTreeMap<(PartitionName, Name), Policy> {
        self.of(&self.view.policies, within, |key| &key.0).map(|(key, policy)| (key.clone(), policy.clone())).collect()
    }

    /// A policy.
    pub fn policy(&self, key: &(PartitionName, Name)) -> Option<Policy> {
        self.view.policies.get(key).filter(|_| self.sees(&key.0)).cloned()
    }

    /// What policies make of the clusters of a partition, as far as that is a question of the clock.
    pub fn outlook(&self) -> Outlook<'_> {
        Outlook::of(&self.view, self.only.as_ref())
    }

    /// All nodes; none for principals of a partition.
    pub fn nodes(&self) -> BTreeMap<HostName, Node> {
        if self.is_whole() { self.view.nodes.clone() } else { BTreeMap::new() }
    }

    /// A node.
    pub fn node(&self, name: &HostName) -> Option<Node> {
        self.view.nodes.get(name).filter(|_| self.is_whole()).cloned()
    }

    /// All hosts; none for principals of a partition.
    pub fn hosts(&self) -> BTreeMap<HostName, Host> {
        if self.is_whole() { self.view.hosts.clone() } else { BTreeMap::new() }
    }

    /// A host.
    pub fn host(&self, name: &HostName) -> Option<Host> {
        self.view.hosts.get(name).filter(|_| self.is_whole()).cloned()
    }

    fn sees_token(&self, token: &Token) -> bool {
        self.is_whole() || token.partition.as_ref().is_some_and(|partition| self.sees(partition))
    }

    /// Tokens: all, or those of the principal's partition.
    pub fn tokens(&self) -> BTreeMap<u64, Token> {
        self.view.tokens.iter().filter(|(_, token)| self.sees_token(token)).map(|(id, token)| (*id, token.clone())).collect()
    }

    /// A token.
    pub fn token(&self, id: u64) -> Option<Token> {
        self.view.tokens.get(&id).filter(|token| self.sees_token(token)).cloned()
    }

    /// Events by where they belong, ascending numbers: those of a partition, or all that are visible.
    pub fn events<'a>(&'a self, within: Option<&'a PartitionName>) -> impl Iterator<Item = (&'a Option<PartitionName>, &'a [Arc<Event>])> {
        let seen = move |place: &Option<PartitionName>| match place {
            Some(partition) => self.sees(partition) && within.is_none_or(|within| within == partition),
            None => self.is_whole() && within.is_none(),
        };
        self.view.events.iter().filter(move |(place, _)| seen(place)).map(|(place, events)| (place, events.as_slice()))
    }

    /// The log of a partition that is visible, or of where the principal is from.
    pub fn audit(&self, within: Option<&PartitionName>) -> Arc<Log> {
        let place = within.or(self.only.as_ref()).filter(|partition| self.sees(partition));
        self.view.audit.get(&place.cloned()).cloned().unwrap_or_default()
    }

    /// What was used in hours that begin from `from` on and before `to` (wall, microseconds): by a partition, or by all that are visible;
    /// `None`: that is more than `most`. A principal of a partition sees no hour of one that had its name before.
    pub fn usage(&self, within: Option<&PartitionName>, from: i64, to: i64, most: usize) -> Option<Vec<Usage>> {
        let seen = self.view.usage.iter().filter(|(name, _)| self.sees(name) && within.is_none_or(|within| within == *name));
        let books: Vec<_> = seen
            .filter_map(|(name, book)| {
                let since = if self.is_whole() { Some(i64::MIN) } else { self.view.created.get(name).copied() };
                Some((name, book, from.max(since?)))
            })
            .collect();
        let count: usize = books.iter().map(|(_, book, from)| book.count(*from, to)).sum();
        (count <= most).then(|| books.into_iter().flat_map(|(name, book, from)| book.rows(name, from, to)).collect())
    }

    /// The timelines of a server, newest first; none when nothing moved it yet.
    pub fn server_timelines(&self, key: &ServerKey) -> Option<Arc<Vec<Timeline>>> {
        self.view.servers.get(key).filter(|_| self.sees(&key.partition))?;
        let mut timelines = self.view.timelines.get(&key.to_string()).cloned().unwrap_or_default();
        if !self.is_whole() {
            Arc::make_mut(&mut timelines).iter_mut().flat_map(|timeline| &mut timeline.steps).for_each(timeline::within_partition);
        }
        Some(timelines)
    }

    /// The timelines of a host, newest first.
    pub fn host_timelines(&self, name: &HostName) -> Option<Arc<Vec<Timeline>>> {
        self.view.hosts.get(name).filter(|_| self.is_whole())?;
        Some(self.view.timelines.get(name.as_str()).cloned().unwrap_or_default())
    }

    /// The failure domains that are drained.
    ///
    /// # Errors
    /// `Denied` for a principal of a partition.
    pub fn drains(&self) -> Result<Vec<pan_api::insight::DomainDrain>, ApiError> {
        self.snapshot().map(|_| self.view.drains.clone())
    }

    /// What the planner sees: everything, so only for callers who may see the whole PAN.
    ///
    /// # Errors
    /// `Denied` for principals of a partition.
    pub fn snapshot(&self) -> Result<Arc<pan_plan::Snapshot>, ApiError> {
        if self.is_whole() {
            Ok(self.view.snapshot.clone())
        } else {
            Err(ApiError::new(Code::Denied, "only roles of the PAN may ask this"))
        }
    }
}
