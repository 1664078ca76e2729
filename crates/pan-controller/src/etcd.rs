//! How a member of the controllers' etcd is started: the arguments that the store needs, from a host's configuration.

mod note;
mod prepare;

pub use prepare::{Prepared, etcd_prepare, etcd_witness};

use pan_api::pki::STORE_NAME;
use pan_member::Profile;
use pan_model::host_config::{ETCD_CLIENT_PORT, ETCD_PEER_PORT, EtcdConfig, EtcdMember};
use pan_store::{ClusterState, Member, MemberTls, Pace};
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Why a member cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// The configuration names no known timing profile.
    #[error("the configuration's profile")]
    Profile(#[from] pan_member::profile::UnknownProfile),
    /// It is not one of the members.
    #[error("the configuration's list of members lacks {0} itself")]
    Stranger(String),
    /// What is known of the member's past cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    State {
        /// What was tried.
        action: &'static str,
        /// Of which file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificates do not do.
    #[error("the certificates")]
    Tls(#[from] pan_api::tls::TlsError),
    /// It lost its data, and there is nobody to replace it.
    #[error("it lost its data")]
    Lost(#[from] pan_store::ReplaceError),
}

/// Who the members are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cluster {
    /// Those of the configuration, as when all started for the first time. A member with data knows better and does not look.
    Configured,
    /// Those with these peer URLs, which were told of this one.
    Joined(Vec<Vec<String>>),
}

impl Cluster {
    fn has(&self, urls: &[String]) -> bool {
        match self {
            Self::Configured => true,
            Self::Joined(known) => known.iter().flatten().any(|url| urls.contains(url)),
        }
    }
}

/// The arguments of `etcd`.
///
/// # Errors
/// [`EtcdError`]: the configuration contradicts itself.
fn arguments(config: &EtcdConfig, cluster: &Cluster) -> Result<Vec<OsString>, EtcdError> {
    let own = own(config)?;
    let state = match cluster {
        Cluster::Configured => ClusterState::New,
        Cluster::Joined(_) => ClusterState::Existing,
    };
    let members = config.members.iter().map(|member| (member.name.to_string(), urls(member, ETCD_PEER_PORT)));
    let member = Member {
        name: config.name.to_string(),
        peer_urls: urls(own, ETCD_PEER_PORT),
        client_urls: urls(own, ETCD_CLIENT_PORT),
        data_dir: config.data_dir.clone(),
        cluster: members.filter(|(_, urls)| cluster.has(urls)).collect(),
        state,
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

fn own(config: &EtcdConfig) -> Result<&EtcdMember, EtcdError> {
    let own = config.members.iter().find(|member| member.name == config.name);
    own.ok_or_else(|| EtcdError::Stranger(config.name.to_string()))
}

fn urls(member: &EtcdMember, port: u16) -> Vec<String> {
    let url = |address: &IpAddr| format!("https://{}", SocketAddr::new(*address, port));
    member.addresses.iter().map(url).collect()
}
