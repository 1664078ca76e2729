//! What goes over the wire: the public API's types, the internal ones between controller and hosts, and the
//! clients and TLS that carry them.
//!
//! Wire types are separate from the model's so that the model can change without breaking a release that is
//! one older. Nothing here decides anything.

pub mod audit;
pub mod beatcount;
pub mod capability;
pub mod certificate;
pub mod client;
pub mod cluster;
pub mod desired;
pub mod door;
pub mod error;
pub mod event;
pub mod file;
pub mod host;
pub mod hostclient;
pub mod hostlink;
pub mod hostlisten;
pub mod hostmetrics;
pub mod import;
pub mod inside;
pub mod insight;
pub mod join;
pub mod keyfile;
pub mod keys;
mod lines;
pub mod metrics;
pub mod node;
pub mod pansize;
pub mod partition;
pub mod peers;
pub mod pki;
pub mod policy;
pub mod report;
pub mod requests;
pub mod server;
pub mod service;
pub mod tls;
pub mod token;
pub mod traffic;
mod transport;
pub mod usage;
pub mod version;
pub mod volume;

pub use error::{ApiError, Problem};
pub use version::WIRE_VERSION;
