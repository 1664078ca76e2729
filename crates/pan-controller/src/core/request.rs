//! What an operator may ask of the controller.

use super::digest::Digest;
use super::domain::Domain;
use super::tokens;
use pan_api::requests::Applied;
use pan_api::volume::{AskVolume, Claim};
use pan_model::host::Role;
use pan_model::manifest::Document;
use pan_model::{ByteSize, ClusterName, HostName, Name, PartitionName, ServerKey, VolumeKey};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A change asked for.
#[derive(Debug, Clone)]
pub enum Request {
    /// Create or change objects; all or nothing.
    Apply {
        /// The documents, parsed.
        documents: Vec<Document>,
        /// Check everything, change nothing.
        dry_run: bool,
    },
    /// Delete an object.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its partition; absent for a partition itself.
        partition: Option<PartitionName>,
        /// Its name.
        name: String,
        /// Delete what depends on it as well.
        cascade: bool,
    },
    /// Change the number of servers of a cluster.
    Scale {
        /// The partition.
        partition: PartitionName,
        /// The cluster.
        cluster: ClusterName,
        /// Servers wanted.
        servers: u32,
    },
    /// Stop and start a server on its node.
    Restart(ServerKey),
    /// Stop a server until it is started again.
    Stop(ServerKey),
    /// Start a stopped or failed server.
    Start(ServerKey),
    /// Move a server at once, without waiting for its connections.
    Failover {
        /// The server.
        key: ServerKey,
        /// Where to; the planner chooses when absent.
        to: Option<HostName>,
    },
    /// Move a server after its connections have ended.
    Migrate {
        /// The server.
        key: ServerKey,
        /// Where to; the planner chooses when absent.
        to: Option<HostName>,
    },
    /// Move everything away from a node.
    Drain {
        /// The node.
        node: HostName,
        /// Also when that takes somebody's room.
        force: bool,
    },
    /// Empty a failure domain, as far at a time as every promise allows.
    DrainDomain(Domain),
    /// End that.
    UndoDrain(Domain),
    /// Let a node take no new servers.
    Cordon(HostName),
    /// End a drain or a cordon.
    Uncordon(HostName),
    /// Forget a node's quarantine.
    Clear(HostName),
    /// Change labels of a node.
    Label {
        /// The node.
        node: HostName,
        /// New values; `None` removes.
        labels: BTreeMap<String, Option<String>>,
    },
    /// Let somebody in: with a token that is known by a number.
    CreateToken(u64, tokens::New),
    /// Forget a token.
    RevokeToken(u64),
    /// Become a host with a token.
    Join(Joining),
    /// Give a host its certificate anew.
    Renew(HostName),
    /// Tell a host which keys it should have.
    Keys {
        /// The host.
        host: HostName,
        /// The newest period whose keys it has.
        have: Option<u64>,
        /// How far its wall clock was ahead of this controller's when the question came in, microseconds.
        ahead: Option<i64>,
    },
    /// Begin a new period of keys.
    RotateKeys,
    /// Keep a volume as it is.
    TakeSnapshot {
        /// The volume.
        volume: VolumeKey,
        /// What the snapshot is called.
        name: Name,
    },
    /// Remove a snapshot.
    RemoveSnapshot {
        /// The volume.
        volume: VolumeKey,
        /// The snapshot.
        name: Name,
    },
    /// Let a volume grow.
    ResizeVolume {
        /// The volume.
        volume: VolumeKey,
        /// Its size from now on.
        size: ByteSize,
    },
    /// Go on with what is left of a volume.
    RecoverVolume(VolumeKey),
    /// A node asks for a volume of one of its servers.
    Volume(Box<AskVolume>),
    /// Take a host out of the PAN.
    RemoveHost(HostName),
}

impl Request {
    /// Whether it may change about as many records as a transaction holds: it is then committed by itself.
    #[must_use]
    pub const fn is_large(&self) -> bool {
        matches!(self, Self::Apply { .. } | Self::Delete { .. } | Self::Scale { .. })
    }

    /// Whether hosts ask it all the time, and each answer says by itself how new it is.
    #[must_use]
    pub const fn is_periodic(&self) -> bool {
        matches!(self, Self::Keys { .. })
    }
}

/// A machine that wants to become a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// The id of its token.
    pub token: u64,
    /// SHA-256 of the secret it showed.
    pub secret: Digest,
    /// The name it believes to have.
    pub host: HostName,
    /// SHA-256 of the key it wants to be certified.
    pub key: Digest,
    /// Its addresses: on `lo`, on fabric A, on fabric B.
    pub addresses: [IpAddr; 3],
}

/// Kinds that can be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A partition.
    Partition,
    /// A cluster.
    Cluster,
    /// A service.
    Service,
    /// A volume.
    Volume,
    /// An import.
    Import,
    /// A policy.
    Policy,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// What became of each document.
    Applied(Vec<Applied>),
    /// It is committed.
    Done,
    /// Which periods' keys are used, and handed out.
    Keys {
        /// Used.
        current: u64,
        /// Handed out.
        newest: u64,
    },
    /// The right to write a volume, as its record is now; to be sealed.
    Volume(Box<Claim>),
    /// A certificate may be signed.
    Certify {
        /// Roles to put into it.
        roles: Vec<Role>,
        /// The number to issue it under.
        serial: u64,
    },
}
