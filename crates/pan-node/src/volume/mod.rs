//! Volumes of servers on this host: from the order to have one to a mounted file system, and back.
//!
//! Each has a task (`task`) that asks a pure function what to do (`decide`) and does it (`act`). A head is kept by processes of
//! their own ([`crate::head`]), and devices and mounts are the kernel's: all of them outlive the agent, and the next one looks at what is there.
//! It must not know how a head works, and what a server does with its volume.

mod act;
mod attached;
mod board;
pub mod decide;
mod error;
mod patience;
mod place;
mod standing;
mod sweep;
mod task;
mod tell;
mod unfit;
mod wait;

pub(crate) use attached::Attached;
pub(crate) use board::Volumes;
pub(crate) use standing::{HEAD_LOST, NOT_LOOKED_AT, Standing};
pub(crate) use sweep::{let_fail, strays, sweep_sessions};
