//! What is believed of what nodes tell: a node tells of its own servers only, and of no more than it can do.

use super::super::world::World;
use super::mark::Counted;
use pan_api::usage::{Counters, Metered};
use pan_model::HostName;

/// Readings are older than reports of them by seconds; microseconds.
const LATE: i64 = 15_000_000;
/// Of an instance that ended the last is taken at once, so by more; microseconds.
const LAST_LATE: i64 = 600_000_000;
/// Bytes per second: 400 Gbit/s.
const TRAFFIC: u64 = 50_000_000_000;
/// Thousandths of a core: a server may use what its node does not offer, so several times the offer, and never less than this.
const MILLICORES: u64 = 256_000;
/// What a node has that is no more: more than any has.
const MEMORY_KIB: u64 = 64 << 30;

/// Since when an instance that a host tells of can have run there (wall, microseconds): bound there and never counted, or up to where it is
/// counted. `None`: it is not this host's.
pub(super) fn since(world: &World, host: &HostName, boot: u64, metered: &Metered) -> Option<i64> {
    let Metered { instance, cluster, .. } = metered;
    let bound = world.servers.get(&instance.key).filter(|record| {
        let known = instance.incarnation <= record.incarnation && *cluster == record.cluster;
        known && record.epoch == instance.epoch && record.node.as_ref() == Some(host)
    });
    if let Some(record) = bound {
        return Some(record.bound_at);
    }
    let counted: Counted = (instance.clone(), boot);
    let mark = world.usage.get(&instance.key.partition)?.mark(cluster, &counted)?;
    (mark.host.as_ref() == Some(host)).then_some(mark.at)
}

/// What an instance may have used since a moment that is so long ago, microseconds: all that its node has.
pub(super) fn possible(world: &World, host: &HostName, micros: i64, ended: bool) -> Counters {
    let offer = world.hosts.get(host).and_then(|record| record.offer.as_ref());
    let millicores = offer.map_or(0, |offer| offer.cpu.0.saturating_mul(4)).max(MILLICORES);
    let kib = offer.map_or(MEMORY_KIB, |offer| (offer.memory.0 >> 10).min(MEMORY_KIB));
    let late = if ended { LAST_LATE } else { LATE };
    let micros = u64::try_from(micros.max(0).saturating_add(late)).unwrap_or(0);
    let seconds = micros.div_ceil(1_000_000);
    Counters {
        cpu_micros: micros.saturating_mul(millicores) / 1000,
        memory_kib_seconds: kib.saturating_mul(seconds),
        received: TRAFFIC.saturating_mul(seconds),
        sent: TRAFFIC.saturating_mul(seconds),
    }
}
