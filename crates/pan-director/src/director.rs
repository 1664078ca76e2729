//! Brings the kernel to a desired state, in the order that keeps connections whole. Blocks; the decisions are
//! those of [`crate::units`], [`crate::rules`] and [`crate::specs`].

use crate::announce::{self, Announcement};
use crate::error::Trouble;
use crate::memory::{Memory, Units};
use crate::namespace::Namespace;
use crate::rules::{OUTSIDE, ruleset};
use crate::specs::{self, NAMESPACE_PREFIX};
use crate::units::decide;
use pan_api::desired::{Desired, Unit};
use pan_api::report::ConnectionCount;
use pan_linux::netns::Netns;
use pan_linux::overlay::Overlay;
use pan_linux::rtnl::{Protocol, Route, Rtnl};
use pan_linux::underlay::Underlay;
use pan_model::host_config::HostConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// All that a director has in the kernel.
#[derive(Debug)]
pub struct Director {
    config: HostConfig,
    interface: String,
    host: Rtnl,
    underlay: Underlay,
    overlay: Overlay,
    namespaces: BTreeMap<u32, Namespace>,
    units: Units,
    memory: Memory,
    started: Instant,
}

impl Director {
    /// Prepares the calling thread's network namespace, the host's. `interface` is the one towards the clients.
    ///
    /// # Errors
    /// The kernel refuses what every partition needs.
    pub fn new(config: &HostConfig, interface: &str) -> Result<Self, Trouble> {
        let memory = Memory::new(&config.run_dir);
        Ok(Self {
            config: config.clone(),
            interface: interface.to_owned(),
            host: Rtnl::open()?,
            underlay: Underlay::new(Rtnl::open()?)?,
            overlay: Overlay::new(Rtnl::open()?, config.address)?,
            namespaces: BTreeMap::new(),
            units: memory.load(),
            memory,
            started: Instant::now(),
        })
    }

    /// Makes the kernel what `desired` says, as far as it goes, and returns what did not. Calling it again
    /// repairs the rest and costs little where nothing changed.
    pub fn apply(&mut self, desired: &Desired) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let spec = specs::underlay(&self.config, desired);
        troubles.extend(self.underlay.apply(&spec).err().map(Trouble::from));
        self.remove_unwanted(desired, &mut troubles);
        let routes = self.client_routes().unwrap_or_else(|trouble| {
            troubles.push(trouble);
            Vec::new()
        });
        // What moves elsewhere is let go first, what comes here is taken last: the other director's
        // announcement and ours then cross as little as they can.
        for unit in desired.units.iter().filter(|unit| !unit.owner) {
            troubles.extend(self.release(unit).err());
        }
        for unit in &desired.units {
            troubles.extend(self.prepare(unit, desired, &routes).err());
        }
        troubles.extend(self.overlay.apply(&specs::networks(desired)).err().map(Trouble::from));
        self.take_owned(desired, &mut troubles);
        troubles.extend(self.memory.save(&self.units).err());
        troubles
    }

    /// Compares routes and partition networks with the kernel again. Fabric interfaces go down and come back
    /// untold, and take their routes along. `desired` is what was applied last.
    pub fn refresh(&mut self, desired: &Desired) -> Vec<Trouble> {
        let underlay = self.underlay.apply(&specs::underlay(&self.config, desired)).err().map(Trouble::from);
        let overlay = self.overlay.apply(&specs::networks(desired)).err().map(Trouble::from);
        underlay.into_iter().chain(overlay).collect()
    }

    /// What time brings about: former tables that nobody needs any more go.
    pub fn tick(&mut self) -> Vec<Trouble> {
        let now = self.now();
        let mut troubles = Vec::new();
        let mut any = false;
        for kept in self.units.values_mut() {
            if kept.retire(now) {
                any = true;
                let namespace = self.namespaces.get_mut(&kept.unit.vni);
                troubles.extend(namespace.and_then(|namespace| namespace.load(ruleset(kept)).err()));
            }
        }
        if any {
            troubles.extend(self.memory.save(&self.units).err());
        }
        troubles
    }

    /// Live connections of each server behind the units this director owns.
    pub fn connections(&self) -> (Vec<ConnectionCount>, Vec<Trouble>) {
        let (mut counts, mut troubles) = (Vec::new(), Vec::new());
        for kept in self.units.values().filter(|kept| kept.unit.owner) {
            let Some(namespace) = self.namespaces.get(&kept.unit.vni) else { continue };
            match namespace.connections() {
                Ok(by_address) => counts.extend(count(&kept.unit, |address| by_address.get(address).copied().unwrap_or(0))),
                Err(trouble) => troubles.push(trouble),
            }
        }
        (counts, troubles)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn remove_unwanted(&mut self, desired: &Desired, troubles: &mut Vec<Trouble>) {
        let wanted: BTreeSet<u32> = desired.units.iter().map(|unit| unit.vni).collect();
        let names = Netns::list().unwrap_or_else(|error| {
            troubles.push(error.into());
            Vec::new()
        });
        let present = names.iter().filter_map(|name| name.strip_prefix(NAMESPACE_PREFIX)?.parse::<u32>().ok());
        for vni in present.filter(|vni| !wanted.contains(vni)) {
            self.namespaces.remove(&vni);
            troubles.extend(Namespace::remove(&self.host, vni).err());
        }
        let partitions: BTreeSet<_> = desired.units.iter().map(|unit| &unit.partition).collect();
        self.units.retain(|partition, _| partitions.contains(partition));
    }

    fn client_routes(&self) -> Result<Vec<Route>, Trouble> {
        let addresses = self.host.addrs(&self.interface)?;
        Ok(specs::client_routes(&self.interface, &addresses, &self.host.routes(Protocol::Static)?))
    }

    /// Takes a unit's addresses off the outside link.
    fn release(&mut self, unit: &Unit) -> Result<(), Trouble> {
        match self.namespaces.get_mut(&unit.vni) {
            Some(namespace) if namespace.is_wired() => namespace.set_public(&[]).map(drop),
            Some(_) | None => Ok(()),
        }
    }

    /// Everything of a unit that owner and others have alike.
    fn prepare(&mut self, unit: &Unit, desired: &Desired, routes: &[Route]) -> Result<(), Trouble> {
        let vni = unit.vni;
        let network = desired.networks.iter().find(|network| network.vni == vni).ok_or(Trouble::NoNetwork { vni })?;
        let now = self.now();
        let namespace = match self.namespaces.entry(vni) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(Namespace::open(vni)?),
        };
        let known = self.units.get(&unit.partition);
        // Equal units have equal tables; computing large ones again on each change elsewhere would be felt.
        if !namespace.is_loaded() || known.is_none_or(|known| known.unit != *unit) {
            let decision = decide(known, unit, now);
            namespace.load(ruleset(&decision.kept))?;
            for address in decision.forget {
                namespace.forget(address)?;
            }
            self.units.insert(unit.partition.clone(), decision.kept);
        }
        let wiring = specs::wiring(&self.config.name, unit, network, routes);
        namespace.wire(&self.host, &self.interface, &wiring)?;
        if !unit.owner {
            namespace.set_public(&[])?;
        }
        Ok(())
    }

    /// Gives owned units their addresses and tells the neighbours.
    fn take_owned(&mut self, desired: &Desired, troubles: &mut Vec<Trouble>) {
        let mut announcements = Vec::new();
        for unit in desired.units.iter().filter(|unit| unit.owner) {
            let Some(namespace) = self.namespaces.get_mut(&unit.vni).filter(|namespace| namespace.is_wired()) else { continue };
            let taken = namespace.set_public(&unit.public).and_then(|fresh| Ok((fresh, namespace.netns().try_clone()?)));
            match taken {
                Ok((addresses, _)) if addresses.is_empty() => {}
                Ok((addresses, netns)) => {
                    let mac = specs::outside_mac(&self.config.name, unit.vni);
                    tracing::info!(partition = %unit.partition, epoch = %unit.epoch, "public addresses are here now: {addresses:?}");
                    announcements.push(Announcement { netns, device: OUTSIDE, addresses, mac });
                }
                Err(trouble) => troubles.push(trouble),
            }
        }
        announce::start(announcements);
    }
}

/// Sums the connections of each server's addresses.
fn count(unit: &Unit, of: impl Fn(&std::net::IpAddr) -> u64) -> Vec<ConnectionCount> {
    let servers: BTreeMap<_, _> =
        unit.services.iter().flat_map(|service| &service.backends).map(|backend| (&backend.server, &backend.addresses)).collect();
    let total = |addresses: &Vec<std::net::IpAddr>| addresses.iter().map(&of).sum();
    let one = |(server, addresses): (&pan_model::ServerName, &Vec<std::net::IpAddr>)| ConnectionCount {
        partition: unit.partition.clone(),
        server: server.clone(),
        connections: total(addresses),
    };
    servers.into_iter().map(one).collect()
}
