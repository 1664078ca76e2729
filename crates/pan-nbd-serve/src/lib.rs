//! Serves block storage on unix sockets by NBD: the I/O around [`pan_nbd`], which knows the protocol.
//!
//! - [`Storage`] is what is served: the head's volume, an exported snapshot, [`Memory`] or [`File`].
//! - [`serve`] takes connections and ends them well; [`serve_one`] is one connection, and says how it ended.
//! - [`Buffer`] is aligned memory, lent to one request at a time.
//! - [`Limits`] bound how many connections, requests and bytes there can be, and how long is waited for whom.
//!
//! One task owns a connection: socket, codec, requests under way and answers that wait. It stops reading when a bound is
//! reached, and reads on when answers have left. Nothing here knows where the bytes are kept, or of the kernel's nbd.

mod buffer;
mod file;
mod limits;
mod memory;
mod server;
mod session;
mod socket;
mod storage;

pub use buffer::{Buffer, Pool};
pub use file::File;
pub use limits::Limits;
pub use memory::Memory;
pub use server::{Served, Wish, serve};
pub use session::{Outcome, SessionError, serve_one};
pub use socket::{BindError, bind};
pub use storage::{Exports, Read, Storage, Zeroing};
