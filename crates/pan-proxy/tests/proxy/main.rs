//! The proxy as it is, on loopback: real clients on one side, real servers on the other, each test with its own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod balance;
mod control;
mod conversation;
mod drain;
mod explain;
mod front;
mod limits;
mod never_twice;
mod retries;
mod rig;
mod smuggling;
mod tls;
mod two;
mod upgrade;
