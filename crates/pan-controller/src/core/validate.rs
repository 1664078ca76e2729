//! Checks of documents that need the rest of the world: references, quotas, addresses.

use super::record::{PartitionRecord, ServiceRecord};
use super::volumes;
use super::world::{ClusterKey, ServiceKey, World};
use pan_api::certificate::{self, CertificateError, CertificateFacts};
use pan_model::allow::Caller;
use pan_model::cluster::Image;
use pan_model::manifest::Object;
use pan_model::partition::HostImage;
use pan_model::service::{Layer, ServiceTls};
use pan_model::{ClusterName, ClusterSpec, Code, Name, PartitionName, ServiceName, ServiceSpec, VolumeKey};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// One thing wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The documented code.
    pub code: Code,
    /// The field, such as `spec.after[0].cluster`.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Trouble {
    /// Something wrong at a field.
    #[must_use]
    pub fn new(code: Code, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, path: path.into(), message: message.into() }
    }
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// A partition.
    Partition(PartitionName),
    /// A cluster.
    Cluster(PartitionName, ClusterName),
    /// A service.
    Service(PartitionName, ServiceName),
    /// A volume that is there by itself.
    Volume(PartitionName, Name),
    /// An import.
    Import(PartitionName, Name),
    /// A policy.
    Policy(PartitionName, Name),
}

impl Which {
    /// The object that a document defines.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        match object {
            Object::Partition(name, _) => Self::Partition(name.clone()),
            Object::Cluster(partition, name, _) => Self::Cluster(partition.clone(), name.clone()),
            Object::Service(partition, name, _) => Self::Service(partition.clone(), name.clone()),
            Object::Volume(partition, name, _) => Self::Volume(partition.clone(), name.clone()),
            Object::Import(partition, name, _) => Self::Import(partition.clone(), name.clone()),
            Object::Policy(partition, name, _) => Self::Policy(partition.clone(), name.clone()),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(name) => write!(f, "partition {name}"),
            Self::Cluster(partition, name) => write!(f, "cluster {partition}/{name}"),
            Self::Service(partition, name) => write!(f, "service {partition}/{name}"),
            Self::Volume(partition, name) => write!(f, "volume {partition}/{name}"),
            Self::Import(partition, name) => write!(f, "import {partition}/{name}"),
            Self::Policy(partition, name) => write!(f, "policy {partition}/{name}"),
        }
    }
}

/// The partition that an object is to lie in.
///
/// # Errors
/// [`Trouble`]: it is not there, or on its way out.
pub fn partition<'a>(draft: &'a World, name: &PartitionName) -> Result<&'a PartitionRecord, Trouble> {
    match draft.partitions.get(name) {
        None => Err(Trouble::new(
            Code::Dangling,
            "partition",
            format!("there is no partition {name}: add a document of kind Partition, or correct the name"),
        )),
        Some(record) if record.deleting => {
            Err(Trouble::new(Code::Leaving, "partition", format!("partition {name} is being deleted: apply it as well to have it again")))
        }
        Some(record) => Ok(record),
    }
}

fn host_image_allowed(draft: &World, partition: &PartitionRecord) -> bool {
    partition.spec.host_image.map_or(draft.settings.host_image_allowed, |allow| allow == HostImage::Allow)
}

/// Whether an image is made of the node's own files.
const fn shows_the_node(image: &Image) -> bool {
    match image {
        Image::Host | Image::Dir(_) => true,
        Image::Oci(_) | Image::Layout(_) => false,
    }
}

/// Checks what a changed partition allows against what it has once all documents are in.
#[must_use]
pub fn limits(draft: &World, name: &PartitionName) -> Vec<(Which, Trouble)> {
    let Some(partition) = draft.partitions.get(name) else { return Vec::new() };
    let clusters = || draft.clusters.iter().filter(|(key, record)| key.0 == *name && !record.deleting);
    let mut found = Vec::new();
    if !host_image_allowed(draft, partition)
        && let Some((key, record)) = clusters().find(|(_, record)| shows_the_node(&record.spec.image))
    {
        let text = format!("cluster {} has image {}: change or delete it first", key.1, record.spec.image);
        found.push(Trouble::new(Code::Conflict, "spec.hostImage", text));
    }
    let quota = partition.spec.quota.as_ref();
    let servers: u32 = clusters().map(|(_, record)| record.wanted()).sum();
    if let Some(most) = quota.and_then(|quota| quota.servers).filter(|most| servers > *most) {
        let text = format!("its clusters have {servers} servers, and this allows {most}: scale them down first");
        found.push(Trouble::new(Code::Quota, "spec.quota.servers", text));
    }
    let addresses: BTreeSet<IpAddr> =
        draft.services.iter().filter(|(key, _)| key.0 == *name).flat_map(|(_, record)| record.addresses.iter().copied()).collect();
    let used = pairs(&addresses);
    if let Some(most) = quota.and_then(|quota| quota.addresses).filter(|most| used > *most as usize) {
        let text = format!("its services have {used} addresses, and this allows {most}: delete some first");
        found.push(Trouble::new(Code::Quota, "spec.quota.addresses", text));
    }
    let imports = draft.imports.keys().filter(|key| key.0 == *name).count();
    if let Some(most) = quota.and_then(|quota| quota.imports).filter(|most| imports > *most as usize) {
        let text = format!("it has {imports} imports, and this allows {most}: delete some first");
        found.push(Trouble::new(Code::Quota, "spec.quota.imports", text));
    }
    let stored = volumes::used(draft, name);
    if let Some(most) = quota.and_then(|quota| quota.storage).filter(|most| stored > *most) {
        let text = format!("its volumes and snapshots take {stored}, each copy counted, and this allows {most}: delete some first");
        found.push(Trouble::new(Code::Quota, "spec.quota.storage", text));
    }
    found.into_iter().map(|trouble| (Which::Partition(name.clone()), trouble)).collect()
}

/// How many addresses count against a quota: one of each family belong together.
fn pairs(addresses: &BTreeSet<IpAddr>) -> usize {
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    v4.max(addresses.len() - v4)
}

/// Checks a cluster against its partition.
///
/// # Errors
/// The first [`Trouble`].
pub fn cluster(draft: &World, key: &ClusterKey, spec: &ClusterSpec) -> Result<(), Trouble> {
    let partition = partition(draft, &key.0)?;
    if shows_the_node(&spec.image) && !host_image_allowed(draft, partition) {
        let text = format!(
            "image {} is not allowed in this partition, as it shows files of the node: use another, or let an administrator set hostImage: allow",
            spec.image
        );
        return Err(Trouble::new(Code::Denied, "spec.image", text));
    }
    Ok(())
}

/// Whether a partition may have so many servers of a cluster.
///
/// # Errors
/// `Quota`.
pub fn servers(draft: &World, key: &ClusterKey, wanted: u32) -> Result<(), Trouble> {
    let quota = draft.partitions.get(&key.0).and_then(|partition| partition.spec.quota.as_ref());
    let Some(most) = quota.and_then(|quota| quota.servers) else { return Ok(()) };
    let others = draft.clusters.iter().filter(|(other, record)| other.0 == key.0 && *other != key && !record.deleting);
    let others: u32 = others.map(|(_, record)| record.wanted()).sum();
    if others.saturating_add(wanted) <= most {
        return Ok(());
    }
    let text = format!("quota of servers: {wanted} asked for, {others} used, {most} allowed");
    Err(Trouble::new(Code::Quota, "spec.servers", text))
}

fn in_range(address: IpAddr, first: IpAddr, last: IpAddr) -> bool {
    address.is_ipv4() == first.is_ipv4() && first <= address && address <= last
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|bits| IpAddr::V6(bits.into())),
    }
}

fn pick(draft: &World, taken: &BTreeSet<IpAddr>, v4: bool) -> Option<IpAddr> {
    let pools = draft.settings.pools.iter().filter(|(first, _)| first.is_ipv4() == v4);
    pools
        .flat_map(|(first, last)| {
            std::iter::successors(Some(*first), |address| next(*address)).take_while(|address| in_range(*address, *first, *last))
        })
        .find(|address| !taken.contains(address) && !is_not_for_services(draft, *address))
}

/// Checks a service and finds its addresses.
///
/// # Errors
/// The first [`Trouble`].
pub fn service(draft: &World, key: &ServiceKey, spec: &ServiceSpec, former: Option<&ServiceRecord>) -> Result<Vec<IpAddr>, Trouble> {
    let partition = partition(draft, &key.0)?;
    if spec.layer == Layer::Seven && !draft.settings.layer7 {
        let text = "services of layer 7 are not allowed in this PAN: use layer 4, or let its operators set `layer7: true` in the controllers' configuration";
        return Err(Trouble::new(Code::Denied, "spec.layer", text));
    }
    let others = || draft.services.iter().filter(|(other, _)| *other != key);
    // Answers of a server's port leave in the name of one service. A proxy answers itself.
    let taken = |other: &ServiceSpec| [spec, other].iter().all(|one| one.layer == Layer::Four) && other.target() == spec.target();
    if let Some(cluster) = &spec.cluster
        && let Some((other, _)) =
            others().find(|(other, record)| other.0 == key.0 && record.spec.cluster.as_ref() == Some(cluster) && taken(&record.spec))
    {
        let (target, other) = (spec.target(), &other.1);
        let text = format!("port {target} of cluster {cluster} belongs to service {other} already: one server port has one service");
        return Err(Trouble::new(Code::Conflict, "spec.cluster", text));
    }
    let addresses = addresses(draft, partition, (key, spec), former)?;
    if let Some((other, _)) =
        others().find(|(_, record)| record.spec.port == spec.port && record.addresses.iter().any(|address| addresses.contains(address)))
    {
        let text = if other.0 == key.0 {
            format!("port {} of that address belongs to service {} already", spec.port, other.1)
        } else {
            "that address is not available".into()
        };
        return Err(Trouble::new(Code::Conflict, "spec.address", text));
    }
    if let Some(most) = partition.spec.quota.as_ref().and_then(|quota| quota.addresses) {
        let mut all: BTreeSet<IpAddr> =
            others().filter(|(other, _)| other.0 == key.0).flat_map(|(_, record)| record.addresses.iter().copied()).collect();
        let used = pairs(&all);
        all.extend(&addresses);
        if pairs(&all) > most as usize {
            let text = format!("quota of addresses: {} asked for, {used} used, {most} allowed", pairs(&all) - used);
            return Err(Trouble::new(Code::Quota, "spec.address", text));
        }
    }
    Ok(addresses)
}

/// What a service's certificates say.
///
/// # Errors
/// One cannot be read, has no key or another's, or is for a name that another is for.
pub fn certificates(spec: &ServiceSpec) -> Result<Vec<CertificateFacts>, Trouble> {
    let (mut all, mut names) = (Vec::new(), BTreeSet::new());
    for (place, cert, key) in spec.tls.iter().flat_map(ServiceTls::all) {
        let trouble = |field: &str, text: String| Trouble::new(Code::Invalid, format!("spec.tls.{place}{field}"), text);
        let Some(key) = key else {
            let text = "the certificate's `key` is missing: the service has none of it yet, and keys are never shown";
            return Err(trouble("key", text.to_owned()));
        };
        let facts = certificate::read(cert, key).map_err(|error| match error {
            CertificateError::Cert(text) => trouble("cert", text),
            CertificateError::Key(text) => trouble("key", text),
        })?;
        if let Some(name) = facts.names.iter().find(|name| !names.insert((*name).clone())) {
            return Err(trouble("cert", format!("{name} has another certificate already: keep one of them")));
        }
        all.push(facts);
    }
    Ok(all)
}

/// A network's own address, its broadcast address, and what was set aside for others.
fn is_not_for_services(draft: &World, address: IpAddr) -> bool {
    let own = |net: &ipnet::IpNet| match net {
        ipnet::IpNet::V4(net) if net.prefix_len() < 31 => address == net.network() || address == net.broadcast(),
        ipnet::IpNet::V4(_) => false,
        ipnet::IpNet::V6(net) => net.prefix_len() < 127 && address == net.network(),
    };
    draft.settings.outside.iter().any(own) || draft.settings.reserved.iter().any(|(first, last)| in_range(address, *first, *last))
}

fn addresses(
    draft: &World,
    partition: &PartitionRecord,
    (key, spec): (&ServiceKey, &ServiceSpec),
    former: Option<&ServiceRecord>,
) -> Result<Vec<IpAddr>, Trouble> {
    // Its servers have no address of another family that connections could go to.
    let has_family = |v4: bool| partition.networks.iter().any(|net| net.0.addr().is_ipv4() == v4);
    let elsewhere = |address: &IpAddr| draft.services.iter().any(|(other, record)| other.0 != key.0 && record.addresses.contains(address));
    match (spec.address, former) {
        (Some(address), _) => {
            if !draft.settings.outside.iter().any(|net| net.contains(&address)) {
                let nets: Vec<String> = draft.settings.outside.iter().map(ToString::to_string).collect();
                return Err(Trouble::new(
                    Code::Conflict,
                    "spec.address",
                    format!("{address} is not a public address of this PAN: expected one in {}", nets.join(" or ")),
                ));
            }
            if !has_family(address.is_ipv4()) {
                let (family, other) = if address.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
                let text = format!("partition {} has no {family} network that {address} could lead to: give an {other} address", key.0);
                return Err(Trouble::new(Code::Conflict, "spec.address", text));
            }
            if is_not_for_services(draft, address) {
                let text =
                    format!("{address} is no address for services: it is the network's own, or a host of the outside network has it");
                return Err(Trouble::new(Code::Conflict, "spec.address", text));
            }
            if elsewhere(&address) {
                return Err(Trouble::new(Code::Conflict, "spec.address", "that address is not available"));
            }
            Ok(vec![address])
        }
        // Addresses that were given stay with the service for its whole life.
        (None, Some(former)) if former.spec.address.is_none() => Ok(former.addresses.clone()),
        (None, _) => {
            let taken: BTreeSet<IpAddr> = draft.services.values().flat_map(|record| record.addresses.iter().copied()).collect();
            let found: Vec<IpAddr> =
                [true, false].into_iter().filter(|v4| has_family(*v4)).filter_map(|v4| pick(draft, &taken, v4)).collect();
            if found.is_empty() {
                Err(Trouble::new(Code::NoCapacity, "spec", "no public address is free: give one with `address`, or delete a service"))
            } else {
                Ok(found)
            }
        }
    }
}

/// Checks what can only be seen when all documents are in: references between clusters, and circles.
#[must_use]
pub fn references(draft: &World) -> Vec<(Which, Trouble)> {
    let mut found = Vec::new();
    for ((partition, name), record) in draft.clusters.iter().filter(|(_, record)| !record.deleting) {
        let which = || Which::Cluster(partition.clone(), name.clone());
        let exists = |other: &ClusterName| draft.clusters.get(&(partition.clone(), other.clone())).is_some_and(|record| !record.deleting);
        let after = record.spec.after.iter().enumerate().map(|(at, after)| (format!("spec.after[{at}].cluster"), &after.cluster));
        let with = record.spec.with.iter().enumerate().map(|(at, with)| (format!("spec.with[{at}]"), with));
        let rules = record.spec.allow.iter().flatten().enumerate();
        let callers = rules.clone().filter_map(|(at, rule)| Some((format!("spec.allow[{at}].from"), rule.from.cluster()?)));
        for (path, other) in after.chain(with).chain(callers).filter(|(_, other)| !exists(other)) {
            found.push((which(), Trouble::new(Code::Dangling, path, format!("there is no cluster {other} in partition {partition}"))));
        }
        for (at, _) in rules.filter(|(_, rule)| rule.from == Caller::Services) {
            if let Some(hidden) = draft.clusters.iter().find(|(key, other)| key.0 == *partition && !other.deleting && Caller::hides(&key.1))
            {
                let name = &hidden.0.1;
                let text = format!("{name} are all services here, and there is a cluster {name}: give the cluster another name");
                found.push((which(), Trouble::new(Code::Conflict, format!("spec.allow[{at}].from"), text)));
            }
        }
        for (at, volume) in record.spec.volumes.iter().enumerate() {
            let there = |name| {
                let key = VolumeKey { partition: partition.clone(), name };
                draft.volumes.contains_key(&key) || draft.sources.contains_key(&key)
            };
            if let Some(missing) = volume.volume.clone().filter(|name| !there(name.clone())) {
                let text =
                    format!("there is no volume {missing} in partition {partition}: add a document of kind Volume, or correct the name");
                found.push((which(), Trouble::new(Code::Dangling, format!("spec.volumes[{at}].volume"), text)));
            }
        }
        if let Some(circle) = circle(draft, partition, name) {
            let names: Vec<_> = circle.iter().map(ClusterName::as_str).collect();
            found.push((
                which(),
                Trouble::new(Code::Cycle, "spec.after", format!("clusters wait for each other: {}", names.join(" after "))),
            ));
        }
    }
    found.extend(without_cluster(draft));
    found
}

/// Policies and services that name a cluster which is not there.
fn without_cluster(draft: &World) -> Vec<(Which, Trouble)> {
    let mut found = Vec::new();
    for ((partition, name), record) in &draft.policies {
        let cluster = &record.spec.target.cluster;
        if draft.clusters.get(&(partition.clone(), cluster.clone())).is_none_or(|record| record.deleting) {
            let text = format!("there is no cluster {cluster} in partition {partition}");
            let trouble = Trouble::new(Code::Dangling, "spec.target.cluster", text);
            found.push((Which::Policy(partition.clone(), name.clone()), trouble));
        }
    }
    for ((partition, name), record) in &draft.services {
        for (cluster, place) in record.spec.clusters() {
            if draft.clusters.get(&(partition.clone(), cluster.clone())).is_none_or(|record| record.deleting) {
                let text = format!("there is no cluster {cluster} in partition {partition}");
                let trouble = Trouble::new(Code::Dangling, format!("spec.{place}"), text);
                found.push((Which::Service(partition.clone(), name.clone()), trouble));
            }
        }
    }
    found
}

/// The circle of `after` that leads back to a cluster, if there is one.
fn circle(draft: &World, partition: &PartitionName, start: &ClusterName) -> Option<Vec<ClusterName>> {
    let mut paths = vec![vec![start.clone()]];
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop() {
        let last = path.last()?.clone();
        let record = draft.clusters.get(&(partition.clone(), last));
        for after in record.into_iter().flat_map(|record| &record.spec.after) {
            let mut longer = path.clone();
            longer.push(after.cluster.clone());
            if after.cluster == *start {
                return Some(longer);
            }
            if seen.insert(after.cluster.clone()) {
                paths.push(longer);
            }
        }
    }
    None
}

/// What the planner refuses, as whoever is of the partition `within` may read it: nothing that is outside of it, and not even that
/// something outside stands in the way.
#[must_use]
pub fn refused(refusal: &pan_plan::Refusal, within: Option<&PartitionName>) -> Trouble {
    let (code, text) = match within {
        None => (code_of(refusal), refusal.text.as_str()),
        Some(within) if *within == refusal.cluster.0 && refusal.partition_text != pan_plan::NOT_AVAILABLE_NOW => {
            (code_of(refusal), refusal.partition_text.as_str())
        }
        Some(_) => (Code::NoCapacity, pan_plan::NOT_AVAILABLE_NOW),
    };
    Trouble::new(code, "spec.servers", text)
}

/// The code of a planner's refusal.
const fn code_of(refusal: &pan_plan::Refusal) -> Code {
    use pan_plan::NotPlaced;
    match refusal.reason {
        NotPlaced::ProtectionWouldBreak { .. } | NotPlaced::SpreadExhausted { .. } => Code::Protection,
        NotPlaced::PartitionMax { .. } => Code::Quota,
        _ => Code::NoCapacity,
    }
}
