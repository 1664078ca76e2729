//! `pan bench heartbeats`: one real controller that hears thousands of simulated hosts.
//!
//! The controller is a laboratory's, with certificates, keys and a store as ever. The hosts are one thread of this
//! process, which sends what thousands of beat processes would: authentic heartbeats of each, over both fabrics. First all
//! are heard for a while, and the controller's costs and mistakes are counted; then one after the other falls silent, and
//! the time from its last heartbeat to the controller's saying that it is dead is taken.

mod crowd;
mod figures;
mod options;
mod room;
mod run;
mod sender;
mod watched;

pub use crowd::HOSTS_MAX;
pub use options::HeartbeatsOptions;
use options::now_micros;
pub use run::heartbeats;
