//! The laboratory: a whole PAN on one machine, for `pan up` and for the namespace tests alike.
//!
//! Every host is a network, PID, mount, UTS, IPC and cgroup namespace that runs the real binary;
//! fabrics A and B, the outside network and the management network are bridges in a namespace of the
//! lab's own. Faults act from outside the binary: on bridge ports, processes and control groups. What a
//! lab is lies in its `lab.json` and in the kernel, never in a running process, so any later process
//! can go on with it, and [`Lab::down`] works when all of that is damaged.
//!
//! It must not know what a role does: it starts roles and takes things away from them.

pub mod bench;
pub mod chaos;
pub mod harness;
pub mod heir;
pub mod init;
pub mod prober;
pub mod relay;

mod address;
mod boot;
mod config;
mod delay;
mod disk;
mod down;
mod error;
mod fault;
mod frames;
mod lab;
mod lock;
mod machine;
mod name;
mod network;
mod owner;
mod pki;
mod room;
mod sockets;
mod spec;
mod state;
mod up;
mod upgrade;
mod view;

pub use disk::Disk;
pub use error::LabError;
pub use fault::{Cut, Direction};
pub use lab::Lab;
pub use name::{HostKind, LabHost, LabName};
pub use pki::Credentials;
pub use spec::LabSpec;
pub use up::{Disks, Origin};
pub use view::{HostView, Links, Power, Shape, labs};
