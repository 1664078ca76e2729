//! Benchmarks of whole PANs, behind `pan bench`. Each makes a laboratory of its own and removes it.
//!
//! They measure from outside, as a user would, and report what was measured: raw samples and figures
//! that are samples themselves. They decide nothing, and read the PAN through its public API only. What is
//! measured beside a PAN is measured in the same way.

mod case;
mod control;
mod counter;
mod cut;
mod demo;
mod director;
mod director_cut;
mod disturb;
mod error;
mod failover;
mod false_failovers;
mod frozen;
mod heartbeats;
mod leader;
mod leftovers;
mod load;
mod neighbour;
mod page;
mod peer;
mod probing;
mod report;
mod storage_lost;
mod stretches;
mod suspected;
mod volume;

pub use case::{FailoverCase, PanCase, RUNS};
pub use director::{DirectorCase, DirectorOptions, ProxyPeer, director};
pub use error::BenchError;
pub use failover::{FailoverOptions, failover};
pub use heartbeats::{HOSTS_MAX, HeartbeatsOptions, heartbeats};
pub use neighbour::{NeighbourOptions, neighbour};
pub use peer::{Peer, PeerCase};
pub use report::{Bound, Case, Report, RunDetail};
pub use stretches::Stretch;
pub use volume::{VolumeOptions, volume};
