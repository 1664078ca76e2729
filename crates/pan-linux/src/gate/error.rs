//! What can go wrong with a gate.

use std::io;
use std::path::PathBuf;

use super::Hook;
use crate::bpf::BpfError;
use crate::netns::NetnsError;
use crate::nft::{ElementsError, NftError};
use crate::rtnl::RtnlError;

/// Why a gate could not be opened, attached, renewed or read. None of them leaves it more open than it was.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The gate's folder cannot be used.
    #[error("the gate's folder {}: {step}", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel has neither kind of gate.
    #[error("this kernel enforces no lease: BPF: {bpf}; nftables set: {nft_set}. Expected Linux 5.8 with BPF or 5.16 with nftables")]
    Unsupported {
        /// Why not BPF.
        bpf: String,
        /// Why not nftables.
        nft_set: String,
    },
    /// The map or a program could not be made or found.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// It could not be put on an interface, taken off, or looked for there.
    #[error("the gate at the {hook} {device}")]
    Attach {
        /// The interface.
        device: String,
        /// Which place.
        hook: Hook,
        /// What was refused.
        #[source]
        source: RtnlError,
    },
    /// The network namespace could not be used.
    #[error("the gate's network namespace")]
    Netns(#[from] NetnsError),
    /// A netlink socket could not be opened there.
    #[error("the gate's route netlink socket")]
    Rtnl(#[from] RtnlError),
    /// The rules of an nftables gate were refused.
    #[error("the gate's rule set")]
    Rules(#[from] NftError),
    /// The set of an nftables gate could not be changed or read.
    #[error("the gate's nftables set")]
    Set(#[from] ElementsError),
}

/// Result of this module.
pub type Result<T> = std::result::Result<T, GateError>;
