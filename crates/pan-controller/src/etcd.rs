//! How a member of the controllers' etcd is started: the arguments that the store needs, from a host's configuration.

use pan_api::pki::STORE_NAME;
use pan_member::Profile;
use pan_model::host_config::{ETCD_CLIENT_PORT, ETCD_PEER_PORT, EtcdConfig, EtcdMember};
use pan_store::{ClusterState, Member, MemberTls, Pace};
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};

/// Why a member cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// The configuration names no known timing profile.
    #[error("the configuration's profile")]
    Profile(#[from] pan_member::profile::UnknownProfile),
    /// It is not one of the members.
    #[error("the configuration's list of members lacks {0} itself")]
    Stranger(String),
}

/// The arguments of `etcd`.
///
/// # Errors
/// [`EtcdError`]: the configuration contradicts itself.
pub fn etcd_arguments(config: &EtcdConfig) -> Result<Vec<OsString>, EtcdError> {
    let own = config.members.iter().find(|member| member.name == config.name);
    let own = own.ok_or_else(|| EtcdError::Stranger(config.name.to_string()))?;
    let member = Member {
        name: config.name.to_string(),
        peer_urls: urls(own, ETCD_PEER_PORT),
        client_urls: urls(own, ETCD_CLIENT_PORT),
        data_dir: config.data_dir.clone(),
        cluster: config.members.iter().map(|member| (member.name.to_string(), urls(member, ETCD_PEER_PORT))).collect(),
        state: ClusterState::New,
        token: config.token.clone(),
        tls: MemberTls {
            ca: config.tls.ca.clone(),
            cert: config.tls.cert.clone(),
            key: config.tls.key.clone(),
            allowed: STORE_NAME.to_owned(),
        },
        pace: match config.profile.parse()? {
            Profile::Lan => Pace::LAN,
            Profile::Shared => Pace::SHARED,
            Profile::Wan => Pace::WAN,
        },
    };
    Ok(member.arguments())
}

fn urls(member: &EtcdMember, port: u16) -> Vec<String> {
    let url = |address: &IpAddr| format!("https://{}", SocketAddr::new(*address, port));
    member.addresses.iter().map(url).collect()
}
