//! What an earlier agent left of volumes.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use pan_model::VolumeId;

use super::act;
use super::board::Volumes;
use super::place::Place;
use crate::error::{FileError, chain};
use crate::head;
use crate::server::record::Record;

/// The volumes with folders in `all`, or with processes that keep them, that none of the servers' records knows.
///
/// # Errors
/// The folder cannot be listed.
pub(crate) fn strays<'a>(
    all: &Path,
    kept: impl IntoIterator<Item = VolumeId>,
    records: impl Iterator<Item = &'a Record>,
) -> Result<Vec<VolumeId>, FileError> {
    let known: BTreeSet<VolumeId> = records.flat_map(|record| &record.bound.order.volumes).map(|order| order.volume).collect();
    let mut found: BTreeSet<VolumeId> = kept.into_iter().collect();
    let listed = match fs::read_dir(all) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        listed => Some(listed.map_err(FileError::of("list", all))?),
    };
    for entry in listed.into_iter().flatten() {
        let entry = entry.map_err(FileError::of("list", all))?;
        found.extend(entry.file_name().to_str().and_then(Place::volume_of));
    }
    Ok(found.difference(&known).copied().collect())
}

/// Lets everything fail that waits for a volume nobody's record knows, so that who waits can be killed. Their tasks take them away later.
pub(crate) fn let_fail<'a>(volumes: &Volumes, strays: impl IntoIterator<Item = &'a VolumeId>) {
    for volume in strays {
        if let Err(error) = act::abort(&volumes.place(*volume)) {
            tracing::warn!(%volume, error = chain(&error), "what waits for its head may go on waiting");
        }
    }
}

/// Takes away what is noted of the sessions of volumes that have no folder in `all`, and so no head: they left while no agent ran, or with an
/// earlier boot. Whatever cannot be taken away stays, and does no harm.
pub(crate) fn sweep_sessions(all: &Path, state_dir: &Path) {
    let noted = head::noted(state_dir);
    for volume in noted.as_ref().into_iter().flatten().filter(|volume| !all.join(volume.to_string()).exists()) {
        if let Err(error) = head::leave(state_dir, &[*volume]) {
            tracing::warn!(%volume, %error, "the note of its last session stays");
        }
    }
    if let Err(error) = noted {
        tracing::warn!(%error, "the notes of volumes' sessions cannot be listed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_volumes_that_are_not_here_go() {
        let (run, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let note = |name: &str| state.path().join("volumes").join(name);
        sweep_sessions(run.path(), state.path());
        fs::create_dir_all(state.path().join("volumes")).unwrap();
        for (name, text) in [("3.session", "7\n"), ("4.session", "5\n"), ("4.new", ""), ("5.session", "half"), ("data", "a pool's")] {
            fs::write(note(name), text).unwrap();
        }
        fs::create_dir(run.path().join("3")).unwrap();
        sweep_sessions(run.path(), state.path());
        for (name, there) in [("3.session", true), ("4.session", false), ("4.new", false), ("5.session", true), ("data", true)] {
            assert_eq!(note(name).exists(), there, "{name}");
        }
        assert_eq!(fs::read_to_string(note("floor.session")).unwrap(), "5\n");
    }
}
