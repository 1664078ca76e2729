//! The store in a real etcd: the common suite, its limits, its watches, and a cluster whose members die and hang.
//!
//! `kit` starts members, `single` uses one, `cluster` three.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;
mod kit;
mod single;
