//! Services of layer 7: a process for each partition whose unit is here, in the partition's namespace, that speaks HTTP with strangers. It is
//! the same program as `pan proxy`. [`document`] says what it is to do, [`keeper`] keeps it running and told, [`worker`] is the process.
//!
//! It outlives this agent: another finds it by its control socket. Nothing here waits for it for long: one that hangs is its partition's
//! trouble alone.

mod document;
mod keeper;
mod worker;

use crate::error::Trouble;
use keeper::Keeper;
use pan_api::desired::Unit;
use pan_linux::netns::Netns;
use pan_model::ServerName;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a change waits for proxies that work to have taken it up; it is not said to be applied before.
const TAKEN_UP: Duration = Duration::from_millis(500);

/// The proxies of all partitions.
#[derive(Debug)]
pub(crate) struct Proxies {
    folder: PathBuf,
    keepers: BTreeMap<u32, Keeper>,
    /// Threads that still end what was of a partition: whoever follows waits for them.
    ending: BTreeMap<u32, JoinHandle<()>>,
}

impl Proxies {
    /// Those of this host, whose control sockets are beneath `run_dir`.
    pub(crate) fn new(run_dir: &Path) -> Self {
        Self { folder: run_dir.join("proxies"), keepers: BTreeMap::new(), ending: BTreeMap::new() }
    }

    /// Has a unit's services of layer 7 served as it says, or not any more: by whoever owns it, and only there. Returns at once.
    pub(crate) fn follow(&mut self, unit: &Unit, netns: &Netns) -> Result<(), Trouble> {
        if !unit.owner || unit.web.is_empty() {
            self.end(unit.vni);
            return Ok(());
        }
        let keeper = match self.keepers.entry(unit.vni) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let (folder, netns) = (self.folder.join(unit.vni.to_string()), netns.try_clone()?);
                let before = self.ending.remove(&unit.vni);
                entry.insert(Keeper::start(unit.vni, &folder, netns, before))
            }
        };
        keeper.tell(document::document(unit));
        Ok(())
    }

    /// Nobody serves this partition's here any more.
    pub(crate) fn end(&mut self, vni: u32) {
        self.ending.retain(|_, thread| !thread.is_finished());
        let folder = self.folder.join(vni.to_string());
        let thread = match self.keepers.remove(&vni) {
            Some(keeper) => keeper.end(),
            // An earlier life of this agent may have left something.
            None if !self.ending.contains_key(&vni) && folder.exists() => keeper::sweep(vni, folder),
            None => None,
        };
        self.ending.extend(thread.map(|thread| (vni, thread)));
    }

    /// Ends what was left of partitions that are none of these.
    pub(crate) fn retain(&mut self, wanted: &BTreeSet<u32>) {
        let folders = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let left: BTreeSet<u32> = folders.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        let all: BTreeSet<u32> = self.keepers.keys().copied().chain(left).collect();
        all.difference(wanted).for_each(|vni| self.end(*vni));
    }

    /// What is not in force yet after a change: proxies that work are given a moment to take up what they were told.
    pub(crate) fn taken_up(&self) -> Vec<Trouble> {
        self.troubles(Instant::now() + TAKEN_UP)
    }

    /// What is not in force.
    pub(crate) fn amiss(&self) -> Vec<Trouble> {
        self.troubles(Instant::now())
    }

    fn troubles(&self, deadline: Instant) -> Vec<Trouble> {
        let late = self.keepers.iter().filter_map(|(vni, keeper)| Some((*vni, keeper.late(deadline)?)));
        late.map(|(vni, what)| Trouble::Proxy { vni, what }).collect()
    }

    /// Proxies that ended by themselves lately, for people.
    pub(crate) fn fallen(&self) -> impl Iterator<Item = String> {
        self.keepers.iter().filter_map(|(vni, keeper)| keeper.fell().map(|why| format!("the proxy of partition network {vni} {why}")))
    }

    /// Where to ask for the requests that a partition's servers have.
    pub(crate) fn control(&self, vni: u32) -> Option<PathBuf> {
        self.keepers.get(&vni)?.control()
    }
}

/// Ends all there are, on a host that is no director any more. Blocks.
pub(crate) fn leave(run_dir: &Path) {
    let mut proxies = Proxies::new(run_dir);
    proxies.retain(&BTreeSet::new());
    // A panic there was told where it happened.
    proxies.ending.into_values().for_each(|thread| drop(thread.join()));
}

/// Requests that servers have now from a proxy. Blocks. One that is not there has none.
///
/// # Errors
/// It is there and does not say.
pub(crate) fn requests(control: &Path) -> io::Result<BTreeMap<ServerName, u64>> {
    worker::requests(control)
}
