//! What hosts of a laboratory count themselves, read from the pages they show to collectors.

use std::net::SocketAddr;

use pan_model::HostName;
use pan_model::host_config::{DIRECTOR_METRICS_PORT, NODE_PORT, STORAGE_METRICS_PORT};

use super::page::{self, Place};
use crate::lab::Lab;
use crate::name::{HostKind, LabHost};

/// A counter of every host of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counter {
    pub(super) kind: HostKind,
    port: u16,
    family: &'static str,
}

/// Directors suspect nodes by themselves, and no controller hears of it.
pub(super) const DIRECTORS_SUSPICIONS: Counter =
    Counter { kind: HostKind::Director, port: DIRECTOR_METRICS_PORT, family: "pan_director_suspicions_total" };
/// What servers of a node tried to send after its lease.
pub(super) const HELD_BACK: Counter = Counter { kind: HostKind::Node, port: NODE_PORT, family: "pan_gate_dropped_packets_total" };
/// Bytes that heads wrote to a storage host since it was started.
pub(super) const WRITTEN: Counter =
    Counter { kind: HostKind::Storage, port: STORAGE_METRICS_PORT, family: "pan_storage_bytes_total{direction=\"write\"}" };

/// Its sum over some hosts. Only controllers are answered, so `asking` is one.
///
/// # Errors
/// Who does not answer, or not with that counter, in words.
pub(super) fn read(lab: &Lab, asking: LabHost, counter: Counter, hosts: impl IntoIterator<Item = LabHost>) -> Result<u64, String> {
    let of_one = |host: LabHost| {
        let address = host.address().ok_or_else(|| format!("{host} has no address"))?;
        let peer = HostName::new(host.to_string()).expect("a lab's host has a valid name");
        let place = Place { address: SocketAddr::new(address, counter.port), peer: Some(peer) };
        let page = page::read(lab, asking, &place).map_err(|problem| format!("{host} does not answer: {problem}"))?;
        let count = page::sum(&page, counter.family).ok_or_else(|| format!("{host} does not count {}", counter.family))?;
        Ok(whole(count))
    };
    hosts.into_iter().filter(|host| host.kind() == counter.kind).map(of_one).sum()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter is a whole number, and far below 2^53")]
fn whole(count: f64) -> u64 {
    count as u64
}
