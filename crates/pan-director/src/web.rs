//! Services of layer 7: a process for each partition whose unit is here, in the partition's namespace, that speaks HTTP with strangers. It is
//! the same program as `pan proxy`. [`document`] says what it is to do, [`keeper`] keeps it running and told, [`worker`] is the process, [`speak`]
//! what is said to it, [`inquiry`] what others want to know of it.
//!
//! It outlives this agent: another finds it by its control socket. Nothing here waits for it for long: one that hangs is its partition's
//! trouble alone.

mod document;
mod inquiry;
mod keeper;
mod speak;
mod worker;

pub(crate) use inquiry::Inquiries;
pub(crate) use speak::Lines;

use crate::error::Trouble;
use keeper::Keeper;
use pan_api::desired::Unit;
use pan_linux::netns::Netns;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::Notify;

/// The proxies of all partitions.
#[derive(Debug)]
pub(crate) struct Proxies {
    folder: PathBuf,
    keepers: BTreeMap<u32, Keeper>,
    /// Threads that still end what was of a partition: whoever follows waits for them.
    ending: BTreeMap<u32, JoinHandle<()>>,
    settled: Arc<Notify>,
    inquiries: Inquiries,
}

impl Proxies {
    /// Those of this host, whose control sockets are beneath `run_dir`. They are to be asked by `inquiries`.
    pub(crate) fn new(run_dir: &Path, inquiries: Inquiries) -> Self {
        let (folder, settled) = (run_dir.join("proxies"), Arc::default());
        Self { folder, keepers: BTreeMap::new(), ending: BTreeMap::new(), settled, inquiries }
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
                let keeper = Keeper::start(unit.vni, &folder, netns, before, Arc::clone(&self.settled));
                self.inquiries.open(unit.vni, &unit.partition, keeper.asked());
                entry.insert(keeper)
            }
        };
        keeper.tell(document::document(unit));
        Ok(())
    }

    /// Nobody serves this partition's here any more.
    pub(crate) fn end(&mut self, vni: u32) {
        self.ending.retain(|_, thread| !thread.is_finished());
        self.inquiries.close(vni);
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

    /// Whether some still have to take up what they were told: it is not said to be applied before.
    pub(crate) fn is_late(&self) -> bool {
        self.keepers.values().any(Keeper::is_late)
    }

    /// Told when one is not late any more.
    pub(crate) fn settled(&self) -> Arc<Notify> {
        Arc::clone(&self.settled)
    }

    /// What does not work, for people: what one does not do, and that one ended lately. It is its partition's own trouble.
    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        let of = |(vni, keeper): (&u32, &Keeper)| {
            let problem = keeper.problem().map(|why| format!("the proxy of partition network {vni}: {why}"));
            problem.or_else(|| keeper.fell().map(|why| format!("the proxy of partition network {vni} {why}")))
        };
        self.keepers.iter().filter_map(of)
    }

    /// Where to ask for the requests that a partition's servers have.
    pub(crate) fn lines(&self, vni: u32) -> Option<Lines> {
        self.keepers.get(&vni).map(Keeper::lines)
    }
}

/// Ends all there are, on a host that is no director any more. Blocks.
pub(crate) fn leave(run_dir: &Path) {
    let mut proxies = Proxies::new(run_dir, Inquiries::default());
    proxies.retain(&BTreeSet::new());
    // A panic there was told where it happened.
    proxies.ending.into_values().for_each(|thread| drop(thread.join()));
}
