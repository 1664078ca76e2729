//! The one thread that commits. Transactions that wait together share one flush to disk.
//!
//! A transaction is judged against those before it in the same flush, exactly as if each had been
//! committed alone; answers go out only when the flush is durable.

use std::sync::Arc;

use redb::{ReadableTable, Table, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::open::Opened;
use super::table::{ENTRIES, META, META_REVISION, revision};
use crate::error::{BoxError, CommitError};
use crate::txn::{Entry, Revision, Txn, Write};
use crate::watch::{Batch, Change, History};

/// Most transactions in one flush; keeps the memory of a flush under `FLUSH_MAX * BYTES_MAX`.
const FLUSH_MAX: usize = 64;

/// A transaction and where its outcome goes.
pub(super) struct Request {
    pub(super) txn: Txn,
    pub(super) reply: oneshot::Sender<Result<Revision, CommitError>>,
}

/// Commits until every sender is gone.
pub(super) fn run(opened: &Opened, history: &History, mut requests: mpsc::Receiver<Request>) {
    let mut waiting = Vec::new();
    while requests.blocking_recv_many(&mut waiting, FLUSH_MAX) > 0 {
        flush(opened, history, &mut waiting);
    }
}

fn flush(opened: &Opened, history: &History, waiting: &mut Vec<Request>) {
    match prepare(opened, history, waiting) {
        Ok((txn, judged)) => match txn.commit() {
            Ok(()) => acknowledge(history, waiting, judged),
            // redb says of this one alone that it was rolled back.
            Err(error @ redb::CommitError::TransactionPoisoned) => fail_all(waiting, &error.into()),
            Err(error) => {
                opened.give_up();
                doubt_all(waiting, &error.into());
            }
        },
        Err(error) => {
            opened.give_up();
            fail_all(waiting, &error);
        }
    }
}

/// The outcome of one transaction, true only once the flush is durable.
enum Judged {
    Changed(Batch),
    Unchanged(Revision),
    Conflict(CommitError),
}

fn prepare(opened: &Opened, history: &History, waiting: &[Request]) -> Result<(WriteTransaction, Vec<Judged>), BoxError> {
    let txn = opened.database()?.begin_write()?;
    let judged = {
        let (mut meta, mut entries) = (txn.open_table(META)?, txn.open_table(ENTRIES)?);
        let mut current = revision(&meta)?;
        // A commit that was in doubt, before the database was opened again, may have been done.
        history.restart_at(current);
        let mut judged = Vec::with_capacity(waiting.len());
        for request in waiting {
            let outcome = judge(&mut entries, &request.txn, current)?;
            if let Judged::Changed(batch) = &outcome {
                current = batch.revision;
            }
            judged.push(outcome);
        }
        meta.insert(META_REVISION, current.get())?;
        judged
    };
    Ok((txn, judged))
}

type Entries<'txn> = Table<'txn, &'static str, (u64, &'static [u8])>;

fn judge(entries: &mut Entries<'_>, txn: &Txn, current: Revision) -> Result<Judged, BoxError> {
    for compare in &txn.compares {
        let found = entries.get(compare.key.as_str())?.map(|stored| Revision::new(stored.value().0));
        if found != compare.revision {
            let (key, expected) = (compare.key.clone(), compare.revision);
            return Ok(Judged::Conflict(CommitError::Conflict { key, expected, found }));
        }
    }
    let revision = current.next();
    let mut changes = Vec::with_capacity(txn.writes.len());
    for write in &txn.writes {
        match write {
            Write::Put { key, value } => {
                entries.insert(key.as_str(), (revision.get(), value.as_slice()))?;
                changes.push(Change::Put(Entry { key: key.clone(), value: value.clone(), revision }));
            }
            Write::Delete { key } => {
                if entries.remove(key.as_str())?.is_some() {
                    changes.push(Change::Deleted { key: key.clone() });
                }
            }
        }
    }
    if changes.is_empty() { Ok(Judged::Unchanged(current)) } else { Ok(Judged::Changed(Batch { revision, changes })) }
}

fn acknowledge(history: &History, waiting: &mut Vec<Request>, judged: Vec<Judged>) {
    for (request, outcome) in waiting.drain(..).zip(judged) {
        let answer = match outcome {
            Judged::Changed(batch) => {
                let revision = batch.revision;
                history.publish(batch);
                Ok(revision)
            }
            Judged::Unchanged(revision) => Ok(revision),
            Judged::Conflict(error) => Err(error),
        };
        // A caller that gave up does not want the answer.
        let _ = request.reply.send(answer);
    }
}

fn fail_all(waiting: &mut Vec<Request>, error: &BoxError) {
    answer_all(waiting, || CommitError::Io { source: error.to_string().into() });
}

fn doubt_all(waiting: &mut Vec<Request>, error: &BoxError) {
    answer_all(waiting, || CommitError::InDoubt { source: error.to_string().into(), settled: false });
}

fn answer_all(waiting: &mut Vec<Request>, error: impl Fn() -> CommitError) {
    for request in waiting.drain(..) {
        let _ = request.reply.send(Err(error()));
    }
}

/// Starts the thread; it ends when the sender is dropped.
///
/// # Errors
/// The system refuses another thread.
pub(super) fn spawn(
    opened: Arc<Opened>,
    history: Arc<History>,
    requests: mpsc::Receiver<Request>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let name = "pan-store-writer".to_owned();
    std::thread::Builder::new().name(name).spawn(move || run(&opened, &history, requests))
}
