//! What a host finds on its disk at first boot: configuration, certificate, keys, the program.
//!
//! A host's disk is `DATA/hosts/HOST`; inside the host it is [`STATE_DIR`].

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use pan_model::HostName;
use pan_model::host::Role;
use pan_model::host_config::{
    ControllerAddress, ControllerConfig, DirectorConfig, FabricConfig, FabricsConfig, HostConfig, NodeConfig, Pool, Reach, TlsFiles,
};

use crate::address::{Net, OUTSIDE_V4, OUTSIDE_V6, POOL, outside};
use crate::error::LabError;
use crate::name::{HostKind, LabHost};
use crate::pki::{Secrets, hex, private_dir};
use crate::state::{LabState, write_private};

/// A host's disk as the host itself sees it.
pub(crate) const STATE_DIR: &str = "/var/lib/pan";

/// A host's disk as the machine sees it.
pub(crate) fn disk(data: &Path, host: LabHost) -> PathBuf {
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

/// Writes a host's disk, or brings it up to date: state the host itself wrote is left alone.
pub(crate) fn write_disk(data: &Path, state: &LabState, secrets: &Secrets, host: LabHost) -> Result<(), LabError> {
    let disk = disk(data, host);
    for dir in [disk.clone(), disk.join("log"), disk.join("bin"), disk.join("tls")] {
        private_dir(&dir)?;
    }
    link_or_copy(&data.join("bin").join("pan"), &disk.join("bin").join("pan"))?;
    let Some(member) = Member::of(host) else {
        return Ok(());
    };
    let tls = disk.join("tls");
    if !tls.join("host.pem").exists() {
        let addresses = [member.address, member.a.addr(), member.b.addr()];
        let issued = secrets.authority.issue_host(&member.name, &member.roles, &addresses)?;
        write_private(&tls.join("host.key"), issued.key_pem.as_bytes())?;
        write_private(&tls.join("host.pem"), issued.cert_pem.as_bytes())?;
    }
    write_private(&tls.join("ca.pem"), secrets.authority.cert_pem().as_bytes())?;
    let beat = pan_member::frame::host_key(&secrets.pan_key, &member.name);
    write_private(&disk.join("beat.key"), hex(&beat).as_bytes())?;
    if host.kind() == HostKind::Controller {
        write_private(&disk.join("pan.key"), hex(&secrets.pan_key).as_bytes())?;
    }
    let config = host_config(data, state, secrets, host, &member);
    let text = serde_saphyr::to_string(&config).map_err(|error| LabError::Config { host, message: error.to_string() })?;
    write_private(&disk.join("host.yaml"), text.as_bytes())
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
            HostKind::Outside => return None,
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

fn host_config(data: &Path, state: &LabState, secrets: &Secrets, host: LabHost, member: &Member) -> HostConfig {
    let at = |path: &str| Path::new(STATE_DIR).join(path);
    let fabric = |net: Net, address: IpNet| FabricConfig { interface: net.name().to_owned(), address };
    let controllers = members(state)
        .into_iter()
        .filter(|one| one.roles.contains(&Role::Controller))
        .map(|one| ControllerAddress { name: one.name, address: one.address, a: one.a.addr(), b: one.b.addr() })
        .collect();
    HostConfig {
        version: 1,
        name: member.name.clone(),
        roles: member.roles.clone(),
        address: member.address,
        fabrics: FabricsConfig { a: fabric(Net::FabricA, member.a), b: fabric(Net::FabricB, member.b) },
        controllers,
        tls: TlsFiles { ca: at("tls/ca.pem"), cert: at("tls/host.pem"), key: at("tls/host.key") },
        beat_key: at("beat.key"),
        profile: state.profile.clone(),
        state_dir: STATE_DIR.into(),
        run_dir: "/run/pan".into(),
        node: (host.kind() == HostKind::Node).then(|| NodeConfig {
            cpu: state.node_cpu,
            memory: state.node_memory,
            labels: state.labels.get(&host.to_string()).cloned().unwrap_or_default(),
            // The host's root is the machine's: other hosts' disks and all keys lie there.
            hidden: vec![data.to_path_buf()],
        }),
        director: (host.kind() == HostKind::Director).then(|| DirectorConfig { interface: Net::Outside.name().to_owned() }),
        controller: (host.kind() == HostKind::Controller).then(|| controller_config(state, secrets, at("pan.key"))),
    }
}

fn controller_config(state: &LabState, secrets: &Secrets, pan_key: PathBuf) -> ControllerConfig {
    let (first, last) = (outside(POOL.0), outside(POOL.1));
    let pools = first.iter().zip(&last).map(|(first, last)| Pool { first: first.addr(), last: last.addr() });
    let mapped = state.machine_link.as_ref().filter(|link| link.network != OUTSIDE_V4);
    ControllerConfig {
        listen: Vec::new(),
        admin_token_sha256: secrets.admin_token_sha256(),
        pan_key,
        outside: vec![OUTSIDE_V4.into(), OUTSIDE_V6.into()],
        pools: pools.collect(),
        host_image_allowed: true,
        reach: mapped.map(|link| Reach { from: OUTSIDE_V4.into(), to: link.network.into() }),
        laboratory: true,
    }
}
