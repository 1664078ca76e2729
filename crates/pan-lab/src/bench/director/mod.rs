//! `pan bench director`: how many requests the HTTP proxy of a partition passes on, beside HAProxy and nginx as their distribution packages them, and
//! how many the kernel does by a director's rules, beside plain forwarding and HAProxy's TCP mode.
//!
//! Proxies stand in one network namespace, on one processor with one thread each, in front of one server, and are asked in turn by one client; client
//! and server have another processor. Where connections are passed on, which the kernel does on whatever processor sent something, client, server
//! and HAProxy have all of them. What is told is rates, the 99th percentile as the client saw it, and the processor time that a proxy itself took.

mod hop;
mod peers;
mod run;
mod wire;
mod work;

pub use peers::ProxyPeer;
pub use run::{DirectorOptions, director};
pub use work::DirectorCase;
