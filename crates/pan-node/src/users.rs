//! The user namespace that all servers of a partition on this host share, made when the first comes and removed with the last.
//!
//! Which there are, and with what ids, is what files in `run_dir` say: `PARTITION.FIRST`, each with the namespace mounted on
//! it. One without is what an agent left that died between the two steps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pan_linux::oci;
use pan_linux::userns::{IdRange, UserNs};
use pan_model::PartitionName;

use crate::apply::ApplyError;
use crate::error::FileError;
use crate::ids::{self, IDS};
use crate::names;

/// Where a host says which ids it uses: accounts, and ranges that users may use for containers of their own.
const ACCOUNTS: [&str; 2] = ["/etc/passwd", "/etc/group"];
const DELEGATIONS: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// The user namespaces of partitions on this host.
#[derive(Debug)]
pub(crate) struct UserSpaces {
    folder: PathBuf,
    /// Ids that the host itself uses.
    host: Vec<IdRange>,
    /// One step at a time: two servers of a partition may start together, and one while the last other one leaves.
    given: Mutex<BTreeMap<PartitionName, IdRange>>,
}

/// A partition's user namespace.
#[derive(Debug)]
pub(crate) struct UserSpace {
    pub open: UserNs,
    pub named: oci::Users,
}

impl UserSpaces {
    /// Those that an earlier agent left in `folder`.
    ///
    /// # Errors
    /// It cannot be made or listed.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, FileError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(FileError::of("make", &folder))?;
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let accounts = ACCOUNTS.iter().flat_map(|path| ids::of_accounts(&read(path)).collect::<Vec<_>>());
        let delegations = DELEGATIONS.iter().flat_map(|path| ids::of_delegations(&read(path)).collect::<Vec<_>>());
        let host = accounts.chain(delegations).collect();
        let mut given = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(FileError::of("list", &folder))? {
            let entry = entry.map_err(FileError::of("list", &folder))?;
            given.extend(entry.file_name().to_str().and_then(parse));
        }
        Ok(Self { folder, host, given: Mutex::new(given) })
    }

    /// The partition's, made if need be. A server's record must be written before: it keeps the namespace from being removed.
    ///
    /// # Errors
    /// No ids are left, or the kernel refuses.
    pub(crate) fn ensure(&self, partition: &PartitionName) -> Result<UserSpace, ApplyError> {
        let mut given = self.lock();
        let ids = match given.get(partition) {
            Some(ids) => *ids,
            None => {
                let taken: Vec<IdRange> = self.host.iter().chain(given.values()).copied().collect();
                let drawn = crate::boot::random().map_err(ApplyError::Random)?;
                let ids = ids::free(&taken, drawn).ok_or(ApplyError::NoIds)?;
                // Kept if it cannot be made now: the next attempt is to take up the same file, as another agent does, and leave no other.
                given.insert(partition.clone(), ids);
                ids
            }
        };
        let namespace = self.file(partition, ids);
        // Reused only as it was named: the range is in the file's name.
        let open = match UserNs::open(&namespace) {
            Ok(open) => open,
            Err(_) => UserNs::create(&namespace, ids)?,
        };
        Ok(UserSpace { open, named: oci::Users { namespace, ids } })
    }

    /// The host's id of root in a partition's servers; root's own before there is one.
    pub(crate) fn root_of(&self, partition: &PartitionName) -> u32 {
        self.lock().get(partition).map_or(0, |ids| ids.outside(0))
    }

    /// Removes a partition's, unless one of the `records` is a server's of it.
    ///
    /// # Errors
    /// It cannot be removed, or the records not be listed.
    pub(crate) fn leave(&self, partition: &PartitionName, records: &Path) -> Result<(), ApplyError> {
        let mut given = self.lock();
        if let Some(ids) = given.get(partition)
            && !recorded(records)?.contains(partition)
        {
            UserNs::remove(&self.file(partition, *ids))?;
            given.remove(partition);
        }
        Ok(())
    }

    /// The same with all partitions, some of which an earlier agent may have left.
    ///
    /// # Errors
    /// As of [`UserSpaces::leave`].
    pub(crate) fn leave_all_but(&self, records: &Path) -> Result<(), ApplyError> {
        let known: Vec<PartitionName> = self.lock().keys().cloned().collect();
        known.iter().try_for_each(|partition| self.leave(partition, records))
    }

    fn file(&self, partition: &PartitionName, ids: IdRange) -> PathBuf {
        self.folder.join(format!("{partition}.{}", ids.first))
    }

    /// A file that was made is found by the next agent, whatever happened to this one.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionName, IdRange>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a file's name.
fn parse(name: &str) -> Option<(PartitionName, IdRange)> {
    let (partition, first) = name.split_once('.')?;
    Some((PartitionName::new(partition).ok()?, IdRange { first: first.parse().ok()?, count: IDS }))
}

/// The partitions of which a server's record is in `records`.
fn recorded(records: &Path) -> Result<BTreeSet<PartitionName>, FileError> {
    let listed = match fs::read_dir(records) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        listed => listed.map_err(FileError::of("list", records))?,
    };
    let mut found = BTreeSet::new();
    for entry in listed {
        let entry = entry.map_err(FileError::of("list", records))?;
        found.extend(entry.file_name().to_str().and_then(names::key_of).map(|key| key.partition));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is_and_with_what_ids() {
        let acme = PartitionName::new("acme").unwrap();
        assert_eq!(parse("acme.2000683008"), Some((acme, IdRange { first: 2_000_683_008, count: IDS })));
        for other in ["acme", "acme.", "acme.x", "acme.-1", ".5"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn partitions_are_known_by_their_servers_records() {
        let dir = tempfile::tempdir().unwrap();
        assert!(recorded(&dir.path().join("none")).unwrap().is_empty());
        for name in ["acme.web-1", "acme.web-2", "rival.db-1", "no-server"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let names: Vec<String> = recorded(dir.path()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["acme", "rival"]);
    }
}
