//! The rules and settings of one partition's namespace: loading them, changing their elements, and seeing when
//! somebody else did. Effects only.

use crate::error::Trouble;
use crate::metrics::Counts;
use crate::rules::down_set;
use crate::ruleset::{FILLED, Ruleset, TABLE_NAME};
use pan_linux::netns::Netns;
use pan_linux::nft::{self, Batch, ElementsError, Family, Generation, Nft};
use pan_linux::sysctl;
use pan_model::ServiceName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const UNPRIVILEGED: &str = "net/ipv4/ip_unprivileged_port_start";

/// Settings of the namespace, in force before it has links. Forwarding, and connections that were accepted by
/// another director are taken up mid-stream whatever their windows; nobody is redirected, and an address is
/// answered for only on the link it is on: the partition's own must not show outside.
const SETTINGS: [(&str, &str); 14] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/netfilter/nf_conntrack_tcp_loose", "1"),
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    // The proxy of its services of layer 7 has no rights, and nobody else is here.
    (UNPRIVILEGED, "0"),
];

/// The rules of one partition.
#[derive(Debug)]
pub(crate) struct Tables {
    vni: u32,
    netns: Netns,
    nft: Nft,
    /// Unknown at first and after an error.
    loaded: Option<Loaded>,
    /// What somebody else changed, as far as it was seen and not yet told.
    drift: Vec<String>,
    counts: Arc<Counts>,
}

/// Rules that are known to be in force.
#[derive(Debug)]
struct Loaded {
    rules: Ruleset,
    /// The namespace's nftables state since then: another number means that somebody else was there.
    generation: Generation,
}

impl Tables {
    pub(crate) fn open(vni: u32, netns: Netns, counts: Arc<Counts>) -> Result<Self, Trouble> {
        let nft = Nft::open_in(&netns).map_err(|source| Trouble::Elements { vni, source })?;
        // Before there are rules: the proxy may come before them.
        netns.run(|| sysctl::set(None, UNPRIVILEGED, "0"))??;
        Ok(Self { vni, netns, nft, loaded: None, drift: Vec::new(), counts })
    }

    /// Whether the rules in force are known.
    pub(crate) fn are_known(&self) -> bool {
        self.loaded.is_some()
    }

    /// Loads the rules if they are not loaded. Live connections go on. Where only elements differ, no program
    /// is started.
    pub(crate) fn load(&mut self, rules: Ruleset) -> Result<(), Trouble> {
        let generation = match self.loaded.take() {
            Some(loaded) if loaded.rules == rules => loaded.generation,
            Some(loaded) => match self.update(&loaded, &rules)? {
                Some(generation) => generation,
                None => {
                    self.drift.push("its rules are not those that were loaded".to_owned());
                    self.replace(&rules)?
                }
            },
            None => self.replace(&rules)?,
        };
        self.loaded = Some(Loaded { rules, generation });
        Ok(())
    }

    /// Goes from one set of rules to another; none if those in force are others.
    fn update(&mut self, from: &Loaded, to: &Ruleset) -> Result<Option<Generation>, Trouble> {
        match from.rules.batch(to) {
            Some(batch) => self.commit(&batch, from.generation),
            None if self.generation()? == from.generation => self.run_script(&from.rules.update(to)).map(Some),
            None => Ok(None),
        }
    }

    fn replace(&mut self, rules: &Ruleset) -> Result<Generation, Trouble> {
        let generation = self.run_script(&rules.replace())?;
        // Connection tracking has settings only once there are rules that need it.
        self.set_settings()?;
        Ok(generation)
    }

    fn run_script(&mut self, script: &str) -> Result<Generation, Trouble> {
        nft::load(Some(&self.netns), script).map_err(|source| Trouble::Rules { vni: self.vni, source })?;
        self.counts.loads.one();
        self.generation()
    }

    /// Changes elements; none if the rules around them are not those of `expected`.
    fn commit(&mut self, batch: &Batch, expected: Generation) -> Result<Option<Generation>, Trouble> {
        if batch.is_empty() {
            return Ok(Some(expected));
        }
        match self.nft.commit(batch, Some(expected)) {
            Ok(()) => {
                self.counts.elements.add(batch.steps() as u64);
                Ok(Some(expected.next()))
            }
            Err(ElementsError::Changed { .. }) => Ok(None),
            Err(source) => Err(Trouble::Elements { vni: self.vni, source }),
        }
    }

    fn generation(&mut self) -> Result<Generation, Trouble> {
        self.nft.generation().map_err(|source| Trouble::Elements { vni: self.vni, source })
    }

    /// Marks exactly these servers of these services as to be avoided, ahead of whatever else follows from it.
    /// Rules that are not known are left to [`Self::load`].
    pub(crate) fn mark(&mut self, down: &BTreeMap<ServiceName, BTreeSet<u32>>) -> Result<(), Trouble> {
        let Some(mut loaded) = self.loaded.take() else { return Ok(()) };
        let wanted = down.iter().map(|(service, servers)| (down_set(service), servers.clone())).collect();
        let (batch, changed) = loaded.rules.with_sets(&wanted);
        let Some(generation) = self.commit(&batch, loaded.generation)? else {
            self.drift.push("its rules are not those that were loaded".to_owned());
            return Ok(());
        };
        loaded.generation = generation;
        for (name, elements) in changed {
            loaded.rules.maps.get_mut(&name).expect("a changed set is one of the rules'").elements = elements;
        }
        self.loaded = Some(loaded);
        Ok(())
    }

    /// Writes the settings that are not as they should be, and says which those were.
    fn set_settings(&self) -> Result<Vec<&'static str>, Trouble> {
        let write = || -> Result<Vec<&'static str>, sysctl::SysctlError> {
            let mut written = Vec::new();
            for (key, value) in SETTINGS {
                if sysctl::get(None, key)? != value {
                    sysctl::set(None, key, value)?;
                    written.push(key);
                }
            }
            Ok(written)
        };
        Ok(self.netns.run(write)??)
    }

    /// Looks whether rules and settings are still those that were put in force. Rules that are not are
    /// forgotten, so that the next [`Self::load`] makes them anew.
    pub(crate) fn look(&mut self) -> Result<(), Trouble> {
        let Some(expected) = self.loaded.as_ref().map(|loaded| loaded.generation) else { return Ok(()) };
        if self.generation()? != expected {
            self.drift.push("its rules were changed".to_owned());
            self.loaded = None;
            return Ok(());
        }
        let settings = self.set_settings()?;
        self.drift.extend(settings.iter().map(|key| format!("setting {key}")));
        Ok(())
    }

    /// How many packets to beyond the network came from each address, as the kernel counts them; nothing of rules that are not known.
    pub(crate) fn beyond(&mut self) -> Result<Vec<(IpAddr, u64)>, Trouble> {
        let mut all = Vec::new();
        for (name, _) in FILLED.iter().filter(|_| self.loaded.is_some()) {
            let counted = self.nft.counted(Family::Inet, TABLE_NAME, name).map_err(|source| Trouble::Elements { vni: self.vni, source })?;
            all.extend(counted.into_iter().filter_map(|(key, packets)| Some((address(&key)?, packets))));
        }
        Ok(all)
    }

    /// What somebody else changed since this was asked last.
    pub(crate) fn take_drift(&mut self) -> Vec<String> {
        std::mem::take(&mut self.drift)
    }
}

fn address(key: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(key).map(|four| Ipv4Addr::from(four).into());
    v4.or_else(|_| <[u8; 16]>::try_from(key).map(|sixteen| Ipv6Addr::from(sixteen).into())).ok()
}
