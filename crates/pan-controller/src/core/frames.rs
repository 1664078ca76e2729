//! What servers sent and may not send, as their nodes and their gateways count it: told to the partition that has the server, and
//! to the PAN with the host that refused it. A server sends as much as it likes, so what comes soon after is counted, and told later.

use super::world::{Now, World};
use pan_api::report::{RefusedFrames, RefusedPackets, RefusedWhy, counted_since};
use pan_member::Tick;
use pan_model::event::Severity;
use pan_model::host::Role;
use pan_model::{HostName, ServerKey};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often there may be an event of one server, and one of a host in one role: no storm of frames pushes out what else happened.
const EVERY: Duration = Duration::from_secs(300);
/// Servers that an event of a host names.
const NAMED_MAX: usize = 5;

/// What a host in one role said last, and what of it the PAN was not told.
#[derive(Debug, Clone, Default)]
pub struct OfHost {
    /// What it has counted; `None` before its first report to this controller, which tells what another one has told.
    counted: Option<BTreeMap<(ServerKey, RefusedWhy), u64>>,
    untold: BTreeMap<ServerKey, u64>,
    told: Option<Tick>,
}

/// What a server's partition was not told.
#[derive(Debug, Clone, Default)]
pub struct OfServer {
    untold: BTreeMap<RefusedWhy, u64>,
    told: Option<Tick>,
}

/// A role reports, as it does once a second.
pub(super) fn told(world: &mut World, now: Now, who: (&HostName, Role), refused: Vec<RefusedFrames>, beyond: Vec<RefusedPackets>) {
    match who.1 {
        Role::Node => at_ports(world, now, who.0, refused),
        Role::Director => at_gateways(world, now, who.0, beyond),
        Role::Storage | Role::Controller => {}
    }
}

/// A node speaks for the servers that are its own.
fn at_ports(world: &mut World, now: Now, host: &HostName, refused: Vec<RefusedFrames>) {
    let own = |frames: &RefusedFrames| world.servers.get(&frames.key).is_some_and(|record| record.node.as_ref() == Some(host));
    let counted = refused.into_iter().filter(own).map(|one| ((one.key, one.why), one.frames)).collect();
    heard(world, now, (host, Role::Node), counted);
}

/// A gateway knows servers by their addresses.
fn at_gateways(world: &mut World, now: Now, host: &HostName, refused: Vec<RefusedPackets>) {
    let mut counted = BTreeMap::new();
    for one in refused {
        let key = world.in_partition(&one.partition).find(|(_, record)| record.addresses.contains(&one.from)).map(|(key, _)| key.clone());
        if let Some(key) = key {
            // A server has an address of each family.
            *counted.entry((key, RefusedWhy::Beyond)).or_default() += one.packets;
        }
    }
    heard(world, now, (host, Role::Director), counted);
}

fn heard(world: &mut World, now: Now, (host, role): (&HostName, Role), counted: BTreeMap<(ServerKey, RefusedWhy), u64>) {
    let node = world.seen.hosts.entry(host.clone()).or_default().refused.entry(role).or_default();
    if let Some(former) = node.counted.replace(counted.clone()) {
        for ((key, why), frames) in counted {
            // A role that began anew counts from nothing.
            let more = counted_since(former.get(&(key.clone(), why)), frames);
            if more > 0 {
                // What a partition has its own servers keep from each other is no matter of the provider's.
                let everybodys = why != RefusedWhy::Uninvited;
                if everybodys {
                    *node.untold.entry(key.clone()).or_default() += more;
                }
                *world.seen.refused.entry(key).or_default().untold.entry(why).or_default() += more;
            }
        }
    }
    tell_partitions(world, now);
    tell_pan(world, now, host, role);
}

fn due(told: Option<Tick>, now: Now) -> bool {
    told.is_none_or(|told| now.boot.since(told) >= EVERY)
}

fn tell_partitions(world: &mut World, now: Now) {
    if world.seen.refused.is_empty() {
        return;
    }
    let servers = &world.servers;
    world.seen.refused.retain(|key, one| servers.contains_key(key) && !(one.untold.is_empty() && due(one.told, now)));
    let mut texts = Vec::new();
    for (key, one) in &mut world.seen.refused {
        if !one.untold.is_empty() && due(one.told, now) {
            one.told = Some(now.boot);
            texts.push((key.clone(), std::mem::take(&mut one.untold)));
        }
    }
    for (key, mut untold) in texts {
        if let Some(frames) = untold.remove(&RefusedWhy::Uninvited) {
            let text = format!("what was begun by others than `allow` of its cluster names was dropped, {}", frames_of(frames));
            world.server_event(now, &key, Severity::Warning, "CallersRefused", text);
        }
        if !untold.is_empty() {
            world.server_event(now, &key, Severity::Warning, "FramesRefused", said(&untold));
        }
    }
}

fn tell_pan(world: &mut World, now: Now, host: &HostName, role: Role) {
    let Some(node) = world.seen.hosts.get_mut(host).and_then(|seen| seen.refused.get_mut(&role)) else { return };
    if node.untold.is_empty() || !due(node.told, now) {
        return;
    }
    node.told = Some(now.boot);
    let mut servers: Vec<(ServerKey, u64)> = std::mem::take(&mut node.untold).into_iter().collect();
    servers.sort_by_key(|(_, frames)| std::cmp::Reverse(*frames));
    let all: u64 = servers.iter().map(|(_, frames)| frames).sum();
    let mut names: Vec<String> = servers.iter().take(NAMED_MAX).map(|(key, frames)| format!("{frames} of {key}")).collect();
    if servers.len() > NAMED_MAX {
        names.push(format!("the rest of {} more", servers.len() - NAMED_MAX));
    }
    let text = format!("host {host} dropped what servers may not send, {}: {}", frames_of(all), names.join(", "));
    world.host_event(now, host, Severity::Warning, "FramesRefused", text);
}

fn said(untold: &BTreeMap<RefusedWhy, u64>) -> String {
    let parts: Vec<String> = untold.iter().map(|(why, frames)| format!("{frames} {}", words(*why))).collect();
    format!("what it sent and may not send was dropped, {}: {}", frames_of(untold.values().sum()), parts.join(", "))
}

fn frames_of(count: u64) -> String {
    if count == 1 { "1 frame".to_owned() } else { format!("{count} frames") }
}

const fn words(why: RefusedWhy) -> &'static str {
    match why {
        RefusedWhy::Ethernet => "from an Ethernet address that is not its own",
        RefusedWhy::Address => "from an IP address that is not its own",
        RefusedWhy::Arp => "of ARP in the name of another",
        RefusedWhy::Neighbour => "of neighbour discovery in the name of another or of a router",
        RefusedWhy::Route => "with a route of their own",
        RefusedWhy::Protocol => "neither IP nor ARP, or for a VLAN",
        RefusedWhy::Host => "for what carries its network",
        RefusedWhy::Beyond => "for beyond its network",
        RefusedWhy::Uninvited => "from whom its cluster does not allow",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_how_many_of_what() {
        let untold = [(RefusedWhy::Arp, 2), (RefusedWhy::Ethernet, 40)].into();
        assert_eq!(
            said(&untold),
            "what it sent and may not send was dropped, 42 frames: 40 from an Ethernet address that is not its own, \
             2 of ARP in the name of another"
        );
        assert!(said(&[(RefusedWhy::Host, 1)].into()).contains("1 frame: 1 for"));
    }
}
