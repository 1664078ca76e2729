//! Ganeti's text format, so that plans can be compared with those of hspace and hbal on the same file.
//!
//! Source: the manual page htools(1) of Ganeti 3.0, option `--text-data`, and files that hspace writes.

mod convert;
mod read;
mod text;

pub use convert::Imported;
pub use read::Misread;
pub use text::{Group, Instance, Inventory, Machine, Policy, Role, Spec};
