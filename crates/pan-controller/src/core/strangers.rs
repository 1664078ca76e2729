//! Who comes to a storage host's replicas without being a head of the PAN: told to the PAN once, and then every five minutes at most. Whoever
//! can reach the port can come as often as it likes.

use super::world::{Now, World};
use pan_member::Tick;
use pan_model::HostName;
use pan_model::event::Severity;
use std::time::Duration;

/// How often there may be an event of one storage host.
const EVERY: Duration = Duration::from_secs(300);

/// What a storage host said last, and what of it was not told.
#[derive(Debug, Clone, Default)]
pub struct Strangers {
    /// What it has counted; `None` before its first report to this controller, which tells what another one has told.
    counted: Option<u64>,
    untold: u64,
    told: Option<Tick>,
}

/// A storage host reports, as it does once a second.
pub(super) fn told(world: &mut World, now: Now, host: &HostName) {
    let Some(seen) = world.seen.hosts.get_mut(host) else { return };
    let Some(counted) = seen.pool.as_ref().map(|pool| pool.strangers) else { return };
    let strangers = &mut seen.strangers;
    if let Some(former) = strangers.counted.replace(counted) {
        // A role that began anew counts from nothing.
        strangers.untold += if former <= counted { counted - former } else { counted };
    }
    if strangers.untold == 0 || strangers.told.is_some_and(|told| now.boot.since(told) < EVERY) {
        return;
    }
    strangers.told = Some(now.boot);
    let connections = match std::mem::take(&mut strangers.untold) {
        1 => "1 connection".to_owned(),
        many => format!("{many} connections"),
    };
    let text = format!(
        "storage host {host} turned away {connections} to its replicas, which showed no certificate of a node of this PAN, or no capability for it"
    );
    world.host_event(now, host, Severity::Warning, "AttachRefused", text);
}
