//! A session is one life of a head, and is used once: sequence numbers begin anew with each life, and a replica that took those
//! of two for one would take extents for clean that are not. So a head notes, on a disk that outlives the boot, which session it is
//! about to use; sessions only grow.
//!
//! One small file a volume, for as long as the volume is here. When it leaves, its number goes into the *floor*, the largest of all that were
//! removed, which counts for every volume without a file. So what was used stays used, for ever: also when the volume comes back, when a
//! claim that was here before comes once more (with an order that is late, or a store that was put back), and whether or not anybody knows
//! that the volume exists. The PAN gives sessions out of one sequence for all volumes: a claim that is made after a volume left is above the floor,
//! and one below it that nobody used, because another volume was quicker, costs a question to the leader and nothing else.

use pan_model::{Session, VolumeId};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// How files of volumes end.
const SUFFIX: &str = ".session";

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("volumes")
}

fn path(state_dir: &Path, volume: VolumeId) -> PathBuf {
    folder(state_dir).join(format!("{volume}{SUFFIX}"))
}

/// No number of a volume.
fn floor(state_dir: &Path) -> PathBuf {
    folder(state_dir).join("floor.session")
}

/// Takes a session for this life, if no earlier one had it. It is on the disk when this returns true.
///
/// # Errors
/// The disk: then it may not be used.
pub(super) fn take(state_dir: &Path, volume: VolumeId, session: Session) -> io::Result<bool> {
    let file = path(state_dir, volume);
    let used = match read(&file)? {
        Some(used) => Some(used),
        None => read(&floor(state_dir))?,
    };
    if used.is_some_and(|used| session.0 <= used) || session.0 == 0 {
        return Ok(false);
    }
    write(&file, session.0)?;
    Ok(true)
}

/// Takes away what is noted of volumes. None of them may have a head on this host, or get one before this returns.
///
/// # Errors
/// The disk: then it stays, which is as good.
pub(crate) fn leave(state_dir: &Path, volumes: &[VolumeId]) -> io::Result<()> {
    static ONE: Mutex<()> = Mutex::new(());
    // Of two at once the lower floor might be the last that is written.
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut left = Vec::new();
    for file in volumes.iter().map(|volume| path(state_dir, *volume)) {
        left.extend(read(&file)?.map(|used| (used, file)));
    }
    let Some(used) = left.iter().map(|(used, _)| *used).max() else { return Ok(()) };
    let floor = floor(state_dir);
    if read(&floor)?.is_none_or(|floor| floor < used) {
        write(&floor, used)?;
    }
    for (_, file) in &left {
        fs::remove_file(file)?;
        // What a crash left half written.
        drop(fs::remove_file(file.with_extension("new")));
    }
    Ok(())
}

/// The volumes of which something is noted.
///
/// # Errors
/// The disk.
pub(crate) fn noted(state_dir: &Path) -> io::Result<Vec<VolumeId>> {
    let listed = match fs::read_dir(folder(state_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut all = Vec::new();
    for entry in listed {
        let name = entry?.file_name();
        all.extend(name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok()).map(VolumeId));
    }
    Ok(all)
}

fn read(file: &Path) -> io::Result<Option<u64>> {
    match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// It is on the disk when this returns, instead of what was there.
fn write(file: &Path, number: u64) -> io::Result<()> {
    let folder = file.parent().expect("it lies in a folder");
    fs::create_dir_all(folder)?;
    let new = file.with_extension("new");
    let mut to = File::create(&new)?;
    writeln!(to, "{number}")?;
    to.sync_data()?;
    fs::rename(&new, file)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Disk(tempfile::TempDir);

    impl Disk {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn take(&self, volume: u64, session: u64) -> bool {
            take(self.0.path(), VolumeId(volume), Session(session)).unwrap()
        }

        fn leave(&self, volumes: &[u64]) {
            leave(self.0.path(), &volumes.iter().copied().map(VolumeId).collect::<Vec<_>>()).unwrap();
        }

        fn files(&self) -> Vec<String> {
            let listed = fs::read_dir(folder(self.0.path())).unwrap();
            let mut names: Vec<String> = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_session_is_taken_once_and_an_older_one_never() {
        let disk = Disk::new();
        let taken = [(1, 5), (1, 5), (1, 4), (1, 6), (2, 5), (3, 0)].map(|(volume, session)| disk.take(volume, session));
        assert_eq!(taken, [true, false, false, true, true, false]);
        fs::write(path(disk.0.path(), VolumeId(1)), "half").unwrap();
        assert!(take(disk.0.path(), VolumeId(1), Session(9)).is_err(), "nobody knows what was used");
    }

    #[test]
    fn what_a_volume_used_stays_used_when_it_left() {
        let disk = Disk::new();
        assert!(disk.take(1, 5) && disk.take(2, 9) && disk.take(3, 4));
        let mut noted = noted(disk.0.path()).unwrap();
        noted.sort();
        assert_eq!(noted, [1, 2, 3].map(VolumeId));
        disk.leave(&[1, 7]);
        assert_eq!(disk.files(), ["2.session", "3.session", "floor.session"], "nothing is left of it but a number");
        assert!(!disk.take(1, 5) && !disk.take(1, 4), "it comes back with a claim that it had");
        assert!(disk.take(3, 5), "one that is here has its own number");
        assert!(disk.take(1, 6));
        disk.leave(&[1, 2]);
        disk.leave(&[3]);
        assert_eq!(disk.files(), ["floor.session"]);
        assert!(!disk.take(3, 9) && !disk.take(2, 9), "the floor does not sink");
        assert!(disk.take(2, 10));
    }

    #[test]
    fn what_cannot_be_read_is_left_where_it_is() {
        let disk = Disk::new();
        assert!(disk.take(1, 5));
        fs::write(path(disk.0.path(), VolumeId(2)), "half").unwrap();
        leave(disk.0.path(), &[VolumeId(2)]).unwrap_err();
        assert_eq!(disk.files(), ["1.session", "2.session"]);
    }
}
