//! Reasons as values: why a server goes to a node, and why it goes nowhere.

use crate::score::Strategy;
use crate::snapshot::{Domain, NodeState, ServerId};
use pan_model::{ByteSize, Cpu, HostName, PartitionName};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How many nodes a text names before it says "and N more".
const NODES_NAMED_MAX: usize = 4;

/// What made a placement necessary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The server had no node.
    New,
    /// Its node is down.
    Failover(HostName),
    /// Its node is being emptied.
    Drain(HostName),
    /// Its node lacks a required label or the room by now, or has another server of its cluster.
    Misfit(HostName),
    /// A more important server took its place.
    Displaced(HostName),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("it has no node"),
            Self::Failover(node) => write!(f, "{node} is down"),
            Self::Drain(node) => write!(f, "{node} is draining"),
            Self::Misfit(node) => write!(f, "{node} is no longer fit for it"),
            Self::Displaced(node) => write!(f, "a more important server takes its place on {node}"),
        }
    }
}

/// Why a server is placed where it is placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The best score of the nodes that can take it.
    Best {
        /// What made it necessary.
        cause: Cause,
        /// The node.
        node: HostName,
        /// How nodes were compared.
        strategy: Strategy,
        /// The score, in thousandths; lower is better.
        score_milli: i64,
    },
    /// The node reserved for it in case of this loss.
    Reserved {
        /// What made it necessary.
        cause: Cause,
        /// The node.
        node: HostName,
    },
    /// The only way found to place all protected servers of a dead node.
    Packed {
        /// What made it necessary.
        cause: Cause,
        /// The node.
        node: HostName,
    },
    /// The node of the server that it shares a node with.
    Together {
        /// The node.
        node: HostName,
        /// The other server.
        with: ServerId,
    },
    /// Less important servers made room.
    Room {
        /// What made it necessary.
        cause: Cause,
        /// The node.
        node: HostName,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best { cause, node, strategy, score_milli } => {
                let sign = if *score_milli < 0 { "-" } else { "" };
                let (whole, part) = (score_milli.abs() / 1000, score_milli.abs() % 1000);
                write!(f, "{cause}; {node} scores best ({strategy} {sign}{whole}.{part:03})")
            }
            Self::Reserved { cause, node } => write!(f, "{cause}; {node} keeps room for it"),
            Self::Packed { cause, node } => write!(f, "{cause}; with it on {node} every protected server finds a place"),
            Self::Together { node, with } => write!(f, "it shares {node} with {}", show_server(with)),
            Self::Room { cause, node } => write!(f, "{cause}; less important servers make room on {node}"),
        }
    }
}

/// An amount that is missing on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// The node.
    pub node: HostName,
    /// The resource's name.
    pub resource: String,
    /// How much is missing, in the resource's own unit (thousandths of a core, bytes).
    pub by: u64,
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} short on {}", show_amount(&self.resource, self.by), self.node)
    }
}

/// Why a server has no place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotPlaced {
    /// Every node that it may use has too little of something.
    NoNodeHas {
        /// What is missing, node by node, the smallest gap first.
        short: Arc<[Short]>,
    },
    /// Every domain that it may use already has a server of its cluster.
    SpreadExhausted {
        /// The domain that its servers do not share.
        domain: Domain,
        /// How many such domains it may use.
        domains: usize,
    },
    /// Wherever it goes, a promise could not be kept any more.
    ProtectionWouldBreak {
        /// The nodes whose loss would then leave a server without a place.
        lost: Vec<HostName>,
        /// That server.
        object: ServerId,
        /// What it would lack.
        short: String,
    },
    /// No node that takes servers has the labels.
    LabelsUnmet {
        /// What is required.
        labels: BTreeMap<String, String>,
    },
    /// Its partition would have more than it may.
    PartitionMax {
        /// The partition.
        partition: PartitionName,
        /// The resource's name.
        resource: String,
        /// What the partition's servers would need in all.
        wanted: u64,
        /// What it may have.
        max: u64,
    },
    /// It must share a node with others, and no node takes them all.
    GroupUnplaceable {
        /// The others.
        with: Vec<ServerId>,
        /// What stands in the way.
        because: Box<NotPlaced>,
    },
    /// No node takes servers.
    NoNodes,
    /// The one node that it could share takes no servers.
    NodeClosed {
        /// The node.
        node: HostName,
        /// Its state.
        state: NodeState,
    },
    /// Guarantees of partitions, with the largest node lost, leave too little.
    NotAvailableNow {
        /// The resource's name.
        resource: String,
        /// How much is missing.
        by: u64,
    },
}

impl fmt::Display for NotPlaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNodeHas { short } => {
                f.write_str("no node has room: ")?;
                let named: Vec<String> = short.iter().take(NODES_NAMED_MAX).map(ToString::to_string).collect();
                f.write_str(&named.join(", "))?;
                if short.len() > NODES_NAMED_MAX { write!(f, " and {} more", short.len() - NODES_NAMED_MAX) } else { Ok(()) }
            }
            Self::SpreadExhausted { domain, domains } => {
                write!(f, "every {domain} it may use ({domains}) already has a server of its cluster")
            }
            Self::ProtectionWouldBreak { lost, object, short } => f.write_str(&show_broken(lost, object, short)),
            Self::LabelsUnmet { labels } => {
                let wanted: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "no node that takes servers has the labels {}", wanted.join(", "))
            }
            Self::PartitionMax { partition, resource, wanted, max } => {
                let (wanted, max) = (show_amount(resource, *wanted), show_amount(resource, *max));
                write!(f, "partition {partition} may have {max} but would need {wanted}")
            }
            Self::GroupUnplaceable { with, because } => {
                let others: Vec<String> = with.iter().map(show_server).collect();
                write!(f, "it must share a node with {}: {because}", others.join(", "))
            }
            Self::NodeClosed { node, state } => write!(f, "{node} is {} and takes no servers", state.word()),
            Self::NoNodes => f.write_str("no node takes servers"),
            Self::NotAvailableNow { resource, by } => {
                write!(f, "guarantees of partitions leave too little once the largest node is lost: {} short", show_amount(resource, *by))
            }
        }
    }
}

/// `PARTITION/SERVER`.
#[must_use]
pub fn show_server(server: &ServerId) -> String {
    format!("{}/{}", server.0, server.1)
}

/// An amount with its resource's name: `memory 4GiB`, `cpu 500m`, `gpu 1`.
#[must_use]
pub fn show_amount(resource: &str, amount: u64) -> String {
    match resource {
        "cpu" => format!("cpu {}", Cpu(amount)),
        "memory" => format!("memory {}", ByteSize(amount)),
        other => format!("{other} {amount}"),
    }
}

/// Names joined for a sentence: `n1`, `n1 and n2`.
#[must_use]
pub fn show_hosts(hosts: &[HostName]) -> String {
    let names: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
    names.join(" and ")
}

/// A broken promise as a sentence: `if n3 dies, acme/db-1 has no place: …`.
#[must_use]
pub fn show_broken(lost: &[HostName], object: &ServerId, short: &str) -> String {
    let object = show_server(object);
    match lost {
        [] => format!("{object} has no place: {short}"),
        [one] => format!("if {one} dies, {object} has no place: {short}"),
        more => format!("if {} die, {object} has no place: {short}", show_hosts(more)),
    }
}
