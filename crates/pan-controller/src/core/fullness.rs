//! Disks of storage hosts that are full: told once, and once more when they have room again. A disk on the edge is full with one write and not
//! with the next, many times a minute.

use super::world::{Now, World};
use pan_member::Tick;
use pan_model::HostName;
use pan_model::event::Severity;
use std::time::Duration;

/// How long a disk has to have room before that is told: copies that left for want of it try again several times in that time.
const ROOM_FOR: Duration = Duration::from_secs(60);

/// What was told of the disk of a storage host.
#[derive(Debug, Clone, Default)]
pub struct Fullness {
    /// That it is full.
    told: bool,
    /// Since when it says that it is not.
    room_from: Option<Tick>,
}

/// A storage host reports, as it does once a second.
pub(super) fn told(world: &mut World, now: Now, host: &HostName) {
    let Some(seen) = world.seen.hosts.get_mut(host) else { return };
    let Some(pool) = &seen.pool else { return };
    let (full, free, fullness) = (pool.full, pool.free, &mut seen.fullness);
    let (severity, reason, text) = match (fullness.told, full) {
        (false, true) => {
            let text = format!(
                "the disk of storage host {host} is full ({free} free): its copies leave their volumes until there is room, and the last one refuses what needs space"
            );
            (Severity::Warning, "DiskFull", text)
        }
        (true, false) if now.boot.since(*fullness.room_from.get_or_insert(now.boot)) >= ROOM_FOR => {
            (Severity::Info, "DiskHasRoom", format!("the disk of storage host {host} has room again ({free} free)"))
        }
        (true, true) => {
            fullness.room_from = None;
            return;
        }
        (false | true, false) => return,
    };
    (fullness.told, fullness.room_from) = (full, None);
    world.host_event(now, host, severity, reason, text);
}
