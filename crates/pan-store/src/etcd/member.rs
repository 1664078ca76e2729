//! How a member of etcd is started: the flags this crate counts on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::txn::OPERATIONS_MAX;

/// `--max-request-bytes`: [`BYTES_MAX`](crate::BYTES_MAX) of writes, and the keys of
/// [`OPERATIONS_MAX`] comparisons twice, once to compare and once to tell what was found. Above it etcd warns.
pub const REQUEST_BYTES_MAX: usize = 10 << 20;

/// `--quota-backend-bytes`: the file with its history; etcd advises at most 8 GiB.
const QUOTA_BYTES: u64 = 4 << 30;

/// `--auto-compaction-retention`, in transactions: a follower that was away for minutes can go on where it was.
const REVISIONS_KEPT: u32 = 10_000;

/// `--snapshot-count`: entries of the log kept in memory. etcd's default of 100,000 is made for small ones.
const LOG_ENTRIES_KEPT: u32 = 10_000;

/// How fast members notice that their leader is gone: after one to two election time-outs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two heartbeats of the leader.
    pub heartbeat: Duration,
    /// At least five heartbeats, and ten round trips.
    pub election: Duration,
}

impl Pace {
    /// For members in the same network, on machines of their own.
    pub const LAN: Self = Self { heartbeat: Duration::from_millis(30), election: Duration::from_millis(250) };
    /// For machines that also do other things: etcd's defaults.
    pub const SHARED: Self = Self { heartbeat: Duration::from_millis(100), election: Duration::from_millis(1000) };
    /// For members far from each other.
    pub const WAN: Self = Self { heartbeat: Duration::from_millis(500), election: Duration::from_millis(5000) };
}

/// The files of a member's certificates. Its own is shown to clients and to other members, as server and as
/// client, so it must allow both and name every address it listens on or calls from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberTls {
    /// The only authority trusted, of clients and of members.
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
    /// A DNS name that only certificates of members and of the store's users have: others of the same authority are refused.
    pub allowed: String,
}

/// Whether the cluster exists before this member does. A member that has its data directory ignores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    /// All members start for the first time.
    New,
    /// The others run, and were told of this one by `etcdctl member add`.
    Existing,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// Where it listens for other members, one for each fabric: `https://10.0.0.1:2380`.
    pub peer_urls: Vec<String>,
    /// Where it listens for clients: `https://10.0.0.1:2379`.
    pub client_urls: Vec<String>,
    /// Its own directory, mode 0700; with it, the member is the one it was.
    pub data_dir: PathBuf,
    /// Every member, this one too, with its peer URLs.
    pub cluster: Vec<(String, Vec<String>)>,
    pub state: ClusterState,
    /// Different for every cluster, so that members never join the wrong one.
    pub token: String,
    pub tls: MemberTls,
    pub pace: Pace,
}

impl Member {
    /// The arguments of `etcd`, version 3.4 to 3.6. Everybody who speaks to it, client or member, must show a
    /// certificate of the authority with the name allowed.
    pub fn arguments(&self) -> Vec<OsString> {
        let urls = |(name, urls): &(String, Vec<String>)| urls.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>();
        let cluster: Vec<String> = self.cluster.iter().flat_map(urls).collect();
        let state = match self.state {
            ClusterState::New => "new",
            ClusterState::Existing => "existing",
        };
        let texts = [
            ("name", self.name.clone()),
            ("listen-peer-urls", self.peer_urls.join(",")),
            ("initial-advertise-peer-urls", self.peer_urls.join(",")),
            ("listen-client-urls", self.client_urls.join(",")),
            ("advertise-client-urls", self.client_urls.join(",")),
            ("initial-cluster", cluster.join(",")),
            ("initial-cluster-state", state.to_owned()),
            ("initial-cluster-token", self.token.clone()),
            ("heartbeat-interval", self.pace.heartbeat.as_millis().to_string()),
            ("election-timeout", self.pace.election.as_millis().to_string()),
            // A member that was away must not depose a leader that all others hear.
            ("pre-vote", "true".to_owned()),
            ("max-txn-ops", OPERATIONS_MAX.to_string()),
            ("max-request-bytes", REQUEST_BYTES_MAX.to_string()),
            ("quota-backend-bytes", QUOTA_BYTES.to_string()),
            ("auto-compaction-mode", "revision".to_owned()),
            ("auto-compaction-retention", REVISIONS_KEPT.to_string()),
            ("snapshot-count", LOG_ENTRIES_KEPT.to_string()),
            ("client-cert-auth", "true".to_owned()),
            ("client-cert-allowed-hostname", self.tls.allowed.clone()),
            ("peer-client-cert-auth", "true".to_owned()),
            ("peer-cert-allowed-hostname", self.tls.allowed.clone()),
            // The same API once more as JSON, which nobody here uses.
            ("enable-grpc-gateway", "false".to_owned()),
            ("logger", "zap".to_owned()),
            ("log-level", "warn".to_owned()),
            ("log-outputs", "stderr".to_owned()),
        ];
        let MemberTls { ca, cert, key, allowed: _ } = &self.tls;
        let files = [
            ("data-dir", &self.data_dir),
            ("trusted-ca-file", ca),
            ("cert-file", cert),
            ("key-file", key),
            ("peer-trusted-ca-file", ca),
            ("peer-cert-file", cert),
            ("peer-key-file", key),
        ];
        let texts = texts.into_iter().map(|(flag, value)| argument(flag, Path::new(&value)));
        texts.chain(files.into_iter().map(|(flag, file)| argument(flag, file))).collect()
    }
}

fn argument(flag: &str, value: &Path) -> OsString {
    let mut argument = OsString::from(format!("--{flag}="));
    argument.push(value);
    argument
}
