//! A pool's disk as files of a directory. It does what [`Medium`] says and knows nothing of what is in them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use pan_disk::{Fault, Medium, Name};
use pan_linux::cached;
use pan_linux::hole::punch;

/// Held for as long as a pool is open: two processes that write to one would destroy it.
const LOCK: &str = "lock";

/// Why a directory cannot hold a pool.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// It could not be made or opened.
    #[error("cannot open the pool's directory {}", directory.display())]
    Open {
        /// Which.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("the pool in {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The file system cannot give space back.
    #[error("the file system of {} has no holes: use ext4, xfs or btrfs", directory.display())]
    NoHoles {
        /// Which.
        directory: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The files of a pool.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    itself: File,
    open: RwLock<BTreeMap<Name, Arc<File>>>,
    _lock: File,
}

impl Files {
    /// The files in a directory, which is made if it does not exist.
    ///
    /// # Errors
    /// See [`FilesError`].
    pub fn open(directory: &Path) -> Result<Self, FilesError> {
        let failed = |source| FilesError::Open { directory: directory.to_path_buf(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        let itself = File::open(directory).map_err(failed)?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
        let lock = options.open(directory.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(FilesError::InUse(directory.to_path_buf())),
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        punch(&lock, 0, 4096).map_err(|source| FilesError::NoHoles { directory: directory.to_path_buf(), source })?;
        Ok(Self { directory: directory.to_path_buf(), itself, open: RwLock::default(), _lock: lock })
    }

    fn path(&self, name: Name) -> PathBuf {
        self.directory.join(name.to_string())
    }

    /// A file that exists.
    fn existing(&self, name: Name) -> io::Result<Option<Arc<File>>> {
        if let Some(file) = self.open.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Ok(Some(Arc::clone(file)));
        }
        match OpenOptions::new().read(true).write(true).open(self.path(name)) {
            Ok(file) => Ok(Some(self.keep(name, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A file, made if it does not exist.
    fn any(&self, name: Name) -> io::Result<Arc<File>> {
        if let Some(file) = self.existing(name)? {
            return Ok(file);
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(self.path(name))?;
        Ok(self.keep(name, file))
    }

    fn keep(&self, name: Name, file: File) -> Arc<File> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(open.entry(name).or_insert_with(|| Arc::new(file)))
    }
}

fn fault(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
        _ => Fault::Failed(error.to_string()),
    }
}

impl Medium for Files {
    fn read_at(&self, name: Name, offset: u64, into: &mut [u8]) -> Result<(), Fault> {
        let mut at = 0;
        if let Some(file) = self.existing(name).map_err(fault)? {
            while at < into.len() {
                match file.read_at(&mut into[at..], offset + at as u64) {
                    Ok(0) => break,
                    Ok(count) => at += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(fault(error)),
                }
            }
        }
        into[at..].fill(0);
        Ok(())
    }

    fn read_at_once(&self, name: Name, offset: u64, into: &mut [u8]) -> Result<bool, Fault> {
        let Some(file) = self.existing(name).map_err(fault)? else { return Ok(false) };
        cached::read_exact_at(&file, into, offset).map_err(fault)
    }

    fn write_at(&self, name: Name, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.any(name).and_then(|file| file.write_all_at(bytes, offset)).map_err(fault)
    }

    fn sync(&self, name: Name) -> Result<(), Fault> {
        self.existing(name).and_then(|file| file.map_or(Ok(()), |file| file.sync_data())).map_err(fault)
    }

    fn punch(&self, name: Name, offset: u64, length: u64) -> Result<(), Fault> {
        self.existing(name).and_then(|file| file.map_or(Ok(()), |file| punch(&file, offset, length))).map_err(fault)
    }

    fn length(&self, name: Name) -> Result<u64, Fault> {
        let length = |file: Arc<File>| file.metadata().map(|metadata| metadata.len());
        self.existing(name).and_then(|file| file.map_or(Ok(0), length)).map_err(fault)
    }

    fn remove(&self, name: Name) -> Result<(), Fault> {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault(error)),
            _ => Ok(()),
        }
    }

    fn names(&self) -> Result<Vec<Name>, Fault> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(fault)? {
            names.extend(entry.map_err(fault)?.file_name().to_str().and_then(Name::parse));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_names(&self) -> Result<(), Fault> {
        self.itself.sync_all().map_err(fault)
    }
}
