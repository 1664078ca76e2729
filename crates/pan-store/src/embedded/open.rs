//! Opening the file: the lock, first creation, the format's version, migration.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, ReadableDatabase, TableError, WriteTransaction};

use super::table::{ENTRIES, FORMAT, META, META_FORMAT};
use crate::error::BoxError;

/// Only the controller reads the file: it holds secrets of every partition.
const MODE: u32 = 0o600;

/// redb's page cache. Its default is 1 GiB; the whole state of a large PAN is some ten megabytes.
const CACHE_BYTES: usize = 32 << 20;

/// The file could not be opened. It was not changed, except where a migration says so.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use by another process (it holds the lock {})", .path.display(), .lock.display())]
    Locked { path: PathBuf, lock: PathBuf },
    #[error("{} has format {found}; this release knows {known}", .path.display())]
    Format { path: PathBuf, found: u64, known: u64 },
    #[error("{} is a database, but not one of this store: it has no format record", .path.display())]
    Foreign { path: PathBuf },
    #[error("cannot {action} {}", .path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot read {} as a database", .path.display())]
    Database { path: PathBuf, source: BoxError },
    #[error("cannot bring {} from format {from} to {to}; its copy is {}", .path.display(), .copy.display())]
    Migrate { path: PathBuf, copy: PathBuf, from: u64, to: u64, source: BoxError },
}

/// An open file. Fields drop in order: the database is closed before the lock is let go.
#[derive(Debug)]
pub(super) struct Opened {
    /// None after the disk failed, until somebody needs it again.
    database: RwLock<Option<Arc<Database>>>,
    pub(super) path: PathBuf,
    _lock: File,
}

impl Opened {
    /// The database. One that was given up is opened again first, and repaired to its last durable commit.
    pub(super) fn database(&self) -> Result<Arc<Database>, BoxError> {
        if let Some(database) = &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(database));
        }
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(database) => Ok(Arc::clone(database)),
            None => {
                // Not created: a file that is gone must not become an empty store.
                let database = Database::builder().set_cache_size(CACHE_BYTES).open(&self.path)?;
                Ok(Arc::clone(slot.insert(Arc::new(database))))
            }
        }
    }

    /// Gives the database up: after one error of the disk it would refuse everything, however well the disk is again.
    pub(super) fn give_up(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// One step of a migration: from format `from` to `from + 1`, within the transaction it is given.
pub(super) struct Step {
    pub(super) from: u64,
    pub(super) apply: fn(&WriteTransaction) -> Result<(), BoxError>,
}

/// Every step from the oldest format still supported to [`FORMAT`], in order.
const STEPS: &[Step] = &[];

/// Opens `path`, creating it if missing. Blocks on the disk.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    open_as(path, FORMAT, STEPS)
}

fn open_as(path: &Path, known: u64, steps: &[Step]) -> Result<Opened, OpenError> {
    let lock = take_lock(path)?;
    let exists = path.try_exists().map_err(file_error("look for", path))?;
    if !exists {
        create(path, known)?;
    }
    let database = open_database(path, path)?;
    let found = read_format(&database, path)?;
    if found != known {
        migrate(&database, path, Versions { found, known }, steps)?;
    }
    Ok(Opened { database: RwLock::new(Some(Arc::new(database))), path: path.to_owned(), _lock: lock })
}

/// A lock of our own beside the file covers creation and migration too, where redb's is not held.
fn take_lock(path: &Path) -> Result<File, OpenError> {
    let lock = beside(path, "lock");
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(MODE).open(&lock);
    let file = file.map_err(file_error("create", &lock))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned(), lock }),
        Err(TryLockError::Error(source)) => Err(OpenError::File { action: "lock", path: lock, source }),
    }
}

/// Writes a new file under another name and renames it, so that a crash cannot leave half a database.
pub(super) fn create(path: &Path, format: u64) -> Result<(), OpenError> {
    create_with(path, |txn| {
        txn.open_table(ENTRIES)?;
        txn.open_table(META)?.insert(META_FORMAT, format)?;
        Ok(())
    })
}

/// As [`create`], with whatever `fill` writes in the file's first transaction.
pub(super) fn create_with(path: &Path, fill: impl FnOnce(&WriteTransaction) -> Result<(), BoxError>) -> Result<(), OpenError> {
    let new = beside(path, "new");
    let emptied = OpenOptions::new().create(true).truncate(true).write(true).mode(MODE).open(&new);
    emptied.and_then(|file| file.sync_all()).map_err(file_error("create", &new))?;
    let database = open_database(&new, path)?;
    let database_error = |source| OpenError::Database { path: new.clone(), source };
    let filled = (|| {
        let txn = database.begin_write()?;
        fill(&txn)?;
        txn.commit()?;
        Ok(database.close()?)
    })();
    filled.map_err(database_error)?;
    fs::rename(&new, path).map_err(file_error("name", path))?;
    sync_directory_of(path)
}

fn open_database(file: &Path, path: &Path) -> Result<Database, OpenError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder.create(file).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => OpenError::Locked { path: path.to_owned(), lock: file.to_owned() },
        other => OpenError::Database { path: path.to_owned(), source: other.into() },
    })
}

fn read_format(database: &Database, path: &Path) -> Result<u64, OpenError> {
    let read = || -> Result<Option<u64>, BoxError> {
        let meta = match database.begin_read()?.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(other) => return Err(other.into()),
        };
        Ok(meta.get(META_FORMAT)?.map(|format| format.value()))
    };
    let found = read().map_err(|source| OpenError::Database { path: path.to_owned(), source })?;
    found.ok_or_else(|| OpenError::Foreign { path: path.to_owned() })
}

#[derive(Debug, Clone, Copy)]
struct Versions {
    found: u64,
    known: u64,
}

fn migrate(database: &Database, path: &Path, versions: Versions, steps: &[Step]) -> Result<(), OpenError> {
    let Versions { found, known } = versions;
    let Some(first) = steps.iter().position(|step| step.from == found) else {
        return Err(OpenError::Format { path: path.to_owned(), found, known });
    };
    let copy = beside(path, &format!("format-{found}"));
    keep_copy(path, &copy)?;
    let run = || -> Result<(), BoxError> {
        let txn = database.begin_write()?;
        for step in &steps[first..] {
            (step.apply)(&txn)?;
        }
        txn.open_table(META)?.insert(META_FORMAT, known)?;
        Ok(txn.commit()?)
    };
    let failed = |source| OpenError::Migrate { path: path.to_owned(), copy, from: found, to: known, source };
    run().map_err(failed)
}

/// Copies the file whole, durably, before anything in it changes.
fn keep_copy(path: &Path, copy: &Path) -> Result<(), OpenError> {
    fs::copy(path, copy).map_err(file_error("keep a copy in", copy))?;
    File::open(copy).and_then(|file| file.sync_all()).map_err(file_error("write", copy))?;
    sync_directory_of(copy)
}

fn sync_directory_of(path: &Path) -> Result<(), OpenError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory).and_then(|dir| dir.sync_all()).map_err(file_error("write directory", directory))
}

/// `store.redb` becomes `store.redb.SUFFIX`, in the same directory and thus on the same disk.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::File { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::ReadableTable;

    fn value_of(database: &Database, key: &str) -> Option<Vec<u8>> {
        let table = database.begin_read().unwrap().open_table(ENTRIES).unwrap();
        let found = table.get(key).unwrap();
        found.map(|stored| stored.value().1.to_vec())
    }

    fn put(database: &Database, key: &str, value: &[u8]) {
        let txn = database.begin_write().unwrap();
        txn.open_table(ENTRIES).unwrap().insert(key, (1, value)).unwrap();
        txn.commit().unwrap();
    }

    #[test]
    fn a_second_opener_is_told_which_file_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let first = open(&path).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("{} is in use", path.display())), "{error}");
        drop(first);
        open(&path).unwrap();
    }

    #[test]
    fn an_unknown_format_is_refused_with_both_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        create(&path, 7).unwrap();
        let error = open(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("{} has format 7; this release knows 1", path.display()));
    }

    #[test]
    fn somebody_elses_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        drop(Database::create(&path).unwrap());
        assert!(matches!(open(&path).unwrap_err(), OpenError::Foreign { .. }));
        fs::write(&path, b"a letter to my aunt").unwrap();
        assert!(matches!(open(&path).unwrap_err(), OpenError::Database { .. }));
        assert_eq!(fs::read(&path).unwrap(), b"a letter to my aunt");
    }

    #[test]
    fn half_a_creation_is_started_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        fs::write(beside(&path, "new"), [0_u8; 5000]).unwrap();
        open(&path).unwrap();
    }

    #[test]
    fn the_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    }

    const TO_2: Step = Step {
        from: 1,
        apply: |txn| {
            let mut table = txn.open_table(ENTRIES)?;
            let old = table.get("k")?.expect("the test wrote it").value().1.to_vec();
            table.insert("k", (1, [old.as_slice(), b" new"].concat().as_slice()))?;
            Ok(())
        },
    };

    #[test]
    fn a_migration_happens_once_and_keeps_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        put(&open(&path).unwrap().database().unwrap(), "k", b"old");
        for _ in 0..2 {
            let opened = open_as(&path, 2, &[TO_2]).unwrap();
            assert_eq!(value_of(&opened.database().unwrap(), "k").unwrap(), b"old new");
        }
        let copy = open(&beside(&path, "format-1")).unwrap();
        assert_eq!(value_of(&copy.database().unwrap(), "k").unwrap(), b"old");
    }

    #[test]
    fn a_failed_migration_changes_nothing() {
        const BROKEN: Step = Step { from: 2, apply: |_| Err("no".into()) };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        put(&open(&path).unwrap().database().unwrap(), "k", b"old");
        let error = open_as(&path, 3, &[TO_2, BROKEN]).unwrap_err();
        assert!(matches!(error, OpenError::Migrate { from: 1, to: 3, .. }), "{error}");
        assert_eq!(value_of(&open(&path).unwrap().database().unwrap(), "k").unwrap(), b"old");
    }
}
