//! What is in the file, and the format's version.

use redb::{ReadableTable, TableDefinition};

use crate::error::BoxError;
use crate::txn::{Entry, Revision};

/// The version of the file's layout this release reads and writes.
pub const FORMAT: u64 = 1;

/// Numbers about the file itself, by the two names below.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Key to (revision of its last write, value).
pub(super) const ENTRIES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("entries");

pub(super) const META_FORMAT: &str = "format";
pub(super) const META_REVISION: &str = "revision";

/// The store's revision; zero before the first write.
pub(super) fn revision(meta: &impl ReadableTable<&'static str, u64>) -> Result<Revision, redb::StorageError> {
    let found = meta.get(META_REVISION)?;
    Ok(found.map_or(Revision::ZERO, |number| Revision::new(number.value())))
}

/// All entries under `prefix`, in key order.
pub(super) fn entries_under(table: &impl ReadableTable<&'static str, (u64, &'static [u8])>, prefix: &str) -> Result<Vec<Entry>, BoxError> {
    let mut entries = Vec::new();
    for row in table.range::<&str>(prefix..)? {
        let (key, stored) = row?;
        if !key.value().starts_with(prefix) {
            break;
        }
        let (number, value) = stored.value();
        let revision = Revision::new(number);
        entries.push(Entry { key: key.value().to_owned(), value: value.to_vec(), revision });
    }
    Ok(entries)
}
