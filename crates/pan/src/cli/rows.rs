//! Tables of objects, by kind: which columns, and what stands in them.

use super::failure::Failure;
use super::kind::Kind;
use super::output::{Cell, Table, Tone};
use jiff::{SignedDuration, Timestamp};
use pan_api::cluster::{Cluster, ClusterState};
use pan_api::event::{Event, Severity};
use pan_api::host::{GateKind, Host, LeaseState, Storage};
use pan_api::import::Import;
use pan_api::node::Node;
use pan_api::partition::{Partition, PartitionState};
use pan_api::policy::{Policy, PolicyState};
use pan_api::server::Server;
use pan_api::service::{Service, ServiceState};
use pan_api::token::{AccessRole, Token, TokenState};
use pan_api::volume::{Volume, VolumeState};
use pan_model::host::Link;
use pan_model::import::ImportState;
use pan_model::node::NodeState;
use pan_model::policy::{Occurs, ScheduleSpec};
use pan_model::server::ServerState;
use pan_model::service::BackendState;
use pan_model::{ByteSize, Code};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a table shows.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub kind: Kind,
    /// Whether rows name their partition.
    pub partition: bool,
    pub wide: bool,
}

impl Shape {
    /// A table without rows.
    pub fn table(self) -> Table {
        let (narrow, wide): (&[&str], &[&str]) = match self.kind {
            Kind::Partition => (&["NAME", "STATE", "NETWORKS", "USED"], &["GUARANTEED", "MAX"]),
            Kind::Cluster => (&["NAME", "STATE", "RUNNING", "PROTECTED"], &["ALLOW", "PROMISE", "PRIORITY", "IMAGE", "COMMAND"]),
            Kind::Server => (
                &["NAME", "STATE", "NODE", "ADDRESS", "EPOCH", "RESTARTS", "SINCE"],
                &["CLUSTER", "MAC", "PROTECTED", "ADDRESSES", "MESSAGE"],
            ),
            Kind::Service => (&["NAME", "STATE", "ADDRESS", "PORT", "CLUSTER", "BACKENDS"], &["DIRECTOR", "REACH", "ADDRESSES"]),
            Kind::Import => (&["NAME", "STATE", "ADDRESS", "PORT", "PARTITION", "SERVICE"], &["ADDRESSES"]),
            Kind::Node => {
                (&["NAME", "STATE", "A", "B", "SERVERS", "CPU FREE", "MEMORY FREE"], &["CPU RESERVED", "MEMORY RESERVED", "LABELS"])
            }
            Kind::Host => (
                &["NAME", "ROLES", "STATE", "A", "B", "GATE", "LEASE", "ADDRESS", "PROMISED", "COPIES"],
                &["NUMBER", "LEFT MS", "BPF", "VERSION", "AGENT", "USED", "SNAPSHOTS", "REFUSED", "TROUBLE"],
            ),
            Kind::Event => (&["TIME", "KIND", "OBJECT", "REASON", "MESSAGE"], &["NUMBER", "SEVERITY"]),
            Kind::Token => (&["ID", "FOR", "ROLES", "STATE", "EXPIRES"], &["CREATED"]),
            Kind::Volume => {
                (&["NAME", "STATE", "SIZE", "IN SYNC", "ATTACHED TO", "EPOCH"], &["MOUNT", "USED", "FILE SYSTEM", "BEHIND", "COPIES ON"])
            }
            Kind::Policy => (&["NAME", "STATE", "CLUSTER", "HOLDS", "NEXT"], &["SCHEDULES"]),
        };
        let partition = self.partition.then_some("PARTITION");
        let wide = if self.wide { wide } else { &[] };
        Table::new(partition.into_iter().chain(narrow.iter().copied()).chain(wide.iter().copied()).collect())
    }

    /// The row of an object.
    pub fn row(self, object: &Value) -> Result<Vec<Cell>, Failure> {
        let (narrow, wide) = match self.kind {
            Kind::Partition => partition(&read(object)?),
            Kind::Cluster => cluster(&read(object)?),
            Kind::Server => server(&read(object)?),
            Kind::Service => service(&read(object)?),
            Kind::Import => import(&read(object)?),
            Kind::Node => node(&read(object)?),
            Kind::Host => host(&read(object)?),
            Kind::Event => event(&read(object)?),
            Kind::Token => token(&read(object)?),
            Kind::Volume => volume(&read(object)?),
            Kind::Policy => policy(&read(object)?),
        };
        let of = self.partition.then(|| Cell::from(object["partition"].as_str().unwrap_or("-")));
        Ok(of.into_iter().chain(narrow).chain(if self.wide { wide } else { Vec::new() }).collect())
    }
}

/// An object of the API as its type.
pub fn read<T: DeserializeOwned>(object: &Value) -> Result<T, Failure> {
    T::deserialize(object).map_err(|error| Failure::new(Code::Internal, format!("the PAN answered something else than expected: {error}")))
}

type Halves = (Vec<Cell>, Vec<Cell>);

fn partition(it: &Partition) -> Halves {
    let networks: Vec<String> = it.networks.iter().map(|net| net.0.to_string()).collect();
    let state = match it.state {
        PartitionState::Ready => Cell::toned("ready", Tone::Good),
        PartitionState::Deleting => Cell::toned("deleting", Tone::Doubtful),
    };
    let amount = |amount: &Option<pan_model::Resources>| Cell::from(amount.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string));
    let narrow = vec![it.name.as_str().into(), state, networks.join(",").into(), it.used.to_string().into()];
    (narrow, vec![amount(&it.capacity.guaranteed), amount(&it.capacity.max)])
}

fn cluster(it: &Cluster) -> Halves {
    let (state, tone) = cluster_state(it.state);
    let promise =
        it.spec.protect.map_or_else(|| "-".to_owned(), |protect| format!("{} {:?}", protect.failures, protect.domain).to_lowercase());
    let protected = match (it.spec.protect.is_some(), it.protected) {
        (false, _) => Cell::from("-"),
        (true, true) => Cell::toned("yes", Tone::Good),
        (true, false) => Cell::toned("no", Tone::Bad),
    };
    let narrow = vec![it.name.as_str().into(), Cell::toned(state, tone), format!("{}/{}", it.running, it.desired).into(), protected];
    let allow = it.spec.allow.as_deref().map_or_else(|| "-".to_owned(), pan_model::allow::said);
    (
        narrow,
        vec![
            allow.into(),
            promise.into(),
            it.spec.priority.to_string().into(),
            it.spec.image.to_string().into(),
            it.spec.command.join(" ").into(),
        ],
    )
}

pub fn cluster_state(state: ClusterState) -> (&'static str, Tone) {
    match state {
        ClusterState::Ready => ("ready", Tone::Good),
        ClusterState::Progressing => ("progressing", Tone::Doubtful),
        ClusterState::Degraded => ("degraded", Tone::Bad),
        ClusterState::Stopped => ("stopped", Tone::Plain),
        ClusterState::Deleting => ("deleting", Tone::Doubtful),
    }
}

fn server(it: &Server) -> Halves {
    let tone = match it.state {
        ServerState::Running => Tone::Good,
        ServerState::Unknown
        | ServerState::Pending
        | ServerState::Starting
        | ServerState::Suspect
        | ServerState::FailingOver
        | ServerState::Stopping => Tone::Doubtful,
        ServerState::Stopped => Tone::Plain,
        ServerState::Failed => Tone::Bad,
    };
    let addresses: Vec<String> = it.addresses.iter().map(ToString::to_string).collect();
    let narrow = vec![
        it.name.as_str().into(),
        Cell::toned(it.state.to_string(), tone),
        it.node.as_deref().unwrap_or("-").into(),
        it.address.to_string().into(),
        it.epoch.to_string().into(),
        it.restarts.to_string().into(),
        age(&it.since).into(),
    ];
    let wide = vec![
        it.cluster.as_str().into(),
        it.mac.to_string().into(),
        if it.protected { "yes" } else { "no" }.into(),
        addresses.join(",").into(),
        it.message.as_deref().unwrap_or("").into(),
    ];
    (narrow, wide)
}

fn service(it: &Service) -> Halves {
    let state = match it.state {
        ServiceState::Ready => Cell::toned("ready", Tone::Good),
        ServiceState::Progressing => Cell::toned("progressing", Tone::Doubtful),
        ServiceState::Down => Cell::toned("down", Tone::Bad),
    };
    let up = it.backends.iter().filter(|backend| backend.state == BackendState::Up).count();
    let addresses: Vec<String> = it.addresses.iter().map(ToString::to_string).collect();
    let clusters: Vec<&str> = it.spec.clusters().into_iter().map(|(name, _)| name.as_str()).collect();
    let narrow = vec![
        it.name.as_str().into(),
        state,
        it.address.to_string().into(),
        it.port.to_string().into(),
        clusters.join(",").into(),
        format!("{up}/{} up", it.backends.len()).into(),
    ];
    let reach = it.reach.map_or_else(|| "-".to_owned(), |address| address.to_string());
    (narrow, vec![it.director.as_deref().unwrap_or("-").into(), reach.into(), addresses.join(",").into()])
}

fn import(it: &Import) -> Halves {
    let state = match it.state {
        ImportState::Active => Cell::toned("active", Tone::Good),
        ImportState::Waiting => Cell::toned("waiting", Tone::Doubtful),
    };
    let addresses: Vec<String> = it.addresses.iter().map(ToString::to_string).collect();
    let narrow = vec![
        it.name.as_str().into(),
        state,
        it.address.to_string().into(),
        it.port.map_or_else(|| "-".to_owned(), |port| port.to_string()).into(),
        it.spec.partition.as_str().into(),
        it.spec.service.as_str().into(),
    ];
    (narrow, vec![addresses.join(",").into()])
}

fn policy(it: &Policy) -> Halves {
    let state = match it.state {
        PolicyState::Active => Cell::toned("active", Tone::Good),
        PolicyState::Idle => Cell::from("idle"),
    };
    let holds: Vec<String> = it.active.iter().map(|window| format!("{} until {}", window.effect, moment(&window.until))).collect();
    let narrow = vec![
        it.name.as_str().into(),
        state,
        it.cluster.as_str().into(),
        if holds.is_empty() { "-".to_owned() } else { holds.join("; ") }.into(),
        it.next.as_deref().map_or_else(|| "never".to_owned(), moment).into(),
    ];
    let schedules: Vec<String> = it.spec.schedules.iter().map(said).collect();
    (narrow, vec![schedules.join("; ").into()])
}

/// A time as people read it: to the second.
pub fn moment(time: &str) -> String {
    time.parse::<Timestamp>().map_or_else(|_| time.to_owned(), |time| format!("{time:.0}"))
}

/// A schedule in a line.
pub fn said(schedule: &ScheduleSpec) -> String {
    let effect = schedule.effect().map(|effect| effect.to_string()).unwrap_or_default();
    let when = match schedule.occurs() {
        Ok(Occurs::Again(cron, lasts)) => format!("{cron} for {lasts}"),
        Ok(Occurs::Once(from, until)) => format!("{from} to {until}"),
        Err((_, wrong)) => wrong,
    };
    format!("{effect}: {when}, {}", schedule.zone)
}

fn volume(it: &Volume) -> Halves {
    let state = match it.state {
        VolumeState::Ready => Cell::toned("ready", Tone::Good),
        VolumeState::Making => Cell::toned("making", Tone::Doubtful),
        VolumeState::Degraded => Cell::toned("degraded", Tone::Bad),
        VolumeState::Deleting => Cell::toned("deleting", Tone::Doubtful),
    };
    let narrow = vec![
        it.name.as_str().into(),
        state,
        it.size.to_string().into(),
        format!("{}/{}", it.in_sync, it.copies).into(),
        it.attached_to.as_ref().map_or("-", |server| server.as_str()).into(),
        it.epoch.to_string().into(),
    ];
    let on = |replica: &pan_api::volume::Replica| format!("{}{}", replica.host, if replica.in_sync { "" } else { " (out)" });
    let on: Vec<String> = it.replicas.iter().map(on).collect();
    let mount = it.mount.as_deref().unwrap_or("-");
    (narrow, vec![mount.into(), known(it.used).into(), it.filesystem.to_string().into(), it.behind.to_string().into(), on.join(",").into()])
}

fn node(it: &Node) -> Halves {
    let narrow = vec![
        it.name.as_str().into(),
        node_state(it.state),
        link(it.fabrics.a),
        link(it.fabrics.b),
        it.servers.to_string().into(),
        format!("{} of {}", it.cpu.free, it.cpu.total).into(),
        format!("{} of {}", it.memory.free, it.memory.total).into(),
    ];
    (narrow, vec![it.cpu.reserved.to_string().into(), it.memory.reserved.to_string().into(), labels(&it.labels).into()])
}

fn token(it: &Token) -> Halves {
    let over = it.expires.parse::<Timestamp>().is_ok_and(|expires| expires <= Timestamp::now());
    let state = match it.state {
        TokenState::Used => Cell::from("used"),
        TokenState::Unused | TokenState::Active if over => Cell::toned("expired", Tone::Doubtful),
        TokenState::Active => Cell::toned("active", Tone::Good),
        TokenState::Unused => Cell::toned("unused", Tone::Good),
    };
    let mut roles: Vec<&str> = it.roles.iter().map(|role| role.as_str()).collect();
    roles.extend(it.role.map(AccessRole::as_str));
    // A host, or a partition and whoever it is.
    let person = it.name.as_ref().map(|name| name.as_str());
    let whom: Vec<&str> = it.partition.as_ref().map(|partition| partition.as_str()).into_iter().chain(person).collect();
    let whom = it.host.as_ref().map_or_else(|| if whom.is_empty() { "-".to_owned() } else { whom.join("/") }, ToString::to_string);
    let narrow = vec![it.id.as_str().into(), whom.into(), roles.join(",").into(), state, it.expires.as_str().into()];
    (narrow, vec![it.created.as_str().into()])
}

fn host(it: &Host) -> Halves {
    let roles: Vec<&str> = it.roles.iter().map(|role| role.as_str()).collect();
    let narrow = vec![
        it.name.as_str().into(),
        format!("{}{}", roles.join(","), if it.leads { " (leads)" } else { "" }).into(),
        node_state(it.state),
        link(it.fabrics.a),
        link(it.fabrics.b),
        it.gate.as_ref().map_or_else(|| Cell::from("-"), |gate| self::gate(gate.kind)),
        it.lease.as_ref().map_or_else(|| Cell::from("-"), |lease| self::lease(lease.state)),
        it.address.to_string().into(),
        it.storage.as_ref().map_or_else(|| "-".to_owned(), |it| format!("{} of {}", it.promised, it.capacity)).into(),
        copies(it.storage.as_ref()),
    ];
    let storage = it.storage.as_ref();
    let number = it.lease.as_ref().map_or_else(|| "-".to_owned(), |lease| lease.admission.to_string());
    let left = it.lease.as_ref().and_then(|lease| lease.left_ms).map_or_else(|| "-".to_owned(), |left| left.to_string());
    let refused =
        it.gate.as_ref().and_then(|gate| gate.bpf_refused.as_deref()).map_or_else(|| "-".to_owned(), |why| format!("refused: {why}"));
    let agent = if it.agent { Cell::from("reports") } else { Cell::toned("silent", Tone::Doubtful) };
    let mut wide = vec![number.into(), left.into(), refused.into(), it.version.as_str().into(), agent];
    wide.push(known(storage.and_then(|it| it.used)).into());
    wide.push(storage.map_or_else(|| "-".to_owned(), |it| it.snapshots.to_string()).into());
    wide.push(storage.and_then(|it| it.refused).map_or_else(|| "-".to_owned(), |refused| refused.to_string()).into());
    wide.push(Cell::toned(storage.map(|it| it.trouble.join("; ")).unwrap_or_default(), Tone::Bad));
    (narrow, wide)
}

/// How many copies of volumes a host has; one of them, or the disk, may be ill.
fn copies(storage: Option<&Storage>) -> Cell {
    let count = storage.and_then(|it| it.replicas).map_or_else(|| "-".to_owned(), |count| count.to_string());
    match storage {
        Some(it) if !it.trouble.is_empty() => Cell::toned(format!("{count}, trouble"), Tone::Bad),
        Some(_) | None => count.into(),
    }
}

/// Bytes in use, which are any number: in MiB, rounded up.
fn known(bytes: Option<ByteSize>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{}MiB", bytes.0.div_ceil(1 << 20)))
}

fn gate(kind: GateKind) -> Cell {
    match kind {
        GateKind::Bpf => Cell::from("bpf"),
        GateKind::NftSet => Cell::from("nft-set"),
        GateKind::None => Cell::toned("none", Tone::Bad),
    }
}

fn lease(state: LeaseState) -> Cell {
    match state {
        LeaseState::None => Cell::from("none"),
        LeaseState::Held => Cell::toned("held", Tone::Good),
        LeaseState::Expired => Cell::toned("expired", Tone::Doubtful),
        LeaseState::Fenced => Cell::toned("fenced", Tone::Bad),
    }
}

fn event(it: &Event) -> Halves {
    let tone = match it.severity {
        Severity::Info => Tone::Plain,
        Severity::Warning => Tone::Doubtful,
        Severity::Alarm => Tone::Bad,
    };
    let severity = match it.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Alarm => "alarm",
    };
    let narrow = vec![
        it.time.as_str().into(),
        it.kind.as_str().into(),
        it.object.as_str().into(),
        Cell::toned(it.reason.as_str(), tone),
        it.message.as_str().into(),
    ];
    (narrow, vec![it.number.to_string().into(), Cell::toned(severity, tone)])
}

fn node_state(state: NodeState) -> Cell {
    let tone = match state {
        NodeState::Alive => Tone::Good,
        NodeState::Unknown | NodeState::Joining | NodeState::Suspect | NodeState::Draining | NodeState::Cordoned => Tone::Doubtful,
        NodeState::Dead | NodeState::Quarantined => Tone::Bad,
    };
    Cell::toned(state.to_string(), tone)
}

fn link(link: Link) -> Cell {
    match link {
        Link::Up => Cell::toned("up", Tone::Good),
        Link::Down => Cell::toned("down", Tone::Bad),
    }
}

/// Labels as `a=b,c=d`.
pub fn labels(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// How long ago a time was, in its two largest units; the text itself when it is no time.
pub fn age(since: &str) -> String {
    since.parse::<Timestamp>().map_or_else(|_| since.to_owned(), |then| span(Timestamp::now().duration_since(then)))
}

fn span(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units() {
        for (seconds, text) in [(-5, "0s"), (59, "59s"), (61, "1m1s"), (7_320, "2h2m"), (90_000, "1d1h")] {
            assert_eq!(span(SignedDuration::from_secs(seconds)), text);
        }
        assert_eq!(age("not a time"), "not a time");
    }

    #[test]
    fn rows_have_as_many_cells_as_the_table_columns() {
        let server = serde_json::json!({"partition": "acme", "cluster": "web", "name": "web-1", "address": "10.0.0.10", "addresses": ["10.0.0.10"],
            "mac": "02:70:0a:00:00:0a", "node": "n1", "epoch": 3, "state": "running", "restarts": 0, "since": "2026-01-01T00:00:00Z", "protected": true});
        let node = serde_json::json!({"name": "n1", "roles": ["node"], "state": "alive", "fabrics": {"a": "up", "b": "down"}, "version": "0.1.0",
            "address": "10.200.0.1", "agent": true});
        let storage = serde_json::json!({"name": "s1", "roles": ["storage"], "state": "alive", "fabrics": {"a": "up", "b": "up"}, "version": "0.1.0",
            "address": "10.200.0.2", "agent": true, "storage": {"capacity": 1u64 << 40, "promised": 1 << 30, "used": 1_048_577, "replicas": 2, "snapshots": 0, "refused": 17,
            "takes": true, "trouble": ["its disk is full"]}});
        let mut refused = node.clone();
        refused["gate"] = serde_json::json!({"kind": "nft-set", "bpfRefused": "load the program: EPERM"});
        let of = |cells: &[Cell], text: &str| cells.iter().any(|cell| cell.text == text);
        let shown = host(&read(&refused).unwrap());
        assert!(of(&shown.0, "nft-set") && of(&shown.1, "refused: load the program: EPERM"), "why the gate is not the better one is shown");
        let shown = host(&read(&storage).unwrap());
        assert!(
            of(&shown.0, "1GiB of 1TiB")
                && of(&shown.0, "2, trouble")
                && of(&shown.1, "2MiB")
                && of(&shown.1, "17")
                && of(&shown.1, "its disk is full")
        );
        for (kind, object) in [(Kind::Server, &server), (Kind::Host, &node), (Kind::Host, &storage)] {
            for (wide, partition) in [(false, false), (true, true)] {
                let shape = Shape { kind, partition, wide };
                let mut table = shape.table();
                table.push(shape.row(object).unwrap());
                assert_eq!(table.columns(), table.cells());
            }
        }
        assert!(Shape { kind: Kind::Node, partition: false, wide: false }.row(&server).is_err());
    }
}
