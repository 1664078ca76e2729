//! The head of a volume: what serves it to one server on this node and keeps its replicas equal.
//!
//! Two processes a volume. The *keeper* (`keep`) has the kernel's end of the file system (`pan_linux::fuse`), does as little as
//! possible, and outlives the agent. The *worker* (`work`) runs the head's core (`pan_replica::Head`): it may crash or be replaced at
//! any time, and its successor claims the volume anew and is sent again what was not answered. The agent speaks to the keeper
//! through [`Keeper`] (`agent`), in the messages of `message`.
//!
//! `link` is the connection to one replica, `arbiter` the way to the leading controller, `lease` whether this node may hand out
//! what it reads, `session` what keeps a claim from being used by two lives of a head.
//!
//! Neither process touches the block device or what is mounted on it: whoever waits for those waits for the head (decision 18).

mod agent;
mod arbiter;
mod error;
mod group;
mod intake;
mod keep;
mod lease;
mod link;
mod message;
mod operation;
mod part;
mod session;
mod shelf;
mod snapshots;
mod work;

pub(crate) use session::{leave, noted};

pub use agent::Keeper;
pub use error::HeadError;
pub(crate) use group::{all as groups, remove as remove_group};
pub use message::{HeadOrder, HeadStatus};
pub use part::{Part, run};
