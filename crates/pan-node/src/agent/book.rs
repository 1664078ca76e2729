//! What is wanted of every server, read off a desired state, and the report made of what the tasks tell. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use pan_api::WIRE_VERSION;
use pan_api::desired::{Desired, ServerOrder};
use pan_api::report::{GateReport, Report, ServerReport};
use pan_api::usage::Metered;
use pan_member::{BootId, Tick};
use pan_model::host::Role;
use pan_model::{HostName, ServerKey};

use crate::boot::LeaseNote;
use crate::network::Status;
use crate::server::record::Cable;
use crate::server::task::Wanted;

/// What is wanted of each server of `desired`.
pub(super) fn wanted(desired: &Desired) -> BTreeMap<ServerKey, Wanted> {
    let cables: BTreeMap<_, _> = desired.networks.iter().map(|network| (&network.partition, Cable::of(network))).collect();
    let cable = |order: &ServerOrder| cables.get(&order.key.partition).cloned();
    let warm = desired.warm.iter().map(|order| (order.key.clone(), Wanted::Warm(Arc::new(order.clone()), cable(order))));
    let ordered = desired.servers.iter().map(|order| (order.key.clone(), Wanted::Order(Arc::new(order.clone()), cable(order))));
    warm.chain(ordered).collect()
}

/// The host's report, written at `now`.
pub(super) fn report(
    host: &HostName,
    boot: BootId,
    now: Tick,
    network: &Status,
    (lease, gate): (LeaseNote, Option<GateReport>),
    (servers, usage): (Vec<ServerReport>, Vec<Metered>),
    volumes: Vec<String>,
) -> Report {
    Report {
        version: WIRE_VERSION,
        host: host.clone(),
        role: Role::Node,
        boot: boot.0,
        sequence: now.0,
        applied: network.applied,
        blank: None,
        restarted: None,
        admission: lease.admission,
        wants_admission: lease.wants,
        gate,
        servers,
        connections: Vec::new(),
        usage,
        problems: [network.problems.clone(), network.warnings.clone(), volumes].concat(),
        pool: None,
        replicas: Vec::new(),
        refused: network.refusals.told(),
        beyond: Vec::new(),
        ways: Vec::new(),
    }
}
