//! The HTTP interface: one table of routes from which the router, its authorisation and its description are made.
//!
//! Handlers get a parsed [`call::Call`] with a [`scope::Scope`]: what the caller may see of the newest committed
//! state. They never see the store, and they change things only by asking the controller's loop.

mod answer;
mod apply;
mod audit;
mod call;
mod cluster;
mod dispatch;
mod drain;
mod event;
mod freshness;
mod host;
mod import;
mod inside;
mod insight;
mod interface;
mod internal;
mod node;
mod openapi;
mod outlook;
mod partition;
mod policy;
mod proxy;
mod rate;
mod route;
mod scope;
mod server;
mod service;
mod snapshot;
#[cfg(test)]
mod tests;
mod timeline;
mod token;
mod traffic;
mod usage;
mod volume;
mod watch;
mod why;
mod why_volume;

pub(crate) use dispatch::{App, BODY_MAX, Peer, router};
pub use openapi::openapi;
pub(crate) use scope::DomainKey;
