//! The beat process: one authenticated datagram per fabric and period to every controller. A process of its
//! own, small and with nothing to wait for, so that it goes on while the agent is busy, dead or replaced; itself it is
//! replaced by handing over ([`handover`]).

mod handover;
mod heart;
mod keep;
mod keys;
mod lease;
mod lessor;
mod load;
mod run;
mod sender;

pub use handover::{Way, keep_current};
pub use run::run;
