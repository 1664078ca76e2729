//! Orderly ends: connections first, then the process, then what comes after.

use super::imports::Ways;
use super::record::{Duty, Ending, EndingPhase, Goal, Intent, ServerRecord};
use super::seen::Life;
use super::world::{About, Dirty, Now, World};
use super::{place, reach};
use pan_api::report::Phase;
use pan_model::event::Severity;
use pan_model::host::Role;
use pan_model::{Generation, HostName, ServerKey};
use std::collections::BTreeMap;
use std::time::Duration;

/// Connections are counted once a second: a count of zero means something only after one full round.
const COUNT_ROUND: Duration = Duration::from_millis(1200);

const fn rank(goal: &Goal) -> u8 {
    match goal {
        Goal::Restart => 0,
        Goal::Move(_) => 1,
        Goal::Stop => 2,
        Goal::Delete => 3,
    }
}

/// Begins an orderly end. One that runs is replaced only by a goal that goes further.
pub fn begin(world: &mut World, now: Now, key: &ServerKey, goal: Goal, phase: EndingPhase) {
    let Some(server) = world.servers.get(key) else { return };
    if server.ending.as_ref().is_some_and(|running| rank(&running.goal) >= rank(&goal)) {
        return;
    }
    let told = match &goal {
        Goal::Move(_) => "moves to another node",
        Goal::Restart => "is started again",
        Goal::Stop => "is stopped",
        Goal::Delete => "is deleted",
    };
    if let Goal::Move(to) = &goal {
        let told = to.as_ref().map_or_else(|| told.to_owned(), |to| format!("moves to {to}"));
        world.timelines.begin(&key.to_string(), now.wall, "move-begins", told.clone());
        // What went before may have begun it.
        world.timelines.mark(&key.to_string(), now.wall, "move-begins", told);
    }
    if let Some(server) = world.server_mut(key) {
        server.ending = Some(Ending { goal, phase, since: now.wall });
    }
    world.seen.ending_from.insert(key.clone(), now.boot);
    world.seen.drained_from.remove(key);
    world.seen.stopped_from.remove(key);
    world.server_event(now, key, Severity::Info, "Ending", told);
}

/// Whether an orderly end waits for its host to be told of anything at all. Until then the server stays what it was, to its services too.
#[must_use]
pub fn is_held(world: &World, server: &ServerRecord) -> bool {
    let begun = server.ending.as_ref().is_some_and(|ending| ending.phase == EndingPhase::Draining);
    begun && server.node.as_ref().is_some_and(|node| reach::is_away(world, node))
}

/// An end that cannot go on where the server is: said once, and its time begins anew when it can.
fn hold(world: &mut World, now: Now, key: &ServerKey, ending: &Ending) {
    if ending.phase == EndingPhase::Draining {
        world.seen.ending_from.remove(key);
        world.seen.drained_from.remove(key);
    }
    let Some(node) = world.servers.get(key).and_then(|server| server.node.clone()).filter(|_| world.seen.held.insert(key.clone())) else {
        return;
    };
    let (waits, then) = match ending.phase {
        EndingPhase::Draining => ("cannot begin at present", "it runs on meanwhile"),
        EndingPhase::Stopping => ("has begun and cannot be followed at present", "whether it still runs is not known"),
    };
    let what = match &ending.goal {
        Goal::Move(_) => "its move",
        Goal::Restart => "its new start",
        Goal::Stop => "its stop",
        Goal::Delete => "its end",
    };
    world.server_event(now, key, Severity::Warning, "EndingHeld", format!("{what} {waits}; {then}"));
    let object = key.to_string();
    let about = About { partition: None, kind: "server", object: &object };
    let text = format!("{key}: {what} {waits}, {then}: {}", reach::why(world, now, &node));
    world.event(now, &about, Severity::Warning, "EndingHeld", text);
}

/// Moves every orderly end as far as it can go.
pub fn advance(world: &mut World, now: Now) {
    let held = std::mem::take(&mut world.seen.held);
    let still = |key: &ServerKey| world.servers.get(key).is_some_and(|server| server.ending.is_some()) && reach::keeps(world, key);
    world.seen.held = held.into_iter().filter(|key| still(key)).collect();
    let ending: Vec<ServerKey> = world.servers.iter().filter(|(_, server)| server.ending.is_some()).map(|(key, _)| key.clone()).collect();
    for key in ending {
        advance_one(world, now, &key);
    }
}

fn advance_one(world: &mut World, now: Now, key: &ServerKey) {
    let Some(server) = world.servers.get(key) else { return };
    let Some(ending) = server.ending.clone() else { return };
    if reach::keeps(world, key) {
        return hold(world, now, key, &ending);
    }
    world.seen.ending_from.entry(key.clone()).or_insert(now.boot);
    let gone = server.node.as_ref().is_none_or(|node| world.seen.life(node) == Life::Dead);
    let absent = world.seen.phase(key, server.node.as_ref(), server.epoch) == Some(Phase::Absent) && told_to_stop(world, key);
    match ending.phase {
        _ if gone => complete(world, now, key, &ending.goal),
        EndingPhase::Draining if drained(world, now, key) => {
            let object = key.to_string();
            world.timelines.mark(&object, now.wall, "drained", "its connections have ended, or their time has");
            if ending.goal == Goal::Restart {
                complete(world, now, key, &ending.goal);
            } else if let Some(server) = world.server_mut(key) {
                server.ending = Some(Ending { phase: EndingPhase::Stopping, ..ending });
            }
        }
        EndingPhase::Draining => {}
        EndingPhase::Stopping if absent => complete(world, now, key, &ending.goal),
        EndingPhase::Stopping => {}
    }
}

/// Whether what is known of a server is the outcome of an order to stop: an absence from before says nothing, it may be
/// starting at this moment. Whatever else is wrong on its node does not matter.
fn told_to_stop(world: &World, key: &ServerKey) -> bool {
    let followed = world.seen.servers.get(key).map(|seen| seen.report.followed);
    world.seen.stopped_from.get(key).is_some_and(|from| followed.is_some_and(|followed| followed >= *from))
}

fn drained(world: &World, now: Now, key: &ServerKey) -> bool {
    let Some(cluster) = world.cluster_of(key) else { return true };
    let server = &world.servers[key];
    let healthy = world.seen.phase(key, server.node.as_ref(), server.epoch) == Some(Phase::Healthy);
    let served = world.services_of(&key.partition, &server.cluster).next().is_some();
    let lasts = world.seen.ending_from.get(key).map_or(Duration::ZERO, |from| now.boot.since(*from));
    if !healthy || !served || lasts >= cluster.spec.stop.grace.0 {
        return true;
    }
    let owner = world.partitions.get(&key.partition).and_then(|partition| partition.owner.as_ref());
    let Some(owner) = owner.filter(|owner| world.seen.hosts.contains_key(*owner)) else { return true };
    let Some(from) = world.seen.drained_from.get(key) else { return false };
    let ways = Ways::of(world);
    let known = in_all_tables(world, (&ways, owner), key, from) && ways.are_in_place(world, &key.partition, &server.cluster);
    lasts >= COUNT_ROUND && known && ways.connections(world, owner, key) == 0
}

/// Whether no director sends a server new connections: the owner of its unit, and, as long as they live, those that have imports of its services.
/// One that came after it was told with what the others were.
fn in_all_tables<'a>(
    world: &'a World,
    (ways, owner): (&Ways<'a>, &'a HostName),
    key: &ServerKey,
    from: &BTreeMap<HostName, Generation>,
) -> bool {
    ways.directors(owner, &key.partition).all(|host| {
        let Some(seen) = world.seen.hosts.get(host) else { return host != owner };
        let from = from.get(host).or_else(|| from.values().max());
        (host != owner && seen.life == Life::Dead) || seen.applied.get(&Role::Director).is_some_and(|applied| Some(applied) >= from)
    })
}

fn complete(world: &mut World, now: Now, key: &ServerKey, goal: &Goal) {
    world.seen.ending_from.remove(key);
    world.seen.drained_from.remove(key);
    world.seen.stopped_from.remove(key);
    world.seen.replan = true;
    match goal {
        Goal::Move(to) => {
            let restarts = world.seen.servers.get(key).map_or(0, |seen| seen.report.restarts);
            let failed = world.servers.get(key).is_some_and(|server| server.failed_moves > 0);
            let former = world.servers.get(key).and_then(|server| server.node.as_ref());
            let drains = former.and_then(|node| world.hosts.get(node)).is_some_and(|host| host.duty == Duty::Draining);
            let why = match (failed, drains) {
                (true, _) => "it did not stay up on its former node",
                (false, true) => "its former node is drained",
                (false, false) => "it was moved on purpose",
            };
            if let Some(server) = world.server_mut(key) {
                server.ending = None;
                server.node = None;
                // One that somebody moves begins to be counted anew; one that does not stay up is still the same trouble.
                server.restarts += if failed { restarts } else { 0 };
            }
            world.seen.servers.remove(key);
            world.timelines.mark(&key.to_string(), now.wall, "stopped", "nothing of it is left on its node");
            if let Some(to) = to.clone().filter(|to| place::fits(world, key, to).is_ok()) {
                place::bind(world, now, key, &to, why);
            }
        }
        Goal::Restart => {
            let revision = world.cluster_of(key).map_or(0, |cluster| cluster.revision);
            if let Some(server) = world.server_mut(key) {
                server.ending = None;
                server.incarnation += 1;
                server.revision = revision;
                server.intent = Intent::Run;
            }
        }
        Goal::Stop => {
            if let Some(server) = world.server_mut(key) {
                server.ending = None;
                server.intent = Intent::Stopped;
            }
            world.server_event(now, key, Severity::Info, "Stopped", "is stopped");
        }
        Goal::Delete => {
            world.server_event(now, key, Severity::Info, "Deleted", "is deleted");
            let gone = world.servers.remove(key);
            world.seen.servers.remove(key);
            world.dirty.insert(Dirty::Server(key.clone()));
            world.timelines.forget(&key.to_string());
            world.dirty.insert(Dirty::Timeline(key.to_string()));
            if let Some(gone) = gone {
                super::resize::again(world, now, key, &gone);
            }
        }
    }
}
