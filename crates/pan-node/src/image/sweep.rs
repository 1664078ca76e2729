//! Images that no server uses go after a while, and what was left half made or half removed at once.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::store::{self, Store};

/// How often is looked.
pub(super) const EVERY: Duration = Duration::from_secs(600);

/// What an agent left that was killed, and nothing else: after the boot no server has begun yet.
pub(super) fn leftover(store: &Store) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for partition in store::names(&store.folder())? {
        let folder = store.folder().join(partition);
        for name in store::names(&folder)? {
            if name.ends_with(".new") || name.ends_with(".gone") {
                found.push(folder.join(name));
            }
        }
    }
    Ok(found)
}

/// Takes that away.
pub(super) fn unfinished(leftover: &[PathBuf]) -> io::Result<()> {
    leftover.iter().try_for_each(|path| store::remove(path))
}

/// Takes away images that were used last more than `keep` ago, or before `since`, whichever is later, and that no server has.
pub(super) fn unused(store: &Store, keep: Duration, since: SystemTime) -> io::Result<()> {
    for partition in store::names(&store.folder())? {
        let Ok(vni) = partition.parse() else { continue };
        for image in store.kept(vni)? {
            if store.remove_unused(vni, &image.digest, since, keep)? {
                tracing::info!(network = vni, image = %image.digest, "no server used it: removed");
            }
        }
        store.forget_names(vni)?;
        // Only those that are empty go.
        let folder = store.partition(vni);
        let _still_used = fs::remove_dir(folder.join("refs")).and_then(|()| fs::remove_dir(folder));
    }
    Ok(())
}
