//! What a host finds on its disk at first boot: configuration, certificate, keys, the program.
//!
//! A host has its home in `DATA/hosts/HOST`: the file its disk lies in, and the folders [`OF_THE_LAB`], which it sees
//! beneath [`STATE_DIR`], where its disk is mounted.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use pan_model::host::Role;
use pan_model::host_config::{
    ControllerConfig, DirectorConfig, ETCD_CLIENT_PORT, EtcdConfig, EtcdMember, FabricConfig, FabricsConfig, HostConfig, ImagesConfig,
    LaboratoryConfig, NodeConfig, PeerAddress, Pool, Reach, StorageConfig, StoreConfig, TlsFiles,
};
use pan_model::registry::{Ports, RegistryRule, Security};
use pan_model::{HostName, Span};

use crate::address::{Net, OTHERS, OUTSIDE_V4, OUTSIDE_V6, POOL, outside};
use crate::disk;
use crate::error::LabError;
use crate::name::{HostKind, LabHost};
use crate::pki::{Secrets, hex, private_dir};
use crate::state::{LabState, write_private};

/// Where a host keeps its state: its disk, as the host itself sees it.
pub(crate) const STATE_DIR: &str = "/var/lib/pan";

/// Folders of a host that are the lab's and not on its disk: the program, its configuration and keys, and its logs, which
/// must tell of a disk that fails.
pub(crate) const OF_THE_LAB: [&str; 3] = ["bin", "etc", "log"];

/// How long certificates are good that hosts get from the controllers.
const CERTIFICATES_VALID: Span = Span::millis(30 * 86_400_000);

/// A host's home as the machine sees it.
pub(crate) fn home(data: &Path, host: LabHost) -> PathBuf {
    data.join("hosts").join(host.to_string())
}

/// Keeps the program with the lab: rebuilding it must neither disturb running hosts nor change
/// what a host boots later.
pub(crate) fn keep_program(data: &Path, exe: &Path) -> Result<(), LabError> {
    let kept = data.join("bin").join("pan");
    private_dir(&data.join("bin"))?;
    link_or_copy(exe, &kept)
}

fn link_or_copy(from: &Path, to: &Path) -> Result<(), LabError> {
    let _ = fs::remove_file(to);
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) => fs::copy(from, to).map(|_| ()).map_err(LabError::file("copy to", to)),
    }
}

/// Writes what a host boots from, or brings it up to date: its disk and whatever it wrote itself are left alone.
pub(crate) fn write_home(data: &Path, state: &LabState, secrets: &Secrets, host: LabHost) -> Result<(), LabError> {
    let home = home(data, host);
    let etc = home.join("etc");
    for dir in [home.clone(), home.join("log"), home.join("bin"), etc.clone(), etc.join("tls")] {
        private_dir(&dir)?;
    }
    link_or_copy(&data.join("bin").join("pan"), &home.join("bin").join("pan"))?;
    disk::ensure(data, host)?;
    if host.kind() == HostKind::Etcd {
        return write_etcd(&etc, state, secrets, host);
    }
    let Some(member) = Member::of(host) else {
        return Ok(());
    };
    let addresses = [member.address, member.a.addr(), member.b.addr()];
    write_certificate(&etc.join("tls"), secrets, &member.name, &member.roles, &addresses)?;
    // Those of the first period. What the controllers handed out since is newer.
    let pan = pan_member::period_key(&secrets.root_key, 0);
    write_missing(&etc.join("beat.key"), &pan_member::host_key(&pan, &member.name))?;
    if holds_pan_key(host.kind()) {
        write_missing(&etc.join("pan.key"), &pan)?;
    }
    if host.kind() == HostKind::Controller {
        write_private(&etc.join("authority.key"), secrets.authority.key_pem().as_bytes())?;
        write_private(&etc.join("root.key"), hex(&secrets.root_key).as_bytes())?;
    }
    let config = host_config(data, state, secrets, host, &member);
    let text = serde_saphyr::to_string(&config).map_err(|error| LabError::Config { host, message: error.to_string() })?;
    write_private(&etc.join("host.yaml"), text.as_bytes())
}

fn write_missing(path: &Path, key: &[u8; 32]) -> Result<(), LabError> {
    if path.exists() { Ok(()) } else { write_private(path, hex(key).as_bytes()) }
}

fn write_certificate(tls: &Path, secrets: &Secrets, name: &HostName, roles: &[Role], addresses: &[IpAddr]) -> Result<(), LabError> {
    if !tls.join("host.pem").exists() {
        let issued = secrets.authority.issue_host(name, roles, addresses)?;
        write_private(&tls.join("host.key"), issued.key_pem.as_bytes())?;
        write_private(&tls.join("host.pem"), issued.cert_pem.as_bytes())?;
    }
    write_private(&tls.join("ca.pem"), secrets.authority.cert_pem().as_bytes())
}

/// What a member of etcd boots from.
fn write_etcd(etc: &Path, state: &LabState, secrets: &Secrets, host: LabHost) -> Result<(), LabError> {
    let at = |path: &str| Path::new(STATE_DIR).join("etc").join(path);
    let name = |host: LabHost| HostName::new(host.to_string()).expect("a lab's host has a valid name");
    let fabrics = |host: LabHost| -> Vec<IpAddr> {
        [Net::FabricA, Net::FabricB].into_iter().flat_map(|net| host.addresses_on(net)).map(|address| address.addr()).collect()
    };
    write_certificate(&etc.join("tls"), secrets, &name(host), &[], &fabrics(host))?;
    let config = EtcdConfig {
        version: 1,
        name: name(host),
        members: etcd_members(state).map(|host| EtcdMember { name: name(host), addresses: fabrics(host) }).collect(),
        token: format!("pan-{}-{}", state.name, state.made),
        profile: state.profile.clone(),
        tls: TlsFiles { ca: at("tls/ca.pem"), cert: at("tls/host.pem"), key: at("tls/host.key") },
        data_dir: Path::new(STATE_DIR).join("etcd"),
    };
    let text = serde_saphyr::to_string(&config).map_err(|error| LabError::Config { host, message: error.to_string() })?;
    write_private(&etc.join("host.yaml"), text.as_bytes())
}

fn etcd_members(state: &LabState) -> impl Iterator<Item = LabHost> {
    state.hosts.iter().map(|host| host.name).filter(|host| host.kind() == HostKind::Etcd)
}

/// Every member on either fabric, fabric by fabric in turn, so that neither a lost member nor a lost fabric is asked
/// twice in a row.
fn store(state: &LabState) -> StoreConfig {
    let members: Vec<LabHost> = etcd_members(state).collect();
    if members.is_empty() {
        return StoreConfig::Embedded;
    }
    let nets = [Net::FabricA, Net::FabricB];
    let url = |at: usize, turn: usize| {
        let address = members[at].addresses_on(nets[(at + turn) % 2]).into_iter().next();
        address.map(|address| format!("https://{}:{ETCD_CLIENT_PORT}", address.addr()))
    };
    let endpoints = (0..2).flat_map(|turn| (0..members.len()).map(move |at| (at, turn))).filter_map(|(at, turn)| url(at, turn));
    StoreConfig::Etcd { endpoints: endpoints.collect() }
}

/// A host that belongs to the PAN, with its addresses.
struct Member {
    name: HostName,
    roles: Vec<Role>,
    address: IpAddr,
    a: IpNet,
    b: IpNet,
}

impl Member {
    /// `None` for the client.
    fn of(host: LabHost) -> Option<Self> {
        let role = match host.kind() {
            HostKind::Controller => Role::Controller,
            HostKind::Node => Role::Node,
            HostKind::Storage => Role::Storage,
            HostKind::Director => Role::Director,
            HostKind::Etcd | HostKind::Outside => return None,
        };
        Some(Self {
            name: HostName::new(host.to_string()).expect("a lab's host has a valid name"),
            roles: vec![role],
            address: host.address()?,
            a: host.addresses_on(Net::FabricA).into_iter().next()?,
            b: host.addresses_on(Net::FabricB).into_iter().next()?,
        })
    }
}

fn members(state: &LabState) -> Vec<Member> {
    state.hosts.iter().filter_map(|host| Member::of(host.name)).collect()
}

/// Whoever judges others' heartbeats: no host that runs servers.
fn holds_pan_key(kind: HostKind) -> bool {
    match kind {
        HostKind::Controller | HostKind::Storage | HostKind::Director => true,
        HostKind::Node | HostKind::Etcd | HostKind::Outside => false,
    }
}

fn of_role(state: &LabState, role: Role) -> Vec<PeerAddress> {
    let those = members(state).into_iter().filter(|one| one.roles.contains(&role));
    those.map(|one| PeerAddress { name: one.name, address: one.address, a: one.a.addr(), b: one.b.addr() }).collect()
}

/// Two storage hosts, two directors, and a controller if that makes the number odd: an even set bears no more losses than the next
/// smaller one. Controllers are needed as lessors only where there is nobody else: all of them may be lost, and of the others one
/// more, before servers fall silent.
fn lessors(state: &LabState) -> Vec<PeerAddress> {
    let of = |role, most| of_role(state, role).into_iter().take(most);
    let others: Vec<_> = of(Role::Storage, 2).chain(of(Role::Director, 2)).collect();
    let controllers = match others.len() {
        0 => state.hosts.iter().filter(|host| host.name.kind() == HostKind::Controller).count().min(3),
        some => usize::from(some % 2 == 0),
    };
    of(Role::Controller, controllers).chain(others).collect()
}

fn host_config(data: &Path, state: &LabState, secrets: &Secrets, host: LabHost, member: &Member) -> HostConfig {
    let at = |path: &str| Path::new(STATE_DIR).join("etc").join(path);
    let fabric = |net: Net, address: IpNet| FabricConfig { interface: net.name().to_owned(), address };
    HostConfig {
        version: 1,
        name: member.name.clone(),
        roles: member.roles.clone(),
        address: member.address,
        fabrics: FabricsConfig { a: fabric(Net::FabricA, member.a), b: fabric(Net::FabricB, member.b) },
        controllers: of_role(state, Role::Controller),
        lessors: lessors(state),
        directors: of_role(state, Role::Director),
        tls: TlsFiles { ca: at("tls/ca.pem"), cert: at("tls/host.pem"), key: at("tls/host.key") },
        beat_key: at("beat.key"),
        pan_key: holds_pan_key(host.kind()).then(|| at("pan.key")),
        profile: state.profile.clone(),
        state_dir: STATE_DIR.into(),
        run_dir: "/run/pan".into(),
        node: (host.kind() == HostKind::Node).then(|| NodeConfig {
            cpu: state.node_cpu,
            memory: state.node_memory,
            labels: state.labels.get(&host.to_string()).cloned().unwrap_or_default(),
            // The host's root is the machine's: other hosts' disks and all keys lie there.
            hidden: vec![data.to_path_buf()],
            gate: state.gate,
            images: images(),
        }),
        storage: (host.kind() == HostKind::Storage).then(|| StorageConfig {
            folder: None,
            capacity: None,
            labels: state.labels.get(&host.to_string()).cloned().unwrap_or_default(),
        }),
        director: (host.kind() == HostKind::Director).then(|| DirectorConfig { interface: Net::Outside.name().to_owned() }),
        controller: (host.kind() == HostKind::Controller).then(|| controller_config(state, secrets)),
        laboratory: state.in_the_clear.contains(&host.to_string()).then_some(LaboratoryConfig { volumes_in_the_clear: true }),
    }
}

/// A registry that somebody starts in a node's own network namespace, and layouts on the machine itself.
fn images() -> ImagesConfig {
    let of_the_node = RegistryRule { security: Security::Clear, host: Some("127.0.0.1".into()), ports: Ports::Any };
    ImagesConfig { registries: vec![of_the_node], layouts: Some("/var/lib/panloom-layouts".into()), ..ImagesConfig::default() }
}

fn controller_config(state: &LabState, secrets: &Secrets) -> ControllerConfig {
    let range = |(first, last): (u8, u8)| {
        let ends = outside(first).into_iter().zip(outside(last));
        ends.map(|(first, last)| Pool { first: first.addr(), last: last.addr() }).collect()
    };
    ControllerConfig {
        listen: Vec::new(),
        admin_token_sha256: secrets.admin_token_sha256(),
        root_key: Path::new(STATE_DIR).join("etc").join("root.key"),
        authority_key: Some(Path::new(STATE_DIR).join("etc").join("authority.key")),
        certificates_valid: CERTIFICATES_VALID,
        store: store(state),
        outside: vec![OUTSIDE_V4.into(), OUTSIDE_V6.into()],
        pools: range(POOL),
        reserved: range(OTHERS),
        host_image_allowed: true,
        layer7: true,
        egress: None,
        reach: state.machine_link.as_ref().map(|link| Reach { from: OUTSIDE_V4.into(), to: link.network.into() }),
    }
}
