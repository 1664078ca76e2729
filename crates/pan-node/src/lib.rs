//! The node role: the agent, which makes the host what the controller wants, and the beat process, which
//! says that the host is alive even while the agent is not.
//!
//! A desired state comes in ([`run`]); routes and forwarding entries follow it in one thread (`network`);
//! every server has a task (`server`) that asks a pure function what to do (`decide`) and does it
//! (`apply`), having written down first what it is about to do. So the agent may die at any point: the
//! next one reads the records and goes on, and no server notices. It must not know other servers, places
//! or policies: it is told.

mod agent;
mod api;
mod apply;
pub mod beat;
mod boot;
mod clock;
pub mod decide;
mod error;
mod gate;
pub mod head;
mod health;
mod host;
mod ids;
mod image;
mod logs;
pub mod metrics;
pub mod names;
mod network;
mod paths;
mod run;
mod server;
#[cfg(test)]
mod testing;
mod usage;
mod users;
pub mod volume;

pub use agent::{Agent, Servers, admission};
pub use error::{Error, FileError};
pub use run::run;
