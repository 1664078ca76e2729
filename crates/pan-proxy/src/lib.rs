//! Layer 7: the HTTP proxy of one partition's services. A client's request goes through these rooms, in this order:
//!
//! 1. [`screen`] looks at the bytes before anything else does and refuses what two readers could read differently.
//! 2. [`route`] finds which cluster a request is for, [`forwarded`] and [`edit`] what it looks like there.
//! 3. [`choice`] asks `pan-balance` for a server.
//! 4. [`attempt`] says what a failure means: another server, or an answer that says what is known of the outcome.
//!
//! These and [`target`], [`limits`], [`proxied`] and [`access`] decide and touch nothing. [`serve`] is the rest: sockets, TLS, hyper,
//! pools of kept connections. The document that says what a proxy is to do is [`pan_model::proxy`]'s. docs/layer-7.md says what it does for whoever uses it.

pub mod access;
pub mod attempt;
pub mod choice;
pub mod edit;
pub mod forwarded;
pub mod limits;
pub mod proxied;
pub mod route;
pub mod screen;
pub mod serve;
pub mod tally;
pub mod target;

pub use serve::{ApplyError, Proxy, Settings};
