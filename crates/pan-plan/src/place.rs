//! Making a plan: which unit next, which node for it, and the entry in the books.

mod desk;
mod failover;

pub(crate) use desk::{Books, Desk, Rigour, deficits};
