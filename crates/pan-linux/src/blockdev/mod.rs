//! Block devices of this machine whose blocks are another process's: a FUSE file, which that process serves, under a loop
//! device with direct I/O. Attaching, enlarging, detaching, and what of it a kernel can do.
//!
//! Three processes: one keeps the [`Session`](crate::fuse::Session); one serves, and may be killed and replaced at any time; one
//! attaches, mounts and detaches, for which it may have to wait in the kernel where no signal reaches it. So it should be
//! neither of the others: the kernel ends a session that nobody serves only when nobody has its descriptor any more.

mod attach;
mod detach;
mod error;
mod probe;

pub use attach::{AttachSpec, BlockDevice, follow_size};
pub use detach::{Hung, detach};
pub use error::BlockDeviceError;
pub use probe::{Abilities, Ability, probe};
