//! The storage role. So far it makes a host of the role known to the controllers, keeps its routes to all other hosts, and
//! reports; there are no volumes yet, and manifests that ask for one are refused.
//!
//! [`files`] is a disk of real files for `pan_disk`, which keeps replicas.
//!
//! It must not know who decides, or why: it follows its own desired state.

mod error;
pub mod files;
pub mod metrics;
mod routes;
mod run;

pub use error::Error;
pub use run::run;
