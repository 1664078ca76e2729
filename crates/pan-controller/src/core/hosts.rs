//! What hosts say and what their heartbeats show: hello, reports, silence, death.

use super::quarantine;
use super::record::HostRecord;
use super::seen::{HostSeen, LeaseSeen, Life, ServerSeen};
use super::world::{Dirty, Effect, Now, World};
use super::{death, frames, fullness, reach, restarts, strangers, usage, volumes};
use pan_api::ApiError;
use pan_api::report::{Blank, Hello, Phase, Report, ServerReport};
use pan_model::event::Severity;
use pan_model::host::{Fabric, Link, Role};
use pan_model::{Admission, Code, HostName, ServerKey};
use std::time::Duration;

/// Problems of one role that are looked at, and characters of each: a host in trouble must not push everything else out
/// of the PAN's events.
const PROBLEMS_MAX: usize = 16;
const PROBLEM_CHARS_MAX: usize = 400;

/// A report takes a second at most, or as long as a controller stands still, and then those of both boots are there.
const FORMER_BOOT: Duration = Duration::from_secs(10);

/// What the heartbeat receiver noticed about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifeChange {
    /// Heard (again); how late it was with its own heartbeats, by its own word.
    Alive(HostName, Duration),
    /// Silent on one fabric only, or heard again there.
    Fabric(HostName, Fabric, Link),
    /// Silent for some periods; since how long, in microseconds.
    Suspect(HostName, i64),
    /// Silent for too long; since how long, in microseconds.
    Dead(HostName, i64),
    /// A majority of lessors acknowledges it no more up to this number, and its lease has ended.
    Fenced(HostName, Admission),
    /// Heard with another boot identifier.
    Rebooted(HostName),
    /// Its agent runs or not.
    Agent(HostName, bool),
    /// Dies too often, or no longer.
    Quarantined(HostName, bool),
    /// A node's heartbeats say something new of its lease or gate.
    Lease(HostName, LeaseSeen),
    /// So many hosts fell silent at once that nothing is moved yet.
    Brake(Vec<HostName>),
}

impl LifeChange {
    /// The same when it is heard of `later` than it was noticed: who is silent has been silent for that much longer.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        let later = i64::try_from(later.as_micros()).unwrap_or(i64::MAX);
        match self {
            Self::Suspect(host, silent) => Self::Suspect(host, silent.saturating_add(later)),
            Self::Dead(host, silent) => Self::Dead(host, silent.saturating_add(later)),
            Self::Alive(..)
            | Self::Fabric(..)
            | Self::Fenced(..)
            | Self::Rebooted(_)
            | Self::Agent(..)
            | Self::Quarantined(..)
            | Self::Lease(..)
            | Self::Brake(_) => self,
        }
    }
}

fn wire(version: u16) -> Result<(), ApiError> {
    let known = pan_api::WIRE_VERSION;
    if version == known {
        Ok(())
    } else {
        Err(ApiError::new(Code::Invalid, format!("wire version {version} is not known here; this controller speaks {known}")))
    }
}

/// Whether the records say of a host what it says of itself.
#[must_use]
pub fn is_known(world: &World, hello: &Hello) -> bool {
    let former = world.hosts.get(&hello.host);
    former.is_some_and(|former| *former == record_of(world, hello))
}

/// The record of a host as it presents itself. One that is no node any more stays one while servers belong to it: else it would be believed
/// dead at its first silence without being fenced, and what runs there started elsewhere.
fn record_of(world: &World, hello: &Hello) -> HostRecord {
    let former = world.hosts.get(&hello.host);
    let mut record = HostRecord::of(hello, former);
    let was_node = former.is_some_and(|former| former.roles.contains(&Role::Node));
    if was_node && !record.roles.contains(&Role::Node) && is_used(world, &hello.host) {
        record.roles.push(Role::Node);
    }
    record
}

/// Whoever was kept a node for its servers is none any more once they are elsewhere.
pub fn advance(world: &mut World) {
    let kept = world.hosts.iter().filter(|(_, host)| host.offer.is_none() && host.roles.contains(&Role::Node));
    let unused: Vec<HostName> = kept.map(|(name, _)| name.clone()).filter(|name| !is_used(world, name)).collect();
    for name in unused {
        if let Some(host) = world.host_mut(&name) {
            host.roles.retain(|role| *role != Role::Node);
        }
        world.seen.replan = true;
    }
}

/// A host presents itself.
///
/// # Errors
/// `Conflict` when its address belongs to another host, `Denied` when it was removed, `Invalid` for an unknown wire version.
pub fn hello(world: &mut World, now: Now, hello: &Hello) -> Result<(), ApiError> {
    wire(hello.version)?;
    if was_removed(world, &hello.host) {
        return Err(ApiError::new(Code::Denied, format!("host {} was removed: it can join anew with a token", hello.host)));
    }
    if let Some((other, _)) = world.hosts.iter().find(|(name, host)| **name != hello.host && host.address == hello.address) {
        return Err(ApiError::new(Code::Conflict, format!("address {} of host {} belongs to host {other}", hello.address, hello.host)));
    }
    let former = world.hosts.get(&hello.host);
    let new = former.is_none();
    let mut record = record_of(world, hello);
    // A name that comes back goes on counting: old heartbeats of it must not open anything.
    let counted = world.credentials.get(&hello.host).map_or(Admission::NONE, |credential| credential.admission);
    if new && counted != Admission::NONE {
        (record.admission, record.revoked) = (counted.next(), counted);
    }
    if former != Some(&record) {
        world.hosts.insert(hello.host.clone(), record);
        world.dirty.insert(Dirty::Host(hello.host.clone()));
        world.seen.replan = true;
        if new {
            let roles: Vec<_> = hello.roles.iter().map(|role| role.as_str()).collect();
            world.host_event(now, &hello.host, Severity::Info, "HostJoined", format!("host {} joined as {}", hello.host, roles.join(", ")));
        }
    }
    let seen = world.seen.hosts.entry(hello.host.clone()).or_default();
    seen.introduced |= new;
    Ok(())
}

/// Whether every certificate of a host that was removed is from before. Connections are looked at before they get here, by what was
/// published last; one that waited while the removal was committed is not.
fn was_removed(world: &World, host: &HostName) -> bool {
    world.credentials.get(host).is_some_and(|credential| credential.refused.is_some_and(|through| credential.issued <= through))
}

fn is_used(world: &World, host: &HostName) -> bool {
    world.servers.values().any(|server| server.node.as_ref() == Some(host))
}

/// Whether a controller that has just begun knows what a host runs, or need not wait for it. While one has not spoken, nothing is
/// placed or published.
#[must_use]
pub fn has_spoken(world: &World, name: &HostName) -> bool {
    let (Some(seen), Some(record)) = (world.seen.hosts.get(name), world.hosts.get(name)) else { return false };
    // It joined here, so it runs nothing yet; and a node is not heard before it is told the number under which it takes part. To
    // wait for it would be to wait for what it waits for.
    if seen.introduced {
        return true;
    }
    // One that is kept a node for its servers alone has nobody who would say so.
    let speaks = |role: &&Role| **role == Role::Director || (**role == Role::Node && record.offer.is_some());
    let mut roles = record.roles.iter().filter(speaks);
    match seen.life {
        Life::Joining => false,
        Life::Alive => roles.all(|role| seen.applied.contains_key(role)),
        Life::Suspect | Life::Dead => true,
    }
}

/// A role of a host reports. A report that was overtaken by a newer one, on another way, changes nothing.
///
/// # Errors
/// `NotFound` for a host that never said hello (it should), `Invalid` for an unknown wire version.
pub fn report(world: &mut World, now: Now, report: Report) -> Result<(), ApiError> {
    wire(report.version)?;
    if !world.hosts.contains_key(&report.host) {
        return Err(ApiError::new(Code::NotFound, format!("host {} is not known: it should say hello first", report.host)));
    }
    let seen = world.seen.hosts.entry(report.host.clone()).or_default();
    if is_late(seen, now, &report) {
        return Ok(());
    }
    if let Some((known, _)) = seen.reported.get(&report.role).filter(|(known, _)| *known != report.boot) {
        seen.former.insert(report.role, (*known, now.boot.plus(FORMER_BOOT)));
    }
    seen.reported.insert(report.role, (report.boot, report.sequence));
    let first = seen.applied.insert(report.role, report.applied).is_none();
    if first && report.role == Role::Node {
        world.seen.replan = true;
    }
    let told = seen.problems.entry(report.role).or_default();
    let problems: Vec<String> =
        report.problems.iter().take(PROBLEMS_MAX).map(|text| text.chars().take(PROBLEM_CHARS_MAX).collect()).collect();
    let news: Vec<String> = problems.iter().filter(|problem| !told.contains(problem)).cloned().collect();
    *told = problems;
    seen.boot = Some(report.boot);
    if let Some(blank) = report.blank {
        knows_nothing(world, &report.host, report.role, blank);
    }
    let seen = world.seen.hosts.entry(report.host.clone()).or_default();
    seen.worn = report.wants_admission.then_some(report.admission);
    match report.role {
        Role::Director => {
            seen.connections = report.connections;
            seen.ways = report.ways.into_iter().collect();
        }
        Role::Node => {
            seen.gate = report.gate;
            usage::heard(world, now, &report.host, report.boot, report.usage);
            servers(world, now, &report.host, report.servers);
        }
        Role::Storage => {
            seen.replicas = Some(report.replicas.into_iter().map(|replica| (replica.volume, replica)).collect());
            seen.pool = report.pool;
            volumes::tell_damaged(world, now, &report.host);
            strangers::told(world, now, &report.host);
            fullness::told(world, now, &report.host);
        }
        Role::Controller => {}
    }
    reach::reported(world, now, &report.host, report.role);
    if let Some(restarted) = report.restarted {
        restarts::told(world, now, (&report.host, report.role), restarted);
    }
    frames::told(world, now, (&report.host, report.role), report.refused, report.beyond);
    for problem in news {
        world.host_event(now, &report.host, Severity::Warning, "HostProblem", problem);
    }
    Ok(())
}

fn is_late(seen: &HostSeen, now: Now, report: &Report) -> bool {
    match seen.reported.get(&report.role) {
        Some((boot, last)) if *boot == report.boot => report.sequence <= *last,
        Some(_) => seen.former.get(&report.role).is_some_and(|(boot, until)| *boot == report.boot && now.boot < *until),
        None => false,
    }
}

/// A role that knows no desired state takes only one that names what it calls itself, and that is named only once it is in the store. So
/// whoever leads no more, and does not know it yet, cannot have it take up what others have ended since.
fn knows_nothing(world: &mut World, host: &HostName, role: Role, blank: Blank) {
    if !world.leading {
        return;
    }
    let Some(record) = world.hosts.get_mut(host) else { return };
    if record.blanks.insert(role, blank) != Some(blank) {
        world.dirty.insert(Dirty::Host(host.clone()));
    }
}

fn servers(world: &mut World, now: Now, host: &HostName, reports: Vec<ServerReport>) {
    let named: std::collections::BTreeSet<ServerKey> = reports.iter().map(|report| report.key.clone()).collect();
    world.seen.servers.retain(|key, seen| seen.node != *host || named.contains(key));
    for report in reports {
        server(world, now, host, report);
    }
}

fn server(world: &mut World, now: Now, host: &HostName, mut report: ServerReport) {
    let Some(record) = world.servers.get(&report.key) else { return };
    if record.node.as_ref() != Some(host) || record.epoch != report.epoch {
        return;
    }
    let (key, incarnation) = (report.key.clone(), record.incarnation);
    world.seen.awaited.remove(&key);
    let former = world.seen.servers.get(&key).filter(|seen| seen.report.epoch == report.epoch && seen.node == *host).cloned();
    // What is being removed has forgotten how often it was started anew.
    if let (Phase::Stopping | Phase::Absent, Some(seen)) = (report.phase, &former) {
        report.restarts = report.restarts.max(seen.report.restarts);
    }
    let changed = former.as_ref().is_none_or(|seen| seen.report.phase != report.phase || seen.report.instance != report.instance);
    let since = match &former {
        Some(seen) if !changed => seen.since,
        // Heard of for the first time: the node knows better than we since when it is healthy.
        None if report.phase == Phase::Healthy => report.steps.last().map_or(now.wall, |(_, wall)| *wall),
        _ => now.wall,
    };
    let phase_from = former.as_ref().filter(|_| !changed).map_or(now.boot, |seen| seen.phase_from);
    let was_healthy = former.as_ref().is_some_and(|seen| seen.was_healthy) || report.phase == Phase::Healthy;
    let restarted = report.restarts > former.as_ref().map_or(report.restarts, |seen| seen.report.restarts);
    let current = report.incarnation == incarnation;
    if restarted {
        let why = report.message.clone().unwrap_or_else(|| "it ended".into());
        world.server_event(now, &key, Severity::Warning, "Restarted", format!("started again on its node: {why}"));
    }
    volumes::news::tell(world, now, &former, &report);
    if changed {
        phase_event(world, now, &key, &report, former.is_none());
        if current && report.phase == Phase::Healthy {
            finish_timeline(world, now, host, &report);
        }
    }
    world.seen.servers.insert(key, ServerSeen { report, node: host.clone(), since, phase_from, was_healthy });
}

fn phase_event(world: &mut World, now: Now, key: &ServerKey, report: &ServerReport, first: bool) {
    let detail = report.message.clone().map(|text| format!(": {text}")).unwrap_or_default();
    match report.phase {
        // A controller that was restarted hears of every healthy server; that is no news.
        Phase::Healthy if first && !world.timelines.is_open(&key.to_string()) => {}
        Phase::Healthy => world.server_event(now, key, Severity::Info, "Running", format!("runs and is healthy (epoch {})", report.epoch)),
        Phase::Unhealthy => world.server_event(now, key, Severity::Warning, "Unhealthy", format!("fails its health check{detail}")),
        Phase::Failed => world.server_event(now, key, Severity::Alarm, "Failed", format!("does not stay up on its node{detail}")),
        // An end that was as it should be has nothing to say.
        Phase::Absent if report.message.is_some() => {
            world.server_event(now, key, Severity::Warning, "StopForced", format!("was stopped by force{detail}"));
        }
        Phase::Starting | Phase::Stopping | Phase::Restarting | Phase::Absent => {}
    }
}

fn finish_timeline(world: &mut World, now: Now, host: &HostName, report: &ServerReport) {
    let object = report.key.to_string();
    if !world.timelines.is_open(&object) {
        return;
    }
    for (step, wall) in &report.steps {
        world.timelines.mark(&object, *wall, step, format!("on {host}"));
    }
    if world.services_of(&report.key.partition, &world.servers[&report.key].cluster).next().is_none()
        && world.timelines.finish(&object, now.wall, "running", "healthy, as its node reported")
    {
        world.dirty.insert(Dirty::Timeline(object));
    } else {
        world.timelines.mark(&object, now.wall, "running", "healthy, as its node reported");
    }
}

/// The heartbeat receiver noticed something.
pub fn life(world: &mut World, now: Now, change: LifeChange) {
    match change {
        LifeChange::Alive(host, lag) => alive(world, now, &host, lag),
        LifeChange::Fabric(host, fabric, link) => fabric_changed(world, now, &host, fabric, link),
        LifeChange::Suspect(host, silent) => suspected(world, now, &host, silent),
        LifeChange::Dead(host, silent) => death::lost(world, now, &host, silent),
        LifeChange::Fenced(host, through) => death::fenced(world, now, &host, through),
        LifeChange::Rebooted(host) => {
            world.seen.servers.retain(|_, seen| seen.node != host);
            world.seen.hosts.entry(host.clone()).or_default().rebooted = world.leading;
            world.host_event(now, &host, Severity::Warning, "Rebooted", format!("host {host} was booted again"));
        }
        LifeChange::Agent(host, up) => {
            let seen = world.seen.hosts.entry(host.clone()).or_default();
            let changed = std::mem::replace(&mut seen.agent_silent, !up) == up;
            if changed && !up {
                world.host_event(
                    now,
                    &host,
                    Severity::Warning,
                    "AgentDown",
                    format!("the agent of host {host} is silent; its heartbeats go on"),
                );
            }
        }
        LifeChange::Quarantined(host, on) => {
            if !on {
                world.seen.quarantine.entry(host.clone()).or_default().clear();
                quarantine::keep(world, now, &host);
            }
            world.seen.hosts.entry(host.clone()).or_default().quarantined = on;
            world.seen.replan = true;
            if on {
                let text = format!("node {host} died too often and is only a spare now; `pan node clear {host}` ends it");
                world.host_event(now, &host, Severity::Alarm, "Quarantined", text);
            }
        }
        LifeChange::Lease(host, lease) => death::lease_changed(world, now, &host, lease),
        LifeChange::Brake(hosts) => {
            let names: Vec<_> = hosts.iter().map(HostName::as_str).collect();
            let text =
                format!("{} hosts fell silent at once ({}): nothing is moved until this is confirmed", hosts.len(), names.join(", "));
            for host in &hosts {
                world.host_event(now, host, Severity::Alarm, "MassBrake", text.clone());
            }
        }
    }
}

fn suspected(world: &mut World, now: Now, host: &HostName, silent: i64) {
    // One that is dead although it was heard is silent from then on: nobody listens to the number that it had.
    if world.seen.life(host) == Life::Dead {
        return;
    }
    if enter(world, now, host, Life::Suspect) == Life::Alive {
        reach::faltered(world, now, host);
    }
    begin_timelines(world, now, host, silent);
    world.timelines.mark(&host.to_string(), now.wall, "suspect", format!("silent for {} ms", silent / 1000));
    for key in bound_to(world, host) {
        let text = format!("its node {host} has been silent for {} ms", silent / 1000);
        world.timelines.mark(&key.to_string(), now.wall, "suspect", text);
    }
}

/// What becomes of a silent host and its servers is told from its last heartbeat on.
pub(super) fn begin_timelines(world: &mut World, now: Now, host: &HostName, silent: i64) {
    let heard = world.seen.hosts.get(host).is_some_and(|seen| seen.dark || seen.mute);
    let (whole, of_node) = if heard {
        ("though it is heard: when it was last as it should be", format!("node {host} is heard: when it was last as it should be"))
    } else {
        ("on either fabric", format!("of node {host}"))
    };
    world.timelines.begin(&host.to_string(), now.wall - silent, "last-heartbeat", whole);
    for key in bound_to(world, host) {
        world.timelines.begin(&key.to_string(), now.wall - silent, "last-heartbeat", of_node.clone());
    }
}

pub(super) fn bound_to(world: &World, host: &HostName) -> Vec<ServerKey> {
    world.servers.iter().filter(|(_, server)| server.node.as_ref() == Some(host)).map(|(key, _)| key.clone()).collect()
}

pub(super) fn enter(world: &mut World, now: Now, host: &HostName, life: Life) -> Life {
    let seen = world.seen.hosts.entry(host.clone()).or_default();
    let former = std::mem::replace(&mut seen.life, life);
    if former != life {
        seen.since = now.wall;
        world.seen.replan = true;
    }
    former
}

pub(super) fn alive(world: &mut World, now: Now, host: &HostName, lag: Duration) {
    // Who was late itself was starved of its processor; who was not was not reached.
    let late = if lag.as_millis() > 0 { format!("; it was {} ms late itself", lag.as_millis()) } else { String::new() };
    let seen = world.seen.hosts.entry(host.clone()).or_default();
    (seen.lost, seen.mute) = (None, false);
    if seen.revoking.take().is_some() {
        world.effects.push(Effect::Unfence(host.clone()));
    }
    world.seen.quarantine.entry(host.clone()).or_default().on_alive(now.boot);
    match enter(world, now, host, Life::Alive) {
        Life::Alive => {}
        // A restarted controller hears all its hosts for the first time; only new ones are news.
        Life::Joining if !world.seen.hosts.get(host).is_some_and(|seen| seen.introduced) => {}
        Life::Joining => world.host_event(now, host, Severity::Info, "HostAlive", format!("host {host} is heard")),
        Life::Suspect => {
            let object = host.to_string();
            if world.timelines.finish(&object, now.wall, "alive-again", format!("it is heard again{late}")) {
                world.dirty.insert(Dirty::Timeline(object));
            }
            for key in bound_to(world, host) {
                let object = key.to_string();
                let moving = world.timelines.has(&object, "bound") || world.timelines.has(&object, "move-begins");
                if moving {
                    world.timelines.mark(&object, now.wall, "alive-again", format!("node {host} is heard again{late}"));
                } else if world.timelines.finish(
                    &object,
                    now.wall,
                    "alive-again",
                    format!("node {host} is heard again{late}; nothing was moved"),
                ) {
                    world.dirty.insert(Dirty::Timeline(object));
                }
            }
        }
        Life::Dead => world.host_event(now, host, Severity::Info, "HostReturned", format!("host {host} is heard again{late}")),
    }
}

fn fabric_changed(world: &mut World, now: Now, host: &HostName, fabric: Fabric, link: Link) {
    let seen = world.seen.hosts.entry(host.clone()).or_default();
    let place = match fabric {
        Fabric::A => &mut seen.fabrics.a,
        Fabric::B => &mut seen.fabrics.b,
    };
    if std::mem::replace(place, link) == link || matches!(seen.life, Life::Joining) {
        return;
    }
    let told = match link {
        Link::Down => seen.links_lost.insert(fabric),
        Link::Up => seen.links_lost.remove(&fabric),
    };
    match link {
        _ if !told => {}
        Link::Down => {
            let text = format!("host {host} is silent on fabric {fabric}; its traffic uses the other one");
            world.host_event(now, host, Severity::Warning, "LinkDown", text);
        }
        Link::Up => world.host_event(now, host, Severity::Info, "LinkUp", format!("host {host} is heard on fabric {fabric}")),
    }
}
