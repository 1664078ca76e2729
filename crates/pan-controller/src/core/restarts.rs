//! Roles that stood still and were started again by whoever keeps them running: each is told once.
//!
//! The new process says so for some minutes, to every controller. What was told is in the events, which the next leader has as well.

use super::world::{Now, World, wall_text};
use pan_api::report::Restarted;
use pan_model::HostName;
use pan_model::event::Severity;
use pan_model::host::Role;

const REASON: &str = "RoleRestarted";

/// A role reports that it is the next process after one that stood still.
pub(super) fn told(world: &mut World, now: Now, (host, role): (&HostName, Role), restarted: Restarted) {
    let Restarted { at, silent_ms } = restarted;
    let text = format!(
        "role {role} of host {host} was started again at {}: the process before it gave no sign of life for {} s and was ended; its log, and the \
         kernel's of that time, may say why",
        wall_text(at),
        silent_ms / 1000
    );
    let events = world.events.get(&None);
    let known = events.is_some_and(|events| events.iter().any(|event| event.reason == REASON && event.message == text));
    if !known {
        world.host_event(now, host, Severity::Warning, REASON, text);
    }
}
