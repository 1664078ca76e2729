//! What partitions, and the PAN, are told of policies.

use super::Held;
use super::adapt::Short;
use crate::core::world::{About, ClusterKey, Now, PolicyKey, World};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pan_model::event::Severity;
use pan_model::policy::{Effect, ScheduleSpec};
use pan_model::{Name, PartitionName, PolicySpec};
use pan_policy::{Active, Resolved};

/// An instant as the clocks of a zone show it, with the zone.
pub(super) fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).to_string()
}

/// `schedules[0] (0 8 * * MON-FRI)`.
pub(super) fn named(number: usize, spec: Option<&ScheduleSpec>) -> String {
    let cron = spec.and_then(|spec| spec.cron.as_ref()).map(|cron| format!(" ({cron})")).unwrap_or_default();
    format!("schedules[{number}]{cron}")
}

fn schedule<'a>(world: &'a World, partition: &PartitionName, policy: &Name, number: usize) -> Option<&'a ScheduleSpec> {
    world.policies.get(&(partition.clone(), policy.clone()))?.spec.schedules.get(number)
}

/// An instant as a policy's clocks show it.
pub(super) fn moment(world: &World, partition: &PartitionName, active: &Active, at: Timestamp) -> String {
    let zone = schedule(world, partition, &active.policy, active.schedule).map_or(TimeZone::UTC, |spec| spec.zone.rules().clone());
    local(at, &zone)
}

/// `floor 8 of policy day, schedules[0] (0 8 * * MON-FRI), until …`.
pub(super) fn reason(world: &World, partition: &PartitionName, active: &Active) -> String {
    let spec = schedule(world, partition, &active.policy, active.schedule);
    let until = moment(world, partition, active, active.window.until);
    format!("{} of policy {}, {}, until {until}", active.effect, active.policy, named(active.schedule, spec))
}

fn effect(spec: &PolicySpec, number: usize) -> Option<Effect> {
    spec.schedules.get(number)?.effect().ok()
}

/// Tells which windows of a policy have begun since it was looked at last, and which are over.
pub(super) fn windows(world: &mut World, now: Now, key: &PolicyKey, active: &[Active]) {
    let Some(record) = world.policies.get(key) else { return };
    let cluster = &record.spec.target.cluster;
    let mut told = Vec::new();
    for one in active.iter().filter(|one| record.open.iter().all(|open| open.schedule != one.schedule)) {
        told.push(("WindowOpened", format!("{} for cluster {cluster}: {}", one.effect, reason(world, &key.0, one))));
    }
    for gone in record.open.iter().filter(|open| active.iter().all(|one| one.schedule != open.schedule)) {
        let what = effect(&record.spec, gone.schedule).map(|effect| effect.to_string()).unwrap_or_default();
        let name = named(gone.schedule, record.spec.schedules.get(gone.schedule));
        told.push(("WindowClosed", format!("{what} for cluster {cluster} is over: {name}")));
    }
    for (reason, text) in told {
        world.event(now, &About { partition: Some(&key.0), kind: "policy", object: key.1.as_str() }, Severity::Info, reason, text);
    }
}

fn of_cluster(world: &mut World, now: Now, key: &ClusterKey, severity: Severity, (reason, text): (&str, String)) {
    world.event(now, &About { partition: Some(&key.0), kind: "cluster", object: key.1.as_str() }, severity, reason, text);
}

/// Tells that a cluster has another number of servers.
pub(super) fn scheduled(world: &mut World, now: Now, key: &ClusterKey, resolved: &Resolved, had: u32) {
    let Some(record) = world.clusters.get(key) else { return };
    let (servers, own) = (record.wanted(), record.spec.servers);
    let because: Vec<String> = resolved.because.iter().map(|one| reason(world, &key.0, one)).collect();
    let text = match because.is_empty() {
        true => format!("{servers} servers instead of {had}: as its manifest says"),
        false => format!("{servers} servers instead of {had} (its manifest: {own}): {}", because.join("; ")),
    };
    of_cluster(world, now, key, Severity::Info, ("Scheduled", text));
}

/// Tells that a cluster cannot have what policies want.
pub(super) fn held(world: &mut World, now: Now, key: &ClusterKey, held: &Held, short: &Short) {
    let text = |why: &str| format!("policies want {} servers and {} can be had at present: {why}", held.wanted, held.had);
    of_cluster(world, now, key, Severity::Warning, ("PolicyHeld", text(&short.own)));
    let object = format!("{}/{}", key.0, key.1);
    let about = About { partition: None, kind: "cluster", object: &object };
    world.event(now, &about, Severity::Warning, "PolicyHeld", format!("cluster {object}: {}", text(&short.whole)));
}

/// Tells that policies contradict each other, which came about beyond the week that was looked at.
pub(super) fn clash(world: &mut World, now: Now, key: &ClusterKey, (one, other): &(Active, Active)) {
    let text = format!("{} contradicts {}: the larger number counts", reason(world, &key.0, one), reason(world, &key.0, other));
    of_cluster(world, now, key, Severity::Warning, ("PolicyClash", text));
}
