//! From the first byte until an export is chosen: fixed newstyle negotiation.
//!
//! `machine` takes options off the input and bounds them, `options` answers each, `context` chooses metadata contexts,
//! `answer` writes replies.

mod answer;
mod context;
mod machine;
mod options;

pub use machine::{Handshake, HandshakeStep, INPUT_MAX};
