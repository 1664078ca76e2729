//! The store of tests: a map behind a mutex, gone with the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{CommitError, ReadError};
use crate::store::{Listing, Store};
use crate::txn::{Entry, Revision, Txn, Write};
use crate::watch::{Batch, Change, History, Watch};

/// An in-memory [`Store`]. Durable it is not; all other promises hold.
#[derive(Debug)]
pub struct Memory {
    state: Mutex<State>,
    history: History,
}

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    entries: BTreeMap<String, Entry>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { state: Mutex::default(), history: History::starting_at(Revision::ZERO) }
    }
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list_now(&self, prefix: &str) -> Listing {
        let state = self.lock();
        let from_prefix = state.entries.range(prefix.to_owned()..);
        let under = from_prefix.take_while(|(key, _)| key.starts_with(prefix));
        Listing { revision: state.revision, entries: under.map(|(_, entry)| entry.clone()).collect() }
    }

    fn commit_now(&self, txn: &Txn) -> Result<Revision, CommitError> {
        txn.check()?;
        let mut state = self.lock();
        for compare in &txn.compares {
            let found = state.entries.get(&compare.key).map(|entry| entry.revision);
            if found != compare.revision {
                return Err(CommitError::Conflict { key: compare.key.clone(), expected: compare.revision, found });
            }
        }
        let revision = state.revision.next();
        let changes: Vec<Change> = txn.writes.iter().filter_map(|write| state.apply(write, revision)).collect();
        if !changes.is_empty() {
            state.revision = revision;
            // Published under the lock, so that the history has commit order.
            self.history.publish(Batch { revision, changes });
        }
        Ok(state.revision)
    }
}

impl State {
    fn apply(&mut self, write: &Write, revision: Revision) -> Option<Change> {
        match write {
            Write::Put { key, value } => {
                let entry = Entry { key: key.clone(), value: value.clone(), revision };
                self.entries.insert(key.clone(), entry.clone());
                Some(Change::Put(entry))
            }
            Write::Delete { key } => self.entries.remove(key).map(|entry| Change::Deleted { key: entry.key }),
        }
    }
}

impl Store for Memory {
    async fn list(&self, prefix: &str) -> Result<Listing, ReadError> {
        Ok(self.list_now(prefix))
    }

    async fn commit(&self, txn: &Txn) -> Result<Revision, CommitError> {
        self.commit_now(txn)
    }

    fn watch(&self, prefix: &str, after: Revision) -> Watch {
        self.history.follow(prefix, after)
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn conforms() {
        crate::conformance::run(super::Memory::new).await;
    }
}
