//! Links, addresses, routes, neighbours and forwarding entries over a blocking route-netlink socket
//! (rtnetlink(7)).
//!
//! [`Rtnl`] is bound to the network namespace it was opened in. Each operation is a method of
//! [`Batch`]; [`Rtnl`] offers the same one by one. Operations that establish something replace what is
//! there; those that remove something are content if it is gone already.

mod address;
mod batch;
mod error;
mod fdb;
mod link;
mod mac;
mod neighbour;
mod neighbour_table;
mod rate;
mod route;
mod socket;
mod tc;

pub use batch::Batch;
pub use error::{Result, RtnlError};
pub use fdb::FdbEntry;
pub use link::{BridgeSpec, Link, PortFlags, VxlanSpec};
pub use mac::{Mac, format_mac};
pub use neighbour::Neighbour;
pub use neighbour_table::NeighbourLimits;
pub use route::{Hop, Protocol, Route};
pub use socket::Rtnl;
pub use tc::{BpfFilter, Direction};
