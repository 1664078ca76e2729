//! nftables: rule sets through the `nft` program, elements of maps and sets over netlink. Each load or
//! batch is one atomic transaction.
//!
//! Starting a process costs about 15 ms, so [`load`] is for rule sets and rare changes. Elements change
//! while traffic runs: a [`Batch`] of them goes through [`Nft`] in well under a millisecond.

mod batch;
mod counted;
mod elements_error;
mod load;
mod socket;
mod value;

pub use batch::{Batch, Element, Family};
pub use elements_error::ElementsError;
pub use load::{NftError, load};
pub use socket::{Generation, Nft};
pub use value::{Data, Value};
