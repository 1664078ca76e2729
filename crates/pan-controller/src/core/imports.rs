//! Imports: services of other partitions, by consent of both. Which are in force follows from the two words alone, and whoever looks from
//! one side finds out nothing of the other than whether both are there.
//!
//! A consent is between two partitions, not between two names: it holds who they were from the moment both words were there. Under a name
//! that is given anew, nothing is in force that was before.

use super::orders::{backend_state, servers_behind, service_order};
use super::record::{Identity, ImportRecord, PartitionRecord, ServiceRecord, WayRecord};
use super::resize::FreeAddresses;
use super::seen::Life;
use super::validate::{self, Trouble};
use super::world::{About, Dirty, ImportKey, Now, ServiceKey, World};
use pan_api::desired::{ImportEnd, ImportOrder, ImportWay, NetworkEntry, ServiceOrder};
use pan_api::requests::ApplyResult;
use pan_api::service::Export;
use pan_member::Tick;
use pan_model::event::Severity;
use pan_model::host::Role;
use pan_model::import::ImportState;
use pan_model::network::Cidr;
use pan_model::service::BackendState;
use pan_model::{ClusterName, Code, Epoch, HostName, ImportSpec, Mac, PartitionName, ServerKey, ServiceName, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Most imports of a partition: each is two network namespaces on a director, and an address of the partition.
const IMPORTS_MAX: usize = 64;
/// How often it is told of an import whether it leads anywhere: the other partition may change its mind as often as it likes, and does not
/// push anything out of this one's events.
const TOLD_EVERY: Duration = Duration::from_secs(30);
/// For how long it must lead nowhere for that to be told: its unit may be moving to another director, or a server to another node.
const PATIENCE: Duration = Duration::from_secs(3);

/// Makes or changes an import. Whether the other partition is there makes no difference.
pub fn want(draft: &mut World, key: &ImportKey, spec: &ImportSpec) -> Result<ApplyResult, Trouble> {
    validate::partition(draft, &key.0)?;
    let known = draft.imports.get(key).map(|record| record.spec == *spec);
    if known == Some(true) {
        return Ok(ApplyResult::Unchanged);
    }
    // Each costs the other partition an address: whoever is let in by it does not take more of them than it knows of.
    if let Some((other, _)) = draft.imports.iter().find(|(other, record)| other.0 == key.0 && record.spec == *spec) {
        let text = format!("import {} of partition {} is that service already: use it, or delete it first", other.1, key.0);
        return Err(Trouble::new(Code::Conflict, "spec", text));
    }
    let result = if known.is_some() {
        set_way(draft, key, None);
        if let Some(record) = draft.imports.get_mut(key) {
            (record.spec, record.bound) = (spec.clone(), None);
        }
        ApplyResult::Changed
    } else {
        let record = first(draft, key, spec)?;
        draft.imports.insert(key.clone(), record);
        ApplyResult::Created
    };
    draft.dirty.insert(Dirty::Import(key.clone()));
    Ok(result)
}

/// One that is new.
fn first(draft: &mut World, key: &ImportKey, spec: &ImportSpec) -> Result<ImportRecord, Trouble> {
    let used = draft.imports.keys().filter(|other| other.0 == key.0).count();
    let most = draft.partitions.get(&key.0).and_then(|partition| partition.spec.quota.as_ref()?.imports);
    let most = most.map_or(IMPORTS_MAX, |most| IMPORTS_MAX.min(most as usize));
    if used >= most {
        let text = format!("quota of imports: 1 asked for, {used} used, {most} allowed: delete one first");
        return Err(Trouble::new(Code::Quota, "spec", text));
    }
    let addresses = FreeAddresses::of(draft, &key.0).take().map_err(|trouble| Trouble { path: "spec".into(), ..trouble })?;
    let (number, partition) = (next_number(draft), &draft.partitions[&key.0]);
    Ok(ImportRecord {
        spec: spec.clone(),
        number,
        addresses,
        epoch: partition.last_epoch.next(),
        from: partition.owner_epoch,
        bound: None,
        way: None,
        told: ImportState::Waiting,
    })
}

fn next_number(world: &mut World) -> u32 {
    let number = world.pan.next_import;
    world.pan.next_import += 1;
    world.dirty.insert(Dirty::Pan);
    number
}

/// Removes an import; whether there was one.
pub fn remove(world: &mut World, key: &ImportKey) -> bool {
    set_way(world, key, None);
    let near = world.imports.get(key).and_then(|record| Some(ends(world, (key, record))?.0.epoch));
    if let Some(epoch) = near {
        left(world, &key.0, epoch);
    }
    let there = world.imports.remove(key).is_some();
    if there {
        world.seen.imports.remove(key);
        world.dirty.insert(Dirty::Import(key.clone()));
    }
    there
}

/// An address of a partition is free again. The server that gets it is bound under a later epoch than what had it: hosts refuse an older one.
fn left(world: &mut World, partition: &PartitionName, epoch: Epoch) {
    if world.partitions.get(partition).is_some_and(|record| record.last_epoch < epoch)
        && let Some(record) = world.partition_mut(partition)
    {
        record.last_epoch = epoch;
    }
}

/// The consents of a service whose spec is now this one: a word that was taken back and given again is another word.
#[must_use]
pub fn kept_consents(former: Option<&ServiceRecord>, export: &[PartitionName]) -> BTreeMap<PartitionName, Identity> {
    let known = former.map(|former| &former.consents).into_iter().flatten();
    known.filter(|(name, _)| export.contains(name)).map(|(name, who)| (name.clone(), *who)).collect()
}

/// The addresses that imports take in a partition's network: its own, and those that stand for others' there.
pub(super) fn addresses<'a>(world: &'a World, partition: &'a PartitionName) -> impl Iterator<Item = IpAddr> + 'a {
    let own = world.imports.iter().filter(move |(key, _)| key.0 == *partition).flat_map(|(_, record)| &record.addresses);
    let far = world.imports.values().filter(move |record| record.spec.partition == *partition);
    own.chain(far.flat_map(|record| record.way.iter().flat_map(|way| &way.addresses))).copied()
}

/// Both partitions and the service, where both words are there, and between those that they were given by.
fn agreed<'a>(world: &'a World, key: &ImportKey, record: &ImportRecord) -> Option<(&'a PartitionRecord, &'a PartitionRecord)> {
    let there = |name: &PartitionName| world.partitions.get(name).filter(|partition| !partition.deleting);
    let (near, far) = (there(&key.0)?, there(&record.spec.partition)?);
    let service = world.services.get(&exporting(record)).filter(|service| service.spec.export.contains(&key.0))?;
    let same =
        record.bound.is_none_or(|who| who == far.identity()) && service.consents.get(&key.0).is_none_or(|who| *who == near.identity());
    same.then_some((near, far))
}

fn exporting(record: &ImportRecord) -> ServiceKey {
    (record.spec.partition.clone(), record.spec.service.clone())
}

/// Puts in force what both want, and ends what one of them does not want any more.
pub fn advance(world: &mut World, now: Now) {
    // All are looked at before any is changed: one consent may be that of several.
    let changes: Vec<(ImportKey, Option<(Identity, Identity)>)> =
        world.imports.iter().filter_map(|(key, record)| Some((key.clone(), change(world, key, record)?))).collect();
    for (key, both) in changes {
        match both {
            Some((near, far)) => begin(world, &key, near, far),
            None => set_way(world, &key, None),
        }
    }
    for key in world.imports.keys().cloned().collect::<Vec<_>>() {
        tell(world, now, &key);
    }
}

/// What is to become of an import's way, if anything: a new one between two, or none.
fn change(world: &World, key: &ImportKey, record: &ImportRecord) -> Option<Option<(Identity, Identity)>> {
    match (agreed(world, key, record), &record.way) {
        (None, None) => None,
        (None, Some(_)) => Some(None),
        (Some((_, far)), Some(way)) if is_kept(world, key, record) && fits(way, &far.networks) => None,
        (Some((near, far)), _) => Some(Some((near.identity(), far.identity()))),
    }
}

/// Whether the exporter's word is the one that the way was made for: it may have been taken back and given again since.
fn is_kept(world: &World, key: &ImportKey, record: &ImportRecord) -> bool {
    world.services.get(&exporting(record)).is_some_and(|service| service.consents.contains_key(&key.0))
}

fn fits(way: &WayRecord, networks: &[Cidr]) -> bool {
    way.addresses.len() == networks.len() && way.addresses.iter().zip(networks).all(|(address, net)| net.0.contains(address))
}

fn begin(world: &mut World, key: &ImportKey, near: Identity, far: Identity) {
    let service = exporting(&world.imports[key]);
    if let Some(record) = world.services.get_mut(&service)
        && record.consents.insert(key.0.clone(), near) != Some(near)
    {
        world.dirty.insert(Dirty::Service(service.clone()));
    }
    if let Some(record) = world.imports.get_mut(key)
        && record.bound.replace(far) != Some(far)
    {
        world.dirty.insert(Dirty::Import(key.clone()));
    }
    // Without a free address it waits, like one that nobody exports.
    let Ok(addresses) = FreeAddresses::of(world, &service.0).take() else { return set_way(world, key, None) };
    let number = next_number(world);
    let (epoch, from) = (world.partitions[&service.0].last_epoch.next(), world.partitions[&key.0].owner_epoch);
    set_way(world, key, Some(WayRecord { number, addresses, epoch, from }));
}

fn set_way(world: &mut World, key: &ImportKey, way: Option<WayRecord>) {
    let Some(record) = world.imports.get(key).filter(|record| record.way != way) else { return };
    let former = ends(world, (key, record)).and_then(|(_, far)| Some((record.spec.partition.clone(), far?.epoch)));
    if let Some((partition, epoch)) = former {
        left(world, &partition, epoch);
    }
    if let Some(record) = world.imports.get_mut(key) {
        record.way = way;
    }
    world.dirty.insert(Dirty::Import(key.clone()));
}

/// What is not stored of telling a partition of one of its imports.
#[derive(Debug, Clone, Copy, Default)]
pub struct Telling {
    /// Since when it is other than it was told last.
    differs: Option<Tick>,
    /// When it was told last.
    told: Option<Tick>,
}

/// Tells the partition when an import begins or ceases to lead somewhere.
fn tell(world: &mut World, now: Now, key: &ImportKey) {
    // A controller that has just begun does not know what is in place before it is told.
    if is_unheard(world, key) {
        return;
    }
    let is = state(world, key);
    let telling = world.seen.imports.entry(key.clone()).or_default();
    if is == world.imports[key].told {
        telling.differs = None;
        return;
    }
    let since = *telling.differs.get_or_insert(now.boot);
    let patience = if is == ImportState::Active { Duration::ZERO } else { PATIENCE };
    let lately = telling.told.is_some_and(|at| now.boot.since(at) < TOLD_EVERY);
    if now.boot.since(since) < patience || lately || !world.leading {
        return;
    }
    *telling = Telling { differs: None, told: Some(now.boot) };
    let Some(record) = world.imports.get_mut(key) else { return };
    record.told = is;
    let (severity, reason, text) = match is {
        ImportState::Active => {
            let text = format!("leads to service {} of partition {}", record.spec.service, record.spec.partition);
            (Severity::Info, "ImportActive", text)
        }
        ImportState::Waiting => (Severity::Warning, "ImportWaiting", "leads nowhere at present".to_owned()),
    };
    world.dirty.insert(Dirty::Import(key.clone()));
    world.event(now, &About { partition: Some(&key.0), kind: "import", object: key.1.as_str() }, severity, reason, text);
}

/// Whether nobody has said yet what is in place.
fn is_unheard(world: &World, key: &ImportKey) -> bool {
    let Some(owner) = world.partitions.get(&key.0).and_then(|partition| partition.owner.as_ref()) else { return false };
    world.seen.hosts.get(owner).is_none_or(|seen| seen.life != Life::Dead && !seen.reported.contains_key(&Role::Director))
}

/// Whether an import leads anywhere: its way is in place, as the director says that owns its partition's unit, and a server takes
/// connections.
#[must_use]
pub fn state(world: &World, key: &ImportKey) -> ImportState {
    let answers = || {
        let record = world.imports.get(key)?;
        let way = record.way.as_ref()?;
        let owner = world.partitions.get(&key.0)?.owner.as_ref()?;
        let seen = world.seen.hosts.get(owner).filter(|seen| seen.life != Life::Dead && seen.ways.contains(&way.number))?;
        let service = world.services.get(&exporting(record))?;
        let servers = servers_behind(world, &record.spec.partition, &service.spec);
        let up = servers.iter().any(|server| backend_state(world, server, &world.servers[server]) == BackendState::Up);
        (up && seen.life != Life::Joining).then_some(())
    };
    answers().map_or(ImportState::Waiting, |()| ImportState::Active)
}

/// The port of the service, while the import leads there.
#[must_use]
pub fn port(world: &World, key: &ImportKey) -> Option<u16> {
    let record = world.imports.get(key).filter(|_| state(world, key) == ImportState::Active)?;
    world.services.get(&exporting(record)).map(|service| service.spec.port)
}

/// The ways that there are, found once for all services.
#[derive(Debug, Default)]
pub struct Ways<'a> {
    /// By the exporting partition, its service, and the importing one.
    all: BTreeMap<(&'a PartitionName, &'a ServiceName, &'a PartitionName), &'a WayRecord>,
    /// At which directors each exporting partition's are.
    at: BTreeMap<&'a PartitionName, BTreeSet<&'a HostName>>,
}

impl<'a> Ways<'a> {
    /// Those of the PAN.
    #[must_use]
    pub fn of(world: &'a World) -> Self {
        let mut ways = Self::default();
        for (key, record) in &world.imports {
            let Some(way) = &record.way else { continue };
            ways.all.insert((&record.spec.partition, &record.spec.service, &key.0), way);
            let owner = world.partitions.get(&key.0).and_then(|partition| partition.owner.as_ref());
            ways.at.entry(&record.spec.partition).or_default().extend(owner);
        }
        ways
    }

    /// Who may import a service, and of whom it is known that they do.
    #[must_use]
    pub fn exports(&self, key: &'a ServiceKey, spec: &'a ServiceSpec) -> Vec<Export> {
        let of = |name: &'a PartitionName| {
            let way = self.all.get(&(&key.0, &key.1, name));
            let addresses = way.map(|way| way.addresses.clone()).unwrap_or_default();
            Export { partition: name.clone(), in_force: way.is_some(), addresses }
        };
        spec.export.iter().map(of).collect()
    }

    /// Whether all imports of a cluster's services are as their directors were told, those of dead ones aside: what a director could not do for one is
    /// not in what it says it has applied.
    pub fn are_in_place(&self, world: &World, partition: &PartitionName, cluster: &ClusterName) -> bool {
        let of_it = |service: &ServiceName| {
            world.services.get(&(partition.clone(), service.clone())).is_some_and(|service| service.spec.is_answered_by(cluster))
        };
        let ways = self.all.iter().filter(|((of, service, _), _)| *of == partition && of_it(service));
        ways.into_iter().all(|((_, _, importer), way)| {
            let owner = world.partitions.get(*importer).and_then(|partition| partition.owner.as_ref());
            let seen = owner.and_then(|owner| world.seen.hosts.get(owner));
            seen.is_none_or(|seen| seen.life == Life::Dead || seen.ways.contains(&way.number))
        })
    }

    /// The directors that send connections to a partition's servers: the owner of its unit, and those that have imports of its services.
    pub fn directors(&self, owner: &'a HostName, partition: &PartitionName) -> impl Iterator<Item = &'a HostName> {
        let others = self.at.get(partition).into_iter().flatten().copied().filter(move |host| *host != owner);
        std::iter::once(owner).chain(others)
    }

    /// Connections to a server, wherever its services and imports of them are: which of them are at one director is nobody's business.
    #[must_use]
    pub fn connections(&self, world: &World, owner: &'a HostName, server: &ServerKey) -> u64 {
        let counts = self.directors(owner, &server.partition).filter_map(|host| world.seen.hosts.get_key_value(host));
        let heard = counts.filter(|(host, seen)| *host == owner || seen.life != Life::Dead);
        heard.map(|(_, seen)| seen.connections_of(server)).sum()
    }
}

/// The ends of an import, with the partition whose network each is in.
fn ends(world: &World, (key, record): (&ImportKey, &ImportRecord)) -> Option<(ImportEnd, Option<ImportEnd>)> {
    let near = world.partitions.get(&key.0)?;
    // Each time the unit moves, both ends do.
    let moved = |epoch: Epoch, from: Epoch| Epoch(epoch.0 + near.owner_epoch.0.saturating_sub(from.0));
    let end = |partition: &PartitionRecord, addresses: &[IpAddr], epoch| {
        Some(ImportEnd { vni: partition.vni, mac: Mac::of(*addresses.first()?), addresses: addresses.to_vec(), epoch })
    };
    let far = record.way.as_ref().and_then(|way| {
        let partition = world.partitions.get(&record.spec.partition)?;
        end(partition, &way.addresses, moved(way.epoch, way.from))
    });
    Some((end(near, &record.addresses, moved(record.epoch, record.from))?, far))
}

/// What stands for imports in each partition's network, where it is now.
pub(super) fn entries(world: &World) -> BTreeMap<&PartitionName, Vec<NetworkEntry>> {
    let mut all: BTreeMap<&PartitionName, Vec<NetworkEntry>> = BTreeMap::new();
    for (key, record) in &world.imports {
        let owner = world.partitions.get(&key.0).and_then(|partition| partition.owner.as_ref());
        let Some((host, at)) = owner.and_then(|owner| world.hosts.get_key_value(owner)) else { continue };
        let Some((near, far)) = ends(world, (key, record)) else { continue };
        let entry = |end: ImportEnd, by_service| NetworkEntry {
            mac: end.mac,
            addresses: end.addresses,
            host: host.clone(),
            via: at.address,
            epoch: end.epoch,
            cluster: None,
            by_service,
        };
        all.entry(&key.0).or_default().push(entry(near, false));
        all.entry(&record.spec.partition).or_default().extend(far.map(|far| entry(far, true)));
    }
    all
}

/// What each director is told of imports, and in which partitions' networks it takes part for them.
pub(super) fn orders(world: &World) -> BTreeMap<&HostName, (Vec<ImportOrder>, BTreeSet<&PartitionName>)> {
    let mut all: BTreeMap<&HostName, (Vec<ImportOrder>, BTreeSet<&PartitionName>)> = BTreeMap::new();
    for (key, record) in &world.imports {
        let Some(owner) = world.partitions.get(&key.0).and_then(|partition| partition.owner.as_ref()) else { continue };
        let Some((near, far)) = ends(world, (key, record)) else { continue };
        let (orders, partitions) = all.entry(owner).or_default();
        let service = exporting(record);
        let way = record.way.as_ref().zip(far).and_then(|(way, far)| {
            let order = service_order(world, &service, world.services.get(&service)?);
            let moved = world.partitions.get(&key.0)?.owner_epoch > way.from;
            partitions.extend(world.partitions.get_key_value(&service.0).map(|(name, _)| name));
            Some(ImportWay { number: way.number, moved, far, service: ServiceOrder { addresses: Vec::new(), ..order } })
        });
        partitions.insert(&key.0);
        orders.push(ImportOrder { number: record.number, partition: key.0.clone(), name: key.1.clone(), near, way });
    }
    all
}
