//! A session is one life of a head, and is used once: sequence numbers begin anew with each life, and a replica that took those
//! of two for one would take extents for clean that are not. So a head notes, on a disk that outlives the boot, which session it is
//! about to use; sessions only grow.

use pan_model::{Session, VolumeId};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

fn path(state_dir: &Path, volume: VolumeId) -> PathBuf {
    state_dir.join("volumes").join(format!("{volume}.session"))
}

/// Takes a session for this life, if no earlier one had it. It is on the disk when this returns true.
///
/// # Errors
/// The disk: then it may not be used.
pub(super) fn take(state_dir: &Path, volume: VolumeId, session: Session) -> io::Result<bool> {
    let file = path(state_dir, volume);
    let folder = file.parent().expect("it lies in a folder");
    fs::create_dir_all(folder)?;
    let used = match fs::read_to_string(&file) {
        Ok(text) => text.trim().parse::<u64>().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    if session.0 <= used {
        return Ok(false);
    }
    let new = file.with_extension("new");
    let mut to = File::create(&new)?;
    writeln!(to, "{session}")?;
    to.sync_data()?;
    fs::rename(&new, &file)?;
    File::open(folder)?.sync_all()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_taken_once_and_an_older_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let take = |volume, session| take(dir.path(), VolumeId(volume), Session(session)).unwrap();
        assert_eq!([take(1, 5), take(1, 5), take(1, 4), take(1, 6), take(2, 5)], [true, false, false, true, true]);
        fs::write(path(dir.path(), VolumeId(1)), "half").unwrap();
        assert!(super::take(dir.path(), VolumeId(1), Session(9)).is_err(), "nobody knows what was used");
    }
}
