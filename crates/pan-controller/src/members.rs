//! Asks the members of the store again and again whether they answer. What that means is the core's to say.

use crate::handle::{Handle, Message};
use pan_store::AnyStore;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Between two questions: a small message to each member and back, from what it has in memory.
const PERIOD: Duration = Duration::from_secs(1);

/// For ever; a store that is one file has nobody to ask.
pub(crate) async fn keep(store: Arc<AnyStore>, handle: Handle) {
    let Some(mut pulse) = store.pulse() else { return };
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let signs = pulse.feel().await;
        let answers = signs.iter().map(|sign| (sign.member.clone(), sign.silence.clone())).collect();
        handle.members.store(Arc::new(signs));
        // Who is too busy to take it is told the next time.
        let _ = handle.inbox.try_send(Message::Members(answers));
    }
}
