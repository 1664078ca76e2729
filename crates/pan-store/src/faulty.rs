//! A store for tests of whoever commits: it keeps transactions waiting, fails them or loses their answers, and can say nothing to
//! who follows. What it keeps, it keeps as [`Memory`] does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::error::{CommitError, ReadError};
use crate::memory::Memory;
use crate::store::{Listing, Store};
use crate::txn::{Revision, Txn};
use crate::watch::{History, Watch};

/// What becomes of one transaction.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing is written, and that is said.
    Failed,
    /// It is written, and then this, of somebody else; whether it was written is not said.
    Followed(Txn),
    /// This is written, of somebody else, and it is not; whether it was written is not said.
    Overtaken(Txn),
}

/// A [`Store`] whose faults are made by the one who tests.
#[derive(Debug)]
pub struct Faulty {
    store: Memory,
    faults: Mutex<VecDeque<Fault>>,
    held: watch::Sender<bool>,
    arrived: watch::Sender<usize>,
    silent: AtomicBool,
    /// In which nothing ever happens.
    silence: History,
}

impl Default for Faulty {
    fn default() -> Self {
        Self {
            store: Memory::new(),
            faults: Mutex::default(),
            held: watch::Sender::new(false),
            arrived: watch::Sender::new(0),
            silent: AtomicBool::new(false),
            silence: History::starting_at(Revision::ZERO),
        }
    }
}

impl Faulty {
    /// An empty store without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps transactions waiting from now on, before anything of them is done.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets them go on.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// How many transactions have come so far, those that wait included.
    pub fn arrived(&self) -> watch::Receiver<usize> {
        self.arrived.subscribe()
    }

    /// Of the next transactions that go on, the first without a fault has this one.
    pub fn fail(&self, fault: Fault) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }

    /// Watches that begin from now on are told nothing, as behind a link that was cut.
    pub fn fall_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// The store without its faults: somebody else's way to it.
    pub const fn elsewhere(&self) -> &Memory {
        &self.store
    }
}

impl Store for Faulty {
    async fn list(&self, prefix: &str) -> Result<Listing, ReadError> {
        self.store.list(prefix).await
    }

    async fn commit(&self, txn: &Txn) -> Result<Revision, CommitError> {
        self.arrived.send_modify(|count| *count += 1);
        let mut held = self.held.subscribe();
        // Its sender lives as long as this store.
        let _ = held.wait_for(|held| !*held).await;
        let fault = self.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let other = match fault {
            None => return self.store.commit(txn).await,
            Some(Fault::Failed) => return Err(CommitError::Io { source: "the disk is full".into() }),
            Some(Fault::Followed(other)) => {
                self.store.commit(txn).await?;
                other
            }
            Some(Fault::Overtaken(other)) => other,
        };
        self.store.commit(&other).await?;
        Err(CommitError::InDoubt { source: "the answer was lost".into(), settled: false })
    }

    fn watch(&self, prefix: &str, after: Revision) -> Watch {
        match self.silent.load(Ordering::Relaxed) {
            true => self.silence.follow(prefix, after),
            false => self.store.watch(prefix, after),
        }
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn without_faults_it_conforms() {
        crate::conformance::run(super::Faulty::new).await;
    }
}
