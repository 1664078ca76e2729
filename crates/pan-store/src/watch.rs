//! Watches: a bounded history of recent transactions, and cursors that follow it.
//!
//! Followers have no queue of their own. Each reads the shared history at its own pace, so a slow one
//! costs no memory; one slower than the history is long is told to list again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::error::WatchError;
use crate::txn::{Entry, Revision};

/// How many bytes of past changes are kept: minutes of a busy controller, and small beside its memory.
const HISTORY_BYTES_MAX: usize = 16 << 20;

/// What one change costs in memory beside its key and value, roughly.
const CHANGE_BYTES: usize = 96;

/// One key's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put(Entry),
    Deleted { key: String },
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Deleted { key } => key,
        }
    }

    fn bytes(&self) -> usize {
        CHANGE_BYTES
            + match self {
                Self::Put(entry) => entry.key.len() + entry.value.len(),
                Self::Deleted { key } => key.len(),
            }
    }
}

/// The changes of one transaction under a watched prefix; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub revision: Revision,
    pub changes: Vec<Change>,
}

impl Batch {
    fn bytes(&self) -> usize {
        self.changes.iter().map(Change::bytes).sum()
    }
}

/// The writer's side: what a store publishes its transactions to.
#[derive(Debug)]
pub(crate) struct History {
    ring: Arc<Mutex<Ring>>,
    latest: watch::Sender<Revision>,
}

impl History {
    /// A history that knows nothing of what happened up to `revision`.
    pub(crate) fn starting_at(revision: Revision) -> Self {
        let ring = Ring { oldest: revision, batches: VecDeque::new(), bytes: 0, bytes_max: HISTORY_BYTES_MAX };
        Self { ring: Arc::new(Mutex::new(ring)), latest: watch::Sender::new(revision) }
    }

    #[cfg(test)]
    fn with_bytes_max(self, bytes_max: usize) -> Self {
        lock(&self.ring).bytes_max = bytes_max;
        self
    }

    /// Adds a committed transaction. Revisions must come in order.
    pub(crate) fn publish(&self, batch: Batch) {
        let revision = batch.revision;
        lock(&self.ring).push(batch);
        self.latest.send_replace(revision);
    }

    /// Forgets everything up to `revision` if that is news: something was committed that was never published. Who follows
    /// from before it is told to list again.
    pub(crate) fn restart_at(&self, revision: Revision) {
        if revision <= *self.latest.borrow() {
            return;
        }
        let mut ring = lock(&self.ring);
        ring.batches.clear();
        (ring.oldest, ring.bytes) = (revision, 0);
        drop(ring);
        self.latest.send_replace(revision);
    }

    pub(crate) fn follow(&self, prefix: &str, after: Revision) -> Watch {
        let (ring, latest) = (Arc::clone(&self.ring), self.latest.subscribe());
        Watch { prefix: prefix.to_owned(), after, feed: Feed::Local { ring, latest } }
    }
}

/// A stream of changes; see [`Store::watch`](crate::Store::watch).
#[derive(Debug)]
pub struct Watch {
    prefix: String,
    after: Revision,
    feed: Feed,
}

#[derive(Debug)]
enum Feed {
    /// A store in this process.
    Local { ring: Arc<Mutex<Ring>>, latest: watch::Receiver<Revision> },
    /// A task that asks a store elsewhere.
    Remote { batches: mpsc::Receiver<Result<Batch, WatchError>>, _task: Task },
}

/// Ends with its handle.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watch {
    /// A watch whose batches come from `task`, which ends with it. They are under `prefix` already.
    pub(crate) fn remote(prefix: &str, after: Revision, batches: mpsc::Receiver<Result<Batch, WatchError>>, task: JoinHandle<()>) -> Self {
        Self { prefix: prefix.to_owned(), after, feed: Feed::Remote { batches, _task: Task(task) } }
    }

    /// Waits for the next transaction that touched the prefix. Safe to drop and call again.
    ///
    /// # Errors
    /// [`WatchError`]: the watch is over; list again.
    pub async fn next(&mut self) -> Result<Batch, WatchError> {
        let (ring, latest) = match &mut self.feed {
            Feed::Local { ring, latest } => (ring, latest),
            Feed::Remote { batches, .. } => {
                let batch = batches.recv().await.ok_or(WatchError::Closed)??;
                self.after = batch.revision;
                return Ok(batch);
            }
        };
        loop {
            latest.borrow_and_update();
            let (reached, found) = lock(ring).after(self.after, &self.prefix)?;
            self.after = reached;
            match found {
                Some(batch) => return Ok(batch),
                None => latest.changed().await.map_err(|_| WatchError::Closed)?,
            }
        }
    }
}

#[derive(Debug)]
struct Ring {
    /// Every transaction after this revision is in `batches`.
    oldest: Revision,
    batches: VecDeque<Batch>,
    bytes: usize,
    bytes_max: usize,
}

impl Ring {
    fn push(&mut self, batch: Batch) {
        let last = self.batches.back().map_or(self.oldest, |batch| batch.revision);
        assert!(batch.revision > last, "revision {} published after {last}", batch.revision);
        self.bytes += batch.bytes();
        self.batches.push_back(batch);
        while self.bytes > self.bytes_max {
            let dropped = self.batches.pop_front().expect("a history with bytes has batches");
            self.bytes -= dropped.bytes();
            self.oldest = dropped.revision;
        }
    }

    /// The first transaction after `after` that touches `prefix`, and how far the search got.
    fn after(&self, after: Revision, prefix: &str) -> Result<(Revision, Option<Batch>), WatchError> {
        if after < self.oldest {
            return Err(WatchError::Compacted { after, oldest: self.oldest });
        }
        let first = self.batches.partition_point(|batch| batch.revision <= after);
        for batch in self.batches.range(first..) {
            let matching = |change: &&Change| change.key().starts_with(prefix);
            let changes: Vec<Change> = batch.changes.iter().filter(matching).cloned().collect();
            if !changes.is_empty() {
                return Ok((batch.revision, Some(Batch { revision: batch.revision, changes })));
            }
        }
        let last = self.batches.back().map_or(after, |batch| batch.revision.max(after));
        Ok((last, None))
    }
}

/// A panic elsewhere cannot leave the ring half changed: `push` finishes or asserts before it starts.
fn lock(ring: &Mutex<Ring>) -> std::sync::MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u64, key: &str) -> Batch {
        let changes = vec![Change::Deleted { key: key.to_owned() }];
        Batch { revision: Revision::new(number), changes }
    }

    #[tokio::test]
    async fn a_follower_slower_than_the_history_is_told_to_list_again() {
        let history = History::starting_at(Revision::ZERO).with_bytes_max(3 * (CHANGE_BYTES + 1));
        let mut early = history.follow("", Revision::ZERO);
        for number in 1..=5 {
            history.publish(batch(number, "k"));
        }
        let error = early.next().await.unwrap_err();
        assert_eq!(error.to_string(), "changes after revision 0 are no longer kept; the oldest known point is 2");
        let mut late = history.follow("", Revision::new(2));
        assert_eq!(late.next().await.unwrap(), batch(3, "k"));
    }

    #[tokio::test]
    async fn a_follower_of_a_quiet_prefix_keeps_up_with_the_rest() {
        let history = History::starting_at(Revision::ZERO).with_bytes_max(CHANGE_BYTES + 1);
        let mut quiet = history.follow("q", Revision::ZERO);
        for number in 1..=9 {
            history.publish(batch(number, "k"));
            let idle = tokio::time::timeout(std::time::Duration::ZERO, quiet.next()).await;
            assert!(idle.is_err(), "nothing under q yet");
        }
        history.publish(batch(10, "q"));
        assert_eq!(quiet.next().await.unwrap(), batch(10, "q"));
    }

    #[tokio::test]
    async fn closing_the_store_ends_its_watches() {
        let history = History::starting_at(Revision::ZERO);
        let mut watch = history.follow("", Revision::ZERO);
        drop(history);
        assert!(matches!(watch.next().await, Err(WatchError::Closed)));
    }
}
