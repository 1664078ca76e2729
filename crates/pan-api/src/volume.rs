//! Volume as the API shows it; and between controllers and hosts: which replicas a storage host keeps, what a node attaches for a
//! server, and what a head asks of the leader while it serves one.

use pan_model::mirror::{Change, Mark, Member, Record, Writer};
use pan_model::volume::{Access, Filesystem};
use pan_model::{
    ByteSize, Epoch, HostName, Lineage, Name, PartitionName, ServerKey, ServerName, SnapshotId, SnapshotName, VolumeEpoch, VolumeId,
    VolumeName,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A replica of a storage host. Replicas that no order names stay as they are: only an order to discard one ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaOrder {
    /// Of which volume; a host has one replica of it at most.
    pub volume: VolumeId,
    /// Bytes of the volume. It grows and never shrinks.
    pub size: ByteSize,
    /// What is to be of it.
    pub want: ReplicaWant,
    /// What it begins with, where it is to be [`Found`](ReplicaWant::Found): a snapshot that this host keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<SnapshotId>,
}

/// A snapshot on a storage host. Snapshots that no order names stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotOrder {
    /// Which.
    pub snapshot: SnapshotId,
    /// What is to be of it.
    pub want: SnapshotWant,
}

/// What is to be of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotWant {
    /// It is taken by the storage host itself: nobody has the volume. The replica obeys this writer, who is nobody, from then on; if it
    /// is not sure that it is equal to the others it takes none and says so.
    Take {
        /// Of which volume.
        volume: VolumeId,
        /// For whom.
        writer: Writer,
        /// Of which lineage.
        lineage: Lineage,
    },
    /// It is removed.
    Discard,
}

/// What is to be of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaWant {
    /// The volume begins with it: where there is none it is made, of the first lineage. Nobody has written to the volume yet.
    Found,
    /// It is kept; where there is none, one is made that has nothing and is given everything by a head.
    Keep,
    /// It is removed, data and all.
    Discard,
}

/// A volume that a node attaches for a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeOrder {
    /// Which.
    pub volume: VolumeId,
    /// What people call it.
    pub name: VolumeName,
    /// Its bytes.
    pub size: ByteSize,
    /// Where the server finds it.
    pub mount: String,
    /// What is made on it when it is used first.
    pub filesystem: Filesystem,
    /// The server may not change what is on it.
    #[serde(default)]
    pub read_only: bool,
    /// The right to write it; absent while its replicas are not made yet, or while the server may not have it.
    pub claim: Option<Claim>,
}

/// The right of one head to write a volume, and where that volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The arbiter's record.
    pub record: Record,
    /// Where its members are.
    pub members: Vec<MemberPlace>,
    /// The capability for the writer of that record on the host that is told of it, in hexadecimal digits ([`crate::capability`]).
    pub capability: String,
    /// Snapshots that its head is to take, the smallest number first. Whatever it takes gets larger numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotId>,
}

/// Where a replica is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberPlace {
    /// Which.
    pub member: Member,
    /// The storage host.
    pub host: HostName,
    /// Its address on fabric A.
    pub a: IpAddr,
    /// Its address on fabric B.
    pub b: IpAddr,
}

/// `POST /internal/v1/volumes`: a node asks for a volume of a server that is bound to it. The answer is a [`Claim`]: the record
/// as it is after whatever was done, or refused. Only the leader answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskVolume {
    /// [`crate::WIRE_VERSION`].
    pub version: u16,
    /// The node.
    pub host: HostName,
    /// The volume.
    pub volume: VolumeId,
    /// Whose it is.
    pub server: ServerKey,
    /// Under which binding; of an older one everything is refused.
    pub binding: Epoch,
    /// What is asked.
    pub ask: VolumeAsk,
}

/// What a node asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeAsk {
    /// Another life of the head: a new epoch and session.
    Claim,
    /// A member is to go, or to come.
    Change {
        /// As whom.
        writer: Writer,
        /// Knowing of so many changes.
        expect: u64,
        /// The change.
        change: Change,
        /// What the member is sure to have on its disk, if it is evicted and that is known. Heads of earlier releases do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        had: Option<Mark>,
    },
    /// A snapshot was taken, or there is none.
    Taken {
        /// As whom.
        writer: Writer,
        /// Which.
        snapshot: SnapshotId,
        /// Who has it. Heads of earlier releases do not say: then it is whoever is in sync when that is heard.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        members: Option<BTreeSet<Member>>,
        /// Why there is none, for people.
        trouble: Option<String>,
    },
}

/// A replica as its storage host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// Of which volume.
    pub volume: VolumeId,
    /// What it is a copy of; zero: of nothing yet.
    pub lineage: Lineage,
    /// The newest epoch it was fenced for.
    pub epoch: VolumeEpoch,
    /// It has not been given everything since it was new.
    #[serde(default)]
    pub partial: bool,
    /// It is being given what it missed while it was out: until it is in sync it has some of one moment and some of another.
    #[serde(default)]
    pub catching_up: bool,
    /// Bytes it can hold.
    #[serde(default)]
    pub size: ByteSize,
    /// Bytes it takes.
    pub used: ByteSize,
    /// What is wrong with it, for people.
    pub trouble: Option<String>,
    /// Something of it cannot be found on its disk any more, and writing it does not help: it has to be made anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
}

/// The disk that a storage host keeps replicas on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReport {
    /// What the file system holds.
    pub capacity: ByteSize,
    /// What of it is free.
    pub free: ByteSize,
    /// It takes nothing that needs space.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// It is not in use, and nothing in it can be read: its disk failed or is not there, or what describes it is damaged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// What is wrong with it, for people.
    pub trouble: Option<String>,
    /// The snapshots in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotReport>,
    /// Requests of heads that had lost their volume, none of which was done, since the host's process was started.
    #[serde(default)]
    pub refused: u64,
    /// Connections that showed no good certificate, or no good capability for whoever they are, since then.
    #[serde(default)]
    pub strangers: u64,
}

/// A snapshot as its storage host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotReport {
    /// Which.
    pub snapshot: SnapshotId,
    /// For which epoch this host took it by itself, if it did so since it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<VolumeEpoch>,
    /// Why it is not there, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// An attached volume as its node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeReport {
    /// Which.
    pub volume: VolumeId,
    /// The epoch its head writes with.
    pub epoch: VolumeEpoch,
    /// How far it is.
    pub state: HeadState,
    /// Bytes that are still to be copied to members that come back.
    pub behind: ByteSize,
    /// Times its head ended and was followed by another one under the same device.
    pub restarts: u64,
    /// Extents of copies that had rotted and were written anew from another copy, since it is attached.
    #[serde(default)]
    pub mended: u64,
    /// Extents that no copy in sync has whole, as far as its head knows.
    #[serde(default)]
    pub rotten: u64,
    /// Why its file system is smaller than it, where that could not grow; it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ungrown: Option<String>,
}

/// How far a head is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadState {
    /// Its replicas do not all obey yet.
    Opening,
    /// It serves.
    Open,
    /// It serves no more; why, for people.
    Over(String),
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Its partition.
    pub partition: PartitionName,
    /// Its name.
    pub name: VolumeName,
    /// How much it holds.
    pub size: ByteSize,
    /// On how many storage hosts it is to be.
    pub copies: u8,
    /// How many copies have everything.
    pub in_sync: u64,
    /// Grows each time its writer changes.
    pub epoch: u64,
    /// The server that has it mounted now.
    pub attached_to: Option<ServerName>,
    /// `ready` when all copies have everything.
    pub state: VolumeState,
    /// The server that it belongs to, which need not be there; of one that is there by itself the one that uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// Where that server finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// Bytes that one copy takes, the largest there is; absent while no storage host has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<ByteSize>,
    /// What is on it.
    pub filesystem: Filesystem,
    /// Who may have it.
    #[serde(default)]
    pub access: Access,
    /// Bytes that are still to be copied, as far as a head told.
    pub behind: ByteSize,
    /// The snapshot that it began as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<SnapshotName>,
    /// Its snapshots, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<Snapshot>,
    /// Where its copies are (PAN roles only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<Replica>,
}

/// Most bytes of a snapshot that are read at once.
pub const READ_MAX: u64 = 4 << 20;
/// Longest part of a snapshot of which it is asked at once where it has data: a quarter of a million blocks are looked up for it.
pub const MAP_MAX: u64 = 1 << 30;

/// Where a snapshot has data; elsewhere it reads as zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotMap {
    /// Offset and length of each stretch of data, in order.
    pub data: Vec<(u64, u64)>,
}

/// `POST /v1/partitions/P/volumes/V/snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeSnapshot {
    /// What it is called.
    pub name: Name,
}

/// `POST /v1/partitions/P/volumes/V/resize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeVolume {
    /// Its size from now on.
    pub size: ByteSize,
}

/// `POST /v1/partitions/P/volumes/V/recover`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RecoverVolume {
    /// The volume's name once more: what its last copies had and the others had not is lost for ever.
    pub accept_data_loss: VolumeName,
}

/// A volume as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its name within the volume; `VOLUME@NAME` is the whole one.
    pub name: Name,
    /// How much the volume held.
    pub size: ByteSize,
    /// When it was asked for (RFC 3339).
    pub asked: String,
    /// How far it is.
    pub state: SnapshotState,
    /// On how many storage hosts it is.
    pub copies: u64,
    /// Why there is none, or why it is not taken yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// State of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotState {
    /// It is not taken yet.
    Taking,
    /// It is kept.
    Ready,
    /// It could not be taken.
    Failed,
}

/// A copy of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// The storage host.
    pub host: HostName,
    /// Whether it has everything.
    pub in_sync: bool,
    /// Bytes it takes, as its host says.
    pub used: Option<ByteSize>,
    /// What is wrong with it, as its host says.
    pub trouble: Option<String>,
}

/// State of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VolumeState {
    /// Its copies are being made.
    Making,
    /// All its copies have everything.
    Ready,
    /// Some do not.
    Degraded,
    /// It goes as soon as nobody has it any more.
    Deleting,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_earlier_releases_do_not_say_who_has_a_snapshot() {
        let before = r#"{"taken":{"writer":{"epoch":4,"session":9},"snapshot":3,"trouble":null}}"#;
        let now = r#"{"taken":{"writer":{"epoch":4,"session":9},"snapshot":3,"members":[1,3],"trouble":null}}"#;
        for (text, wanted) in [(before, None), (now, Some(BTreeSet::from([Member(1), Member(3)])))] {
            let ask: VolumeAsk = serde_json::from_str(text).unwrap();
            let VolumeAsk::Taken { members, .. } = &ask else { panic!("{ask:?}") };
            assert_eq!((members, serde_json::to_string(&ask).unwrap().as_str()), (&wanted, text));
        }
    }
}
