//! Partition networks on one host: a bridge and a VXLAN device per network, with every forwarding and
//! neighbour entry given, none learned, and nothing flooded to other hosts.
//!
//! The bridge `pb{vni}` has the servers' ports and the VXLAN device `px{vni}`. A frame for a remote
//! server finds two entries (see [`crate::rtnl::FdbEntry`]); ARP and neighbour solicitations for it are
//! answered on the spot by neighbour suppression, from permanent neighbours of the bridge device. An
//! address nobody has gets no answer. Frames never reach the host's own network stack.
//!
//! [`Overlay::apply`] is level-triggered: it compares what should be with what it last did, and reads
//! the kernel where it does not know, as after a restart or an error, and again every few seconds. Roles that
//! run in different processes on one host have a keeper each, with ports of their own.

mod adopt;
mod closed;
mod keeper;
mod spec;
mod table;

pub use keeper::Overlay;
pub(crate) use keeper::VXLAN_PORT;
pub use spec::{Applied, LocalPort, NetworkSpec, OverlayError, RemoteEntry, bridge_name, vxlan_name};
