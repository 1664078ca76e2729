//! One connection. `negotiate` is its handshake, `pump` all that follows; `input` and `output` are what arrived and was not
//! yet understood, and what was answered and not yet sent; `work` has one request done.

mod input;
mod negotiate;
mod output;
mod pump;
mod serve_one;
mod work;

pub use serve_one::{Outcome, SessionError, serve_one};
