//! A consistent copy of the store into a new file, while it runs.

use std::path::{Path, PathBuf};

use redb::{ReadableDatabase, ReadableTable};

use super::open::{OpenError, Opened, create_with};
use super::table::{ENTRIES, META};
use crate::error::BoxError;

/// A backup failed; there is no file under the name asked for.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} exists; a backup never replaces a file", .path.display())]
    Exists { path: PathBuf },
    #[error("cannot read the store {}", .path.display())]
    Read { path: PathBuf, source: BoxError },
    #[error("cannot write the backup")]
    Write(#[source] OpenError),
}

/// Copies one snapshot of `store` to `target`, which then is a store by itself. Blocks on the disk.
pub(super) fn backup(store: &Opened, target: &Path) -> Result<(), BackupError> {
    if target.exists() {
        return Err(BackupError::Exists { path: target.to_owned() });
    }
    let read_error = |source| BackupError::Read { path: store.path.clone(), source };
    let database = store.database().map_err(read_error)?;
    let snapshot = database.begin_read().map_err(|error| read_error(error.into()))?;
    create_with(target, |txn| {
        let (mut meta, mut entries) = (txn.open_table(META)?, txn.open_table(ENTRIES)?);
        for row in snapshot.open_table(META)?.iter()? {
            let (name, number) = row?;
            meta.insert(name.value(), number.value())?;
        }
        for row in snapshot.open_table(ENTRIES)?.iter()? {
            let (key, stored) = row?;
            entries.insert(key.value(), stored.value())?;
        }
        Ok(())
    })
    .map_err(BackupError::Write)
}
