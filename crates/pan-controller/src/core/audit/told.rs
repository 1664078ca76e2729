//! What a request is called in the logs.

use crate::core::request::{Kind, Request};
use crate::core::tokens::TokenFor;
use crate::core::world::World;
use pan_api::requests::{Applied, ApplyResult};
use pan_api::token::id_text;
use pan_api::volume::{AskVolume, VolumeAsk};
use pan_model::{HostName, PartitionName, ServerKey, VolumeKey};

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// In which partition; none: to the PAN.
    pub place: Option<PartitionName>,
    pub verb: &'static str,
    pub kind: &'static str,
    pub name: String,
    pub result: &'static str,
    /// For everybody who reads the line.
    pub detail: String,
    /// For the PAN alone: names of hosts.
    pub aside: String,
    /// How often, if more than once.
    pub times: Option<u64>,
}

impl Act {
    pub(super) fn new(place: Option<PartitionName>, verb: &'static str, kind: &'static str, name: impl Into<String>) -> Self {
        Self { place, verb, kind, name: name.into(), result: "done", detail: String::new(), aside: String::new(), times: None }
    }

    pub(super) fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    fn aside(self, aside: impl Into<String>) -> Self {
        Self { aside: aside.into(), ..self }
    }
}

/// What is to be told of a request.
pub enum Told {
    /// This, once it is done.
    Acts(Vec<Act>),
    /// What became of each document.
    WhatWasApplied,
}

/// What is to be told of a request, before it changes what it is about.
pub fn told(world: &World, request: &Request) -> Told {
    let act = match request {
        Request::Apply { dry_run: false, .. } => return Told::WhatWasApplied,
        // They change nothing, or nothing that anybody asked for: certificates and keys are renewed by themselves.
        Request::Apply { dry_run: true, .. } | Request::Renew(_) | Request::Keys { .. } => return Told::Acts(Vec::new()),
        Request::Volume(ask) => return Told::Acts(attached(world, ask).into_iter().collect()),
        Request::Delete { kind, partition, name, cascade } => delete(*kind, partition.clone(), name, *cascade),
        Request::Scale { partition, cluster, servers } => {
            Act::new(Some(partition.clone()), "scale", "cluster", cluster.as_str()).detail(format!("servers={servers}"))
        }
        Request::Restart(key) => server("restart", key),
        Request::Stop(key) => server("stop", key),
        Request::Start(key) => server("start", key),
        Request::Failover { key, to } => moved("failover", key, to.as_ref()),
        Request::Migrate { key, to } => moved("migrate", key, to.as_ref()),
        Request::Drain { node, force } => {
            let act = Act::new(None, "drain", "node", node.as_str());
            if *force { act.detail("force=true") } else { act }
        }
        Request::Cordon(node) => Act::new(None, "cordon", "node", node.as_str()),
        Request::Uncordon(node) => Act::new(None, "uncordon", "node", node.as_str()),
        Request::Clear(node) => Act::new(None, "clear", "node", node.as_str()),
        Request::DrainDomain(domain) => Act::new(None, "drain", "domain", domain.to_string()),
        Request::UndoDrain(domain) => Act::new(None, "undo", "domain", domain.to_string()),
        Request::Label { node, labels } => {
            let words = labels.iter().map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or_default()));
            Act::new(None, "label", "node", node.as_str()).detail(words.collect::<Vec<_>>().join(" "))
        }
        Request::CreateToken(id, new) => token("create", *id, &new.purpose),
        Request::RevokeToken(id) => match world.tokens.get(id) {
            Some(known) => token("revoke", *id, &known.purpose),
            None => Act::new(None, "revoke", "token", id_text(*id)),
        },
        Request::Join(joining) => Act::new(None, "join", "host", joining.host.as_str()).detail(format!("token={}", id_text(joining.token))),
        Request::RemoveHost(host) => Act::new(None, "remove", "host", host.as_str()),
        Request::RotateKeys => Act::new(None, "rotate", "keys", ""),
        Request::TakeSnapshot { volume: key, name } => volume("snapshot", key).detail(format!("snapshot={name}")),
        Request::RemoveSnapshot { volume: key, name } => {
            Act::new(Some(key.partition.clone()), "delete", "snapshot", format!("{}@{name}", key.name))
        }
        Request::ResizeVolume { volume: key, size } => volume("resize", key).detail(format!("size={size}")),
        Request::RecoverVolume(key) => volume("recover", key),
    };
    Told::Acts(vec![act])
}

fn server(verb: &'static str, key: &ServerKey) -> Act {
    Act::new(Some(key.partition.clone()), verb, "server", key.name.as_str())
}

fn moved(verb: &'static str, key: &ServerKey, to: Option<&HostName>) -> Act {
    server(verb, key).aside(to.map(|host| format!("to={host}")).unwrap_or_default())
}

fn volume(verb: &'static str, key: &VolumeKey) -> Act {
    Act::new(Some(key.partition.clone()), verb, "volume", key.name.as_str())
}

fn delete(kind: Kind, partition: Option<PartitionName>, name: &str, cascade: bool) -> Act {
    let (kind, place) = match kind {
        Kind::Partition => ("partition", PartitionName::new(name).ok()),
        Kind::Cluster => ("cluster", partition),
        Kind::Service => ("service", partition),
        Kind::Volume => ("volume", partition),
        Kind::Import => ("import", partition),
        Kind::Policy => ("policy", partition),
    };
    Act::new(place, "delete", kind, name).detail(if cascade { "cascade" } else { "" })
}

/// Never its secret, of which there is only a digest.
fn token(verb: &'static str, id: u64, purpose: &TokenFor) -> Act {
    match purpose {
        TokenFor::Joining { host, roles } => {
            let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            Act::new(None, verb, "token", id_text(id)).detail(format!("host={host} roles={}", roles.join(",")))
        }
        TokenFor::Access { role, partition, name } => {
            let whom = name.as_ref().map(|name| format!(" for={name}")).unwrap_or_default();
            Act::new(partition.clone(), verb, "token", id_text(id)).detail(format!("role={role}{whom}"))
        }
    }
}

/// The right to write a volume is given with its epoch; what its head says of copies afterwards are events.
fn attached(world: &World, ask: &AskVolume) -> Option<Act> {
    let theirs = world.volumes.iter().find(|(key, record)| key.partition == ask.server.partition && record.id == ask.volume);
    match &ask.ask {
        VolumeAsk::Claim => theirs.map(|(key, _)| volume("attach", key).detail(format!("server={}", ask.server.name))),
        VolumeAsk::Change { .. } | VolumeAsk::Taken { .. } => None,
    }
}

/// What became of documents that were applied: those that were as they should be already are no change.
pub fn applied(all: &[Applied]) -> Vec<Act> {
    let act = |one: &Applied| {
        let result = match one.result {
            ApplyResult::Created => "created",
            ApplyResult::Changed => "changed",
            ApplyResult::Unchanged | ApplyResult::Refused => return None,
        };
        let (kind, partition) = match one.kind.as_str() {
            "partition" => ("partition", PartitionName::new(one.name.as_str()).ok()),
            "cluster" => ("cluster", one.partition.clone()),
            "service" => ("service", one.partition.clone()),
            "volume" => ("volume", one.partition.clone()),
            "import" => ("import", one.partition.clone()),
            "policy" => ("policy", one.partition.clone()),
            _ => ("object", one.partition.clone()),
        };
        Some(Act { result, ..Act::new(partition, "apply", kind, one.name.as_str()) })
    };
    all.iter().filter_map(act).collect()
}
