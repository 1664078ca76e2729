//! [`Origins`]: map, counters and program, pinned in a folder, and the interfaces they are on.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use nix::fcntl::{Flock, FlockArg};

use super::code::{Cells, FOREIGN, Map, STALE, UNKNOWN, assemble};
use super::table::{Origin, Table, Who};
use crate::bpf::{BpfError, Program, ensure_bpffs};
use crate::netns::Netns;
use crate::rtnl::{BpfFilter, Direction, Rtnl, RtnlError};

/// Servers of all partitions that a host has to do with; as many as the largest slot table. Memory is taken as it fills.
const ENTRIES_MAX: u32 = 65_536;
/// Layout 1 of keys and values, 2 of the counters.
const MAP_PIN: &str = "origins_1";
const CELLS_PIN: &str = "drops_2";
const MAP_NAME: &str = "pan_origins";
const PROGRAM: &str = "pan_origin";

/// Why origins cannot be checked, or not everywhere.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// Its folder cannot be used.
    #[error("the folder {} of where frames may come from: {step}", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The map or the program could not be made, found or changed.
    #[error("the map of where frames may come from")]
    Bpf(#[from] BpfError),
    /// The network namespace's netlink socket.
    #[error("the netlink socket for checking where frames come from")]
    Rtnl(#[source] RtnlError),
    /// It could not be put on an interface.
    #[error("check where frames come from at the fabric {device}")]
    Attach {
        /// The interface.
        device: String,
        /// What was refused.
        #[source]
        source: RtnlError,
    },
}

/// Frames dropped since the map was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// From a host that has the server no more, or not yet.
    pub stale: u64,
    /// Of a known network, under an address that nobody has.
    pub unknown: u64,
    /// Of a network that is not known here: not dropped by this check, but nobody here has such a network.
    pub foreign: u64,
}

/// What is known of where frames come from, in the kernel. Processes of one host share it by the folder; it stays, and
/// goes on checking, when all of them are gone.
#[derive(Debug)]
pub struct Origins {
    dir: PathBuf,
    map: Map,
    cells: Cells,
    program: Program,
    rtnl: Rtnl,
}

impl Origins {
    /// Finds what is pinned in the folder, or makes it, empty: then no network is known and nothing is dropped. `dir` is to
    /// be emptied by a reboot and the same for every process of the host.
    ///
    /// # Errors
    /// The folder cannot be used, or the kernel refuses BPF.
    pub fn open(dir: &Path, netns: &Netns) -> Result<Self, OriginError> {
        fs::create_dir_all(dir).map_err(folder(dir, "make it"))?;
        let _lock = lock(dir)?;
        ensure_bpffs(dir)?;
        let (map_pin, cells_pin) = (dir.join(MAP_PIN), dir.join(CELLS_PIN));
        let map = match Map::open(&map_pin, ENTRIES_MAX)? {
            Some(map) => map,
            None => {
                clear(dir)?;
                let map = Map::create(MAP_NAME, ENTRIES_MAX)?;
                map.pin(&map_pin)?;
                map
            }
        };
        let cells = match Cells::open(&cells_pin)? {
            Some(cells) => cells,
            None => {
                let cells = Cells::create(MAP_NAME)?;
                cells.pin(&cells_pin)?;
                cells
            }
        };
        let code = || assemble(map.descriptor(), cells.descriptor());
        let program = Program::pinned(dir, PROGRAM, &assemble(0, 0), code)?;
        Ok(Self { dir: dir.to_owned(), map, cells, program, rtnl: Rtnl::open_in(netns).map_err(OriginError::Rtnl)? })
    }

    /// Checks what comes in by a fabric's interface, unless that is done already; true if it was not.
    ///
    /// # Errors
    /// The interface is not there, or the kernel refuses.
    pub fn ensure_attached(&self, device: &str) -> Result<bool, OriginError> {
        let at = |source| OriginError::Attach { device: device.to_owned(), source };
        if self.rtnl.bpf_filter(device, Direction::In).map_err(at)? == Some(self.program.id()) {
            return Ok(false);
        }
        let filter = BpfFilter { descriptor: self.program.descriptor(), name: PROGRAM };
        self.rtnl.set_bpf_filter(device, Direction::In, filter).map_err(at)?;
        Ok(true)
    }

    /// Opens it in the namespace of the calling thread, or `None` where the kernel refuses: then this check is missing here
    /// and only the gates of others keep them from being heard. That is told once, in the log.
    pub fn open_if_possible(dir: &Path) -> Option<Arc<Self>> {
        let opened = Netns::current().map_err(|error| text(&error));
        match opened.and_then(|netns| Self::open(dir, &netns).map_err(|error| text(&error))) {
            Ok(origins) => Some(Arc::new(origins)),
            Err(error) => {
                tracing::warn!(error, "frames are not checked for coming from the host that has their server");
                None
            }
        }
    }

    /// What was dropped so far.
    pub fn dropped(&self) -> Dropped {
        let count = |cell: usize| self.cells.cells()[cell].load(SeqCst);
        Dropped { stale: count(STALE), unknown: count(UNKNOWN), foreign: count(FOREIGN) }
    }

    /// Lets `change` see all there is and say what to put in and what to take out, with nobody else changing anything
    /// meanwhile. Returns what is there then.
    pub(super) fn change(&self, change: impl FnOnce(&Table) -> (Vec<(Who, Origin)>, Vec<Who>)) -> Result<Table, OriginError> {
        let _lock = lock(&self.dir)?;
        let elements = self.map.read()?;
        let mut table: Table = elements.iter().map(|(key, value)| (Who::of(key), Origin::of(value))).collect();
        let (set, gone) = change(&table);
        for (who, origin) in set {
            self.map.set(&who.bytes(), &origin.bytes())?;
            table.insert(who, origin);
        }
        for who in gone {
            self.map.remove(&who.bytes())?;
            table.remove(&who);
        }
        Ok(table)
    }
}

/// A program without its map would check what nobody can change.
fn clear(dir: &Path) -> Result<(), OriginError> {
    let failed = || folder(dir, "remove stale pins");
    for entry in fs::read_dir(dir).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let name = entry.file_name();
        if name == CELLS_PIN || name.to_string_lossy().starts_with(PROGRAM) {
            fs::remove_file(entry.path()).map_err(failed())?;
        }
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<Flock<fs::File>, OriginError> {
    // Beside it: what is in it is hidden by the mount.
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.with_extension("lock"));
    let file = file.map_err(folder(dir, "open its lock file"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| folder(dir, "lock it")(errno.into()))
}

fn folder(dir: &Path, step: &'static str) -> impl FnOnce(io::Error) -> OriginError {
    let dir = dir.to_owned();
    move |source| OriginError::Folder { dir, step, source }
}

/// An error with all its causes.
fn text(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
