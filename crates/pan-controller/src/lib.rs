//! The controller role: one task that owns the world, decides through a pure core, commits, and only then acts.
//!
//! `core` decides, `owner` commits and publishes, `ear` hears heartbeats, `api` and `server` speak HTTPS; `run` puts
//! them together.

pub mod api;
pub mod auth;
pub mod core;
pub mod ear;
mod etcd;
pub mod handle;
mod leftover;
mod members;
pub mod metrics;
mod neighbours;
mod owner;
mod routes;
mod run;
mod seal;
pub mod server;
mod site;
mod sure;
pub mod views;

pub use etcd::{EtcdError, Prepared, etcd_prepare, etcd_witness};
pub use handle::{Grant, Handle, Principal, PrincipalRole, View};
pub use run::{RunError, run};
