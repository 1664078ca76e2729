//! The only crate that touches the kernel: network namespaces, links, routes, rule sets, and
//! cgroups, mounts and containers.
//!
//! An adapter: every function performs one effect or reads one fact and decides nothing. All calls
//! block; async callers wrap them in `spawn_blocking`. It must not know the model:
//! it speaks interface names, addresses, paths and numbers, also where it says "partition network".

mod netlink;
mod nfnetlink;

pub mod allow;
pub mod arp;
pub mod beneath;
pub mod blockdev;
pub mod bpf;
pub mod cached;
pub mod cgroup;
pub mod congestion;
pub mod conntrack;
pub mod datagram;
pub mod ext4;
pub mod filesystem;
pub mod fuse;
pub mod gate;
pub mod guard;
pub mod hole;
pub mod hostns;
pub mod listen;
pub mod local;
pub mod loopdev;
pub mod mount;
pub mod nbd;
pub mod netns;
pub mod nft;
pub mod oci;
pub mod origin;
pub mod overlay;
pub mod process;
pub mod realtime;
pub mod room;
pub mod rtnl;
pub mod seqpacket;
pub mod supervise;
pub mod sysctl;
pub mod tap;
pub mod underlay;
pub mod userns;
pub mod volley;
