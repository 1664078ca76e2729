//! Volumes that many servers read.

use super::Beginning;
use pan_model::ByteSize;
use pan_model::volume::Filesystem;
use serde::{Deserialize, Serialize};

/// A volume that many servers read. It has no copies of its own: each of them has a volume that begins as the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The snapshot.
    pub from: Beginning,
    /// Its bytes.
    pub size: ByteSize,
    /// On how many storage hosts each server's is to be.
    pub copies: u8,
    /// What is on it.
    pub filesystem: Filesystem,
}
