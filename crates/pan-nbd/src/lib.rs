//! The server's side of the NBD protocol without I/O: bytes in, requests out; replies in, bytes out.
//!
//! After <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>, "the specification" in this crate: fixed
//! newstyle negotiation, simple and structured replies, `base:allocation`. No TLS: what is served here are unix sockets.
//!
//! - [`catalog`] is what is exported: names, sizes, block sizes, who may write.
//! - [`handshake`] haggles over options until the client has chosen, and then becomes a [`transmission`].
//! - [`transmission`] turns the client's bytes into [`Request`]s. Each carries a ticket, which is used up by its reply:
//!   requests may be answered in any order, and none twice.
//! - [`Reply`] keeps heads apart from the data read, so that a megabyte is written from where it lies.
//! - [`numbers`] are the constants, under the specification's names.
//!
//! The caller keeps bytes that were not consumed and calls again with more; [`INPUT_MAX`] bytes are always enough. The
//! payload of writes is not kept here at all. Nothing is allocated for a length that a client named before that length has
//! been compared with a bound.

pub mod catalog;
mod cursor;
mod failure;
pub mod handshake;
pub mod numbers;
pub mod transmission;

pub use catalog::{Access, BlockSizes, Catalog, CatalogError, Connections, Export, ExportIndex, ExportName, Listing, Medium};
pub use failure::{Ended, ErrorCode, Failure};
pub use handshake::{Handshake, HandshakeStep, INPUT_MAX};
pub use transmission::{
    Allocation, Durability, Extents, Pace, Piece, ReadTicket, Reply, Request, Span, State, StatusTicket, Step, Stretch, Ticket,
    Transmission,
};
