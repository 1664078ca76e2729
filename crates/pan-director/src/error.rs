//! Why the role cannot run, or a part of the desired state not be applied.

use pan_api::hostlink::LinkError;
use pan_linux::arp::AnnounceError;
use pan_linux::conntrack::ConntrackError;
use pan_linux::netns::NetnsError;
use pan_linux::nft::{ElementsError, NftError};
use pan_linux::origin::OriginError;
use pan_linux::overlay::OverlayError;
use pan_linux::rtnl::RtnlError;
use pan_linux::sysctl::SysctlError;
use pan_linux::underlay::UnderlayError;
use std::path::PathBuf;

/// Why the director role cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration names no known timing profile.
    #[error("the configuration's profile")]
    Profile(#[from] pan_member::profile::UnknownProfile),
    /// The PAN's key cannot be used.
    #[error("the PAN's key")]
    Key(#[from] pan_api::keyfile::KeyFileError),
    /// Heartbeats cannot be heard.
    #[error("heartbeats cannot be heard: {0}")]
    Deaf(String),
    /// Nodes cannot be told anything.
    #[error("nodes cannot be told for whom this director stands in")]
    Dumb(#[source] std::io::Error),
    /// The host's configuration has no part for this role.
    #[error("the host's configuration has no `director` part: expected one with `interface`, the interface towards the clients")]
    NoDirector,
    /// The link to the controllers cannot be set up.
    #[error("connect to the controllers")]
    Link(#[from] LinkError),
    /// The boot identifier cannot be read or made.
    #[error("read the boot identifier in {}", path.display())]
    Boot {
        /// The directory for run-time state.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The host's certificate cannot be used.
    #[error("serve metrics")]
    Tls(#[from] pan_api::tls::TlsError),
    /// The kernel refuses what the role needs from the start.
    #[error("prepare the host's network")]
    Prepare(#[from] Trouble),
}

/// What is not in force, by whom it concerns. All of it is tried again.
#[derive(Debug, Default)]
pub struct Troubles {
    /// Of the host and of partitions' units: until there is none, what was wanted is not said to be applied.
    pub units: Vec<Trouble>,
    /// Of services that partitions use of each other: nobody's units wait for them.
    pub imports: Vec<Trouble>,
}

impl Troubles {
    /// Of units only.
    #[must_use]
    pub fn of_units(units: impl IntoIterator<Item = Trouble>) -> Self {
        Self { units: units.into_iter().collect(), imports: Vec::new() }
    }

    /// Whether all is in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.units.is_empty() && self.imports.is_empty()
    }

    /// These as well.
    pub fn add(&mut self, more: Self) {
        self.units.extend(more.units);
        self.imports.extend(more.imports);
    }
}

impl IntoIterator for Troubles {
    type Item = Trouble;
    type IntoIter = std::iter::Chain<std::vec::IntoIter<Trouble>, std::vec::IntoIter<Trouble>>;

    /// All of them.
    fn into_iter(self) -> Self::IntoIter {
        self.units.into_iter().chain(self.imports)
    }
}

/// Why a part of the desired state is not in force. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A socket to the kernel.
    #[error("talk to the kernel about links and routes")]
    Rtnl(#[from] RtnlError),
    /// Routes between hosts.
    #[error(transparent)]
    Underlay(#[from] UnderlayError),
    /// Partition networks.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// Frames are not checked for where they come from.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The namespace of a partition.
    #[error(transparent)]
    Namespace(#[from] NetnsError),
    /// The rules of a partition.
    #[error("load the rules of partition network {vni}")]
    Rules {
        /// Its network's identifier.
        vni: u32,
        /// What was refused.
        #[source]
        source: NftError,
    },
    /// Elements of a partition's rules.
    #[error("change the rules of partition network {vni}")]
    Elements {
        /// Its network's identifier.
        vni: u32,
        /// What was refused.
        #[source]
        source: ElementsError,
    },
    /// What was in force is not any more, and nobody here did that. It is put right.
    #[error("somebody changed the namespace of partition network {vni}: {what}; put right")]
    Drifted {
        /// The network's identifier.
        vni: u32,
        /// What is not as it was.
        what: String,
    },
    /// A kernel setting of a partition's namespace.
    #[error(transparent)]
    Setting(#[from] SysctlError),
    /// The links, addresses and routes of a partition's namespace.
    #[error("wire the namespace of partition network {vni}")]
    Wiring {
        /// Its network's identifier.
        vni: u32,
        /// What was refused.
        #[source]
        source: RtnlError,
    },
    /// A unit whose network is not in the desired state.
    #[error("the unit of partition network {vni} has no network in the desired state")]
    NoNetwork {
        /// The network's identifier.
        vni: u32,
    },
    /// Dead connections.
    #[error("forget connections of partition network {vni}")]
    Forget {
        /// The network's identifier.
        vni: u32,
        /// What was refused.
        #[source]
        source: ConntrackError,
    },
    /// Counting connections.
    #[error("count the connections of partition network {vni}")]
    Count {
        /// The network's identifier.
        vni: u32,
        /// What was refused.
        #[source]
        source: ConntrackError,
    },
    /// Telling the neighbours.
    #[error(transparent)]
    Announce(#[from] AnnounceError),
    /// Keeping what was applied.
    #[error("keep what was applied in {}", path.display())]
    Keep {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// An error with all its causes in one line, for people.
pub(crate) fn line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
