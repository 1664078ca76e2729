//! [`Overlay`]: brings the kernel to what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::adopt::View;
use super::closed;
use super::spec::{Applied, LocalPort, NetworkSpec, OverlayError, bridge_name, vxlan_name};
use super::table::{Place, Step, Table, seen, steps, wanted};
use crate::nft::Nft;
use crate::origin::{self, Origins};
use crate::rtnl::{self, Batch, BridgeSpec, Mac, PortFlags, Rtnl, VxlanSpec};

/// The registered port of VXLAN (RFC 7348).
pub(crate) const VXLAN_PORT: u16 = 4789;

/// What all ports have alike. Nothing of a partition's is handed to the host by the port it came in: all groups are bridged, and
/// dropped where the bridge hands them to the host. Pauses (01:80:c2:00:00:01) are dropped by any bridge.
const QUIET: PortFlags = PortFlags {
    learning: Some(false),
    flood: Some(false),
    mcast_flood: None,
    bcast_flood: None,
    neigh_suppress: None,
    groups: Some(0xfffd),
};

/// Towards other hosts nothing is flooded and every question is answered here.
const VXLAN_FLAGS: PortFlags = PortFlags { mcast_flood: Some(false), bcast_flood: Some(false), neigh_suppress: Some(true), ..QUIET };

/// Suppression answers only for addresses behind a port that has it, so a question about a server on
/// this host must reach that server: broadcast and multicast go to local ports, and no further.
const PORT_FLAGS: PortFlags = PortFlags { mcast_flood: Some(true), bcast_flood: Some(true), neigh_suppress: Some(false), ..QUIET };

/// How long a network without ports must be unlisted before it goes, where others keep networks too: they may have
/// heard of it a moment earlier, and are about to use it.
const UNLISTED_FOR: Duration = Duration::from_secs(5);

/// How often the entries of a network are compared with the kernel's.
const AGAIN: Duration = Duration::from_secs(5);

/// A keeper of the partition networks of one host. There may be several, in different processes, if each owns
/// ports of its own: all of them make the networks and enter who is on other hosts, from the same map, and each
/// attaches, detaches and points to its own ports only.
#[derive(Debug)]
pub struct Overlay {
    rtnl: Rtnl,
    nft: Nft,
    here: IpAddr,
    /// What the names of its ports begin with.
    own: &'static str,
    /// Since when networks that are there are not listed.
    unlisted: BTreeMap<u32, Instant>,
    /// What is known to be in the kernel. A network is taken out while it is worked on and put back
    /// when that succeeded, so after an error it is read anew.
    networks: BTreeMap<u32, Network>,
    origins: Option<origin::Keeper>,
}

#[derive(Debug)]
struct Network {
    bridge: u32,
    mtu: u32,
    table: Table,
    /// Attached ports and their indices; another index means another interface of the same name.
    ports: BTreeMap<String, u32>,
    epochs: BTreeMap<Mac, u64>,
    /// When the entries were last read or compared.
    read: Instant,
}

impl Overlay {
    /// Starts keeping the networks as the only one on this host, with ports of any name; see [`Overlay::owning`].
    ///
    /// # Errors
    /// The same.
    pub fn new(rtnl: Rtnl, local_underlay: IpAddr) -> Result<Overlay, OverlayError> {
        Overlay::owning(rtnl, local_underlay, "")
    }

    /// Starts keeping the networks of the namespace `rtnl` is bound to. `local_underlay` is this host's
    /// address, the outer source of all packets. What an earlier process left is taken over by the
    /// first [`Overlay::apply`]. Only ports whose names begin with `own` are this keeper's.
    ///
    /// # Errors
    /// The rule that separates the networks from the host is refused.
    pub fn owning(rtnl: Rtnl, local_underlay: IpAddr, own: &'static str) -> Result<Overlay, OverlayError> {
        let view = View::read(&rtnl).map_err(|source| OverlayError::Read { source })?;
        closed::close(rtnl.netns(), view.networks())?;
        let nft = Nft::open_in(rtnl.netns()).map_err(|source| OverlayError::Look { source })?;
        Ok(Overlay { rtnl, nft, here: local_underlay, own, unlisted: BTreeMap::new(), networks: BTreeMap::new(), origins: None })
    }

    /// From now on also keeps what the networks say of where frames may come from.
    #[must_use]
    pub fn with_origins(mut self, origins: Option<Arc<Origins>>) -> Overlay {
        self.origins = origins.map(|origins| origin::Keeper::new(origins, self.here));
        self
    }

    /// Makes the host's networks those of `specs`. A network no longer listed is removed once it has no
    /// port left. A local port whose interface is not there is reported and tried again next time.
    ///
    /// # Errors
    /// The first refusal. The other networks were brought up to date all the same, and the next call
    /// puts right the one that failed.
    pub fn apply(&mut self, specs: &[NetworkSpec]) -> Result<Applied, OverlayError> {
        let mut view = self.view()?;
        let mut applied = Applied::default();
        let mut failure = None;
        for vni in self.expired(specs, &view) {
            match self.remove(vni) {
                Ok(changed) => applied.changed += changed,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        // Before any way changes: a host that has lost a server is not to be heard by whoever sends to the next one.
        match self.origins.as_mut().map_or(Ok(0), |origins| origins.apply(specs)) {
            Ok(changed) => applied.changed += changed,
            Err(error) => failure = failure.or(Some(error.into())),
        }
        for spec in specs {
            if let Err(error) = self.apply_network(spec, &mut view, &mut applied) {
                failure = failure.or(Some(error));
            }
        }
        applied.networks = self.networks.len();
        match failure {
            Some(error) => Err(error),
            None => Ok(applied),
        }
    }

    /// The networks that are to go.
    fn expired(&mut self, specs: &[NetworkSpec], view: &View) -> Vec<u32> {
        let listed: BTreeSet<u32> = specs.iter().map(|spec| spec.vni).collect();
        let idle: BTreeSet<u32> = view.networks().into_iter().filter(|vni| !listed.contains(vni) && view.ports(*vni).is_empty()).collect();
        self.networks.retain(|vni, _| listed.contains(vni) || view.link(&bridge_name(*vni)).is_some());
        self.unlisted.retain(|vni, _| idle.contains(vni));
        let now = Instant::now();
        let patience = if self.own.is_empty() { Duration::ZERO } else { UNLISTED_FOR };
        let mut old_enough = |vni: &u32| now.duration_since(*self.unlisted.entry(*vni).or_insert(now)) >= patience;
        idle.into_iter().filter(|vni| old_enough(vni)).collect()
    }

    fn view(&self) -> Result<View, OverlayError> {
        View::read(&self.rtnl).map_err(|source| OverlayError::Read { source })
    }

    fn apply_network(&mut self, spec: &NetworkSpec, view: &mut View, applied: &mut Applied) -> Result<(), OverlayError> {
        let vni = spec.vni;
        let refused = |source| OverlayError::Network { vni, source };
        applied.changed += self.ensure(vni, spec.mtu, view)?;
        let mut network = self.networks.remove(&vni).expect("a network that was ensured is known");
        if network.read.elapsed() >= AGAIN {
            let present = view.read_table(&self.rtnl, vni, self.own).map_err(refused)?;
            network.table = seen(&network.table, &present);
            network.read = Instant::now();
        }
        let mut batch = self.rtnl.batch();
        for port in &spec.local {
            let Some(link) = view.link(&port.port) else {
                applied.missing.push(port.port.clone());
                continue;
            };
            let known = network.ports.get(&port.port) == Some(&link.index);
            if known && link.master == Some(network.bridge) && link.up {
                continue;
            }
            attach(&mut batch, vni, spec.mtu, &port.port).map_err(refused)?;
            // Its entry, if it had one, went with the old interface or the old bridge.
            let place = Place::Port(port.port.clone());
            network.table.forward.retain(|_, was| *was != place);
            network.ports.insert(port.port.clone(), link.index);
        }
        let wanted = wanted(&spec.remote, &spec.local, self.here, &network.table, &network.epochs, |port| view.link(port).is_some());
        for step in steps(&network.table, &wanted.table) {
            run(&mut batch, vni, &step).map_err(refused)?;
        }
        detach_unlisted(&mut batch, spec, view, self.own, &mut network).map_err(refused)?;
        applied.changed += batch.len();
        applied.stale += wanted.stale;
        batch.commit().map_err(refused)?;
        network.table = wanted.table;
        network.epochs = wanted.epochs;
        self.networks.insert(vni, network);
        Ok(())
    }

    /// Brings bridge and VXLAN device into being and up, and learns what entries they have.
    fn ensure(&mut self, vni: u32, mtu: u32, view: &mut View) -> Result<usize, OverlayError> {
        let (bridge, vxlan) = (bridge_name(vni), vxlan_name(vni));
        let index = view.link(&bridge).map(|link| link.index);
        let master = view.link(&vxlan).and_then(|link| link.master);
        let known = self.networks.get(&vni);
        if known.is_some_and(|network| network.mtu == mtu && index == Some(network.bridge) && master == index) {
            // Without its rule servers would reach the host itself.
            if !closed::is_closed(&mut self.nft, vni)? {
                closed::close(self.rtnl.netns(), [vni])?;
                return Ok(1);
            }
            return Ok(0);
        }
        self.networks.remove(&vni);
        let refused = |source| OverlayError::Network { vni, source };
        let mut changed = self.create(vni, mtu, view).map_err(refused)?;
        let existed = index.is_some();
        if !existed {
            closed::close(self.rtnl.netns(), [vni])?;
        }
        changed += self.configure(vni, mtu).map_err(refused)?;

        if changed > 0 {
            *view = View::read(&self.rtnl).map_err(refused)?;
        }
        let table = match existed {
            true => view.read_table(&self.rtnl, vni, self.own).map_err(refused)?,
            false => Table::default(),
        };
        let bridge = view.link(&bridge).map_or(0, |link| link.index);
        let network = Network { bridge, mtu, table, ports: BTreeMap::new(), epochs: BTreeMap::new(), read: Instant::now() };
        self.networks.insert(vni, network);
        Ok(changed)
    }

    fn create(&self, vni: u32, mtu: u32, view: &View) -> rtnl::Result<usize> {
        let (bridge, vxlan) = (bridge_name(vni), vxlan_name(vni));
        let mut batch = self.rtnl.batch();
        if view.link(&bridge).is_none() {
            let spec = BridgeSpec { mac: bridge_mac(vni), mcast_snooping: false };
            batch.add_bridge(&bridge, &spec);
        }
        if view.link(&vxlan).is_none() {
            let spec = VxlanSpec { vni, local: self.here, port: VXLAN_PORT, mtu };
            batch.add_vxlan(&vxlan, &spec);
        }
        let made = batch.len();
        match batch.commit() {
            // Another keeper was a moment earlier. Should the other device be missing, configuring says so.
            Err(error) if error.errno() == Some(libc::EEXIST) => Ok(made),
            outcome => outcome.map(|()| made),
        }
    }

    fn configure(&self, vni: u32, mtu: u32) -> rtnl::Result<usize> {
        let (bridge, vxlan) = (bridge_name(vni), vxlan_name(vni));
        let mut batch = self.rtnl.batch();
        batch
            .set_mtu(&vxlan, mtu)?
            .set_addrgen_none(&vxlan)?
            .set_master(&vxlan, &bridge)?
            .set_bridge_port(&vxlan, &VXLAN_FLAGS)?
            .set_mtu(&bridge, mtu)?
            .set_addrgen_none(&bridge)?
            .set_up(&vxlan)?
            .set_up(&bridge)?;
        let made = batch.len();
        batch.commit()?;
        Ok(made)
    }

    fn remove(&mut self, vni: u32) -> Result<usize, OverlayError> {
        self.networks.remove(&vni);
        self.unlisted.remove(&vni);
        closed::forget(self.rtnl.netns(), vni)?;
        let delete = || {
            let mut batch = self.rtnl.batch();
            batch.delete(&vxlan_name(vni))?.delete(&bridge_name(vni))?;
            let made = batch.len();
            batch.commit()?;
            Ok(made)
        };
        let changed = delete().map_err(|source| OverlayError::Network { vni, source })?;
        if let Some(origins) = &mut self.origins {
            origins.forget(vni)?;
        }
        Ok(changed)
    }
}

/// Every host gives the bridge of a network the same, locally administered address. No frame from or
/// to it ever leaves the host.
fn bridge_mac(vni: u32) -> Mac {
    let [_, a, b, c] = vni.to_be_bytes();
    [0x0e, 0x50, 0x42, a, b, c]
}

fn attach(batch: &mut Batch<'_>, vni: u32, mtu: u32, port: &str) -> rtnl::Result<()> {
    batch
        .set_addrgen_none(port)?
        .set_mtu(port, mtu)?
        .set_master(port, &bridge_name(vni))?
        .set_bridge_port(port, &PORT_FLAGS)?
        .set_up(port)?;
    Ok(())
}

/// Takes off the bridge every port of its own that the spec does not list: its server runs elsewhere or not at all.
fn detach_unlisted(batch: &mut Batch<'_>, spec: &NetworkSpec, view: &View, own: &str, network: &mut Network) -> rtnl::Result<()> {
    let is_listed = |name: &str| spec.local.iter().any(|port: &LocalPort| port.port == name);
    for link in view.ports(spec.vni) {
        if link.name.starts_with(own) && !is_listed(&link.name) {
            batch.unset_master(&link.name)?;
        }
    }
    network.ports.retain(|name, _| is_listed(name));
    Ok(())
}

fn run(batch: &mut Batch<'_>, vni: u32, step: &Step) -> rtnl::Result<()> {
    let (bridge, vxlan) = (bridge_name(vni), vxlan_name(vni));
    match step {
        Step::DropNeighbour(address) => batch.del_neigh(&bridge, *address)?,
        Step::DropRemote(mac) => batch.fdb_del_self(&vxlan, *mac)?.fdb_del_master(&vxlan, *mac)?,
        Step::DropLocal { mac, port } => batch.fdb_del_master(port, *mac)?,
        Step::PointRemote { mac, host } => batch.fdb_replace_self(&vxlan, *mac, *host)?.fdb_replace_master(&vxlan, *mac)?,
        Step::PointLocal { mac, port } => batch.fdb_replace_master(port, *mac)?,
        Step::SetNeighbour { address, mac } => batch.replace_neigh(&bridge, *address, *mac)?,
    };
    Ok(())
}
