//! Effects on this host for one server: its cable, its root file system, its container; and taking all of
//! it away again. Everything here blocks, works from files and names alone, and decides nothing.

pub(crate) mod adopt;
mod cable;
mod container;
mod error;
mod files;
mod group;
pub(crate) mod hidden;
mod release;
mod rootfs;
pub(crate) mod signal;
pub(crate) mod start;

pub(crate) use container::{end, limit};
pub use error::ApplyError;
pub(crate) use release::{forget_record, release};
pub(crate) use rootfs::Rootfs;
