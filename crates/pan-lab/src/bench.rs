//! Benchmarks of whole PANs, behind `pan bench`. Each makes a laboratory of its own and removes it.
//!
//! They measure from outside, as a user would, and report what was measured: raw samples and figures
//! that are samples themselves. They decide nothing, and read the PAN through its public API only.

mod control;
mod error;
mod failover;
mod probing;
mod report;
mod room;

pub use error::BenchError;
pub use failover::{FailoverCase, FailoverOptions, failover};
pub use report::{Case, Report, RunDetail};
