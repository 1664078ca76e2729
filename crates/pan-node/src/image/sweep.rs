//! Images that no server uses go after a while, and what was left half made or half removed at once.

use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use super::store::{self, Store};

/// How often is looked.
pub(super) const EVERY: Duration = Duration::from_secs(600);

/// Takes away what an agent left that was killed, and nothing else: after the boot no server has begun yet.
pub(super) fn unfinished(store: &Store) -> io::Result<()> {
    for partition in store::names(&store.folder())? {
        let folder = store.folder().join(partition);
        for name in store::names(&folder)? {
            if name.ends_with(".new") || name.ends_with(".gone") {
                store::remove(&folder.join(name))?;
            }
        }
    }
    Ok(())
}

/// Takes away images that were used last more than `keep` ago, or before `since`, whichever is later, and that no server has.
pub(super) fn unused(store: &Store, keep: Duration, since: SystemTime) -> io::Result<()> {
    let now = SystemTime::now();
    for partition in store::names(&store.folder())? {
        let Ok(vni) = partition.parse() else { continue };
        let old = |used: SystemTime| now.duration_since(used.max(since)).is_ok_and(|unused| unused > keep);
        let kept = store.kept(vni)?;
        if kept.iter().any(|image| old(image.used)) {
            let in_use = store.in_use()?;
            for image in kept.into_iter().filter(|image| old(image.used) && !store::is_claimed(image.used)) {
                if !in_use.contains(&(vni, image.digest.clone())) {
                    tracing::info!(network = vni, image = %image.digest, "no server uses it: removing");
                    store.remove(vni, &image.digest)?;
                }
            }
        }
        store.forget_names(vni)?;
        // Only those that are empty go.
        let folder = store.partition(vni);
        let _still_used = fs::remove_dir(folder.join("refs")).and_then(|()| fs::remove_dir(folder));
    }
    Ok(())
}
