//! The storage role: keeps replicas of volumes and serves them to heads.
//!
//! - [`vault`]: all replicas of a pool; what heads ask of them becomes what the disk does, in the right order.
//! - [`files`]: a disk of real files for `pan_disk`.
//! - `server`: heads, over TLS. `keep`: the pool as the desired state wants it. `export`: snapshots, for controllers. `close`: its orderly end.
//!   `run`: the role's loop.
//!
//! It must not know who decides, or why: it follows its own desired state.

mod close;
mod error;
mod export;
pub mod files;
mod keep;
mod mark;
pub mod metrics;
mod routes;
mod run;
mod scrub;
mod server;
pub mod vault;

pub use error::Error;
pub use run::run;
