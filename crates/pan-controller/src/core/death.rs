//! Deaths: who is silent for too long, or heard and yet off the network, is fenced, and then dead.

use super::hosts::{LifeChange, alive, begin_timelines, bound_to, enter, life};
use super::quarantine;
use super::record::Duty;
use super::seen::{HostSeen, LeaseSeen, Life};
use super::world::{About, Dirty, Effect, Now, World};
use pan_member::{GateState, LeaseState, Tick};
use pan_model::event::Severity;
use pan_model::host::Role;
use pan_model::{Admission, HostName};
use std::time::Duration;

/// A node that is heard may be without a lease for so long: a change of its number, or a restart of lessors, takes a tenth of it.
const DARK_MAX: Duration = Duration::from_secs(10);
/// Deaths of so long ago, microseconds, the last leader has told.
const RECENT: i64 = 60_000_000;

/// A node's heartbeats say something new of its lease.
pub(super) fn lease_changed(world: &mut World, now: Now, host: &HostName, lease: LeaseSeen) {
    let seen = world.seen.hosts.entry(host.clone()).or_default();
    let before = seen.lease.replace(lease).and_then(|before| before.other_length());
    let shut = matches!(lease.gate, GateState::Present(_)) && lease.state != LeaseState::Held;
    seen.dark_from = shut.then(|| seen.dark_from.unwrap_or(now.boot));
    let over = !shut && std::mem::take(&mut seen.dark);
    world.seen.replan |= over;
    if lease.other_length() != before {
        tell_profile(world, now, host, &lease);
    }
    let seen = &world.seen.hosts[host];
    if !shut && seen.life == Life::Suspect && seen.lost.is_some() {
        return alive(world, now, host, Duration::ZERO);
    }
    // It was never silent, so nobody says that it is heard again under its new number.
    let current = world.hosts.get(host).is_some_and(|record| lease.admission > record.revoked);
    if current && world.seen.life(host) == Life::Dead {
        alive(world, now, host, Duration::ZERO);
    }
}

/// A node of another profile is as safe as the others, for its lessors go by what it says; but it is not what was meant.
fn tell_profile(world: &mut World, now: Now, host: &HostName, lease: &LeaseSeen) {
    let expected = lease.expected.as_millis();
    let Some(length) = lease.other_length() else {
        return world.host_event(
            now,
            host,
            Severity::Info,
            "ProfileRight",
            format!("host {host} holds its leases for {expected} ms again"),
        );
    };
    let text = format!(
        "host {host} holds its leases for {} ms, and the profile of this PAN is for {expected} ms: its servers start elsewhere by its own \
         time, and it may be called dead while it is well. Give it the `profile` that the controllers have, and start its heartbeat \
         process anew",
        length.as_millis()
    );
    world.host_event(now, host, Severity::Warning, "ProfileDiffers", text);
}

/// Nodes that are heard, have servers, and have been off the network for too long: lessors do not hear them, or take them for an earlier boot.
/// None of them while as many are without a lease as have one: then it is the lessors.
fn dark(world: &World, now: Now) -> Vec<HostName> {
    if !is_any_dark(world) {
        return Vec::new();
    }
    let (without, holding) = leases(world);
    if holding <= without {
        return Vec::new();
    }
    let late = |from: Option<Tick>| from.is_some_and(|from| now.boot.since(from) >= DARK_MAX);
    let all = living_nodes(world).filter(|(name, seen)| late(seen.dark_from) && seen.lost.is_none() && !bound_to(world, name).is_empty());
    all.map(|(name, _)| name.clone()).collect()
}

fn living_nodes(world: &World) -> impl Iterator<Item = (&HostName, &HostSeen)> {
    world.seen.hosts.iter().filter(|(name, seen)| is_node(world, name) && seen.life == Life::Alive)
}

/// Mostly there is none, and this is asked in every round of thousands of hosts.
fn is_any_dark(world: &World) -> bool {
    world.seen.hosts.values().any(|seen| seen.dark_from.is_some())
}

/// How many nodes that are heard are without a lease, and how many hold one.
fn leases(world: &World) -> (usize, usize) {
    let without = living_nodes(world).filter(|(_, seen)| seen.dark_from.is_some()).count();
    let holding = living_nodes(world).filter(|(_, seen)| seen.lease.is_some_and(|lease| lease.state == LeaseState::Held)).count();
    (without, holding)
}

/// As many nodes are without a lease as have one, and for so long: then it is the lessors, and nothing is moved. Said once, and when it is over.
fn tell_leaseless(world: &mut World, now: Now) {
    if !world.seen.leaseless && !is_any_dark(world) {
        return;
    }
    let (without, holding) = leases(world);
    let late = living_nodes(world).filter(|(_, seen)| seen.dark_from.is_some_and(|from| now.boot.since(from) >= DARK_MAX)).count();
    let (leaseless, over) = (late > 0 && holding <= late, holding > without);
    let lessors = || world.settings.lessors.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
    let text = match (world.seen.leaseless, leaseless, over) {
        (false, true, _) => format!(
            "{late} nodes have been without a lease for {} s, and {holding} have one: the servers of the former are off the network, and \
             nothing is moved. A majority of the lessors ({}) has to be heard by them",
            DARK_MAX.as_secs(),
            lessors()
        ),
        (true, _, true) => format!("{holding} nodes have leases again, and {without} have none"),
        _ => return,
    };
    world.seen.leaseless = leaseless;
    let about = About { partition: None, kind: "pan", object: "leases" };
    match leaseless {
        true => world.event(now, &about, Severity::Alarm, "LeasesLost", text),
        false => world.event(now, &about, Severity::Info, "LeasesBack", text),
    }
}

pub(super) fn is_node(world: &World, name: &HostName) -> bool {
    world.hosts.get(name).is_some_and(|record| record.roles.contains(&Role::Node))
}

/// Silent for too long: dead as soon as it is fenced.
pub(super) fn lost(world: &mut World, now: Now, host: &HostName, silent: i64) {
    if world.seen.life(host) == Life::Dead {
        return;
    }
    world.seen.hosts.entry(host.clone()).or_default().silent_from = Some(now.wall.saturating_sub(silent));
    if world.leading {
        return to_be_fenced(world, now, host, silent);
    }
    // Who follows decides nothing by it. It shows what it hears, and should it lead, has whom it takes for dead fenced ([`doubt_deaths`]).
    enter(world, now, host, Life::Dead);
    bury(world, host);
}

/// What a host that is dead said does not count any more.
fn bury(world: &mut World, host: &HostName) {
    world.seen.servers.retain(|_, seen| seen.node != *host);
    let seen: &mut HostSeen = world.seen.hosts.entry(host.clone()).or_default();
    (seen.lost, seen.rebooted, seen.dark_from, seen.mute) = (None, false, None, false);
    (seen.told_at, seen.out_of_reach) = (None, false);
    seen.applied.clear();
    seen.connections.clear();
    seen.ways.clear();
    seen.replicas = None;
}

/// A new term: the nodes that are dead in the eyes of this controller are to be fenced once more. They were fenced
/// when it, or another, saw them die; a leader that hears what this one does not may have let them take part again
/// since, and have given them servers. Of other hosts the last leader may have died before it said so.
pub(super) fn doubt_deaths(world: &mut World, now: Now) {
    let recent = |since: i64| now.wall - since < RECENT;
    let doubted = |name: &HostName, seen: &HostSeen| seen.life == Life::Dead && (is_node(world, name) || recent(seen.since));
    let dead: Vec<HostName> = world.seen.hosts.iter().filter(|(name, seen)| doubted(name, seen)).map(|(name, _)| name.clone()).collect();
    for host in dead {
        let seen = &world.seen.hosts[&host];
        let silent = now.wall - seen.silent_from.unwrap_or(seen.since);
        to_be_fenced(world, now, &host, silent);
    }
}

pub(super) fn to_be_fenced(world: &mut World, now: Now, host: &HostName, silent: i64) {
    enter(world, now, host, Life::Suspect);
    begin_timelines(world, now, host, silent);
    world.seen.hosts.entry(host.clone()).or_default().lost = Some(silent);
}

/// Begins to fence what was silent for too long, and gives a new number to a node that lessors acknowledge no more
/// although it lives: an earlier attempt to fence it ended half-way.
pub fn advance(world: &mut World, now: Now) {
    for host in dark(world, now) {
        let text = format!(
            "node {host} is heard, but no majority of lessors has acknowledged it for {} s: its servers are off the network, and are moved",
            DARK_MAX.as_secs()
        );
        world.host_event(now, &host, Severity::Alarm, "NodeDark", text);
        world.seen.hosts.entry(host.clone()).or_default().dark = true;
        to_be_fenced(world, now, &host, i64::try_from(DARK_MAX.as_micros()).unwrap_or(0));
    }
    tell_leaseless(world, now);
    // Of thousands of hosts hardly any.
    let due = |seen: &HostSeen| seen.lost.is_some() || seen.worn.is_some() || seen.rebooted;
    let all = world.seen.hosts.iter().filter(|(_, seen)| due(seen));
    let all: Vec<_> = all.map(|(name, seen)| (name.clone(), seen.life, seen.lost, seen.revoking, seen.worn)).collect();
    for (host, life, lost, revoking, worn) in all {
        let Some(record) = world.hosts.get(&host) else { continue };
        let admission = record.admission;
        let node = is_node(world, &host);
        let rebooted = node && world.seen.hosts.get(&host).is_some_and(|seen| seen.rebooted);
        match lost {
            // Only a node has servers that could go on; whatever else is silent is believed at once.
            Some(silent) if !node => dead(world, now, &host, silent),
            Some(_) if revoking != Some(admission) => {
                world.seen.hosts.entry(host.clone()).or_default().revoking = Some(admission);
                world.effects.push(Effect::Fence(host, admission));
            }
            Some(_) => {}
            // What was recorded of its former boot must not pass for the present one.
            None if (worn == Some(admission) || rebooted) && matches!(life, Life::Alive | Life::Joining) => {
                if let Some(record) = world.host_mut(&host) {
                    record.admission = admission.next();
                }
                world.seen.hosts.entry(host.clone()).or_default().rebooted = false;
                world.host_event(
                    now,
                    &host,
                    Severity::Info,
                    "Readmitted",
                    format!("host {host} takes part as number {}", admission.next()),
                );
            }
            None => {}
        }
    }
}

pub(super) fn fenced(world: &mut World, now: Now, host: &HostName, through: Admission) {
    let Some(seen) = world.seen.hosts.get_mut(host).filter(|seen| seen.revoking == Some(through)) else { return };
    seen.revoking = None;
    let Some(silent) = seen.lost else { return };
    world.timelines.mark(&host.to_string(), now.wall, "fenced", "a majority of lessors lets it send no more");
    for key in bound_to(world, host) {
        world.timelines.mark(&key.to_string(), now.wall, "fenced", format!("a majority of lessors lets node {host} send no more"));
    }
    if let Some(record) = world.host_mut(host) {
        record.revoked = through;
        record.admission = through.next();
    }
    dead(world, now, host, silent);
}

/// What a host that is lost has been.
pub(super) fn absence(world: &World, host: &HostName) -> &'static str {
    match world.seen.hosts.get(host) {
        Some(seen) if seen.dark => "has been without a lease, though heard,",
        Some(seen) if seen.mute => "has not reported, though heard,",
        Some(_) | None => "has been silent on both fabrics",
    }
}

fn dead(world: &mut World, now: Now, host: &HostName, silent: i64) {
    let former = enter(world, now, host, Life::Dead);
    if former == Life::Dead {
        return;
    }
    let keys = bound_to(world, host);
    let what = absence(world, host);
    // Of one that this controller never heard nobody knows.
    let long = if silent < 1000 { "since this controller began".to_owned() } else { format!("for {} ms", silent / 1000) };
    let on_it = if keys.len() == 1 { "1 server was on it".to_owned() } else { format!("{} servers were on it", keys.len()) };
    let text = format!("host {host} {what} {long}; {on_it}");
    world.host_event(now, host, Severity::Alarm, "HostDead", text.clone());
    let object = host.to_string();
    begin_timelines(world, now, host, silent);
    if world.timelines.finish(&object, now.wall, "dead", text) {
        world.dirty.insert(Dirty::Timeline(object));
    }
    for key in keys {
        world.timelines.mark(&key.to_string(), now.wall, "dead", format!("node {host} {what} {long}"));
    }
    if !is_node(world, host) {
        return bury(world, host);
    }
    let planned = world.hosts.get(host).is_some_and(|record| record.duty == Duty::Draining);
    let death = if planned { pan_member::quarantine::Death::Planned } else { pan_member::quarantine::Death::Unplanned };
    if world.seen.quarantine.entry(host.clone()).or_default().on_death(death, now.boot).is_some() {
        life(world, now, LifeChange::Quarantined(host.clone(), true));
    }
    quarantine::keep(world, now, host);
    bury(world, host);
}
