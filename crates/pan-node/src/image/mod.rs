//! Images of servers that come from registries and OCI layouts: had, kept and swept, each partition's by themselves.
//!
//! [`Images`] is what servers' tasks know. One job per partition and image goes through `rules` (may it be had from there?), `registry` or
//! `layout` (bytes whose digest is right), `unpack` (a root file system of them) and `store` (where it stays). `jobs` has whose turn it is and
//! `patience` for how long, `room` what images may take and which go, `disk` who may write how much. Jobs wait for each other only within a
//! partition, but for the processor and the disk: what one of them has or waits for shows to no other.
//!
//! It must not know servers; what an archive may do to a disk is `pan_image`'s to say.

mod disk;
mod error;
mod http;
mod job;
mod jobs;
mod keep;
mod layout;
mod patience;
mod registry;
mod room;
mod rules;
mod store;
mod sweep;
mod unpack;

pub(crate) use keep::Images;
pub(crate) use store::Ready;
