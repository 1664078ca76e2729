//! What a caller asks of a store: revisions, entries, and transactions with their bounds.

use std::collections::BTreeSet;
use std::fmt;

use crate::error::Refusal;

/// Most comparisons, and most writes, of one transaction. etcd's default is 128; its members are started
/// with `--max-txn-ops` at this number, which leaves room for a whole manifest applied at once.
pub const OPERATIONS_MAX: usize = 4096;

/// Most bytes of keys and values one transaction may write: well under the 10 MiB above which etcd warns.
pub const BYTES_MAX: usize = 4 << 20;

/// Longest key in bytes. Keys are a handful of names of at most 63 bytes.
pub const KEY_BYTES_MAX: usize = 512;

/// A point in the store's history. Zero is the empty store; every effective transaction adds at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(u64);

impl Revision {
    /// The revision of a store nothing was ever written to.
    pub const ZERO: Self = Self(0);

    /// Wraps a number that came from [`Revision::get`].
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The plain number, for the wire and for records.
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(crate) fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("2^64 transactions are out of reach"))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// One key with its value and the revision of the transaction that wrote it (etcd's `mod_revision`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Vec<u8>,
    pub revision: Revision,
}

/// What a transaction demands of one key before it writes anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    pub key: String,
    /// The revision the entry must carry; `None`: the key must not exist.
    pub revision: Option<Revision>,
}

/// One change a transaction makes. Deleting a key that does not exist changes nothing and is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put { key: String, value: Vec<u8> },
    Delete { key: String },
}

impl Write {
    /// The key this write touches.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
        }
    }
}

/// A transaction: all comparisons hold and all writes happen, or nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub writes: Vec<Write>,
}

impl Txn {
    /// A transaction that demands and writes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands that `key` still carries `revision`.
    #[must_use]
    pub fn expect(mut self, key: impl Into<String>, revision: Revision) -> Self {
        self.compares.push(Compare { key: key.into(), revision: Some(revision) });
        self
    }

    /// Demands that `key` does not exist.
    #[must_use]
    pub fn expect_absent(mut self, key: impl Into<String>) -> Self {
        self.compares.push(Compare { key: key.into(), revision: None });
        self
    }

    /// Writes `value` at `key`.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push(Write::Put { key: key.into(), value: value.into() });
        self
    }

    /// Deletes `key`.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete { key: key.into() });
        self
    }

    /// Checks the bounds every implementation has in common, before anything is touched.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        for (what, found) in [("comparisons", self.compares.len()), ("writes", self.writes.len())] {
            if found > OPERATIONS_MAX {
                return Err(Refusal::TooLarge { what, found, max: OPERATIONS_MAX });
            }
        }
        let bytes = self.writes.iter().map(Write::bytes).sum();
        if bytes > BYTES_MAX {
            return Err(Refusal::TooLarge { what: "bytes", found: bytes, max: BYTES_MAX });
        }
        let compared = self.compares.iter().map(|compare| compare.key.as_str());
        for key in compared.chain(self.writes.iter().map(Write::key)) {
            check_key(key)?;
        }
        let mut seen = BTreeSet::new();
        match self.writes.iter().find(|write| !seen.insert(write.key())) {
            Some(twice) => Err(Refusal::WrittenTwice { key: twice.key().to_owned() }),
            None => Ok(()),
        }
    }
}

fn check_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(Refusal::TooLarge { what: "bytes of one key", found: key.len(), max: KEY_BYTES_MAX });
    }
    Ok(())
}
