//! Host: a Linux machine with an identity in the PAN.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a host does for the PAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Decides.
    Controller,
    /// Runs servers.
    Node,
    /// Keeps volumes.
    Storage,
    /// Owns public addresses.
    Director,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Controller, Self::Node, Self::Storage, Self::Director];

    /// The role's name, as in configuration and certificates.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Node => "node",
            Self::Storage => "storage",
            Self::Director => "director",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One of the two internal networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fabric {
    /// Fabric A.
    A,
    /// Fabric B.
    B,
}

impl Fabric {
    /// Both fabrics.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];
}

impl fmt::Display for Fabric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

/// Whether a host is heard on a fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// Heard.
    Up,
    /// Silent.
    Down,
}

/// Both fabrics of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fabrics {
    /// Fabric A.
    pub a: Link,
    /// Fabric B.
    pub b: Link,
}
