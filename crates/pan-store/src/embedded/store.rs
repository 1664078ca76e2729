//! The handle on an open file.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use redb::ReadableDatabase;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::backup::{self, BackupError};
use super::open::{self, OpenError, Opened};
use super::table::{ENTRIES, META, entries_under, revision};
use super::writer::{self, Request};
use crate::error::{BoxError, CommitError, ReadError};
use crate::store::{Listing, Store};
use crate::txn::{Revision, Txn};
use crate::watch::{History, Watch};

/// Transactions that may wait for the writer before a caller has to wait for a place: a few flushes' worth.
const WAITING_MAX: usize = 256;

/// A [`Store`] in one file of the local disk, for a PAN with one controller.
///
/// Dropping it waits for the commits under way and lets the file go.
#[derive(Debug)]
pub struct Embedded {
    opened: Arc<Opened>,
    history: Arc<History>,
    /// Present until dropped.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Opens the store at `path`, creating the file (mode 0600) if there is none, migrating it if it is
    /// of an older format. Blocks on the disk: call it before the runtime is busy.
    ///
    /// # Errors
    /// [`OpenError`]: in use, unknown format, not a store, or the disk fails.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let opened = Arc::new(open::open(path)?);
        let current = read_revision(&opened);
        let current = current.map_err(|source| OpenError::Database { path: path.to_owned(), source })?;
        let history = Arc::new(History::starting_at(current));
        let (requests, receiver) = mpsc::channel(WAITING_MAX);
        let writer = writer::spawn(Arc::clone(&opened), Arc::clone(&history), receiver);
        let writer = writer.map_err(|source| OpenError::File { action: "start the writer of", path: path.to_owned(), source })?;
        Ok(Self { opened, history, requests: Some(requests), writer: Some(writer) })
    }

    /// Writes a consistent copy to `target`, itself a store file, while commits go on.
    ///
    /// # Errors
    /// [`BackupError`]: `target` exists, or a disk fails.
    pub async fn backup(&self, target: &Path) -> Result<(), BackupError> {
        let (opened, target) = (Arc::clone(&self.opened), target.to_owned());
        let copied = spawn_blocking(move || backup::backup(&opened, &target)).await;
        copied.unwrap_or_else(|error| Err(BackupError::Read { path: self.opened.path.clone(), source: error.into() }))
    }
}

fn read_revision(opened: &Opened) -> Result<Revision, BoxError> {
    Ok(revision(&opened.database()?.begin_read()?.open_table(META)?)?)
}

fn list(opened: &Opened, prefix: &str) -> Result<Listing, BoxError> {
    let snapshot = opened.database()?.begin_read()?;
    let revision = revision(&snapshot.open_table(META)?)?;
    Ok(Listing { revision, entries: entries_under(&snapshot.open_table(ENTRIES)?, prefix)? })
}

impl Store for Embedded {
    async fn list(&self, prefix: &str) -> Result<Listing, ReadError> {
        let (opened, wanted) = (Arc::clone(&self.opened), prefix.to_owned());
        let listed = spawn_blocking(move || {
            let listed = list(&opened, &wanted);
            if listed.is_err() {
                opened.give_up();
            }
            listed
        });
        let listed = listed.await;
        let listed = listed.unwrap_or_else(|error| Err(error.into()));
        listed.map_err(|source| ReadError::Io { prefix: prefix.to_owned(), source })
    }

    async fn commit(&self, txn: &Txn) -> Result<Revision, CommitError> {
        txn.check()?;
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().expect("present until dropped");
        let sent = requests.send(Request { txn: txn.clone(), reply }).await;
        sent.map_err(|_| CommitError::Io { source: "the writer has ended".into() })?;
        let lost = |_| CommitError::InDoubt { source: "the writer has ended".into(), settled: false };
        answer.await.map_err(lost)?
    }

    fn watch(&self, prefix: &str, after: Revision) -> Watch {
        self.history.follow(prefix, after)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer was already reported to everyone who waited for it.
            let _ = writer.join();
        }
    }
}
