//! The store a controller was configured with, whichever it is.

use crate::embedded::Embedded;
use crate::error::{CommitError, ReadError};
use crate::etcd::{Etcd, Pulse};
use crate::faulty::Faulty;
use crate::memory::Memory;
use crate::store::{Listing, Store};
use crate::txn::{Revision, Txn};
use crate::watch::Watch;

/// One of the stores, chosen at start.
#[derive(Debug)]
pub enum AnyStore {
    Embedded(Embedded),
    Etcd(Etcd),
    Memory(Memory),
    Faulty(Faulty),
}

impl AnyStore {
    /// How to ask its members whether they answer; `None` where it has none.
    #[must_use]
    pub fn pulse(&self) -> Option<Pulse> {
        match self {
            Self::Etcd(store) => Some(store.pulse()),
            Self::Embedded(_) | Self::Memory(_) | Self::Faulty(_) => None,
        }
    }
}

impl From<Embedded> for AnyStore {
    fn from(store: Embedded) -> Self {
        Self::Embedded(store)
    }
}

impl From<Etcd> for AnyStore {
    fn from(store: Etcd) -> Self {
        Self::Etcd(store)
    }
}

impl From<Memory> for AnyStore {
    fn from(store: Memory) -> Self {
        Self::Memory(store)
    }
}

impl Store for AnyStore {
    async fn list(&self, prefix: &str) -> Result<Listing, ReadError> {
        match self {
            Self::Embedded(store) => store.list(prefix).await,
            Self::Etcd(store) => store.list(prefix).await,
            Self::Memory(store) => store.list(prefix).await,
            Self::Faulty(store) => store.list(prefix).await,
        }
    }

    async fn commit(&self, txn: &Txn) -> Result<Revision, CommitError> {
        match self {
            Self::Embedded(store) => store.commit(txn).await,
            Self::Etcd(store) => store.commit(txn).await,
            Self::Memory(store) => store.commit(txn).await,
            Self::Faulty(store) => store.commit(txn).await,
        }
    }

    fn watch(&self, prefix: &str, after: Revision) -> Watch {
        match self {
            Self::Embedded(store) => store.watch(prefix, after),
            Self::Etcd(store) => store.watch(prefix, after),
            Self::Memory(store) => store.watch(prefix, after),
            Self::Faulty(store) => store.watch(prefix, after),
        }
    }
}
