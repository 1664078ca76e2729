//! The host's part in the fabrics and in partition networks: what it should be ([`spec`], pure) and the
//! thread that makes it so ([`keeper`]).

mod allowed;
mod error;
mod gated;
mod guarded;
mod keeper;
mod limited;
mod spec;
mod standing;

pub use error::NetworkError;
pub(crate) use gated::Checks;
pub(crate) use guarded::Refusals;
pub(crate) use keeper::{Network, Status};
pub(crate) use spec::Port;
