//! How connections are spread over servers: which servers may get any, how much each should get, which
//! slot of a table is whose, and what keeps a decision from doing harm.
//!
//! Pure: equal arguments give equal tables on every director and in every release, because a director
//! that takes over finds the server of a running connection by computing the same table again.

pub mod generations;
mod hash;
pub mod pipeline;
pub mod slots;

pub use generations::{Generation, Generations};
pub use hash::stable_hash;
pub use pipeline::{Backend, Candidate, Excluded, Refusal, Spread, spread};
pub use slots::{Member, Table, table_size};
