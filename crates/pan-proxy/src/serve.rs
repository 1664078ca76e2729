//! Sockets, TLS, hyper, and tasks: carries out what the other rooms decide. The path of a request is the order here:
//! [`proxy`] listens, `connection` makes a conversation of what came, through `wire` that watches time and bytes;
//! `exchange` takes one request through route, choice and attempts; `upload` and `reply` carry the bodies; `link` and
//! `pool` are the servers' side; `tunnel` what remains of a connection after an upgrade.

mod alarm;
mod answer;
mod connection;
pub mod control;
mod exchange;
pub mod explain;
mod front;
mod gate;
mod gather;
mod link;
mod live;
mod outgoing;
mod pool;
pub mod proxy;
mod record;
mod reply;
mod send;
mod socket;
mod tls;
mod tunnel;
mod upload;
mod wire;

pub use live::ApplyError;
pub use proxy::{Proxy, Settings};
