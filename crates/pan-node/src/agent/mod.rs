//! The agent's core: hands every server's order to its task, collects what the tasks tell, and reports. It
//! knows no controller: desired states come in by one channel and reports go out by another.

pub mod admission;
mod book;
mod core;
mod leftovers;
mod prepare;

pub use self::core::{Agent, Servers};
