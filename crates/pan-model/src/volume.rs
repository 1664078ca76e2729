//! Volume: block storage of a partition, mirrored on storage hosts; and the numbers that its parts (arbiter, head, replicas)
//! are fenced and told apart by.

use crate::id::{NameError, counter};
use crate::{ByteSize, Name, PartitionName, ServerName};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// Fewest and most bytes of a volume: less holds no journaling file system, and more has no bitmap that fits a host's memory.
pub const SIZE_MIN: ByteSize = ByteSize(16 << 20);
/// See [`SIZE_MIN`].
pub const SIZE_MAX: ByteSize = ByteSize(16 << 40);
/// Sizes are multiples of this: the block that checksums are made over.
pub const SIZE_STEP: ByteSize = ByteSize(4096);
/// Most copies: more cost every write, and two at the same time are lost less often than a whole site.
pub const COPIES_MAX: u8 = 3;

counter!(/// A volume within the PAN; never given twice, and never shown to a partition's users.
    VolumeId);
counter!(/// The fencing token of a volume: grows with every claim, and a replica obeys no smaller one than it has seen.
    VolumeEpoch);
counter!(/// What a volume's replicas have in common. Accepting a loss begins another one, so that copies of the old one can never
    /// come back as if they were current.
    Lineage);
counter!(/// One life of a head, as writer of one volume; never given twice.
    Session);

/// A volume's name within its partition: `NAME`, or `SERVER.NAME` for one that belongs to a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct VolumeName(String);

impl VolumeName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`NameError`]: a part is no name.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        match text.split_once('.') {
            None => drop(Name::new(text.as_str())?),
            Some((server, name)) => {
                ServerName::new(server)?;
                Name::new(name)?;
            }
        }
        Ok(Self(text))
    }

    /// The name of a server's own volume.
    #[must_use]
    pub fn of(server: &ServerName, name: &Name) -> Self {
        Self(format!("{server}.{name}"))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for VolumeName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for VolumeName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// A volume across the PAN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VolumeKey {
    /// Its partition.
    pub partition: PartitionName,
    /// Its name there.
    pub name: VolumeName,
}

impl fmt::Display for VolumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.name)
    }
}

/// A volume that each server of a cluster has, and takes along wherever it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServerVolume {
    /// Its name; the whole one is `SERVER.NAME`.
    pub name: Name,
    /// How much it holds. It may grow later, and never shrinks.
    pub size: ByteSize,
    /// Where the server finds it.
    pub mount: String,
    /// On how many storage hosts it is kept.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 3))]
    pub copies: u8,
    /// What is made on it when it is used first.
    #[serde(default)]
    pub filesystem: Filesystem,
}

const fn two() -> u8 {
    2
}

/// What is made on a volume that is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// ext4.
    #[default]
    Ext4,
    /// XFS.
    Xfs,
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volumes_name_is_its_own_or_its_servers_and_its_own() {
        for good in ["data", "web-1.data", "a.b"] {
            assert_eq!(VolumeName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "a.", ".a", "a.b.c", "A", "web-1.", "a..b"] {
            assert!(VolumeName::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(VolumeName::of(&"web-1".parse().unwrap(), &"data".parse().unwrap()).as_str(), "web-1.data");
    }
}
