//! What an earlier agent left of volumes.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use pan_model::VolumeId;

use super::place::Place;
use crate::error::FileError;
use crate::head;
use crate::server::record::Record;

/// The volumes with folders in `all` that none of the servers' records knows.
///
/// # Errors
/// The folder cannot be listed.
pub(crate) fn strays<'a>(all: &Path, records: impl Iterator<Item = &'a Record>) -> Result<Vec<VolumeId>, FileError> {
    let known: BTreeSet<VolumeId> = records.flat_map(|record| &record.bound.order.volumes).map(|order| order.volume).collect();
    let listed = match fs::read_dir(all) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(FileError::of("list", all))?,
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(FileError::of("list", all))?;
        found.extend(entry.file_name().to_str().and_then(Place::volume_of).filter(|volume| !known.contains(volume)));
    }
    found.sort();
    Ok(found)
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
