//! What reading a manifest gives: objects with the places of their fields, or problems with theirs.

use super::tree::Tree;
use crate::{
    ClusterName, ClusterSpec, Code, ImportSpec, Name, PartitionName, PartitionSpec, PolicySpec, ServiceName, ServiceSpec, VolumeSpec,
};
use std::fmt;

/// The value of `api` in every document.
pub const API: &str = "pan/v1";

/// An object that a document defines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "clusters are the most frequent, and a box would only be in the way of matching")]
pub enum Object {
    /// A partition.
    Partition(PartitionName, PartitionSpec),
    /// A cluster.
    Cluster(PartitionName, ClusterName, ClusterSpec),
    /// A service.
    Service(PartitionName, ServiceName, ServiceSpec),
    /// A volume that is there by itself.
    Volume(PartitionName, Name, VolumeSpec),
    /// A service of another partition.
    Import(PartitionName, Name, ImportSpec),
    /// How many servers a cluster has, and when.
    Policy(PartitionName, Name, PolicySpec),
}

impl Object {
    /// The kind in lower case, as commands and events write it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Partition(..) => "partition",
            Self::Cluster(..) => "cluster",
            Self::Service(..) => "service",
            Self::Volume(..) => "volume",
            Self::Import(..) => "import",
            Self::Policy(..) => "policy",
        }
    }

    /// The partition the object lies in, or is.
    #[must_use]
    pub const fn partition(&self) -> &PartitionName {
        match self {
            Self::Partition(partition, _)
            | Self::Cluster(partition, _, _)
            | Self::Service(partition, _, _)
            | Self::Volume(partition, _, _)
            | Self::Import(partition, _, _)
            | Self::Policy(partition, _, _) => partition,
        }
    }

    /// The object's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Partition(name, _) => name.as_str(),
            Self::Cluster(_, name, _) => name.as_str(),
            Self::Service(_, name, _) => name.as_str(),
            Self::Volume(_, name, _) | Self::Import(_, name, _) | Self::Policy(_, name, _) => name.as_str(),
        }
    }
}

/// A document: the object it defines, and where each of its fields is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The object.
    pub object: Object,
    pub(super) source: String,
    pub(super) tree: Tree,
}

impl Document {
    /// Where a field such as `spec.after[0].cluster` is in the user's text: its value, or its key when the value is
    /// itself made of fields. A field that is absent has the place of what it would be in.
    #[must_use]
    pub fn locate(&self, path: &str) -> Place {
        self.tree.locate(path).within(&self.source)
    }
}

/// A place in a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file or other source, as the caller named it.
    pub source: String,
    /// Line, from 1; 0 when it is about the whole text.
    pub line: u64,
    /// Column in characters, from 1; 0 when it is about the whole text.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.source) } else { write!(f, "{}:{}:{}", self.source, self.line, self.column) }
    }
}

/// One thing wrong in a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Problem {
    /// The documented code.
    pub code: Code,
    /// Where.
    pub place: Place,
    /// What was found and what was expected.
    pub message: String,
}
