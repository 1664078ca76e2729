//! Hosts that are heard and do not report: the agent of such a host is down, or nothing of it but heartbeats gets through. Nothing
//! can be done there, so nothing new is given to it and nothing is ended there; and a server that was given to it and waits is started
//! elsewhere.

use super::death::{is_node, to_be_fenced};
use super::hosts::bound_to;
use super::record::Intent;
use super::seen::{HostSeen, Life};
use super::world::{Now, World, wall_text};
use pan_api::ApiError;
use pan_member::Tick;
use pan_model::event::Severity;
use pan_model::host::Role;
use pan_model::{Code, HostName, PartitionName, ServerKey};
use std::time::Duration;

/// A role reports every second, and right after it was started; an agent is started anew within one.
const LATE: Duration = Duration::from_secs(5);
/// For so long a server waits that was bound to a node that does not report: as long as an agent may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// A host that falls silent so often within so long is unsteady.
const UNSTEADY: usize = 5;
const UNSTEADY_WITHIN: Duration = Duration::from_secs(30);

/// A role of the host reported. Of a node only its own agent's reports count: what another role says starts no server.
pub(super) fn reported(world: &mut World, now: Now, host: &HostName, role: Role) {
    if role != Role::Node && is_node(world, host) {
        return;
    }
    let seen = world.seen.hosts.entry(host.clone()).or_default();
    (seen.quiet_from, seen.told_at) = (None, Some(now.boot));
    if std::mem::take(&mut seen.out_of_reach) {
        world.seen.replan = true;
        world.host_event(now, host, Severity::Info, "HostInReach", format!("host {host} reports again"));
    }
}

/// A host fell silent, for less than it takes to die as yet. One that does so again and again is answered half of the time, and never dies.
pub(super) fn faltered(world: &mut World, now: Now, host: &HostName) {
    let seen = world.seen.hosts.entry(host.clone()).or_default();
    seen.faltered.retain(|at| now.boot.since(*at) <= UNSTEADY_WITHIN);
    seen.faltered.push_back(now.boot);
    if seen.faltered.len() < UNSTEADY {
        return;
    }
    seen.faltered.clear();
    let drain = if is_node(world, host) { format!("; `pan node drain {host}` moves its servers") } else { String::new() };
    let text = format!(
        "host {host} fell silent {UNSTEADY} times within {} s, and was heard again each time: look at its links and its load{drain}",
        UNSTEADY_WITHIN.as_secs()
    );
    world.host_event(now, host, Severity::Alarm, "HostUnsteady", text);
}

/// A controller begins to lead: it has not been waiting for anybody. Who does not report to it knows it all the same, if others do: what
/// waits for such a host goes on waiting.
pub(super) fn begin(world: &mut World, now: Now) {
    let quiet = |told: Option<Tick>| told.is_some_and(|at| now.boot.since(at) >= LATE);
    let hears = !quiet(world.seen.hosts.values().filter_map(|seen| seen.told_at).max());
    for seen in world.seen.hosts.values_mut() {
        (seen.quiet_from, seen.out_of_reach) = (None, hears && quiet(seen.told_at));
    }
    world.seen.awaited.clear();
}

/// Whether a host is heard and nothing can be asked of it.
pub(super) fn is_away(world: &World, host: &HostName) -> bool {
    world.seen.hosts.get(host).is_some_and(|seen| matches!(seen.life, Life::Alive | Life::Suspect) && seen.out_of_reach)
}

/// Whether a server is bound to such a host.
pub(super) fn keeps(world: &World, key: &ServerKey) -> bool {
    world.servers.get(key).and_then(|server| server.node.as_ref()).is_some_and(|node| is_away(world, node))
}

/// What is asked of a server cannot even begin while nothing reaches its host. `what` is what cannot be done; users of the partition
/// `within` are told of nothing but their server.
///
/// # Errors
/// `State`.
pub(super) fn refuse(world: &World, now: Now, within: Option<&PartitionName>, key: &ServerKey, what: &str) -> Result<(), ApiError> {
    let Some(node) = world.servers.get(key).and_then(|server| server.node.as_ref()).filter(|node| is_away(world, node)) else {
        return Ok(());
    };
    let text = match within {
        Some(_) => format!("server {key} cannot be {what} at present: nothing can be asked of it for a while. Try again later"),
        None => format!("server {key} cannot be {what}: {}", why(world, now, node)),
    };
    Err(ApiError::new(Code::State, text))
}

/// Why nothing can be asked of a host, and what to do.
pub(super) fn why(world: &World, now: Now, host: &HostName) -> String {
    let from = world.seen.hosts.get(host).and_then(|seen| seen.told_at.or(seen.quiet_from));
    let silent = from.map_or(0, |from| i64::try_from(now.boot.since(from).as_micros()).unwrap_or(i64::MAX));
    format!(
        "host {host} is heard and has not reported since {}, so it would not be told. See whether it reaches the controllers' port 7443 over \
         either fabric, and the log of its agent; then ask again. Or switch it off: what it runs is then started elsewhere",
        wall_text(now.wall.saturating_sub(silent))
    )
}

/// Notices who does not report, and has nodes fenced that keep servers waiting.
pub fn advance(world: &mut World, now: Now) {
    let (servers, awaited) = (&world.servers, &mut world.seen.awaited);
    awaited.retain(|key, (epoch, _)| servers.get(key).is_some_and(|server| server.epoch == *epoch));
    let mut late = Vec::new();
    for (name, seen) in &mut world.seen.hosts {
        // Who is silent altogether is dealt with for that. A moment's silence is no report either.
        let (may, stays) = (world.hosts.get(name).is_some_and(|record| reports(&record.roles)), seen.life == Life::Suspect);
        if seen.life != Life::Alive || !may {
            (seen.quiet_from, seen.out_of_reach) = (None, seen.out_of_reach && may && stays);
            continue;
        }
        let from = *seen.quiet_from.get_or_insert(now.boot);
        if !seen.out_of_reach && now.boot.since(from) >= LATE {
            seen.out_of_reach = true;
            late.push((name.clone(), seen.agent_silent));
        }
    }
    for (host, silent) in late {
        world.seen.replan = true;
        let why = if silent {
            "its agent is silent too: see the log of its role there"
        } else {
            "its agent lives: see whether it reaches the controllers' port 7443 over either fabric, and its log"
        };
        let text = format!(
            "host {host} is heard, and has not reported for {} s; {why}. It is given no servers, and nothing is ended there, meanwhile",
            LATE.as_secs()
        );
        world.host_event(now, &host, Severity::Warning, "HostOutOfReach", text);
    }
    for (host, waiting) in keeping_waiting(world, now) {
        let text = format!(
            "node {host} is heard, and has not reported for {} s, while {waiting} of its servers are to start there: all of its servers \
             are started elsewhere",
            PATIENCE.as_secs()
        );
        world.host_event(now, &host, Severity::Alarm, "NodeLost", text);
        world.seen.hosts.entry(host.clone()).or_default().mute = true;
        to_be_fenced(world, now, &host, i64::try_from(PATIENCE.as_micros()).unwrap_or(0));
    }
}

/// Nodes out of reach for too long, and how many servers have waited for each for as long: bound by this controller, and never heard of
/// since. What runs there is no reason, nor what an operator asks of it. None of them while as many are out of reach as report: then it
/// is the controller.
fn keeping_waiting(world: &World, now: Now) -> Vec<(HostName, usize)> {
    let nodes = || world.seen.hosts.iter().filter(|(name, seen)| is_node(world, name) && seen.life == Life::Alive);
    let away = nodes().filter(|(_, seen)| seen.out_of_reach).count();
    if away == 0 || nodes().count() - away <= away {
        return Vec::new();
    }
    let late = |seen: &HostSeen| seen.out_of_reach && seen.quiet_from.is_some_and(|from| now.boot.since(from) >= PATIENCE);
    let late = nodes().filter(|(_, seen)| late(seen) && seen.lost.is_none());
    let all = late.map(|(name, _)| (name.clone(), bound_to(world, name).iter().filter(|key| waits(world, now, key)).count()));
    all.filter(|(_, waiting)| *waiting > 0).collect()
}

fn waits(world: &World, now: Now, key: &ServerKey) -> bool {
    let server = &world.servers[key];
    let awaited = world.seen.awaited.get(key).filter(|(epoch, _)| *epoch == server.epoch);
    server.intent == Intent::Run && server.ending.is_none() && awaited.is_some_and(|(_, since)| now.boot.since(*since) >= PATIENCE)
}

/// Roles that have something to do for servers. Controllers report to whoever leads, and are no worse for not doing so.
fn reports(roles: &[Role]) -> bool {
    [Role::Node, Role::Storage, Role::Director].iter().any(|role| roles.contains(role))
}
