//! Policies by clock: which windows of a calendar an instant lies in, what holds in them, and how many servers that makes.
//!
//! Pure: the time is an argument, and time zones are those that come with the program. It knows clusters by a number of servers
//! alone; what a change of that number costs, and whether it can be had, is for whoever knows the PAN.

mod calendar;
mod change;
mod resolve;

pub use calendar::{Calendar, Window};
pub use change::{AHEAD, Changes, Clash, clash, next_change};
pub use resolve::{Active, Policy, Resolved, Schedule, resolve};
