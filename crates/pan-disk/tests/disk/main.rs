//! The engine on a disk that does what disks do, against a plain model of what may be read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod crashes;
mod fixture;
mod full;
mod garbage;
mod model;
mod rot;
mod sharing;
mod steps;
