//! The store in etcd, through a client of our own: the few calls a [`Store`](crate::Store) needs, and exact
//! knowledge of whether a transaction that failed may have been committed.
//!
//! From the bottom: `wire` are the messages, `grpc` the calls, `connection` one connection, `client` whichever
//! member answers, `failure` what a failure says, `endpoint` and `timing` where and how long, `keys` and `convert`
//! both sides' words. On top, `store` is the handle, `watching` follows changes, `limits` checks what `member`
//! tells members to allow, `pulse` asks each whether it answers. `replace` puts a new member in the place of one whose data is lost.

mod client;
mod connection;
mod convert;
mod endpoint;
mod failure;
mod grpc;
mod keys;
mod limits;
mod member;
mod pulse;
mod replace;
mod store;
mod timing;
mod watching;
mod wire;

pub use endpoint::{Endpoint, EndpointError};
pub use member::{ClusterState, Member, MemberTls, Pace, REQUEST_BYTES_MAX};
pub use pulse::{Pulse, Sign};
pub use replace::{ReplaceError, Replacement, replace};
pub use store::{ConnectError, Etcd, EtcdOptions, PREFIX_BYTES_MAX};
pub use timing::Timing;
