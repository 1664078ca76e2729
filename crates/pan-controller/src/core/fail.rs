//! Servers that do not stay up: another node, then again with growing pauses.

use super::record::{EndingPhase, Goal, Intent};
use super::world::{Now, World};
use super::{ending, place, reach};
use pan_api::report::Phase;
use pan_model::ServerKey;
use pan_model::event::Severity;
use std::collections::BTreeSet;
use std::time::Duration;

/// Longest pause between two attempts; a server that needs longer needs a person.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A server that was healthy this long has proved its place.
const PROVED: Duration = Duration::from_secs(60);

/// Tries again what does not stay up, when its pause is over.
pub fn advance(world: &mut World, now: Now) {
    let failed: BTreeSet<ServerKey> =
        world.servers.keys().filter(|key| is_failed(world, key) && !reach::keeps(world, key)).cloned().collect();
    // Whatever became of the others meanwhile, their next failure has a pause of its own.
    world.seen.retry_at.retain(|key, _| failed.contains(key));
    for key in failed {
        let tries = world.servers[&key].failed_moves;
        let pause = if tries == 0 { Duration::ZERO } else { Duration::from_secs(1 << tries.min(6)).min(PAUSE_MAX) };
        let at = *world.seen.retry_at.entry(key.clone()).or_insert(now.boot.plus(pause));
        if at <= now.boot {
            world.seen.retry_at.remove(&key);
            again(world, now, &key);
        }
    }
    let proved: Vec<ServerKey> = world
        .servers
        .iter()
        .filter(|(key, server)| server.failed_moves > 0 && has_proved(world, now, key))
        .map(|(key, _)| key.clone())
        .collect();
    for key in proved {
        if let Some(server) = world.server_mut(&key) {
            server.failed_moves = 0;
        }
    }
}

/// Whether a server that should run is given up by its node.
pub(super) fn is_failed(world: &World, key: &ServerKey) -> bool {
    let server = &world.servers[key];
    server.intent == Intent::Run && server.ending.is_none() && world.seen.current_phase(key, server) == Some(Phase::Failed)
}

fn has_proved(world: &World, now: Now, key: &ServerKey) -> bool {
    world.seen.servers.get(key).is_some_and(|seen| seen.report.phase == Phase::Healthy && now.boot.since(seen.phase_from) >= PROVED)
}

fn again(world: &mut World, now: Now, key: &ServerKey) {
    if let Some(server) = world.server_mut(key) {
        server.failed_moves += 1;
    }
    match place::elsewhere(world, key) {
        Ok(node) => {
            world.timelines.begin(&key.to_string(), now.wall, "failed", "does not stay up on its node");
            // That its node gave it up is its node's word, which it may lose. It is told to stop, and goes when it says that it follows.
            ending::begin(world, now, key, Goal::Move(Some(node)), EndingPhase::Stopping);
        }
        Err(_) => {
            world.server_event(now, key, Severity::Info, "Retry", "no other node can take it: tried again on its own");
            if let Some(server) = world.server_mut(key) {
                server.incarnation += 1;
            }
        }
    }
}
