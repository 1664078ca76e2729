//! From records that changed to transactions, each conditional on the leader's record.

use super::Owner;
use crate::core::persist::{self, TERM_KEY};
use crate::core::transactions::{Room, transactions};
use crate::core::world::Dirty;
use pan_store::{CommitError, Txn, Write, commit_guarded};
use std::pin::pin;
use std::time::{Duration, Instant};

/// Room in each transaction, beside that for the leader's record.
const ROOM: Room = Room { writes: pan_store::OPERATIONS_MAX - 1, bytes: pan_store::BYTES_MAX - TERM_BYTES };
const TERM_BYTES: usize = 4096;

/// How long an answer that was lost is asked for again: longer than etcd takes to find a leader.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long one that is to step down waits still for the store's answer, which may be on its way. Callers wait with it, and whoever leads
/// next would answer them sooner.
const LEAVING: Duration = Duration::from_millis(500);

/// Why this controller leads no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The first transaction of a round.
    #[error("cannot write to the store: {}", chain(source))]
    Commit { source: CommitError },
    /// A later one: a part of the round is done.
    #[error("cannot write the whole of it to the store: {}", chain(source))]
    Rest { source: CommitError },
    /// Somebody else leads, or should.
    #[error("{0}")]
    Deposed(String),
}

/// An error with everything that caused it.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl Failed {
    /// The same of a round of which a part is done.
    pub fn after_a_part(self) -> Self {
        match self {
            Self::Commit { source } => Self::Rest { source },
            other @ (Self::Rest { .. } | Self::Deposed(_)) => other,
        }
    }

    /// Whether some of it may have been done.
    pub fn in_doubt(&self) -> bool {
        matches!(self, Self::Rest { .. } | Self::Commit { source: CommitError::InDoubt { .. } })
    }
}

impl Owner {
    /// Commits what is dirty. Who follows has nothing to commit.
    pub(super) async fn commit(&mut self) -> Result<(), Failed> {
        let (dirty, asked) = (std::mem::take(&mut self.world.dirty), std::mem::take(&mut self.world.asked));
        if dirty.is_empty() || !self.world.leading {
            return Ok(());
        }
        let before = Instant::now();
        let dirty: Vec<_> = dirty.into_iter().collect();
        for (at, writes) in transactions(&self.world, &dirty, &asked, ROOM).into_iter().enumerate() {
            let failed = |source| if at == 0 { Failed::Commit { source } } else { Failed::Rest { source } };
            self.commit_one(writes.into_iter().map(write).collect()).await.map_err(failed)?;
        }
        self.handle.metrics.committed(before.elapsed());
        self.ear.order(crate::ear::Order::Stored);
        self.log_events(&dirty);
        self.count_failovers(&dirty);
        Ok(())
    }

    /// Commits writes that include the leader's record, if that is still as this controller knows it.
    pub(super) async fn commit_one(&mut self, writes: Vec<Write>) -> Result<(), CommitError> {
        let txn = Txn { compares: vec![pan_store::Compare { key: TERM_KEY.to_owned(), revision: self.record }], writes };
        let store = self.store.clone();
        let mut committing = pin!(commit_guarded(&*store, TERM_KEY, &txn, PATIENCE));
        let done = tokio::select! {
            biased;
            done = &mut committing => done,
            why = self.inbox.deposed() => match tokio::time::timeout(LEAVING, committing).await {
                Ok(done) => done,
                Err(_) => {
                    // It is stepped down for this.
                    self.inbox.take_deposed();
                    let source = format!("this controller was told to step down ({why}) before the store answered").into();
                    Err(CommitError::InDoubt { source, settled: false })
                }
            },
        };
        self.record = Some(done?);
        Ok(())
    }

    /// Only what is committed happened: events of a refused or dry apply are never told.
    fn log_events(&self, dirty: &[Dirty]) {
        for one in dirty {
            let Dirty::Event(partition, number) = one else { continue };
            let event = self.world.events.get(partition).and_then(|events| events.iter().rev().find(|event| event.number == *number));
            if let Some(event) = event {
                let partition = partition.as_ref().map_or("-", |name| name.as_str());
                tracing::info!(partition, kind = event.kind, object = event.object, reason = event.reason, "{}", event.message);
            }
        }
    }

    /// A timeline is written when it ends, and then only. One that is forgotten with its object has nothing to count.
    fn count_failovers(&self, dirty: &[Dirty]) {
        for one in dirty {
            let Dirty::Timeline(object) = one else { continue };
            if let Some(ended) = self.world.timelines.newest(object) {
                self.handle.metrics.ended(&ended);
            }
        }
    }

    /// The write of one record as it is now.
    pub(super) fn write(&self, dirty: &Dirty) -> Write {
        write(persist::write_of(&self.world, dirty))
    }
}

fn write((key, value): persist::RecordWrite) -> Write {
    match value {
        Some(value) => Write::Put { key, value },
        None => Write::Delete { key },
    }
}
