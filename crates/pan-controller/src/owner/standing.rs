//! Taking over, stepping down, following: the effects around [`crate::core::standing`].

use super::commit::Failed;
use super::{Answer, Owner};
use crate::core::persist::TERM_KEY;
use crate::core::standing;
use crate::core::world::Dirty;
use crate::ear::Order;
use crate::run::RunError;
use crate::sure::boot_clock;
use pan_member::Revision;
use pan_member::leadership::Taken;
use pan_store::{Batch, Change, CommitError, Store, WatchError};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause before the store is asked again after it failed.
const AGAIN: Duration = Duration::from_millis(100);

impl Owner {
    /// Tries to become the leader of `term`, if the leader's record still has the term `expected`. The compare-and-swap
    /// is of the record as followed, which every transaction writes: so who succeeds has followed everything.
    pub(super) async fn take_over(&mut self, expected: u64, term: u64) -> Result<(), RunError> {
        if expected != self.world.pan.term {
            self.ear.order(Order::Taken(Taken::Lost));
            self.tell_record();
            return Ok(());
        }
        standing::candidate(&mut self.world, &self.me, self.instance, term);
        self.world.dirty.clear();
        self.world.asked.clear();
        let writes = vec![self.write(&Dirty::Pan)];
        match self.commit_one(writes).await {
            Ok(()) => {
                self.lead(term);
                self.ear.order(Order::Taken(Taken::Done { revision: Revision(term) }));
                Ok(())
            }
            Err(error) => {
                tracing::info!(%error, term, "could not take over");
                let doubt = matches!(error, CommitError::InDoubt { .. });
                self.ear.order(Order::Taken(if doubt { Taken::InDoubt } else { Taken::Lost }));
                self.reload().await
            }
        }
    }

    fn lead(&mut self, term: u64) {
        standing::lead(&mut self.world, super::now());
        self.led = term;
        self.watch = None;
        (self.step, self.started, self.warm) = (0, Instant::now(), false);
        self.latest.clear();
        tracing::info!(term, "this controller leads");
    }

    /// The ear read that the record is ours: an attempt whose outcome was not known had succeeded. If that is not what was
    /// followed, somebody has taken it since, or this loop is behind: then the ear is to stand anew. So it is where this loop led in that term
    /// already: it would number what it publishes as it did then.
    pub(super) fn found_leading(&mut self, term: u64) {
        if self.world.leading {
            return;
        }
        match standing::is_ours(&self.world, &self.me, self.instance, term) && self.led != term {
            true => self.lead(term),
            false => self.ear.order(Order::Resigned),
        }
    }

    /// Decides nothing any more.
    pub(super) async fn step_down(&mut self, why: Failed) -> Result<(), RunError> {
        if self.world.leading {
            tracing::warn!(%why, term = self.world.pan.term, "this controller leads no more");
        }
        self.world.leading = false;
        self.ear.order(Order::Resigned);
        self.handle.follows();
        // At once: until the store can be read again may take long.
        self.publish_nothing();
        self.reload().await
    }

    /// Reads everything anew and follows from there. Tries until the store answers: nothing can be decided without it.
    /// Hosts' streams stay open meanwhile.
    pub async fn reload(&mut self) -> Result<(), RunError> {
        self.watch = None;
        let store = self.store.clone();
        let listing = loop {
            let began = boot_clock();
            match self.meanwhile(store.list("")).await {
                Ok(listing) => {
                    self.handle.sure.read(began, &listing);
                    break listing;
                }
                Err(error) => {
                    let why = Arc::new(error.to_string());
                    if self.handle.store_lost.swap(Some(why.clone())).as_ref() != Some(&why) {
                        tracing::warn!(%error, "the store cannot be read; trying until it can");
                    }
                    self.meanwhile(tokio::time::sleep(AGAIN)).await;
                }
            }
        };
        if self.handle.store_lost.swap(None).is_some() {
            tracing::info!("the store can be read again");
        }
        let entries = listing.entries.iter();
        self.record = entries.clone().find(|entry| entry.key == TERM_KEY).map(|entry| entry.revision);
        standing::follow(&mut self.world, entries.map(|entry| (entry.key.as_str(), entry.value.as_slice())))?;
        self.watch = Some(self.store.watch("", listing.revision));
        self.tell_record();
        Ok(())
    }

    /// Takes over what the leader committed.
    pub(super) async fn follow(&mut self, batch: Result<Batch, WatchError>) -> Result<(), RunError> {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                tracing::info!(%error, "reading the whole store again");
                return self.reload().await;
            }
        };
        let before = self.world.pan.term;
        for change in &batch.changes {
            let (key, value) = match change {
                Change::Put(entry) => (entry.key.as_str(), Some(entry.value.as_slice())),
                Change::Deleted { key } => (key.as_str(), None),
            };
            standing::followed(&mut self.world, key, value)?;
            if key == TERM_KEY {
                self.record = value.map(|_| batch.revision);
            }
        }
        if self.world.pan.term != before {
            self.tell_record();
        }
        Ok(())
    }

    fn tell_record(&self) {
        self.ear.order(Order::Record(standing::recorded(&self.world.pan)));
    }

    /// Waits for `done`. Callers are refused meanwhile instead of kept waiting, for it may take as long as the store is away;
    /// what hosts say is heard. The ear's word waits: it is of use only to who has read the store.
    async fn meanwhile<T>(&mut self, done: impl Future<Output = T>) -> T {
        tokio::pin!(done);
        loop {
            tokio::select! {
                biased;
                done = &mut done => return done,
                Some(message) = self.inbox.asked.recv() => self.take(message).into_iter().for_each(Answer::give),
            }
        }
    }
}
