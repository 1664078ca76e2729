//! Brings the kernel to a desired state, in the order that keeps connections whole. Blocks; the decisions are
//! those of [`crate::units`], [`crate::rules`] and [`crate::specs`].

mod stand;

use crate::announce::{self, Announcement};
use crate::beyond::Beyond;
use crate::census::Census;
use crate::error::{Trouble, Troubles};
use crate::imports::Imports;
use crate::memory::{Memory, Units};
use crate::metrics::Counts;
use crate::namespace::{Namespace, Outside};
use crate::rules::{OUTSIDE, ruleset};
use crate::specs::{self, GATEWAY_PORTS, NAMESPACE_PREFIX, Seat};
use crate::standin::{self, Standing};
use crate::suspicion::{Told, down};
use crate::unanswered::{Forgetting, Unanswered};
use crate::units::{avoided_ends, decide};
use crate::web::{Inquiries, Proxies};
use pan_api::desired::{Desired, Unit};
use pan_api::report::RefusedPackets;
use pan_linux::netns::Netns;
use pan_linux::origin::Origins;
use pan_linux::overlay::Overlay;
use pan_linux::rtnl::{Protocol, Route, Rtnl};
use pan_linux::underlay::Underlay;
use pan_model::host_config::HostConfig;
use pan_model::neighbours::{Limits, Room};
use pan_model::{Epoch, HostName, PartitionName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Every partition's namespace is compared with what it should be once in so many calls of [`Director::refresh`].
const LOOKS: u32 = 3;

/// All that a director has in the kernel.
#[derive(Debug)]
pub struct Director {
    config: HostConfig,
    interface: String,
    host: Rtnl,
    underlay: Underlay,
    room: Room,
    overlay: Overlay,
    /// Shared with the host's other roles; none where the kernel refuses.
    origins: Option<Arc<Origins>>,
    namespaces: BTreeMap<u32, Namespace>,
    /// What the controller wants.
    told: BTreeMap<PartitionName, Told>,
    /// Hosts this director suspects by itself.
    silent: BTreeSet<HostName>,
    /// Units of silent directors that it answers for.
    standing: Standing,
    /// What is in force.
    units: Units,
    memory: Memory,
    started: Instant,
    refreshed: u32,
    /// Found out by the step under way.
    unanswered: Vec<Unanswered>,
    forgetting: Forgetting,
    counts: Arc<Counts>,
    beyond: Beyond,
    imports: Imports,
    proxies: Proxies,
    /// Under which epoch each owned unit's addresses were announced last.
    announced: BTreeMap<PartitionName, Epoch>,
}

impl Director {
    /// Prepares the calling thread's network namespace, the host's. `interface` is the one towards the clients.
    ///
    /// # Errors
    /// The kernel refuses what every partition needs.
    pub fn new(config: &HostConfig, interface: &str) -> Result<Self, Trouble> {
        Self::counting(config, interface, Arc::default(), Inquiries::default())
    }

    /// The same, counting there what it does, with proxies that are asked there.
    pub(crate) fn counting(config: &HostConfig, interface: &str, counts: Arc<Counts>, inquiries: Inquiries) -> Result<Self, Trouble> {
        let memory = Memory::new(&config.run_dir);
        let origins = Origins::open_if_possible(&config.run_dir.join("origins"));
        Ok(Self {
            config: config.clone(),
            interface: interface.to_owned(),
            host: Rtnl::open()?,
            underlay: Underlay::new(Rtnl::open()?)?,
            room: Room::default(),
            overlay: Overlay::owning(Rtnl::open()?, config.address, GATEWAY_PORTS)?.with_origins(origins.clone()),
            origins,
            namespaces: BTreeMap::new(),
            told: BTreeMap::new(),
            silent: BTreeSet::new(),
            standing: Standing::new(),
            units: memory.load(),
            memory,
            started: Instant::now(),
            refreshed: 0,
            unanswered: Vec::new(),
            forgetting: Forgetting::default(),
            imports: Imports::new(counts.clone()),
            counts,
            beyond: Beyond::default(),
            proxies: Proxies::new(&config.run_dir, inquiries),
            announced: BTreeMap::new(),
        })
    }

    /// Makes the kernel what `desired` says, as far as it goes, and returns what did not. Calling it again
    /// repairs the rest and costs little where nothing changed.
    pub fn apply(&mut self, desired: &Desired) -> Troubles {
        let mut troubles = Vec::new();
        self.standing = standin::still(desired, &self.silent, &self.standing);
        let desired = &*standin::over(desired, &self.standing);
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
        troubles.extend(self.check_origins());
        self.take_owned(desired, &mut troubles);
        let imports = self.bring_imports(desired);
        self.forgetting.start(std::mem::take(&mut self.unanswered), &self.counts);
        troubles.extend(self.namespaces.values_mut().filter_map(Namespace::take_drift));
        troubles.extend(self.memory.save(&self.units).err());
        self.count_backends();
        Troubles { units: troubles, imports }
    }

    fn count_backends(&self) {
        let services: Vec<_> = self.units.values().flat_map(|kept| kept.unit.all_services()).collect();
        self.counts.set_backends(services.iter().flat_map(|service| &service.backends).map(|backend| backend.state));
    }

    /// After what is everybody's.
    fn bring_imports(&mut self, desired: &Desired) -> Vec<Trouble> {
        let now = self.now();
        let mut troubles = self.imports.apply(&self.host, desired, (&self.silent, now));
        self.unanswered.append(&mut self.imports.take_unanswered());
        if !desired.imports.is_empty() {
            troubles.extend(self.overlay.apply(&specs::networks(desired)).err().map(Trouble::from));
        }
        troubles
    }

    /// Takes note of the hosts this director itself takes for silent, all of them. New connections avoid their
    /// servers first of all; whatever else follows from it comes after.
    pub fn suspect(&mut self, silent: &BTreeSet<HostName>) -> Troubles {
        if self.silent == *silent {
            return Troubles::default();
        }
        self.silent.clone_from(silent);
        let now = self.now();
        let wanted = self.told.iter().map(|(partition, told)| (partition, told.under(silent)));
        let changed: Vec<Unit> = wanted
            .filter(|(partition, unit)| self.units.get(*partition).is_some_and(|kept| kept.unit != *unit))
            .map(|(_, unit)| unit)
            .collect();
        let mut troubles = Vec::new();
        for unit in &changed {
            let marked = self.namespaces.get_mut(&unit.vni).map(|namespace| namespace.tables().mark(&down(unit)));
            troubles.extend(marked.and_then(Result::err));
        }
        for unit in &changed {
            troubles.extend(self.settle(unit).err());
        }
        let imports = self.imports.suspect(silent, now);
        self.unanswered.append(&mut self.imports.take_unanswered());
        self.forgetting.start(std::mem::take(&mut self.unanswered), &self.counts);
        troubles.extend(self.namespaces.values_mut().filter_map(Namespace::take_drift));
        if !changed.is_empty() {
            troubles.extend(self.memory.save(&self.units).err());
            self.count_backends();
        }
        Troubles { units: troubles, imports }
    }

    /// Compares routes, partition networks and, in turn, partitions' namespaces with the kernel again: fabric
    /// interfaces go down and come back untold, and take their routes along, and people change things by hand.
    /// `desired` is what was applied last.
    pub fn refresh(&mut self, desired: &Desired) -> Troubles {
        let underlay = self.underlay.apply(&specs::underlay(&self.config, desired)).err().map(Trouble::from);
        let networks = specs::networks(&standin::over(desired, &self.standing));
        let overlay = self.overlay.apply(&networks).err().map(Trouble::from);
        let mut troubles = Troubles::of_units(underlay.into_iter().chain(overlay).chain(self.check_origins()));
        self.refreshed = self.refreshed.wrapping_add(1);
        let mut drift = Vec::new();
        for (vni, namespace) in &mut self.namespaces {
            if vni % LOOKS == self.refreshed % LOOKS {
                troubles.units.extend(namespace.look().err());
                drift.extend(namespace.take_drift());
            }
        }
        if self.refreshed.is_multiple_of(LOOKS) {
            let (amiss, seen) = self.imports.look();
            troubles.imports.extend(amiss);
            drift.extend(seen);
        }
        if !drift.is_empty() {
            troubles.add(self.apply(desired));
            troubles.units.extend(drift);
        } else if self.imports.is_behind() {
            troubles.imports.extend(self.bring_imports(desired));
        }
        // One may have begun while its server was being marked, or there were more than one call forgets.
        if !self.forgetting.is_busy() {
            troubles.units.extend(self.forget_again().err());
        }
        troubles
    }

    /// What works and may not go on to, and what does not and is one partition's trouble alone, for people: not enough neighbours for all other
    /// hosts, proxies.
    pub(crate) fn warnings(&mut self, desired: &Desired) -> Vec<String> {
        self.room(desired).into_iter().chain(self.proxies.problems()).collect()
    }

    /// Whether proxies still have to take up what was applied.
    pub(crate) fn is_late(&self) -> bool {
        self.proxies.is_late()
    }

    /// Told when a proxy is not late any more.
    pub(crate) fn settled(&self) -> Arc<Notify> {
        self.proxies.settled()
    }

    fn room(&mut self, desired: &Desired) -> Option<String> {
        let (others, fabric) = (desired.peers.iter().count(), self.config.fabrics.a.address.addr());
        let read = |like| self.host.neighbour_limits(like).ok().flatten().map(|found| Limits { soft: found.soft, hard: found.hard });
        if let Some(news) = self.room.look(others, fabric, read) {
            tracing::warn!("{news}");
        }
        self.room.problem()
    }

    /// Forgets the unanswered connections to all servers that are avoided.
    fn forget_again(&mut self) -> Result<(), Trouble> {
        let mut all = Vec::new();
        let units = self.units.values().filter_map(|kept| Some((&kept.unit, self.namespaces.get(&kept.unit.vni)?.netns())));
        for (unit, netns) in units.chain(self.imports.counted()) {
            let ends = avoided_ends(unit);
            if !ends.is_empty() {
                all.push(Unanswered { vni: unit.vni, netns: netns.try_clone()?, ends });
            }
        }
        self.forgetting.start(all, &self.counts);
        Ok(())
    }

    /// What time brings about: former tables that nobody needs any more go.
    pub fn tick(&mut self) -> Troubles {
        let now = self.now();
        let mut troubles = Vec::new();
        let mut any = false;
        for kept in self.units.values_mut() {
            if kept.retire(now) {
                any = true;
                let namespace = self.namespaces.get_mut(&kept.unit.vni);
                troubles.extend(namespace.and_then(|namespace| namespace.tables().load(ruleset(kept)).err()));
            }
        }
        if any {
            troubles.extend(self.memory.save(&self.units).err());
        }
        Troubles { units: troubles, imports: self.imports.tick(now) }
    }

    /// What it takes to count the connections of servers behind the units this director owns.
    pub fn census(&self) -> (Census, Vec<Trouble>) {
        let (mut census, mut troubles) = (Census::default(), Vec::new());
        for kept in self.units.values().filter(|kept| kept.unit.owner) {
            let Some(namespace) = self.namespaces.get(&kept.unit.vni) else { continue };
            troubles.extend(census.add(&kept.unit, namespace.netns(), self.proxies.lines(kept.unit.vni)).err());
        }
        for (unit, netns) in self.imports.counted() {
            troubles.extend(census.add(unit, netns, None).err());
        }
        (census, troubles)
    }

    /// The numbers of the ways of imports that are in place.
    pub fn ways(&self) -> Vec<u32> {
        self.imports.in_place()
    }

    /// What servers sent to beyond the networks whose gateway this director is, since it began.
    pub fn beyond(&mut self) -> Vec<RefusedPackets> {
        let mut read = Vec::new();
        for kept in self.units.values().filter(|kept| kept.unit.owner) {
            let Some(namespace) = self.namespaces.get_mut(&kept.unit.vni) else { continue };
            // What cannot be read now is read the next time, and what is amiss is told by whoever looks after the rules.
            read.push((kept.unit.partition.clone(), namespace.tables().beyond().unwrap_or_default()));
        }
        let more = self.beyond.add(read);
        self.counts.beyond.add(more);
        self.beyond.told()
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// At every way in; a failure leaves the second line open, not the first.
    fn check_origins(&self) -> Vec<Trouble> {
        let fabrics = [&self.config.fabrics.a.interface, &self.config.fabrics.b.interface];
        let failed = |origins: &Arc<Origins>| fabrics.iter().filter_map(|fabric| origins.ensure_attached(fabric).err()).collect::<Vec<_>>();
        self.origins.iter().for_each(|origins| self.counts.set_frames(origins.dropped()));
        self.origins.iter().flat_map(failed).map(Trouble::from).collect()
    }

    fn remove_unwanted(&mut self, desired: &Desired, troubles: &mut Vec<Trouble>) {
        let wanted: BTreeSet<u32> = desired.units.iter().map(|unit| unit.vni).collect();
        let names = Netns::list().unwrap_or_else(|error| {
            troubles.push(error.into());
            Vec::new()
        });
        self.proxies.retain(&wanted);
        let present = names.iter().filter_map(|name| name.strip_prefix(NAMESPACE_PREFIX)?.parse::<u32>().ok());
        for vni in present.filter(|vni| !wanted.contains(vni)) {
            if let Some(mut namespace) = self.namespaces.remove(&vni) {
                troubles.extend(namespace.set_public(&[]).err());
            }
            troubles.extend(Namespace::remove(&self.host, &Seat::of(vni)).err());
        }
        let partitions: BTreeSet<_> = desired.units.iter().map(|unit| &unit.partition).collect();
        self.units.retain(|partition, _| partitions.contains(partition));
        self.told.retain(|partition, _| partitions.contains(partition));
        self.announced.retain(|partition, _| partitions.contains(partition));
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
        if let std::collections::btree_map::Entry::Vacant(entry) = self.namespaces.entry(vni) {
            entry.insert(Namespace::open(Seat::of(vni), self.counts.clone())?);
        }
        let told = Told::new(unit, network, &desired.host);
        let suspecting = told.under(&self.silent);
        self.told.insert(unit.partition.clone(), told);
        self.settle(&suspecting)?;
        let namespace = self.namespaces.get_mut(&vni).expect("it was opened above");
        let wiring = specs::wiring(&self.config.name, unit, network, routes);
        namespace.wire(&self.host, Outside::Clients(&self.interface), &wiring)?;
        if !unit.owner {
            namespace.set_public(&[])?;
        }
        Ok(())
    }

    /// Makes a unit's tables what they should be, in a namespace that is open.
    fn settle(&mut self, unit: &Unit) -> Result<(), Trouble> {
        let now = self.now();
        let Some(namespace) = self.namespaces.get_mut(&unit.vni) else { return Ok(()) };
        let known = self.units.get_mut(&unit.partition).filter(|_| namespace.tables().are_known());
        // Equal units have equal tables; computing large ones again on each change elsewhere would be felt.
        if known.as_ref().is_some_and(|known| known.unit == *unit) {
            return Ok(());
        }
        // First who is told in a moment what he is told: loading takes longer.
        self.proxies.follow(unit, namespace.netns())?;
        if let Some(known) = known
            && (Unit { owner: unit.owner, epoch: unit.epoch, ..known.unit.clone() }) == *unit
        {
            // Another owner makes no other tables.
            known.unit.clone_from(unit);
            return Ok(());
        }
        let known = self.units.get(&unit.partition);
        let decision = decide(known, unit, now);
        namespace.tables().load(ruleset(&decision.kept))?;
        self.counts.forgotten_dead.add(namespace.forget(&decision.forget)?);
        if !decision.unanswered.is_empty() {
            let netns = namespace.netns().try_clone()?;
            self.unanswered.push(Unanswered { vni: unit.vni, netns, ends: decision.unanswered });
        }
        self.units.insert(unit.partition.clone(), decision.kept);
        Ok(())
    }

    /// Gives owned units their addresses and tells the neighbours.
    fn take_owned(&mut self, desired: &Desired, troubles: &mut Vec<Trouble>) {
        let mut announcements = Vec::new();
        for unit in desired.units.iter().filter(|unit| unit.owner) {
            let Some(namespace) = self.namespaces.get_mut(&unit.vni).filter(|namespace| namespace.is_wired()) else { continue };
            let taken = namespace.set_public(&unit.public).and_then(|fresh| Ok((fresh, namespace.netns().try_clone()?)));
            // Another director may have owned them meanwhile, without this one having heard of it: the neighbours then have that
            // one's word for all of them.
            let again = taken.is_ok() && self.announced.insert(unit.partition.clone(), unit.epoch) != Some(unit.epoch);
            let taken = taken.map(|(fresh, netns)| (if again { unit.public.clone() } else { fresh }, netns));
            match taken {
                Ok((addresses, _)) if addresses.is_empty() => {}
                Ok((addresses, netns)) => {
                    self.counts.takeovers.one();
                    let mac = specs::outside_mac(&self.config.name, unit.vni);
                    tracing::info!(partition = %unit.partition, epoch = %unit.epoch, "public addresses are here now: {addresses:?}");
                    announcements.push(Announcement { netns, device: OUTSIDE, addresses, mac, current: namespace.current() });
                }
                Err(trouble) => troubles.push(trouble),
            }
        }
        announce::start(announcements);
    }
}
