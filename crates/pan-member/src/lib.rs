//! Membership, decided without I/O: which hosts are alive, suspect or dead, and on which fabrics.
//!
//! [`frame`] is the heartbeat on the wire, [`profile`] the timing, [`detector`] turns heartbeats and the
//! passing of time into changes, [`quarantine`] keeps a node that dies again and again out of service.
//!
//! Time is an argument ([`Tick`], the boot clock); there is no socket, clock, thread or randomness here.
//! A death said by the detector is evidence only: the controller commits the decision and fences first.

pub mod detector;
pub mod frame;
pub mod profile;
pub mod quarantine;
pub mod tick;

pub use detector::{Beat, Change, Counters, Detector, Settings};
pub use frame::{BootId, Frame, FrameError, Load, Permille, Roles, host_key};
pub use profile::{Profile, Timing, TimingError};
pub use quarantine::{Death, Quarantine};
pub use tick::Tick;
