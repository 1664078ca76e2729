//! Kinds of objects as the command line names them, and where the API has them.

use super::failure::Failure;
use clap::ValueEnum;
use pan_api::client::escape;
use pan_model::{ClusterName, HostName, Name, PartitionName, ServerName, ServiceName, VolumeName};
use std::fmt;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// A tenant's closed world.
    #[value(aliases = ["partitions", "Partition"])]
    Partition,
    /// A set of like servers.
    #[value(aliases = ["clusters", "Cluster"])]
    Cluster,
    /// A logical machine.
    #[value(aliases = ["servers", "Server"])]
    Server,
    /// A public address and port.
    #[value(aliases = ["services", "Service"])]
    Service,
    /// A service of another partition.
    #[value(aliases = ["imports", "Import"])]
    Import,
    /// Block storage.
    #[value(aliases = ["volumes", "Volume"])]
    Volume,
    /// A host that runs servers.
    #[value(aliases = ["nodes", "Node"])]
    Node,
    /// A Linux machine of the PAN.
    #[value(aliases = ["hosts", "Host"])]
    Host,
    /// How many servers a cluster has, and when.
    #[value(aliases = ["policies", "Policy"])]
    Policy,
    /// What happened and why.
    #[value(aliases = ["events", "Event"])]
    Event,
    /// A credential.
    #[value(aliases = ["tokens", "Token"])]
    Token,
}

impl Kind {
    /// Whether objects of the kind lie in a partition.
    pub const fn is_in_partition(self) -> bool {
        match self {
            Self::Cluster | Self::Server | Self::Service | Self::Import | Self::Volume | Self::Policy | Self::Event => true,
            Self::Partition | Self::Node | Self::Host | Self::Token => false,
        }
    }

    /// Refuses a name that nothing of the kind can have.
    pub fn require_name(self, name: &str) -> Result<(), Failure> {
        let told = |error: String| Failure::Usage(format!("no {self} can be called that: {error}"));
        let named = match self {
            Self::Partition => PartitionName::new(name).map(drop),
            Self::Cluster => ClusterName::new(name).map(drop),
            Self::Server => ServerName::new(name).map(drop),
            Self::Service => ServiceName::new(name).map(drop),
            Self::Volume => VolumeName::new(name).map(drop),
            Self::Node | Self::Host => HostName::new(name).map(drop),
            Self::Import | Self::Policy | Self::Event | Self::Token => Name::new(name).map(drop),
        };
        named.map_err(|error| told(error.to_string()))?;
        if self == Self::Server && !is_of_cluster(name) {
            return Err(told(format!("{name:?} has no number: expected CLUSTER-N, like web-1")));
        }
        Ok(())
    }

    const fn plural(self) -> &'static str {
        match self {
            Self::Partition => "partitions",
            Self::Cluster => "clusters",
            Self::Server => "servers",
            Self::Service => "services",
            Self::Import => "imports",
            Self::Volume => "volumes",
            Self::Node => "nodes",
            Self::Host => "hosts",
            Self::Policy => "policies",
            Self::Event => "events",
            Self::Token => "tokens",
        }
    }

    /// The path of all objects of the kind: of a partition, or of everything.
    pub fn list_path(self, partition: Option<&PartitionName>) -> String {
        match partition {
            Some(partition) if self.is_in_partition() => format!("/v1/partitions/{partition}/{}", self.plural()),
            _ => format!("/v1/{}", self.plural()),
        }
    }

    /// The path of one object.
    pub fn path(self, partition: Option<&PartitionName>, name: &str) -> String {
        format!("{}/{}", self.list_path(partition), escape(name))
    }
}

/// Servers are called by their cluster and their number in it, from 1.
fn is_of_cluster(name: &str) -> bool {
    let number = |text: &str| !text.starts_with('0') && text.parse::<u32>().is_ok();
    name.rsplit_once('-').is_some_and(|(cluster, ordinal)| ClusterName::new(cluster).is_ok() && number(ordinal))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no kind is hidden");
        f.pad(value.get_name())
    }
}
