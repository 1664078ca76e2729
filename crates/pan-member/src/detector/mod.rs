//! From heartbeats and passing time to changes: links up and down, hosts suspect, alive, dead.
//!
//! `link` is one fabric of one host, `host` one host, `brake` keeps a fault of our own network from
//! looking like many deaths, `core` puts them together, `change` is what goes in and out.
//!
//! Silent on one fabric is a link fault; silent on both is suspect and then dead. Silence is counted from
//! the kernel's receive timestamps, so whoever calls must read all waiting datagrams first and tick then.
//! Where the caller itself was stalled, that time counts for nobody: a suspicion that would only rest on
//! it is not raised, and no one's death comes nearer by it.

mod brake;
mod change;
mod core;
mod host;
mod link;

pub use self::change::{Beat, Change, Counters};
pub use self::core::{Detector, Settings};
