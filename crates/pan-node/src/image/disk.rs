//! The disk where images are kept, and who of those who write there may write how much more.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::{ImageError, disk};
use super::room::{Room, is_free};

/// What must be left free of it, whoever writes.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    free_min: u64,
    promised: Mutex<Room>,
}

/// Room that nobody else is told is free. Whoever has written it gives this back, as the disk itself tells of it from then on.
#[derive(Debug)]
pub(super) struct Promise {
    disk: Arc<Disk>,
    room: Room,
}

impl Disk {
    /// The disk of a folder, of which so many bytes are to be left free, and the same share of its inodes.
    pub(super) fn new(folder: PathBuf, free_min: u64) -> Arc<Self> {
        Arc::new(Self { folder, free_min, promised: Mutex::default() })
    }

    /// Whether so much more fits at present.
    pub(super) fn fits(&self, more: Room) -> Result<(), ImageError> {
        self.look(*self.promised.lock().unwrap_or_else(PoisonError::into_inner), more)
    }

    /// Room to write in.
    pub(super) fn promise(self: &Arc<Self>, room: Room) -> Result<Promise, ImageError> {
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        self.look(*promised, room)?;
        *promised = promised.plus(room);
        Ok(Promise { disk: self.clone(), room })
    }

    fn look(&self, promised: Room, more: Room) -> Result<(), ImageError> {
        let found = pan_linux::room::of(&self.folder).map_err(disk("look for room"))?;
        let free = Room { bytes: found.free, files: found.files_free };
        let kept_free = Room { bytes: found.all, files: found.files }.share(self.free_min);
        if is_free(free, promised, more, kept_free) {
            return Ok(());
        }
        tracing::warn!(?free, ?promised, ?more, ?kept_free, "no room for images");
        Err(ImageError::NoRoom)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut promised = self.disk.promised.lock().unwrap_or_else(PoisonError::into_inner);
        *promised = promised.minus(self.room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writers_room_is_not_anothers_until_it_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let free = pan_linux::room::of(dir.path()).unwrap();
        let most = Room { bytes: free.free / 3 * 2, files: 0 };
        let disk = Disk::new(dir.path().to_owned(), 0);
        let first = disk.promise(most).unwrap();
        assert!(matches!(disk.promise(most), Err(ImageError::NoRoom)));
        assert!(matches!(disk.fits(most), Err(ImageError::NoRoom)));
        drop(first);
        let second = disk.promise(most).unwrap();
        drop(second);
        assert_eq!(*disk.promised.lock().unwrap(), Room::default());
    }

    #[test]
    fn inodes_run_out_as_bytes_do() {
        let dir = tempfile::tempdir().unwrap();
        let free = pan_linux::room::of(dir.path()).unwrap();
        // Some file systems make them as they are needed.
        let all = Room { bytes: 0, files: free.files_free };
        assert!(Disk::new(dir.path().to_owned(), 0).fits(Room { files: all.files / 2, ..all }).is_ok());
        if free.files_free < u64::MAX {
            let disk = Disk::new(dir.path().to_owned(), 0);
            assert!(matches!(disk.fits(Room { files: all.files + all.files / 2, ..all }), Err(ImageError::NoRoom)));
        }
    }
}
