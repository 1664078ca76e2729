//! What a heartbeat process remembers, as it is handed to the process that follows it: everything by which that one goes on
//! as if nothing had happened. Plain data, in the form in which it is handed over; numbers are nanoseconds of the boot
//! clock where they are times.
//!
//! A change here is a change of the handover's format. Nothing of it is ever on a disk.

use std::collections::BTreeMap;

use pan_model::{Admission, HostName};
use serde::{Deserialize, Serialize};

/// A [`crate::Holder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolderMemory {
    pub boot: u64,
    pub admission: Admission,
    /// What each lease lasts.
    pub lease: u64,
    pub standing: StandingMemory,
    /// In the order of the configuration.
    pub lessors: Vec<GrantorMemory>,
    /// The last heartbeats, oldest first.
    pub sent: Vec<SentMemory>,
    /// When the last acknowledgement came in on either fabric.
    pub heard: [Option<u64>; 2],
}

/// How the lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StandingMemory {
    None,
    Granted(u64),
    Waiting(u64),
    Fenced,
}

/// A lessor as a holder sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantorMemory {
    pub name: HostName,
    pub term: u64,
    pub revoked: bool,
}

/// A heartbeat that was sent, and who granted it: a bit per lessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentMemory {
    pub sequence: u64,
    pub at: u64,
    pub granted: u64,
}

/// A [`crate::Lessor`] that has no write under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LessorMemory {
    pub term: u64,
    pub revoked: BTreeMap<HostName, Admission>,
    /// The highest term on the disk, and whether all of the above is there.
    pub stored_term: u64,
    pub stored: bool,
    /// Since when it has acknowledged, and whether another process may have before.
    pub since: u64,
    pub followed: bool,
    pub hosts: BTreeMap<HostName, HostMemory>,
}

/// A host as a lessor remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostMemory {
    pub boot: Option<u64>,
    pub retired: Vec<u64>,
    pub sequences: [Option<u64>; 2],
    pub heard: Option<u64>,
    /// Until when the gate may be open by the highest admission, and by those below.
    pub open: Option<(Admission, u64)>,
    pub open_before: Option<u64>,
}
