//! After the choice of an export: requests in any number, replies in any order.
//!
//! `machine` takes requests and payload off the input, `check` decides which are fit to be done, `request` is what they
//! are, `ticket` is how each is answered, `reply` the bytes of answers.

mod check;
mod machine;
mod reply;
mod request;
mod ticket;

pub(crate) use machine::Terms;
pub use machine::{Step, Transmission};
pub use reply::Reply;
pub use request::{Allocation, Durability, Extents, Pace, Piece, Request, Span, State, Stretch};
pub use ticket::{ReadTicket, StatusTicket, Ticket};
