//! The words of a Processing Area Network: identifiers, specifications and observed state, one file per noun.
//!
//! Pure data. Nothing here reads a clock, a file or the environment, and nothing here knows the wire
//! (that is `pan-api`), the store, or the kernel.

pub mod allow;
pub mod balance;
pub mod cluster;
pub mod duration;
pub mod error;
pub mod event;
pub mod explain;
pub mod host;
pub mod host_config;
pub mod id;
pub mod image;
pub mod import;
pub mod manifest;
pub mod mirror;
pub mod neighbours;
pub mod network;
pub mod node;
pub mod notyet;
pub mod partition;
pub mod policy;
pub mod proxy;
pub mod rate;
pub mod registry;
pub mod resources;
pub mod server;
pub mod service;
pub mod size;
pub mod tls;
pub mod volume;
mod web;

pub use cluster::ClusterSpec;
pub use duration::Span;
pub use error::Code;
pub use id::{Admission, ClusterName, Epoch, Generation, HostName, Name, PartitionName, ServerName, ServiceName};
pub use import::ImportSpec;
pub use network::Mac;
pub use partition::PartitionSpec;
pub use policy::PolicySpec;
pub use rate::BitRate;
pub use resources::Resources;
pub use server::ServerKey;
pub use service::ServiceSpec;
pub use size::{ByteSize, Cpu};
pub use volume::{Lineage, Session, SnapshotId, SnapshotName, VolumeEpoch, VolumeId, VolumeKey, VolumeName, VolumeSpec};
