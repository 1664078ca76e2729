//! Finds out again and again how old what this controller shows can be, past all that it follows.

use crate::core::age::{Known, Limit, Mark};
use crate::core::persist::TERM_KEY;
use pan_api::ApiError;
use pan_member::{Tick, Timing};
use pan_model::Code;
use pan_store::{AnyStore, Listing, Revision, Store};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How sure this controller is to know the newest.
#[derive(Debug, Clone)]
pub(crate) struct Sure {
    known: Arc<Mutex<Known>>,
    limit: Limit,
}

impl Sure {
    /// Of a controller that has read nothing yet.
    pub fn new(limit: Limit) -> Self {
        Self { known: Arc::default(), limit }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Its changes are whole, whoever panics elsewhere.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store was read, which began at `at`.
    pub fn read(&self, at: Tick, listing: &Listing) {
        let entry = listing.entries.iter().find(|entry| entry.key == TERM_KEY);
        self.known().read(at, mark(entry.map(|entry| entry.revision)));
    }

    /// Views have everything that was committed with this version of the leader's record, and before it.
    pub fn shows(&self, record: Option<Revision>) {
        self.known().shows(mark(record));
    }

    /// How old what is shown can be, for somebody who bears with `more` than the limit.
    ///
    /// # Errors
    /// `NotLeading`: too old to be told. Another controller may know more.
    pub fn age(&self, more: Duration) -> Result<Option<Duration>, ApiError> {
        let told = self.known().told(boot_clock(), self.limit, more);
        told.map_err(|old| {
            let age = old.age.map_or_else(|| "was never".to_owned(), |age| format!("was last {} ms ago", age.as_millis()));
            let max = old.max.as_millis();
            let text = format!(
                "this controller {age} sure that it knows the newest, which it tells for {max} ms; `pan --stale` shows what it knows all the same"
            );
            ApiError::new(Code::NotLeading, text)
        })
    }
}

fn mark(record: Option<Revision>) -> Mark {
    Mark(record.map_or(0, Revision::get))
}

/// The time for all this.
pub(crate) fn boot_clock() -> Tick {
    Tick(pan_linux::datagram::boot_clock())
}

/// Reads the leader's record for ever.
pub(crate) async fn keep(store: Arc<AnyStore>, sure: Sure, timing: Timing) {
    let mut ticks = interval(Limit::reading(&timing));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let at = boot_clock();
        match store.list(TERM_KEY).await {
            Ok(listing) => sure.read(at, &listing),
            // What it means is told to whoever asks for what is too old by then.
            Err(error) => tracing::debug!(%error, "it cannot be found out whether there is anything newer"),
        }
    }
}
