//! What servers here use: counters that only grow for each instance, kept in a file that a later agent of this boot goes on from, and told until the
//! controllers have written down what ended.

mod account;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pan_api::desired::ServerOrder;
use pan_api::usage::{Instance, Metered};
use pan_model::ServerKey;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::error::{FileError, chain};
use crate::server::record;
use account::{Account, Reading};
use read::{Groups, port_of, ports};

/// Instances that ended and are not known to be written down. They are so within a minute or two; only where no controller leads for long are the
/// oldest forgotten.
const ENDED_MAX: usize = 1000;

/// What the agent counts.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Accounts {
    open: BTreeMap<String, Account>,
    ended: Vec<Metered>,
}

impl Accounts {
    fn close(&mut self, id: &str) {
        let Some(account) = self.open.remove(id) else { return };
        self.ended.push(account.ended());
        if self.ended.len() > ENDED_MAX {
            let gone = self.ended.remove(0);
            tracing::warn!(server = %gone.instance.key, "what it used is forgotten: no controller has taken it for long");
        }
    }
}

/// The meter of a node.
#[derive(Debug)]
pub(crate) struct Meter {
    file: PathBuf,
    groups: Groups,
    accounts: Mutex<Accounts>,
    /// Held from a reading until it is counted: readings are counted in the order in which they were made.
    reading: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    /// Goes on from what an earlier agent counted.
    pub(crate) fn open_at(file: PathBuf) -> Self {
        let accounts = match std::fs::read(&file).map(|text| serde_json::from_slice(&text)) {
            Ok(Ok(accounts)) => accounts,
            Ok(Err(error)) => {
                tracing::warn!(%error, file = %file.display(), "cannot be read: what servers used is counted anew, and nothing twice");
                Accounts::default()
            }
            Err(_) => Accounts::default(),
        };
        Self { file, groups: Groups::find(), accounts: Mutex::new(accounts), reading: Mutex::new(()) }
    }

    /// What is not here any more has ended.
    pub(crate) fn adopt(&self, known: &[ServerKey]) {
        let known: BTreeSet<String> = known.iter().map(crate::names::id).collect();
        let mut accounts = lock(&self.accounts);
        let gone: Vec<String> = accounts.open.keys().filter(|id| !known.contains(*id)).cloned().collect();
        gone.iter().for_each(|id| accounts.close(id));
    }

    /// A container of it is made, or was found to be here. `run` is its PAN_INSTANCE.
    pub(crate) fn open(&self, order: &ServerOrder, run: &str) {
        let _reading = lock(&self.reading);
        let id = crate::names::id(&order.key);
        let instance = Instance { key: order.key.clone(), epoch: order.epoch, incarnation: order.incarnation };
        let mut accounts = lock(&self.accounts);
        if accounts.open.get(&id).is_some_and(|account| account.metered.instance != instance) {
            accounts.close(&id);
        }
        let fresh = || {
            Account::new(Metered {
                instance,
                cluster: order.cluster.clone(),
                began: clock::wall_micros(),
                used: Default::default(),
                ended: false,
            })
        };
        accounts.open.entry(id).or_insert_with(fresh).runs(run, clock::now());
        drop(accounts);
        self.keep();
    }

    /// Reads what all that run have used by now. Blocks.
    pub(crate) fn sample(&self) {
        let _reading = lock(&self.reading);
        let running: Vec<ServerKey> = lock(&self.accounts)
            .open
            .values()
            .filter(|account| account.running)
            .map(|account| account.metered.instance.key.clone())
            .collect();
        if !running.is_empty() {
            let ports = ports();
            for key in running {
                self.count(&key, &ports, Account::goes_on);
            }
        }
        self.keep();
    }

    /// Its container is about to be removed, and its control group with it. Blocks.
    pub(crate) fn last(&self, key: &ServerKey) {
        let _reading = lock(&self.reading);
        if lock(&self.accounts).open.get(&crate::names::id(key)).is_some_and(|account| account.running) {
            self.count(key, &ports(), Account::stops);
            self.keep();
        }
    }

    /// Its port is about to be removed: that was all of it. Blocks.
    pub(crate) fn close(&self, key: &ServerKey) {
        let _reading = lock(&self.reading);
        let id = crate::names::id(key);
        if !lock(&self.accounts).open.contains_key(&id) {
            return;
        }
        self.count(key, &ports(), Account::stops);
        lock(&self.accounts).close(&id);
        self.keep();
    }

    fn count(&self, key: &ServerKey, ports: &BTreeMap<String, (u64, u64)>, how: fn(&mut Account, Reading)) {
        let group = self.groups.usage(key);
        let reading = Reading { at: clock::now(), group, port: port_of(key, ports) };
        if let Some(account) = lock(&self.accounts).open.get_mut(&crate::names::id(key)) {
            how(account, reading);
        }
    }

    /// The controllers have written these down.
    pub(crate) fn billed(&self, instances: &[Instance]) {
        if !instances.is_empty() {
            lock(&self.accounts).ended.retain(|ended| !instances.contains(&ended.instance));
        }
    }

    /// What there is to tell.
    pub(crate) fn told(&self) -> Vec<Metered> {
        let accounts = lock(&self.accounts);
        accounts.ended.iter().cloned().chain(accounts.open.values().map(|account| account.metered.clone())).collect()
    }

    fn keep(&self) {
        let text = serde_json::to_vec(&*lock(&self.accounts)).expect("numbers and names are plain data");
        let kept: Result<(), FileError> = record::replace(&self.file, &text);
        if let Err(error) = kept {
            tracing::error!(error = chain(&error), "cannot keep what servers used");
        }
    }
}
