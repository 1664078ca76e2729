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

/// Whether a volume may have a size.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_size(size: ByteSize) -> Result<(), String> {
    if !(SIZE_MIN..=SIZE_MAX).contains(&size) {
        return Err(format!("{size} is no size of a volume: expected {SIZE_MIN} to {SIZE_MAX}"));
    }
    if !size.0.is_multiple_of(SIZE_STEP.0) {
        return Err(format!("{size} is no size of a volume: expected a multiple of {SIZE_STEP}"));
    }
    Ok(())
}

counter!(/// A volume within the PAN; never given twice, and never shown to a partition's users.
    VolumeId);
counter!(/// The fencing token of a volume: grows with every claim, and a replica obeys no smaller one than it has seen.
    VolumeEpoch);
counter!(/// What a volume's replicas have in common. Accepting a loss begins another one, so that copies of the old one can never
    /// come back as if they were current.
    Lineage);
counter!(/// One life of a head, as writer of one volume; never given twice.
    Session);
counter!(/// A snapshot within the PAN; never given twice, and never shown to a partition's users.
    SnapshotId);

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

/// A snapshot's name within its partition: `VOLUME@NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// Of which volume.
    pub volume: VolumeName,
    /// Its name there.
    pub name: Name,
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}@{}", self.volume, self.name))
    }
}

impl FromStr for SnapshotName {
    type Err = SnapshotNameError;
    fn from_str(text: &str) -> Result<Self, SnapshotNameError> {
        let (volume, name) = text.split_once('@').ok_or_else(|| SnapshotNameError::Form(text.to_owned()))?;
        Ok(Self { volume: VolumeName::new(volume)?, name: Name::new(name)? })
    }
}

/// Why a text is no name of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotNameError {
    /// It has no `@`.
    #[error("{0:?} names no snapshot: expected VOLUME@NAME, such as db-1.data@monday")]
    Form(String),
    /// A part of it is no name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Serialize for SnapshotName {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SnapshotName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for SnapshotName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SnapshotName".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "description": "A snapshot's name within its partition: VOLUME@NAME."})
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

/// A volume that a server has, and takes along wherever it runs: one of its own, or one that is there by itself (`volume`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServerVolume {
    /// Its name; the whole one is `SERVER.NAME`, and each server of the cluster has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Instead of a name of its own: a volume that is there by itself (kind Volume). The cluster may have one server then, unless it is
    /// one for many readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeName>,
    /// Where the server finds it.
    pub mount: String,
    /// How much it holds. It may grow later, and never shrinks. With `from`: as much as the snapshot, unless it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// The snapshot that it begins as, `VOLUME@NAME`; empty without one. Later it is not looked at any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<SnapshotName>,
    /// On how many storage hosts it is kept; 2 unless it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3))]
    pub copies: Option<u8>,
    /// What is made on it when it is used first; ext4 unless it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Filesystem>,
}

impl ServerVolume {
    /// The spec of a server's own volume; `None` for one that is there by itself.
    #[must_use]
    pub fn own(&self) -> Option<(&Name, VolumeSpec)> {
        let Self { size, from, copies, filesystem, .. } = self;
        let (from, copies, filesystem) = (from.clone(), copies.unwrap_or_else(two), filesystem.unwrap_or_default());
        Some((self.name.as_ref()?, VolumeSpec { size: *size, from, copies, filesystem, access: Access::One }))
    }
}

/// A volume that is there by itself, for whichever cluster names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VolumeSpec {
    /// How much it holds. It may grow later, and never shrinks. With `from`: as much as the snapshot, unless it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// The snapshot that it begins as, `VOLUME@NAME`; empty without one. Later it is not looked at any more, unless many read it: they are
    /// given the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<SnapshotName>,
    /// On how many storage hosts it is kept.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 3))]
    pub copies: u8,
    /// What is made on it when it is used first.
    #[serde(default)]
    pub filesystem: Filesystem,
    /// Who may have it.
    #[serde(default)]
    pub access: Access,
}

/// Who may have a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// One server, which reads and writes.
    #[default]
    One,
    /// Any number of servers, which read: each is given the snapshot that it begins as (`from`), and started again when that is another one.
    ReadersMany,
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

    #[test]
    fn a_snapshots_name_says_of_which_volume() {
        for good in ["data@monday", "web-1.data@before-the-upgrade"] {
            assert_eq!(good.parse::<SnapshotName>().unwrap().to_string(), good);
        }
        for bad in ["", "data", "@monday", "data@", "data@a@b", "data@A", "a.b.c@monday"] {
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad:?}");
        }
    }
}
