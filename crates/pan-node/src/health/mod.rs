//! Health checks: what they do to a server's health, when the next one is due, and how one is made.

mod http;
mod probe;
mod state;

pub(crate) use probe::{Target, probe};
pub(crate) use state::{Health, pause};
