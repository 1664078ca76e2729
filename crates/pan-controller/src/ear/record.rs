//! Reads the leader's record for the ear, beside the loop: that may be waiting for the store itself, and the ear of who follows must
//! be able to find out meanwhile who leads. The ear of a leader asks by way of the loop: who leads by a loop that stands
//! still leads nobody, and is to step down.

use super::{Ear, Order};
use crate::core::persist::{self, LoadError, TERM_KEY};
use crate::core::record::PanRecord;
use crate::core::standing;
use pan_store::{AnyStore, Store};
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Asks for the record. What is asked while an earlier question waits is the same question.
#[derive(Debug, Clone)]
pub(crate) struct Asker(Sender<()>);

impl Asker {
    pub fn new() -> (Self, Receiver<()>) {
        let (sender, asked) = channel(1);
        (Self(sender), asked)
    }

    pub fn ask(&self) {
        // Full: one waits already. Closed: the controller ends.
        let _ = self.0.try_send(());
    }
}

/// Reads whenever the ear asks, past everything that was followed, until the ear is gone.
///
/// # Errors
/// [`LoadError`]: the record cannot be used. A store that does not answer is asked again when the ear asks again.
pub(crate) async fn read(store: Arc<AnyStore>, ear: Ear, mut asked: Receiver<()>) -> Result<(), LoadError> {
    while asked.recv().await.is_some() {
        match store.list(TERM_KEY).await {
            Ok(listing) => {
                let entry = listing.entries.iter().find(|entry| entry.key == TERM_KEY);
                let record = entry.map(|entry| persist::read::<PanRecord>(TERM_KEY, &entry.value)).transpose()?;
                ear.order(Order::Record(record.as_ref().and_then(standing::recorded)));
            }
            Err(error) => tracing::warn!(%error, "the leader's record cannot be read"),
        }
    }
    Ok(())
}
