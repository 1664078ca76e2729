//! The controller role: one task that owns the world, decides through a pure core, commits, and only then acts.
//!
//! `core` decides, `run` commits and publishes, `api` and `server` speak HTTPS, `beats` listens to heartbeats.

pub mod api;
pub mod auth;
mod beats;
pub mod core;
pub mod handle;
mod metrics;
mod routes;
mod run;
pub mod server;
mod views;

pub use handle::{Handle, Principal, PrincipalRole, View};
pub use run::{RunError, run};
